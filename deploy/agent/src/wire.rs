//! What goes over the control port of the binary `agent`, for both sides of it.
//!
//! | call | asks | answers |
//! | --- | --- | --- |
//! | `GET /healthz` | nothing, and no token | 200 while the agent lives |
//! | `GET /process` | | [`Status`] |
//! | `GET /process/ended?within_ms=N` | | [`Ended`], or 204 when it still runs after that time |
//! | `POST /process/start` | [`Start`] | 204 when it is ready |
//! | `POST /process/kill` | | 204 when it is gone |
//! | `POST /process/stop` | [`Stop`] | [`Ended`] |
//! | `POST /process/pause`, `POST /process/resume` | | 204 when every thread stands still, or none |
//! | `PUT /links/NAME` | [`Disturbance`] | 204 |
//! | `DELETE /links/NAME` | | 204; undisturbed again |
//! | `POST /links/NAME/probe` | [`Question`] | [`Met`](crate::link::Met) |
//!
//! What goes wrong is a [`Problem`], as `application/problem+json`.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    agent::Usage,
    link::{Disturbance, micros},
};

/// No body of either side is longer.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The longest that an agent waits for an end before it answers.
pub const LONGEST_POLL: Duration = Duration::from_secs(10);

/// The `type` of the problem that the process does not run.
pub const NOT_RUNNING: &str = "/problems/not-running";

/// How a process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its id where the agent runs; `None` when it does not run.
    pub pid: Option<u32>,
    /// Whether it runs; a paused process does.
    pub running: bool,
    /// Whether it is ready now: looked at for this answer.
    pub ready: bool,
    /// The state of each thread: `T` stands still.
    pub thread_states: Vec<char>,
    /// How it ended, as `waitpid` tells it; `None` while it runs.
    pub ended: Option<i32>,
    /// What it used and holds.
    pub usage: Usage,
    /// The CPU limit that it is under, in cores; `None` without one.
    pub cpu_limit: Option<f64>,
    /// How others on its networks call the machine that it is on.
    pub addresses: Vec<IpAddr>,
    /// The proxies beside it.
    pub links: LinksStatus,
}

/// The proxies of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinksStatus {
    /// CPU time that all of them have used together; `None` where there are none.
    pub cpu_us: Option<u64>,
    /// Each of them.
    pub open: Vec<LinkStatus>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Where it carries everything.
    pub target: String,
    /// Connections that exist now.
    pub connections: usize,
    /// What disturbs it now.
    pub disturbance: Option<Disturbance>,
}

/// How to start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Arguments after those of the agent's command line, in the place of those that were given before; `None` keeps them.
    #[serde(default)]
    pub more_args: Option<Vec<String>>,
}

/// How to stop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Between SIGTERM and SIGKILL.
    pub grace_ms: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// As `waitpid` tells it.
    pub status: i32,
}

/// What to send through a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What makes the target answer and close.
    pub question: String,
    /// For the whole answer.
    #[serde(rename = "patience_us", with = "micros")]
    pub patience: Duration,
}

/// What went wrong (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Which kind, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which kind, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
}
