//! One line of a cart: what is known of it by the time of each read. It draws the conclusions; [`super`] tells them.

use crate::checker::faults::Fault;
use crate::checker::may_have_happened;
use crate::checker::session::Loss;
use crate::history::{Action, LineId, Operation, Outcome};

/// See the module.
pub(in crate::checker) struct Line<'a> {
    pub(super) id: LineId,
    /// The first attempt to add it.
    pub(super) adding: &'a Operation,
    /// The first attempt that was acknowledged.
    pub(super) acknowledged: Option<&'a Operation>,
    /// Attempts that may have happened, those of the load balancer at other nodes included. Of several, one may still take
    /// effect when another one has.
    tries: u32,
    /// What proves first that it was there.
    known: Option<&'a Operation>,
    /// The last answer that showed it, but for those of its own adding.
    shown: Option<&'a Operation>,
    /// All removals that may have happened and were not over before the first adding.
    removals: Vec<&'a Operation>,
    /// The first read that lacked it though it had to show it, and what was known before; until it is shown again.
    missing: Option<Loss<'a>>,
    /// What proves first that it is removed: an acknowledgement, or a read that lacked it when it might be.
    pub(super) gone: Option<&'a Operation>,
    /// The first read that lacked it after it was gone.
    pub(super) shown_gone: Option<&'a Operation>,
    /// Whether it is there again though it was gone.
    back: Back<'a>,
    /// The number of the last read that showed it.
    last_read: Option<usize>,
    is_doubled: bool,
    is_watched: bool,
    /// How it was lost; known at the end.
    pub(in crate::checker) lost: Option<Loss<'a>>,
}

#[derive(Clone, Copy)]
enum Back<'a> {
    No,
    /// Whether that is stale or a rollback depends on what comes.
    Since(&'a Operation),
    /// And told already.
    Told,
}

/// What it means that a read shows the line.
pub(super) enum Shown<'a> {
    /// Nothing is wrong.
    Well,
    /// It did so before.
    Twice,
    /// The line was missing in the meantime.
    Again(Loss<'a>),
    /// An earlier read had shown that the line was removed.
    Undone,
}

/// Every line that these operations of one session tried to add, by id.
pub(super) fn of<'a>(operations: &[&'a Operation]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let about = |action: Action| {
        let of_kind = move |operation: &&&Operation| operation.action == action;
        let with_line = |operation: &&'a Operation| Some((operation.line?, *operation));
        operations.iter().filter(of_kind).filter_map(with_line)
    };
    // Users number their operations, so lines come in the order of their ids but for retries.
    let mut addings: Vec<(LineId, &Operation)> = about(Action::AddLine).collect();
    addings.sort_by_key(|(id, _)| *id);
    for (id, adding) in addings {
        match lines.last_mut().filter(|last| last.id == id) {
            Some(line) => line.is_tried_again(adding),
            None => lines.push(Line::new(id, adding)),
        }
    }
    for (id, removal) in about(Action::RemoveLine).filter(|(_, removal)| may_have_happened(removal))
    {
        if let Ok(place) = lines.binary_search_by_key(&id, |line| line.id) {
            let line = &mut lines[place];
            let over = removal.outcome == Outcome::Ok && removal.done_us < line.adding.sent_us;
            line.removals.extend((!over).then_some(removal));
        }
    }
    lines
}

/// How often an operation may take effect.
fn tries(operation: &Operation) -> u32 {
    if may_have_happened(operation) {
        operation.retries.saturating_add(1)
    } else {
        0
    }
}

impl<'a> Line<'a> {
    fn new(id: LineId, adding: &'a Operation) -> Self {
        let acknowledged = (adding.outcome == Outcome::Ok).then_some(adding);
        Self {
            id,
            adding,
            acknowledged,
            tries: tries(adding),
            known: acknowledged,
            shown: None,
            removals: Vec::new(),
            missing: None,
            gone: None,
            shown_gone: None,
            back: Back::No,
            last_read: None,
            is_doubled: false,
            is_watched: false,
            lost: None,
        }
    }

    fn is_tried_again(&mut self, adding: &'a Operation) {
        self.tries += tries(adding);
        if self.acknowledged.is_none() && adding.outcome == Outcome::Ok {
            self.acknowledged = Some(adding);
            self.known = Some(adding);
        }
    }

    pub(super) fn may_be_in(&self, read: &Operation) -> bool {
        self.tries > 0 && self.adding.sent_us <= read.done_us
    }

