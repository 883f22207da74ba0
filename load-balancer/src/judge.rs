//! What checks and requests say about a node: whether it is up or down, and whether it is ejected.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    clock::as_ms,
    config,
    group::Group,
    metrics::Change,
    node::{Node, State},
    progress::Failure,
};

impl Group {
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
        if let Some(time) = eject(node, &self.nodes.load(), &self.ejection) {
            node.stats.changed(Change::Ejected);
            warn!(
                listener = self.strategy,
                node = node.name,
                failures = self.ejection.failures,
                ms = as_ms(time),
                "node is ejected: it failed too many requests in a row"
            );
        }
    }
}

/// Ejects the node, unless it is out already, too many would be, or no other node is left to take its
/// clients. The caller makes sure that two nodes are not judged at the same time.
fn eject(node: &Node, nodes: &[Arc<Node>], rule: &config::EjectionRule) -> Option<Duration> {
    let others = || {
        nodes
            .iter()
            .filter(|other| !std::ptr::eq(&raw const ***other, node))
    };
    let ejected = others().filter(|other| other.ejection.is_on()).count() + 1;
    let allowed = ejected * 100 <= nodes.len() * rule.max_percent;
    let heir = others().any(|other| other.takes_new());
    if !node.is_up() || node.ejection.is_on() || !allowed || !heir {
        return None;
    }
    Some(node.ejection.begin(rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ejection::tests::RULE,
        group::tests::group,
        node::tests::{SECOND, up},
    };

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
    fn at_most_the_allowed_share_is_out_and_never_the_last_one() {
        let nodes = [up("a"), up("b"), up("c"), up("d"), up("e")];
        assert!(eject(&nodes[0], &nodes, &RULE).is_some());
        assert!(eject(&nodes[0], &nodes, &RULE).is_none(), "it is out");
        assert!(eject(&nodes[1], &nodes, &RULE).is_some());
        assert!(eject(&nodes[2], &nodes, &RULE).is_none(), "three of five");

        let all = config::EjectionRule {
            max_percent: 100,
            ..RULE
        };
        let nodes = [up("a"), up("b"), up("c")];
        nodes[2].failed(1);
        assert!(eject(&nodes[2], &nodes, &all).is_none(), "it is down");
        assert!(eject(&nodes[0], &nodes, &all).is_some());
        assert!(
            eject(&nodes[1], &nodes, &all).is_none(),
            "the last one that is left"
        );
        assert!(eject(&nodes[1], &nodes[1..2], &all).is_none());
    }
}
