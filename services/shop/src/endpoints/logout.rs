//! `POST /logout`: ends the session wherever the strategy can, and makes the client forget its cookies.
//!
//! Whatever was presented is ended, and where cookies of one name came along several times all of them are cleared: a user
//! who wants to leave is never refused.
//!
//! The status says what is known afterwards. 204: no node accepts the credential any more, or, where a copy of it lives
//! on, `x-credential-alive-until` says until when. 200 with `{"ended": false}`: this node does not know the session, or one
//! of several, so it did not end it, and another node may still accept the credential.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use session::{Credential, Error, LoggedOut, Strategy};

use crate::affinity::{ENDED, X_SESSION_EVENT};
use crate::cookies::Visit;
use crate::credentials::Brought;
use crate::node::Served;
use crate::problem::Problem;

const X_CREDENTIAL_ALIVE_UNTIL: HeaderName = HeaderName::from_static("x-credential-alive-until");

/// The answer of a node that does not know the session.
#[derive(Serialize)]
struct NothingEnded<'a> {
    ended: bool,
    node: &'a str,
    detail: &'static str,
}

const UNKNOWN_HERE: &str = "This node does not know the session. If another node holds it, that node accepts the credential \
                            until the session expires.";

pub(super) async fn logout(
    State(served): State<Served>,
    Brought(presented): Brought,
    visit: Visit,
) -> Result<Response, Problem> {
    let mut logged_out = LoggedOut::Dead;
    for (ended, credential) in presented.iter().enumerate() {
        let end = end(served.strategy(), credential).await;
        logged_out = logged_out.max(end.map_err(|error| match error {
            Error::StoreUnavailable { nothing_done, why } => Error::StoreUnavailable {
                nothing_done: nothing_done && ended == 0,
                why,
            },
            other => other,
        })?);
    }
    let mut response = match logged_out {
        LoggedOut::Dead | LoggedOut::AliveUntil(_) => StatusCode::NO_CONTENT.into_response(),
        LoggedOut::UnknownHere => Json(NothingEnded {
            ended: false,
            node: &served.node.name,
            detail: UNKNOWN_HERE,
        })
        .into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_SESSION_EVENT, ENDED);
    if let LoggedOut::AliveUntil(time) = logged_out {
        headers.insert(X_CREDENTIAL_ALIVE_UNTIL, HeaderValue::from(time));
    }
    served.lane().carrier.clear(headers, &visit)?;
    Ok(response)
}

async fn end(strategy: &dyn Strategy, credential: &Credential) -> Result<LoggedOut, Error> {
    match strategy.logout(credential).await {
        Err(Error::NotLoggedIn { .. }) => Ok(LoggedOut::Dead),
        // A store that is away has ended nothing: the client keeps its cookie and tries again.
        logged_out => logged_out,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};

    use crate::testing::{Shop, head, problem};

    #[tokio::test]
    async fn the_session_is_dead_and_the_cookie_cleared() {
        let shop = Shop::sticky();
        let cookie = shop.log_in("user-000001").await;
        let answer = shop
            .send(head("POST", "/logout").header(COOKIE, &cookie))
            .await;
        assert_eq!((answer.status, answer.text()), (204, ""));
        assert_eq!(
            answer.header("set-cookie"),
            Some("session-sticky=; Max-Age=0; HttpOnly; SameSite=Lax; Path=/")
        );
        let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
        assert_eq!(answer.status, 401);
    }

    #[tokio::test]
    async fn logging_out_what_is_not_logged_in_succeeds() {
        for shop in [Shop::sticky(), Shop::jwt()] {
            let answer = shop.ask("POST", "/logout").await;
            assert_eq!((answer.status, answer.header("set-cookie")), (204, None));
            let dead = "session-sticky=no-id; jwt-token=dead; jwt-cart=dead";
            let answer = shop
                .send(head("POST", "/logout").header(COOKIE, dead))
                .await;
            assert_eq!(answer.status, 204);
            assert!(answer.cookies().iter().all(|cookie| cookie.ends_with('=')));
            assert!(!answer.cookies().is_empty());
        }
    }

    #[tokio::test]
    async fn a_node_that_does_not_know_the_session_does_not_say_that_it_ended() {
        let (home, elsewhere) = (Shop::sticky(), Shop::sticky());
        let cookie = home.log_in("user-000001").await;
        let log_out = || head("POST", "/logout").header(COOKIE, &cookie);
        let answer = elsewhere.send(log_out()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["ended"], false);
        assert_eq!(
            answer.header("set-cookie"),
            Some("session-sticky=; Max-Age=0; HttpOnly; SameSite=Lax; Path=/"),
            "the user wants to leave, whatever the node knows"
        );
        let me = || head("GET", "/me").header(COOKIE, &cookie);
        assert_eq!(home.send(me()).await.status, 200, "nothing was ended");
        assert_eq!(home.send(log_out()).await.status, 204);
        assert_eq!(home.send(me()).await.status, 401);
    }

    #[tokio::test]
    async fn a_token_lives_on_and_the_answer_says_until_when() {
        let shop = Shop::jwt();
        let bearer = shop.log_in_as_bearer("user-000001").await;
        let me = shop
            .send(head("GET", "/me").header(AUTHORIZATION, &bearer))
            .await
            .json();
        let answer = shop
            .send(head("POST", "/logout").header(AUTHORIZATION, &bearer))
            .await;
        assert_eq!(answer.status, 204);
        let until: u64 = answer
            .header("x-credential-alive-until")
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(until, me["expires_at"].as_u64().unwrap() + Shop::LEEWAY_S);
        assert_eq!(
            answer.header("set-cookie"),
            None,
            "a bearer has no cookie to clear"
        );
    }

    #[tokio::test]
    async fn a_store_that_is_away_leaves_the_cookie() {
        let shop = Shop::broken();
        let request = head("POST", "/logout").header(COOKIE, "session-broken=x");
        let answer = shop.send(request).await;
        assert_eq!(problem(&answer), (503, "/problems/store-unavailable"));
        assert_eq!(answer.header("set-cookie"), None);
    }
}
