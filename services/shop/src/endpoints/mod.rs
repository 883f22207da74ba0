//! The endpoints, one a file with its tests beside it, and the router that leads to them.
//!
//! Each path takes one method, so a path and an endpoint are the same thing.

mod cart;
mod clock;
mod health;
mod login;
mod logout;
mod me;
mod metrics;
mod plain;
mod refresh;
mod revoke;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post};

use crate::exchange::{Application, Operational};
use crate::metrics::Endpoint;
use crate::node::{Node, Served};
use crate::problem::Problem;

/// Every path of the node.
pub(crate) fn router(node: Arc<Node>) -> Router {
    use Endpoint as E;
    let mut router = Router::new()
        .route("/login", served(post, E::Login, login::login))
        .route("/logout", served(post, E::Logout, logout::logout))
        .route("/refresh", served(post, E::Refresh, refresh::refresh))
        .route("/me", served(get, E::Me, me::me))
        .route("/cart", served(get, E::Cart, cart::read))
        .route("/cart/lines", served(post, E::AddLine, cart::add))
        .route(
            "/cart/lines/{id}",
            served(delete, E::RemoveLine, cart::remove),
        )
        .route("/sessions", served(get, E::Sessions, sessions::list))
        .route(
            "/sessions/{id}",
            served(delete, E::EndSession, sessions::end),
        )
        .route(
            "/admin/users/{user}/revoke",
            served(post, E::Revoke, revoke::revoke),
        )
        .route("/plain", served(get, E::Plain, plain::plain))
        .route("/healthz", operational(get, E::Healthz, health::alive))
        .route("/readyz", operational(get, E::Readyz, health::ready))
        .route("/metrics", operational(get, E::Metrics, metrics::metrics));
    if node.turnable_clock {
        router = router.route("/admin/clock", operational(post, E::Clock, clock::turn));
    }
    let nowhere = Operational {
        endpoint: E::NotFound,
        handler: not_found,
    };
    router.fallback(nowhere).with_state(node)
}

/// A path that is served by a strategy and takes one method.
fn served<H: Handler<T, Served> + Copy, T: Send + 'static>(
    method: fn(Application<H>) -> MethodRouter<Arc<Node>>,
    endpoint: Endpoint,
    handler: H,
) -> MethodRouter<Arc<Node>> {
    method(Application { endpoint, handler }).fallback(wrong_method(endpoint))
}

/// A path that no strategy is needed for and that takes one method.
fn operational<H: Handler<T, Arc<Node>> + Copy, T: Send + 'static>(
    method: fn(Operational<H>) -> MethodRouter<Arc<Node>>,
    endpoint: Endpoint,
    handler: H,
) -> MethodRouter<Arc<Node>> {
    method(Operational { endpoint, handler }).fallback(wrong_method(endpoint))
}

fn wrong_method(endpoint: Endpoint) -> Operational<impl Handler<((),), Arc<Node>> + Copy> {
    // axum adds `Allow`.
    let handler = async || Problem::MethodNotAllowed;
    Operational { endpoint, handler }
}

async fn not_found() -> Problem {
    Problem::NotFound
}

#[cfg(test)]
mod tests {
    use crate::testing::{Shop, problem};

    #[tokio::test]
    async fn wrong_paths_and_methods_get_problems_too() {
        let shop = Shop::sticky();
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/nothing"),
            ("POST", "/admin/clock"),
            ("GET", "/cart/lines/a/b"),
        ] {
            let answer = shop.ask(method, path).await;
            assert_eq!(problem(&answer), (404, "/problems/not-found"), "{path}");
        }
        for (method, path, allow) in [
            ("GET", "/login", "POST"),
            ("DELETE", "/me", "GET,HEAD"),
            ("POST", "/healthz", "GET,HEAD"),
            ("PUT", "/cart/lines/a", "DELETE"),
        ] {
            let answer = shop.ask(method, path).await;
            assert_eq!(
                problem(&answer),
                (405, "/problems/method-not-allowed"),
                "{path}"
            );
            assert_eq!(answer.header("allow"), Some(allow));
        }
    }
}
