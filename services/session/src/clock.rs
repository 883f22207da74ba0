//! The time of day that expiry is judged by. A test turns it; nothing else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, from the system's clock plus what a test has turned it ahead by.
///
/// Clones share the hands: turning one turns all.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_seconds: Arc<AtomicU64>,
}

impl Clock {
    /// The system's clock, not turned.
    pub fn system() -> Self {
        Self::default()
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        system.saturating_add(self.ahead_seconds.load(Ordering::Relaxed))
    }

    /// Turns the clock ahead, never back: time that went backwards would bring dead sessions to life.
    pub fn turn(&self, ahead: Duration) {
        self.ahead_seconds
            .fetch_add(ahead.as_secs(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_hands() {
        let clock = Clock::system();
        let clone = clock.clone();
        let before = clone.now();
        clock.turn(Duration::from_hours(1));
        assert!(clone.now() >= before + 3600);
    }
}
