//! `[[faults]]`: what is done to the cluster, to whom, and when.
//!
//! Here is what a file may say, as it says it. `check` finds what is wrong with it, and
//! [`schedule`](super::schedule) makes of it what is done at which second.

mod check;

use std::time::Duration;

use agent::link::{Direction, Disturbance};
use cluster::faults::{Fault, FaultAction, FaultKind, Target};
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

/// A fault each time that it comes. What a check has not seen yet may be incomplete; it counts as harmless then.
pub(super) fn occurrences(fault: &FaultEntry) -> impl Iterator<Item = Fault> {
    let number = |field: &Option<toml::Spanned<u64>>| field.as_ref().map(|field| *field.get_ref());
    let first = Fault {
        at_s: *fault.at_s.get_ref(),
        for_s: number(&fault.for_s),
        action: action(fault),
        target: Target::of(fault.target.get_ref()),
    };
    let every_s = number(&fault.every_s).unwrap_or(0);
    (0..number(&fault.times).unwrap_or(1)).map(move |time| Fault {
        at_s: first.at_s.saturating_add(every_s.saturating_mul(time)),
        ..first.clone()
    })
}

/// What a file asks for.
fn action(fault: &FaultEntry) -> FaultAction {
    let number =
        |field: &Option<toml::Spanned<u64>>| field.as_ref().map_or(0, |field| *field.get_ref());
    let direction = match fault.direction.as_ref().map(toml::Spanned::get_ref) {
        None | Some(Way::Both) => Direction::Both,
        Some(Way::There) => Direction::There,
        Some(Way::Back) => Direction::Back,
    };
    match fault.kind.get_ref() {
        FaultKind::Kill => FaultAction::Kill,
        FaultKind::Stop => FaultAction::Stop,
        FaultKind::Pause => FaultAction::Pause,
        FaultKind::Restart => FaultAction::Restart,
        FaultKind::Slow => FaultAction::Slow {
            running: fault.running.as_ref().map_or(1.0, |share| *share.get_ref()),
        },
        FaultKind::Drain => FaultAction::Drain {
            deadline_s: fault.deadline_s.as_ref().map(|field| *field.get_ref()),
        },
        FaultKind::Maint => FaultAction::Maint,
        FaultKind::Delay => FaultAction::Link(Disturbance::Delay {
            by: Duration::from_millis(number(&fault.delay_ms)),
            direction,
        }),
        FaultKind::Bandwidth => FaultAction::Link(Disturbance::Bandwidth {
            bytes_per_s: number(&fault.kib_per_s) * 1024,
            direction,
        }),
        FaultKind::Reset => FaultAction::Link(Disturbance::Reset),
        FaultKind::Blackhole => FaultAction::Link(Disturbance::Blackhole { direction }),
        FaultKind::Scale => FaultAction::Scale {
            nodes: fault.nodes.as_ref().map_or(0, |nodes| *nodes.get_ref()),
        },
        FaultKind::RollingRestart => FaultAction::RollingRestart,
    }
}
