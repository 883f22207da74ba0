//! What each fault cost: of the sessions and lines that were alive when it came, how many are gone.

use std::collections::HashSet;

use super::carts::Findings;
use super::line_of;
use super::sessions::Session;
use crate::history::{Action, FaultStep, History, LineId, Outcome};

/// One fault's price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sessions alive when the fault was commanded, of which something was heard after it took effect.
    pub sessions_live: u64,
    /// Of these: the target had served them last.
    pub sessions_on_target: u64,
    /// Of `sessions_live`: refused the first time that something was heard of them.
    pub sessions_lost: u64,
    /// Of `sessions_lost`: the target had served them last.
    pub sessions_lost_on_target: u64,
    /// Lines in carts of `sessions_live`, acknowledged before the fault and not removed before it.
    pub cart_lines_acknowledged: u64,
    /// Of these: gone for good, though nobody removed them.
    pub cart_lines_lost: u64,
}

/// Per fault, in the scenario's order.
pub(super) fn of(history: &History, sessions: &[Session<'_>], carts: &[Findings]) -> Vec<Losses> {
    let commanded = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded);
    let mut losses: Vec<(usize, Losses)> = commanded
        .map(|fault| {
            let effective_us = history
                .faults
                .iter()
                .find(|event| event.fault == fault.fault && event.step == FaultStep::Effective)
                .map_or(fault.at_us, |event| event.at_us);
            let mut sum = Losses::default();
            for (session, cart) in sessions.iter().zip(carts) {
                if session.was_live_at(fault.at_us)
                    && let Some(survived) = session.survived(fault.at_us, effective_us)
                {
                    sum.add(session, cart, survived, &fault.target, fault.at_us);
                }
            }
            (fault.fault, sum)
        })
        .collect();
    losses.sort_by_key(|(fault, _)| *fault);
    losses.into_iter().map(|(_, sum)| sum).collect()
}

impl Losses {
    fn add(
        &mut self,
        session: &Session<'_>,
        cart: &Findings,
        survived: bool,
        target: &str,
        at_us: i64,
    ) {
        self.sessions_live += 1;
        let on_target = session.served_by_at(at_us) == Some(target);
        self.sessions_on_target += u64::from(on_target);
        self.sessions_lost += u64::from(!survived);
        self.sessions_lost_on_target += u64::from(!survived && on_target);
        let lines = lines_at(session, at_us);
        self.cart_lines_acknowledged += lines.len() as u64;
        self.cart_lines_lost += lines.intersection(&cart.lost).count() as u64;
    }
}

/// Lines acknowledged by then, without those whose removal was on its way.
fn lines_at(session: &Session<'_>, at_us: i64) -> HashSet<LineId> {
    let mut lines = HashSet::new();
    for operation in &session.operations {
        if let Some(line) = line_of(operation, Action::AddLine)
            && operation.outcome == Outcome::Ok
            && operation.done_us <= at_us
        {
            lines.insert(line);
        }
        if let Some(line) = line_of(operation, Action::RemoveLine)
            && operation.sent_us <= at_us
            && super::may_have_happened(operation)
        {
            lines.remove(&line);
        }
    }
    lines
}
