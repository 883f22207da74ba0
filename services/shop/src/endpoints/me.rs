//! `GET /me`: who is logged in, and until when.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use session::Session;

use crate::credentials::Presented;
use crate::node::Served;
use crate::problem::Problem;

/// A login, as the one who is logged in may see it.
#[derive(Serialize)]
pub(super) struct Me {
    user: String,
    strategy: &'static str,
    node: String,
    issued_at: u64,
    expires_at: u64,
}

impl Me {
    pub(super) fn of(session: Session, served: &Served) -> Self {
        Self {
            user: session.user,
            strategy: served.lane().name,
            node: served.node.name.clone(),
            issued_at: session.issued_at,
            expires_at: session.expires_at,
        }
    }
}

pub(super) async fn me(
    State(served): State<Served>,
    presented: Presented,
) -> Result<Response, Problem> {
    let strategy = served.strategy();
    let session = strategy.authenticate(&presented.credential).await?;
    presented.respond(&served, session.map(|session| Me::of(session, &served)))
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};

    use crate::testing::{Shop, head, problem};

    #[tokio::test]
    async fn it_tells_who_is_logged_in() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000007").await;
        let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
        let me = answer.json();
        assert_eq!(me["user"], "user-000007");
        assert_eq!(
            (&me["strategy"], &me["node"]),
            (&"sticky".into(), &"node-7".into())
        );
        assert_eq!(
            me["expires_at"].as_u64().unwrap() - me["issued_at"].as_u64().unwrap(),
            Shop::IDLE_S
        );
    }

    #[tokio::test]
    async fn nobody_is_logged_in_without_a_live_credential() {
        let shop = Shop::sticky();
        for cookie in [
            "",
            "session-sticky=",
            "session-sticky=forged",
            "session-redis=AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
            assert_eq!(
                problem(&answer),
                (401, "/problems/not-logged-in"),
                "{cookie}"
            );
            assert_eq!(
                answer.header("set-cookie"),
                None,
                "a 401 must not touch the cookie"
            );
        }
        let long = format!("session-sticky={}", "a".repeat(5000));
        let answer = shop.send(head("GET", "/me").header(COOKIE, long)).await;
        assert_eq!(answer.status, 401);
    }

    #[tokio::test]
    async fn a_strategy_with_cookies_ignores_the_authorization_header() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000007").await;
        let request = head("GET", "/me")
            .header(COOKIE, cookie)
            .header(AUTHORIZATION, "Basic x");
        assert_eq!(shop.send(request).await.status, 200);
    }

    #[tokio::test]
    async fn two_cookies_of_the_same_name_are_refused() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000007").await;
        let twice = [
            head("GET", "/me").header(COOKIE, format!("{cookie}; a=b; {cookie}")),
            head("GET", "/me")
                .header(COOKIE, &cookie)
                .header(COOKIE, &cookie),
        ];
        for request in twice {
            let answer = shop.send(request).await;
            assert_eq!(problem(&answer), (400, "/problems/ambiguous-credential"));
        }
    }

    #[tokio::test]
    async fn it_expires_by_the_clock() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000007").await;
        shop.turn_clock(Shop::IDLE_S + 1);
        let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
        assert_eq!(answer.status, 401);
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_503_and_touches_no_cookie() {
        let shop = Shop::broken();
        let request = head("GET", "/me").header(COOKIE, "session-broken=whatever");
        let answer = shop.send(request).await;
        assert_eq!(problem(&answer), (503, "/problems/store-unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("set-cookie"), None);
    }
}
