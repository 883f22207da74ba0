//! The retry budget: a share of the requests of the last seconds may be retried, and a few more in any case.
//!
//! Without it a cluster that is dead or overloaded gets every request as often as there are attempts. One
//! ring of counters, one for each second, holds requests and retries; a request adds one to the counter of
//! its second, which costs no lock and no look at the clock of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config;

/// How many seconds count as recent.
const WINDOW_S: u64 = 10;
/// A ring that is longer than the window: the slot about to be used anew is never one that still counts.
const SLOTS: usize = 16;

/// A listener's budget.
#[derive(Debug)]
pub(crate) struct Budget {
    percent: u64,
    floor: u64,
    requests: Ring,
    retries: Ring,
}

impl Budget {
    /// A budget that nothing was spent of.
    pub(crate) fn new(rule: config::Retries) -> Self {
        Self {
            percent: rule.budget_percent,
            floor: rule.budget_floor,
            requests: Ring::default(),
            retries: Ring::default(),
        }
    }

    /// A request came in.
    pub(crate) fn earn(&self, now_ms: u64) {
        self.requests.add(now_ms / 1000);
    }

    /// May one more request be retried? If so, it is paid for. Threads that ask at the same moment may
    /// overdraw by one each.
    pub(crate) fn spend(&self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        let allowed = self.floor * WINDOW_S + self.requests.recent(second) * self.percent / 100;
        let granted = self.retries.recent(second) < allowed;
        if granted {
            self.retries.add(second);
        }
        granted
    }
}

/// Counts by second. A slot holds the second in its upper half and the count in its lower.
#[derive(Debug, Default)]
struct Ring([AtomicU64; SLOTS]);

impl Ring {
    const COUNT: u64 = u32::MAX as u64;

    fn add(&self, second: u64) {
        let slot = &self.0[usize::try_from(second).unwrap_or(0) % SLOTS];
        let mut found = slot.load(Ordering::Relaxed);
        if found >> 32 == second {
            // 4 billion requests a second would spill into the upper half; there are none.
            slot.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The first of its second, once in a second: whoever loses the race adds to the winner's slot.
        while let Err(now) = slot.compare_exchange_weak(
            found,
            if found >> 32 == second {
                found + 1
            } else {
                (second << 32) | 1
            },
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            found = now;
        }
    }

    fn recent(&self, second: u64) -> u64 {
        self.0
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|found| *found != 0 && (found >> 32) + WINDOW_S > second)
            .map(|found| found & Self::COUNT)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(budget_percent: u64, budget_floor: u64) -> config::Retries {
        config::Retries {
            attempts: 1,
            budget_percent,
            budget_floor,
        }
    }

    fn spent(budget: &Budget, now_ms: u64) -> usize {
        (0..1000).take_while(|_| budget.spend(now_ms)).count()
    }

    #[test]
    fn a_share_of_recent_requests_and_the_floor_may_be_retried() {
        let budget = Budget::new(rule(20, 3));
        assert_eq!(spent(&budget, 1), 30, "ten seconds of the floor");
        for number in 0..200 {
            budget.earn(1 + number * 10);
        }
        assert_eq!(spent(&budget, 2_000), 40);
        assert_eq!(spent(&budget, 3_000), 0);
        assert_eq!(spent(&budget, 100_000), 30, "long ago");
    }

    #[test]
    fn none_is_none() {
        let budget = Budget::new(rule(0, 0));
        budget.earn(5);
        assert!(!budget.spend(5));
    }

    #[test]
    fn seconds_leave_the_window_one_by_one() {
        let ring = Ring::default();
        for second in 100..130 {
            ring.add(second);
            ring.add(second);
        }
        assert_eq!(ring.recent(129), 20);
        assert_eq!(ring.recent(134), 10);
        assert_eq!(ring.recent(139), 0);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let ring = Ring::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|number| ring.add(number / 2_500)));
            }
        });
        assert_eq!(ring.recent(3), 40_000);
    }
}
