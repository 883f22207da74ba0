//! The measured part in windows of 100 ms: what failover figures are counted in.
//!
//! The **base line** is what was usual before the first fault of the run. Later faults are measured against the same one, for
//! what lies between two faults may still suffer from the first.

use std::ops::Range;

use crate::checker::Ends;
use crate::history::{Action, Operation, Outcome};

/// Length of a window.
pub(super) const WINDOW_US: i64 = 100_000;
/// So many of them are a second.
const A_SECOND: usize = 10;
/// Goodput is back when every second has this share of the base line …
const RECOVERED_SHARE: f64 = 0.95;
/// … or where chance alone makes seconds differ by more, no less than this many standard deviations below it …
const CHANCE: f64 = 3.0;
/// … but never below this share …
const FLOOR: f64 = 0.5;
/// … for so long.
const HELD: usize = 5 * A_SECOND;

/// What happened in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Answers that were complete in it and did what the user wanted.
    good: u64,
    /// Requests sent in it that came to a good end …
    sent_ok: u64,
    /// … and that failed. The refusal of a lost session is not among them: the service was there, it only knew the user no
    /// more.
    sent_failed: u64,
    /// Logins sent in it.
    logins: u64,
}

/// The measured part.
pub(super) struct Windows {
    windows: Vec<Window>,
    /// Windows before the first fault.
    base: usize,
}

impl Windows {
    /// Sorts `operations` into windows up to `until_us`; the first fault came at `first_fault_us`.
    pub(super) fn of(
        operations: &[Operation],
        ends: &Ends,
        until_us: i64,
        first_fault_us: i64,
    ) -> Self {
        let count = index(until_us + WINDOW_US - 1);
        let mut windows = vec![Window::default(); count];
        for operation in operations {
            let good = operation.outcome == Outcome::Ok;
            if operation.done_us >= 0
                && let Some(window) = windows.get_mut(index(operation.done_us))
            {
                window.good += u64::from(good);
            }
            if operation.sent_us >= 0
                && let Some(window) = windows.get_mut(index(operation.sent_us))
            {
                window.sent_ok += u64::from(good);
                let failed = ends.is_failure(operation) && !operation.lost_its_session();
                window.sent_failed += u64::from(failed);
                window.logins += u64::from(operation.action == Action::LogIn);
            }
        }
        Self {
            windows,
            base: index(first_fault_us.min(until_us)),
        }
    }

    fn within(&self, span: &Range<i64>) -> &[Window] {
        let end = index(span.end).min(self.windows.len());
        self.windows.get(index(span.start)..end).unwrap_or(&[])
    }

    /// When goodput was back within `span` and stayed; `None` if it was not, or if `span` is too short to tell.
    pub(super) fn recovered_us(&self, span: &Range<i64>) -> Option<i64> {
        let bar = self.bar()?;
        let windows = self.within(span);
        let is_back = |from: &usize| {
            windows.get(*from..*from + HELD).is_some_and(|held| {
                held.windows(A_SECOND)
                    .all(|second| sum(second, |window| window.good) as f64 >= bar)
            })
        };
        let from = (0..windows.len()).find(is_back)?;
        let window = i64::try_from(index(span.start) + from).ok()?;
        // The fault came in the middle of its window.
        Some((window * WINDOW_US).max(span.start))
    }

    /// Answers a second that count as recovered.
    fn bar(&self) -> Option<f64> {
        let seconds: Vec<f64> = self
            .windows
            .get(..self.base)?
            .chunks_exact(A_SECOND)
            .map(|second| sum(second, |window| window.good) as f64)
            .collect();
        let mean = mean(&seconds).filter(|mean| *mean > 0.0)?;
        let squares: Vec<f64> = seconds.iter().map(|one| (one - mean).powi(2)).collect();
        // Of one second there is no deviation.
        let variance = squares.iter().sum::<f64>() / (squares.len() as f64 - 1.0).max(1.0);
        let by_chance = mean - CHANCE * variance.sqrt();
        Some((RECOVERED_SHARE * mean).min(by_chance.max(FLOOR * mean)))
    }

    /// The start of the first window after `first_failure_us` in which requests were sent and none of them failed; the end
    /// of `span` without one. (A window in which nobody dared to ask proves nothing.)
    pub(super) fn clean_from_us(&self, first_failure_us: i64, span: &Range<i64>) -> i64 {
        let from = index(first_failure_us);
        let clean = self
            .windows
            .iter()
            .enumerate()
            .skip(from + 1)
            .find(|(_, window)| window.sent_failed == 0 && window.sent_ok > 0);
        clean
            .and_then(|(window, _)| i64::try_from(window).ok())
            .map_or(span.end, |window| (window * WINDOW_US).min(span.end))
    }

    /// The share of requests that failed, by the moment of sending, summed up over the seconds of `span`. A window in which
    /// nobody asked counts as the one before.
    pub(super) fn error_seconds(&self, span: &Range<i64>) -> f64 {
        let mut share = 0.0;
        let mut sum = 0.0;
        for window in self.within(span) {
            let sent = window.sent_ok + window.sent_failed;
            if sent > 0 {
                share = window.sent_failed as f64 / sent as f64;
            }
            sum += share;
        }
        sum / A_SECOND as f64
    }

