//! What can go wrong with a process, told so that the reader knows what to look at next.
//!
//! Every variant names the process. None carries an argument or an environment variable: those may hold secrets.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{cgroup::QuotaError, ports::Owner};

/// Why an agent could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The program could not be started at all.
    #[error("{name}: cannot start {}: {source}", program.display())]
    Spawn {
        /// The process.
        name: String,
        /// What should have run.
        program: PathBuf,
        /// The reason: not found, not executable, log not writable, out of processes.
        source: io::Error,
    },
    /// It could not be given its share of the CPU; it was not started.
    #[error("{name}: cannot limit its CPU time: {problem}")]
    Quota {
        /// The process.
        name: String,
        /// The reason, and what to do.
        problem: QuotaError,
    },
    /// `start` while it runs already.
    #[error("{name} is running already (pid {pid})")]
    AlreadyRunning {
        /// The process.
        name: String,
        /// Its id.
        pid: u32,
    },
    /// A fault or a question for a process that does not run.
    #[error("{name} is not running")]
    NotRunning {
        /// The process.
        name: String,
    },
    /// The process ended before it was ready.
    #[error("{name} ended before it was ready: {status}{}", excerpt(log.as_deref(), tail))]
    EarlyExit {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log, when it has one of its own.
        log: Option<PathBuf>,
        /// The log's last lines.
        tail: String,
    },
    /// The process runs, but did not become ready in time; it was killed.
    #[error(
        "{name} was not ready within {within:?}: {problem}{}",
        excerpt(log.as_deref(), tail)
    )]
    NotReady {
        /// The process.
        name: String,
        /// The time that it had.
        within: Duration,
        /// What the last look at it found.
        problem: String,
        /// Its log, when it has one of its own.
        log: Option<PathBuf>,
        /// The log's last lines.
        tail: String,
    },
    /// The address answers, but somebody else is behind it; the process was killed.
    #[error("{name} cannot have {address}: it belongs to {owner}")]
    ForeignPort {
        /// The process.
        name: String,
        /// The address that it was to serve.
        address: SocketAddr,
        /// Who serves it.
        owner: Owner,
    },
    /// An agent elsewhere could not be asked, or its answer not be read.
    #[error("{name}: its agent at {url} cannot be reached: {problem}")]
    Unreachable {
        /// The process.
        name: String,
        /// The agent's control port.
        url: String,
        /// What happened.
        problem: String,
    },
    /// An agent elsewhere could not do what it was asked.
    #[error("{name}: its agent answered {status}: {detail}")]
    Remote {
        /// The process.
        name: String,
        /// The HTTP status of its answer.
        status: u16,
        /// In the agent's own words.
        detail: String,
    },
    /// A signal was sent, and its effect did not show.
    #[error("{name}: {fault} had no effect within {within:?}")]
    NotEffective {
        /// The process.
        name: String,
        /// What was tried.
        fault: &'static str,
        /// How long its effect was waited for.
        within: Duration,
    },
    /// The kernel refused a signal, or `/proc` could not be read.
    #[error("{name}: cannot {what}: {source}")]
    System {
        /// The process.
        name: String,
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// The log's last lines below a message, and where to read the rest.
fn excerpt(log: Option<&Path>, tail: &str) -> String {
    let Some(log) = log else {
        return String::new();
    };
    if tail.is_empty() {
        format!(" (its log {} is empty)", log.display())
    } else {
        format!("; the last lines of its log {}:\n{tail}", log.display())
    }
}
