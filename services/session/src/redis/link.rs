//! The link to the store: one connection that all requests of the node share, and a keeper that replaces it.
//!
//! ```text
//!             a connection answers PING
//!   down ───────────────────────────────────▶ up
//!     ▲    (an attempt every 100 ms)           │
//!     └────────────────────────────────────────┘
//!       a call met its deadline or an IO error,
//!       or the keeper's own PING was not answered as it should be
//! ```
//! While the link is down, calls fail at once. So a store that hangs costs its clients one deadline, not one each time
//! they try; and because the keeper goes on trying by itself, the link is up again a fraction of a second after the
//! store is. A call is never repeated after it may have reached the store.
//!
//! # Gathering
//! The library writes to the socket from a task of its own, the driver, which Tokio runs as soon as the first call has
//! woken it: each call would be a write of its own, and the kernel's work for it costs the node more than all of ours,
//! and the store as much again. So the driver lets every task go first that is ready anyway, and finds their calls
//! beside the first one: one write, and one read in the store, for all requests that came in together.
//!
//! The client library has a reconnecting connection too, but a call that waits for its reconnect can hang for
//! seconds, and neither a timeout nor a stopped store makes it reconnect.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::meter::Meter;
use super::script::Call;
use crate::{Error, StoreUse};

/// Pause after an attempt to connect that failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often the keeper asks whether an idle connection is still alive.
const PING_EVERY: Duration = Duration::from_millis(250);
/// Calls that find room in the connection's queue while it is writing.
const QUEUE: usize = 1024;

/// The link. Dropping it ends the keeper and the connection.
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

struct Shared {
    store: ConnectionInfo,
    deadline: Duration,
    /// `None` while the link is down. Only the keeper puts a connection in; whoever finds it broken takes it out.
    up: ArcSwapOption<Up>,
    meter: Meter,
}

struct Up {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    /// Wakes the keeper when a call has found the connection broken.
    broken: Notify,
}

impl Link {
    /// Starts the keeper, within a Tokio runtime. Fails only on a malformed URL; a store that is not there may come later.
    pub(super) fn open(
        url: &str,
        password: Option<&str>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let store = url.into_connection_info();
        let mut store = store.map_err(|error| Error::StoreUnavailable {
            // Not the URL itself: it may hold a password.
            why: format!("its URL is not one of a Redis: {error}"),
        })?;
        if let Some(password) = password {
            let settings = store.redis_settings().clone();
            store = store.set_redis_settings(settings.set_password(password));
        }
        let shared = Arc::new(Shared {
            store,
            deadline,
            up: ArcSwapOption::empty(),
            meter: Meter::default(),
        });
        let keeper = tokio::spawn(keep(shared.clone()));
        Ok(Self { shared, keeper })
    }

    /// Whether calls are tried at all at the moment. No round trip: the keeper knows.
    pub(super) fn ready(&self) -> Result<(), Error> {
        self.shared.up.load().as_ref().map(drop).ok_or_else(down)
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
        let up = self.shared.up.load_full().ok_or_else(down)?;
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
            why: error.to_string(),
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // By itself it would end only once the store has answered everything.
        self.driver.abort();
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
        if answer.as_ref().is_err_and(is_of_the_connection) {
            // Compared first: the keeper may have replaced it already.
            self.up.compare_and_swap(up, None);
            up.broken.notify_one();
        }
        answer
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

/// The library hands a refusal (out of memory, read-only, unknown script …) over as a value.
fn refusal_as_error(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

fn down() -> Error {
    Error::StoreUnavailable {
        why: "there is no connection to it at the moment".to_owned(),
    }
}

/// The keeper's life: connect, watch the connection until it breaks, connect again.
async fn keep(shared: Arc<Shared>) {
    // One line in the log for each outage, however many attempts it takes.
    let mut outage_is_logged = false;
    loop {
        match connect(&shared).await {
            Ok(up) => {
                tracing::info!("the store answers");
                outage_is_logged = false;
                let up = Arc::new(up);
                shared.up.store(Some(up.clone()));
                tokio::select! {
                    () = up.broken.notified() => {}
                    () = ping_until_unanswered(up.connection.clone(), shared.deadline) => {}
                }
                shared.up.store(None);
                tracing::warn!("the connection to the store broke");
            }
            Err(why) => {
                if !outage_is_logged {
                    tracing::warn!(%why, "the store cannot be reached; trying on");
                    outage_is_logged = true;
                }
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// A connection that has answered a PING: a store that is stopped accepts connections too, and one that is still
/// loading its data answers with a refusal.
///
/// Each of the two steps has the deadline of a call: a store that is quick enough to be used must not be too slow to be
/// connected to.
async fn connect(shared: &Shared) -> RedisResult<Up> {
    let open = async {
        let stream = dial(&shared.store, shared.deadline).await?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let info = shared.store.redis_settings();
        MultiplexedConnection::new_with_config(info, stream, config).await
    };
    let late = |_| RedisError::from((ErrorKind::Io, "it did not answer in time"));
    let (connection, driver) = timeout(shared.deadline, open).await.map_err(late)??;
    let mut up = Up {
        connection,
        driver: tokio::spawn(gather(driver)),
        broken: Notify::new(),
    };
    ping(&mut up.connection, shared.deadline).await?;
    Ok(up)
}

/// Resolves a host's name anew each time: what replaces a store may have another address.
async fn dial(store: &ConnectionInfo, deadline: Duration) -> RedisResult<TcpStream> {
    let ConnectionAddr::Tcp(host, port) = store.addr() else {
        let why = "its URL is not one of TCP without TLS";
        return Err(RedisError::from((ErrorKind::InvalidClientConfig, why)));
    };
    let stream = TcpStream::connect((&**host, *port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(deadline))?;
    Ok(stream)
}

/// Runs the library's driver, and lets everything that is ready go first each time that it is woken; see the module's
/// documentation. A driver that is woken twice before it runs has missed nothing: it looks at all that there is.
async fn gather(driver: impl Future<Output = ()>) {
    let mut driver = pin!(driver);
    loop {
        let ended = poll_fn(|context| Poll::Ready(driver.as_mut().poll(context).is_ready())).await;
        if ended {
            return;
        }
        woken().await;
        yield_now().await;
    }
}

/// Ready when the task has been woken, by whomever.
async fn woken() {
    let mut has_waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut has_waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
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

/// Whether the store serves at least reads. One that refuses a PING (it is loading, or a replica without its master
/// that must not say anything stale) refuses everything else too.
async fn ping(connection: &mut MultiplexedConnection, deadline: Duration) -> RedisResult<()> {
    let ping = redis::cmd("PING");
    let answer = timeout(deadline, connection.send_packed_command(&ping)).await;
    let answer = answer.unwrap_or_else(|_| {
        let late = (ErrorKind::Io, "it did not answer a PING");
        Err(RedisError::from(late))
    })?;
    match refusal_as_error(answer) {
        Ok(Value::SimpleString(word)) if word == "PONG" => Ok(()),
        Ok(_) => Err(RedisError::from((
            ErrorKind::UnexpectedReturnType,
            "it answered a PING with something else than PONG; is it a Redis?",
        ))),
        // It cannot write to its disk. It says so to a PING too, and goes on reading.
        Err(error) if error.code() == Some("MISCONF") => Ok(()),
        Err(error) => Err(error),
    }
}
