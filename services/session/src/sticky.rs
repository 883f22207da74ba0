//! `sticky`: the session lives in the memory of the node that the user logged in to.
//!
//! **Where the state lives.** In two maps of this process: sessions by id, and each user's ids by name. The load balancer
//! must send a client to the same node each time (affinity); every other node has never heard of the session.
//!
//! **What a request costs.** One lock on one shard and one lookup, well under a microsecond, and no round trip. Memory:
//! about 330 bytes a login with an empty cart at a million, the index included (`cargo bench -p session --bench memory`).
//!
//! **What is lost when.** The node dies or is restarted: every session on it, carts included. A node that is drained
//! loses them as well, only later. A revocation reaches the sessions of the node that was asked, and no others; nor does a
//! logout that the load balancer had to send to another node reach the session. The answer says that nothing was ended.
//!
//! # Locks
//! A user's shard may be held while a session's shard is taken, never the other way round:
//! * A login holds the user's shard while it enters the session into both maps. So whoever removes a session finds its
//!   index entry when it comes for it, and the index never leaks.
//! * Whoever ends a session first takes it out of the sessions, lets go of that shard, then clears the index. Between
//!   the two a list may find an id without a session, and skips it.
//!
//! A user may have very many logins, so nothing goes through all of them under a lock or without letting others go first
//! now and then ([`AT_A_TIME`]).
//!
//! The locks are `std::sync::Mutex`es and not Tokio's, because nothing is awaited while one is held.

mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use self::memory::{Id, Memory, Stored};
use crate::about::{Carriage, ConcurrentChanges, Ends, Reach, RoundTrips};
use crate::settings::{ABSOLUTE, IDLE, MAX_CART_LINES, Takes};
use crate::strategy::MAX_LISTED;
use crate::theory::Anomaly::{
    self, Exposure, LineLost, Resurrection, Rollback, SessionLost, StaleRead,
};
use crate::theory::{Expected, Extent, Hit};
use crate::{
    About, Answer, Cart, Change, Clock, Credential, Error, Host, Listed, LoggedOut, Part, Session,
    Setting, StateLives, Strategy, Unfit, Values,
};

/// What `sticky` says of itself.
static ABOUT: About = About {
    name: "sticky",
    title: "Sticky sessions",
    sentence: "The session lives in the memory of the node that the user logged in to; the load balancer sends the user there each time.",
    state_lives: StateLives::Node,
    store: None,
    key_prefixes: &[],
    needs_affinity: true,
    carriage: Carriage::Cookie,
    parts: &[Part::session_id("session-sticky")],
    ends: Ends::Idle {
        idle: &IDLE,
        absolute: &ABSOLUTE,
    },
    // A logout at the node that holds the session is final at once, because no other node knows the session. At another
    // node it ends nothing.
    logout: Reach::ThisNode,
    revocation: Reach::ThisNode,
    lists_logins: true,
    concurrent_changes: ConcurrentChanges::Kept,
    round_trips: RoundTrips::NONE,
    logout_means: "The session is deleted from the one node that held it. While that node cannot be reached, a logout ends nothing. To revoke a user, every node must be asked.",
    port: 8081,
    settings: &[&IDLE, &ABSOLUTE, &MAX_SESSIONS, &MAX_CART_LINES],
    theory: THEORY,
};

/// Users of a node that is gone have lost the login for sure, and its lines if there were any.
const LOST: &[Anomaly] = &[SessionLost, LineLost];
/// What may come out when a node that is away keeps its memory: users who were moved elsewhere lose their sessions, and what
/// comes back may be old. A user who logs out meanwhile reaches a node that has never heard of the session and says so
/// (`{"ended": false}`); the node that is away may accept the credential when it is back.
const AWAY: &[Anomaly] = &[
    SessionLost,
    LineLost,
    StaleRead,
    Rollback,
    Resurrection,
    Exposure,
];

