//! What each fault cost: of the sessions and lines that were alive when it came, how many are gone because of it.

use super::carts::Cart;
use super::faults::Fault;
use super::session::Session;

/// One fault's price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sessions alive when the fault was commanded, of which something was heard after it took effect; and those begun
    /// while it lasted that it cost.
    pub sessions_live: u64,
    /// Of these: the target had served them last.
    pub sessions_on_target: u64,
    /// Of `sessions_live`: refused later, and this fault is to blame. Each lost session counts for one fault.
    pub sessions_lost: u64,
    /// Of `sessions_lost`: the target had served them last.
    pub sessions_lost_on_target: u64,
    /// Lines in carts of `sessions_live`, acknowledged before the fault and not removed before it; and those added while it
    /// lasted that it cost.
    pub cart_lines_acknowledged: u64,
    /// Of these: lines of sessions that the target had served last.
    pub cart_lines_on_target: u64,
    /// Of `cart_lines_acknowledged`: gone for good, though nobody removed them, and this fault is to blame. Each lost line
    /// counts for one fault.
    pub cart_lines_lost: u64,
    /// Credentials that were accepted after a logout which the session's own node never heard of, and this fault is to blame:
    /// it led the user elsewhere.
    pub exposures: u64,
}

/// Adds what each fault cost one session to `losses`, which has an entry for each of `faults`.
pub(super) fn add(
    losses: &mut [Losses],
    faults: &[Fault<'_>],
    session: &Session<'_>,
    cart: &Cart<'_>,
) {
    let blamed = session.loss.and_then(|loss| loss.to_blame(faults));
    let missed = session
        .missed_logout()
        .and_then(|missed| missed.to_blame(faults));
    let is = |fault: &Fault<'_>, blamed: Option<&Fault<'_>>| {
        blamed.is_some_and(|blamed| blamed.index == fault.index)
    };
    for (sum, fault) in losses.iter_mut().zip(faults) {
        sum.exposures += u64::from(is(fault, missed));
        let lost = is(fault, blamed);
        let is_concerned = lost || session.outlived(fault); // If not, nobody can say.
        let server = match session.loss {
            Some(ended) if lost => ended.alive.node.as_deref(),
            _ => session.served_by_at(fault.commanded_us),
        };
        let is_target = |node: Option<&str>| node.is_some_and(|node| fault.hits(node));
        let on_target = is_target(server);
        if is_concerned {
            sum.sessions_live += 1;
            sum.sessions_on_target += u64::from(on_target);
            sum.sessions_lost += u64::from(lost);
            sum.sessions_lost_on_target += u64::from(lost && on_target);
        }
        for line in cart.lines() {
            let lost = is(fault, line.to_blame(faults));
            if !(lost || is_concerned && line.is_owed_at(fault.commanded_us)) {
                continue;
            }
            let on_target = match line.lost {
                Some(gone) if lost => is_target(gone.alive.node.as_deref()),
                _ => on_target,
            };
            sum.cart_lines_acknowledged += 1;
            sum.cart_lines_on_target += u64::from(on_target);
            sum.cart_lines_lost += u64::from(lost);
        }
    }
}
