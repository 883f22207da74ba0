//! The table of what theory says, strategy × fault, with what was seen beside it; and the expectations.

use super::table::{Cell, Row, Table, group};
use evidence::results::{Expectation, Prediction, Results, Source};

/// One row a fault, one column a strategy.
pub(super) fn matrix(results: &Results) -> Table {
    let mut faults: Vec<&str> = Vec::new();
    let mut strategies: Vec<&str> = Vec::new();
    for prediction in &results.matrix {
        if !faults.contains(&prediction.fault.as_str()) {
            faults.push(&prediction.fault);
        }
        if !strategies.contains(&prediction.strategy.as_str()) {
            strategies.push(&prediction.strategy);
        }
    }
    let rows = faults.iter().map(|fault| {
        let cells = strategies.iter().map(|strategy| {
            let found = results
                .matrix
                .iter()
                .find(|one| one.fault == *fault && one.strategy == *strategy);
            found.map_or_else(Cell::gap, |found| Cell::words(cell(found)))
        });
        Row::of(*fault, "", cells.collect())
    });
    Table {
        caption: "Predicted: must appear where there is something to lose. Tolerated: may appear. Anything else is forbidden. Seen: over all runs, under the fault that caused it, or else at any time.",
        words: true,
        spread: false,
        columns: strategies.iter().map(|name| (*name).to_owned()).collect(),
        groups: vec![group("", rows.collect())],
    }
}

fn cell(prediction: &Prediction) -> String {
    let words = |names: &[String]| {
        let words: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
        words.join(", ")
    };
    let mut parts = Vec::new();
    if !prediction.predicted.is_empty() {
        parts.push(format!("Predicted: {}.", words(&prediction.predicted)));
    }
    if !prediction.tolerated.is_empty() {
        parts.push(format!("Tolerated: {}.", words(&prediction.tolerated)));
    }
    if parts.is_empty() {
        parts.push("Predicted: nothing.".to_owned());
    }
    let seen: Vec<String> = prediction
        .observed
        .iter()
        .map(|(name, count)| {
            format!(
                "{} {}",
                evidence::format::count(*count),
                name.replace('_', " ")
            )
        })
        .collect();
    parts.push(if seen.is_empty() {
        "Seen: nothing.".to_owned()
    } else {
        format!("Seen: {}.", seen.join(", "))
    });
    parts.join(" ")
}

/// Why: strategy and fault, and the reason.
pub(super) fn why(results: &Results) -> Vec<(String, String)> {
    let reasons = results.matrix.iter().map(|prediction| {
        let place = format!("{}, {}", prediction.strategy, prediction.fault);
        (place, prediction.why.clone())
    });
    reasons.collect()
}

/// One expectation, in words.
pub(super) struct Judged {
    /// `held` or `failed`.
    pub(super) verdict: &'static str,
    /// Whose runs.
    pub(super) strategy: String,
    /// `theory` or `scenario`.
    pub(super) source: &'static str,
    /// What was expected.
    pub(super) expectation: String,
    /// What was observed.
    pub(super) observed: String,
}

/// All expectations, in the order of the strategies.
pub(super) fn expectations(results: &Results) -> Vec<Judged> {
    results.expectations.iter().map(judged).collect()
}

fn judged(expectation: &Expectation) -> Judged {
    Judged {
        verdict: if expectation.held { "held" } else { "failed" },
        strategy: expectation.strategy.clone(),
        source: match expectation.source {
            Source::Matrix => "theory",
            Source::Scenario => "scenario",
        },
        expectation: expectation.expectation.clone(),
        observed: expectation.observed.clone(),
    }
}
