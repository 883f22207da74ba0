//! `POST /admin/clock` `{advance_seconds}`: an operator turns the node's clock ahead, so that a test of expiry
//! need not wait for half an hour. There only with `--turnable-clock`. A store keeps its own time, to which this node adds
//! what it was turned by; so whoever turns one node turns all, or the others go on accepting what this one refuses.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;

use crate::input::Json;
use crate::node::Node;
use crate::operator::Operator;
use crate::problem::Problem;

/// Ten years: longer than anything lives here, short enough that no sum of times overflows.
const MAX_ADVANCE_S: u64 = 10 * 365 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Turn {
    advance_seconds: u64,
}

pub(super) async fn turn(
    _: Operator,
    State(node): State<Arc<Node>>,
    Json(turn): Json<Turn>,
) -> Result<StatusCode, Problem> {
    if turn.advance_seconds > MAX_ADVANCE_S {
        return Err(Problem::InvalidInput {
            why: format!("advance_seconds: must be at most {MAX_ADVANCE_S}"),
        });
    }
    node.clock.turn(Duration::from_secs(turn.advance_seconds));
    tracing::warn!(turn.advance_seconds, "the clock was turned ahead");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use serde_json::json;

    use super::MAX_ADVANCE_S;
    use crate::testing::{OPERATOR, Shop, head, problem};

    fn shop() -> Shop {
        Shop::with(&["sticky", "jwt"], |parts| parts.turnable_clock = true)
    }

    #[tokio::test]
    async fn an_operator_turns_it() {
        let shop = shop();
        let before = shop.node.clock.now();
        let request = head("POST", "/admin/clock").header(AUTHORIZATION, OPERATOR);
        let answer = shop
            .send_json(request, &json!({"advance_seconds": 3600}))
            .await;
        assert_eq!(answer.status, 204);
        assert!(shop.node.clock.now() >= before + 3600);
    }

    #[tokio::test]
    async fn nobody_else_does_and_never_back_or_too_far() {
        let shop = shop();
        let answer = shop
            .send_json(head("POST", "/admin/clock"), &json!({"advance_seconds": 1}))
            .await;
        assert_eq!(problem(&answer), (401, "/problems/not-the-operator"));
        for seconds in [json!(-1), json!(MAX_ADVANCE_S + 1)] {
            let request = head("POST", "/admin/clock").header(AUTHORIZATION, OPERATOR);
            let answer = shop
                .send_json(request, &json!({"advance_seconds": seconds}))
                .await;
            assert_eq!(problem(&answer), (422, "/problems/invalid-input"));
        }
    }
}
