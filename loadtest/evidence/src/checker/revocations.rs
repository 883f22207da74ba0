//! What an operator's revocations did: which sessions they may have ended, and which credentials outlived one.
//!
//! A session's `orders` are the operator's calls about its user, but for those that were over before its login began. A session
//! is *concerned* by an order that was sent after its login was acknowledged and answered before its logout began. Only of
//! these it can be said that the credential should be dead.

use super::session::{Loss, Session};
use super::witness::{Evidence, Found, at, name};
use super::{lived_on, may_have_happened};
use crate::history::{Operation, Outcome};
use crate::results::{Anomaly, Revocations};

/// What became of all orders; `None` where there were none.
pub(super) fn sum(orders: &[Operation], sessions: &[Session<'_>]) -> Option<Revocations> {
    if orders.is_empty() {
        return None;
    }
    let count = |fits: fn(&Operation) -> bool| orders.iter().filter(|one| fits(one)).count() as u64;
    let mut sum = Revocations {
        asked: orders.len() as u64,
        acknowledged: count(|order| order.outcome == Outcome::Ok),
        unsupported: count(Operation::is_unsupported),
        sessions: 0,
        exposures: 0,
        resurrections: 0,
        alive_ms: lived_on(sessions.iter().filter_map(Session::outlived_revocation_ms)),
    };
    for session in sessions {
        sum.sessions += u64::from(session.outlived_revocation_ms().is_some());
        match session.outlived_revocation() {
            Some((.., Anomaly::Exposure)) => sum.exposures += 1,
            Some(_) => sum.resurrections += 1,
            None => {}
        }
    }
    Some(sum)
}

impl<'a> Session<'a> {
    /// Whether a refusal may be an order's doing. One that the credential outlived as declared has not ended it.
    pub(super) fn may_have_been_revoked(&self, refused: Loss<'_>) -> bool {
        let outlived = |order: &Operation| {
            order.outcome == Outcome::Ok
                && refused.alive.sent_us >= order.done_us
                && self.declared_alive(order, refused.alive)
        };
        self.orders.iter().any(|order| {
            may_have_happened(order)
                && order.revoked != Some(0)
                && order.sent_us <= refused.dead.done_us
                && !outlived(order)
        })
    }

    /// Tells of a credential that outlived an order: once, however many there were.
    pub(super) fn judge_revocations(&self, evidence: &mut Evidence<'_, 'a>) {
        let Some((order, accepted, kind)) = self.outlived_revocation() else {
            return;
        };
        evidence.find(kind, self, || Found {
            operations: vec![self.login, order, accepted],
            line: None,
            blamed: None,
            sentence: format!(
                "{} accepted a credential though {} at {}.",
                name(accepted),
                if order.outcome == Outcome::Ok {
                    "a revocation of all logins of its user had been acknowledged"
                } else {
                    "an operator had asked for the end of all logins of its user, which this strategy cannot do,"
                },
                at(order.done_us)
            ),
        });
    }

    /// The order that the credential outlived, the request that shows it, and what that is: the first that the strategy does
    /// not own up to, or else the first.
    fn outlived_revocation(&self) -> Option<(&'a Operation, &'a Operation, Anomaly)> {
        let outlived: Vec<_> = self
            .answered_orders()
            .filter_map(|order| {
                let (accepted, kind) = self.accepted_after(order)?;
                Some((order, accepted, kind))
            })
            .collect();
        let undeclared = outlived
            .iter()
            .find(|(.., kind)| *kind == Anomaly::Resurrection);
        undeclared.or(outlived.first()).copied()
    }

    /// From the answer to the first order to the last time that the credential was seen to work. `None` where no order
    /// concerned the session, or where nobody can say: nobody tried the credential afterwards, or it was refused for another
    /// reason.
    fn outlived_revocation_ms(&self) -> Option<u64> {
        let order = self.answered_orders().next()?;
        let Some(accepted) = self.last_accepted_after(order) else {
            return self.was_revoked_after(order).then_some(0);
        };
        u64::try_from((accepted.done_us - order.done_us) / 1_000).ok()
    }

    /// The orders that concern the session and were answered: by "done", or, where the strategy cannot, by just that.
    fn answered_orders(&self) -> impl Iterator<Item = &'a Operation> {
        let revocable = self.meta.properties.revocable_at_once;
        let begun_us = self.login.done_us;
        let ended_us = self.logout.map_or(i64::MAX, |logout| logout.sent_us);
        self.orders.iter().copied().filter(move |order| {
            (order.outcome == Outcome::Ok || !revocable && order.is_unsupported())
                && begun_us <= order.sent_us
                && order.done_us <= ended_us
        })
    }
}
