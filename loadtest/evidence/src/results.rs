//! `results.json`, schema 1: everything measured in one file, and the only thing that a report is rendered from.
//!
//! Fields may be added, never renamed. A figure that was not measured is `None` (`null`), never 0.
//! `results.schema.json` beside this crate's manifest describes the same to other programs; a test keeps the two together.
//! Times ending in `_ms` inside a run count from the run's first measured moment (the end of warm-up).

mod anomalies;
mod expectation;
mod generator;
mod repeats;
mod scale_out;
mod theory;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use anomalies::{
    Anomalies, Anomaly, Revocation, Revocations, Witness, WitnessFault, WitnessOperation,
};
pub use expectation::{Expectation, Prediction, Source};
pub use generator::{Arrivals, Generator, InFlight};
pub use repeats::{Comparison, Conclusion, Estimate, Summary};
pub use scale_out::{Fitted, ScaleFit, ScaleOut, ScalePoint, Station};
pub use theory::{Expected, Extent, Hit};

/// The value of [`Results::schema`].
pub const SCHEMA: &str = "sessionlab.results/1";

/// One scenario, all its runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The scenario's name: its file name without the ending.
    pub scenario: String,
    /// The question that the scenario answers.
    pub question: String,
    /// Seed of everything random.
    pub seed: u64,
    /// What to type to measure it again: `./lab demo`.
    pub command: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Where this was measured.
    pub environment: Environment,
    /// Settings that a reader needs to judge the figures, in words: users, think time, password cost, work, expiry.
    pub settings: BTreeMap<String, String>,
    /// What a reader must know before the first figure.
    pub caveats: Vec<String>,
    /// How many runs there were to be: more than `runs` when something ended the series early.
    #[serde(default)]
    pub runs_planned: usize,
    /// Why the rest was not performed; `None` where nothing is missing, and where somebody stopped it by hand.
    #[serde(default)]
    pub stopped_because: Option<String>,
    /// Whether expectations held, and whether the measurement may be believed.
    pub verdict: Verdict,
    /// Sentences that say why the verdict is not `pass`.
    pub reasons: Vec<String>,
    /// What had to come out, and what did.
    #[serde(default)]
    pub expectations: Vec<Expectation>,
    /// What theory says of each strategy under each fault.
    #[serde(default)]
    pub matrix: Vec<Prediction>,
    /// The runs of each strategy together.
    #[serde(default)]
    pub summary: Vec<Summary>,
    /// Every two strategies, figure by figure.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// How throughput grows with nodes, each strategy; empty where all runs had the same number of them. (`summary` and
    /// `comparisons` are then about the largest clusters.)
    #[serde(default)]
    pub scale_out: Vec<ScaleOut>,
    /// In the order in which they ran.
    pub runs: Vec<Run>,
}

/// The runs that may stand beside each other: those with the most nodes. That is all of them, but in a scenario with several
/// sizes of cluster.
pub fn of_one_size(runs: &[Run]) -> impl Iterator<Item = &Run> {
    let most = runs.iter().map(|run| run.nodes).max();
    runs.iter().filter(move |run| Some(run.nodes) == most)
}

/// The verdict over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every expectation held.
    Pass,
    /// An expectation failed.
    Fail,
    /// The measurement cannot be believed.
    Invalid,
}

/// The machine and the versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Environment {
    /// Logical cores.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Programs and their versions (`lab`, `redis-server`).
    pub versions: BTreeMap<String, String>,
    /// The commit that was measured, with `+changes` when the tree was not clean.
    pub git: Option<String>,
}

