//! How many operations are in flight, counted independently of what the recorder says about each: by looking, at moments
//! that have nothing to do with the users.
//!
//! By Little's law the mean must be throughput × mean service time. Where it is not, the recorder's times are wrong, and no
//! latency can be believed. The moments are those of a Poisson process, because only such an observer sees what is the case
//! on average, even if arrivals come in step. And they come on a thread of their own: on the users' thread a look could only
//! happen when no answer is being read, and would miss that much of each operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cluster::Clock;
use evidence::history::InFlight;
use evidence::random::{Random, Stream};

/// Between two looks, on average: too few to cost anything, enough for a mean that is a few percent off after a minute.
const MEAN_PAUSE_US: f64 = 10_000.0;

/// The number of operations between sending and the end of the answer.
#[derive(Default)]
pub(super) struct Gauge {
    // Relaxed: nothing else hangs on it, and an operation more or less at the very moment does not matter.
    now: AtomicU64,
}

/// One operation; it is in flight until this is dropped.
pub(super) struct OneInFlight<'a>(&'a Gauge);

impl Gauge {
    /// An operation begins.
    pub(super) fn enter(&self) -> OneInFlight<'_> {
        self.now.fetch_add(1, Ordering::Relaxed);
        OneInFlight(self)
    }

    /// Looks now and then over the measured part; blocks until its end.
    pub(super) fn watch(&self, clock: Clock, until_us: i64, seed: u64) -> InFlight {
        let mut random = Random::new(seed, Stream::InFlight);
        let mut looks = InFlight::default();
        let mut look_us = 0.0;
        loop {
            look_us += random.exponential(MEAN_PAUSE_US);
            #[expect(clippy::cast_possible_truncation, reason = "far below 2^53")]
            let at_us = look_us as i64;
            if at_us >= until_us {
                return looks;
            }
            if let Ok(ahead) = u64::try_from(at_us - clock.now_us()) {
                thread::sleep(Duration::from_micros(ahead));
            }
            looks.add(self.now.load(Ordering::Relaxed));
        }
    }
}

impl Drop for OneInFlight<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_in_flight_at_each_look() {
        let gauge = Gauge::default();
        let kept = [gauge.enter(), gauge.enter(), gauge.enter()];
        drop(gauge.enter());
        let clock = Clock::starting_in(0);
        let seen = gauge.watch(clock, 200_000, 1);
        assert!((5..60).contains(&seen.looks), "{seen:?}");
        assert_eq!(seen.sum, 3 * seen.looks);
        assert_eq!(seen.squares, 9 * seen.looks);
        drop(kept);
        assert_eq!(gauge.now.load(Ordering::Relaxed), 0);
    }
}
