//! Counts calls and how long they waited. Relaxed atomics: a figure may be read one call late, never wrong for good.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::StoreUse;

/// Upper bounds of the histogram's buckets: fine where a healthy store answers, coarse up to the deadline.
const BOUNDS_US: [u64; 14] = [
    50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000,
];

/// Counters since the start.
#[derive(Default)]
pub(super) struct Meter {
    calls: AtomicU64,
    errors: AtomicU64,
    wait_us: AtomicU64,
    /// One for each bound, not cumulative; what took longer than the last is in none.
    buckets: [AtomicU64; BOUNDS_US.len()],
}

impl Meter {
    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self, waited: Duration, ok: bool) {
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.wait_us.fetch_add(waited_us, Relaxed);
        if let Some(bucket) = BOUNDS_US.iter().position(|bound| waited_us <= *bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        if !ok {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn read(&self) -> StoreUse {
        let mut so_far = 0;
        let cumulative = BOUNDS_US.iter().zip(&self.buckets).map(|(bound, bucket)| {
            so_far += bucket.load(Relaxed);
            (*bound, so_far)
        });
        StoreUse {
            wait_buckets: cumulative.collect(),
            calls: self.calls.load(Relaxed),
            errors: self.errors.load(Relaxed),
            wait_us: self.wait_us.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let meter = Meter::default();
        for waited_us in [10, 50, 51, 2_000_000] {
            meter.begin();
            meter.end(Duration::from_micros(waited_us), waited_us < 1_000_000);
        }
        let usage = meter.read();
        assert_eq!(
            (usage.calls, usage.errors, usage.wait_us),
            (4, 1, 2_000_111)
        );
        assert_eq!(usage.wait_buckets[0], (50, 2));
        assert_eq!(usage.wait_buckets[1], (100, 3));
        assert_eq!(usage.wait_buckets.last(), Some(&(1_000_000, 3)));
    }
}
