//! Several runs of a strategy together, and against another strategy. The run is the unit: requests of one run share its
//! luck, so that thousands of them prove no more about a strategy than that one run does.

use std::collections::BTreeMap;

use super::{bootstrap, latency, ranks};
use crate::expectations::figures::{self, FIGURES, Figure};
use crate::results::{Comparison, Conclusion, Estimate, Run, Summary, of_one_size};

/// Two strategies are said to differ when chance would part their runs so much less often than this.
const CHANCE: f64 = 0.05;

/// What strategies are compared in. Few on purpose: of twenty comparisons of what is alike, one shows a difference.
const COMPARED: [&str; 10] = [
    "goodput_rps",
    "failed_requests",
    "unavailable_ms",
    "recovered_ms",
    "error_seconds",
    "p50_us",
    "p99_us",
    "cost_us_per_request.cluster",
    "bytes_per_request.sent",
    "memory_bytes_per_session.cluster",
];

/// The runs of each strategy together, in the order of their first runs. Of several sizes of cluster the largest.
pub fn summaries(runs: &[Run], seed: u64) -> Vec<Summary> {
    let runs: &[&Run] = &of_one_size(runs).collect::<Vec<_>>();
    strategies(runs)
        .into_iter()
        .map(|strategy| {
            let of_it = || runs.iter().filter(move |run| run.strategy == strategy);
            let slowest_us = of_it()
                .filter_map(|run| Some(run.latency_us?.max))
                .max()
                .unwrap_or(0);
            let bins = of_it().flat_map(|run| run.latency_histogram.iter().copied());
            Summary {
                strategy: strategy.to_owned(),
                runs: of_it().count() as u64,
                figures: estimates(runs, strategy, seed),
                latency_us: match of_it().count() {
                    1 => of_it().find_map(|run| run.latency_us),
                    _ => latency::merged(bins, slowest_us),
                },
            }
        })
        .collect()
}

fn estimates(runs: &[&Run], strategy: &str, seed: u64) -> BTreeMap<String, Estimate> {
    FIGURES
        .iter()
        .filter_map(|figure| {
            let values = values(runs, strategy, figure)?;
            let interval = bootstrap::of_median(&values, seed);
            let estimate = Estimate {
                median: bootstrap::median(&values)?,
                low: interval.map(|(low, _)| low),
                high: interval.map(|(_, high)| high),
            };
            Some((figure.name.to_owned(), estimate))
        })
        .collect()
}

/// Every two strategies, in each figure that all their runs have. Of several sizes of cluster the largest.
pub fn comparisons(runs: &[Run], seed: u64) -> Vec<Comparison> {
    let runs: &[&Run] = &of_one_size(runs).collect::<Vec<_>>();
    let strategies = strategies(runs);
    let mut comparisons = Vec::new();
    for figure in COMPARED.iter().filter_map(|name| figures::named(name)) {
        for (index, a) in strategies.iter().enumerate() {
            for b in &strategies[index + 1..] {
                comparisons.extend(compare(runs, figure, a, b, seed));
            }
        }
    }
    comparisons
}

fn compare(runs: &[&Run], figure: &Figure, a: &str, b: &str, seed: u64) -> Option<Comparison> {
    let (of_a, of_b) = (values(runs, a, figure)?, values(runs, b, figure)?);
    let (median_a, median_b) = (bootstrap::median(&of_a)?, bootstrap::median(&of_b)?);
    let interval = bootstrap::of_ratio(&of_a, &of_b, seed);
    let can_show = ranks::smallest(of_a.len(), of_b.len()) < CHANCE;
    let p = can_show.then(|| ranks::probability(&of_a, &of_b, seed));
    Some(Comparison {
        figure: figure.name.to_owned(),
        a: a.to_owned(),
        b: b.to_owned(),
        ratio: (median_a != 0.0).then(|| median_b / median_a),
        low: interval.map(|(low, _)| low),
        high: interval.map(|(_, high)| high),
        p,
        conclusion: match p {
            None => Conclusion::TooFewRuns,
            Some(p) if p >= CHANCE => Conclusion::NoDifferenceShown,
            // Ranks may differ where medians do not.
            Some(_) if median_b < median_a => Conclusion::Lower,
            Some(_) if median_b > median_a => Conclusion::Higher,
            Some(_) => Conclusion::NoDifferenceShown,
        },
    })
}

/// The figure of every run of a strategy; `None` if one has none.
fn values(runs: &[&Run], strategy: &str, figure: &Figure) -> Option<Vec<f64>> {
    runs.iter()
        .filter(|run| run.strategy == strategy)
        .map(|run| (figure.of)(run))
        .collect()
}

