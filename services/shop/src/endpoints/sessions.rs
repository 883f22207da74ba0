//! A user's own logins: `GET /sessions` lists them, `DELETE /sessions/{id}` ends one.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use session::Listed;

use crate::credentials::Presented;
use crate::input::PathId;
use crate::node::Served;
use crate::problem::Problem;

/// Longer than the ids that any strategy lists: digests and the like.
const MAX_SESSION_ID_BYTES: usize = 128;

#[derive(Serialize)]
struct Sessions {
    sessions: Vec<Listed>,
}

pub(super) async fn list(
    State(served): State<Served>,
    presented: Presented,
) -> Result<Response, Problem> {
    let listed = served.strategy().sessions(&presented.credential).await?;
    presented.respond(&served, listed.map(|sessions| Sessions { sessions }))
}

pub(super) async fn end(
    State(served): State<Served>,
    presented: Presented,
    PathId(id): PathId<MAX_SESSION_ID_BYTES>,
) -> Result<Response, Problem> {
    let ended = served.strategy().end(&presented.credential, &id).await?;
    let carrier = &served.lane().carrier;
    carrier.respond(ended.map(|()| None::<()>), presented.transport, None)
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};

    use crate::testing::{Shop, head, problem};

    #[tokio::test]
    async fn a_user_sees_and_ends_their_own_logins_only() {
        let shop = Shop::sticky();
        let here = shop.log_in("user-000001").await;
        let elsewhere = shop.log_in("user-000001").await;
        let stranger = shop.log_in("user-000002").await;

        let list = shop
            .send(head("GET", "/sessions").header(COOKIE, &here))
            .await
            .json();
        let list = list["sessions"].as_array().unwrap();
        assert_eq!(list.len(), 2);
        let other = list.iter().find(|login| login["current"] == false).unwrap();
        let path = format!("/sessions/{}", other["id"].as_str().unwrap());

        let answer = shop
            .send(head("DELETE", &path).header(COOKIE, &stranger))
            .await;
        assert_eq!(problem(&answer), (404, "/problems/no-such-session"));
        let answer = shop.send(head("DELETE", &path).header(COOKIE, &here)).await;
        assert_eq!(answer.status, 204);
        for (cookie, status) in [(here, 200), (elsewhere, 401), (stranger, 200)] {
            let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test]
    async fn a_strategy_without_server_state_has_no_list() {
        let shop = Shop::jwt();
        let bearer = shop.log_in_as_bearer("user-000001").await;
        for (method, path) in [("GET", "/sessions"), ("DELETE", "/sessions/a")] {
            let answer = shop
                .send(head(method, path).header(AUTHORIZATION, &bearer))
                .await;
            assert_eq!(problem(&answer), (501, "/problems/unsupported-by-strategy"));
            assert_eq!(shop.ask(method, path).await.status, 401);
        }
    }
}
