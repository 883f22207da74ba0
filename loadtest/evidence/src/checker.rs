//! The checker: what a history proves about sessions and carts. Pure; it reads nothing but the history.
//!
//! An operation has an interval, from sending to the end of its answer, and an outcome (Jepsen's: `ok`, `fail`, `info`).
//! What is `info` may have happened, then or later, so it excuses both. Each anomaly is told once, with a [`Witness`].
//!
//! **Sessions**
//! * *Session lost*: a node refuses a credential (401) that was neither logged out nor revoked nor expired.
//! * *Resurrection*: a credential is accepted by a request that was sent after its logout was acknowledged, or an operator's
//!   revocation of all logins of its user.
//! * *Exposure*: the same where the strategy declares that it cannot revoke at once: until the end that the node
//!   declared at the logout, or, where it declared none, by another node than the one that answered it.
//!   After that end, or by that very node, it is a resurrection there too. Where a node says that its strategy cannot revoke
//!   (501), every use after that answer is an exposure. A node that does not know the session answers a logout with 200
//!   instead of 204: that acknowledges nothing, but the user has left, so every use after that answer is judged the same.
//!
//! A login may have ended by a revocation when a node may have done it, did not say that it ended nothing, and the credential
//! was not (as declared) accepted afterwards all the same. Such an end, and that of a lifetime, is no loss and no failure.
//!
//! **Carts.** A cart belongs to one session, and each line has an id of its own, so that every line can be followed
//! alone. Every answer that shows the cart is a read. A line is *known* once its adding was acknowledged or a read
//! showed it; from then on every read must show it, until a removal that may have happened was sent. A line is *gone* once
//! its removal was acknowledged, or may have happened and a read lacks the line; from then on no read may show it.
//! A read that breaks this is judged by what the reads after it show:
//!
//! | the change that it does not show | shown again later | never again |
//! | --- | --- | --- |
//! | an adding or removal that no read had shown before | *stale read* | *line lost* (adding), *rollback* (removal) |
//! | an adding or removal that an earlier read had shown | *rollback* | *line lost* (adding), *rollback* (removal) |
//!
//! So a stale read breaks "read your writes", a rollback breaks "never read backwards" or undoes a removal for good, and
//! whatever is lost for good is lost, however it was seen before. (The answer to a change acknowledges the change; it
//! takes another answer to have *shown* it.) All known lines of a lost session are lost.
//! * *Duplicate*: a read shows a line twice.
//! * *Phantom*: a read shows a line of the user's own that the session did not put there before the read ended: its
//!   adding certainly failed, or another session did it.
//! * *Leak*: an answer shows another user's line, or calls the user by another name.
//! * *Unknown*: a cart with acknowledged lines that nobody read after its last change; and if it was not logged out,
//!   after all faults were over. Never fine, never wrong.
//!
//! **Weaker than linearizability, on purpose:** lines are judged one by one, so an order that only two lines together
//! betray goes unseen; and the answer to a change is a read at any moment of its interval.
//!
//! **Cost.** Near linear: each operation is looked at once, each read costs its own length, each fault one search in
//! each session.
//!
//! # Layout
//! * `sessions`: life and death of logins. `revocations`: an operator's part in it. `carts`: the rules for lines. `faults`: which fault is to blame.
//!   `losses`: what each fault cost. `witness`: counts, and proof that a person can follow.
//!
//! When something happened in time (unavailable, recovered) is the business of [`crate::statistics`].

mod carts;
mod faults;
mod losses;
mod orders;
mod revocations;
mod session;
mod sessions;
mod witness;

use crate::history::{History, Operation, Outcome};
use crate::results::{Anomalies, Revocation, Revocations, Witness};
pub use losses::Losses;
pub use session::End;
use session::Session;
pub use sessions::Ends;
use witness::Evidence;

/// What the history proves.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Counts of everything that must not happen.
    pub anomalies: Anomalies,
    /// Proof of `anomalies`: of each kind the first few.
    pub witnesses: Vec<Witness>,
    /// What each fault cost, in the order of [`crate::history::FaultEvent::fault`].
    pub losses: Vec<Losses>,
    /// Logins of users that had lost their session.
    pub logins_again: u64,
    /// How long credentials outlived their logout; `None` where nobody tried.
    pub revocation_ms: Option<Revocation>,
    /// What became of an operator's revocations; `None` where there were none.
    pub revocations: Option<Revocations>,
    /// The refusals that had to be.
    pub ends: Ends,
}

/// Judges a history.
pub fn check(history: &History) -> Verdict {
    let ordered = sessions::in_order(&history.operations);
    let orders = orders::by_user(&history.revocations);
    let sessions = sessions::of(&ordered, &orders, &history.meta);
    let faults = faults::of(&history.faults);
    let mut evidence = Evidence::new(&faults);
    let mut losses = vec![Losses::default(); faults.len()];
    for session in &sessions {
        session.judge(&mut evidence);
        let cart = carts::check(session, history.meta.final_read_us, &mut evidence);
        losses::add(&mut losses, &faults, session, &cart);
    }
    let again = sessions.iter().filter(|session| session.follows_a_loss);
    Verdict {
        logins_again: again.count() as u64,
        revocation_ms: lived_on(sessions.iter().filter_map(Session::outlived_logout_ms)),
        revocations: revocations::sum(&history.revocations, &sessions),
        ends: Ends::of(&sessions),
        losses,
        anomalies: evidence.anomalies,
        witnesses: evidence.witnesses,
    }
}

/// Milliseconds from the acknowledged end to the last moment of the credential: 0 when it was refused at once; where it was
/// accepted, the end that the node itself declared, or the last time that it was seen to work.
fn lived_on(alive_ms: impl Iterator<Item = u64>) -> Option<Revocation> {
    let mut alive_ms: Vec<u64> = alive_ms.collect();
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

#[cfg(test)]
mod tests;
