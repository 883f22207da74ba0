//! What a node's answer means for the way of its request: is another node asked all the same, and what becomes of
//! the client's pin?
//!
//! **The request.** A 503 that says `x-outcome: nothing-done` is offered to another node whatever the method, one that says
//! anything else only where the request may be repeated. A client that was sent to its own node stays with that answer,
//! for its session lives there; unless the node says that it has none of it (`ended`).
//!
//! **The pin** (a listener with `pin = "session"`). It is given by the answer that starts a session, for the node that
//! gave it, and taken by the answer that ends it. Nothing else moves it: the answer to another request of the same browser
//! may come later than the login's, and a cookie cannot tell. So a refusal (401) of a dead session takes no pin either; it
//! does no harm at a node that takes new sessions anyway, and the next login replaces it. Only a node that drains is rid of
//! such a client at once.

use crate::{
    config::PinRule,
    http1::{
        answer::Answer,
        fields::{Outcome, SessionEvent},
        request::Request,
    },
    node::Node,
    progress::Progress,
};

/// Should the request be offered to another node, although this one answered? Whether it may be is up to `route`.
pub(crate) fn wants_another(answer: &Answer, request: &Request, progress: &Progress) -> bool {
    let belongs_here = progress.is_at_own_node() && answer.event != Some(SessionEvent::Ended);
    answer.status == 503
        && !belongs_here
        && (answer.outcome == Some(Outcome::NothingDone) || request.is_idempotent)
}

/// What becomes of the client's pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinChange {
    /// It stays as it is, if there is one.
    None,
    /// The client is pinned to the node that answered.
    Give,
    /// It is given once more, with a new date.
    Renew,
    /// The client is released.
    Take,
}

/// Decides by the answer of `node`.
pub(crate) fn pin_change(
    rule: PinRule,
    answer: &Answer,
    request: &Request,
    progress: &Progress,
    node: &Node,
) -> PinChange {
    let is_at_own = progress.is_at_own_node();
    let is_success = (200..400).contains(&answer.status);
    match (rule, answer.event) {
        (PinRule::Everybody, _) if !is_at_own => PinChange::Give,
        (PinRule::Session, Some(SessionEvent::Started)) => PinChange::Give,
        (PinRule::Session, Some(SessionEvent::Ended))
            if request.pins.is_there && (is_success || (is_at_own && !node.takes_new())) =>
        {
            PinChange::Take
        }
        // A client that keeps coming keeps its node.
        (PinRule::Everybody, _) | (PinRule::Session, None)
            if is_at_own && is_success && progress.is_ageing =>
        {
            PinChange::Renew
        }
        _ => PinChange::None,
    }
}
