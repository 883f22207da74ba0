//! Orders to the load balancer: drain and maint, taken back with ready. In effect is what the load balancer itself says of
//! the node, at every listener.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::FaultError;
use super::fault::FaultAction;
use crate::{Cluster, NodeState, Order};

/// For the load balancer to see a node as it should: at most a few checks of half a second each, also on a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A node that is ordered away.
pub(super) struct Ordered<'a> {
    cluster: &'a Cluster,
    node: &'a str,
    order: Order,
}

impl<'a> Ordered<'a> {
    pub(super) fn new(cluster: &'a Cluster, node: &'a str, action: FaultAction) -> Self {
        let order = match action {
            FaultAction::Drain { deadline_s } => Order::Drain { deadline_s },
            _ => Order::Maint,
        };
        Self {
            cluster,
            node,
            order,
        }
    }

    pub(super) async fn command(&self) -> Result<String, FaultError> {
        self.cluster.order(self.node, self.order).await?;
        seen(self.cluster, self.node, self.order.word()).await
    }

    pub(super) async fn undo(&self) -> Result<String, FaultError> {
        self.cluster.order(self.node, Order::Ready).await?;
        seen(self.cluster, self.node, "up").await
    }
}

/// Waits until the load balancer calls a node `wanted` at every listener.
pub(super) async fn seen(
    cluster: &Cluster,
    node: &str,
    wanted: &'static str,
) -> Result<String, FaultError> {
    let deadline = Instant::now() + SEEN_WITHIN;
    loop {
        let states = of_node(cluster.node_states().await?, node);
        if !states.is_empty() && states.iter().all(|state| state.word == wanted) {
            let listeners: Vec<&str> = states.iter().map(|state| &*state.listener).collect();
            return Ok(format!(
                "the load balancer calls {node} {wanted} for {}",
                listeners.join(", ")
            ));
        }
        if Instant::now() > deadline {
            let said = states
                .iter()
                .map(|state| format!("{} for {}", state.word, state.listener));
            return Err(FaultError::NotSeen {
                node: node.into(),
                wanted,
                within: SEEN_WITHIN,
                last: said.collect::<Vec<_>>().join(", "),
            });
        }
        sleep(PAUSE).await;
    }
}

fn of_node(mut states: Vec<NodeState>, node: &str) -> Vec<NodeState> {
    states.retain(|state| state.node == node);
    states
}
