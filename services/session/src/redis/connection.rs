//! One connection to a Redis: how it is opened and asked. Which one, and what comes after it, is the business of `link`.
//!
//! # Gathering
//! The library writes to the socket from a task of its own, the driver, which Tokio runs as soon as the first call has
//! woken it: each call would be a write of its own, and the kernel's work for it costs the node more than all of ours,
//! and the store as much again. So the driver lets every task go first that is ready anyway, and finds their calls
//! beside the first one: one write, and one read in the store, for all requests that came in together.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value,
};
use tokio::task::{JoinHandle, yield_now};

use super::dial::{dial, within};

/// Calls that find room in the connection's queue while it is writing.
const QUEUE: usize = 1024;

/// The task that reads and writes for a connection. Dropping it closes the connection.
pub(super) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        // By itself it would end only once the store has answered everything.
        self.0.abort();
    }
}

/// Opens a connection and shows the password there, within the deadline.
pub(super) async fn open(
    to: &ConnectionInfo,
    deadline: Duration,
) -> RedisResult<(MultiplexedConnection, Driver)> {
    let open = async {
        let stream = dial(to, deadline).await?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        MultiplexedConnection::new_with_config(to.redis_settings(), stream, config).await
    };
    let (connection, driver) = within(deadline, open).await?;
    Ok((connection, Driver(tokio::spawn(gather(driver)))))
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

/// Asks one thing that is none of the callers' business, within the deadline.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    deadline: Duration,
) -> RedisResult<Value> {
    let answer = within(deadline, connection.send_packed_command(command)).await?;
    refusal_as_error(answer)
}

/// Whether the store serves at least reads. One that refuses a PING (it is loading, or a replica without its master
/// that must not say anything stale) refuses everything else too.
pub(super) async fn ping(
    connection: &mut MultiplexedConnection,
    deadline: Duration,
) -> RedisResult<()> {
    match ask(connection, &redis::cmd("PING"), deadline).await {
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

/// What the store calls itself: `master`, `slave` or, a Sentinel, `sentinel`.
pub(super) async fn role(
    connection: &mut MultiplexedConnection,
    deadline: Duration,
) -> RedisResult<Option<String>> {
    let answer = ask(connection, &redis::cmd("ROLE"), deadline).await?;
    Ok(items(&answer).and_then(|words| text(words.first()?)))
}

/// The items of an answer that is a list.
pub(super) fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// An answer that is text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// The library hands a refusal (out of memory, read-only, unknown script …) over as a value.
pub(super) fn refusal_as_error(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

/// The same, with a password that stands beside the URL.
pub(super) fn with_password(info: &ConnectionInfo, password: Option<&str>) -> ConnectionInfo {
    let info = info.clone();
    match password {
        None => info,
        Some(password) => {
            let settings = info.redis_settings().clone();
            info.set_redis_settings(settings.set_password(password))
        }
    }
}

/// A Redis that answers, and not as it should.
pub(super) fn unfit(why: String) -> RedisError {
    RedisError::from((ErrorKind::Client, "not the master", why))
}
