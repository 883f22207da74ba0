//! Strategies against each other, two by two, over their runs.

use super::table::{Cell, Row, Table, group};
use evidence::format::figure;
use evidence::results::{Comparison, Conclusion, Results};

/// One row a figure, one column a pair. `None` where each strategy ran once: one run has no spread to compare with.
pub(super) fn table(results: &Results) -> Option<Table> {
    if results.summary.iter().all(|summary| summary.runs < 2) || results.comparisons.is_empty() {
        return None;
    }
    let mut figures: Vec<&str> = Vec::new();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for comparison in &results.comparisons {
        if !figures.contains(&comparison.figure.as_str()) {
            figures.push(&comparison.figure);
        }
        if !pairs.contains(&(&comparison.a, &comparison.b)) {
            pairs.push((&comparison.a, &comparison.b));
        }
    }
    let rows = figures.iter().map(|name| {
        let cells = pairs.iter().map(|(a, b)| {
            let found = results
                .comparisons
                .iter()
                .find(|one| one.figure == *name && one.a == *a && one.b == *b);
            found.map_or_else(Cell::gap, |found| Cell::words(cell(found)))
        });
        Row::of(*name, "", cells.collect())
    });
    Some(Table {
        caption: "Ratio of the medians, with its 95 % bootstrap interval over runs. Whether they differ: exact rank-sum test over runs, p < 0.05. One in twenty comparisons of equal strategies shows a difference by chance.",
        words: true,
        spread: false,
        columns: pairs.iter().map(|(a, b)| format!("{b} ÷ {a}")).collect(),
        groups: vec![group("", rows.collect())],
    })
}

fn cell(comparison: &Comparison) -> String {
    let said = match comparison.conclusion {
        Conclusion::TooFewRuns => "too few runs to say",
        Conclusion::NoDifferenceShown => "no difference shown",
        Conclusion::Lower => "lower",
        Conclusion::Higher => "higher",
    };
    match (comparison.ratio, comparison.low, comparison.high) {
        (None, ..) => said.to_owned(),
        (Some(ratio), Some(low), Some(high)) => {
            format!(
                "{} ({} to {}): {said}",
                figure(ratio),
                figure(low),
                figure(high)
            )
        }
        (Some(ratio), ..) => format!("{}: {said}", figure(ratio)),
    }
}

/// What may be said of two strategies in this figure, whichever stands first.
pub(super) fn conclusion(
    comparisons: &[Comparison],
    figure: &str,
    one: &str,
    other: &str,
) -> Option<Conclusion> {
    let found = comparisons.iter().find(|comparison| {
        let pair = [comparison.a.as_str(), comparison.b.as_str()];
        comparison.figure == figure && pair.contains(&one) && pair.contains(&other)
    });
    found.map(|comparison| comparison.conclusion)
}
