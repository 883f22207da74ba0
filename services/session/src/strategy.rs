//! The trait that every strategy implements.

use async_trait::async_trait;
use serde::Serialize;

use crate::{About, Cart, Change, Credential, Error, Throttle};

/// The most logins that [`Strategy::sessions`] lists.
pub const MAX_LISTED: usize = 1000;

/// A way to keep the state of logins. All nodes of a cluster run the same one.
///
/// Methods take a [`Credential`] as the client presented it and judge it themselves, so that a caller cannot forget to. Any of
/// them may hand state back to the client in its [`Answer`].
#[async_trait]
pub trait Strategy: Send + Sync + 'static {
    /// What this strategy says of itself.
    fn about(&self) -> &'static About;

    /// Starts a session for `user`, whose password the caller has checked, with an empty cart; the answer holds its credential.
    /// What was `presented` is dead afterwards wherever the strategy can kill it (session fixation).
    async fn login(
        &self,
        user: &str,
        presented: Option<&Credential>,
    ) -> Result<Answer<Session>, Error>;

    /// Who is logged in. Slides the idle expiry where the strategy has one.
    async fn authenticate(&self, credential: &Credential) -> Result<Answer<Session>, Error>;

    /// Authenticates and reads the cart, in one step.
    async fn cart(&self, credential: &Credential) -> Result<Answer<Cart>, Error>;

    /// Authenticates and changes the cart, in one atomic step: of two changes at the same time, none is lost.
    /// (`jwt` cannot promise that: the client holds the cart, and its last answer wins.)
    async fn change(&self, credential: &Credential, change: Change) -> Result<Answer<Cart>, Error>;

    /// Exchanges a refresh token for the next access token and refresh token.
    async fn refresh(&self, _credential: &Credential) -> Result<Answer<Session>, Error> {
        Err(Error::Unsupported {
            strategy: self.about().name,
            why: "it has no refresh token",
        })
    }

    /// Ends the session wherever the strategy can, and says what that achieved. Ending what is not there succeeds, but
    /// promises no more than this node knows.
    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error>;

    /// The logins of the user who presents `credential`, at most [`MAX_LISTED`].
    async fn sessions(&self, credential: &Credential) -> Result<Answer<Vec<Listed>>, Error>;

    /// Ends the login `id` (from [`Strategy::sessions`]) of the user who presents `credential`.
    async fn end(&self, credential: &Credential, id: &str) -> Result<Answer<()>, Error>;

    /// Ends every login of `user` that this strategy can reach; how many.
    /// The caller has checked that an operator asks.
    async fn revoke(&self, user: &str) -> Result<u64, Error>;

    /// Whether requests would be served now. `Err` while a store that is needed cannot be reached.
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The throttle of logins that all nodes share, in the store. `None` where there is no store: then each node has
    /// one of its own ([`throttle::Memory`](crate::throttle::Memory)), and an attacker as many attempts as there are nodes
    /// times the limit.
    fn throttle(&self) -> Option<&dyn Throttle> {
        None
    }

    /// Sessions in this process's own memory; `None` where it keeps none.
    fn sessions_owned(&self) -> Option<u64> {
        None
    }

    /// Whether the store may throw sessions away before they have expired; `None` where there is no store.
    fn eviction(&self) -> Option<Eviction> {
        None
    }

    /// How the store was used since the start; `None` where there is no store.
    fn store_use(&self) -> Option<StoreUse> {
        None
    }

    /// The keys that credentials are signed with; none where they are not signed.
    fn keys(&self) -> Vec<KeyInUse> {
        Vec::new()
    }
}

/// What a strategy answers to whoever presents a credential.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// What the client must present from now on: the parts in it replace those that it has.
    pub reissued: Option<Credential>,
}

impl<T> From<T> for Answer<T> {
    /// An answer that hands nothing back.
    fn from(value: T) -> Self {
        Self {
            value,
            reissued: None,
        }
    }
}

impl<T> Answer<T> {
    /// An answer that hands this back.
    pub fn with(value: T, reissued: Credential) -> Self {
        Self {
            value,
            reissued: Some(reissued),
        }
    }

    /// The same with another value.
    pub fn map<U>(self, work: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            value: work(self.value),
            reissued: self.reissued,
        }
    }
}

/// A login as the rest of the node sees it. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who is logged in.
    pub user: String,
    /// When the login happened.
    pub issued_at: u64,
    /// When it ends if nothing more is heard from the client.
    pub expires_at: u64,
}

/// What a logout achieved; the greater, the more lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoggedOut {
    /// The credential is dead on every node.
    Dead,
    /// Only the client can forget the credential; a copy of it works until this time (seconds since the Unix epoch).
    AliveUntil(u64),
    /// Nothing was ended: this node does not know the session, and cannot speak for the others. One of them may accept the
    /// credential until the session expires there.
    UnknownHere,
}

/// One login in the list of a user's logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Names the login for [`Strategy::end`]; cannot be used as a credential.
    pub id: String,
    /// When the login happened, seconds since the Unix epoch.
    pub issued_at: u64,
    /// When it ends if nothing more is heard from the client, seconds since the Unix epoch.
    pub expires_at: u64,
    /// Whether this is the login that asked.
    pub current: bool,
}

/// Whether a store may throw state away that has not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It refuses writes instead.
    Never,
    /// When it is short of memory, by this policy: users are logged out at random.
    May {
        /// The store's name for it: lower-case letters and `-`.
        policy: String,
    },
    /// It has not been asked yet, or does not say.
    Unknown,
}

/// Counters of a store's use since the start, for `/metrics`. Each call is one round trip.
#[derive(Clone, Debug, Default)]
pub struct StoreUse {
    /// Round trips that were begun.
    pub calls: u64,
    /// Calls that failed or ran into the deadline.
    pub errors: u64,
    /// Time spent waiting for answers, microseconds, all calls together.
    pub wait_us: u64,
    /// Upper bounds in microseconds and cumulative counts of calls that took at most that long.
    pub wait_buckets: Vec<(u64, u64)>,
}

/// A key as everybody may see it, for `/metrics`: whoever changes keys wants to know which node has taken them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInUse {
    /// Names the key in tokens (`kid`) and says nothing about it.
    pub id: String,
    /// `signs`, `verifies` or `retired`.
    pub state: &'static str,
}
