//! Life and death of logins.

use std::collections::HashMap;

use super::faults::{self, Fault};
use super::session::{End, Loss, Session};
use super::witness::{Evidence, Found, at, name};
use super::{may_have_happened, orders};
use crate::history::{Action, Meta, Operation, Outcome, Reason};
use crate::results::Anomaly;

/// Nodes reckon expiry in whole seconds of a wall clock, and the history's clock is not that one.
const SLACK_US: i64 = 1_000_000;

/// Which refusals had to be, by the user and its operation. They are neither losses nor failures.
#[derive(Clone, Debug, Default)]
pub struct Ends(HashMap<(u32, u32), End>);

impl Ends {
    pub(super) fn of(sessions: &[Session<'_>]) -> Self {
        let ended = sessions.iter().flat_map(|session| &session.ended);
        Self(
            ended
                .map(|(refused, end)| ((refused.user, refused.id), *end))
                .collect(),
        )
    }

    /// Why this operation had to be refused, if it had to.
    pub fn why(&self, operation: &Operation) -> Option<End> {
        self.0.get(&(operation.user, operation.id)).copied()
    }

    /// Whether the operation did not do what its user wanted, and should have.
    pub fn is_failure(&self, operation: &Operation) -> bool {
        operation.outcome != Outcome::Ok && self.why(operation).is_none()
    }
}

/// By user and session, and within each in the order of sending, in which `operations` are.
pub(super) fn in_order(operations: &[Operation]) -> Vec<&Operation> {
    // Dealing them out to their users takes one pass over memory; comparing operations would take many.
    let mut by_user: HashMap<u32, Vec<&Operation>> = HashMap::new();
    for operation in operations {
        by_user.entry(operation.user).or_default().push(operation);
    }
    let mut by_user: Vec<(u32, Vec<&Operation>)> = by_user.into_iter().collect();
    by_user.sort_unstable_by_key(|(user, _)| *user);
    let mut ordered = Vec::with_capacity(operations.len());
    for (_, mut of_user) in by_user {
        // Stable, and nearly sorted already: one session follows the other.
        of_user.sort_by_key(|operation| operation.session);
        ordered.append(&mut of_user);
    }
    ordered
}

/// All sessions, by user, in the order of their beginning.
pub(super) fn of<'a>(
    ordered: &'a [&'a Operation],
    orders: &HashMap<u32, Vec<&'a Operation>>,
    meta: &'a Meta,
) -> Vec<Session<'a>> {
    let mut sessions: Vec<Session<'_>> = Vec::new();
    let same = |a: &&Operation, b: &&Operation| (a.user, a.session) == (b.user, b.session);
    for group in ordered.chunk_by(same) {
        let begins = |operation: &&Operation| {
            operation.action == Action::LogIn && operation.outcome == Outcome::Ok
        };
        // Without a login of its own, a group is what a user did while it was logged out.
        let Some(begin) = group.iter().position(begins) else {
            continue;
        };
        let login = group[begin];
        let orders = orders.get(&login.user).map_or(&[][..], Vec::as_slice);
        let orders = orders::that_concern(login, orders);
        let mut session = Session::new(login, &group[begin + 1..], orders, meta);
        session.follows_a_loss = sessions
            .last()
            .is_some_and(|before| before.login.user == session.login.user && before.loss.is_some());
        sessions.push(session);
    }
    sessions
}

