//! The link to the store: one connection that all requests of the node share, and a keeper that replaces it.
//!
//! ```text
//!             a connection answers PING
//!   down ───────────────────────────────────▶ up
//!     ▲    (an attempt every 100 ms)           │
//!     └────────────────────────────────────────┘
//!       a call met its deadline or an IO error,
//!       or the keeper's own PING was not answered as it should be,
//!       or the store should be a master and is none: a write was refused,
//!       or the Sentinels name another one
//! ```
//! A store at a fixed address or name may be read although it takes no writes. But the name may lead to another one by
//! now, the new master after a failover, and no connection moves by itself. So once a second, while the store refuses
//! writes or calls itself a replica, the keeper opens another connection beside the one in use, and changes over when it
//! leads to a master. Nobody waits for that.
//!
//! While the link is down, calls fail at once. So a store that hangs costs its clients one deadline, not one each time
//! they try; and because the keeper goes on trying by itself, the link is up again a fraction of a second after the
//! store is. A call is never repeated after it may have reached the store. Where the store is, `master` knows, and is
//! asked before each attempt.
//!
//! The client library has a reconnecting connection too, but a call that waits for its reconnect can hang for
//! seconds, and neither a timeout nor a stopped store makes it reconnect.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::{Driver, open, ping, refusal_as_error, role};
use super::eviction::ask_policy;
use super::meter::Meter;
use super::place::Place;
use super::script::Call;
use super::settings::Password;
use crate::{Error, Eviction, StoreUse};

/// Pause after an attempt to connect that failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often the keeper asks whether an idle connection is still alive.
const PING_EVERY: Duration = Duration::from_millis(250);
/// How often a store that should take writes and does not is looked for elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked whether it evicts: an operator can change that while it runs.
const ASK_POLICY_EVERY: Duration = Duration::from_secs(5);

/// The link. Dropping it ends the keeper and the connection.
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

struct Shared {
    place: Place,
    deadline: Duration,
    /// `None` while the link is down. Only the keeper puts a connection in; whoever finds it broken takes it out.
    up: ArcSwapOption<Up>,
    /// What was in the way of the last attempt to connect.
    why: ArcSwapOption<String>,
    /// `None` until a store has been asked.
    eviction: ArcSwapOption<Eviction>,
    meter: Meter,
}

struct Up {
    connection: MultiplexedConnection,
    /// Kept for its end.
    _driver: Driver,
    at: ConnectionInfo,
    /// Wakes the keeper when a call has found the connection broken.
    broken: Notify,
    /// A call was refused because the store is read-only; cleared by the keeper.
    refused_a_write: AtomicBool,
}

impl Link {
    /// Starts the keeper, within a Tokio runtime. Fails only on a malformed URL; a store that is not there may come later.
    pub(super) fn open(
        url: &str,
        password: Option<Password>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let place = Place::parse(url, password).map_err(|why| Error::StoreUnavailable {
            nothing_done: true,
            why,
        })?;
        let shared = Arc::new(Shared {
            place,
            deadline,
            up: ArcSwapOption::empty(),
            why: ArcSwapOption::empty(),
            eviction: ArcSwapOption::empty(),
            meter: Meter::default(),
        });
        let keeper = tokio::spawn(keep(shared.clone()));
        Ok(Self { shared, keeper })
    }

    /// Whether calls are tried at all at the moment. No round trip: the keeper knows.
    pub(super) fn ready(&self) -> Result<(), Error> {
        let up = self.shared.up.load();
        up.as_ref().map(drop).ok_or_else(|| self.shared.down())
    }

    /// Whether the store may throw sessions away. No round trip: the keeper asks.
    pub(super) fn eviction(&self) -> Eviction {
        let known = self.shared.eviction.load_full();
        known.map_or(Eviction::Unknown, Arc::unwrap_or_clone)
    }

    pub(super) fn usage(&self) -> StoreUse {
        self.shared.meter.read()
    }

