//! Everything that a strategy can refuse, once: a request ([`Error`], which `shop` turns into an answer, case by case), and
//! settings ([`Unfit`]).

/// Why a strategy did not do what was asked. Never carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is logged in under this credential: unknown, expired, ended, malformed or forged.
    /// One case for all, because the difference helps only an attacker; `why` is for logs and metrics.
    #[error("not logged in: {why}")]
    NotLoggedIn {
        /// A fixed phrase, fit for a metric label.
        why: &'static str,
    },
    /// This node holds as many sessions as it may. The bound protects those that are logged in.
    #[error("this node holds {max_sessions} sessions, the most that it may")]
    Full {
        /// The bound.
        max_sessions: usize,
    },
    /// The store did not answer in time, refused, or is not there.
    #[error("the store is unavailable: {why}")]
    StoreUnavailable {
        /// It is certain that nothing happened: the store was not asked, or refused before it changed anything.
        /// Else what was asked may have happened, or may happen yet.
        nothing_done: bool,
        /// What the store's client said; no addresses with passwords in them.
        why: String,
    },
    /// The cart has as many lines as it may.
    #[error("the cart has {max_lines} lines, the most that it may")]
    CartFull {
        /// The bound.
        max_lines: usize,
    },
    /// The cart would no longer fit into what a client carries; the cart before the change is still valid.
    #[error("the cart would take {bytes} bytes of the {max_bytes} that a client carries")]
    CartTooLarge {
        /// The size that the change would have led to.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The cart token that came along is not one of ours for this user, or is malformed.
    #[error("the cart token is not valid: {why}")]
    CartNotValid {
        /// A fixed phrase, fit for a metric label.
        why: &'static str,
    },
    /// The user has no login under the id that was to be ended.
    #[error("no such session")]
    NoSuchSession,
    /// The strategy cannot do this at all, by its nature.
    #[error("{strategy} cannot do this: {why}")]
    Unsupported {
        /// The strategy's name.
        strategy: &'static str,
        /// The reason, a sentence for people.
        why: &'static str,
    },
}

/// A setting that cannot be served: what is wrong, and what to do about it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);
