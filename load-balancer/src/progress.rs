//! What is remembered about a request from its first attempt to its last.

use std::{sync::Arc, time::Instant};

use crate::{
    metrics::Repin,
    node::{Attempt, Node},
};

/// What is remembered about a request while it is under way.
#[derive(Debug)]
pub(crate) struct Progress {
    /// When the request's header was read.
    pub(crate) started: Instant,
    /// The node that is being asked, and counts this request as in flight.
    pub(crate) attempt: Option<Attempt>,
    /// Nodes asked so far.
    pub(crate) attempts: usize,
    /// Nodes that failed this request. Empty, and so without an allocation, nearly always.
    pub(crate) tried: Vec<Arc<Node>>,
    /// How the last attempt failed.
    pub(crate) failure: Option<Failure>,
    /// The client proved a pin to the first node tried.
    pub(crate) pinned: bool,
    /// The answer has to carry a new affinity cookie.
    pub(crate) set_cookie: bool,
    /// The client loses its pin, for this reason.
    pub(crate) repin: Option<Repin>,
}

/// How the last attempt failed, by what may have happened on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing: nothing was sent.
    NotSent,
    /// Nobody knows: the node broke off.
    BrokeOff,
    /// Nobody knows: the node did not answer in time.
    TimedOut,
}

impl Failure {
    /// What the client is told when there is no further attempt.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::NotSent => 503,
            Self::BrokeOff => 502,
            Self::TimedOut => 504,
        }
    }
}

impl Progress {
    /// A request came in.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            attempt: None,
            attempts: 0,
            tried: Vec::new(),
            failure: None,
            pinned: false,
            set_cookie: false,
            repin: None,
        }
    }

    /// The current attempt failed. Its node will not be asked again.
    pub(crate) fn fail(&mut self, failure: Failure) -> Option<Arc<Node>> {
        self.failure = Some(failure);
        if self.pinned && self.repin.is_none() {
            self.repin = Some(if failure == Failure::NotSent {
                Repin::ConnectFailed
            } else {
                Repin::Retried
            });
        }
        let node = Arc::clone(self.attempt.take()?.node());
        self.tried.push(Arc::clone(&node));
        Some(node)
    }

    /// Attempts after the first one.
    pub(crate) fn retries(&self) -> usize {
        self.attempts.saturating_sub(1)
    }
}
