//! `GET /plain`: no session work at all. The base line that the cost of each strategy is measured against.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::node::Served;

#[derive(Serialize)]
struct Plain {
    node: String,
}

pub(super) async fn plain(State(served): State<Served>) -> Json<impl Serialize> {
    Json(Plain {
        node: served.node.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Shop;

    #[tokio::test]
    async fn it_answers_without_a_login() {
        let answer = Shop::sticky().ask("GET", "/plain").await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"node": "node-7"}))
        );
    }
}
