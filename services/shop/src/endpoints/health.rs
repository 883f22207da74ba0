//! `GET /healthz`: the process lives. `GET /readyz`: requests would be served now.
//!
//! The balancer asks `/readyz` for each strategy by `x-session-strategy`, so that a dead store takes no node
//! from the listeners that do not need it. Without the header, all strategies of the node must be ready.
//!
//! The answer's body is for people: a line for each thing that works and should not be left so.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::HeaderMap;
use session::{Error, Eviction};

use crate::node::{Lane, Node};
use crate::problem::Problem;

/// An answer must come before the one who asks gives up (the balancer waits 500 ms), else a hung store
/// would look like a hung node.
const READY_WITHIN: Duration = Duration::from_millis(400);

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
) -> Result<String, Problem> {
    if node.is_draining() {
        return Err(Problem::Draining);
    }
    let asked = match node.named_lane(&headers)? {
        Some(index) => &node.lanes[index..=index],
        None => &node.lanes[..],
    };
    let mut body = "ready\n".to_owned();
    for lane in asked {
        lane_ready(lane).await?;
        body.push_str(&warning(lane));
    }
    Ok(body)
}

/// What somebody should know of a store that answers; empty where there is nothing to say.
fn warning(lane: &Lane) -> String {
    match lane.strategy.eviction() {
        None | Some(Eviction::Never) => String::new(),
        Some(Eviction::May { policy }) => format!(
            "warning: {}: the store may evict sessions (its maxmemory-policy is {policy}), which logs users out at random: set noeviction\n",
            lane.name
        ),
        Some(Eviction::Unknown) => format!(
            "warning: {}: whether the store may evict sessions is unknown: see to it that its maxmemory-policy is noeviction\n",
            lane.name
        ),
    }
}

async fn lane_ready(lane: &Lane) -> Result<(), Error> {
    tokio::time::timeout(READY_WITHIN, lane.strategy.ready())
        .await
        .unwrap_or_else(|_| {
            Err(Error::StoreUnavailable {
                nothing_done: true,
                why: "no answer in time".into(),
            })
        })
}

#[cfg(test)]
mod tests {
    use crate::testing::{Shop, head, problem};

    #[tokio::test]
    async fn readiness_is_told_for_each_strategy() {
        let shop = Shop::of(&["sticky", "broken"]);
        for (strategy, status) in [("sticky", 200), ("broken", 503), ("paper", 421)] {
            let request = head("GET", "/readyz").header("x-session-strategy", strategy);
            assert_eq!(shop.send(request).await.status, status, "{strategy}");
        }
        let all = shop.ask("GET", "/readyz").await;
        assert_eq!(problem(&all), (503, "/problems/store-unavailable"));
        assert_eq!(shop.ask("GET", "/healthz").await.status, 200);
        assert_eq!(
            Shop::of(&["sticky", "jwt"])
                .ask("GET", "/readyz")
                .await
                .status,
            200
        );
    }

    #[tokio::test]
    async fn a_node_that_drains_is_alive_but_not_ready_and_closes_its_connections() {
        let shop = Shop::sticky();
        assert_eq!(shop.ask("GET", "/plain").await.header("connection"), None);
        shop.node.start_draining();
        let answer = shop.ask("GET", "/readyz").await;
        assert_eq!(problem(&answer), (503, "/problems/draining"));
        assert_eq!(shop.ask("GET", "/healthz").await.status, 200);
        let answer = shop.ask("GET", "/plain").await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (200, Some("close"))
        );
    }
}
