//! Operations in flight at the same time: what the users' process saw by looking, beside what the recorded operations say.
//!
//! By Little's law the mean is throughput × mean service time. The two sides have nothing in common but the truth: if they
//! differ, operations were not recorded, or at wrong times.

use crate::history::History;
use crate::results::InFlight;

/// Little's law holds exactly; what was seen may differ by this share …
const LITTLE_SHARE: f64 = 0.1;
/// … and by so many standard errors of the looks, for there are only some thousand of them …
const LITTLE_ERRORS: f64 = 5.0;
/// … and by so many operations: where a stall of the machine holds looks and operations up together, many looks see one
/// thing, and are worth less than so many that are independent.
const LITTLE_OPERATIONS: f64 = 0.25;

/// What was seen in flight, beside what the recorded operations say.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) figures: InFlight,
    /// By how much the mean of the looks may be off by chance.
    standard_error: f64,
}

/// `None` when nobody looked, or nothing was measured.
pub(super) fn of(history: &History) -> Option<Seen> {
    let looks = history.counts.as_ref()?.in_flight?;
    let until_us = history.meta.measured_until_us;
    if looks.looks == 0 || until_us <= 0 {
        return None;
    }
    let count = looks.looks as f64;
    let seen = looks.sum as f64 / count;
    let variance = looks.squares as f64 / count - seen * seen;
    // Throughput × mean service time is the time that all operations took together, by the length of the measured part; of
    // an operation that reaches beyond it, only what lies within.
    let within: i64 = history
        .operations
        .iter()
        .map(|operation| operation.done_us.min(until_us) - operation.sent_us.max(0))
        .filter(|within| *within > 0)
        .sum();
    Some(Seen {
        figures: InFlight {
            seen,
            by_littles_law: within as f64 / until_us as f64,
        },
        standard_error: (variance.max(0.0) / count).sqrt(),
    })
}

impl Seen {
    /// Whether the two do not fit together.
    pub(super) fn problem(self) -> Option<String> {
        let InFlight {
            seen,
            by_littles_law: expected,
        } = self.figures;
        let tolerance =
            LITTLE_SHARE * expected + LITTLE_ERRORS * self.standard_error + LITTLE_OPERATIONS;
        ((seen - expected).abs() > tolerance).then(|| {
            format!(
                "{seen:.3} operations were seen in flight on average, but by Little's law the recorded ones make \
                 {expected:.3}: their times are wrong"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::{browse, history};
    use crate::history::{Counts, InFlight as Looks};

    /// Ten seconds, in each of which one operation takes 500 ms, and one before that reaches 1 s into them.
    fn seen(looks: u64, sum: u64) -> Option<Seen> {
        let mut operations: Vec<_> = (0..10)
            .map(|second| browse(1, 1, 1, second * 1_000))
            .collect();
        for operation in &mut operations {
            operation.done_us = operation.sent_us + 500_000;
        }
        let mut before = browse(2, 1, 1, -5_000);
        before.done_us = 1_000_000;
        operations.push(before);
        let mut history = history(operations);
        history.counts = Some(Counts {
            in_flight: Some(Looks {
                looks,
                sum,
                squares: sum,
            }),
            ..Counts::default()
        });
        of(&history)
    }

    #[test]
    fn the_recorded_operations_make_the_expected_mean() {
        let seen = seen(1_000, 600).unwrap();
        assert!((seen.figures.by_littles_law - 0.6).abs() < 1e-9);
        assert!((seen.figures.seen - 0.6).abs() < 1e-9);
        assert_eq!(seen.problem(), None);
    }

    #[test]
    fn more_than_chance_a_tenth_and_a_quarter_of_an_operation_apart_is_wrong() {
        // A standard error is 0.5 ÷ 100 here, so 0.6 ± 0.06 ± 0.025 ± 0.25.
        assert_eq!(seen(10_000, 3_000).unwrap().problem(), None);
        let problem = seen(10_000, 2_500).unwrap().problem().unwrap();
        assert!(
            problem.contains("0.250 operations") && problem.contains("0.600"),
            "{problem}"
        );
        assert!(seen(10_000, 9_400).unwrap().problem().is_some());
        // Few looks prove nothing.
        assert_eq!(seen(25, 10).unwrap().problem(), None);
    }

    #[test]
    fn without_a_look_there_is_no_figure() {
        assert!(seen(0, 0).is_none());
        assert!(of(&history([])).is_none());
    }
}
