//! One node as one listener sees it: its state, its counters, its connection settings.
//!
//! `health` finds out what a node's state is, `select` uses it, `group` holds the nodes together.
//!
//! ```text
//!              check passed                    `fall` failures in a row
//!   unproven ───────────────▶ up ◀───────────────────────────────────────▶ down
//!      │                          `rise` passed checks in a row              ▲
//!      └─────────────────────────── first failure ──────────────────────────┘
//! ```
//!
//! A failure is a failed check, or a connection that a real request could not open.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use tokio::sync::Notify;

use crate::{
    affinity::Tag,
    config::{NodeAddress, Timeouts},
    metrics::NodeStats,
};

/// What is known about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Never checked: gets no requests yet.
    Unproven,
    /// Gets requests.
    Up,
    /// Gets no requests, but is checked on.
    Down,
}

impl State {
    /// The word that the admin port and the metrics use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One node as one listener sees it.
#[derive(Debug)]
pub(crate) struct Node {
    /// The identity: an address may come back as another node.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// What stands for the name in the affinity cookie, where the listener has affinity.
    pub(crate) tag: Option<Tag>,
    pub(crate) stats: NodeStats,
    /// Connection settings, made once and copied for each attempt.
    peer: HttpPeer,
    /// A copy of `judgement.state` that requests can read without the lock.
    state: AtomicU8,
    /// A `std` mutex: it is held for a few instructions, on checks and failures only.
    judgement: Mutex<Judgement>,
    in_flight: AtomicU64,
    retired: AtomicBool,
    recheck: Notify,
}

/// The state and how firmly it stands.
#[derive(Debug)]
struct Judgement {
    state: State,
    /// Results in a row that speak against the state.
    against: u32,
}

impl Node {
    /// A node that has yet to prove itself.
    pub(crate) fn new(found: &NodeAddress, tag: Option<Tag>, timeouts: &Timeouts) -> Self {
        let mut peer = HttpPeer::new(found.address, false, String::new());
        let options = &mut peer.options;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(timeouts.idle);
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Self {
            name: found.name.clone(),
            address: found.address,
            tag,
            stats: NodeStats::default(),
            peer,
            state: AtomicU8::new(State::Unproven as u8),
            judgement: Mutex::new(Judgement {
                state: State::Unproven,
                against: 0,
            }),
            in_flight: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            recheck: Notify::new(),
        }
    }

    /// Connection settings for one attempt.
    pub(crate) fn peer(&self) -> HttpPeer {
        self.peer.clone()
    }

    /// What is known about the node.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            up if up == State::Up as u8 => State::Up,
            down if down == State::Down as u8 => State::Down,
            _ => State::Unproven,
        }
    }

    /// May the node get requests?
    pub(crate) fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// Requests that the node is working on now.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A check passed. Returns the new state if that changed it.
    pub(crate) fn passed(&self, rise: u32) -> Option<State> {
        self.judge(
            State::Up,
            |state| if state == State::Unproven { 1 } else { rise },
        )
    }

    /// A check failed, or a request could not connect. Returns the new state if that changed it.
    pub(crate) fn failed(&self, fall: u32) -> Option<State> {
        self.judge(
            State::Down,
            |state| if state == State::Unproven { 1 } else { fall },
        )
    }

    fn judge(&self, verdict: State, needed: impl Fn(State) -> u32) -> Option<State> {
        // A panic while holding this lock cannot leave it half written: every path writes whole values.
        let mut judgement = self
            .judgement
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if judgement.state == verdict {
            judgement.against = 0;
            return None;
        }
        judgement.against += 1;
        if judgement.against < needed(judgement.state) {
            return None;
        }
        *judgement = Judgement {
            state: verdict,
            against: 0,
        };
        self.state.store(verdict as u8, Ordering::Relaxed);
        Some(verdict)
    }

    /// Asks for a check now instead of at the next interval.
    pub(crate) fn check_soon(&self) {
        self.recheck.notify_one();
    }

    /// Returns when a check was asked for.
    pub(crate) async fn check_wanted(&self) {
        self.recheck.notified().await;
    }

    /// The node left the set: its checks end. Requests that still use it are not disturbed.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.check_soon();
    }

    /// Has the node left the set?
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// One attempt at a node. Counts it as in flight until it is dropped, however the request ends.
#[derive(Debug)]
pub(crate) struct Attempt(Arc<Node>);

impl Attempt {
    /// Starts to count.
    pub(crate) fn at(node: Arc<Node>) -> Self {
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        node.stats.attempts.count();
        Self(node)
    }

    /// The node that is asked.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    pub(crate) fn address(name: &str, port: u16) -> NodeAddress {
        NodeAddress {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    pub(crate) const SECOND: Duration = Duration::from_secs(1);
    pub(crate) const TIMEOUTS: Timeouts = Timeouts {
        connect: SECOND,
        read: SECOND,
        write: SECOND,
        idle: SECOND,
        total: SECOND,
    };

    pub(crate) fn node(found: &NodeAddress) -> Node {
        Node::new(found, None, &TIMEOUTS)
    }

    pub(crate) fn up(name: &str) -> Arc<Node> {
        let node = node(&address(name, 1));
        node.passed(1);
        Arc::new(node)
    }

    #[test]
    fn the_first_result_settles_an_unproven_node() {
        let node = node(&address("a", 1));
        assert_eq!(node.state(), State::Unproven);
        assert_eq!(
            node.passed(5),
            Some(State::Up),
            "the first pass proves it, whatever rise says"
        );

        let node = self::node(&address("a", 1));
        assert_eq!(node.failed(5), Some(State::Down));
    }

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        let node = node(&address("a", 1));
        node.passed(2);
        assert_eq!(node.failed(2), None);
        assert_eq!(node.passed(2), None, "a pass starts the count again");
        assert_eq!(node.failed(2), None);
        assert!(node.is_up());
        assert_eq!(node.failed(2), Some(State::Down));
        assert_eq!(node.failed(2), None, "down is reported once");
        assert_eq!(node.passed(2), None);
        assert_eq!(node.failed(2), None);
        assert_eq!(node.passed(2), None);
        assert_eq!(node.passed(2), Some(State::Up));
    }

    #[test]
    fn attempts_are_in_flight_until_dropped() {
        let node = up("a");
        let first = Attempt::at(Arc::clone(&node));
        let second = Attempt::at(Arc::clone(&node));
        assert_eq!(node.in_flight(), 2);
        drop(first);
        assert_eq!(node.in_flight(), 1);
        drop(second);
        assert_eq!((node.in_flight(), node.stats.attempts.get()), (0, 2));
    }
}
