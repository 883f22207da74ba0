//! The password check, with the throttle of `session::throttle` around it.
//!
//! An attempt is taken before the password is looked at, and given back where it was right or was not looked at.
//! Where it is counted is the strategy's business: in its store for all nodes together, else in this node.
//!
//! Each attempt is judged in a task of its own, which goes on when the client or the load balancer leaves: else an attempt
//! that nobody judged would stay taken, and the next one, with the right password, be refused. The task ends by
//! itself: a store's calls have a deadline, the wait for a worker ends when the client leaves, and a check takes its time.
//!
//! | the client leaves while | then |
//! | --- | --- |
//! | the attempt is being taken | it is taken to the end, and given back |
//! | it waits for a worker | it leaves the queue and is given back |
//! | its password is checked | the result decides, as for a client that waits: who guesses gains nothing by leaving |

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use session::throttle::{Attempt, Throttle, Verdict};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::accounts::Refused;
use crate::input::Password;
use crate::node::Served;
use crate::peer::Peer;
use crate::problem::Problem;

/// Where an attempt comes from.
pub(crate) struct Client(pub IpAddr);

impl FromRequestParts<Served> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let peer = Peer::of(&parts.extensions)?;
        Ok(Self(
            peer.client(&parts.headers, &served.node.trusted_balancers),
        ))
    }
}

/// Checks that `user` has this password, as often as may be tried. With `answer_by`, the answer comes by then: at the latest
/// as "too many logins".
pub(crate) async fn check(
    served: &Served,
    user: &str,
    address: IpAddr,
    password: Password,
    answer_by: Option<Instant>,
) -> Result<(), Problem> {
    let (told, verdict) = oneshot::channel();
    let judged = Judged {
        served: served.clone(),
        user: user.to_owned(),
        address,
        answer_by,
    };
    tokio::spawn(judged.run(password, told));
    let verdict = async {
        verdict.await.unwrap_or_else(|_| {
            tracing::error!("the task that judges a login broke");
            Err(Problem::Internal)
        })
    };
    match answer_by {
        None => verdict.await,
        Some(by) => timeout_at(by, verdict)
            .await
            .unwrap_or(Err(Problem::TooManyLogins)),
    }
}

/// One attempt on its way to its verdict.
struct Judged {
    served: Served,
    user: String,
    address: IpAddr,
    answer_by: Option<Instant>,
}

type Told = oneshot::Sender<Result<(), Problem>>;

impl Judged {
    async fn run(self, password: Password, mut told: Told) {
        let verdict = self.verdict(password, &mut told).await;
        // Where nobody is left to be told, what matters is done.
        let _ = told.send(verdict);
    }

    async fn verdict(&self, password: Password, told: &mut Told) -> Result<(), Problem> {
        let node = &self.served.node;
        let shared = self.served.strategy().throttle();
        let throttle: &dyn Throttle = shared.unwrap_or(&node.own_throttle);
        let attempt = Attempt {
            user: &self.user,
            address: self.address,
        };
        if let Verdict::Wait(wait) = throttle.reserve(&node.login_limits, &attempt).await? {
            return Err(Problem::TooManyAttempts { wait });
        }
        let checked = self.check(password, told).await;
        let given_back = if checked == Err(Refused::Wrong) {
            Ok(())
        } else {
            throttle.give_back(&node.login_limits, &attempt).await
        };
        checked?;
        Ok(given_back?)
    }

    /// Checks the password, unless the client leaves before its turn.
    async fn check(&self, Password(password): Password, told: &mut Told) -> Result<(), Refused> {
        let accounts = &self.served.node.accounts;
        let worker = tokio::select! {
            biased;
            () = told.closed() => return Err(Refused::Busy),
            worker = accounts.worker(self.answer_by) => worker?,
        };
        accounts.check(worker, &self.user, password).await
    }
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

    /// Sends a login that nobody waits for once `left` says so.
    async fn send_and_leave(shop: &Shop, password: &str, left: impl Fn() -> bool) {
        let login = guess(shop, "user-000001", password, "192.0.2.1");
        tokio::select! {
            // In this order: on a busy machine both may be true by now.
            biased;
            () = async { while !left() { tokio::task::yield_now().await } } => {}
            answer = login => panic!("answered: {answer:?}"),
        }
    }

    #[tokio::test]
    async fn an_attempt_whose_client_leaves_the_queue_is_given_back() {
        let shop = strict();
        let accounts = &shop.node.accounts;
        let busy = [accounts.worker(None).await, accounts.worker(None).await];
        for _ in 0..5 {
            send_and_leave(&shop, "wrong", || accounts.load().1 == 1).await;
            while accounts.load().1 > 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(busy);
        let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.1").await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn who_leaves_during_the_check_is_judged_all_the_same() {
        for (password, status) in [(PASSWORD, 200), ("wrong", 429)] {
            let shop = strict();
            let accounts = &shop.node.accounts;
            send_and_leave(&shop, password, || {
                accounts.load().0 == 1 || accounts.done() == 1
            })
            .await;
            while accounts.done() == 0 {
                tokio::task::yield_now().await;
            }
            // What follows from the check has its turn while this asks.
            let mut statuses = Vec::new();
            while statuses.last() != Some(&status) && statuses.len() < 1_000 {
                let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.1").await;
                statuses.push(answer.status);
            }
            assert_eq!(statuses.pop(), Some(status), "{password}");
        }
    }

    #[tokio::test]
    async fn the_balancer_is_answered_before_it_gives_up() {
        let shop = strict();
        let accounts = &shop.node.accounts;
        let busy = [accounts.worker(None).await, accounts.worker(None).await];
        for within_ms in ["0", "1", "40"] {
            let body = json!({"user": "user-000001", "password": PASSWORD});
            let request = head("POST", "/login")
                .header("x-session-strategy", "sticky")
                .header("x-answer-within-ms", within_ms);
            let answer = shop.send_json(request, &body).await;
            assert_eq!(problem(&answer), (503, "/problems/too-many-logins"));
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        drop(busy);
        let answer = guess(&shop, "user-000001", PASSWORD, "192.0.2.1").await;
        assert_eq!(answer.status, 200);
    }
}