impl<'a> Session<'a> {
    fn new(
        login: &'a Operation,
        operations: &'a [&'a Operation],
        orders: Vec<&'a Operation>,
        meta: &'a Meta,
    ) -> Self {
        let ends = |operation: &&&Operation| {
            operation.action == Action::LogOut && may_have_happened(operation)
        };
        let mut session = Self {
            login,
            operations,
            logout: operations.iter().find(ends).copied(),
            loss: None,
            follows_a_loss: false,
            ended: Vec::new(),
            orders,
            meta,
        };
        session.find_end();
        session
    }

    /// Follows the refusals of the credential up to the first that nobody had asked for.
    fn find_end(&mut self) {
        let logout_sent_us = self.logout.map_or(i64::MAX, |logout| logout.sent_us);
        let refused = |operation: &Operation| {
            operation.status == Some(401)
                && operation.action != Action::Replay
                // A refusal that came in while a logout was under way is the logout's doing.
                && operation.done_us <= logout_sent_us
                // A node that knows nothing to end says so in another way.
                || operation.reason == Some(Reason::NothingEnded)
        };
        for (place, dead) in self.operations.iter().enumerate() {
            if !refused(dead) {
                continue;
            }
            let accepted = |operation: &&&Operation| operation.was_accepted();
            let before = self.operations[..place].iter().rfind(accepted);
            let alive = before.copied().unwrap_or(self.login);
            let refusal = Loss { alive, dead };
            if self.may_have_been_revoked(refusal) {
                self.ended.push((dead, End::Revoked));
            } else if self.may_have_expired(refusal) {
                self.ended.push((dead, End::Expired));
            } else if dead.lost_its_session() {
                self.loss = Some(refusal);
                return;
            }
        }
    }

    /// Whether it ended by the operator's order or in its time.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    fn may_have_expired(&self, refused: Loss<'_>) -> bool {
        let Some(lifetime) = self.meta.lifetime else {
            return false;
        };
        let lasted_us = |from: &Operation| refused.dead.done_us - from.sent_us + SLACK_US;
        lasted_us(self.login) >= lifetime.absolute_us()
            || lifetime
                .idle_us()
                .is_some_and(|idle_us| lasted_us(refused.alive) >= idle_us)
    }

    /// Whether it was refused after this order, and that may have been the operator's doing.
    pub(super) fn was_revoked_after(&self, order: &Operation) -> bool {
        let by_order = |(refused, end): &(&Operation, End)| {
            *end == End::Revoked && refused.done_us >= order.sent_us
        };
        self.ended.iter().any(by_order)
    }

    /// Tells what the session itself proves; its cart is judged elsewhere.
    pub(super) fn judge(&self, evidence: &mut Evidence<'_, 'a>) {
        let faults = evidence.faults;
        if let Some(loss) = self.loss {
            evidence.find(Anomaly::SessionLost, self, || Found {
                operations: vec![self.login, loss.alive, loss.dead],
                line: None,
                blamed: loss.to_blame(faults),
                sentence: format!(
                    "{} was refused, though nobody had logged out and {} had still been served.",
                    name(loss.dead),
                    name(loss.alive)
                ),
            });
        }
        if let Some(logout) = self.answered_logout()
            && let Some((accepted, kind)) = self.accepted_after(logout)
        {
            evidence.find(kind, self, || Found {
                operations: vec![self.login, logout, accepted],
                line: None,
                blamed: self
                    .missed_logout()
                    .and_then(|missed| missed.to_blame(faults)),
                sentence: self.told_acceptance(logout, accepted),
            });
        }
        self.judge_revocations(evidence);
    }

    fn told_acceptance(&self, logout: &Operation, accepted: &Operation) -> String {
        let accepted = name(accepted);
        if logout.outcome != Outcome::Ok {
            return format!(
                "{accepted} accepted a credential after {}, which that node answered by saying that it does not know the session.",
                name(logout)
            );
        }
        let declared = match self.declared_end_us(logout) {
            Some(end_us) => format!(" (declared end: {})", at(end_us)),
            None => String::new(),
        };
        format!(
            "{accepted} accepted a credential whose logout had been acknowledged at {}{declared}.",
            at(logout.done_us)
        )
    }

    /// The logout that the session's own node never heard of, because another node answered it, and what had proved before
    /// that the session was alive. `None` unless the credential was accepted afterwards.
    pub(super) fn missed_logout(&self) -> Option<Loss<'a>> {
        let logout = self.answered_logout()?;
        let (_, kind) = self.accepted_after(logout)?;
        if kind != Anomaly::Exposure || self.declared_end_us(logout).is_some() {
            return None;
        }
        let before = &self.operations[..self.sent_before(logout.sent_us)];
        let alive = before.iter().rfind(|operation| operation.was_accepted());
        Some(Loss {
            alive: alive.copied().unwrap_or(self.login),
            dead: logout,
        })
    }

    /// Whether it was live at this moment, and nobody was about to end it.
    fn was_live_at(&self, at_us: i64) -> bool {
        self.login.done_us <= at_us
            && self.logout.is_none_or(|logout| logout.sent_us > at_us)
            // A refusal that comes in later may well be this fault's doing, even if its request was on the way before.
            && self.loss.is_none_or(|loss| loss.dead.done_us > at_us)
    }

    /// Whether it was alive when `fault` came, and was accepted by a request sent after it had taken effect.
    pub(super) fn outlived(&self, fault: &Fault<'_>) -> bool {
        let accepted =
            |operation: &&Operation| operation.was_accepted() && operation.action != Action::Replay;
        self.was_live_at(fault.commanded_us) && {
            let from = self.sent_before(fault.in_effect_us());
            self.operations[from..].iter().any(accepted)
        }
    }

    /// The last answer before this moment that a node gave to this session.
    pub(super) fn served_by_at(&self, at_us: i64) -> Option<&'a str> {
        let answered = |operation: &&&Operation| {
            operation.outcome == Outcome::Ok && operation.done_us <= at_us
        };
        let before = &self.operations[..self.sent_before(at_us)];
        let last = before.iter().rfind(answered).copied();
        last.unwrap_or(self.login).node.as_deref()
    }

    /// How many of the operations were sent before this moment.
    fn sent_before(&self, at_us: i64) -> usize {
        self.operations
            .partition_point(|operation| operation.sent_us < at_us)
    }

    /// See [`super::revocation`]; `None` where nobody tried the dead credential.
    pub(super) fn outlived_logout_ms(&self) -> Option<u64> {
        let logout = self.answered_logout()?;
        let tried = |operation: &&&Operation| operation.outcome == Outcome::Ok;
        self.sent_after(logout).iter().find(tried)?;
        let Some(accepted) = self.last_accepted_after(logout) else {
            return Some(0);
        };
        let end_us = self.declared_end_us(logout).unwrap_or(i64::MIN);
        u64::try_from((accepted.done_us.max(end_us) - logout.done_us) / 1_000).ok()
    }

    fn answered_logout(&self) -> Option<&'a Operation> {
        self.logout.filter(|logout| logout.is_answered_logout())
    }

    /// Operations that were sent after this one was answered.
    pub(super) fn sent_after(&self, operation: &Operation) -> &'a [&'a Operation] {
        &self.operations[self.sent_before(operation.done_us)..]
    }

    /// The last request that was accepted although it was sent after the order to end was answered.
    pub(super) fn last_accepted_after(&self, order: &Operation) -> Option<&'a Operation> {
        let after = self.sent_after(order);
        let accepted = |operation: &&&Operation| operation.was_accepted();
        after.iter().rfind(accepted).copied()
    }

    /// A request that was accepted although it was sent after this logout or revocation was answered, and what that is: the
    /// last one, or one that the strategy does not own up to.
    pub(super) fn accepted_after(&self, order: &Operation) -> Option<(&'a Operation, Anomaly)> {
        let after = self.sent_after(order).iter().rev().copied();
        let mut accepted = after.filter(|operation| operation.was_accepted());
        let last = accepted.next()?;
        let mut all = std::iter::once(last).chain(accepted);
        let undeclared = all.find(|accepted| !self.declared_alive(order, accepted));
        Some(match undeclared {
            Some(accepted) => (accepted, Anomaly::Resurrection),
            None => (last, Anomaly::Exposure),
        })
    }

    /// Whether the strategy owns up to the credential's life after this logout or revocation: the node said until when, or that
    /// it cannot end it, or the order was given to another node.
    pub(super) fn declared_alive(&self, order: &Operation, accepted: &Operation) -> bool {
        !self.meta.properties.revocable_at_once
            && match self.declared_end_us(order) {
                Some(end_us) => accepted.sent_us < end_us + SLACK_US,
                None => order.outcome == Outcome::Fail || accepted.node != order.node,
            }
    }

    /// When the credential will end that this order left alive, as the node declared it, on the history's clock.
    fn declared_end_us(&self, order: &Operation) -> Option<i64> {
        let until_unix_ms = i64::try_from(order.alive_until_unix_s?)
            .ok()?
            .checked_mul(1_000)?;
        (until_unix_ms - self.meta.origin_unix_ms).checked_mul(1_000)
    }
}

impl<'a> Loss<'a> {
    /// The fault that explains it.
    pub(super) fn to_blame<'f>(self, faults: &'f [Fault<'a>]) -> Option<&'f Fault<'a>> {
        faults::to_blame(faults, self.alive, self.dead)
    }
}
