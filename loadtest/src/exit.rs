//! How `lab` ends: one exit code for each kind of outcome, so that scripts can tell them apart.

use std::process::ExitCode;

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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Held => 0,
            Exit::ExpectationFailed => 1,
            Exit::Usage => 2,
            Exit::Invalid => 3,
            Exit::NoCluster => 4,
            Exit::Interrupted => 130,
        })
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
