//! `POST /refresh`: for strategies with a refresh token. None of those served today has one.

use axum::extract::State;

use crate::node::Served;
use crate::problem::Problem;

pub(super) async fn refresh(State(served): State<Served>) -> Problem {
    Problem::Unsupported {
        strategy: served.lane().name,
        why: "it has no refresh token",
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Shop, problem};

    #[tokio::test]
    async fn no_strategy_has_a_refresh_token() {
        for shop in [Shop::sticky(), Shop::jwt()] {
            let answer = shop.ask("POST", "/refresh").await;
            assert_eq!(problem(&answer), (501, "/problems/unsupported-by-strategy"));
        }
    }
}
