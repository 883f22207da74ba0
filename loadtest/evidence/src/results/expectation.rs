//! What had to come out, and what did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One demand on all runs of one strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Whose runs.
    pub strategy: String,
    /// What was demanded: `lines_lost == 0`.
    pub expectation: String,
    /// Who demands it.
    pub source: Source,
    /// What came out, of each run where they differ.
    pub observed: String,
    /// Whether every run kept to it. What was not measured was not kept.
    pub held: bool,
}

/// Who demands something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The matrix of what theory predicts for a strategy under a fault.
    Matrix,
    /// The scenario's file.
    Scenario,
}

/// What theory says of one strategy under one fault of the scenario, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// The strategy.
    pub strategy: String,
    /// `kill of node-2`, or `at any time`.
    pub fault: String,
    /// Anomalies that must show, if there is something to lose.
    pub predicted: Vec<String>,
    /// Anomalies that may show.
    pub tolerated: Vec<String>,
    /// Anomalies that showed in all runs together, by name: under a fault those that the checker ascribes to it, `at any
    /// time` all others.
    pub observed: BTreeMap<String, u64>,
    /// Why theory says so.
    pub why: String,
}
