//! The checker: what a history proves about sessions and carts. Pure; it reads nothing but the history.
//!
//! Definitions follow Jepsen. An operation has an interval, from sending to the end of its answer, and an outcome.
//! * A **session** is lost when a node refuses its credential (401) although no logout of it was ever sent.
//! * A **cart** belongs to one session. Each line has an id of its own, so every read can be judged alone:
//!   * *must* be in it: lines known before the read began (acknowledged or seen) and not possibly removed before it
//!     ended. Missing now and seen later = a stale read; missing for ever = a lost line.
//!   * *may* be in it: lines whose adding began before the read ended, unless it certainly failed. Another user's line
//!     is a leak; a line twice is a duplicate.
//! * A **dead credential** that is accepted by a request sent after its logout was acknowledged is a resurrection.
//! * No verdict without a final read: a cart that nobody read after its last change is *unknown*, never fine.
//!
//! An outcome `info` may or may not have happened, so it excuses both. The cost is near linear: each operation is
//! looked at once, each read costs its own length.
//!
//! * `carts`: the rules for lines. `sessions`: life and death of logins. `losses`: what each fault cost.
//!
//! When something happened in time (unavailable, recovered) is the business of [`crate::statistics`].

mod carts;
mod losses;
mod sessions;

use crate::history::{Action, History, LineId, Operation, Outcome};
use crate::results::{Anomalies, Revocation};
pub use losses::Losses;
use sessions::Session;

/// What the history proves.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Counts of everything that must not happen.
    pub anomalies: Anomalies,
    /// What each fault cost, in the order of [`crate::history::FaultEvent::fault`].
    pub losses: Vec<Losses>,
    /// Logins of users that had lost their session.
    pub logins_again: u64,
    /// How long credentials outlived their logout; `None` where nobody tried.
    pub revocation_ms: Option<Revocation>,
}

/// Judges a history.
pub fn check(history: &History) -> Verdict {
    let sessions = sessions::of(history);
    let carts: Vec<carts::Findings> = sessions
        .iter()
        .map(|session| carts::check(session, history.meta.final_read_us))
        .collect();
    let sum = |count: fn(&carts::Findings) -> u64| carts.iter().map(count).sum();
    let resurrections = sessions.iter().filter(|session| session.resurrected());
    Verdict {
        anomalies: Anomalies {
            session_lost: count(sessions.iter().filter(|session| session.lost.is_some())),
            line_lost: sum(|cart| cart.lost.len() as u64),
            stale_read: sum(|cart| cart.stale),
            duplicate: sum(|cart| cart.duplicates),
            leak: sum(|cart| cart.leaks),
            resurrection: count(resurrections),
            unknown: sum(|cart| u64::from(cart.unknown)),
        },
        losses: losses::of(history, &sessions, &carts),
        logins_again: count(sessions.iter().filter(|session| session.follows_a_loss)),
        revocation_ms: revocation(&sessions, history.meta.origin_unix_ms),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}

/// Milliseconds from the acknowledged logout to the end of the credential: 0 when it was refused at once; where it was
/// accepted, the end that the node itself declared, or the last time that it was seen to work.
fn revocation(sessions: &[Session<'_>], origin_unix_ms: i64) -> Option<Revocation> {
    let mut alive_ms: Vec<u64> = sessions
        .iter()
        .filter_map(|session| session.outlived_logout_ms(origin_unix_ms))
        .collect();
    alive_ms.sort_unstable();
    Some(Revocation {
        p50: *alive_ms.get(alive_ms.len().checked_sub(1)? / 2)?,
        max: *alive_ms.last()?,
    })
}

/// Whether an operation may have taken effect.
fn may_have_happened(operation: &Operation) -> bool {
    operation.outcome != Outcome::Fail
}

/// The line that an operation of this kind is about.
fn line_of(operation: &Operation, action: Action) -> Option<LineId> {
    operation.line.filter(|_| operation.action == action)
}

#[cfg(test)]
mod tests;
