//! Did it happen? The one place that decides, so that the decision can be read and tested rule by rule.
//!
//! | what came back | outcome | because |
//! | --- | --- | --- |
//! | no connection to the load balancer | fail | nothing was sent |
//! | no connection begun, for a lack on this side | fail | nothing was sent; counts for nobody ([`crate::own_side`]) |
//! | time out, broken connection | info | the request may have arrived |
//! | 2xx of a node, whole and understood | ok | |
//! | 2xx of a node, cut off or not understood | info | it happened, but what it said is lost |
//! | 2xx but 204 to a logout | info | the node does not know the session, which another one may still hold |
//! | 4xx of a node | fail | a node refuses before it changes anything |
//! | 4xx of a node, to a change that was sent twice | info | the node before may have done it |
//! | 401 to a replay | ok | the answer that a dead credential should get |
//! | 501 of a node | fail | its strategy has no such thing |
//! | 503 of a node that says `x-outcome: nothing-done` | fail | it knows |
//! | the same, to a change that was sent twice | info | the node before may have done it |
//! | any other 5xx of a node | info | it may have touched the store first |
//! | 503 of the load balancer that says so | fail | nothing was sent to any node |
//! | anything else from the load balancer (502, 504 …) | info | it may have sent the request before it gave up |
//!
//! A node stamps its answers with `x-node`; an answer without stamp is the load balancer's. Ours says whether anything was
//! done; another one does not, so its 503 leaves it open. The changes that a load balancer repeats after it sent them are
//! removals, and additions with an `Idempotency-Key`.

use evidence::history::{Action, Outcome, Reason};

/// How the transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NotConnected,
    /// No connection was begun, for this reason of our own side.
    OwnSide(Reason),
    TimedOut,
    Broken,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Why the answer is missing or cut off.
    pub(super) trouble: Option<Trouble>,
    /// The status, if the head arrived.
    pub(super) status: Option<u16>,
    /// Whether a node stamped it.
    pub(super) stamped: bool,
    /// How often the load balancer asked another node.
    pub(super) retries: u32,
    /// Whether the body says what this action's answer should say.
    pub(super) understood: bool,
    /// Whether it says that nothing was done.
    pub(super) nothing_done: bool,
}

