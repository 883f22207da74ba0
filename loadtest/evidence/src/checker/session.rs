//! One login and its end, as the checker sees them.

use crate::history::{Meta, Operation};

/// One login and everything that was done under it.
pub(super) struct Session<'a> {
    /// The login that began it.
    pub(super) login: &'a Operation,
    /// Everything after it, in the order of sending; replays after its logout too.
    pub(super) operations: &'a [&'a Operation],
    /// The first logout that may have happened.
    pub(super) logout: Option<&'a Operation>,
    /// How it was lost.
    pub(super) loss: Option<Loss<'a>>,
    /// Whether its user had lost the session before.
    pub(super) follows_a_loss: bool,
    /// Refusals that had to be: it had expired or was revoked.
    pub(super) ended: Vec<(&'a Operation, End)>,
    /// The operator's calls about its user that may concern it, in the order of sending.
    pub(super) orders: Vec<&'a Operation>,
    pub(super) meta: &'a Meta,
}

/// Why a credential had to be refused, though its user had not logged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its lifetime was over.
    Expired,
    /// An operator had ended it.
    Revoked,
}

/// The end of a session, or of a line in its cart, that should have lived on.
#[derive(Clone, Copy)]
pub(super) struct Loss<'a> {
    /// What proved last that it was there.
    pub(super) alive: &'a Operation,
    /// The answer by which the loss showed first: of a node that did not know it any more, or never had.
    pub(super) dead: &'a Operation,
}