    /// Calls a script and hands its answer back, within the deadline. `also` travels in the same round trip.
    ///
    /// When the store has forgotten one of the two scripts, the other may run twice: twice must be as good as once.
    pub(super) async fn call(
        &self,
        call: Call<'_>,
        also: Option<Call<'_>>,
    ) -> Result<Value, Error> {
        let up = self.shared.up.load_full();
        let up = up.ok_or_else(|| self.shared.down())?;
        let until = Instant::now() + self.shared.deadline;
        // What is rare is boxed: every request pays for the size of the future, which is copied when it begins.
        let mut answer = match also {
            None => {
                let exchange = send(&up, call.by_hash());
                self.shared.round_trip(&up, until, pin!(exchange)).await
            }
            Some(also) => {
                let exchange = Box::pin(send_both(&up, call.by_hash(), also.by_hash()));
                self.shared.round_trip(&up, until, exchange).await
            }
        };
        if answer.as_ref().is_err_and(is_unknown_script) {
            let also = also.map(|also| also.by_source());
            let exchange = teach(&up, call.by_source(), also);
            answer = Box::pin(self.shared.round_trip(&up, until, Box::pin(exchange))).await;
        }
        answer.map_err(|error| Error::StoreUnavailable {
            // Of two scripts the other one may have run.
            nothing_done: also.is_none() && is_refusal(&error),
            why: error.to_string(),
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    /// Waits for one exchange, counts it, and takes the connection out when it turns out to be broken.
    async fn round_trip(
        &self,
        up: &Arc<Up>,
        until: Instant,
        exchange: impl Future<Output = RedisResult<Value>>,
    ) -> RedisResult<Value> {
        self.meter.begin();
        let began = Instant::now();
        let answer = timeout_at(until, exchange).await.unwrap_or_else(|_| {
            let late = (ErrorKind::Io, "it did not answer within the deadline");
            Err(RedisError::from(late))
        });
        // A script that is not known yet is learned a moment later: a round trip, and no error of the store's.
        let in_order = answer.as_ref().map_or_else(is_unknown_script, |_| true);
        self.meter.end(began.elapsed(), in_order);
        let Err(error) = &answer else {
            return answer;
        };
        let is_read_only = is_read_only(error);
        if is_of_the_connection(error) || (is_read_only && self.place.must_take_writes()) {
            // Compared first: the keeper may have replaced it already.
            self.up.compare_and_swap(up, None);
            up.broken.notify_one();
        } else if is_read_only {
            up.refused_a_write.store(true, Ordering::Relaxed);
        }
        answer
    }

    fn down(&self) -> Error {
        let why = match &*self.why.load() {
            Some(why) => format!("there is no connection to it at the moment: {why}"),
            None => "there is no connection to it at the moment".to_owned(),
        };
        Error::StoreUnavailable {
            nothing_done: true,
            why,
        }
    }
}

async fn send(up: &Up, command: Cmd) -> RedisResult<Value> {
    let mut connection = up.connection.clone();
    refusal_as_error(connection.send_packed_command(&command).await?)
}

/// Two commands in one round trip; the answer to the first, unless the second is refused.
async fn send_both(up: &Up, command: Cmd, also: Cmd) -> RedisResult<Value> {
    let mut connection = up.connection.clone();
    let mut both = redis::Pipeline::with_capacity(2);
    both.add_command(command).add_command(also);
    let answers = connection.send_packed_commands(&both, 0, 2).await?;
    let mut answers = answers.into_iter().map(refusal_as_error);
    let first = answers.next().unwrap_or(Ok(Value::Nil));
    answers.try_for_each(|answer| answer.map(drop))?;
    first
}

/// Calls that carry their scripts along.
async fn teach(up: &Up, command: Cmd, also: Option<Cmd>) -> RedisResult<Value> {
    match also {
        None => send(up, command).await,
        Some(also) => send_both(up, command, also).await,
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether the store refused the call as a whole. In the middle of a script it refuses nothing for these reasons:
/// only the first write of a script can meet them.
fn is_refusal(error: &RedisError) -> bool {
    const REFUSALS: [&str; 8] = [
        "BUSY",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOREPLICAS",
        "OOM",
        "READONLY",
    ];
    error.code().is_some_and(|code| REFUSALS.contains(&code))
}

fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// The keeper's life: connect, watch the connection until it breaks, connect again.
async fn keep(shared: Arc<Shared>) {
    // One line in the log for each outage, however many attempts it takes.
    let mut outage_is_logged = false;
    let mut next = None;
    loop {
        let connected = match next.take() {
            Some(up) => Ok(up),
            None => connect(&shared).await,
        };
        match connected {
            Ok(up) => {
                tracing::info!(at = %up.at.addr(), "the store answers");
                outage_is_logged = false;
                let up = Arc::new(up);
                shared.up.store(Some(up.clone()));
                shared.why.store(None);
                next = watch(&shared, &up).await;
                if next.is_none() {
                    shared.up.store(None);
                    tracing::warn!("the connection to the store broke");
                }
            }
            Err(why) => {
                if !outage_is_logged {
                    tracing::warn!(%why, "the store cannot be reached; trying on");
                    outage_is_logged = true;
                }
                shared.why.store(Some(Arc::new(why.to_string())));
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Ends when the connection is not to be used any more; with the one to use instead, where there is one already.
async fn watch(shared: &Shared, up: &Up) -> Option<Up> {
    let (connection, deadline) = (|| up.connection.clone(), shared.deadline);
    tokio::select! {
        () = up.broken.notified() => None,
        () = ping_until_unanswered(connection(), deadline) => None,
        () = shared.place.moved_from(&up.at, connection(), deadline) => None,
        () = watch_eviction(shared, connection()) => None,
        next = look_for_a_master(shared, up) => {
            tracing::info!("the store's name leads to another one now, which takes writes");
            Some(next)
        }
    }
}

/// A connection that has answered a PING: a store that is stopped accepts connections too, and one that is still
/// loading its data answers with a refusal.
///
/// Each of the steps has the deadline of a call: a store that is quick enough to be used must not be too slow to be
/// connected to.
async fn connect(shared: &Shared) -> RedisResult<Up> {
    let at = shared.place.find(shared.deadline).await?;
    let (mut connection, driver) = open(&at, shared.deadline).await?;
    ping(&mut connection, shared.deadline).await?;
    shared
        .place
        .confirm(&at, &mut connection, shared.deadline)
        .await?;
    Ok(Up {
        connection,
        _driver: driver,
        at,
        broken: Notify::new(),
        refused_a_write: AtomicBool::new(false),
    })
}

async fn ping_until_unanswered(mut connection: MultiplexedConnection, deadline: Duration) {
    loop {
        sleep(PING_EVERY).await;
        if let Err(why) = ping(&mut connection, deadline).await {
            tracing::debug!(%why, "a PING was not answered as it should be");
            return;
        }
    }
}

/// While the store that `up` leads to takes no writes: opens another connection now and then, and hands over one that
/// leads to a master. A store that does not tell its role (an ACL may forbid it) is judged by what it refused.
async fn look_for_a_master(shared: &Shared, up: &Up) -> Up {
    if shared.place.must_take_writes() {
        // The Sentinels know better.
        return std::future::pending().await;
    }
    loop {
        sleep(LOOK_EVERY).await;
        let has_refused = up.refused_a_write.swap(false, Ordering::Relaxed);
        match is_master(up, shared.deadline).await {
            Some(true) => continue,
            None if !has_refused => continue,
            Some(false) | None => {}
        }
        if let Ok(other) = connect(shared).await
            && is_master(&other, shared.deadline).await != Some(false)
        {
            return other;
        }
    }
}

/// `None` where the store does not say.
async fn is_master(up: &Up, deadline: Duration) -> Option<bool> {
    let role = role(&mut up.connection.clone(), deadline).await;
    Some(role.ok()?? == "master")
}

/// Asks at once and then again and again whether the store evicts. Whatever is new is said aloud: whoever set it up must
/// hear of it before the first user is logged out by chance.
async fn watch_eviction(shared: &Shared, mut connection: MultiplexedConnection) {
    loop {
        if let Some(told) = ask_policy(&mut connection, shared.deadline).await {
            let before = shared.eviction.swap(Some(Arc::new(told.clone())));
            if before.as_deref() != Some(&told) {
                match told {
                    Eviction::Never => tracing::info!("the store keeps what has not expired"),
                    Eviction::May { policy } => tracing::error!(
                        policy,
                        "THE STORE MAY EVICT SESSIONS when it is short of memory, which logs users out at random and \
                         forgets login attempts: set its maxmemory-policy to noeviction"
                    ),
                    Eviction::Unknown => tracing::warn!(
                        "the store does not say whether it evicts, because it refuses INFO and CONFIG GET: see to it that \
                         its maxmemory-policy is noeviction"
                    ),
                }
            }
        }
        sleep(ASK_POLICY_EVERY).await;
    }
}
