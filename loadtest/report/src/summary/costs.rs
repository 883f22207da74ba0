//! Sentences that compare what a request and a session cost, from the cheapest strategy to the dearest.

use super::names;
use crate::pairs;
use crate::table::{Column, median};
use evidence::expectations::figures;
use evidence::format::{TimeUnit, figure, list};
use evidence::results::{Comparison, Conclusion, Latency, Run};

pub(super) fn sentences(columns: &[Column<'_>], comparisons: &[Comparison]) -> Vec<String> {
    let bytes = |value: f64| format!("{} bytes", figure(value));
    let asked: Vec<&Column<'_>> = columns
        .iter()
        .filter(|column| column.runs.iter().any(|run| run.has_store()))
        .collect();
    let all: Vec<&Column<'_>> = columns.iter().collect();
    let ranked = |lead, name, columns: &[&Column<'_>], show: &dyn Fn(f64) -> String| {
        ranked(lead, name, columns, comparisons, show)
    };
    [
        ranked(
            "The median request took",
            "p50_us",
            &all,
            &latency(columns, |l| Some(l.p50)),
        ),
        ranked(
            "99 % of requests took at most",
            "p99_us",
            &all,
            &latency(columns, |l| l.p99),
        ),
        ranked(
            "CPU per request (load balancer, nodes and store):",
            "cost_us_per_request.cluster",
            &all,
            &|us| format!("{} µs", figure(us)),
        ),
        ranked(
            "Per request the client sent",
            "bytes_per_request.sent",
            &all,
            &bytes,
        ),
        ranked(
            "Memory per session (empty cart; nodes and store):",
            "memory_bytes_per_session.cluster",
            &all,
            &bytes,
        ),
        ranked(
            "Per request the store executed",
            "store_operations_per_request",
            &asked,
            &|n| format!("{} operations", figure(n)),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn percentile(run: &Run, value: fn(&Latency) -> Option<u64>) -> Option<f64> {
    run.latency_us.as_ref().and_then(value).map(|us| us as f64)
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

/// "{lead} 318 µs in jwt and 402 µs in redis": strategies from least to most, by the median of their runs. Neighbours that
/// the runs do not tell apart are named.
fn ranked(
    lead: &str,
    name: &str,
    columns: &[&Column<'_>],
    comparisons: &[Comparison],
    show: &dyn Fn(f64) -> String,
) -> Option<String> {
    let figure = figures::named(name)?;
    let mut ranked: Vec<(&str, f64)> = columns
        .iter()
        .filter_map(|column| {
            let values: Vec<f64> = column.runs.iter().copied().filter_map(figure.of).collect();
            Some((column.strategy, median(&values)?))
        })
        .collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    if ranked.is_empty() {
        return None;
    }
    // What reads the same is said once: "312 bytes in sticky and redis".
    let parts = ranked
        .chunk_by(|a, b| show(a.1) == show(b.1))
        .filter_map(|same| {
            let strategies = names(same.iter().map(|(strategy, _)| *strategy));
            Some(format!("{} in {strategies}", show(same.first()?.1)))
        });
    let parts: Vec<String> = parts.collect();
    let mut remarks = Vec::new();
    for pair in ranked.windows(2) {
        if let [(low, less), (high, more)] = pair
            && show(*less) != show(*more)
            && pairs::conclusion(comparisons, name, low, high)
                == Some(Conclusion::NoDifferenceShown)
        {
            remarks.push(format!("no difference shown between {low} and {high}"));
        }
    }
    let missing = names(
        columns
            .iter()
            .filter(|column| {
                ranked
                    .iter()
                    .all(|(strategy, _)| *strategy != column.strategy)
            })
            .map(|column| column.strategy),
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
