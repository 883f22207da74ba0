//! What is remembered about a request from its first attempt to its last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock,
    group::Group,
    metrics::Moved,
    node::{Attempt, Node},
    problem::Problem,
};

/// What is remembered about a request while it is under way.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
#[derive(Debug)]
pub(crate) struct Progress {
    /// When the request's header was read.
    pub(crate) started: Instant,
    /// The node that is being asked, and counts this request as in flight.
    pub(crate) attempt: Option<Attempt>,
    /// Nodes asked so far.
    pub(crate) attempts: usize,
    /// Attempts that failed. Empty, and so without an allocation, nearly always.
    pub(crate) tried: Vec<Tried>,
    /// Why no node could be asked (any more).
    pub(crate) no_route: Option<Problem>,
    /// The client proved a pin to the first node tried.
    pub(crate) pinned: bool,
    /// No other node than that one will do: the listener is strict.
    pub(crate) bound: bool,
    /// The pin has passed half its life.
    pub(crate) is_ageing: bool,
    /// The client is served by another node than its own, for this reason.
    pub(crate) moved: Option<Moved>,
    /// And belongs to that one from now on.
    pub(crate) repinned: bool,
    /// What the client was told instead of a node's answer.
    pub(crate) own_answer: Option<Problem>,
    /// Counts the request in its listener until it is over.
    _under_way: UnderWay,
}

/// Counts a request as under way in its listener until it is dropped.
#[derive(Debug)]
struct UnderWay(Arc<Group>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.stats.over.count();
    }
}

/// An attempt that failed.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) node: Arc<Node>,
    pub(crate) failure: Failure,
    /// From the end of the attempt before to the end of this one.
    pub(crate) took: Duration,
}

/// How an attempt failed, by what may have happened on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing: nothing was sent.
    NotSent,
    /// Nobody knows: the node broke off.
    BrokeOff,
    /// Nobody knows: the node did not answer in time.
    TimedOut,
    /// The node answered 503, and another one was asked. It may have acted unless it said that it has not.
    Refused { nothing_done: bool },
}

impl Failure {
    /// Is it certain that the node did nothing?
    pub(crate) fn nothing_done(self) -> bool {
        matches!(self, Self::NotSent | Self::Refused { nothing_done: true })
    }

    /// The word that the access log uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NotSent => "not-sent",
            Self::BrokeOff => "broke-off",
            Self::TimedOut => "timed-out",
            Self::Refused { .. } => "refused",
        }
    }
}

impl Progress {
    /// A request came in. It counts as under way until the result is dropped.
    pub(crate) fn start(group: &Arc<Group>) -> Self {
        let started = Instant::now();
        group.stats.requests.count();
        group.budget.earn(clock::at_ms(started));
        Self {
            started,
            attempt: None,
            attempts: 0,
            tried: Vec::new(),
            no_route: None,
            pinned: false,
            bound: false,
            is_ageing: false,
            moved: None,
            repinned: false,
            own_answer: None,
            _under_way: UnderWay(Arc::clone(group)),
        }
    }

    /// The current attempt failed. Its node will not be asked again.
    pub(crate) fn fail(&mut self, failure: Failure) -> Option<Arc<Node>> {
        if self.pinned && !self.bound && self.moved.is_none() {
            self.moved = Some(match failure {
                Failure::NotSent => Moved::ConnectFailed,
                Failure::BrokeOff | Failure::TimedOut => Moved::Retried,
                // Its own node has no session of it, else it would have stayed.
                Failure::Refused { .. } => Moved::Refused,
            });
        }
        let node = Arc::clone(self.attempt.take()?.node());
        let before: Duration = self.tried.iter().map(|tried| tried.took).sum();
        self.tried.push(Tried {
            node: Arc::clone(&node),
            failure,
            took: self.started.elapsed().saturating_sub(before),
        });
        Some(node)
    }

    /// Is the client's own node being asked, the one that it is pinned to?
    pub(crate) fn is_at_own_node(&self) -> bool {
        self.pinned && self.tried.is_empty()
    }

    /// May one of the attempts that failed have done what was asked for?
    pub(crate) fn may_have_acted(&self) -> bool {
        self.tried.iter().any(|tried| !tried.failure.nothing_done())
    }

    /// Was the last word of any node that it cannot serve the request?
    pub(crate) fn ended_in_refusal(&self) -> bool {
        let mut heard = self.tried.iter().rev().map(|tried| tried.failure);
        let last = heard.find(|failure| *failure != Failure::NotSent);
        matches!(last, Some(Failure::Refused { .. }))
    }

    /// What the client is told when there is no further attempt. Nothing was done only if no attempt did
    /// anything: a node that refused a connection after another one was silent does not change that.
    pub(crate) fn problem(&self) -> Problem {
        let failures = || self.tried.iter().rev().map(|tried| tried.failure);
        match failures().find(|failure| !failure.nothing_done()) {
            Some(Failure::TimedOut) => Problem::NodeTimeout,
            Some(_) => Problem::NodeBrokeOff,
            None if self.tried.is_empty() => self.no_route.unwrap_or(Problem::NoNode),
            None if self.bound => Problem::PinnedNodeDead,
            None => Problem::NoNode,
        }
    }

    /// Attempts after the first one.
    pub(crate) fn retries(&self) -> usize {
        self.attempts.saturating_sub(1)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An attempt at a node that failed before anything was sent.
    pub(crate) fn tried_at(node: &Arc<Node>) -> Tried {
        Tried {
            node: Arc::clone(node),
            failure: Failure::NotSent,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn nothing_was_done_only_if_nothing_was_sent() {
        let group = crate::group::tests::group();
        let node = crate::node::tests::up("a");
        for (failures, problem) in [
            (&[Failure::NotSent][..], Problem::NoNode),
            (
                &[Failure::BrokeOff, Failure::NotSent],
                Problem::NodeBrokeOff,
            ),
            (&[Failure::TimedOut, Failure::NotSent], Problem::NodeTimeout),
            (&[Failure::NotSent, Failure::TimedOut], Problem::NodeTimeout),
            (
                &[Failure::BrokeOff, Failure::TimedOut],
                Problem::NodeTimeout,
            ),
        ] {
            let mut progress = Progress::start(&group);
            for failure in failures {
                progress.attempt = Attempt::at(&node);
                progress.fail(*failure);
            }
            assert_eq!(progress.problem(), problem, "{failures:?}");
        }
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let group = crate::group::tests::group();
        let request = Progress::start(&group);
        assert_eq!(group.stats.under_way(), 1);
        drop(request);
        assert_eq!(
            (group.stats.under_way(), group.stats.requests.get()),
            (0, 1)
        );
    }
}
