//! Counts, and the few operations that prove the first of each kind, so that a person can follow them in the history.

use super::faults::Fault;
use super::session::Session;
use crate::history::{LineId, Operation, Outcome};
use crate::results::{Anomalies, Anomaly, Witness, WitnessFault, WitnessOperation};

/// Witnesses of each kind. Of a thousand lost sessions, five show how it happened.
const KEPT: u64 = 5;

/// What was found so far.
pub(super) struct Evidence<'f, 'a> {
    pub(super) anomalies: Anomalies,
    pub(super) witnesses: Vec<Witness>,
    /// The faults of the run.
    pub(super) faults: &'f [Fault<'a>],
}

/// An anomaly, as the rules find it.
pub(super) struct Found<'f, 'a> {
    /// The operations that prove it. The last of them is the one that should not have been.
    pub(super) operations: Vec<&'a Operation>,
    pub(super) line: Option<LineId>,
    /// The fault that explains it. `None`: the last that was commanded before stands next to it.
    pub(super) blamed: Option<&'f Fault<'a>>,
    pub(super) sentence: String,
}

impl<'f, 'a> Evidence<'f, 'a> {
    pub(super) fn new(faults: &'f [Fault<'a>]) -> Self {
        Self {
            anomalies: Anomalies::default(),
            witnesses: Vec::new(),
            faults,
        }
    }

    /// Counts an anomaly of `session`, and keeps its witness while there are few of its kind.
    pub(super) fn find(
        &mut self,
        kind: Anomaly,
        session: &Session<'a>,
        found: impl FnOnce() -> Found<'f, 'a>,
    ) {
        let count = self.anomalies.count_mut(kind);
        *count += 1;
        if *count <= KEPT {
            let witness = self.witness(kind, session, found());
            self.witnesses.push(witness);
        }
    }

    fn witness(&self, kind: Anomaly, session: &Session<'a>, found: Found<'f, 'a>) -> Witness {
        let mut operations = found.operations;
        let noticed_us = operations.last().map_or(0, |last| last.done_us);
        operations.sort_by_key(|operation| (operation.sent_us, operation.id));
        operations.dedup_by_key(|operation| (operation.process == 0, operation.id));
        let before = || {
            let begun = |fault: &&Fault<'_>| fault.commanded_us <= noticed_us;
            let begun = self.faults.iter().filter(begun);
            begun.max_by_key(|fault| fault.commanded_us)
        };
        let fault = found.blamed.or_else(before);
        let beside = fault.map_or_else(String::new, |fault| {
            format!(
                " Before that: {} of {} at {}.",
                fault.kind,
                fault.target,
                at(fault.commanded_us)
            )
        });
        Witness {
            kind,
            user: session.login.user,
            session: session.login.session,
            line: found.line.map(|line| line.to_string()),
            operations: operations.into_iter().map(told).collect(),
            fault: fault.map(|fault| WitnessFault {
                index: fault.index,
                kind: fault.kind.into(),
                target: fault.target.into(),
                commanded_us: fault.commanded_us,
                effective_us: fault.effective_us,
                undone_us: fault.undone_us,
            }),
            sentence: format!("User {}: {}{beside}", session.login.user, found.sentence),
        }
    }
}

fn told(operation: &Operation) -> WitnessOperation {
    WitnessOperation {
        id: operation.id,
        action: operation.action.name().into(),
        sent_us: operation.sent_us,
        done_us: operation.done_us,
        node: operation.node.as_deref().map(Into::into),
        outcome: match operation.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Info => "info",
        }
        .into(),
        status: operation.status,
    }
}

/// A moment, for people: `5.310 s`.
pub(super) fn at(us: i64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}

/// An operation, for people: `browse 12 at 5.310 s on node-2`.
pub(super) fn name(operation: &Operation) -> String {
    let place = operation.node.as_deref().map(|node| format!(" on {node}"));
    format!(
        "{} {} at {}{}",
        operation.action.name(),
        operation.id,
        at(operation.sent_us),
        place.unwrap_or_default()
    )
}
