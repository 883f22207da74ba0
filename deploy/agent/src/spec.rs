//! What an agent is told to run.

use std::{path::PathBuf, time::Duration};

use crate::ready::Ready;

/// What to run.
#[derive(Clone)]
pub struct ProcessSpec {
    /// The name in errors and reports: `node-1`.
    pub name: String,
    /// The program, by its path.
    pub program: PathBuf,
    /// Its arguments. Other users of the machine can read them: no secrets here.
    pub args: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Standard output and standard error are appended to this file; with `None` they are the supervisor's own, and
    /// errors show no last lines.
    pub log: Option<PathBuf>,
    /// When it is ready.
    pub ready: Ready,
    /// The time that it has to become ready.
    pub ready_within: Duration,
    /// How many cores it and all that it forks may use together: 0.1 is a tenth of one. `None` sets no limit.
    pub quota: Option<f64>,
}
