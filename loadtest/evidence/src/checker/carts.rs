//! The rules for lines, applied to the cart of one session (see [`super`]).

mod line;

use std::collections::HashSet;

use super::session::{Loss, Session};
use super::witness::{Evidence, Found, name};
use crate::history::{Action, LineId, Operation, Outcome};
use crate::results::Anomaly;
use line::{Line, Shown};

/// The lines that a session tried to add, in the order of their ids, and what became of them.
pub(super) struct Cart<'a> {
    lines: Vec<Line<'a>>,
}

/// Judges the cart of `session`. Reads sent before `final_read_us` are not the last word on a cart that lived on.
pub(super) fn check<'a>(
    session: &Session<'a>,
    final_read_us: i64,
    evidence: &mut Evidence<'_, 'a>,
) -> Cart<'a> {
    find_leaks(session, evidence);
    let mut cart = Cart {
        lines: line::of(session.operations),
    };
    cart.follow(session, evidence);
    cart.settle(session, evidence);
    cart.find_unknown(session, final_read_us, evidence);
    cart
}

impl<'a> Cart<'a> {
    pub(super) fn lines(&self) -> &[Line<'a>] {
        &self.lines
    }

    /// Holds every read against what is known of each line by then.
    fn follow(&mut self, session: &Session<'a>, evidence: &mut Evidence<'_, 'a>) {
        let mut acknowledged: Vec<(i64, usize)> = self
            .lines
            .iter()
            .enumerate()
            .filter_map(|(place, line)| Some((line.acknowledged?.done_us, place)))
            .collect();
        acknowledged.sort_unstable();
        let mut acknowledged = acknowledged.into_iter().peekable();
        // Lines whose absence from the next read would say something: about as many as the cart holds, however long
        // the session lasts.
        let mut watched: Vec<usize> = Vec::new();
        let mut phantoms = HashSet::new();

        for (number, (read, shown)) in reads(session).enumerate() {
            while let Some((_, place)) = acknowledged.next_if(|(at_us, _)| *at_us <= read.sent_us) {
                self.lines[place].watch(place, &mut watched);
            }
            for &id in shown.iter().filter(|id| id.user == session.login.user) {
                let line = self.lines.binary_search_by_key(&id, |line| line.id).ok();
                let line = line.map(|place| (place, &mut self.lines[place]));
                match line.filter(|(_, line)| line.may_be_in(read)) {
                    Some((place, line)) => {
                        match line.shown_in(read, number) {
                            Shown::Well => {}
                            Shown::Twice => tell_duplicate(session, line, read, evidence),
                            Shown::Again(missing) => {
                                tell_missing(session, line, missing, read, evidence);
                            }
                            Shown::Undone => tell_rollback(session, line, Some(read), evidence),
                        }
                        line.watch(place, &mut watched);
                    }
                    None if phantoms.insert(id) => tell_phantom(session, id, read, evidence),
                    None => {}
                }
            }
            watched.retain(|&place| {
                let line = &mut self.lines[place];
                if line.was_shown_in(number) {
                    return true;
                }
                if let Some(back) = line.lacking_in(read) {
                    tell_stale_removal(session, line, back, read, evidence);
                }
                line.stays_watched()
            });
        }
    }

    /// What is still missing at the end, is lost; what is still back though it was removed, is a removal undone.
    fn settle(&mut self, session: &Session<'a>, evidence: &mut Evidence<'_, 'a>) {
        for line in &mut self.lines {
            line.lost = match (line.missing(), session.loss) {
                (Some(missing), _) => Some(missing),
                (None, Some(loss)) if line.is_owed() => Some(loss),
                _ => None,
            };
            if line.lost.is_some() {
                tell_lost(session, line, evidence);
            } else if line.back().is_some() {
                tell_rollback(session, line, None, evidence);
            }
        }
    }

    /// Somebody must have read the cart after its last line was acknowledged; and if it was not logged out, at the very
    /// end, when all faults were over.
    fn find_unknown(
        &self,
        session: &Session<'a>,
        final_read_us: i64,
        evidence: &mut Evidence<'_, 'a>,
    ) {
        if session.loss.is_some() || session.has_ended() {
            return;
        }
        let acknowledged = self.lines.iter().filter_map(|line| line.acknowledged);
        let Some(last) = acknowledged.max_by_key(|adding| adding.done_us) else {
            return; // Nothing was promised, nothing can be broken.
        };
        let from_us = match session.logout {
            Some(_) => last.done_us,
            None => final_read_us,
        };
        if reads(session).all(|(read, _)| read.sent_us < from_us) {
            evidence.find(Anomaly::Unknown, session, || Found {
                operations: vec![session.login, last],
                line: last.line,
                blamed: None,
                sentence: format!(
                    "nobody read the cart at the end, so what became of {} cannot be known.",
                    name(last)
                ),
            });
        }
    }
}

/// Answers that show the cart, in the order of sending. The answer to a change is one, too.
fn reads<'a>(session: &Session<'a>) -> impl Iterator<Item = (&'a Operation, &'a [LineId])> {
    let operations = session.operations.iter().copied();
    operations.filter_map(|operation| Some((operation, shown_by(operation)?)))
}

fn shown_by(operation: &Operation) -> Option<&[LineId]> {
    operation
        .read
        .as_deref()
        .filter(|_| operation.outcome == Outcome::Ok)
}

