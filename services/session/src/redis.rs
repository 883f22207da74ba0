//! `redis`: the session lives in one Redis that all nodes share.
//!
//! **Where the state lives.** In the store, under keys that name the session without betraying it:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `s:{tag}:digest` | hash | `user`, `issued`, `version`, and one field `l:id` for each cart line |
//! | `t:{login}:…` | string | how many logins were tried, for an account or an address; gone by itself (see `throttle`) |
//! | `u:{tag}` | sorted set | the digests of the user's live sessions by expiry: the index |
//!
//! The client's cookie is `tag.secret`. The tag is a digest of the user's name; in braces it puts all keys of a user into
//! one slot, so that one script may touch them. The store sees only the digest of the secret: who reads the store, a
//! backup of it or its slow log cannot log in with what is found there.
//!
//! **What a request costs.** One round trip, always: a Lua script checks that the session is alive, does the work and
//! slides the expiry. That costs the store about 4 µs, most of it for running a script at all, and some 340 bytes a login.
//!
//! **What is lost when.** A node dies: nothing. The store dies: what it had not yet written to its disk (with
//! `appendfsync everysec` about a second of logins, lines *and logouts*), and until it is back nobody is served:
//! callers get an error within the deadline and keep their cookie. A store that is out of memory still reads.
//!
//! # What a session lives by
//! A session is alive while its user's index names it, with an expiry that is not over, and its hash is there. Each script
//! looks at both, so neither is worth anything without the other:
//! * Revoking a user is forgetting the index: all logins end at the same moment, in the time that one takes. What
//!   they held cannot be reached any more, and goes when its TTL is over. A login that comes meanwhile is in the old index
//!   and dead, or in a new one and alive.
//! * A store that evicts can take either. The index gone, all logins of the user are dead, *before* a revocation could fail
//!   to see them; the hash gone, that login is dead, and a revocation may count one too many. Users are logged out by
//!   chance, but nobody stays logged in whom an operator was told to be out. (It does take login attempts from the throttle,
//!   so an attacker may try again. A store of sessions must not evict: the node says so at its start, in `/readyz` and in
//!   `/metrics`.)
//!
//! # Why scripts
//! * A session that was read, changed and written back as a whole loses one of two changes that overlap. A line is a
//!   field of its own here, and Redis runs one script at a time.
//! * A write that does not check first brings a session back that was logged out a moment ago. Every script checks: all
//!   that act for a session begin with `alive.lua`.
//!
//! # Whose clock
//! The store's (`TIME`), for everything that lives in the store: a node whose own clock is wrong judges as all others do.
//! Only what an experiment has turned a node's clock ahead by travels along. Such a node refuses and lists as if it were
//! later, but it takes nothing away: what has expired is refused, and removed by the keys' own TTL. So turn the clocks of all nodes
//! alike, or see one node refuse what the others accept. After a failover the clock of the new master counts; masters and
//! replicas need clocks that agree, as their TTLs do anyway.

mod answer;
mod connection;
mod dial;
mod eviction;
mod link;
mod meter;
mod names;
mod place;
mod script;
mod sentinels;
mod settings;
mod throttle;

use std::sync::Arc;

use async_trait::async_trait;
use redis::Value;

use self::answer::{cart, foreign_value, session};
use self::link::Link;
pub use self::names::KEY_PREFIXES;
use self::names::Names;
use self::script::{Call, Script, Scripts};
pub use self::settings::{Password, Settings};
use crate::about::{Carriage, ConcurrentChanges, Ends, Reach, RoundTrips, StoreKind};
use crate::settings::{ABSOLUTE, IDLE, MAX_CART_LINES};
use crate::strategy::MAX_LISTED;
use crate::theory::Anomaly::{self, LineLost, Resurrection, Rollback, SessionLost, StaleRead};
use crate::theory::{Expected, Extent, Hit, LATE};
use crate::{
    About, Answer, Cart, Change, Clock, Credential, Error, Eviction, Host, Listed, LoggedOut, Part,
    Session, StateLives, StoreUse, Strategy, Throttle, Unfit, Values, secret,
};

/// What `redis` says of itself.
static ABOUT: About = About {
    name: "redis",
    title: "Shared sessions in Redis",
    sentence: "The session lives in one Redis that all nodes share; any node can serve any user.",
    state_lives: StateLives::Store,
    store: Some(StoreKind::Redis),
    key_prefixes: &KEY_PREFIXES,
    needs_affinity: false,
    carriage: Carriage::Cookie,
    parts: &[Part::session_id("session-redis")],
    ends: Ends::Idle {
        idle: &IDLE,
        absolute: &ABSOLUTE,
    },
    logout: Reach::AtOnce,
    revocation: Reach::AtOnce,
    lists_logins: true,
    concurrent_changes: ConcurrentChanges::Kept,
    round_trips: RoundTrips {
        login: 1,
        read: 1,
        change: 1,
    },
    logout_means: "The session is deleted from the store, and no node accepts it from then on.",
    port: 8082,
    settings: &[
        &settings::URL,
        &settings::PASSWORD_FILE,
        &settings::TIMEOUT,
        &IDLE,
        &ABSOLUTE,
        &MAX_CART_LINES,
    ],
    theory: THEORY,
};

