//! What belongs to one listener: its nodes, its counters, and the snapshot that requests choose from.
//!
//! Each listener has a set of its own, because readiness is per strategy: a node whose store is gone is
//! down for `redis` and up for `sticky`. A request loads the snapshot once (no lock, no allocation);
//! `discovery` replaces it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::{ArcSwap, Guard};
use tracing::{info, warn};

use crate::{
    access_log::AccessLog,
    admin_state::{AdminState, Order},
    affinity::Affinity,
    budget::Budget,
    clock,
    config::{self, Config, Health, Listener, NodeAddress, OnDeadNode, PinRule, Timeouts},
    ejection,
    lifecycle::Lifecycle,
    metrics::{Change, ListenerStats},
    node::{Node, State},
    progress::Failure,
};

/// Orders for more nodes than this are not remembered beyond the nodes' lives.
const MAX_ORDERS: usize = 1024;

/// The current snapshot of a listener's nodes, ordered by name.
#[derive(Debug, Default)]
pub(crate) struct NodeSet(ArcSwap<Vec<Arc<Node>>>);

impl NodeSet {
    /// The snapshot. Cheap; hold it no longer than the choice takes.
    pub(crate) fn load(&self) -> Guard<Arc<Vec<Arc<Node>>>> {
        self.0.load()
    }

    /// Replaces the snapshot.
    pub(crate) fn store(&self, nodes: Vec<Arc<Node>>) {
        self.0.store(Arc::new(nodes));
    }
}

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
    pub(crate) ejection: config::Ejection,
    pub(crate) budget: Budget,
    pub(crate) nodes: NodeSet,
    pub(crate) stats: ListenerStats,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) access_log: Option<Arc<AccessLog>>,
    /// What the operator ordered, by the name of the node: an order outlives a look-up that misses the node.
    orders: Mutex<HashMap<String, Order>>,
    /// Held while a node is judged, so that two threads cannot both eject the last but one.
    judging: Mutex<()>,
}