/// Decides.
pub(super) fn judge(action: Action, answer: Answer) -> (Outcome, Option<Reason>) {
    let Some(status) = answer.status else {
        return match answer.trouble {
            Some(Trouble::NotConnected) => (Outcome::Fail, Some(Reason::NotConnected)),
            Some(Trouble::OwnSide(reason)) => (Outcome::Fail, Some(reason)),
            Some(Trouble::TimedOut) => (Outcome::Info, Some(Reason::TimedOut)),
            Some(Trouble::Broken) | None => (Outcome::Info, Some(Reason::Broken)),
        };
    };
    let may_be_done = answer.retries > 0 && matches!(action, Action::AddLine | Action::RemoveLine);
    match (answer.stamped, status) {
        (true, 401) if action == Action::Replay => (Outcome::Ok, None),
        (true, 400..=499) if may_be_done => (Outcome::Info, Some(Reason::Refused)),
        (true, 400..=499 | 501) => (Outcome::Fail, Some(Reason::Refused)),
        (true, 503) if answer.nothing_done && !may_be_done => {
            (Outcome::Fail, Some(Reason::NodeFailed))
        }
        (true, 500..=599) => (Outcome::Info, Some(Reason::NodeFailed)),
        (true, 200..=299) => match answer.trouble {
            Some(Trouble::TimedOut) => (Outcome::Info, Some(Reason::TimedOut)),
            Some(_) => (Outcome::Info, Some(Reason::Broken)),
            None if answer.understood && action == Action::LogOut && status != 204 => {
                (Outcome::Info, Some(Reason::NothingEnded))
            }
            None if answer.understood => (Outcome::Ok, None),
            None => (Outcome::Info, Some(Reason::NotUnderstood)),
        },
        (false, 503) if answer.nothing_done => (Outcome::Fail, Some(Reason::NoNode)),
        (false, 400..=599) => (Outcome::Info, Some(Reason::BadGateway)),
        _ => (Outcome::Info, Some(Reason::NotUnderstood)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{AddLine, Browse, LogIn, LogOut, ReadCart, RemoveLine, Replay, Revoke};
    use Outcome::{Fail, Info, Ok};

    fn transport(trouble: Trouble) -> Answer {
        Answer {
            trouble: Some(trouble),
            status: None,
            stamped: false,
            retries: 0,
            understood: false,
            nothing_done: false,
        }
    }

    fn node(status: u16) -> Answer {
        Answer {
            trouble: None,
            status: Some(status),
            stamped: true,
            retries: 0,
            understood: true,
            nothing_done: false,
        }
    }

    fn balancer(status: u16) -> Answer {
        Answer {
            stamped: false,
            understood: false,
            ..node(status)
        }
    }

    fn check(action: Action, answer: Answer, outcome: Outcome, reason: Option<Reason>) {
        assert_eq!(
            judge(action, answer),
            (outcome, reason),
            "{action:?} {answer:?}"
        );
    }

    #[test]
    fn what_was_never_sent_did_not_happen() {
        check(
            AddLine,
            transport(Trouble::NotConnected),
            Fail,
            Some(Reason::NotConnected),
        );
        check(
            AddLine,
            transport(Trouble::OwnSide(Reason::NoOpenFile)),
            Fail,
            Some(Reason::NoOpenFile),
        );
    }

    #[test]
    fn what_was_sent_and_not_answered_may_have_happened() {
        check(
            AddLine,
            transport(Trouble::TimedOut),
            Info,
            Some(Reason::TimedOut),
        );
        check(
            LogIn,
            transport(Trouble::Broken),
            Info,
            Some(Reason::Broken),
        );
    }

    #[test]
    fn a_whole_answer_of_a_node_happened() {
        check(AddLine, node(201), Ok, None);
        check(LogOut, node(204), Ok, None);
    }

    #[test]
    fn only_a_204_says_that_the_session_ended() {
        check(LogOut, node(200), Info, Some(Reason::NothingEnded));
        let senseless = Answer {
            understood: false,
            ..node(200)
        };
        check(LogOut, senseless, Info, Some(Reason::NotUnderstood));
    }

    #[test]
    fn a_cut_or_senseless_answer_leaves_it_open() {
        let cut = |trouble| Answer {
            trouble: Some(trouble),
            understood: false,
            ..node(200)
        };
        check(
            ReadCart,
            cut(Trouble::TimedOut),
            Info,
            Some(Reason::TimedOut),
        );
        check(ReadCart, cut(Trouble::Broken), Info, Some(Reason::Broken));
        let senseless = Answer {
            understood: false,
            ..node(200)
        };
        check(ReadCart, senseless, Info, Some(Reason::NotUnderstood));
        check(Browse, node(302), Info, Some(Reason::NotUnderstood));
    }

    #[test]
    fn a_refusal_of_a_node_changed_nothing() {
        for status in [400, 401, 404, 413, 421, 422, 429] {
            check(AddLine, node(status), Fail, Some(Reason::Refused));
        }
    }

    #[test]
    fn a_dead_credential_that_is_refused_is_what_the_replay_wanted() {
        check(Replay, node(401), Ok, None);
        check(Replay, node(200), Ok, None);
        check(Replay, balancer(401), Info, Some(Reason::BadGateway));
    }

    #[test]
    fn a_strategy_that_cannot_revoke_did_nothing() {
        check(Revoke, node(200), Ok, None);
        check(Revoke, node(501), Fail, Some(Reason::Refused));
        check(Revoke, node(503), Info, Some(Reason::NodeFailed));
        check(Revoke, balancer(501), Info, Some(Reason::BadGateway));
    }

    #[test]
    fn a_failure_of_a_node_may_have_touched_the_store() {
        check(AddLine, node(500), Info, Some(Reason::NodeFailed));
        check(AddLine, node(503), Info, Some(Reason::NodeFailed));
    }

    #[test]
    fn a_change_that_is_refused_after_a_retry_may_have_happened() {
        let retried = Answer {
            retries: 1,
            ..node(404)
        };
        for action in [AddLine, RemoveLine] {
            check(action, node(404), Fail, Some(Reason::Refused));
            check(action, retried, Info, Some(Reason::Refused));
        }
        // Repeated only when nothing was done the first time, or when repeating changes nothing.
        for action in [LogIn, LogOut, ReadCart, Browse] {
            check(action, retried, Fail, Some(Reason::Refused));
        }
    }

    #[test]
    fn a_node_that_says_so_did_nothing() {
        let none = |retries| Answer {
            nothing_done: true,
            retries,
            ..node(503)
        };
        for action in [LogIn, AddLine, RemoveLine, ReadCart, Revoke] {
            check(action, none(0), Fail, Some(Reason::NodeFailed));
        }
        check(LogIn, none(2), Fail, Some(Reason::NodeFailed));
        for action in [AddLine, RemoveLine] {
            check(action, none(2), Info, Some(Reason::NodeFailed));
        }
    }

    #[test]
    fn a_balancer_that_says_so_sent_nothing() {
        for retries in [0, 2] {
            let none = Answer {
                nothing_done: true,
                retries,
                ..balancer(503)
            };
            for action in [LogIn, AddLine, ReadCart, RemoveLine, Replay] {
                check(action, none, Fail, Some(Reason::NoNode));
            }
        }
    }

    #[test]
    fn a_503_of_a_balancer_that_does_not_say_so_leaves_it_open() {
        check(AddLine, balancer(503), Info, Some(Reason::BadGateway));
        check(ReadCart, balancer(503), Info, Some(Reason::BadGateway));
    }

    #[test]
    fn only_with_a_503_nothing_was_done_whatever_a_body_says() {
        let claims = |status| Answer {
            nothing_done: true,
            ..balancer(status)
        };
        check(AddLine, claims(502), Info, Some(Reason::BadGateway));
        let of_a_node = Answer {
            nothing_done: true,
            ..node(500)
        };
        check(AddLine, of_a_node, Info, Some(Reason::NodeFailed));
    }

    #[test]
    fn a_balancer_that_gives_up_may_have_sent_it() {
        for status in [502, 504, 500, 408, 400, 413] {
            check(AddLine, balancer(status), Info, Some(Reason::BadGateway));
        }
        check(Browse, balancer(200), Info, Some(Reason::NotUnderstood));
    }
}
