//! The nodes of a listener, as a snapshot that requests choose from, and how it follows what `discovery` finds.
//!
//! A request loads the snapshot once: no lock, no allocation.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::{config::NodeAddress, node::Node};

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
mod tests {
    use super::*;
    use crate::node::{
        Attempt, State,
        tests::{address, node, up},
    };

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
