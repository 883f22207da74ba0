//! Where the process is between its start and its end. What ends it is in `shutdown`.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Starting,
    Ready,
    LameDuck,
    Draining,
}

/// The phase, for everybody to see.
#[derive(Debug)]
pub(crate) struct Lifecycle(AtomicU8);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(AtomicU8::new(Phase::Starting as u8))
    }
}

impl Lifecycle {
    /// Every listener takes connections. Comes too late when the end has begun.
    pub(crate) fn opened(&self) {
        let (starting, ready) = (Phase::Starting as u8, Phase::Ready as u8);
        let _ = self
            .0
            .compare_exchange(starting, ready, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Should new clients come here?
    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Phase::Ready as u8
    }

    /// Has the end begun? Connections are not kept from then on.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Phase::LameDuck as u8
    }

    /// The next phase begins.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_phases() {
        let lifecycle = Lifecycle::default();
        assert!(!lifecycle.is_ready() && !lifecycle.is_ending());
        lifecycle.opened();
        assert!(lifecycle.is_ready() && !lifecycle.is_ending());
        lifecycle.enter(Phase::LameDuck);
        assert!(!lifecycle.is_ready() && lifecycle.is_ending());
        lifecycle.opened();
        assert!(!lifecycle.is_ready(), "opened too late");
    }
}
