//! `POST /admin/users/{user}/revoke`: an operator ends every login of a user that the strategy can reach from here.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::input::{MAX_IDENTIFIER_BYTES, PathId};
use crate::node::Served;
use crate::operator::Operator;
use crate::problem::Problem;

#[derive(Serialize)]
struct Revoked {
    revoked: u64,
}

pub(super) async fn revoke(
    _: Operator,
    State(served): State<Served>,
    PathId(user): PathId<MAX_IDENTIFIER_BYTES>,
) -> Result<Json<impl Serialize>, Problem> {
    let revoked = served.strategy().revoke(&user).await?;
    tracing::info!(
        user,
        revoked,
        strategy = served.lane().name,
        "logins revoked"
    );
    Ok(Json(Revoked { revoked }))
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};
    use serde_json::json;

    use crate::testing::{OPERATOR, Shop, head, problem};

    const PATH: &str = "/admin/users/user-000001/revoke";

    #[tokio::test]
    async fn an_operator_ends_every_login_of_a_user() {
        let shop = Shop::sticky();
        let one = shop.log_in("user-000001").await;
        let two = shop.log_in("user-000001").await;
        let stranger = shop.log_in("user-000002").await;
        let answer = shop
            .send(head("POST", PATH).header(AUTHORIZATION, OPERATOR))
            .await;
        assert_eq!((answer.status, answer.json()), (200, json!({"revoked": 2})));
        for (cookie, status) in [(one, 401), (two, 401), (stranger, 200)] {
            let answer = shop.send(head("GET", "/me").header(COOKIE, cookie)).await;
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test]
    async fn nobody_else_does() {
        let shop = Shop::sticky();
        let bearers = [
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "Basic the operator's token",
        ];
        for bearer in bearers.into_iter().chain([&OPERATOR[..OPERATOR.len() - 1]]) {
            let answer = shop
                .send(head("POST", PATH).header(AUTHORIZATION, bearer))
                .await;
            assert_eq!(
                problem(&answer),
                (401, "/problems/not-the-operator"),
                "{bearer}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let without = Shop::with(&["sticky"], |parts| parts.operator_token = None);
        let answer = without
            .send(head("POST", PATH).header(AUTHORIZATION, OPERATOR))
            .await;
        assert_eq!(problem(&answer), (403, "/problems/no-operator"));
    }

    #[tokio::test]
    async fn a_strategy_that_cannot_says_so() {
        let shop = Shop::jwt();
        let answer = shop
            .send(head("POST", PATH).header(AUTHORIZATION, OPERATOR))
            .await;
        assert_eq!(problem(&answer), (501, "/problems/unsupported-by-strategy"));
    }
}
