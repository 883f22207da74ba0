//! What had to come out of the runs of a scenario, and whether it did.
//!
//! * [`theory`]: what the strategy itself predicts, tolerates and forbids, fault by fault. `predictions` holds the runs against it.
//! * `thresholds`: what the scenario's file demands, in [`figures`].
//!
//! Demands are on every run of a strategy: one that misses is enough to fail. Pure; whether the measurement may be believed at all
//! is judged elsewhere ([`crate::statistics`]).

pub mod figures;
mod predictions;
pub mod theory;
mod threshold;
mod thresholds;

pub use self::threshold::{Relation, Threshold};
use crate::results::{Anomaly, Expectation, Prediction, Run, Source};

/// All demands on `runs`, and the part of the matrix that is about them.
pub fn judge(runs: &[Run], thresholds: &[Threshold]) -> (Vec<Expectation>, Vec<Prediction>) {
    let mut expectations = Vec::new();
    let mut matrix = Vec::new();
    for (strategy, runs) in by_strategy(runs) {
        expectations.extend(predictions::judge(strategy, &runs));
        expectations.extend(thresholds::judge(strategy, &runs, thresholds));
        matrix.extend(predictions::matrix(strategy, &runs));
    }
    (expectations, matrix)
}

/// The kinds of anomalies that `run` shows, and that no cell of its faults lists.
pub fn forbidden_anomalies(run: &Run) -> Vec<Anomaly> {
    let shown = |anomaly: &Anomaly| run.anomalies.count(*anomaly) > 0;
    predictions::forbidden(run)
        .into_iter()
        .filter(shown)
        .collect()
}

/// The runs of each strategy, in the order of their first runs.
fn by_strategy(runs: &[Run]) -> Vec<(&str, Vec<&Run>)> {
    let mut groups: Vec<(&str, Vec<&Run>)> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|(name, _)| *name == run.strategy) {
            Some((_, group)) => group.push(run),
            None => groups.push((&run.strategy, vec![run])),
        }
    }
    groups
}

/// A demand of the matrix that held.
fn demanded(strategy: &str, expectation: String, observed: String) -> Expectation {
    Expectation {
        strategy: strategy.to_owned(),
        expectation,
        source: Source::Matrix,
        observed,
        held: true,
    }
}

/// What every run showed: once, where all showed the same.
fn each(observed: impl Iterator<Item = String>) -> String {
    let observed: Vec<String> = observed.collect();
    match observed.as_slice() {
        [] => "no run".to_owned(),
        [one] => one.clone(),
        [first, others @ ..] if others.iter().all(|other| other == first) => {
            format!("{first} in each of {} runs", observed.len())
        }
        several => several.join("; "),
    }
}