    /// Takes note that `read`, the session's read of this number, shows the line.
    pub(super) fn shown_in(&mut self, read: &'a Operation, number: usize) -> Shown<'a> {
        if self.was_shown_in(number) {
            // A line that is doubled stays so, and that is told once.
            let told = std::mem::replace(&mut self.is_doubled, true);
            return if told { Shown::Well } else { Shown::Twice };
        }
        self.last_read = Some(number);
        if self.was_gone_before(read) {
            return self.came_back(read);
        }
        if self.known.is_none_or(|known| read.done_us < known.done_us) {
            self.known = Some(read);
        }
        if !self.is_answer_to(Action::AddLine, read) {
            self.shown = Some(read);
        }
        match self.missing.take() {
            Some(missing) => Shown::Again(missing),
            None => Shown::Well,
        }
    }

    pub(super) fn was_shown_in(&self, number: usize) -> bool {
        self.last_read == Some(number)
    }

    fn came_back(&mut self, read: &'a Operation) -> Shown<'a> {
        let shown_gone = self
            .shown_gone
            .is_some_and(|gone| gone.done_us <= read.sent_us);
        match self.back {
            Back::No if shown_gone => {
                self.back = Back::Told;
                Shown::Undone
            }
            Back::No => {
                self.back = Back::Since(read);
                Shown::Well
            }
            Back::Since(_) | Back::Told => Shown::Well,
        }
    }

    /// Takes note that `read` lacks the line. The first read that showed it wrongly, if this one proves that it did.
    pub(super) fn lacking_in(&mut self, read: &'a Operation) -> Option<&'a Operation> {
        if self.was_gone_before(read) {
            self.shown_gone.get_or_insert(read);
            return match std::mem::replace(&mut self.back, Back::No) {
                Back::Since(back) => Some(back),
                Back::No | Back::Told => None,
            };
        }
        let known = self.known.filter(|known| known.done_us <= read.sent_us)?;
        if self.may_be_removed_in(read) {
            if self.gone.is_none_or(|gone| read.done_us < gone.done_us) {
                self.gone = Some(read);
            }
            if !self.is_answer_to(Action::RemoveLine, read) {
                self.shown_gone = Some(read);
            }
        } else {
            self.missing.get_or_insert(Loss {
                alive: self
                    .shown
                    .filter(|shown| shown.done_us <= read.sent_us)
                    .unwrap_or(known),
                dead: read,
            });
        }
        None
    }

    /// Whether it was certainly removed before `read` began.
    fn was_gone_before(&mut self, read: &Operation) -> bool {
        if self.tries > 1 {
            return false;
        }
        if self.gone.is_none()
            && let Some(known) = self.known
        {
            // A removal of what was perhaps not there yet proves nothing.
            let proves = |removal: &&&Operation| {
                removal.outcome == Outcome::Ok && removal.sent_us >= known.done_us
            };
            self.gone = self.removals.iter().find(proves).copied();
        }
        self.gone.is_some_and(|gone| gone.done_us <= read.sent_us)
    }

    /// Whether a removal may have taken effect by the end of `read`. One that was over when the line was still shown
    /// came to nothing.
    fn may_be_removed_in(&self, read: &Operation) -> bool {
        self.removals.iter().any(|removal| {
            let over = |shown: &Operation| {
                removal.outcome == Outcome::Ok && removal.done_us <= shown.sent_us
            };
            removal.sent_us <= read.done_us && !self.shown.is_some_and(over)
        })
    }

    /// Whether `read` is the answer to a change of this very line.
    fn is_answer_to(&self, change: Action, read: &Operation) -> bool {
        read.action == change && read.line == Some(self.id)
    }

    /// Has its absence noticed from now on.
    pub(super) fn watch(&mut self, place: usize, watched: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.is_watched, true) {
            watched.push(place);
        }
    }

    /// After a read that lacked it: whether the next one that lacks it could say more. (One that shows it can, always.)
    pub(super) fn stays_watched(&mut self) -> bool {
        self.is_watched = self.missing.is_none() && self.gone.is_none();
        self.is_watched
    }

    /// How it went missing, if it still is.
    pub(super) fn missing(&self) -> Option<Loss<'a>> {
        self.missing
    }

    /// The first read that showed it although it was removed, if that is not told yet.
    pub(super) fn back(&self) -> Option<&'a Operation> {
        match self.back {
            Back::Since(read) => Some(read),
            Back::No | Back::Told => None,
        }
    }

    /// Whether the user has a right to it: known, and no removal may have happened.
    pub(super) fn is_owed(&self) -> bool {
        self.known.is_some() && self.removals.is_empty()
    }

    /// Whether it was acknowledged by then, and no removal was on its way.
    pub(in crate::checker) fn is_owed_at(&self, at_us: i64) -> bool {
        self.acknowledged
            .is_some_and(|adding| adding.done_us <= at_us)
            && self.removals.iter().all(|removal| removal.sent_us > at_us)
    }

    /// The fault that explains its loss.
    pub(in crate::checker) fn to_blame<'f>(
        &self,
        faults: &'f [Fault<'a>],
    ) -> Option<&'f Fault<'a>> {
        self.lost?.to_blame(faults)
    }
}
