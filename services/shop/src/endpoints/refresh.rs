//! `POST /refresh`: exchanges a refresh token, where the strategy has them. The answer is that of a login.

use axum::extract::State;
use axum::response::Response;
use session::Credential;

use super::login::granted;
use crate::credentials::Presented;
use crate::node::Served;
use crate::problem::Problem;

pub(super) async fn refresh(
    State(served): State<Served>,
    presented: Result<Presented, Problem>,
) -> Result<Response, Problem> {
    let strategy = served.strategy();
    match presented {
        Ok(presented) => {
            let session = strategy.refresh(&presented.credential).await?;
            granted(&served, session, presented.transport, None)
        }
        Err(problem) => {
            // That a strategy has no refresh tokens is said first, whatever else is wrong.
            strategy.refresh(&Credential::default()).await?;
            Err(problem)
        }
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
