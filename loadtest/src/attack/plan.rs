//! What the parent tells the users' process: one JSON file in the cluster's private folder, for it holds a password.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::history::Clock;
use crate::scenario::Journey;

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
    /// Shortest and longest pause.
    pub think_ms: (u64, u64),
    /// What users do how often.
    pub journey: Journey,
    /// Seed of everything random.
    pub seed: u64,
}

/// The account of user `number`.
pub fn account(number: u32) -> String {
    format!("user-{number:06}")
}
