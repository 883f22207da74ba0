//! The password check, with the throttle of `session::throttle` around it.
//!
//! An attempt is taken before the password is looked at, and given back where it was right or was not looked at.
//! Where it is counted is the strategy's business: in its store for all nodes together, else in this node.

use std::net::IpAddr;

use session::throttle::{Attempt, Throttle, Verdict};

use crate::accounts::Refused;
use crate::input::Password;
use crate::node::Served;
use crate::problem::Problem;

/// Checks that `user` has this password, as often as may be tried.
///
/// An attempt that the client breaks off stays taken: its guess may have been looked at.
pub(crate) async fn check(
    served: &Served,
    user: &str,
    address: IpAddr,
    Password(password): Password,
) -> Result<(), Problem> {
    let node = &served.node;
    let shared = served.strategy().throttle();
    let throttle: &dyn Throttle = shared.unwrap_or(&node.own_throttle);
    let attempt = Attempt { user, address };
    if let Verdict::Wait(wait) = throttle.reserve(&node.login_limits, &attempt).await? {
        return Err(Problem::TooManyAttempts { wait });
    }
    let checked = node.accounts.check(user, password).await;
    if checked != Err(Refused::Wrong) {
        throttle.give_back(&node.login_limits, &attempt).await?;
    }
    Ok(checked?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use session::throttle::{Limit, Limits};

    use crate::testing::{Answer, PASSWORD, Shop, head, problem};

    /// One attempt on an account, two from an address; for an hour nothing comes back.
    fn strict() -> Shop {
        Shop::with(&["sticky", "jwt"], |parts| {
            let limit = |attempts| Limit::new(attempts, Duration::from_hours(1));
            parts.login_limits = Limits {
                account: limit(1),
                address: limit(2),
            };
        })
    }

    async fn guess(shop: &Shop, user: &str, password: &str, address: &str) -> Answer {
        let body = json!({"user": user, "password": password});
        let request = head("POST", "/login")
            .header("x-session-strategy", "sticky")
            .header("x-forwarded-for", address);
        shop.send_json(request, &body).await
    }

    #[tokio::test]
    async fn guesses_run_out_by_account_whoever_tries() {
        let shop = strict();
        let answer = guess(&shop, "user-000001", "wrong", "192.0.2.1").await;
        assert_eq!(answer.status, 401);
        // Even the right password: else the answer would tell that it is the right one.
        let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.2").await;
        assert_eq!(problem(&answer), (429, "/problems/too-many-attempts"));
        assert_eq!(answer.header("retry-after"), Some("3600"));
        assert_eq!(answer.header("set-cookie"), None);
        shop.turn_clock(3_600);
        let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.2").await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn guesses_run_out_by_address_whatever_they_try() {
        let shop = strict();
        for (user, status) in [
            ("user-000001", 401),
            ("user-000002", 401),
            ("user-000003", 429),
        ] {
            let answer = guess(&shop, user, "wrong", "192.0.2.1").await;
            assert_eq!(answer.status, status, "{user}");
        }
        let answer = guess(&shop, "user-000003", PASSWORD, "192.0.2.2").await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn right_passwords_are_never_throttled() {
        let shop = strict();
        for _ in 0..8 {
            let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.1").await;
            assert_eq!(answer.status, 200);
        }
    }

    #[tokio::test]
    async fn strategies_without_a_store_share_what_the_node_counts() {
        let shop = strict();
        guess(&shop, "user-000001", "wrong", "192.0.2.1").await;
        let body = json!({"user": "user-000001", "password": PASSWORD});
        let request = head("POST", "/login").header("x-session-strategy", "jwt");
        let answer = shop.send_json(request, &body).await;
        assert_eq!(answer.status, 429);
    }

    #[tokio::test]
    async fn an_unknown_user_is_throttled_like_a_known_one() {
        let shop = strict();
        let mut answers = Vec::new();
        for (user, address) in [("user-000001", "192.0.2.1"), ("nobody", "192.0.2.2")] {
            let mut seen = Vec::new();
            for _ in 0..3 {
                let answer = guess(&shop, user, "wrong", address).await;
                let wait = answer.header("retry-after").map(str::to_owned);
                seen.push((answer.status, wait, answer.text().to_owned()));
            }
            answers.push(seen);
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0][1].0, 429);
    }

    #[tokio::test]
    async fn an_attempt_that_is_not_checked_is_not_counted() {
        let shop = strict();
        for _ in 0..4 {
            let body = json!({"user": "user-000001"});
            let request = head("POST", "/login").header("x-session-strategy", "sticky");
            assert_eq!(shop.send_json(request, &body).await.status, 422);
        }
        let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.1").await;
        assert_eq!(answer.status, 200);
    }
}
