//! The generator's judgement of itself: whether it measured the cluster, or its own limits.

use serde::{Deserialize, Serialize};

use super::Bin;

/// The generator's judgement of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// Whether the figures may be believed.
    pub valid: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The generator's own lag, 99th percentile: how much later a request was sent than it could have been, from the moment
    /// at which it was due and a user was free.
    pub lag_p99_us: Option<u64>,
    /// All these lags, as a histogram: ascending upper bounds with the count in each bin.
    #[serde(default)]
    pub lag_us: Vec<Bin>,
    /// Cores' worth of CPU that the generator took, 0 to the number of cores.
    pub cpu_cores: Option<f64>,
    /// Cores' worth that all processes of the run took together, the generator included.
    pub machine_cpu_cores: Option<f64>,
    /// What became of the arrivals; `None` for a closed loop, which has none.
    #[serde(default)]
    pub arrivals: Option<Arrivals>,
    /// Operations in flight at the same time; `None` when nobody looked.
    #[serde(default)]
    pub in_flight: Option<InFlight>,
}

/// The arrivals of an open loop that were due in the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// The scenario's rate.
    pub target_per_s: f64,
    /// Those that were sent, a second.
    pub achieved_per_s: f64,
    /// All.
    pub due: u64,
    /// Those that were sent.
    pub sent: u64,
    /// Of `sent`: more than 1 ms after they were due.
    pub late: u64,
    /// Of `late`: because all users were still waiting for answers.
    pub late_without_user: u64,
    /// Never sent: no user was free for a second.
    pub dropped: u64,
}

/// Operations in flight, on average over the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Seen by looking at random moments.
    pub seen: f64,
    /// By Little's law: throughput × mean service time, from the recorded operations.
    pub by_littles_law: f64,
}