/// What may come out when a store comes back as it was a moment before.
const SET_BACK: &[Anomaly] = &[SessionLost, LineLost, StaleRead, Rollback, Resurrection];

#[rustfmt::skip]
const THEORY: &[Expected] = &[
    //            what is hit      by                                  predicted  tolerated  which sessions
    Expected::new(Hit::Store,      &["kill"],                             &[], SET_BACK, Extent::AsListed,
        "With `appendfsync everysec` Redis answers before it writes while an fsync is under way: a kill at that moment costs \
         what was acknowledged, logouts too. 3 of 80 kills did (docs/failure.md)."),
    Expected::new(Hit::Node,       &["pause", "slow"],                    &[], LATE,     Extent::AsListed,
        "The load balancer repeats what a node does not answer in time, and the node still gets to it when it goes on. An added \
         line may come back if its user has removed it meanwhile: repeating means at-least-once."),
    Expected::new(Hit::Link,       &["blackhole", "delay", "bandwidth"],  &[], LATE,     Extent::AsListed,
        "What a link holds back arrives in the end, also a request that was repeated elsewhere meanwhile: at-least-once."),
    Expected::new(Hit::StoreLink,  &["blackhole", "delay", "bandwidth"],  &[], LATE,     Extent::AsListed,
        "What a link holds back reaches the store in the end, also for a request that was repeated elsewhere: at-least-once."),
    Expected::new(Hit::Anything,   &[],                                   &[], &[],      Extent::AsListed,
        "All state is in the store. Any node can serve any user; without the store there are errors, and no losses."),
    Expected::new(Hit::Revocation, &[],                                   &[], &[],      Extent::AsListed,
        "The store knows all logins of a user, and every request asks it."),
    Expected::new(Hit::Nothing,    &[],                                   &[], &[],      Extent::AsListed,
        "Every request asks the one place that knows."),
];

/// The row of `redis`.
pub struct Kind;

impl crate::Kind for Kind {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn check(&self, values: &Values) -> Result<(), Unfit> {
        settings::check(ABOUT.name, values).map(drop)
    }

    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit> {
        let settings = settings::check(ABOUT.name, values)?;
        let redis = Redis::connect(settings, host.clock.clone())
            .map_err(|why| Unfit(format!("the Redis URL cannot be used: {why}")))?;
        Ok(Arc::new(redis))
    }
}

/// Sessions in a Redis.
pub struct Redis {
    link: Link,
    scripts: Scripts,
    clock: Clock,
    idle_s: u64,
    absolute_s: u64,
    max_lines: usize,
}

impl Redis {
    /// Begins to connect, in a task of the current Tokio runtime that ends when this is dropped. A store that cannot
    /// be reached is no error: the node becomes ready when the store comes. A malformed URL is one.
    pub fn connect(settings: Settings, clock: Clock) -> Result<Self, Error> {
        let Settings {
            url,
            password,
            deadline,
            idle,
            absolute,
            max_lines,
        } = settings;
        Ok(Self {
            link: Link::open(&url, password, deadline)?,
            scripts: Scripts::new(),
            clock,
            idle_s: idle.as_secs(),
            absolute_s: absolute.as_secs(),
            max_lines,
        })
    }

    /// What every script about a session wants to know first. What time it is, the store knows.
    fn times(&self) -> [u64; 3] {
        [self.clock.ahead().as_secs(), self.idle_s, self.absolute_s]
    }

    /// Calls a script that answers nil when the session is not alive.
    async fn call(&self, call: Call<'_>) -> Result<Value, Error> {
        match self.link.call(call, None).await? {
            Value::Nil => Err(Error::NotLoggedIn {
                why: "unknown or expired session",
            }),
            answer => Ok(answer),
        }
    }

    /// As [`Redis::call`], for a script that needs no more than the session.
    async fn call_plainly(&self, script: &Script, credential: &Credential) -> Result<Value, Error> {
        let names = Names::of(credential)?;
        self.call(Call {
            script,
            keys: &[&names.session, &names.index],
            numbers: &self.times(),
            texts: &[],
        })
        .await
    }
}