#[rustfmt::skip]
const THEORY: &[Expected] = &[
    //            what is hit      by                            predicted       tolerated  which sessions
    Expected::new(Hit::Nothing,    &[],                          &[],            &[],  Extent::AsListed,
        "Affinity leads every user to the node that holds the session."),
    Expected::new(Hit::Revocation, &[],                          &[Exposure],    &[],  Extent::AsListed,
        "One call reaches one node. A login in the memory of another one lives on until it ends by itself."),
    Expected::new(Hit::Node,       &["kill", "stop", "restart"], LOST,           &[],  Extent::AllPinned,
        "The session lives in the memory of one process and dies with it."),
    Expected::new(Hit::Node,       &["rolling-restart"],         LOST,           AWAY, Extent::AsListed,
        "Every node's memory goes once; a user who moves to a node before its turn loses the next session, too."),
    Expected::new(Hit::Node,       &["pause", "maint"],          &[SessionLost], AWAY, Extent::SomePinned,
        "Requests during the outage go to another node, which does not know the session. The node keeps it meanwhile, so \
         whoever logged out elsewhere may be let in when it is back."),
    Expected::new(Hit::Node,       &[],                          &[],            AWAY, Extent::AsListed,
        "A slow, draining or removed node may leave rotation, and takes its sessions with it: also those of users who then \
         log out elsewhere."),
    Expected::new(Hit::Link,       &["blackhole", "reset"],      &[SessionLost], AWAY, Extent::SomePinned,
        "To the balancer a node that cannot be reached is away. It keeps its sessions meanwhile, so whoever logged out \
         elsewhere may be let in when it is back."),
    Expected::new(Hit::Link,       &[],                          &[],            AWAY, Extent::AsListed,
        "A link that is slow enough looks like a node that is away, with all that follows from it."),
    Expected::new(Hit::Balancer,   &[],                          &[],            AWAY, Extent::AsListed,
        "Pins outlive the balancer, but one that has just started leads users of a node that it has not checked yet elsewhere."),
    Expected::new(Hit::Anything,   &[],                          &[],            &[],  Extent::AsListed,
        "There is no store to fail."),
];

/// The bound on a node's memory.
static MAX_SESSIONS: Setting = Setting {
    flag: "max-sessions",
    value_name: "N",
    doc: "Sessions that this node holds in its own memory at most; a login beyond gets 503.",
    takes: Takes::Number {
        default: 1_000_000,
        least: 1,
        most: 100_000_000,
    },
};

/// The row of `sticky`.
pub struct Kind;

impl crate::Kind for Kind {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn check(&self, values: &Values) -> Result<(), Unfit> {
        values.check_expiry()
    }

    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit> {
        let settings = Settings {
            idle: values.seconds(&IDLE),
            absolute: values.seconds(&ABSOLUTE),
            max_sessions: values.count(&MAX_SESSIONS),
            max_lines: values.count(&MAX_CART_LINES),
        };
        let sticky = Arc::new(Sticky::new(settings, host.clock.clone()));
        host.spawn(sweep(Arc::clone(&sticky)));
        Ok(sticky)
    }
}

/// Each step sweeps a small part of the memory, so that no request waits behind the sweeping for long.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

async fn sweep(sticky: Arc<Sticky>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    // After a pause of the process there is no hurry to make up for what was missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sticky.sweep_step();
    }
}

/// Of one user's sessions, so many are looked at before other requests go first: some tens of microseconds.
const AT_A_TIME: usize = 256;

/// How long sessions live, and how many there may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A session that is not used for this long has ended.
    pub idle: Duration,
    /// A session ends this long after the login, used or not.
    pub absolute: Duration,
    /// The most sessions on this node.
    pub max_sessions: usize,
    /// The most lines in a cart.
    pub max_lines: usize,
}

