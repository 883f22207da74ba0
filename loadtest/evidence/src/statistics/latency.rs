//! Latencies: from sending to the last byte, of operations that did what the user wanted.
//! (Fast failures would make a broken cluster look quick, and slow ones a quick cluster slow; they are told apart.)

use hdrhistogram::Histogram;

use crate::history::{Operation, Outcome};
use crate::results::{Bin, Latency};

/// A percentile is told only when this many samples lie beyond it; with fewer, it is the luck of single requests.
/// So p90 wants 100 samples, p99 1,000 and p99.9 10,000.
const BEYOND: f64 = 10.0;
/// Far beyond every time limit.
const LONGEST_US: u64 = 60_000_000;
/// Bins of the published histogram, in each decade: a percentile of merged ones is at most 2.4 % too high.
const BINS_A_DECADE: i32 = 100;

/// The latency of one operation, where it has one.
pub(super) fn of(operation: &Operation) -> Option<u64> {
    (operation.outcome == Outcome::Ok)
        .then(|| u64::try_from(operation.done_us - operation.sent_us).unwrap_or(0))
}

/// How long users waited for what failed.
pub(super) fn of_failure(operation: &Operation) -> Option<u64> {
    (operation.outcome != Outcome::Ok)
        .then(|| u64::try_from(operation.done_us - operation.sent_us).unwrap_or(0))
}

/// The same as [`of`] from the moment at which the user wanted to act: in an open loop, when the arrival was due.
pub(super) fn of_response(operation: &Operation) -> Option<u64> {
    (operation.outcome == Outcome::Ok)
        .then(|| u64::try_from(operation.done_us - operation.intended_us).unwrap_or(0))
}

/// Percentiles of these latencies, as far as their number supports them.
pub(super) fn percentiles(latencies_us: impl Iterator<Item = u64>) -> Option<Latency> {
    let mut histogram = empty()?;
    for latency_us in latencies_us {
        histogram.saturating_record(latency_us);
    }
    supported(&histogram)
}

/// Percentiles over the requests of several runs. The slowest comes from `runs` themselves: a bin only says what it was not
/// above.
pub(super) fn merged(bins: impl Iterator<Item = Bin>, slowest_us: u64) -> Option<Latency> {
    let mut histogram = empty()?;
    for bin in bins {
        histogram.saturating_record_n(bin.le_us, bin.count);
    }
    let within = |percentile: u64| percentile.min(slowest_us);
    supported(&histogram).map(|latency| Latency {
        p50: within(latency.p50),
        p90: latency.p90.map(within),
        p99: latency.p99.map(within),
        p999: latency.p999.map(within),
        max: slowest_us,
    })
}

/// Three digits: a percentile is at most 0.1 % off.
fn empty() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).ok()
}

fn supported(histogram: &Histogram<u64>) -> Option<Latency> {
    let count = histogram.len() as f64;
    if count == 0.0 {
        return None;
    }
    let supported = |quantile: f64| {
        // The tolerance is for 0.1 having no exact binary form.
        (count * (1.0 - quantile) + 1e-6 >= BEYOND).then(|| histogram.value_at_quantile(quantile))
    };
    Some(Latency {
        p50: histogram.value_at_quantile(0.5),
        p90: supported(0.9),
        p99: supported(0.99),
        p999: supported(0.999),
        max: histogram.max(),
    })
}

/// Bins on a logarithmic scale, from the fastest to the slowest, without gaps.
pub(super) fn histogram(measured: &[&Operation]) -> Vec<Bin> {
    let latencies = measured.iter().filter_map(|operation| of(operation));
    bins(latencies.collect())
}

/// The same of any times.
pub(super) fn bins(mut latencies: Vec<u64>) -> Vec<Bin> {
    latencies.sort_unstable();
    let mut bins = Vec::new();
    let mut binned = 0;
    let mut last_us = 0;
    for step in 0.. {
        if binned == latencies.len() {
            break;
        }
        let le_us = bound(step);
        // The first steps are less than a microsecond.
        if le_us == last_us {
            continue;
        }
        last_us = le_us;
        let below = latencies.partition_point(|latency| *latency <= le_us);
        let count = (below - binned) as u64;
        if count > 0 || !bins.is_empty() {
            bins.push(Bin { le_us, count });
        }
        binned = below;
    }
    bins
}

/// 10 µs, and from there in equal steps on the logarithmic scale.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and far below 2^53 before the longest time limit is reached"
)]
fn bound(step: i32) -> u64 {
    10_f64
        .powf(1.0 + f64::from(step) / f64::from(BINS_A_DECADE))
        .round() as u64
}

