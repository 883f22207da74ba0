//! One node as one listener sees it: its state, its counters, its connection settings.
//!
//! Three things decide whether it gets a request, each with a file of its own: its health (found out in
//! `health`, kept here), what the operator ordered (`admin_state`), and whether it failed too many
//! requests (`ejection`). `select` and `route` use the sum of them, `group` holds the nodes together.
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
    time::Duration,
};

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use tokio::sync::Notify;

use crate::{
    admin_state::{AdminState, CurrentOrder, Order},
    affinity::Tag,
    config::{NodeAddress, Timeouts},
    ejection::Ejection,
    metrics::NodeStats,
};

/// What is known about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Not checked yet, or not since the end of its maintenance: gets no requests.
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

/// Why a pinned client cannot stay on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// Its health.
    Down,
    /// It failed too many requests.
    Ejected,
    /// The operator took it out, or its drain is over.
    Maint,
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
    /// What the operator ordered.
    pub(crate) order: CurrentOrder,
    pub(crate) ejection: Ejection,
    /// Connection settings, made once and copied for each attempt.
    peer: HttpPeer,
    /// A copy of `judgement.state` that requests can read without the lock.
    state: AtomicU8,
    /// A `std` mutex: it is held for a few instructions, on checks and failures only.
    judgement: Mutex<Judgement>,
    in_flight: AtomicU64,
    max_in_flight: u64,
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
    /// A node that has yet to prove itself, under the order of the operator.
    pub(crate) fn new(
        found: &NodeAddress,
        tag: Option<Tag>,
        timeouts: &Timeouts,
        max_in_flight: u64,
        order: Order,
    ) -> Self {
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
            order: CurrentOrder::new(order),
            ejection: Ejection::default(),
            peer,
            state: AtomicU8::new(State::Unproven as u8),
            judgement: Mutex::new(Judgement {
                state: State::Unproven,
                against: 0,
            }),
            in_flight: AtomicU64::new(0),
            max_in_flight,
            retired: AtomicBool::new(false),
            recheck: Notify::new(),
        }
    }

    /// Connection settings for one attempt.
    pub(crate) fn peer(&self) -> HttpPeer {
        self.peer.clone()
    }

    /// What is known about the node's health.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            up if up == State::Up as u8 => State::Up,
            down if down == State::Down as u8 => State::Down,
            _ => State::Unproven,
        }
    }

    /// Is the node healthy?
    pub(crate) fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// May the node get requests that are not pinned to it?
    pub(crate) fn takes_new(&self) -> bool {
        self.is_up() && self.order.get() == Order::READY && !self.ejection.is_on()
    }

    /// May clients stay that are pinned to it?
    pub(crate) fn keeps_pinned(&self) -> Result<(), Away> {
        if self.order.get().state() == AdminState::Maint {
            Err(Away::Maint)
        } else if !self.is_up() {
            Err(Away::Down)
        } else if self.ejection.is_on() {
            Err(Away::Ejected)
        } else {
            Ok(())
        }
    }

    /// All of that in one word, as on HAProxy's page of statistics.
    pub(crate) fn summary(&self) -> &'static str {
        let admin = self.order.get().state();
        match (admin, self.state()) {
            (AdminState::Maint, _) | (AdminState::Drain, State::Up) => admin.word(),
            (_, state @ (State::Down | State::Unproven)) => state.word(),
            (AdminState::Ready, State::Up) if self.ejection.is_on() => "ejected",
            (AdminState::Ready, State::Up) => "up",
        }
    }

    /// Requests that the node is working on now.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that it may work on at the same time.
    pub(crate) fn max_in_flight(&self) -> u64 {
        self.max_in_flight
    }

    /// Is there room for one more request?
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() < self.max_in_flight
    }

    /// A check passed. Returns the states before and after if that changed it.
    pub(crate) fn passed(&self, rise: u32) -> Option<(State, State)> {
        self.judge(
            State::Up,
            |state| if state == State::Unproven { 1 } else { rise },
        )
    }

    /// A check failed, or a request could not connect. Returns the states before and after if that changed it.
    pub(crate) fn failed(&self, fall: u32) -> Option<(State, State)> {
        self.judge(
            State::Down,
            |state| if state == State::Unproven { 1 } else { fall },
        )
    }

    /// Nothing is known any more: the node was not checked for a while.
    pub(crate) fn unprove(&self) {
        self.judge(State::Unproven, |_| 1);
    }

    fn judge(&self, verdict: State, needed: impl Fn(State) -> u32) -> Option<(State, State)> {
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
        let before = judgement.state;
        *judgement = Judgement {
            state: verdict,
            against: 0,
        };
        self.state.store(verdict as u8, Ordering::Relaxed);
        Some((before, verdict))
    }

    /// There is a connection to the node, a fresh one or a kept one.
    pub(crate) fn connected(&self, reused: bool) {
        if reused {
            self.stats.connections_reused.count();
        } else {
            self.stats.connections_opened.count();
        }
    }

    /// The node answered with its own status, whichever: the answer went out, that long after the request
    /// came in.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        self.ejection.answered();
        self.stats.answered(status, took);
    }

    /// Nothing was sent, and that says nothing about the node: our own trouble (no file descriptor, no port),
    /// or a kept connection that it had closed, as every server may at any time.
    pub(crate) fn not_sent(&self) {
        self.stats.connect_failures.count();
        self.check_soon();
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

/// One attempt at a node. Counts it as in flight until the node is done with it or it is dropped, however the
/// request ends.
#[derive(Debug)]
pub(crate) struct Attempt {
    node: Arc<Node>,
    in_flight: bool,
}

impl Attempt {
    /// Starts to count, if the node has room.
    pub(crate) fn at(node: &Arc<Node>) -> Option<Self> {
        // Counted first and looked at afterwards, so that two threads cannot both take the last place.
        let attempt = Self {
            node: Arc::clone(node),
            in_flight: true,
        };
        if node.in_flight.fetch_add(1, Ordering::Relaxed) < node.max_in_flight {
            node.stats.attempts.count();
            Some(attempt)
        } else {
            None
        }
    }

    /// The node that is asked.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The node has sent everything. How long the client takes to read it is none of its business.
    pub(crate) fn node_is_done(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            self.node.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.node_is_done();
    }
}

#[cfg(test)]
pub(crate) mod tests {
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
        Node::new(found, None, &TIMEOUTS, 4, Order::READY)
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
            Some((State::Unproven, State::Up)),
            "the first pass proves it, whatever rise says"
        );

        let node = self::node(&address("a", 1));
        assert_eq!(node.failed(5), Some((State::Unproven, State::Down)));
    }

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        let node = node(&address("a", 1));
        node.passed(2);
        assert_eq!(node.failed(2), None);
        assert_eq!(node.passed(2), None, "a pass starts the count again");
        assert_eq!(node.failed(2), None);
        assert!(node.is_up());
        assert_eq!(node.failed(2), Some((State::Up, State::Down)));
        assert_eq!(node.failed(2), None, "down is reported once");
        assert_eq!(node.passed(2), None);
        assert_eq!(node.failed(2), None);
        assert_eq!(node.passed(2), None);
        assert_eq!(node.passed(2), Some((State::Down, State::Up)));
    }

    #[test]
    fn attempts_are_in_flight_until_dropped() {
        let node = up("a");
        let first = Attempt::at(&node).expect("room");
        let second = Attempt::at(&node).expect("room");
        assert_eq!(node.in_flight(), 2);
        drop(first);
        assert_eq!(node.in_flight(), 1);
        drop(second);
        assert_eq!((node.in_flight(), node.stats.attempts.get()), (0, 2));
    }

    #[test]
    fn a_full_node_takes_no_attempt() {
        let node = up("a");
        let mut attempts: Vec<_> = (0..4).map_while(|_| Attempt::at(&node)).collect();
        assert_eq!((attempts.len(), node.has_room()), (4, false));
        assert!(Attempt::at(&node).is_none());
        assert_eq!(node.in_flight(), 4, "the one refused does not count");
        attempts.pop();
        assert!(Attempt::at(&node).is_some());
    }

    #[test]
    fn who_may_come_and_who_may_stay() {
        let node = up("a");
        assert!(node.takes_new() && node.keeps_pinned().is_ok());
        node.order.replace(Order::drain(SECOND * 60));
        assert!(!node.takes_new() && node.keeps_pinned().is_ok());
        assert_eq!(node.summary(), "drain");
        node.order.replace(Order::drain(Duration::ZERO));
        assert_eq!(node.keeps_pinned(), Err(Away::Maint));
        node.order.replace(Order::MAINT);
        assert_eq!(node.keeps_pinned(), Err(Away::Maint));
        node.failed(1);
        assert_eq!(node.summary(), "maint");
        node.order.replace(Order::READY);
        assert_eq!(node.keeps_pinned(), Err(Away::Down));
        node.unprove();
        assert_eq!((node.summary(), node.takes_new()), ("unproven", false));
    }
}