/// Sessions in this node's memory.
pub struct Sticky {
    memory: Memory,
    idle_s: u64,
    absolute_s: u64,
    settings: Settings,
    clock: Clock,
    /// The second in which a complete sweep found nothing to remove. Time is counted in whole seconds,
    /// so within this second nothing more can have expired, and a full node need not look again.
    last_empty_sweep_s: AtomicU64,
}

impl Sticky {
    /// An empty memory.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            memory: Memory::new(settings.max_sessions),
            idle_s: settings.idle.as_secs(),
            absolute_s: settings.absolute.as_secs(),
            settings,
            clock,
            last_empty_sweep_s: AtomicU64::new(0),
        }
    }

    /// Removes what has expired in the next shard, a few thousand sessions at most, and says how much that was.
    ///
    /// A shard is locked for some tens of microseconds. Whoever calls this regularly (see [`SWEEP_EVERY`]) sweeps the
    /// whole memory bit by bit and stalls no request.
    pub fn sweep_step(&self) -> usize {
        let now = self.clock.now();
        self.memory
            .sweep_next_shard(|session| self.expires_at(session) <= now)
    }

    fn expires_at(&self, session: &Stored) -> u64 {
        let idle_end = session.last_used_at.saturating_add(self.idle_s);
        idle_end.min(session.issued_at.saturating_add(self.absolute_s))
    }

    /// Runs `work` on the live session of `credential`, which counts as a use, under the lock of its shard.
    fn with_session<T>(
        &self,
        credential: &Credential,
        work: impl FnOnce(Id, &mut Stored) -> T,
    ) -> Result<Answer<T>, Error> {
        let id = Id::parse(credential.token()).ok_or(MALFORMED)?;
        let now = self.clock.now();
        let found = self.memory.with(id, |session| {
            if self.expires_at(session) <= now {
                return None;
            }
            // Requests of one session overlap: never back.
            session.last_used_at = session.last_used_at.max(now);
            Some(work(id, session))
        });
        match found {
            Some(Some(outcome)) => Ok(outcome.into()),
            Some(None) => {
                self.memory.remove(id);
                Err(EXPIRED)
            }
            None => Err(UNKNOWN),
        }
    }

    /// Takes a place for one more session. When all are taken, sweeps until one is free or nothing is left to sweep.
    async fn take_place(&self) -> Result<(), Error> {
        if self.memory.take_place() {
            return Ok(());
        }
        let now = self.clock.now();
        if self.last_empty_sweep_s.load(Ordering::Relaxed) != now {
            for _ in 0..self.memory.shards() {
                self.sweep_step();
                if self.memory.take_place() {
                    return Ok(());
                }
                // A complete sweep of a large memory takes milliseconds: let other requests of this thread go first.
                tokio::task::yield_now().await;
            }
            self.last_empty_sweep_s.store(now, Ordering::Relaxed);
        }
        Err(Error::Full {
            max_sessions: self.settings.max_sessions,
        })
    }
}

const MALFORMED: Error = Error::NotLoggedIn {
    why: "malformed session id",
};
const UNKNOWN: Error = Error::NotLoggedIn {
    why: "unknown session id",
};
const EXPIRED: Error = Error::NotLoggedIn {
    why: "expired session",
};

