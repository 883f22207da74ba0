//! What the parent tells the users' process: one JSON file in the cluster's private folder, for it holds a password and a token.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::scenario::{Journey, Replays};
use cluster::Clock;
use evidence::pace::Pace;

/// Everything that users need to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The load balancer's listener for the strategy under test.
    pub url: String,
    /// Where operations go.
    pub history: PathBuf,
    /// The clock that parent and child share.
    pub clock: Clock,
    /// When the first users begin.
    pub warm_up_from_us: i64,
    /// When users stop acting.
    pub measured_until_us: i64,
    /// When every user reads its cart once more.
    pub final_read_us: i64,
    /// How many users.
    pub users: u32,
    /// The password of all demo accounts.
    pub password: String,
    /// When they act.
    pub pace: Pace,
    /// What users do how often.
    pub journey: Journey,
    /// How credentials are tried again after their logout.
    pub replays: Replays,
    /// What an operator does meanwhile.
    pub revocations: Option<Revocations>,
    /// No user waits longer for a whole answer.
    pub request_timeout: Duration,
    /// Seed of everything random.
    pub seed: u64,
}

/// How an operator ends all logins of users.
#[derive(Clone, Serialize, Deserialize)]
pub struct Revocations {
    /// So many users a second.
    pub per_s: u32,
    /// Opens the nodes' operator calls.
    pub token: String,
}

/// Without the token.
impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_s, token: _ } = self;
        write!(f, "{per_s} a second")
    }
}

impl Plan {
    /// Reads what the parent wrote.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: &dyn std::fmt::Display| {
            let path = path.display();
            Failure::new(
                Exit::Usage,
                format!("{path} is no plan of `lab run`: {what}"),
            )
        };
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }
}

/// The account of user `number`.
pub fn account(number: u32) -> String {
    format!("user-{number:06}")
}
