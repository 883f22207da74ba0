//! What several runs of a strategy say together, and against another strategy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Latency;

/// All runs of one strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The strategy.
    pub strategy: String,
    /// How many runs.
    pub runs: u64,
    /// Medians over runs, by the figure's name. A figure that some run has not is missing.
    pub figures: BTreeMap<String, Estimate>,
    /// Percentiles over the requests of all runs, from their merged histograms.
    pub latency_us: Option<Latency>,
}

/// A median over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of its 95 % bootstrap interval; `None` with fewer than three runs.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// Two strategies, one figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The figure's name.
    pub figure: String,
    /// One strategy.
    pub a: String,
    /// The other.
    pub b: String,
    /// Median of `b` ÷ median of `a`; `None` where that is 0.
    pub ratio: Option<f64>,
    /// Lower end of the ratio's 95 % bootstrap interval; `None` with fewer than three runs.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Probability that chance alone would part the runs this much; `None` with so few runs that it could never be
    /// small.
    pub p: Option<f64>,
    /// What may be said.
    pub conclusion: Conclusion,
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// So few runs cannot show a difference, however large it is.
    TooFewRuns,
    /// The runs overlap as they would by chance.
    NoDifferenceShown,
    /// `b` is lower than `a`.
    Lower,
    /// `b` is higher than `a`.
    Higher,
}
