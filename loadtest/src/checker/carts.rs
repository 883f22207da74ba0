//! The rules for lines, applied to the cart of one session (see [`super`]).

use std::collections::{HashMap, HashSet};

use super::sessions::Session;
use super::{line_of, may_have_happened};
use crate::history::{Action, LineId, Operation, Outcome};

/// What one cart showed.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Lines that were acknowledged or seen, and are gone for good though nobody removed them.
    pub(super) lost: HashSet<LineId>,
    /// Lines that were gone, missing or removed, and came back.
    pub(super) stale: u64,
    /// Lines that were there twice.
    pub(super) duplicates: u64,
    /// Lines that the session never put there, most likely somebody else's; and answers for somebody else.
    pub(super) leaks: u64,
    /// Whether it had lines, and nobody read it after the last of them.
    pub(super) unknown: bool,
}

/// What is known about one line of the session's own.
struct Life {
    add_sent_us: i64,
    add_failed: bool,
    acknowledged_us: Option<i64>,
    /// From when on it must be there: it was acknowledged, or seen.
    known_us: Option<i64>,
    /// From when on it may be gone: a removal that may have happened was sent.
    removal_sent_us: Option<i64>,
    /// From when on it must be gone: a removal was acknowledged.
    removed_us: Option<i64>,
    /// Whether the last read that had to show it did not.
    missing: bool,
}

/// Judges the cart of `session`. Reads sent before `final_read_us` are not the last word on a cart that lived on.
pub(super) fn check(session: &Session<'_>, final_read_us: i64) -> Findings {
    let mut lives = lives(session);
    let mut findings = Findings {
        unknown: session.lost.is_none() && !was_read_finally(session, &lives, final_read_us),
        leaks: answers_for_somebody_else(session),
        ..Findings::default()
    };

    let mut acknowledged: Vec<(i64, LineId)> = lives
        .iter()
        .filter_map(|(line, life)| Some((life.acknowledged_us?, *line)))
        .collect();
    acknowledged.sort_unstable();
    let mut acknowledged = acknowledged.into_iter().peekable();
    // Lines that the next read may have to show: about as many as the cart holds, however long the session lasts.
    let mut expected: HashSet<LineId> = HashSet::new();
    let mut twice = HashSet::new();

    for (read, lines) in reads(session) {
        while let Some((_, line)) = acknowledged.next_if(|(at_us, _)| *at_us <= read.sent_us) {
            expected.insert(line);
        }
        let mut present = HashSet::with_capacity(lines.len());
        for &line in lines {
            if !present.insert(line) && twice.insert(line) {
                findings.duplicates += 1;
            }
        }
        for line in &present {
            match lives.get_mut(line) {
                Some(life) if life.may_be_in(read) => {
                    findings.stale += u64::from(life.came_back(read));
                    life.known_us.get_or_insert(read.done_us);
                    expected.insert(*line);
                }
                _ => findings.leaks += 1,
            }
        }
        expected.retain(|line| {
            let Some(life) = lives.get_mut(line) else {
                return false;
            };
            if !present.contains(line) && life.must_be_in(read) {
                life.missing = true;
            }
            !life.may_be_removed_in(read)
        });
    }

    findings.lost = lives
        .into_iter()
        .filter(|(_, life)| life.missing || session.lost.is_some() && life.is_owed())
        .map(|(line, _)| line)
        .collect();
    findings
}

/// Every line that this session tried to add.
fn lives(session: &Session<'_>) -> HashMap<LineId, Life> {
    let mut lives = HashMap::new();
    for operation in &session.operations {
        let acknowledged_us = (operation.outcome == Outcome::Ok).then_some(operation.done_us);
        if let Some(line) = line_of(operation, Action::AddLine) {
            lives.entry(line).or_insert(Life {
                add_sent_us: operation.sent_us,
                add_failed: !may_have_happened(operation),
                acknowledged_us,
                known_us: acknowledged_us,
                removal_sent_us: None,
                removed_us: None,
                missing: false,
            });
        }
        if let Some(line) = line_of(operation, Action::RemoveLine)
            && may_have_happened(operation)
            && let Some(life) = lives.get_mut(&line)
        {
            life.removal_sent_us.get_or_insert(operation.sent_us);
            life.removed_us = life.removed_us.or(acknowledged_us);
        }
    }
    lives
}

impl Life {
    fn may_be_in(&self, read: &Operation) -> bool {
        !self.add_failed && self.add_sent_us <= read.done_us
    }

    fn must_be_in(&self, read: &Operation) -> bool {
        self.known_us.is_some_and(|known| known <= read.sent_us) && !self.may_be_removed_in(read)
    }

    fn may_be_removed_in(&self, read: &Operation) -> bool {
        self.removal_sent_us
            .is_some_and(|removal| removal <= read.done_us)
    }

    /// `read` shows the line; whether it was gone before. Counts a return once.
    fn came_back(&mut self, read: &Operation) -> bool {
        let removed = self.removed_us.take_if(|removed| *removed <= read.sent_us);
        std::mem::take(&mut self.missing) || removed.is_some()
    }

    /// Whether the user has a right to it: known, and no removal may have happened.
    fn is_owed(&self) -> bool {
        self.known_us.is_some() && self.removal_sent_us.is_none()
    }
}

/// Answers that show the cart, in the order of sending. The answer to a change is one, too.
fn reads<'a>(session: &Session<'a>) -> impl Iterator<Item = (&'a Operation, &'a [LineId])> {
    session
        .operations
        .iter()
        .copied()
        .filter(|operation| operation.outcome == Outcome::Ok)
        .filter_map(|operation| Some((operation, operation.read.as_deref()?)))
}

fn answers_for_somebody_else(session: &Session<'_>) -> u64 {
    std::iter::once(&session.login)
        .chain(&session.operations)
        .filter(|operation| operation.mistaken_for.is_some())
        .count() as u64
}

/// Whether somebody read the cart after its last line was acknowledged; for a cart that was not logged out, at the
/// very end, when all faults were over.
fn was_read_finally(
    session: &Session<'_>,
    lives: &HashMap<LineId, Life>,
    final_read_us: i64,
) -> bool {
    let last = lives.values().filter_map(|life| life.acknowledged_us).max();
    let Some(last_acknowledged_us) = last else {
        return true; // Nothing was promised, nothing can be broken.
    };
    let from_us = match session.logout() {
        Some(_) => last_acknowledged_us,
        None => final_read_us,
    };
    reads(session).any(|(read, _)| read.sent_us >= from_us)
}
