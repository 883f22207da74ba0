//! What the checker proves: how many of each kind of anomaly, the few operations that prove the first of them, and how long
//! dead credentials lived on. [`crate::checker`] defines each kind.

use serde::{Deserialize, Serialize};

/// Counts of what the checker proved; [`crate::checker`] defines each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomalies {
    /// A live session was refused.
    pub session_lost: u64,
    /// A line that was acknowledged, or seen, is gone for good though nobody removed it.
    pub line_lost: u64,
    /// A cart was shown as it had been before an acknowledged change, which showed later.
    pub stale_read: u64,
    /// A cart was shown older than an earlier answer had shown it, or an acknowledged removal is undone for good.
    pub rollback: u64,
    /// A line is in a cart twice.
    pub duplicate: u64,
    /// A line of the user's own that this session never put there: its adding certainly failed, or was another session's.
    pub phantom: u64,
    /// An answer that showed what is somebody else's, or that was meant for somebody else.
    pub leak: u64,
    /// A credential was accepted after its acknowledged logout or revocation, or after its declared end.
    pub resurrection: u64,
    /// The same by a strategy that declares that it cannot revoke at once: before the declared end, or by another node.
    pub exposure: u64,
    /// Carts without a final read: nothing can be said.
    pub unknown: u64,
}

/// The kinds of [`Anomalies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the fields of `Anomalies` are the same, and say it"
)]
pub enum Anomaly {
    SessionLost,
    LineLost,
    StaleRead,
    Rollback,
    Duplicate,
    Phantom,
    Leak,
    Resurrection,
    Exposure,
    Unknown,
}

impl Anomaly {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 10] = [
        Self::SessionLost,
        Self::LineLost,
        Self::StaleRead,
        Self::Rollback,
        Self::Duplicate,
        Self::Phantom,
        Self::Leak,
        Self::Resurrection,
        Self::Exposure,
        Self::Unknown,
    ];

    /// As in `results.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionLost => "session_lost",
            Self::LineLost => "line_lost",
            Self::StaleRead => "stale_read",
            Self::Rollback => "rollback",
            Self::Duplicate => "duplicate",
            Self::Phantom => "phantom",
            Self::Leak => "leak",
            Self::Resurrection => "resurrection",
            Self::Exposure => "exposure",
            Self::Unknown => "unknown",
        }
    }

    /// For people: what one and what several of them are called.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::SessionLost => ("session lost", "sessions lost"),
            Self::LineLost => ("cart line lost", "cart lines lost"),
            Self::StaleRead => ("stale read", "stale reads"),
            Self::Rollback => ("rollback", "rollbacks"),
            Self::Duplicate => ("duplicated line", "duplicated lines"),
            Self::Phantom => ("phantom line", "phantom lines"),
            Self::Leak => ("leak to another user", "leaks to another user"),
            Self::Resurrection => (
                "resurrection of a dead credential",
                "resurrections of dead credentials",
            ),
            Self::Exposure => (
                "exposure of a dead credential",
                "exposures of dead credentials",
            ),
            Self::Unknown => ("cart unknown", "carts unknown"),
        }
    }
}

impl Anomalies {
    /// How many of one kind.
    pub fn count(&self, kind: Anomaly) -> u64 {
        let mut counts = *self;
        *counts.count_mut(kind)
    }

    pub(crate) fn count_mut(&mut self, kind: Anomaly) -> &mut u64 {
        match kind {
            Anomaly::SessionLost => &mut self.session_lost,
            Anomaly::LineLost => &mut self.line_lost,
            Anomaly::StaleRead => &mut self.stale_read,
            Anomaly::Rollback => &mut self.rollback,
            Anomaly::Duplicate => &mut self.duplicate,
            Anomaly::Phantom => &mut self.phantom,
            Anomaly::Leak => &mut self.leak,
            Anomaly::Resurrection => &mut self.resurrection,
            Anomaly::Exposure => &mut self.exposure,
            Anomaly::Unknown => &mut self.unknown,
        }
    }
}

/// The few operations that prove one anomaly, so that a person can follow it in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// What it proves.
    pub kind: Anomaly,
    /// Whose session.
    pub user: u32,
    /// Which of the user's logins, from 1.
    pub session: u32,
    /// The cart line that it is about.
    pub line: Option<String>,
    /// In the order of sending.
    pub operations: Vec<WitnessOperation>,
    /// The fault next to them, if there was one before.
    pub fault: Option<WitnessFault>,
    /// What happened, in words.
    pub sentence: String,
}

/// One operation of a [`Witness`], as the history has it. Times are microseconds from the run's first measured moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessOperation {
    /// The user's number of it.
    pub id: u32,
    /// `add_line`
    pub action: String,
    /// When the request was sent.
    pub sent_us: i64,
    /// When the whole answer was there.
    pub done_us: i64,
    /// The node that answered.
    pub node: Option<String>,
    /// `ok`, `fail` or `info`.
    pub outcome: String,
    /// Status of the answer.
    pub status: Option<u16>,
}

/// The fault of a [`Witness`]. Times are microseconds from the run's first measured moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessFault {
    /// Its place among the run's faults, from 0.
    pub index: usize,
    /// `kill`
    pub kind: String,
    /// `node-2`
    pub target: String,
    /// When the lab asked for it.
    pub commanded_us: i64,
    /// When it was seen to be in effect.
    pub effective_us: Option<i64>,
    /// When it was undone.
    pub undone_us: Option<i64>,
}

/// What became of an operator's revocations, each of all logins of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// Calls that the operator made.
    pub asked: u64,
    /// Of these: a node said that it was done.
    pub acknowledged: u64,
    /// Of `asked`: a node said that its strategy cannot revoke (501).
    pub unsupported: u64,
    /// Sessions that were live when one of these answers came, and whose credential was accepted afterwards, or refused because
    /// of it.
    pub sessions: u64,
    /// Of these: the credential was accepted, as the strategy declares.
    pub exposures: u64,
    /// Of these: the credential was accepted, which the strategy does not own up to.
    pub resurrections: u64,
    /// From the answer to the last time that the credential was seen to work, 0 where it was refused from then on; `None`
    /// without `sessions`.
    pub alive_ms: Option<Revocation>,
}

impl Revocations {
    /// Sessions whose credential was accepted afterwards.
    pub fn accepted(&self) -> u64 {
        self.exposures + self.resurrections
    }
}

/// How long dead credentials lived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Median.
    pub p50: u64,
    /// Longest.
    pub max: u64,
}
