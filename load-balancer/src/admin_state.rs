//! What the operator wants of a node, in HAProxy's words, whatever its health.
//!
//! | state | new clients | pinned clients | checks |
//! | --- | --- | --- | --- |
//! | `ready` | yes | yes | go on |
//! | `drain` | no | yes, until the deadline; from then on as `maint` | go on |
//! | `maint` | no | no: their next request goes elsewhere | stop |
//!
//! Requests that a node is working on are never disturbed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::clock::{as_ms, now_ms};

/// The three states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AdminState {
    /// Takes everybody.
    Ready,
    /// Keeps its pinned clients for a while and takes no new ones.
    Drain,
    /// Takes nobody.
    Maint,
}

impl AdminState {
    /// Every state, in the order of the counters.
    pub(crate) const ALL: [(Self, &str); 3] = [
        (Self::Ready, "ready"),
        (Self::Drain, "drain"),
        (Self::Maint, "maint"),
    ];

    /// The word that the admin port and the metrics use.
    pub(crate) fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What was ordered, in one number: the state, and for `drain` the moment when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order(u64);

impl Order {
    /// Takes everybody.
    pub(crate) const READY: Self = Self(0);
    /// Takes nobody.
    pub(crate) const MAINT: Self = Self(u64::MAX);

    /// Pinned clients may stay for this long.
    pub(crate) fn drain(deadline: Duration) -> Self {
        Self(now_ms().saturating_add(as_ms(deadline)).min(u64::MAX - 1))
    }

    /// The state that the order means now.
    pub(crate) fn state(self) -> AdminState {
        match self {
            Self::READY => AdminState::Ready,
            // Only a draining node makes a request look at the clock.
            Self(until) if self != Self::MAINT && now_ms() < until => AdminState::Drain,
            Self(_) => AdminState::Maint,
        }
    }

    /// Was it a drain, and is that over?
    pub(crate) fn drain_ended(self) -> bool {
        self != Self::READY && self != Self::MAINT && self.state() == AdminState::Maint
    }

    /// How long a drain still lasts.
    pub(crate) fn drain_left(self) -> Option<Duration> {
        (self.state() == AdminState::Drain)
            .then(|| Duration::from_millis(self.0.saturating_sub(now_ms())))
    }
}

/// An order that every request reads.
#[derive(Debug)]
pub(crate) struct CurrentOrder(AtomicU64);

impl CurrentOrder {
    /// Begins with this order.
    pub(crate) fn new(order: Order) -> Self {
        Self(AtomicU64::new(order.0))
    }

    /// The order in force.
    pub(crate) fn get(&self) -> Order {
        Order(self.0.load(Ordering::Relaxed))
    }

    /// Replaces the order; returns the one before.
    pub(crate) fn replace(&self, order: Order) -> Order {
        Order(self.0.swap(order.0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_means_its_state_and_a_drain_ends() {
        assert_eq!(Order::READY.state(), AdminState::Ready);
        assert_eq!(Order::MAINT.state(), AdminState::Maint);
        let drain = Order::drain(Duration::from_mins(1));
        assert_eq!(drain.state(), AdminState::Drain);
        assert!(
            drain
                .drain_left()
                .is_some_and(|left| left > Duration::from_secs(50))
        );
        assert_eq!(Order::drain(Duration::ZERO).state(), AdminState::Maint);
        assert_eq!(Order::drain(Duration::MAX).state(), AdminState::Drain);
    }

    #[test]
    fn words_are_in_the_order_of_the_states() {
        for (state, word) in AdminState::ALL {
            assert_eq!(state.word(), word);
        }
    }
}
