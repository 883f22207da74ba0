//! The decisions about a request's way: which node is asked first, which one next, how long each may take,
//! and when to give up.
//!
//! | the request | first node | next node |
//! | --- | --- | --- |
//! | not pinned | by `select` | by `select`, among those not tried |
//! | pinned, listener `repin` | its node; another one if that is dead or in maintenance | another one |
//! | pinned, listener `strict` | its node; another one only if that is in maintenance or gone for good | none |
//!
//! A pinned request whose node is at its limit is refused and not moved: the client can ask again, its
//! session would be lost. Serving a client at another node moves no pin: what does is decided in `verdict`. What is sent and received is the business of `proxy`.

use std::sync::Arc;

use crate::{
    affinity::CookieRefusal,
    clock,
    config::OnDeadNode,
    group::Group,
    http1::{relay::AttemptTimeouts, request::Request},
    metrics::Moved,
    node::{Attempt, Away, Node},
    problem::Problem,
    progress::Progress,
    select::{Selector, is_candidate},
};

/// Decides for one listener.
#[derive(Debug)]
pub(crate) struct Router {
    group: Arc<Group>,
    selector: Selector,
    /// Nodes that a request may be offered to, at most.
    attempts: usize,
}

impl Router {
    /// A router that offers a request to at most `attempts` nodes.
    pub(crate) fn new(group: Arc<Group>, selector: Selector, attempts: usize) -> Self {
        Self {
            group,
            selector,
            attempts,
        }
    }

    /// Chooses the node for the next attempt. It is `progress.attempt` afterwards, and counts the request as
    /// in flight; an error is what the client is told if it was not offered to any node.
    pub(crate) fn choose(
        &self,
        request: &Request,
        progress: &mut Progress,
    ) -> Result<AttemptTimeouts, Problem> {
        let chosen = self.try_choose(request, progress);
        progress.no_route = chosen.err();
        chosen
    }

    fn try_choose(
        &self,
        request: &Request,
        progress: &mut Progress,
    ) -> Result<AttemptTimeouts, Problem> {
        let timeouts = &self.group.timeouts;
        // The first attempt begins when the request does.
        let left = if progress.attempts == 0 {
            timeouts.total
        } else {
            timeouts.total.saturating_sub(progress.started.elapsed())
        };
        if left.is_zero() {
            return Err(Problem::NodeTimeout);
        }
        let nodes = self.group.nodes.load();
        let attempt = if progress.attempts == 0 {
            self.first(&nodes, request, progress)?
        } else {
            self.select(&nodes, progress)?
        };
        let node = attempt.node();
        let attempt_timeouts = AttemptTimeouts {
            connect: left.min(timeouts.connect),
            write: timeouts.write,
            body: timeouts.read,
            answer: if self.has_alternative(node, &nodes, request, progress) {
                left.min(timeouts.read)
            } else {
                left
            },
        };
        if progress.pinned && progress.attempts == 0 {
            node.stats.pinned.count();
        }
        if progress.attempts > 0 {
            self.group.stats.retries.count();
        }
        progress.attempts += 1;
        progress.attempt = Some(attempt);
        Ok(attempt_timeouts)
    }

    /// The node that the client is pinned to, or one by the listener's rule.
    fn first(
        &self,
        nodes: &[Arc<Node>],
        request: &Request,
        progress: &mut Progress,
    ) -> Result<Attempt, Problem> {
        if self.group.affinity.is_none() {
            return self.select(nodes, progress);
        }
        for (reason, count) in request.pins.refused() {
            self.group.stats.refused(reason, count);
        }
        let mut is_removed = false;
        for pin in request.pins.genuine() {
            if let Some(node) = nodes.iter().find(|node| node.tag == Some(pin.tag)) {
                if let Some(attempt) = self.pinned(node, progress)? {
                    progress.is_ageing = pin.ageing;
                    return Ok(attempt);
                }
                return self.select(nodes, progress);
            }
            self.group.stats.refused(CookieRefusal::Unknown, 1);
            is_removed = true;
        }
        progress.moved = is_removed.then_some(Moved::Removed);
        self.select(nodes, progress)
    }