/// The smallest value that at least `quantile` of all are not above; `sorted` must be.
pub(super) fn nearest_rank(sorted: &[u64], quantile: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length"
    )]
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::browse;

    fn operations(latencies_us: impl IntoIterator<Item = i64>) -> Vec<Operation> {
        latencies_us
            .into_iter()
            .map(|latency_us| {
                let mut operation = browse(1, 1, 1, 0);
                operation.done_us = operation.sent_us + latency_us;
                operation
            })
            .collect()
    }

    fn percentiles_of(operations: &[Operation]) -> Option<Latency> {
        percentiles(operations.iter().filter_map(of))
    }

    #[test]
    fn percentiles_are_told_only_as_far_as_the_count_supports() {
        assert_eq!(percentiles_of(&[]), None);
        let told = |count: i64| {
            let latency = percentiles_of(&operations(1..=count)).unwrap();
            (
                latency.p90.is_some(),
                latency.p99.is_some(),
                latency.p999.is_some(),
            )
        };
        assert_eq!(told(99), (false, false, false));
        assert_eq!(told(100), (true, false, false));
        assert_eq!(told(999), (true, false, false));
        assert_eq!(told(1_000), (true, true, false));
        assert_eq!(told(10_000), (true, true, true));
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let latency = percentiles_of(&operations(1..=10_000)).unwrap();
        let near = |value: u64, exact: u64| value.abs_diff(exact) * 500 <= exact;
        assert!(near(latency.p50, 5_000), "{latency:?}");
        assert!(near(latency.p90.unwrap(), 9_000), "{latency:?}");
        assert!(near(latency.p99.unwrap(), 9_900), "{latency:?}");
        assert!(near(latency.max, 10_000), "{latency:?}");
    }

    #[test]
    fn the_response_counts_from_the_users_intention() {
        let mut operations = operations([2_000]);
        operations[0].intended_us = operations[0].sent_us - 5_000;
        let response = percentiles(operations.iter().filter_map(of_response)).unwrap();
        assert_eq!(response.max / 100, 70);
        assert_eq!(of_response(&operations[0].clone().failed()), None);
    }

    #[test]
    fn failures_are_told_apart() {
        let failed: Vec<Operation> = operations([7]).into_iter().map(Operation::failed).collect();
        assert_eq!(percentiles_of(&failed), None);
        let waited = percentiles(failed.iter().filter_map(of_failure));
        assert_eq!(waited.map(|latency| latency.max), Some(7));
        assert_eq!(
            percentiles(operations([7]).iter().filter_map(of_failure)),
            None
        );
    }

    #[test]
    fn merged_percentiles_are_near_and_need_the_same_counts() {
        let runs = [operations(1..=600), operations(601..=1_000)];
        let bins = |operations: &[Operation]| histogram(&operations.iter().collect::<Vec<_>>());
        let together = merged(runs.iter().flat_map(|run| bins(run)), 1_000).unwrap();
        let near = |value: u64, exact: u64| (exact..=exact + exact / 40).contains(&value);
        assert!(near(together.p50, 500), "{together:?}");
        assert!(near(together.p99.unwrap(), 990), "{together:?}");
        assert_eq!((together.p999, together.max), (None, 1_000));
        let one = merged(bins(&runs[0]).into_iter(), 600).unwrap();
        assert_eq!(one.p99, None, "600 requests do not support it");
        assert_eq!(merged([].into_iter(), 0), None);
    }

    #[test]
    fn bins_ascend_without_gaps_and_hold_every_request() {
        let operations = operations([3, 150, 151, 9_000, 4_000_000]);
        let bins = histogram(&operations.iter().collect::<Vec<_>>());
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), 5);
        assert!(bins.is_sorted_by(|a, b| a.le_us < b.le_us));
        assert_eq!(
            bins.first().unwrap(),
            &Bin {
                le_us: 10,
                count: 1
            }
        );
        assert!(bins.last().unwrap().le_us >= 4_000_000 && bins.last().unwrap().count == 1);
        assert!(histogram(&[]).is_empty());
    }

    #[test]
    fn nearest_rank_is_a_value_that_occurred() {
        assert_eq!(nearest_rank(&[], 0.5), None);
        assert_eq!(nearest_rank(&[7], 0.99), Some(7));
        assert_eq!(nearest_rank(&[1, 2, 3, 4], 0.5), Some(2));
        assert_eq!(nearest_rank(&[1, 2, 3, 4], 0.99), Some(4));
    }
}