/// Every answer counts once, however much it shows.
fn find_leaks<'a>(session: &Session<'a>, evidence: &mut Evidence<'_, 'a>) {
    for operation in std::iter::once(session.login).chain(session.operations.iter().copied()) {
        let shown = shown_by(operation).unwrap_or_default();
        let foreign = shown
            .iter()
            .find(|line| line.user != operation.user)
            .copied();
        let sentence = match (&operation.mistaken_for, foreign) {
            (Some(other), _) => format!("{} took it for {other}.", name(operation)),
            (None, Some(line)) => {
                format!(
                    "{} showed line {line}, which it did not add.",
                    name(operation)
                )
            }
            (None, None) => continue,
        };
        evidence.find(Anomaly::Leak, session, || Found {
            operations: vec![session.login, operation],
            line: foreign,
            blamed: None,
            sentence,
        });
    }
}

fn tell_duplicate<'a>(
    session: &Session<'a>,
    line: &Line<'a>,
    read: &'a Operation,
    evidence: &mut Evidence<'_, 'a>,
) {
    evidence.find(Anomaly::Duplicate, session, || Found {
        operations: vec![line.adding, read],
        line: Some(line.id),
        blamed: None,
        sentence: format!(
            "{} showed line {} twice, which was added once, by {}.",
            name(read),
            line.id,
            name(line.adding)
        ),
    });
}

fn tell_phantom<'a>(
    session: &Session<'a>,
    id: LineId,
    read: &'a Operation,
    evidence: &mut Evidence<'_, 'a>,
) {
    let adding = session
        .operations
        .iter()
        .copied()
        .find(|operation| operation.action == Action::AddLine && operation.line == Some(id));
    let why = match adding {
        Some(adding) if adding.outcome == Outcome::Fail => {
            format!("though {} had certainly failed", name(adding))
        }
        Some(adding) => format!("though {} had not begun", name(adding)),
        None => "which this session never added".into(),
    };
    evidence.find(Anomaly::Phantom, session, || Found {
        operations: adding.into_iter().chain([read]).collect(),
        line: Some(id),
        blamed: None,
        sentence: format!("{} showed line {id}, {why}.", name(read)),
    });
}

/// The line was `missing`, and `read` shows it again.
fn tell_missing<'a>(
    session: &Session<'a>,
    line: &Line<'a>,
    missing: Loss<'a>,
    read: &'a Operation,
    evidence: &mut Evidence<'_, 'a>,
) {
    let shown_before = missing.alive.line != Some(line.id);
    let kind = if shown_before {
        Anomaly::Rollback
    } else {
        Anomaly::StaleRead
    };
    evidence.find(kind, session, || Found {
        operations: vec![line.adding, missing.alive, read, missing.dead],
        line: Some(line.id),
        blamed: None,
        sentence: format!(
            "{} lacked line {}, though {} had {} it; {} showed it again.",
            name(missing.dead),
            line.id,
            name(missing.alive),
            if shown_before { "shown" } else { "added" },
            name(read)
        ),
    });
}

/// The line was `back` although its removal had been acknowledged, and `read` shows that the removal took effect.
fn tell_stale_removal<'a>(
    session: &Session<'a>,
    line: &Line<'a>,
    back: &'a Operation,
    read: &'a Operation,
    evidence: &mut Evidence<'_, 'a>,
) {
    evidence.find(Anomaly::StaleRead, session, || Found {
        operations: [line.adding]
            .into_iter()
            .chain(line.gone)
            .chain([read, back])
            .collect(),
        line: Some(line.id),
        blamed: None,
        sentence: format!(
            "{} still showed line {}, whose removal had been acknowledged; {} did not.",
            name(back),
            line.id,
            name(read)
        ),
    });
}

/// `read` shows a removed line that an earlier read had not shown; or, without `read`, the line stayed back for good.
fn tell_rollback<'a>(
    session: &Session<'a>,
    line: &Line<'a>,
    read: Option<&'a Operation>,
    evidence: &mut Evidence<'_, 'a>,
) {
    let Some(shown) = read.or(line.back()) else {
        return;
    };
    evidence.find(Anomaly::Rollback, session, || Found {
        operations: [line.adding]
            .into_iter()
            .chain(line.gone)
            .chain(line.shown_gone)
            .chain([shown])
            .collect(),
        line: Some(line.id),
        blamed: None,
        sentence: match (line.shown_gone, line.gone) {
            (Some(gone), _) => format!(
                "{} showed removed line {} again, which {} no longer had.",
                name(shown),
                line.id,
                name(gone)
            ),
            (None, Some(removal)) => format!(
                "{} showed line {} although {} had removed it, and it never went.",
                name(shown),
                line.id,
                name(removal)
            ),
            (None, None) => format!("{} showed removed line {} again.", name(shown), line.id),
        },
    });
}

fn tell_lost<'a>(session: &Session<'a>, line: &Line<'a>, evidence: &mut Evidence<'_, 'a>) {
    let Some(loss) = line.lost else { return };
    let faults = evidence.faults;
    evidence.find(Anomaly::LineLost, session, || Found {
        operations: vec![line.adding, loss.alive, loss.dead],
        line: Some(line.id),
        blamed: loss.to_blame(faults),
        sentence: if session
            .loss
            .is_some_and(|lost| std::ptr::eq(lost.dead, loss.dead))
        {
            format!(
                "{} refused the session, and line {} of {} went with it.",
                name(loss.dead),
                line.id,
                name(line.adding)
            )
        } else {
            format!(
                "{} lacked line {}, which {} had {} and nobody had removed; it never came back.",
                name(loss.dead),
                line.id,
                name(loss.alive),
                if loss.alive.line == Some(line.id) {
                    "added"
                } else {
                    "shown"
                },
            )
        },
    });
}