/// One scenario × one strategy × one repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The strategy's name.
    pub strategy: String,
    /// What the strategy declares about itself.
    pub properties: StrategyProperties,
    /// Counts from 1.
    pub repeat: u32,
    /// App nodes.
    pub nodes: usize,
    /// Which load balancer.
    pub balancer: String,
    /// Users that the generator played at the same time.
    pub users: usize,
    /// Length of the measured part, without warm-up.
    pub measured_ms: u64,
    /// How the answers turned out.
    pub requests: Requests,
    /// All answers a second, whatever they said.
    pub throughput_rps: Option<f64>,
    /// Answers a second that did what the user wanted.
    pub goodput_rps: Option<f64>,
    /// From sending to the last byte, over all requests that did what the user wanted.
    pub latency_us: Option<Latency>,
    /// The same, over all requests that failed: how long users waited for nothing.
    #[serde(default)]
    pub failure_latency_us: Option<Latency>,
    /// `latency_us` from the moment at which the user wanted to act, its wait for being sent included. In an open loop this is
    /// what a stranger on the internet sees; in a closed one it differs only by the generator's lag.
    #[serde(default)]
    pub response_us: Option<Latency>,
    /// The latencies of `latency_us` as a histogram, to draw and to merge: ascending upper bounds with the count in each bin.
    pub latency_histogram: Vec<Bin>,
    /// CPU time by process, from /proc, over the part of the run in `cost_window_ms`.
    pub cost_us_per_request: Cost,
    /// From, to: the undisturbed part of the run that cost, bytes and store operations were measured over.
    pub cost_window_ms: Option<(u64, u64)>,
    /// Bytes between client and balancer, headers and bodies, of one exchange.
    pub bytes_per_request: Bytes,
    /// Commands that the store executed.
    pub store_operations_per_request: Option<f64>,
    /// Growth while many sessions were opened, divided by their number.
    pub memory_bytes_per_session: Memory,
    /// Logins of users that had lost their session and had to log in again.
    pub logins_again: u64,
    /// What was done to the cluster, and what came of it.
    pub faults: Vec<Fault>,
    /// What the checker proved from the history.
    pub anomalies: Anomalies,
    /// Proof of `anomalies`: of each kind the first few.
    pub witnesses: Vec<Witness>,
    /// Time for which a credential was still accepted after its logout; `None` where it was not tried.
    pub revocation_ms: Option<Revocation>,
    /// What became of an operator's revocations; `None` where there were none.
    #[serde(default)]
    pub revocations: Option<Revocations>,
    /// Whether the generator measured the cluster or itself.
    pub generator: Generator,
    /// One entry per slice of time, in order, without gaps.
    pub timeline: Vec<Slice>,
}

impl Run {
    /// CPU of balancer, nodes and store together, for one request; `None` while one of them was not measured.
    pub fn cluster_cpu_us(&self) -> Option<f64> {
        let cost = &self.cost_us_per_request;
        let store = if self.has_store() { cost.store? } else { 0.0 };
        Some(cost.load_balancer? + cost.node? + store)
    }

    /// Memory of a session in nodes and store together; `None` while one of them was not measured.
    pub fn session_memory_bytes(&self) -> Option<f64> {
        let memory = &self.memory_bytes_per_session;
        let store = if self.has_store() { memory.store? } else { 0.0 };
        Some(memory.node? + store)
    }

    /// Whether the strategy asks a store at all. If not, a missing figure of the store is no gap.
    pub fn has_store(&self) -> bool {
        self.properties.has_store()
    }
}

/// What the strategy declares: part of what `shop describe` says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StrategyProperties {
    /// `node`, `store` or `client`.
    pub state_lives: String,
    /// The kind of store that nodes must reach, if any.
    #[serde(default)]
    pub store: Option<String>,
    /// Needs the same node each time.
    pub needs_affinity: bool,
    /// Logins and carts survive a node's death.
    pub survives_node_death: bool,
    /// A logout works everywhere at once.
    pub revocable_at_once: bool,
    /// At most, for one authenticated request.
    pub store_round_trips: u32,
    /// What a logout really does.
    pub logout: String,
    /// What faults must and may cost, by its own theory; the first row that fits counts.
    #[serde(default)]
    pub theory: Vec<Expected>,
}

impl StrategyProperties {
    /// Whether nodes ask a store. An older lab kept neither the store nor the theory; there, round trips tell.
    pub fn has_store(&self) -> bool {
        self.store.is_some() || (self.theory.is_empty() && self.store_round_trips > 0)
    }
}

/// Counts over the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// All.
    pub total: u64,
    /// Did what the user wanted.
    pub ok: u64,
    /// Did not: an error answer (a 401 for a lost session too), a broken connection, no answer in time.
    pub failed: u64,
    /// Of `failed`: reads and other requests that may be repeated without harm, and that nobody served: 5xx, a broken
    /// connection, no answer in time. (A lost session is counted as such, and no repetition would bring it back.)
    pub failed_idempotent: u64,
    /// Neither `ok` nor `failed`: refused because the credential's time was over.
    #[serde(default)]
    pub refused_expired: u64,
    /// Neither `ok` nor `failed`: refused because an operator had ended the login.
    #[serde(default)]
    pub refused_revoked: u64,
    /// Answers for which the balancer had to ask more than one node.
    pub retried_by_balancer: u64,
}

/// Percentiles in microseconds; one that the count does not support is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 90 of 100 were at most this.
    pub p90: Option<u64>,
    /// 99 of 100.
    pub p99: Option<u64>,
    /// 999 of 1,000.
    pub p999: Option<u64>,
    /// The slowest.
    pub max: u64,
}