    /// The client's own node, or `None` when it has to move.
    fn pinned(
        &self,
        node: &Arc<Node>,
        progress: &mut Progress,
    ) -> Result<Option<Attempt>, Problem> {
        let strict = self.group.on_dead_node == OnDeadNode::Strict;
        match node.keeps_pinned() {
            Ok(()) => {
                progress.pinned = true;
                progress.bound = strict;
                let attempt = Attempt::at(node);
                attempt.map(Some).ok_or(Problem::PinnedNodeFull)
            }
            Err(Away::Down | Away::Ejected) if strict => Err(Problem::PinnedNodeDead),
            Err(reason) => {
                progress.moved = Some(reason.into());
                Ok(None)
            }
        }
    }

    /// Any node that takes new clients, by the listener's rule.
    fn select(&self, nodes: &[Arc<Node>], progress: &Progress) -> Result<Attempt, Problem> {
        // The first attempt of a pinned request was nobody's turn.
        let has_had_turn = progress.tried.len() > usize::from(progress.pinned);
        // Another thread may take a node's last place between the choice and the attempt. Whoever loses that
        // many times in a row is as well told that there is no room.
        for _ in 0..=nodes.len() {
            let Some(node) = self.selector.choose(nodes, &progress.tried, has_had_turn) else {
                break;
            };
            if let Some(attempt) = Attempt::at(node) {
                return Ok(attempt);
            }
        }
        let was_tried = |node: &Arc<Node>| {
            progress
                .tried
                .iter()
                .any(|tried| Arc::ptr_eq(node, &tried.node))
        };
        let is_full = nodes
            .iter()
            .any(|node| node.takes_new() && !was_tried(node));
        Err(if is_full {
            Problem::NodesFull
        } else {
            Problem::NoNode
        })
    }

    /// Could the request still be offered to another node if this one kept it waiting? Then it waits no longer
    /// than `read_ms`; else, and that is every request that must not be repeated, until time is up.
    fn has_alternative(
        &self,
        node: &Arc<Node>,
        nodes: &[Arc<Node>],
        request: &Request,
        progress: &Progress,
    ) -> bool {
        request.is_idempotent
            && !progress.bound
            && progress.attempts + 1 < self.attempts
            && has_other(nodes, node, progress)
    }

    /// May the request be offered to another node, after an attempt that failed in a way that allows it? A yes
    /// is paid for from the retry budget.
    pub(crate) fn may_retry(&self, progress: &Progress) -> bool {
        let nodes = self.group.nodes.load();
        let has_other = || nodes.iter().any(|node| is_candidate(node, &progress.tried));
        !progress.bound && progress.attempts < self.attempts && has_other() && self.pay()
    }

    /// The same while the node that is to be left has not failed: it has answered that it cannot serve the request.
    /// A client that it has no session of is bound no longer.
    pub(crate) fn may_leave(&self, node: &Arc<Node>, progress: &Progress) -> bool {
        let is_in_time = progress.started.elapsed() < self.group.timeouts.total;
        progress.attempts < self.attempts
            && is_in_time
            && has_other(&self.group.nodes.load(), node, progress)
            && self.pay()
    }

    /// Pays for a retry.
    fn pay(&self) -> bool {
        let granted = self.group.budget.spend(clock::now_ms());
        if !granted {
            self.group.stats.budget_refusals.count();
        }
        granted
    }
}

/// Is there a node to ask beside this one?
fn has_other(nodes: &[Arc<Node>], node: &Arc<Node>, progress: &Progress) -> bool {
    nodes
        .iter()
        .any(|other| !Arc::ptr_eq(other, node) && is_candidate(other, &progress.tried))
}

impl From<Away> for Moved {
    fn from(away: Away) -> Self {
        match away {
            Away::Down => Self::Down,
            Away::Ejected => Self::Ejected,
            Away::Maint => Self::Maint,
        }
    }
}
