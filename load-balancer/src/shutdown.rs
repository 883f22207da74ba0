//! From start to end of the process: what readiness says, and how SIGTERM and SIGINT end it in order.
//!
//! ```text
//! starting ──▶ ready ──▶ lame duck ──▶ draining ──▶ gone
//!    │                     `lame_duck_ms`  until the last request is over, `grace_ms` at most
//!    └────────────────────────────────────▲
//! ```
//!
//! | phase | `GET /readyz` | listeners | answers |
//! | --- | --- | --- | --- |
//! | starting | 503 | closed | |
//! | ready | 200 | open | |
//! | lame duck | 503 | open, so that whoever balances over balancers has time to notice | `Connection: close` |
//! | draining | closed | closed; kept connections without a request are closed | `Connection: close` |
//!
//! pingora closes its listeners at once and then sleeps for a fixed time. So it runs on a thread of its own
//! and is told to close when the lame duck is over; the main thread ends the process when nothing is under
//! way any more. A second signal ends it on the spot.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, oneshot},
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use crate::{
    clock::as_ms,
    config,
    group::Group,
    lifecycle::{Lifecycle, Phase},
};

/// How often it is looked whether requests are still under way.
const LOOK: Duration = Duration::from_millis(5);
/// For how long nothing may be under way until that is believed: a connection that was accepted at the last
/// moment may not have been looked at yet.
const QUIET: Duration = Duration::from_millis(50);

/// SIGTERM and SIGINT, from the moment of the installation.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. Must be called in a runtime; a signal that comes later waits until it is asked for.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Tells pingora when to close the listeners. Dropped, it has the same effect.
pub(crate) struct CloseListeners(Mutex<oneshot::Receiver<()>>);

impl CloseListeners {
    /// The two ends: whoever holds the first one decides.
    pub(crate) fn channel() -> (oneshot::Sender<()>, Self) {
        let (close, closed) = oneshot::channel();
        (close, Self(Mutex::new(closed)))
    }
}

#[async_trait]
impl ShutdownSignalWatch for CloseListeners {
    async fn recv(&self) -> ShutdownSignal {
        let _ = (&mut *self.0.lock().await).await;
        ShutdownSignal::GracefulTerminate
    }
}

/// Why the process ends otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndError {
    /// Somebody could not wait.
    #[error("ended at once by a second signal, {under_way} requests were cut off")]
    SecondSignal { under_way: u64 },
    /// The thread of pingora's server is gone; it has written why.
    #[error("the server stopped by itself; see the lines above")]
    ServerGone,
}

/// Waits for a signal, and returns when the process may end.
pub(crate) async fn run(
    lifecycle: &Lifecycle,
    mut signals: Signals,
    mut close: oneshot::Sender<()>,
    groups: &[Arc<Group>],
    times: config::Shutdown,
) -> Result<(), EndError> {
    let first = tokio::select! {
        first = signals.next() => first,
        () = close.closed() => return Err(EndError::ServerGone),
    };
    let was_ready = lifecycle.is_ready();
    lifecycle.enter(Phase::LameDuck);
    info!(signal = first, "stopping: not ready any more");

    let in_order = async {
        // Nobody can know a balancer that was never ready.
        if was_ready {
            sleep(times.lame_duck).await;
        }
        lifecycle.enter(Phase::Draining);
        let _ = close.send(());
        let deadline = Instant::now() + times.grace;
        if timeout_at(deadline, quiet(groups)).await.is_err() {
            warn!(
                grace_ms = as_ms(times.grace),
                under_way = under_way(groups),
                "grace is over, cutting off what is still under way"
            );
        }
    };
    tokio::select! {
        () = in_order => {
            info!("stopped");
            Ok(())
        }
        _ = signals.next() => Err(EndError::SecondSignal { under_way: under_way(groups) }),
    }
}

fn under_way(groups: &[Arc<Group>]) -> u64 {
    groups.iter().map(|group| group.stats.under_way()).sum()
}

/// Returns when nothing has been under way for a while.
async fn quiet(groups: &[Arc<Group>]) {
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        sleep(LOOK).await;
        let connections: u64 = groups
            .iter()
            .map(|group| group.stats.connections.open())
            .sum();
        if under_way(groups) > 0 || connections > 0 {
            since = Instant::now();
        }
    }
}