#[async_trait]
impl Strategy for Redis {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn login(
        &self,
        user: &str,
        presented: Option<&Credential>,
    ) -> Result<Answer<Session>, Error> {
        let secret = secret::draw();
        let tag = secret::tag(user);
        let names = Names::new(&tag, &secret::digest(&secret));
        let old = presented.and_then(|old| Names::of(old).ok());
        let times = self.times();

        // The session presented is nearly always the user's own: then one script ends it and starts the new one, or does
        // neither. Another user's keys may be in another slot, which a script cannot reach: two scripts, one round trip.
        let (own, foreign) = match &old {
            Some(old) if old.index == names.index => (Some(old), None),
            other => (None, other.as_ref()),
        };
        let with_own = own.map(|old| [&names.session[..], &names.index, &old.session]);
        let without = [&names.session[..], &names.index];
        let login = Call {
            script: &self.scripts.login,
            keys: with_own.as_ref().map_or(&without, |keys| &keys[..]),
            numbers: &times,
            texts: &[user],
        };
        let foreign_keys = foreign.map(|old| [&old.session[..], &old.index]);
        let logout = foreign_keys.as_ref().map(|keys| Call {
            script: &self.scripts.logout,
            keys,
            numbers: &[],
            texts: &[],
        });
        let Value::Int(now) = self.link.call(login, logout).await? else {
            return Err(foreign_value());
        };
        let now = now.unsigned_abs();

        let mut token = String::from_utf8_lossy(&tag).into_owned();
        token.push('.');
        token.push_str(&secret::text(&secret));
        let session = Session {
            user: user.to_owned(),
            issued_at: now,
            expires_at: now + self.idle_s.min(self.absolute_s),
        };
        Ok(Answer::with(session, Credential::new(token)))
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Answer<Session>, Error> {
        let answer = self
            .call_plainly(&self.scripts.authenticate, credential)
            .await?;
        session(answer).map(Answer::from).ok_or_else(foreign_value)
    }

    async fn cart(&self, credential: &Credential) -> Result<Answer<Cart>, Error> {
        let answer = self.call_plainly(&self.scripts.cart, credential).await?;
        cart(answer).map(Answer::from).ok_or_else(foreign_value)
    }

    async fn change(&self, credential: &Credential, change: Change) -> Result<Answer<Cart>, Error> {
        let names = Names::of(credential)?;
        let [ahead, idle, absolute] = self.times();
        let keys = [&names.session[..], &names.index];
        let answer = match change {
            Change::Add(line) => {
                self.call(Call {
                    script: &self.scripts.add,
                    keys: &keys,
                    numbers: &[ahead, idle, absolute, self.max_lines as u64],
                    texts: &[
                        &format!("l:{}", line.id),
                        &format!("{} {}", line.quantity, line.sku),
                    ],
                })
                .await?
            }
            Change::Remove(id) => {
                self.call(Call {
                    script: &self.scripts.remove,
                    keys: &keys,
                    numbers: &[ahead, idle, absolute],
                    texts: &[&format!("l:{id}")],
                })
                .await?
            }
        };
        if matches!(answer, Value::BulkString(_)) {
            return Err(Error::CartFull {
                max_lines: self.max_lines,
            });
        }
        cart(answer).map(Answer::from).ok_or_else(foreign_value)
    }

    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error> {
        if let Ok(names) = Names::of(credential) {
            let logout = Call {
                script: &self.scripts.logout,
                keys: &[&names.session, &names.index],
                numbers: &[],
                texts: &[],
            };
            self.link.call(logout, None).await?;
        }
        Ok(LoggedOut::Dead)
    }

    async fn sessions(&self, credential: &Credential) -> Result<Answer<Vec<Listed>>, Error> {
        let names = Names::of(credential)?;
        let [ahead, idle, absolute] = self.times();
        let answer = self
            .call(Call {
                script: &self.scripts.sessions,
                keys: &[&names.session, &names.index],
                numbers: &[ahead, idle, absolute, MAX_LISTED as u64],
                texts: &[],
            })
            .await?;
        let Value::Array(entries) = answer else {
            return Err(foreign_value());
        };
        let entries = entries.into_iter().map(|entry| {
            // An entry is written like a session, with the login's digest in place of the user.
            let entry = session(entry).ok_or_else(foreign_value)?;
            Ok(Listed {
                current: entry.user.as_bytes() == names.digest(),
                id: entry.user,
                issued_at: entry.issued_at,
                expires_at: entry.expires_at,
            })
        });
        entries.collect::<Result<Vec<_>, _>>().map(Answer::from)
    }

    async fn end(&self, credential: &Credential, id: &str) -> Result<Answer<()>, Error> {
        let names = Names::of(credential)?;
        let other = names.sibling(id).ok_or(Error::NoSuchSession)?;
        let answer = self
            .call(Call {
                script: &self.scripts.end,
                keys: &[&names.session, &names.index, &other],
                numbers: &self.times(),
                texts: &[],
            })
            .await?;
        match answer {
            Value::BulkString(word) if word == b"ok" => Ok(().into()),
            _ => Err(Error::NoSuchSession),
        }
    }

    async fn revoke(&self, user: &str) -> Result<u64, Error> {
        let tag = secret::tag(user);
        let names = Names::new(&tag, &[b'-'; secret::DIGEST]);
        let revoke = Call {
            script: &self.scripts.revoke,
            keys: &[&names.index],
            numbers: &[],
            texts: &[],
        };
        match self.link.call(revoke, None).await? {
            Value::Int(ended) => Ok(ended.unsigned_abs()),
            _ => Err(foreign_value()),
        }
    }

    async fn ready(&self) -> Result<(), Error> {
        self.link.ready()
    }

    fn throttle(&self) -> Option<&dyn Throttle> {
        Some(self)
    }

    fn eviction(&self) -> Option<Eviction> {
        Some(self.link.eviction())
    }

    fn store_use(&self) -> Option<StoreUse> {
        Some(self.link.usage())
    }
}
