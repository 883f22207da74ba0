//! Why a run did not come to its end, and with which exit code: 4 when something could not be brought up, as in `lab`.

use std::io;
use std::path::PathBuf;

use agent::AgentError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{program} was not found: install the package {package} (apt-get install {package})")]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error(
        "{name} is not in {}: build everything first (`./lab bench` does), with --release",
        folder.display()
    )]
    NotBuilt { name: &'static str, folder: PathBuf },
    #[error(
        "the benchmark needs two cores at least: one for the station under test, one for everything else"
    )]
    OneCore,
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot {what}: {source}")]
    System {
        what: &'static str,
        source: io::Error,
    },
    #[error("{station}: {what}")]
    Station { station: &'static str, what: String },
    #[error("wrk did not say what it measured; its output was:\n{0}")]
    Wrk(String),
}

impl BenchError {
    pub(crate) fn system(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System {
            what,
            source: source.into(),
        }
    }

    /// For `map_err`: a station that does not answer as it should.
    pub(crate) fn of<E: ToString>(station: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::station(station, &error)
    }

    pub(crate) fn station(station: &'static str, what: &impl ToString) -> Self {
        Self::Station {
            station,
            what: what.to_string(),
        }
    }
}
