//! What is counted; `page` turns it into text.
//!
//! Every counter exists from the start, so counting is one relaxed addition: no lock, no map, no name.
//! A node's counters live in the node and leave with it. Counters only ever grow; what is now (state, in
//! flight) is read from the nodes when somebody asks.

pub(crate) mod page;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{admin_state::AdminState, affinity::CookieRefusal, problem::Problem};

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted for a node.
#[derive(Debug, Default)]
pub(crate) struct NodeStats {
    /// Requests offered to the node.
    pub(crate) attempts: Counter,
    /// Of these, requests of clients that were pinned to it before.
    pub(crate) pinned: Counter,
    /// Attempts that sent nothing: no connection, or a kept one that the node had closed.
    pub(crate) connect_failures: Counter,
    /// Attempts that broke after something was sent: closed, reset, no HTTP.
    pub(crate) broken: Counter,
    /// Attempts that got no answer in time after something was sent.
    pub(crate) timed_out: Counter,
    /// Attempts on a connection opened for them.
    pub(crate) connections_opened: Counter,
    /// Attempts on a connection that was kept from before.
    pub(crate) connections_reused: Counter,
    answers: Answers,
    changes: [Counter; Change::ALL.len()],
}

impl NodeStats {
    /// The node's answer went out, this long after the request came in.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        self.answers.count(status, took);
    }

    /// The node's state changed.
    pub(crate) fn changed(&self, change: Change) {
        self.changes[change as usize].count();
    }

    /// Attempts that failed for whatever reason.
    pub(crate) fn failures(&self) -> u64 {
        self.connect_failures.get() + self.broken.get() + self.timed_out.get()
    }

    /// Times that it was ejected.
    pub(crate) fn ejections(&self) -> u64 {
        self.changes[Change::Ejected as usize].get()
    }
}

/// What happened to the state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Up,
    Down,
    Ejected,
    Ready,
    Drain,
    Maint,
}

impl Change {
    /// Every change, in the order of the counters.
    const ALL: [(Self, &str); 6] = [
        (Self::Up, "up"),
        (Self::Down, "down"),
        (Self::Ejected, "ejected"),
        (Self::Ready, "ready"),
        (Self::Drain, "drain"),
        (Self::Maint, "maint"),
    ];
}

impl From<AdminState> for Change {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Ready => Self::Ready,
            AdminState::Drain => Self::Drain,
            AdminState::Maint => Self::Maint,
        }
    }
}

/// Answers by status and time.
#[derive(Debug, Default)]
struct Answers {
    /// By the first digit of their status.
    classes: [Counter; 5],
    latency: Histogram,
}

impl Answers {
    fn count(&self, status: u16, took: Duration) {
        if let Some(class) = usize::from(status / 100)
            .checked_sub(1)
            .and_then(|class| self.classes.get(class))
        {
            class.count();
        }
        self.latency.record(took);
    }
}

/// What is counted for a listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerStats {
    /// Requests that came in.
    pub(crate) requests: Counter,
    /// Requests that are over, however.
    pub(crate) over: Counter,
    /// Attempts after the first, over all requests.
    pub(crate) retries: Counter,
    /// Retries that the budget did not allow.
    pub(crate) budget_refusals: Counter,
    /// Requests that ended without an answer: the client was gone.
    pub(crate) unanswered: Counter,
    /// Connections of clients.
    pub(crate) connections: ConnectionStats,
    answers: Answers,
    moved: [Counter; Moved::ALL.len()],
    repins: [Counter; Moved::ALL.len()],
    refused: [Counter; CookieRefusal::ALL.len()],
    own_answers: [Counter; Problem::ALL.len()],
}

/// Connections of clients to a listener.
#[derive(Debug, Default)]
pub(crate) struct ConnectionStats {
    /// Opened so far.
    pub(crate) opened: Counter,
    /// Of these, closed again.
    pub(crate) closed: Counter,
    /// Turned away, because there were too many.
    pub(crate) refused: Counter,
    /// Closed, because they did not begin with the PROXY header of a trusted proxy.
    pub(crate) unproven: Counter,
}

impl ConnectionStats {
    /// How many are open now.
    pub(crate) fn open(&self) -> u64 {
        // In this order: one that closes in between must not make the difference negative.
        let closed = self.closed.get();
        self.opened.get().saturating_sub(closed)
    }
}

/// Why a pinned client is served by another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Its node is not up.
    Down,
    /// Its node failed too many requests.
    Ejected,
    /// Its node is in maintenance, or its drain is over.
    Maint,
    /// Its node could not be connected to.
    ConnectFailed,
    /// Its node broke off or did not answer in time, and the request could be repeated.
    Retried,
    /// Its node is no longer in the set.
    Removed,
    /// Its node could not serve it, and has no session of it.
    Refused,
}

impl Moved {
    /// Every reason, in the order of the counters.
    const ALL: [(Self, &str); 7] = [
        (Self::Down, "down"),
        (Self::Ejected, "ejected"),
        (Self::Maint, "maint"),
        (Self::ConnectFailed, "connect-failed"),
        (Self::Retried, "retried"),
        (Self::Removed, "removed"),
        (Self::Refused, "refused"),
    ];

    /// The word that metrics and the access log use.
    pub(crate) fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl ListenerStats {
    /// Requests that came in and are not over, down to the last byte of the answer.
    pub(crate) fn under_way(&self) -> u64 {
        // In this order: a request that ends in between must not make the difference negative.
        let over = self.over.get();
        self.requests.get().saturating_sub(over)
    }

    /// An answer went out, a node's or our own, this long after the request came in.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        self.answers.count(status, took);
    }

    /// A pinned client was served by another node.
    pub(crate) fn moved(&self, reason: Moved) {
        self.moved[reason as usize].count();
    }

    /// And is pinned to that one from now on.
    pub(crate) fn repinned(&self, reason: Moved) {
        self.repins[reason as usize].count();
    }

    /// Affinity cookies were ignored.
    pub(crate) fn refused(&self, reason: CookieRefusal, count: u64) {
        self.refused[reason as usize].add(count);
    }

    /// The balancer answered in place of a node.
    pub(crate) fn responded_locally(&self, problem: Problem) {
        self.own_answers[problem as usize].count();
    }
}

/// Upper bounds of the latency buckets, and the same in seconds as Prometheus wants to read them.
const BUCKETS: [(u64, &str); 14] = [
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
];

/// How long requests took.
#[derive(Debug, Default)]
struct Histogram {
    /// One a bucket and one for all that took longer.
    buckets: [Counter; BUCKETS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BUCKETS.partition_point(|(bound_us, _)| *bound_us < us)].count();
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_indexed_by_their_own_reason() {
        for (index, (reason, _)) in Moved::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, (change, _)) in Change::ALL.into_iter().enumerate() {
            assert_eq!(change as usize, index);
        }
        for (index, (reason, _)) in CookieRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