#[async_trait]
impl Strategy for Sticky {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn login(
        &self,
        user: &str,
        presented: Option<&Credential>,
    ) -> Result<Answer<Session>, Error> {
        self.take_place().await?;
        let now = self.clock.now();
        let session = Stored::new(user, now);
        let granted = Session {
            user: user.to_owned(),
            issued_at: now,
            expires_at: self.expires_at(&session),
        };
        let id = Id::draw();
        self.memory.insert(id, session);
        // Only now that the new session exists: a login that found no place leaves the old one as it was.
        if let Some(old) = presented.and_then(|old| Id::parse(old.token())) {
            self.memory.remove(old);
        }
        Ok(Answer::with(granted, Credential::new(id.text())))
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Answer<Session>, Error> {
        self.with_session(credential, |_, session| Session {
            user: session.user.to_string(),
            issued_at: session.issued_at,
            expires_at: self.expires_at(session),
        })
    }

    async fn cart(&self, credential: &Credential) -> Result<Answer<Cart>, Error> {
        self.with_session(credential, |_, session| session.cart())
    }

    async fn change(&self, credential: &Credential, change: Change) -> Result<Answer<Cart>, Error> {
        let changed = self.with_session(credential, |_, session| {
            let changed = session.cart_mut().apply(change, self.settings.max_lines);
            changed.map(|_| session.cart())
        });
        changed?.value.map(Answer::from)
    }

    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error> {
        // What is no id at all, no node accepts.
        let Some(id) = Id::parse(credential.token()) else {
            return Ok(LoggedOut::Dead);
        };
        Ok(match self.memory.remove(id) {
            Some(_) => LoggedOut::Dead,
            // Perhaps it lives on at the node that began it, which is away from the load balancer just now.
            None => LoggedOut::UnknownHere,
        })
    }

    async fn sessions(&self, credential: &Credential) -> Result<Answer<Vec<Listed>>, Error> {
        let asked = self.with_session(credential, |id, session| (id, session.user.clone()));
        let (own, user) = asked?.value;
        let now = self.clock.now();
        let mut listed = Vec::new();
        // One's own login is always among them, however many there are.
        let others = self.memory.ids_of(&user, MAX_LISTED).into_iter();
        let others = others.filter(|id| *id != own).take(MAX_LISTED - 1);
        for id in std::iter::once(own).chain(others) {
            let entry = self.memory.with(id, |session| Listed {
                id: id.handle(),
                issued_at: session.issued_at,
                expires_at: self.expires_at(session),
                current: id == own,
            });
            listed.extend(entry.filter(|entry| entry.expires_at > now));
        }
        Ok(listed.into())
    }

    async fn end(&self, credential: &Credential, id: &str) -> Result<Answer<()>, Error> {
        let asked = self.with_session(credential, |_, session| session.user.clone());
        let ids = self.memory.ids_of(&asked?.value, usize::MAX);
        let mut named = None;
        for some in ids.chunks(AT_A_TIME) {
            named = some.iter().copied().find(|known| known.handle() == id);
            if named.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let ended = named.and_then(|named| self.memory.remove(named));
        match ended {
            Some(session) if self.expires_at(&session) > self.clock.now() => Ok(().into()),
            _ => Err(Error::NoSuchSession),
        }
    }

    async fn revoke(&self, user: &str) -> Result<u64, Error> {
        let now = self.clock.now();
        let mut ended = 0;
        // Those that there are now: who logs in meanwhile has logged in after the revocation.
        for some in self.memory.ids_of(user, usize::MAX).chunks(AT_A_TIME) {
            let removed = some.iter().filter_map(|id| self.memory.remove(*id));
            ended += removed
                .filter(|session| self.expires_at(session) > now)
                .count() as u64;
            tokio::task::yield_now().await;
        }
        Ok(ended)
    }

    fn sessions_owned(&self) -> Option<u64> {
        Some(self.memory.sessions() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(max_sessions: usize) -> (Sticky, Clock) {
        let clock = Clock::system();
        let settings = Settings {
            idle: Duration::from_secs(100),
            absolute: Duration::from_secs(1000),
            max_sessions,
            max_lines: 10,
        };
        (Sticky::new(settings, clock.clone()), clock)
    }

    async fn login(sticky: &Sticky, user: &str) -> Credential {
        let granted = sticky.login(user, None).await.unwrap();
        granted.reissued.unwrap()
    }

    #[tokio::test]
    async fn a_full_node_refuses_a_login_and_keeps_the_old_ones() {
        let (sticky, _) = sticky(2);
        let first = login(&sticky, "alice").await;
        login(&sticky, "bob").await;
        // Presenting a session does not make room: it would end although the login failed.
        let refused = sticky.login("alice", Some(&first)).await;
        assert!(matches!(refused, Err(Error::Full { max_sessions: 2 })));
        assert!(sticky.authenticate(&first).await.is_ok());
        sticky.logout(&first).await.unwrap();
        login(&sticky, "carol").await;
    }

    #[tokio::test]
    async fn expired_sessions_keep_no_place() {
        let (sticky, clock) = sticky(50);
        for user in 0..50 {
            login(&sticky, &format!("user-{user}")).await;
        }
        assert!(sticky.login("one more", None).await.is_err());
        clock.turn(Duration::from_secs(101));
        for user in 0..50 {
            login(&sticky, &format!("another-{user}")).await;
        }
        assert!(sticky.login("one more", None).await.is_err());
    }

    #[tokio::test]
    async fn sweeping_step_by_step_leaves_nothing_behind() {
        let (sticky, clock) = sticky(1000);
        for login_number in 0..300 {
            login(&sticky, &format!("user-{}", login_number % 100)).await;
        }
        clock.turn(Duration::from_secs(101));
        let kept = login(&sticky, "user-1").await;
        let swept: usize = (0..sticky.memory.shards())
            .map(|_| sticky.sweep_step())
            .sum();
        assert_eq!(swept, 300);
        assert_eq!(sticky.sessions_owned(), Some(1));
        assert_eq!(sticky.memory.indexed(), (1, 1));
        assert!(sticky.authenticate(&kept).await.is_ok());
    }

    #[tokio::test]
    async fn the_index_holds_nothing_of_sessions_that_ended_in_any_way() {
        let (sticky, clock) = sticky(1000);
        let logged_out = login(&sticky, "alice").await;
        sticky.logout(&logged_out).await.unwrap();

        let replaced = login(&sticky, "alice").await;
        let granted = sticky.login("bob", Some(&replaced)).await.unwrap();
        let bob = granted.reissued.unwrap();

        let other = login(&sticky, "bob").await;
        let listed = sticky.sessions(&bob).await.unwrap();
        let other_id = listed.value.iter().find(|entry| !entry.current).unwrap();
        sticky.end(&bob, &other_id.id).await.unwrap();
        assert!(sticky.authenticate(&other).await.is_err());

        login(&sticky, "carol").await;
        assert_eq!(sticky.revoke("carol").await.unwrap(), 1);

        clock.turn(Duration::from_secs(101));
        assert!(sticky.authenticate(&bob).await.is_err());
        assert_eq!(sticky.memory.indexed(), (0, 0));
        assert_eq!(sticky.sessions_owned(), Some(0));
    }

    #[test]
    fn logins_logouts_and_revocations_at_the_same_time_leave_the_index_exact() {
        let (sticky, clock) = sticky(100_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (sticky, clock) = (&sticky, &clock);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build();
                    runtime.unwrap().block_on(async {
                        for round in 0..500 {
                            let user = format!("user-{}", round % 3);
                            let credential = login(sticky, &user).await;
                            match (round + thread) % 5 {
                                0 => drop(sticky.logout(&credential).await),
                                1 => drop(sticky.revoke(&user).await),
                                2 => drop(sticky.sweep_step()),
                                3 => drop(sticky.login(&user, Some(&credential)).await),
                                _ => clock.turn(Duration::from_secs(1)),
                            }
                        }
                    });
                });
            }
        });
        let (_, indexed) = sticky.memory.indexed();
        assert_eq!(Some(indexed as u64), sticky.sessions_owned());
        for user in 0..3 {
            for id in sticky.memory.ids_of(&format!("user-{user}"), usize::MAX) {
                assert!(sticky.memory.remove(id).is_some(), "in the index only");
            }
        }
        assert_eq!(sticky.memory.indexed(), (0, 0));
        assert_eq!(sticky.sessions_owned(), Some(0));
    }
}
