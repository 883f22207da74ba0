//! `POST /login` `{user, password[, transport]}`: checks the password and starts a session.
//!
//! What was presented along with the request is handed to the strategy, which ends it: a login never goes on
//! under an old credential (session fixation). Cookies of one name that came along several times are cleared, so that a
//! login always helps. A session whose client has left before it began is ended at once: nobody holds its credential.
//! (One whose answer is lost on the way cannot be told from one that arrived; it ends when its idle time is over.)
//! `transport` says how a strategy with tokens hands them over:
//! `bearer` in the body (default), `cookie` as `HttpOnly` cookies for browsers. Others always set their cookie.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use session::{Answer, Credential, Error, Session};
use tokio::sync::oneshot;

use super::me::Me;
use crate::affinity::{STARTED, X_SESSION_EVENT};
use crate::attempts::{self, Client};
use crate::carrier::Transport;
use crate::cookies::Visit;
use crate::credentials::Brought;
use crate::input::{Identifier, Json, Password};
use crate::node::Served;
use crate::patience::AnswerBy;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    user: Identifier,
    password: Password,
    #[serde(default)]
    transport: Transport,
}

/// The answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Granted {
    /// Where clients have tokens (RFC 6749).
    Tokens {
        token_type: &'static str,
        expires_in: u64,
    },
    /// Where they have no more than a cookie.
    LoggedIn(Me),
}

pub(super) async fn login(
    State(served): State<Served>,
    Client(address): Client,
    AnswerBy(answer_by): AnswerBy,
    Brought(presented): Brought,
    visit: Visit,
    Json(login): Json<Login>,
) -> Result<Response, Problem> {
    let Identifier(user) = login.user;
    if served.takes_no_new_sessions(visit.headers()) && !is_alive(&served, &presented).await? {
        return Err(Problem::NoNewSessions);
    }
    attempts::check(&served, &user, address, login.password, answer_by).await?;
    let session = begin(&served, user, presented).await?;
    let transport = if served.lane().carrier.has_bearers() {
        login.transport
    } else {
        Transport::Cookie
    };
    let mut response = granted(&served, session, transport, Some(&visit))?;
    response.headers_mut().insert(X_SESSION_EVENT, STARTED);
    Ok(response)
}

