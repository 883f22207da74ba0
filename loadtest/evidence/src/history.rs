//! The history: everything that happened in one run, one JSON line each, in one file that explains itself.
//!
//! The users' child process appends operations, the parent appends what it did to the cluster and what it measured
//! there. Whatever a report says is computed from these lines alone ([`crate::checker`], [`crate::statistics`]).
//!
//! **Time.** Every `_us` in a history is microseconds on `CLOCK_MONOTONIC`, which parent and child share, relative to
//! the first measured moment (the clock of a run, `cluster::Clock`). Warm-up therefore has negative times.
//!
//! This module holds the types. [`file`] reads and writes them.

pub mod file;
mod line_id;
#[cfg(any(test, feature = "samples"))]
pub mod testing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use line_id::LineId;

use crate::pace::Pace;
use crate::results::StrategyProperties;

/// The value of [`Meta::schema`].
pub const SCHEMA: &str = "sessionlab.history/1";

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Always the first line: what run this is.
    Meta(Box<Meta>),
    /// One user action, or one of the operator's.
    Operation(Operation),
    /// Something was done to the cluster.
    Fault(FaultEvent),
    /// CPU time and store commands so far.
    Usage(Usage),
    /// What many open sessions cost.
    Memory(MemoryProbe),
    /// The last line of the users' process: what goose counted.
    Counts(Counts),
}

/// What run this is, and when its phases are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The scenario's name.
    pub scenario: String,
    /// The strategy under test.
    pub strategy: String,
    /// What the strategy declares about itself.
    pub properties: StrategyProperties,
    /// Counts from 1.
    pub repeat: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Names of the app nodes.
    pub nodes: Vec<String>,
    /// Which load balancer.
    pub balancer: String,
    /// Users that act at the same time, numbered from 1.
    pub users: u32,
    /// When users act.
    pub pace: Pace,
    /// Logical cores of the machine.
    pub cores: usize,
    /// The first measured moment on the wall clock, milliseconds since the Unix epoch.
    pub origin_unix_ms: i64,
    /// When users began, at the earliest.
    pub warm_up_from_us: i64,
    /// When users stopped acting; the measured part is from 0 to here.
    pub measured_until_us: i64,
    /// When every user read its cart once more.
    pub final_read_us: i64,
    /// How long a session may live. Missing: longer than the run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifetime: Option<Lifetime>,
}

/// When a session ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Seconds from the login, whatever happens.
    pub absolute_s: u64,
    /// Seconds from the last request, where the strategy has such an end.
    pub idle_s: Option<u64>,
}

impl Lifetime {
    /// Microseconds from the login.
    pub fn absolute_us(&self) -> i64 {
        microseconds(self.absolute_s)
    }

    /// Microseconds from the last request.
    pub fn idle_us(&self) -> Option<i64> {
        self.idle_s.map(microseconds)
    }
}

fn microseconds(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}

/// What a user did, or the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `POST /login`
    LogIn,
    /// `GET /me`
    Browse,
    /// `POST /cart/lines`
    AddLine,
    /// `GET /cart`
    ReadCart,
    /// `DELETE /cart/lines/{id}`
    RemoveLine,
    /// `POST /logout`
    LogOut,
    /// `GET /me` with a credential that was logged out before, or refused after a revocation: does it still work?
    Replay,
    /// `POST /admin/users/{user}/revoke`, by the operator: ends all logins of a user.
    Revoke,
}

impl Action {
    /// Whether repeating the request does no harm, by the rules of HTTP or because its user says so
    /// (`Idempotency-Key`), so that a load balancer may repeat it although a node may have seen it.
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Browse | Self::ReadCart | Self::AddLine | Self::RemoveLine | Self::Replay
        )
    }

    /// The name in histories, and in goose's own figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogIn => "log_in",
            Self::Browse => "browse",
            Self::AddLine => "add_line",
            Self::ReadCart => "read_cart",
            Self::RemoveLine => "remove_line",
            Self::LogOut => "log_out",
            Self::Replay => "replay",
            Self::Revoke => "revoke",
        }
    }
}

/// Whether an operation took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody can know.
    Info,
}

