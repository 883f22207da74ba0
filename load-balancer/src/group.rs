//! What belongs to one listener: its settings, its nodes and its counters, shared by all that works for it.
//!
//! Each listener has nodes of its own, because readiness is per strategy: a node whose store is gone is down for
//! `redis` and up for `sticky`. What is found out about them is in `judge`, what the operator wants in `orders`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    admin_state::Order,
    affinity::Affinity,
    budget::Budget,
    config::{self, Config, Health, Listener, NodeAddress, OnDeadNode, PinRule, Timeouts},
    lifecycle::Lifecycle,
    metrics::ListenerStats,
    node::Node,
    node_set::NodeSet,
};

/// What one listener's proxy, its checks and the admin port share.
#[derive(Debug)]
pub(crate) struct Group {
    /// The strategy that the listener serves; also the listener's name.
    pub(crate) strategy: String,
    /// Where the listener listens.
    pub(crate) address: SocketAddr,
    /// Set where clients are pinned to nodes.
    pub(crate) affinity: Option<Arc<Affinity>>,
    /// Who is.
    pub(crate) pin: PinRule,
    pub(crate) on_dead_node: OnDeadNode,
    pub(crate) health: Health,
    pub(crate) timeouts: Timeouts,
    pub(crate) max_in_flight: u64,
    pub(crate) ejection: config::EjectionRule,
    pub(crate) budget: Budget,
    pub(crate) nodes: NodeSet,
    pub(crate) stats: ListenerStats,
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// What the operator ordered, by the name of the node: an order outlives a look-up that misses the node.
    orders: Mutex<HashMap<String, Order>>,
    /// Held while a node is judged, so that two threads cannot both eject the last but one.
    pub(crate) judging: Mutex<()>,
}

impl Group {
    /// A group without nodes yet.
    pub(crate) fn new(listener: &Listener, lifecycle: Arc<Lifecycle>, config: &Config) -> Self {
        let key = config.affinity_key.as_ref().filter(|_| listener.affinity);
        Self {
            strategy: listener.strategy.clone(),
            address: listener.address,
            affinity: key.map(|key| Arc::new(Affinity::new(key, &listener.cookie))),
            pin: listener.pin,
            on_dead_node: listener.on_dead_node,
            health: config.health.clone(),
            timeouts: config.timeouts,
            max_in_flight: config.limits.max_in_flight,
            ejection: config.ejection,
            budget: Budget::new(config.retries),
            nodes: NodeSet::default(),
            stats: ListenerStats::default(),
            lifecycle,
            orders: Mutex::default(),
            judging: Mutex::default(),
        }
    }

    /// A node of this group that has yet to prove itself.
    pub(crate) fn node(&self, found: &NodeAddress) -> Node {
        let tag = self
            .affinity
            .as_ref()
            .map(|affinity| affinity.tag(&found.name));
        let order = self.orders().get(&found.name).copied();
        let order = order.unwrap_or(Order::READY);
        Node::new(found, tag, &self.timeouts, self.max_in_flight, order)
    }

    /// The orders in force, for `orders`.
    pub(crate) fn orders(&self) -> MutexGuard<'_, HashMap<String, Order>> {
        // Every path writes whole entries, so a panic cannot leave the map half written.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::node::tests::{SECOND, TIMEOUTS};

    pub(crate) fn group() -> Arc<Group> {
        Arc::new(Group {
            strategy: "sticky".to_owned(),
            address: ([127, 0, 0, 1], 1).into(),
            affinity: None,
            pin: PinRule::Session,
            on_dead_node: OnDeadNode::Repin,
            health: Health {
                path: "/".to_owned(),
                interval: SECOND,
                timeout: SECOND,
                rise: 1,
                fall: 1,
            },
            timeouts: TIMEOUTS,
            max_in_flight: 4,
            ejection: config::EjectionRule {
                failures: 3,
                base: SECOND,
                max: SECOND,
                max_percent: 50,
            },
            budget: Budget::new(config::Retries {
                attempts: 3,
                budget_percent: 20,
                budget_floor: 1,
            }),
            nodes: NodeSet::default(),
            stats: ListenerStats::default(),
            lifecycle: Arc::default(),
            orders: Mutex::default(),
            judging: Mutex::default(),
        })
    }
}
