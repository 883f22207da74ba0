//! What can be done to a link, and to which of its directions.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What disturbs a link now, for its connections.
pub(super) type Disturbed = watch::Receiver<Option<Disturbance>>;

/// What is done to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Disturbance {
    /// Everything arrives later.
    Delay {
        /// By this much, in each direction that is meant.
        #[serde(rename = "by_us", with = "micros")]
        by: Duration,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// No more than so many bytes pass.
    Bandwidth {
        /// On each connection, in each direction that is meant.
        bytes_per_s: u64,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// Every connection is broken off.
    Reset,
    /// Nothing passes.
    Blackhole {
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
}

/// The direction that a disturbance is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// There and back.
    #[default]
    Both,
    /// From the one who connects to the target.
    There,
    /// From the target to the one who connects.
    Back,
}

impl Direction {
    /// Whether it means what goes to the target.
    pub fn means_there(self) -> bool {
        self != Self::Back
    }

    /// Whether it means what comes from the target.
    pub fn means_back(self) -> bool {
        self != Self::There
    }
}

/// A duration as whole microseconds, as all times of the control port.
pub(crate) mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}
