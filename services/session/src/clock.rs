//! The time of day that expiry is judged by. A test turns it; nothing else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, from the system's clock plus what a test has turned it ahead by.
///
/// Clones share the hands: turning one turns all.
#[derive(Clone, Debug)]
pub struct Clock {
    system: fn() -> SystemTime,
    ahead_seconds: Arc<AtomicU64>,
}

impl Clock {
    /// The system's clock, not turned.
    pub fn system() -> Self {
        Self::of(SystemTime::now)
    }

    /// Another clock than the system's: a machine whose clock is wrong, in a test.
    pub fn of(system: fn() -> SystemTime) -> Self {
        Self {
            system,
            ahead_seconds: Arc::default(),
        }
    }

    /// What it was turned ahead by, in whole seconds.
    pub fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead_seconds.load(Ordering::Relaxed))
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    fn since_epoch(&self) -> Duration {
        let system = (self.system)().duration_since(UNIX_EPOCH);
        system.unwrap_or_default().saturating_add(self.ahead())
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
        assert!(clone.now_ms() >= (before + 3600) * 1000);
    }
}
