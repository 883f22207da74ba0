//! How `lab` ends: one exit code for each kind of outcome, so that scripts can tell them apart.

use std::process::ExitCode;

use cluster::ClusterError;
use evidence::history::file::HistoryError;

/// The outcome of a `lab` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything that was expected held.
    Held,
    /// 1: an expectation failed.
    ExpectationFailed,
    /// 2: wrong usage, or a scenario that cannot be read.
    Usage,
    /// 3: the measurement is invalid.
    Invalid,
    /// 4: the cluster could not be brought up.
    NoCluster,
    /// 130: stopped by Ctrl-C, as shells expect it (128 + SIGINT).
    Interrupted,
}

impl Exit {
    /// All, by code.
    pub const ALL: [Self; 6] = [
        Self::Held,
        Self::ExpectationFailed,
        Self::Usage,
        Self::Invalid,
        Self::NoCluster,
        Self::Interrupted,
    ];

    /// What it tells, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Held => "every expectation held",
            Self::ExpectationFailed => "an expectation failed",
            Self::Usage => "wrong usage, or a wrong scenario",
            Self::Invalid => {
                "the measurement cannot be believed: the generator was the bottleneck, a fault took no effect, the disk was full"
            }
            Self::NoCluster => "the cluster could not be brought up",
            Self::Interrupted => "Ctrl-C",
        }
    }

    /// What the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::ExpectationFailed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NoCluster => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the command: the exit code, and a text that says what happened, what it probably means, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl From<HistoryError> for Failure {
    /// Without its history a measurement is worth nothing.
    fn from(error: HistoryError) -> Self {
        Self::new(Exit::Invalid, error.to_string())
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        let exit = match &error {
            ClusterError::Spec(_) => Exit::Usage,
            _ => Exit::NoCluster,
        };
        Self::new(exit, error.to_string())
    }
}