fn strategies<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.strategy.as_str()) {
            names.push(&run.strategy);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Latency;
    use crate::sample;

    /// Interleaved runs of redis and jwt whose nodes cost this much a request.
    fn runs(redis: &[f64], jwt: &[f64]) -> Vec<Run> {
        let mut runs = Vec::new();
        for (repeat, (redis, jwt)) in (1..).zip(redis.iter().zip(jwt)) {
            for (mut run, cost) in [(sample::redis(repeat), redis), (sample::jwt(repeat), jwt)] {
                run.cost_us_per_request.load_balancer = Some(0.0);
                run.cost_us_per_request.store = Some(0.0);
                run.cost_us_per_request.node = Some(*cost);
                runs.push(run);
            }
        }
        runs
    }

    fn conclusion(runs: &[Run]) -> Conclusion {
        let comparisons = comparisons(runs, 1);
        let of_costs = comparisons
            .iter()
            .find(|comparison| comparison.figure == "cost_us_per_request.cluster");
        of_costs.unwrap().conclusion
    }

    #[test]
    fn what_is_compared_exists() {
        assert!(COMPARED.iter().all(|name| figures::named(name).is_some()));
    }

    #[test]
    fn a_difference_is_told_only_when_chance_cannot_explain_it() {
        let low = [10.0, 11.0, 12.0, 13.0, 14.0];
        let high = [20.0, 21.0, 22.0, 23.0, 24.0];
        assert_eq!(conclusion(&runs(&low, &high)), Conclusion::Higher);
        assert_eq!(conclusion(&runs(&high, &low)), Conclusion::Lower);
        let between = [9.0, 11.5, 12.5, 12.7, 15.0];
        assert_eq!(
            conclusion(&runs(&low, &between)),
            Conclusion::NoDifferenceShown
        );
        assert_eq!(conclusion(&runs(&low, &low)), Conclusion::NoDifferenceShown);
        assert_eq!(
            conclusion(&runs(&low[..3], &high[..3])),
            Conclusion::TooFewRuns
        );
        assert_eq!(
            conclusion(&runs(&low[..1], &high[..1])),
            Conclusion::TooFewRuns
        );
    }

    #[test]
    fn medians_have_intervals_and_a_gap_is_no_figure() {
        let mut runs = runs(&[10.0, 30.0, 11.0], &[5.0, 5.0, 5.0]);
        runs[0].store_operations_per_request = None;
        let summaries = summaries(&runs, 1);
        let redis = &summaries[0];
        assert_eq!((redis.strategy.as_str(), redis.runs), ("redis", 3));
        let cost = redis.figures["cost_us_per_request.node"];
        assert_eq!(
            (cost.median, cost.low, cost.high),
            (11.0, Some(10.0), Some(30.0))
        );
        assert!(!redis.figures.contains_key("store_operations_per_request"));
    }

    #[test]
    fn sizes_of_cluster_are_not_mixed() {
        let mut runs = runs(&[10.0, 30.0], &[5.0, 7.0]);
        for run in &mut runs {
            run.nodes = if run.repeat == 1 { 1 } else { 8 };
        }
        let summaries = summaries(&runs, 1);
        let cost = summaries[0].figures["cost_us_per_request.node"];
        assert_eq!((summaries[0].runs, cost.median), (1, 30.0));
        let comparisons = comparisons(&runs, 1);
        let cost = comparisons
            .iter()
            .find(|one| one.figure == "cost_us_per_request.cluster");
        assert_eq!(cost.unwrap().ratio, Some(7.0 / 30.0));
    }

    #[test]
    fn percentiles_are_over_all_requests_and_not_means_of_percentiles() {
        let mut runs = runs(&[1.0, 1.0], &[1.0, 1.0]);
        runs.retain(|run| run.strategy == "redis");
        // 990 quick requests in one run, 510 slow ones in the other.
        for (run, (le_us, count)) in runs.iter_mut().zip([(100, 990), (9_000, 510)]) {
            run.latency_histogram = vec![crate::results::Bin { le_us, count }];
            run.latency_us = Some(Latency {
                max: le_us,
                ..Latency::default()
            });
        }
        let latency = summaries(&runs, 1)[0].latency_us.unwrap();
        assert_eq!(latency.p50, 100);
        assert!(latency.p90.unwrap() >= 8_990);
        assert_eq!(latency.p999, None, "1,500 requests do not support it");
    }
}
