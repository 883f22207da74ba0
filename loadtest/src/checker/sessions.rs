//! Life and death of logins.

use super::may_have_happened;
use crate::history::{Action, History, Operation, Outcome};

/// One login and everything that was done under it.
pub(super) struct Session<'a> {
    /// The login that began it.
    pub(super) login: &'a Operation,
    /// Everything else under it, in the order of sending; replays after its logout too.
    pub(super) operations: Vec<&'a Operation>,
    /// The refusal by which its loss showed.
    pub(super) lost: Option<&'a Operation>,
    /// Whether its user had lost the session before.
    pub(super) follows_a_loss: bool,
}

/// All sessions of a history, by user, in the order of their beginning.
pub(super) fn of(history: &History) -> Vec<Session<'_>> {
    let mut operations: Vec<&Operation> = history.operations.iter().collect();
    // Stable: within a session, the order of sending stays.
    operations.sort_by_key(|operation| (operation.user, operation.session));

    let mut sessions = Vec::new();
    let same = |a: &&Operation, b: &&Operation| (a.user, a.session) == (b.user, b.session);
    for group in operations.chunk_by(same) {
        let begins = |operation: &&&Operation| {
            operation.action == Action::LogIn && operation.outcome == Outcome::Ok
        };
        // Without a login of its own, a group is what a user did while it was logged out.
        let Some(login) = group.iter().find(begins) else {
            continue;
        };
        let others = group.iter().filter(|operation| operation.id != login.id);
        let mut session = Session {
            login,
            operations: others.copied().collect(),
            lost: None,
            follows_a_loss: false,
        };
        session.lost = session.find_loss();
        session.follows_a_loss = sessions.last().is_some_and(|before: &Session<'_>| {
            before.login.user == login.user && before.lost.is_some()
        });
        sessions.push(session);
    }
    sessions
}

impl<'a> Session<'a> {
    /// The first logout that may have happened.
    pub(super) fn logout(&self) -> Option<&'a Operation> {
        self.operations
            .iter()
            .find(|operation| operation.action == Action::LogOut && may_have_happened(operation))
            .copied()
    }

    fn find_loss(&self) -> Option<&'a Operation> {
        let logout_sent_us = self.logout().map_or(i64::MAX, |logout| logout.sent_us);
        self.operations
            .iter()
            // A refusal that came in while a logout was under way is the logout's doing.
            .find(|operation| operation.lost_its_session() && operation.done_us <= logout_sent_us)
            .copied()
    }

    /// Whether it was live at this moment, and nobody was about to end it.
    pub(super) fn was_live_at(&self, at_us: i64) -> bool {
        self.login.done_us <= at_us
            && self.logout().is_none_or(|logout| logout.sent_us > at_us)
            // A refusal that comes in later may well be this fault's doing, even if its request was on the way before.
            && self.lost.is_none_or(|lost| lost.done_us > at_us)
    }

    /// The last answer before this moment that a node gave to this session.
    pub(super) fn served_by_at(&self, at_us: i64) -> Option<&'a str> {
        let answered = |operation: &&&Operation| {
            operation.outcome == Outcome::Ok && operation.done_us <= at_us
        };
        let last = self.operations.iter().rfind(answered).copied();
        last.unwrap_or(self.login).node.as_deref()
    }

    /// What was heard of it first after a fault: `Some(true)` = accepted, `Some(false)` = refused, `None` = nothing
    /// certain. From the command on, a refusal may be the fault's doing; but an acceptance proves something only when
    /// its request was sent after the fault had taken effect.
    pub(super) fn survived(&self, commanded_us: i64, effective_us: i64) -> Option<bool> {
        self.operations.iter().find_map(|operation| {
            if self.lost.is_some_and(|lost| lost.id == operation.id) {
                (operation.done_us >= commanded_us).then_some(false)
            } else {
                let evidence = operation.was_accepted() && operation.action != Action::Replay;
                (evidence && operation.sent_us >= effective_us).then_some(true)
            }
        })
    }

    /// Whether its credential was accepted by a request sent after the logout was acknowledged.
    pub(super) fn resurrected(&self) -> bool {
        self.last_accepted_after_logout().is_some()
    }

    /// See [`super::revocation`]; `None` where nobody tried the dead credential.
    pub(super) fn outlived_logout_ms(&self, origin_unix_ms: i64) -> Option<u64> {
        let logout = self.acknowledged_logout()?;
        let tried = |operation: &&&Operation| {
            operation.sent_us >= logout.done_us && operation.outcome == Outcome::Ok
        };
        self.operations.iter().find(tried)?;
        let Some(accepted) = self.last_accepted_after_logout() else {
            return Some(0);
        };
        let seen_ms = (accepted.done_us - logout.done_us) / 1_000;
        let declared_ms = logout.alive_until_unix_s.map(|until_s| {
            let logout_unix_ms = origin_unix_ms + logout.done_us / 1_000;
            until_s.cast_signed() * 1_000 - logout_unix_ms
        });
        u64::try_from(seen_ms.max(declared_ms.unwrap_or(0))).ok()
    }

    fn acknowledged_logout(&self) -> Option<&'a Operation> {
        self.logout().filter(|logout| logout.outcome == Outcome::Ok)
    }

    fn last_accepted_after_logout(&self) -> Option<&'a Operation> {
        let logout = self.acknowledged_logout()?;
        let after = |operation: &&&Operation| {
            operation.was_accepted() && operation.sent_us >= logout.done_us
        };
        self.operations.iter().rfind(after).copied()
    }
}
