//! `[[faults]]`: what is done to the cluster, to whom, and when.
//!
//! Here is what a file may say, as it says it. `check` finds what is wrong with it, and
//! [`schedule`](super::schedule) makes of it what is done at which second.

mod check;

use cluster::faults::FaultKind;
use serde::Deserialize;
use toml::Spanned;

pub(super) use check::check;

/// `[[faults]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultEntry {
    /// What is done.
    pub kind: Spanned<FaultKind>,
    /// To whom: a node's name, `store`, `load-balancer`, `nodes`, a link (`load-balancer->node-2`, `node-2->store`),
    /// or a rule that chooses a node (`random`, `most-sessions`).
    pub target: Spanned<String>,
    /// When, seconds after the start of the measured part.
    pub at_s: Spanned<u64>,
    /// For how long; then it is undone. What undoes itself (a restart) has none.
    pub for_s: Option<Spanned<u64>>,
    /// The same again, so many seconds after the last time …
    pub every_s: Option<Spanned<u64>>,
    /// … and so many times in all.
    pub times: Option<Spanned<u64>>,
    /// `slow`: the share of time in which the process runs.
    pub running: Option<Spanned<f64>>,
    /// `drain`: how long pinned clients may stay.
    pub deadline_s: Option<Spanned<u64>>,
    /// `delay`: how much later everything arrives, in each direction.
    pub delay_ms: Option<Spanned<u64>>,
    /// `bandwidth`: what passes on each connection, in each direction.
    pub kib_per_s: Option<Spanned<u64>>,
    /// `delay`, `bandwidth`, `blackhole`: which way; both unless it says otherwise.
    pub direction: Option<Spanned<Way>>,
    /// `scale`: how many nodes there are from then on.
    pub nodes: Option<Spanned<usize>>,
}

/// Which way a link is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// There and back.
    Both,
    /// From the one who connects.
    There,
    /// To the one who connects.
    Back,
}
