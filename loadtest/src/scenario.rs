//! A scenario: an experiment as data, in TOML. This module reads and checks it; `run` performs it.
//!
//! Whatever is wrong is reported with file, line and column, the line itself, and what is allowed instead,
//! before any process starts.

mod check;
mod source;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use source::Source;

/// A scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {path}: {source}")]
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
    /// What is built up.
    pub cluster: ClusterPart,
    /// What users do.
    pub load: Load,
    /// What is done to the cluster.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Whether to measure the memory that a session takes.
    pub memory: Option<Memory>,
}

fn one() -> u64 {
    1
}

fn one_repeat() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

/// `[cluster]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPart {
    /// App nodes, `node-1` and so on.
    pub nodes: Spanned<usize>,
    /// Strategies to compare.
    pub strategies: Vec<Spanned<String>>,
    /// Accounts that can log in: one for each user, and one for each session of `[memory]`.
    pub accounts: Spanned<u32>,
    /// CPU work that each request does beside the session's, microseconds.
    #[serde(default)]
    pub work_us: u64,
    /// What checking a password costs.
    pub password: Password,
}

/// `[cluster.password]`: argon2id settings.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// Memory for one check.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
}

/// `[load]`: a closed loop of users that act, wait for the answer, think, and act again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Users at the same time.
    pub users: Spanned<u32>,
    /// Shortest and longest pause between two actions.
    pub think_ms: Spanned<(u64, u64)>,
    /// How often users do what.
    pub journey: Spanned<Journey>,
    /// How long users act before anything is measured.
    pub warm_up_s: Spanned<u64>,
    /// How long is measured.
    pub measure_s: Spanned<u64>,
}

/// `[load.journey]`: weights. What is not named is not done.
#[derive(Clone, Copy, Debug, Default, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journey {
    /// Look at `/me`.
    pub browse: u32,
    /// Put a line into the cart.
    pub add_line: u32,
    /// Read the cart.
    pub read_cart: u32,
    /// Take a line out again.
    pub remove_line: u32,
    /// Read the cart a last time, log out, and try whether the old credential still works.
    pub log_out: u32,
}

/// The target that stands for the store, where every strategy of the scenario has one.
pub const STORE: &str = "store";

/// `[[faults]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What is done.
    pub kind: FaultKind,
    /// To whom: a node's name, or [`STORE`].
    pub target: Spanned<String>,
    /// When, seconds after the start of the measured part.
    pub at_s: Spanned<u64>,
    /// For how long; then it is undone.
    pub for_s: Spanned<u64>,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// `kill -9`, undone by starting the process again.
    Kill,
}

impl FaultKind {
    /// As scenarios and results write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
        }
    }
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
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Understands `text`; errors name `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        let source = Source { path, text };
        let wrong = |span: Option<Range<usize>>, message: &str| {
            ScenarioError::Wrong(source.explain(span, message))
        };
        let spec: Spec =
            toml::from_str(text).map_err(|error| wrong(error.span(), error.message()))?;
        check::check(&spec).map_err(|problem| wrong(problem.span, &problem.message))?;
        let name = path.file_stem().map_or_else(
            || "scenario".to_string(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        Ok(Self { name, spec })
    }
}

impl ClusterPart {
    /// The names of the nodes.
    pub fn node_names(&self) -> Vec<String> {
        (1..=*self.nodes.get_ref())
            .map(|number| format!("node-{number}"))
            .collect()
    }

    /// The names of the strategies.
    pub fn strategy_names(&self) -> Vec<String> {
        self.strategies
            .iter()
            .map(|name| name.get_ref().clone())
            .collect()
    }
}

impl Load {
    /// Shortest and longest pause between two actions.
    pub fn think(&self) -> (u64, u64) {
        *self.think_ms.get_ref()
    }

    /// Whether users never pause. Such a load is meant to saturate the machine.
    pub fn is_saturating(&self) -> bool {
        self.think() == (0, 0)
    }
}

impl Journey {
    /// The weights' sum.
    pub fn total(&self) -> u32 {
        self.browse + self.add_line + self.read_cart + self.remove_line + self.log_out
    }
}
