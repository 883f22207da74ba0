//! Passive ejection: a node that fails real requests gets none for a while, whatever its checks say.
//!
//! A failure is an attempt that could not connect, broke off, or got no answer in time. A node's own 5xx
//! is none: a dead store makes every node answer 503, and ejecting all of them would turn one fault into
//! two. Every answer ends the count. The first ejection lasts `base`, each one that follows twice as long
//! as the one before, up to `max`; `max` without an ejection makes the next one the first again. So does
//! coming back from being down, because then it is most likely another process.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    clock::{as_ms, now_ms},
    config,
};

/// A node's part of it.
#[derive(Debug, Default)]
pub(crate) struct Ejection {
    /// Failures since the last answer.
    failures: AtomicU32,
    /// When it ends, or 0: the node was not ejected lately.
    until_ms: AtomicU64,
    /// Ejections in a row.
    repeats: AtomicU32,
}

impl Ejection {
    /// Is the node ejected now? Only one that was ejected lately makes a request look at the clock.
    pub(crate) fn is_on(&self) -> bool {
        let until = self.until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms() < until
    }

    /// How much longer.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = self.until_ms.load(Ordering::Relaxed);
        let left = until.saturating_sub(now_ms());
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// The node answered. Reads nearly always, and writes only after a failure.
    pub(crate) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed on the node. True when that makes `needed` in a row; 0 means never.
    pub(crate) fn failed(&self, needed: u32) -> bool {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        needed != 0 && failures >= needed
    }

    /// The node came back from being down.
    pub(crate) fn forget(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.until_ms.store(0, Ordering::Relaxed);
        self.repeats.store(0, Ordering::Relaxed);
    }

    /// Begins an ejection; how long it lasts.
    pub(crate) fn begin(&self, rule: &config::EjectionRule) -> Duration {
        let now = now_ms();
        let long_ago = self
            .until_ms
            .load(Ordering::Relaxed)
            .saturating_add(as_ms(rule.max));
        let repeats = if long_ago < now {
            0
        } else {
            self.repeats.load(Ordering::Relaxed)
        };
        let time = rule.base.saturating_mul(1 << repeats.min(16)).min(rule.max);
        self.failures.store(0, Ordering::Relaxed);
        self.repeats
            .store(repeats.saturating_add(1), Ordering::Relaxed);
        self.until_ms.store(now + as_ms(time), Ordering::Relaxed);
        time
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const RULE: config::EjectionRule = config::EjectionRule {
        failures: 3,
        base: Duration::from_secs(1),
        max: Duration::from_secs(5),
        max_percent: 50,
    };

    #[test]
    fn only_failures_in_a_row_count() {
        let ejection = Ejection::default();
        assert!(!ejection.failed(3));
        assert!(!ejection.failed(3));
        ejection.answered();
        assert!(!ejection.failed(3));
        assert!(!ejection.failed(3));
        assert!(ejection.failed(3));
        assert!(!Ejection::default().failed(0), "0 is never");
    }

    #[test]
    fn it_lasts_longer_each_time_up_to_the_cap() {
        let ejection = Ejection::default();
        for seconds in [1, 2, 4, 5, 5] {
            assert_eq!(ejection.begin(&RULE), Duration::from_secs(seconds));
            assert!(ejection.is_on());
        }
        ejection.forget();
        assert!(!ejection.is_on());
        assert_eq!(ejection.begin(&RULE), RULE.base);
    }
}