/// Why an outcome is not `ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No connection to the load balancer.
    NotConnected,
    /// No whole answer in time.
    TimedOut,
    /// The connection broke before the whole answer was there.
    Broken,
    /// The load balancer had no node to send it to.
    NoNode,
    /// The load balancer gave up on it, after a node may have seen it.
    BadGateway,
    /// A node refused it (4xx), or has no such thing (501); nothing was changed.
    Refused,
    /// A node failed on it (5xx), perhaps after it had touched the store.
    NodeFailed,
    /// A node that does not know the session answered the logout. It ended nothing, and another node may still hold the session.
    NothingEnded,
    /// The answer makes no sense.
    NotUnderstood,
    /// The generator had no open file left for a connection.
    NoOpenFile,
    /// The generator's machine had no port left for one.
    NoPort,
    /// The generator's machine had no memory for one.
    NoMemory,
    /// The generator's machine did not let it connect.
    NotPermitted,
}

impl Reason {
    /// What it probably means, and what to do.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::NoOpenFile => Some(
                "no open file was left (EMFILE): raise the hard limit (`ulimit -Hn`, in containers `--ulimit nofile=`), or use fewer users",
            ),
            Self::NoPort => Some(
                "no local port was left (EADDRNOTAVAIL): widen net.ipv4.ip_local_port_range, or use fewer users",
            ),
            Self::NoMemory => {
                Some("the system had no memory for a connection (ENOMEM, ENOBUFS): use fewer users")
            }
            Self::NotPermitted => Some(
                "the system does not permit the connection (EPERM, EACCES): probably a firewall or a sandbox on this machine",
            ),
            _ => None,
        }
    }
}

/// One action of a user or of the operator, from intention to the last byte of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Jepsen's process: a user's next operation after an `info` runs as another process,
    /// because the one before may still take effect. 0 is the operator.
    pub process: u64,
    /// Who acts, from 1; of the operator's calls, whose logins they are to end.
    pub user: u32,
    /// Which of the user's logins it acts under, from 1; a successful login carries the number of the session it began,
    /// 0 = under none.
    pub session: u32,
    /// What it does.
    pub action: Action,
    /// Unique among the user's operations, and among the operator's.
    pub id: u32,
    /// When the user wanted to act.
    pub intended_us: i64,
    /// When the request was handed to the client.
    pub sent_us: i64,
    /// When the head of the answer was there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte_us: Option<i64>,
    /// When the whole answer was there, or the attempt was over.
    pub done_us: i64,
    /// Whether it took effect.
    pub outcome: Outcome,
    /// Why the outcome is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Status of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The node that stamped the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<Box<str>>,
    /// How often the load balancer had to ask another node.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub retries: u32,
    /// The line that was added or removed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<LineId>,
    /// The cart in the answer: each line as often as its quantity (users add one of each).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub read: Option<Vec<LineId>>,
    /// The version of that cart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u64>,
    /// Whom the node took the user for, where that is somebody else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mistaken_for: Option<Box<str>>,
    /// On a revocation: how many logins it ended, as the node says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked: Option<u64>,
    /// On a logout that leaves the credential alive: until when, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alive_until_unix_s: Option<u64>,
    /// Bytes of the request as HTTP/1.1 writes it.
    pub sent_bytes: u32,
    /// Bytes of the answer as HTTP/1.1 writes it; what arrived of it.
    pub received_bytes: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Operation {
    /// Whether a live session was refused: the node knew neither the credential nor the user any more.
    /// (A login's 401 is a wrong password; a replay presents what was logged out.)
    pub fn lost_its_session(&self) -> bool {
        self.status == Some(401)
            && self.session > 0
            && !matches!(self.action, Action::LogIn | Action::LogOut | Action::Replay)
    }

    /// Whether it is a logout that a node answered: the session ended, or the node does not know it.
    pub fn is_answered_logout(&self) -> bool {
        self.action == Action::LogOut
            && (self.outcome == Outcome::Ok || self.reason == Some(Reason::NothingEnded))
    }

    /// Whether it never left the generator, for a reason of the generator's own side. It says nothing about the cluster.
    pub fn is_unsent(&self) -> bool {
        self.outcome == Outcome::Fail
            && matches!(
                self.reason,
                Some(Reason::NoOpenFile | Reason::NoPort | Reason::NoMemory | Reason::NotPermitted)
            )
    }

    /// Whether a node refused it as something that its strategy cannot do.
    pub fn is_unsupported(&self) -> bool {
        self.outcome == Outcome::Fail && self.status == Some(501)
    }

    /// Whether a node accepted the credential that was presented.
    pub fn was_accepted(&self) -> bool {
        self.outcome == Outcome::Ok
            && !matches!(self.action, Action::LogIn | Action::LogOut)
            && self.status.is_some_and(|status| status < 400)
    }
}