impl Group {
    /// A group without nodes yet.
    pub(crate) fn new(
        listener: &Listener,
        affinity: Option<Arc<Affinity>>,
        lifecycle: Arc<Lifecycle>,
        access_log: Option<Arc<AccessLog>>,
        config: &Config,
    ) -> Self {
        Self {
            strategy: listener.strategy.clone(),
            address: listener.address,
            affinity: affinity.filter(|_| listener.affinity),
            pin: listener.pin,
            on_dead_node: listener.on_dead_node,
            health: config.health.clone(),
            timeouts: config.timeouts,
            max_in_flight: config.max_in_flight,
            ejection: config.ejection,
            budget: Budget::new(config.retry_budget),
            nodes: NodeSet::default(),
            stats: ListenerStats::default(),
            lifecycle,
            access_log,
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

    /// The operator's order for a node, in force at once. False when there is no such node.
    pub(crate) fn order(&self, name: &str, order: Order) -> bool {
        // Held until the node knows, so that a node that is just being made cannot miss the order.
        let mut orders = self.orders();
        let nodes = self.nodes.load();
        let Some(node) = nodes.iter().find(|node| node.name == name) else {
            return false;
        };
        if orders.len() >= MAX_ORDERS {
            orders.retain(|name, _| nodes.iter().any(|node| node.name == *name));
        }
        if order == Order::READY {
            orders.remove(name);
        } else {
            orders.insert(name.to_owned(), order);
        }
        let before = node.order.replace(order).state();
        self.admin_state_changed(node, before, order.state());
        true
    }

    /// Files a change of a node's administrative state, whether it was ordered or a drain ended.
    pub(crate) fn admin_state_changed(&self, node: &Node, before: AdminState, after: AdminState) {
        if before == after {
            return;
        }
        node.stats.changed(after.into());
        info!(
            listener = self.strategy,
            node = node.name,
            before = before.word(),
            "node is in state {}",
            after.word()
        );
        if before == AdminState::Maint {
            // It was not checked meanwhile, so nobody knows how it is.
            node.unprove();
            node.check_soon();
        }
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, HashMap<String, Order>> {
        // Every path writes whole entries, so a panic cannot leave the map half written.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A check of the node passed.
    pub(crate) fn passed(&self, node: &Node) {
        if let Some((before, _)) = node.passed(self.health.rise) {
            if before == State::Down {
                node.ejection.forget();
            }
            node.stats.changed(Change::Up);
            info!(listener = self.strategy, node = node.name, "node is up");
        }
    }

    /// A check of the node failed, or a request could not connect to it.
    pub(crate) fn failed(&self, node: &Node, reason: &str) {
        if node.failed(self.health.fall).is_some() {
            node.stats.changed(Change::Down);
            warn!(
                listener = self.strategy,
                node = node.name,
                reason,
                "node is down"
            );
        }
    }
}

/// What becomes of requests. Everything that judges nodes by real requests learns of it here, and in `Node` what
/// needs no judgement.
impl Group {
    /// A request came in at that moment. It counts as under way until the result is dropped.
    pub(crate) fn arrived(group: &Arc<Self>, at: Instant) -> UnderWay {
        group.stats.requests.count();
        group.budget.earn(clock::at_ms(at));
        UnderWay(Arc::clone(group))
    }

    /// Requests that came in and are not over, down to the last byte of the answer.
    pub(crate) fn under_way(&self) -> u64 {
        // In this order: a request that ends in between must not make the difference negative.
        let over = self.stats.over.get();
        self.stats.requests.get().saturating_sub(over)
    }

    /// No connection to the node, for a reason that lies with it.
    pub(crate) fn unreachable(&self, node: &Arc<Node>, reason: &str) {
        self.failed(node, reason);
        node.not_sent();
        self.judge(node);
    }

    /// A request failed on the node after something was sent.
    pub(crate) fn attempt_failed(&self, node: &Arc<Node>, failure: Failure, reused: bool) {
        if failure == Failure::TimedOut {
            node.stats.timed_out.count();
        } else {
            node.stats.broken.count();
        }
        node.check_soon();
        // A kept connection may be closed in the very moment in which a request is written to it.
        if failure == Failure::TimedOut || !reused {
            self.judge(node);
        }
    }

    /// One more failure: is it enough for an ejection?
    fn judge(&self, node: &Arc<Node>) {
        if !node.ejection.failed(self.ejection.failures) {
            return;
        }
        let _judging = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = ejection::eject(node, &self.nodes.load(), &self.ejection) {
            node.stats.changed(Change::Ejected);
            warn!(
                listener = self.strategy,
                node = node.name,
                failures = self.ejection.failures,
                ms = clock::as_ms(time),
                "node is ejected: it failed too many requests in a row"
            );
        }
    }
}

/// A request under way in a listener.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Group>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.stats.over.count();
    }
}

/// The outcome of comparing a set with what was found.
pub(crate) struct Difference {
    /// The new set: known nodes are kept with their state and counters.
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Nodes that are new in it.
    pub(crate) added: Vec<Arc<Node>>,
    /// Nodes that are no longer in it.
    pub(crate) removed: Vec<Arc<Node>>,
}

/// Compares a set with the addresses found; `None` when nothing changed. A known name at another address
/// is another process, so it has to prove itself like any new node.
pub(crate) fn diff(
    current: &[Arc<Node>],
    found: &[NodeAddress],
    create: impl Fn(&NodeAddress) -> Node,
) -> Option<Difference> {
    let mut found = found.to_vec();
    found.sort_unstable();
    found.dedup_by(|a, b| a.name == b.name);

    let mut added = Vec::new();
    let nodes: Vec<_> = found
        .iter()
        .map(|found| {
            let known = current
                .iter()
                .find(|node| node.name == found.name && node.address == found.address);
            known.map_or_else(
                || {
                    let node = Arc::new(create(found));
                    added.push(Arc::clone(&node));
                    node
                },
                Arc::clone,
            )
        })
        .collect();
    let kept = |node: &Arc<Node>| nodes.iter().any(|other| Arc::ptr_eq(node, other));
    let removed: Vec<_> = current.iter().filter(|node| !kept(node)).cloned().collect();
    (!added.is_empty() || !removed.is_empty()).then_some(Difference {
        nodes,
        added,
        removed,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::node::{
        Attempt, State,
        tests::{SECOND, TIMEOUTS, address, node, up},
    };

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
            ejection: config::Ejection {
                failures: 3,
                base: SECOND,
                max: SECOND,
                max_percent: 50,
            },
            budget: Budget::new(config::RetryBudget {
                percent: 20,
                floor: 1,
            }),
            nodes: NodeSet::default(),
            stats: ListenerStats::default(),
            lifecycle: Arc::default(),
            access_log: None,
            orders: Mutex::default(),
            judging: Mutex::default(),
        })
    }

    #[test]
    fn an_order_outlives_the_node() {
        let group = group();
        let found = address("a", 1);
        group.nodes.store(vec![Arc::new(group.node(&found))]);
        assert!(group.order("a", Order::MAINT));
        assert!(!group.order("b", Order::MAINT), "there is no such node");

        group.nodes.store(Vec::new());
        let again = Arc::new(group.node(&found));
        assert_eq!(again.order.get(), Order::MAINT);
        group.nodes.store(vec![Arc::clone(&again)]);
        group.order("a", Order::READY);
        assert_eq!(group.node(&found).order.get(), Order::READY);
    }

    #[test]
    fn after_maintenance_a_node_has_to_prove_itself() {
        let group = group();
        let node = up("a");
        group.nodes.store(vec![Arc::clone(&node)]);
        group.order("a", Order::drain(SECOND * 60));
        group.order("a", Order::READY);
        assert!(node.takes_new(), "a drain changes nothing about its health");
        group.order("a", Order::MAINT);
        group.order("a", Order::READY);
        assert_eq!(node.state(), State::Unproven);
    }

    #[test]
    fn only_failures_of_requests_eject_and_coming_back_ends_it() {
        let group = group();
        let node = up("a");
        group.nodes.store(vec![Arc::clone(&node), up("b")]);
        for _ in 0..9 {
            node.answered(503, SECOND);
        }
        assert!(node.takes_new(), "its own 5xx say nothing");
        group.attempt_failed(&node, Failure::BrokeOff, true);
        node.not_sent();
        for failure in [Failure::TimedOut, Failure::BrokeOff, Failure::TimedOut] {
            assert!(node.takes_new());
            group.attempt_failed(&node, failure, false);
        }
        assert_eq!(node.summary(), "ejected");
        group.passed(&node);
        assert_eq!(node.summary(), "ejected", "checks pass, requests fail");
        group.failed(&node, "gone");
        group.passed(&node);
        assert!(node.takes_new(), "another process, most likely");
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let group = group();
        let request = Group::arrived(&group, Instant::now());
        assert_eq!(group.under_way(), 1);
        drop(request);
        assert_eq!((group.under_way(), group.stats.requests.get()), (0, 1));
    }

    #[test]
    fn a_diff_keeps_state_and_counters_of_known_nodes() {
        let known = up("b");
        let _in_flight = Attempt::at(&known).expect("room");
        let current = [up("a"), Arc::clone(&known)];

        let change = diff(&current, &[address("c", 1), address("b", 1)], node).expect("changed");

        let names = |nodes: &[Arc<Node>]| {
            nodes
                .iter()
                .map(|node| node.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&change.nodes), ["b", "c"]);
        assert_eq!(names(&change.added), ["c"]);
        assert_eq!(names(&change.removed), ["a"]);
        assert!(Arc::ptr_eq(&change.nodes[0], &known));
        assert_eq!(
            (change.nodes[0].in_flight(), change.nodes[0].is_up()),
            (1, true)
        );
        assert_eq!(change.nodes[1].state(), State::Unproven);
    }

    #[test]
    fn order_and_repetition_are_no_change() {
        let current = [up("a"), up("b")];
        assert!(
            diff(
                &current,
                &[address("b", 1), address("a", 1), address("b", 1)],
                node
            )
            .is_none()
        );
    }

    #[test]
    fn a_known_name_at_another_address_starts_anew() {
        let change = diff(&[up("a")], &[address("a", 2)], node).expect("changed");
        assert_eq!((change.added.len(), change.removed.len()), (1, 1));
        assert_eq!(change.nodes[0].state(), State::Unproven);
    }
}