/// Whether the client is logged in already.
async fn is_alive(served: &Served, presented: &[Credential]) -> Result<bool, Problem> {
    for credential in presented {
        match served.strategy().authenticate(credential).await {
            Ok(_) => return Ok(true),
            Err(Error::NotLoggedIn { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Begins the session, in a task of its own: one that began for nobody must be ended.
async fn begin(
    served: &Served,
    user: String,
    presented: Vec<Credential>,
) -> Result<Answer<Session>, Problem> {
    let (told, granted) = oneshot::channel();
    let served = served.clone();
    tokio::spawn(async move {
        let granted = replace(&served, &user, &presented).await;
        if let Err(Ok(untold)) = told.send(granted) {
            take_back(&served, &untold).await;
        }
    });
    granted.await.unwrap_or_else(|_| {
        tracing::error!("the task that begins a session broke");
        Err(Problem::Internal)
    })
}

/// Begins the session and ends those that were presented.
async fn replace(
    served: &Served,
    user: &str,
    presented: &[Credential],
) -> Result<Answer<Session>, Problem> {
    let strategy = served.strategy();
    let mut presented = presented.iter();
    let granted = strategy.login(user, presented.next()).await?;
    for other in presented {
        // Only now: a login that fails ends nothing. What is nobody's login has ended already.
        if let Err(Error::StoreUnavailable { why, .. }) = strategy.logout(other).await {
            take_back(served, &granted).await;
            let nothing_done = false;
            return Err(Error::StoreUnavailable { nothing_done, why }.into());
        }
    }
    Ok(granted)
}

/// Ends a session whose credential nobody was given.
async fn take_back(served: &Served, granted: &Answer<Session>) {
    let Some(credential) = &granted.reissued else {
        return;
    };
    if let Err(error) = served.strategy().logout(credential).await {
        tracing::debug!(%error, "a session that nobody was told of stays until it expires");
    }
}

/// The answer to a login, or to a refresh, which comes without a `login`.
pub(super) fn granted(
    served: &Served,
    session: Answer<Session>,
    transport: Transport,
    login: Option<&Visit>,
) -> Result<Response, Problem> {
    let carrier = &served.lane().carrier;
    let body = session.map(|session| {
        Some(if carrier.has_bearers() {
            Granted::Tokens {
                token_type: match transport {
                    Transport::Bearer => "Bearer",
                    Transport::Cookie => "cookie",
                },
                expires_in: session.expires_at.saturating_sub(session.issued_at),
            }
        } else {
            Granted::LoggedIn(Me::of(session, served))
        })
    });
    carrier.respond(body, transport, login)
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};
    use serde_json::json;

    use crate::origin::Origin;
    use crate::testing::{PASSWORD, Shop, head, problem};

    #[tokio::test]
    async fn a_login_sets_a_cookie_that_scripts_and_other_sites_cannot_use() {
        let shop = Shop::sticky();
        let answer = shop.try_login("user-000001", PASSWORD).await;
        assert_eq!(answer.status, 200);
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("session-sticky="), "{cookie}");
        assert!(
            cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/"),
            "{cookie}"
        );
        let body = answer.json();
        assert_eq!(body["user"], "user-000001");
        assert_eq!(
            (&body["strategy"], &body["node"]),
            (&"sticky".into(), &"node-7".into())
        );
        assert!(
            !answer
                .text()
                .contains(cookie["session-sticky=".len()..].split(';').next().unwrap())
        );
    }

    #[tokio::test]
    async fn a_login_ends_what_was_presented() {
        let shop = Shop::sticky();
        let old = shop.log_in("user-000001").await;
        let body = json!({"user": "user-000001", "password": PASSWORD});
        let again = shop
            .send_json(head("POST", "/login").header(COOKIE, &old), &body)
            .await;
        let new = again.cookies().join("; ");
        assert_ne!(old, new);
        for (cookie, status) in [(old, 401), (new, 200)] {
            let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test]
    async fn the_answer_says_when_a_session_starts_and_when_it_is_over() {
        for strategy in ["sticky", "jwt"] {
            let shop = Shop::of(&[strategy]);
            let login = shop.try_login("user-000001", PASSWORD).await;
            assert_eq!(login.header("x-session-event"), Some("started"));
            let failed = shop.try_login("user-000001", "wrong").await;
            assert_eq!(failed.header("x-session-event"), None);
            let anonymous = shop.ask("GET", "/me").await;
            assert_eq!(
                (anonymous.status, anonymous.header("x-session-event")),
                (401, None)
            );
            let plain = shop.ask("GET", "/plain").await;
            assert_eq!(plain.header("x-session-event"), None);
            let dead = "session-sticky=AAAAAAAAAAAAAAAAAAAAAA; jwt-token=dead";
            let refused = shop.send(head("GET", "/me").header(COOKIE, dead)).await;
            assert_eq!(
                (refused.status, refused.header("x-session-event")),
                (401, Some("ended"))
            );
            let logout = shop.ask("POST", "/logout").await;
            assert_eq!(logout.header("x-session-event"), Some("ended"));
        }
    }

    /// The balancer says that the node drains, or it is about to end itself.
    #[tokio::test]
    async fn a_node_that_drains_starts_no_session_for_a_client_without_one() {
        let body = json!({"user": "user-000001", "password": PASSWORD});
        for strategy in ["sticky", "jwt"] {
            let shop = Shop::of(&[strategy]);
            let told = || head("POST", "/login").header("x-balancer-drain", "1");
            let refused = shop.send_json(told(), &body).await;
            assert_eq!(problem(&refused), (503, "/problems/no-new-sessions"));
            assert_eq!(refused.header("x-outcome"), Some("nothing-done"));
            assert_eq!(refused.header("x-session-event"), Some("ended"));
            assert_eq!(refused.header("retry-after"), Some("1"));
        }
        let shop = Shop::sticky();
        let (alive, dead) = (
            shop.log_in("user-000001").await,
            "session-sticky=AAAAAAAAAAAAAAAAAAAAAA",
        );
        let told = || head("POST", "/login").header("x-balancer-drain", "1");
        let again = shop.send_json(told().header(COOKIE, &alive), &body).await;
        assert_eq!(again.status, 200, "it stays with its node");
        let refused = shop.send_json(told().header(COOKIE, dead), &body).await;
        assert_eq!(refused.status, 503);
        // Nobody's password is looked at for that.
        let wrong = json!({"user": "user-000001", "password": "wrong"});
        assert_eq!(shop.send_json(told(), &wrong).await.status, 503);

        for (strategy, status) in [("sticky", 503), ("jwt", 200)] {
            let shop = Shop::of(&[strategy]);
            shop.node.start_draining();
            let answer = shop.try_login("user-000001", PASSWORD).await;
            assert_eq!(
                answer.status, status,
                "{strategy}: it would die with the node"
            );
        }
    }

    #[tokio::test]
    async fn a_failed_login_ends_nothing() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000001").await;
        let body = json!({"user": "user-000001", "password": "wrong"});
        let answer = shop
            .send_json(head("POST", "/login").header(COOKIE, &cookie), &body)
            .await;
        assert_eq!(problem(&answer), (401, "/problems/wrong-user-or-password"));
        let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn an_unknown_user_gets_the_answer_of_a_wrong_password() {
        let shop = Shop::sticky();
        let unknown = shop.try_login("user-999999", PASSWORD).await;
        let wrong = shop.try_login("user-000001", "wrong").await;
        assert_eq!(unknown.text(), wrong.text());
        assert_eq!(unknown.status, 401);
    }

    #[tokio::test]
    async fn wrong_forms_are_refused() {
        let shop = Shop::sticky();
        for (body, status) in [
            (json!({"user": "user-000001"}), 422),
            (json!({"user": "user 1", "password": "x"}), 422),
            (
                json!({"user": "user-000001", "password": "x".repeat(1025)}),
                422,
            ),
            (
                json!({"user": "user-000001", "password": "x", "transport": "pigeon"}),
                422,
            ),
            (
                json!({"user": "user-000001", "password": "x", "remember": true}),
                422,
            ),
        ] {
            let answer = shop.send_json(head("POST", "/login"), &body).await;
            assert_eq!(
                problem(&answer),
                (status, "/problems/invalid-input"),
                "{body}"
            );
        }
    }

    #[tokio::test]
    async fn a_full_node_says_so_and_when_to_come_back() {
        let shop = Shop::sticky();
        for user in 1..=10 {
            shop.log_in(&format!("user-{user:06}")).await;
        }
        let answer = shop.try_login("user-000011", PASSWORD).await;
        assert_eq!(problem(&answer), (503, "/problems/node-full"));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("set-cookie"), None);
    }

    #[tokio::test]
    async fn a_token_goes_into_the_body() {
        let answer = Shop::jwt().try_login("user-000001", PASSWORD).await;
        let body = answer.json();
        assert_eq!(
            (&body["token_type"], &body["expires_in"]),
            (&"Bearer".into(), &Shop::TOKEN_S.into())
        );
        assert!(body["access_token"].is_string());
        assert_eq!(answer.header("set-cookie"), None);
    }

    #[tokio::test]
    async fn a_browser_gets_the_token_as_a_cookie_that_works() {
        let shop = Shop::jwt();
        let body = json!({"user": "user-000001", "password": PASSWORD, "transport": "cookie"});
        let old_cart = head("POST", "/login").header(COOKIE, "jwt-cart=old");
        let answer = shop.send_json(old_cart, &body).await;
        assert_eq!(
            answer.json(),
            json!({"token_type": "cookie", "expires_in": Shop::TOKEN_S})
        );
        let cookies = answer.cookies();
        assert!(cookies[0].starts_with("jwt-token=ey"), "{cookies:?}");
        assert_eq!(
            cookies[1], "jwt-cart=",
            "the cart of the login before must go"
        );
        let answer = shop
            .send(head("GET", "/me").header(COOKIE, &cookies[0]))
            .await;
        assert_eq!(answer.json()["user"], "user-000001");
    }

    #[tokio::test]
    async fn header_and_cookie_must_not_be_of_different_users() {
        let shop = Shop::jwt();
        let one = shop.log_in_as_bearer("user-000001").await;
        let same = shop.log_in_as_bearer("user-000001").await;
        let other = shop.log_in_as_bearer("user-000002").await;
        for (in_cookie, status) in [
            (&one, 200),
            (&same, 200),
            (&other, 400),
            (&"Bearer dead".to_owned(), 200),
        ] {
            let cookie = in_cookie.replace("Bearer ", "jwt-token=");
            let request = head("GET", "/me")
                .header(AUTHORIZATION, &one)
                .header(COOKIE, cookie);
            let answer = shop.send(request).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    }

    #[tokio::test]
    async fn https_cookies_are_bound_to_the_host_and_the_plain_names_are_dead() {
        let shop = Shop::with(&["sticky"], |parts| {
            parts.public = Origin::parse("https://lab.example").unwrap();
        });
        let answer = shop.try_login("user-000001", PASSWORD).await;
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-session-sticky="), "{cookie}");
        assert!(
            cookie.ends_with("; Secure; HttpOnly; SameSite=Lax; Path=/"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().unwrap();
        let plain = cookie.strip_prefix("__Host-").unwrap();
        for (cookie, status) in [(cookie, 200), (plain, 401)] {
            let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
            assert_eq!(answer.status, status);
        }
        let shop = Shop::with(&["jwt"], |parts| {
            parts.public = Origin::parse("https://lab.example").unwrap();
        });
        let body = json!({"user": "user-000001", "password": PASSWORD, "transport": "cookie"});
        let login = head("POST", "/login").header(COOKIE, "__Host-jwt-cart=old; jwt-cart=plain");
        let cookies = shop.send_json(login, &body).await.cookies();
        assert!(cookies[0].starts_with("__Host-jwt-token="), "{cookies:?}");
        assert_eq!(cookies[1..], ["jwt-cart=", "__Host-jwt-cart="]);
    }

    #[tokio::test]
    async fn cookies_of_one_name_lock_nobody_out_and_all_their_sessions_end() {
        let shop = Shop::sticky();
        let mine = shop.log_in("user-000001").await;
        let other = shop.log_in("user-000002").await;
        let body = json!({"user": "user-000001", "password": PASSWORD});
        let request = head("POST", "/login")
            .header(COOKIE, format!("{mine}; {other}"))
            .header(COOKIE, "session-sticky=planted");
        let answer = shop.send_json(request, &body).await;
        assert_eq!(answer.status, 200);
        let cookies = answer.cookies();
        let (new, cleared) = cookies.split_last().unwrap();
        assert!(cleared.iter().all(|cookie| cookie == "session-sticky="));
        assert_ne!((new, new), (&mine, &other));
        for (cookie, status) in [(&mine, 401), (&other, 401), (new, 200)] {
            let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test]
    async fn a_session_that_nobody_was_told_of_is_ended() {
        let shop = Shop::sticky();
        let sessions = || shop.node.lanes[0].strategy.sessions_owned().unwrap();
        let served = shop.node.serve(&http::HeaderMap::new()).unwrap();
        let users = || std::sync::Arc::strong_count(&shop.node);
        let idle = users();
        for _ in 0..20 {
            let login = super::begin(&served, "user-000001".into(), Vec::new());
            // Polled once, so that its task is there, and dropped.
            tokio::select! {
                biased;
                _ = login => panic!("the task has not run yet"),
                () = std::future::ready(()) => {}
            }
            while users() > idle {
                tokio::task::yield_now().await;
            }
            assert_eq!(sessions(), 0);
        }
        shop.log_in("user-000001").await;
        assert_eq!(sessions(), 1);
    }
}