/// One step in the life of a fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultEvent {
    /// Which fault of the scenario, from 0.
    pub fault: usize,
    /// `kill`
    pub kind: String,
    /// `node-2`
    pub target: String,
    /// What happened.
    pub step: FaultStep,
    /// When.
    pub at_us: i64,
    /// How that was seen: `state T in /proc`. Missing for what was only asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
}

/// A fault's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStep {
    /// The lab asked for it.
    Commanded,
    /// It was verified: the process is gone.
    Effective,
    /// The lab asked for its end.
    UndoCommanded,
    /// It was taken back, and that was verified: the process is ready again.
    Undone,
}

/// What processes have used up since they started.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// When it was read.
    pub at_us: i64,
    /// CPU of the load balancer.
    pub load_balancer_us: u64,
    /// CPU of all nodes together.
    pub node_us: u64,
    /// CPU of the store, where there is one.
    pub store_us: Option<u64>,
    /// CPU of the users' process.
    pub generator_us: u64,
    /// CPU of the parent, which samples and injects faults.
    pub lab_us: u64,
    /// Commands that the store has executed.
    pub store_commands: Option<u64>,
}

/// Growth of memory while many sessions were opened.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MemoryProbe {
    /// Sessions opened.
    pub sessions: u64,
    /// Growth of all nodes' private memory.
    pub node_growth_bytes: i64,
    /// Growth while the same number of requests without a session was sent: what the figure above cannot tell apart.
    pub node_noise_bytes: i64,
    /// Growth of the store's data.
    pub store_growth_bytes: Option<i64>,
}

/// What goose counted, by [`Action::name`]. It must agree with the operations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// When the users' process was done.
    pub at_us: i64,
    /// Requests and, of these, answers of the 2xx kind.
    pub by_action: BTreeMap<String, Count>,
    /// Of an open loop: what became of the arrivals, as the users' process counted while it happened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arrivals: Option<ArrivalCounts>,
    /// How many operations were in flight.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_flight: Option<InFlight>,
}

/// What became of the arrivals that were due in the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalCounts {
    /// All.
    pub due: u64,
    /// Those whose operation was sent.
    pub sent: u64,
    /// Of `sent`: those that were sent more than 1 ms after they were due.
    pub late: u64,
    /// Those that were never sent: no user was free for a second.
    pub dropped: u64,
}

/// How many operations were in flight, at random moments of the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// How often somebody looked.
    pub looks: u64,
    /// What was seen, summed up.
    pub sum: u64,
    /// The squares of it, summed up.
    pub squares: u64,
}

impl InFlight {
    /// Takes in what one look showed.
    pub fn add(&mut self, seen: u64) {
        self.looks += 1;
        self.sum += seen;
        self.squares += seen * seen;
    }
}

/// See [`Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// All.
    pub requests: u64,
    /// Answered with 2xx.
    pub success: u64,
}

/// A history in memory.
#[derive(Clone, Debug)]
pub struct History {
    /// The first line.
    pub meta: Meta,
    /// What users did, in the order of sending.
    pub operations: Vec<Operation>,
    /// What the operator did, in the order of sending. It is no part of the load, so no figure of the load counts it.
    pub revocations: Vec<Operation>,
    /// What never left the generator, for a reason of its own ([`Operation::is_unsent`]). No figure counts it, and no run
    /// that has any is believed.
    pub unsent: Vec<Operation>,
    /// In the order of happening.
    pub faults: Vec<FaultEvent>,
    /// In the order of reading.
    pub usage: Vec<Usage>,
    /// Where the scenario asks for it.
    pub memory: Option<MemoryProbe>,
    /// Missing when the users' process did not end by itself.
    pub counts: Option<Counts>,
}
