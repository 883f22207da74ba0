//! Choosing a node for a request that is not pinned: round robin or least requests.
//!
//! A choice walks the snapshot, which is a handful of nodes, and allocates nothing. Candidates are nodes
//! that take new clients, have room, and were not offered this request before. Affinity is decided in `route`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{config::Balance, node::Node, progress::Tried};

/// Chooses nodes for one listener.
#[derive(Debug)]
pub(crate) struct Selector {
    balance: Balance,
    turn: AtomicUsize,
}

impl Selector {
    /// A selector that starts with the first node.
    pub(crate) fn new(balance: Balance) -> Self {
        Self {
            balance,
            turn: AtomicUsize::new(0),
        }
    }

    /// The node to ask next, or `None` when no candidate is left. `has_had_turn`: an attempt before this one was chosen here.
    pub(crate) fn choose<'a>(
        &self,
        nodes: &'a [Arc<Node>],
        tried: &[Tried],
        has_had_turn: bool,
    ) -> Option<&'a Arc<Node>> {
        let candidates = || nodes.iter().filter(|node| is_candidate(node, tried));
        // A request has one turn. With two nodes, one of them dead, a retry that took another would use up the turn of the
        // other node, and every single request would meet the dead node first. But who was pinned to the dead node has had
        // none: without one, all its clients would move to the same other node.
        let turn = if has_had_turn {
            self.turn.load(Ordering::Relaxed)
        } else {
            self.turn.fetch_add(1, Ordering::Relaxed)
        };
        match self.balance {
            Balance::RoundRobin => {
                // Turns are dealt among the candidates only: walking on to the next node that is up
                // would give the neighbour of a dead node twice its share.
                let count = candidates().count();
                // A node may go down between the two walks; then the first one left will do.
                candidates()
                    .nth(turn.checked_rem(count)?)
                    .or_else(|| candidates().next())
            }
            Balance::LeastRequests => {
                // Ties are the rule when load is low. Starting at another place each time shares them out.
                let start = turn.checked_rem(nodes.len())?;
                let (before, from) = nodes.split_at(start);
                from.iter()
                    .chain(before)
                    .filter(|node| is_candidate(node, tried))
                    .min_by_key(|node| node.in_flight())
            }
        }
    }
}

/// Is the node up, and new to this request?
pub(crate) fn is_candidate(node: &Arc<Node>, tried: &[Tried]) -> bool {
    node.takes_new() && node.has_room() && !tried.iter().any(|tried| Arc::ptr_eq(node, &tried.node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node::{Attempt, tests::up},
        progress::tests::tried_at,
    };

    fn names(selector: &Selector, nodes: &[Arc<Node>], times: usize) -> Vec<String> {
        (0..times)
            .map(|_| {
                selector
                    .choose(nodes, &[], false)
                    .expect("a node is up")
                    .name
                    .clone()
            })
            .collect()
    }

    #[test]
    fn round_robin_takes_turns() {
        let nodes = [up("a"), up("b"), up("c")];
        let selector = Selector::new(Balance::RoundRobin);
        assert_eq!(names(&selector, &nodes, 6), ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn a_dead_node_does_not_double_its_neighbours_share() {
        let nodes = [up("a"), up("b"), up("c")];
        nodes[1].failed(1);
        let selector = Selector::new(Balance::RoundRobin);
        let chosen = names(&selector, &nodes, 100);
        assert_eq!(chosen.iter().filter(|name| *name == "a").count(), 50);
        assert_eq!(chosen.iter().filter(|name| *name == "c").count(), 50);
    }

    #[test]
    fn least_requests_avoids_the_busy_node_and_shares_ties() {
        let nodes = [up("a"), up("b"), up("c")];
        let selector = Selector::new(Balance::LeastRequests);
        let _busy = Attempt::at(&nodes[0]).expect("room");
        let chosen = names(&selector, &nodes, 90);
        assert!(!chosen.contains(&"a".to_owned()));
        assert!(chosen.iter().filter(|name| *name == "b").count() >= 30);
        assert!(chosen.iter().filter(|name| *name == "c").count() >= 30);
    }

    #[test]
    fn no_node_is_tried_twice() {
        for balance in [Balance::RoundRobin, Balance::LeastRequests] {
            let nodes = [up("a"), up("b"), up("c")];
            let selector = Selector::new(balance);
            let mut tried = Vec::new();
            while let Some(node) = selector.choose(&nodes, &tried, !tried.is_empty()) {
                tried.push(tried_at(node));
            }
            assert_eq!(tried.len(), 3, "{balance:?}");
        }
    }

    #[test]
    fn a_retry_takes_no_turn() {
        let nodes = [up("a"), up("b")];
        let selector = Selector::new(Balance::RoundRobin);
        for wanted in ["a", "b", "a", "b"] {
            let first = selector.choose(&nodes, &[], false).expect("a node is up");
            assert_eq!(first.name, wanted);
            selector
                .choose(&nodes, &[tried_at(first)], true)
                .expect("another node is up");
        }
    }

    #[test]
    fn clients_that_were_pinned_to_a_dead_node_are_shared_out() {
        let nodes = [up("a"), up("b"), up("c")];
        let selector = Selector::new(Balance::RoundRobin);
        let moved: Vec<&str> = (0..4)
            .map(|_| {
                let tried = [tried_at(&nodes[2])];
                let node = selector.choose(&nodes, &tried, false);
                &*node.expect("two others are up").name
            })
            .collect();
        assert_eq!(moved, ["a", "b", "a", "b"]);
    }

    #[test]
    fn nothing_up_is_no_choice() {
        let nodes = [up("a")];
        nodes[0].failed(1);
        for balance in [Balance::RoundRobin, Balance::LeastRequests] {
            assert!(Selector::new(balance).choose(&nodes, &[], false).is_none());
            assert!(Selector::new(balance).choose(&[], &[], false).is_none());
        }
    }
}
