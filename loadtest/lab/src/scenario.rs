//! A scenario: an experiment as data, in TOML. This module reads and checks it; `run` performs it.
//!
//! Whatever is wrong is reported with file, line and column, the line itself, and what is allowed instead,
//! before any process starts.

mod chaos;
mod check;
mod cluster;
mod fault;
mod load;
mod problem;
pub mod schedule;
mod sizes;
mod source;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use evidence::expectations::Threshold;
use evidence::strategy::Table;
use serde::Deserialize;
use toml::Spanned;

pub use chaos::Chaos;
pub use cluster::{ClusterPart, Password};
pub use fault::FaultEntry;
pub use load::{Journey, Load, Replays};
pub use sizes::Sizes;
use source::Source;

/// A scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a file nor a name.
    #[error(
        "there is no scenario {path}: no file is there, and none that comes with the lab has that name. {hint}`lab scenarios` lists their names"
    )]
    Unknown {
        /// What was given.
        path: PathBuf,
        /// What was probably meant.
        hint: String,
    },
    /// The file cannot be read.
    #[error(
        "cannot read the scenario {path}: {source} (`lab scenarios` lists those that come with the lab)"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is wrong.
    #[error("{0}")]
    Wrong(String),
}

/// An experiment.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// What the file says.
    pub spec: Spec,
    /// What it demands of every run.
    pub thresholds: Vec<Threshold>,
}

/// What a scenario file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The question that the experiment answers, in one sentence.
    pub question: String,
    /// Seed of everything random: think times, the order of actions.
    #[serde(default = "one")]
    pub seed: u64,
    /// How often every strategy runs; repeats are interleaved (ABC ABC).
    #[serde(default = "one_repeat")]
    pub repeats: Spanned<u32>,
    /// What must come out of every run; understood in [`Scenario::thresholds`].
    #[serde(default)]
    pub expect: Vec<Spanned<String>>,
    /// What is built up.
    pub cluster: ClusterPart,
    /// What users do.
    pub load: Load,
    /// What is done to the cluster.
    #[serde(default)]
    pub faults: Vec<FaultEntry>,
    /// Or what the seed does to it.
    pub chaos: Option<Chaos>,
    /// Whether to measure the memory that a session takes.
    pub memory: Option<Memory>,
}

fn one() -> u64 {
    1
}

fn one_repeat() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

/// `[memory]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// How many sessions to open at once; the growth is divided by them.
    pub sessions: Spanned<u32>,
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path, table: &Table) -> Result<Self, ScenarioError> {
        let text = fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(path, &text, table)
    }

    /// Understands `text`, for nodes that serve the strategies of `table`; errors name `path`.
    pub fn parse(path: &Path, text: &str, table: &Table) -> Result<Self, ScenarioError> {
        let source = Source { path, text };
        let wrong = |span: Option<Range<usize>>, message: &str| {
            ScenarioError::Wrong(source.explain(span, message))
        };
        let mut spec: Spec =
            toml::from_str(text).map_err(|error| wrong(error.span(), error.message()))?;
        spec.cluster.resolve(table);
        let explained = |problem: problem::Problem| wrong(problem.span, &problem.message);
        check::check(&spec, table).map_err(explained)?;
        let thresholds = check::thresholds(&spec).map_err(explained)?;
        let name = path.file_stem().map_or_else(
            || "scenario".to_string(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        Ok(Self {
            name,
            spec,
            thresholds,
        })
    }
}