/// One bin of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Upper bound, inclusive.
    pub le_us: u64,
    /// Requests above the bin before and at most `le_us`.
    pub count: u64,
}

/// CPU microseconds for one request, by station. All nodes together are one station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The load balancer.
    pub load_balancer: Option<f64>,
    /// The nodes.
    pub node: Option<f64>,
    /// The store; `None` where there is none.
    pub store: Option<f64>,
    /// The generator: goose and the recorder.
    pub generator: Option<f64>,
}

/// Bytes for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// By the client.
    pub sent: Option<f64>,
    /// To the client.
    pub received: Option<f64>,
}

/// Bytes for one session with an empty cart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// In all nodes together.
    pub node: Option<f64>,
    /// In the store; `None` where there is none.
    pub store: Option<f64>,
}

/// One fault. Times count from the start of the measured part; `None` = did not happen or could not be seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// `kill`, `pause` …
    pub kind: String,
    /// `node-2`, `store`.
    pub target: String,
    /// When the lab asked for it.
    pub commanded_ms: u64,
    /// When it was seen to be in effect (process gone).
    pub effective_ms: Option<u64>,
    /// When the last request was sent to the victim after the fault took effect.
    pub detected_ms: Option<u64>,
    /// When goodput was back at 95 % of the base line.
    pub recovered_ms: Option<u64>,
    /// When the fault was undone (the process ready again).
    pub undone_ms: Option<u64>,
    /// From the sending of the first failed request to the first window of 100 ms in which requests were sent and none of
    /// them failed.
    /// The refusal of a lost session does not count: the service was there, it only knew the user no more.
    pub unavailable_ms: u64,
    /// Until when what failed is ascribed to this fault: until the next one is commanded, else the end of the measured part.
    #[serde(default)]
    pub ascribed_until_ms: u64,
    /// Milliseconds from the effect to the last request that was still routed to the victim, 0 when none was. `None` where
    /// there is no victim to route to (the store), or where the balancer does not tell what it repeated.
    #[serde(default)]
    pub detection_ms: Option<u64>,
    /// Milliseconds from the effect until goodput was back at 95 % of the base line, and stayed for 5 s.
    #[serde(default)]
    pub recovery_ms: Option<u64>,
    /// The share of requests that failed, summed up over time: 1.0 = as bad as one second without any service.
    #[serde(default)]
    pub error_seconds: Option<f64>,
    /// Highest number of logins in a second ÷ those of a usual second before the first fault.
    #[serde(default)]
    pub relogin_amplification: Option<f64>,
    /// All answers a second, from the command until the fault was undone.
    #[serde(default)]
    pub throughput_rps: Option<f64>,
    /// Of these, answers that did what the user wanted.
    #[serde(default)]
    pub goodput_rps: Option<f64>,
    /// Requests that failed, and are ascribed to this fault.
    pub failed_requests: u64,
    /// Of these: how many for which reason, as the history names it; `session_lost` for the refusals of lost sessions.
    #[serde(default)]
    pub failed_by_cause: BTreeMap<String, u64>,
    /// Sessions alive when the fault was commanded, of which something was heard after it took effect; and those begun
    /// while it lasted that it cost.
    pub sessions_live: u64,
    /// Of these: sessions that the victim had served last.
    pub sessions_on_target: u64,
    /// Of `sessions_live`: refused later, though neither logged out nor expired. Each lost session counts for one fault.
    pub sessions_lost: u64,
    /// Of `sessions_lost`: sessions that the victim had served last.
    pub sessions_lost_on_target: u64,
    /// Lines in live carts that had been acknowledged before the fault and not removed; and those added while it lasted that
    /// it cost.
    pub cart_lines_acknowledged: u64,
    /// Of these: lines of sessions that the victim had served last.
    #[serde(default)]
    pub cart_lines_on_target: u64,
    /// Of `cart_lines_acknowledged`: gone for good, though nobody removed them.
    pub cart_lines_lost: u64,
    /// Credentials that were accepted after a logout which the victim never heard of, because the fault had led the user to
    /// another node.
    #[serde(default)]
    pub exposures: u64,
}

/// A slice of time (see [`Run::timeline`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// Start of the slice.
    pub at_ms: u64,
    /// Requests completed in it that did what the user wanted.
    pub ok: u64,
    /// Requests completed in it that did not.
    pub failed: u64,
    /// Median latency of `ok`; `None` without any.
    pub p50_us: Option<u64>,
    /// 99th percentile of `ok`; `None` without any.
    pub p99_us: Option<u64>,
    /// Answers by the node that stamped them; answers without a stamp are under `none`.
    pub per_node: BTreeMap<String, u64>,
}
