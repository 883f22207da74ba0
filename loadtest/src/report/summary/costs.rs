//! Sentences that compare what a request and a session cost, from the cheapest strategy to the dearest.

use super::names;
use crate::report::comparison::{cluster_cpu, has_store, session_memory};
use crate::report::format::{TimeUnit, figure, list, time};
use crate::report::table::{Column, median};
use crate::results::{Latency, Run};

pub(super) fn sentences(columns: &[Column<'_>]) -> Vec<String> {
    let bytes = |value: f64| format!("{} bytes", figure(value));
    let asked: Vec<&Column<'_>> = columns
        .iter()
        .filter(|column| column.runs.iter().any(|run| has_store(run)))
        .collect();
    let tried: Vec<&Column<'_>> = columns
        .iter()
        .filter(|column| column.runs.iter().any(|run| longest_life(run).is_some()))
        .collect();
    let all: Vec<&Column<'_>> = columns.iter().collect();
    [
        ranked(
            "The median request took",
            &all,
            |run| percentile(run, |l| Some(l.p50)),
            latency(columns, |l| Some(l.p50)),
        ),
        ranked(
            "Of 100 requests, 99 took at most",
            &all,
            |run| percentile(run, |l| l.p99),
            latency(columns, |l| l.p99),
        ),
        ranked(
            "In CPU, a request cost balancer, nodes and store together",
            &all,
            cluster_cpu,
            |us| format!("{} µs", figure(us)),
        ),
        ranked(
            "With each request the client sent",
            &all,
            |run| run.bytes_per_request.sent,
            bytes,
        ),
        ranked(
            "A session with an empty cart took, in nodes and store together,",
            &all,
            session_memory,
            bytes,
        ),
        ranked(
            "For each request the store executed",
            &asked,
            |run| run.store_operations_per_request,
            |n| format!("{} operations", figure(n)),
        ),
        ranked(
            "After its logout a credential was still accepted for up to",
            &tried,
            longest_life,
            time,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn percentile(run: &Run, value: fn(&Latency) -> Option<u64>) -> Option<f64> {
    run.latency_us.as_ref().and_then(value).map(|us| us as f64)
}

fn longest_life(run: &Run) -> Option<f64> {
    run.revocation_ms
        .map(|revocation| revocation.max as f64 * 1e3)
}

/// Shows the times of one sentence in one unit.
fn latency(columns: &[Column<'_>], value: fn(&Latency) -> Option<u64>) -> impl Fn(f64) -> String {
    let runs = columns.iter().flat_map(|column| &column.runs);
    let unit = TimeUnit::for_largest(
        runs.filter_map(|run| percentile(run, value))
            .fold(0.0, f64::max),
    );
    move |us| format!("{} {}", unit.show(us), unit.name())
}

/// "{lead} 318 µs in jwt and 402 µs in redis": strategies from least to most, by the median of their runs. Neighbours whose
/// runs overlap are named: between them no difference was shown.
fn ranked(
    lead: &str,
    columns: &[&Column<'_>],
    value: impl Fn(&Run) -> Option<f64>,
    show: impl Fn(f64) -> String,
) -> Option<String> {
    let mut ranked: Vec<Ranked<'_>> = columns
        .iter()
        .filter_map(|column| Ranked::of(column, &value))
        .collect();
    ranked.sort_by(|a, b| a.median.total_cmp(&b.median));
    if ranked.is_empty() {
        return None;
    }
    // What reads the same is said once: "312 bytes in sticky and redis".
    let parts = ranked
        .chunk_by(|a, b| show(a.median) == show(b.median))
        .filter_map(|same| {
            let strategies = names(same.iter().map(|ranked| ranked.strategy));
            Some(format!("{} in {strategies}", show(same.first()?.median)))
        });
    let parts: Vec<String> = parts.collect();
    let mut remarks = Vec::new();
    for pair in ranked.windows(2) {
        if let [low, high] = pair
            && low.overlaps(high)
            && show(low.median) != show(high.median)
        {
            remarks.push(format!(
                "no difference shown between {} and {}, whose runs overlap",
                low.strategy, high.strategy
            ));
        }
    }
    let missing = names(
        columns
            .iter()
            .filter(|c| ranked.iter().all(|r| r.strategy != c.strategy))
            .map(|c| c.strategy),
    );
    if !missing.is_empty() {
        remarks.push(format!("not measured in {missing}"));
    }
    let remarks = if remarks.is_empty() {
        String::new()
    } else {
        format!(" ({})", remarks.join("; "))
    };
    Some(format!("{lead} {}{remarks}.", list(&parts)))
}

struct Ranked<'a> {
    strategy: &'a str,
    median: f64,
    lowest: f64,
    highest: f64,
    runs: usize,
}

impl<'a> Ranked<'a> {
    fn of(column: &Column<'a>, value: impl Fn(&Run) -> Option<f64>) -> Option<Self> {
        let values: Vec<f64> = column.runs.iter().filter_map(|run| value(run)).collect();
        Some(Self {
            strategy: column.strategy,
            median: median(&values)?,
            lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
            highest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            runs: values.len(),
        })
    }

    /// One run has no spread: nothing can be said about noise then.
    fn overlaps(&self, other: &Self) -> bool {
        self.runs > 1
            && other.runs > 1
            && self.highest >= other.lowest
            && other.highest >= self.lowest
    }
}