    /// The second of `span` with the most logins, in usual seconds. `None` where logins are not usual.
    pub(super) fn relogin_amplification(&self, span: &Range<i64>) -> Option<f64> {
        let base = self.windows.get(..self.base)?;
        let usual = sum(base, |window| window.logins) as f64 / base.len() as f64 * A_SECOND as f64;
        let peak = self
            .within(span)
            .windows(A_SECOND)
            .map(|second| sum(second, |window| window.logins))
            .max()?;
        (usual > 0.0).then(|| peak as f64 / usual)
    }
}

/// The window of a moment; what was before the first is in it.
fn index(us: i64) -> usize {
    usize::try_from(us / WINDOW_US).unwrap_or(0)
}

fn sum(windows: &[Window], count: fn(&Window) -> u64) -> u64 {
    windows.iter().map(count).sum()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows with these good answers; the first fault comes at `base`.
    fn goodput(base: usize, shape: &[(u64, usize)]) -> Windows {
        let windows = shape.iter().flat_map(|&(good, times)| {
            let window = Window {
                good,
                ..Window::default()
            };
            std::iter::repeat_n(window, times)
        });
        Windows {
            windows: windows.collect(),
            base,
        }
    }

    #[test]
    fn recovered_is_where_goodput_is_back_and_stays() {
        // 2 s base line, half a second away, a first return that does not last, then for good.
        let shape = [(40, 20), (0, 5), (40, 15), (8, 10), (39, 60)];
        let span = 2_000_000..11_000_000;
        assert_eq!(goodput(20, &shape).recovered_us(&span), Some(5_000_000));
    }

    #[test]
    fn a_fault_that_nobody_noticed_is_over_at_once() {
        let calm = goodput(21, &[(40, 100)]);
        assert_eq!(calm.recovered_us(&(2_130_000..10_000_000)), Some(2_130_000));
    }

    #[test]
    fn recovery_that_cannot_be_seen_is_not_told() {
        let span = 2_000_000..12_000_000;
        assert_eq!(
            goodput(20, &[(40, 20), (20, 100)]).recovered_us(&span),
            None
        );
        let too_short = goodput(20, &[(40, 20), (0, 5), (40, 40)]);
        assert_eq!(too_short.recovered_us(&span), None);
        let next_fault_comes_soon = goodput(20, &[(40, 120)]);
        assert_eq!(
            next_fault_comes_soon.recovered_us(&(2_000_000..6_000_000)),
            None
        );
        assert_eq!(
            goodput(0, &[(40, 120)]).recovered_us(&(0..12_000_000)),
            None,
            "no base line"
        );
    }

    #[test]
    fn what_differs_by_chance_before_may_differ_after() {
        // Seconds of 70 and 130, like independent arrivals; then seconds of 80.
        let restless = [(7, 10), (13, 10), (7, 10), (13, 10)];
        let low = goodput(40, &[restless.as_slice(), &[(8, 60)]].concat());
        assert_eq!(low.recovered_us(&(4_000_000..10_000_000)), Some(4_000_000));
        let gone = goodput(40, &[restless.as_slice(), &[(4, 60)]].concat());
        assert_eq!(
            gone.recovered_us(&(4_000_000..10_000_000)),
            None,
            "less than half"
        );
    }

    fn sent(shape: &[(u64, u64)]) -> Windows {
        let window = |&(sent_ok, sent_failed): &(u64, u64)| Window {
            sent_ok,
            sent_failed,
            ..Window::default()
        };
        Windows {
            windows: shape.iter().map(window).collect(),
            base: 0,
        }
    }

    #[test]
    fn only_a_window_with_good_ends_is_clean() {
        let windows = sent(&[(9, 0), (5, 4), (0, 0), (0, 1), (3, 0), (0, 2)]);
        let span = 0..600_000;
        assert_eq!(windows.clean_from_us(130_000, &span), 400_000);
        assert_eq!(
            windows.clean_from_us(510_000, &span),
            600_000,
            "never again"
        );
    }

    #[test]
    fn error_seconds_are_shares_over_time() {
        // Half of the requests fail, then all, then nobody asks, then all is well.
        let windows = sent(&[(5, 5), (0, 7), (0, 0), (9, 0)]);
        let near = |sum: f64, expected: f64| assert!((sum - expected).abs() < 1e-9, "{sum}");
        near(windows.error_seconds(&(0..400_000)), 0.25);
        near(windows.error_seconds(&(300_000..400_000)), 0.0);
    }

    #[test]
    fn logins_are_told_in_usual_seconds() {
        let window = |logins| Window {
            logins,
            ..Window::default()
        };
        let mut windows = vec![window(1); 20];
        windows.extend([window(8); 5]);
        windows.extend([window(1); 15]);
        let windows = Windows { windows, base: 20 };
        let span = 2_000_000..4_000_000;
        assert_eq!(windows.relogin_amplification(&span), Some(4.5));
        assert_eq!(windows.relogin_amplification(&(2_000_000..2_500_000)), None);
        let unusual = Windows {
            windows: vec![window(0); 40],
            base: 20,
        };
        assert_eq!(unusual.relogin_amplification(&span), None);
    }
}
