//! From the listening port to the router, and from SIGTERM to the end.
//!
//! The node serves through hyper's HTTP/1 server and not `axum::serve`, because the latter has no time limits:
//! * A connection that sends no complete head within 75 s is closed. The same limit closes idle connections, so it is
//!   longer than the balancer keeps them (60 s at most): the one who sends requests must be the one who closes, or a
//!   request meets a connection that is just being closed.
//! * A body has 10 s (`input`), the work behind a request is bounded by its own deadlines.
//! * A request that is answered before it was read to its end has 5 s more, so that its sender reads why (`linger`).
//! * A client that takes no bytes for 30 s is given up by the kernel (`TCP_USER_TIMEOUT`).
//!
//! The end, as a state machine:
//!
//! | state | enters on | `/readyz` | new connections | answers |
//! | --- | --- | --- | --- | --- |
//! | serving | start | 200 | accepted | keep the connection |
//! | lame duck | SIGTERM, SIGINT | 503 | accepted | close the connection |
//! | draining | 1.5 s later: all balancers know by now | – | refused | the last ones |
//! | ended, exit code 0 | no request runs, or `--drain-s` after the signal | – | refused | cut off |

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::linger::Lingering;
use crate::node::Node;
use crate::peer::Peer;

/// For a complete head, and for an idle connection.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// Two tokens of 4 KiB and what else browsers send fit in; a larger head is answered with 431 by hyper.
const MAX_BUFFER_BYTES: usize = 32 * 1024;
/// Without progress towards the client.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// More wait in the kernel's queue. Each connection takes some kilobytes and a file descriptor.
const MAX_CONNECTIONS: usize = 10_000;
/// A balancer asks every 500 ms and takes a node out after two failures.
const LAME_DUCK: Duration = Duration::from_millis(1_500);
/// After a failed `accept`, which is nearly always a lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}. {}", advice(error))]
pub(crate) struct CannotListen {
    address: SocketAddr,
    error: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "Another process has this port, perhaps another node: stop it, or choose another port with --listen ADDRESS:PORT (SHOP_LISTEN)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "This machine has no such address: choose one that it has with --listen ADDRESS:PORT (SHOP_LISTEN); [::] means all, of IPv4 and IPv6"
        }
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need a privilege: choose a higher one with --listen ADDRESS:PORT (SHOP_LISTEN)"
        }
        _ => "Choose another address with --listen ADDRESS:PORT (SHOP_LISTEN)",
    }
}

/// Opens the port, within a Tokio runtime.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    listen::open(address)
        .and_then(TcpListener::from_std)
        .map_err(|error| CannotListen { address, error })
}

/// Serves `router` until a signal ends the node; see the table above. `drain` is counted from the signal.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    node: Arc<Node>,
    drain: Duration,
) -> io::Result<()> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(address = %listener.local_addr()?, node = node.name, "ready");

    // The requests that run get half of a short grace at least.
    let lame_duck = LAME_DUCK.min(drain / 2);
    let mut ended = pin!(lame_duck_after_signal(
        terminate, interrupt, &node, lame_duck
    ));
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        tokio::select! {
            () = &mut ended => break,
            accepted = accept(&listener, &places) => {
                if let Some((stream, peer, place)) = accepted {
                    let service = Attributed {
                        router: TowerToHyperService::new(router.clone()),
                        peer,
                    };
                    spawn_connection(stream, place, service, &connections);
                }
            }
        }
    }
    drop(listener);
    let open = connections.count();
    if tokio::time::timeout(drain.saturating_sub(lame_duck), connections.shutdown())
        .await
        .is_err()
    {
        let cut_off = MAX_CONNECTIONS - places.available_permits();
        tracing::warn!(
            open,
            cut_off,
            "ended before all requests did; --drain-s allows more time"
        );
    } else {
        tracing::info!(open, "ended, all requests are done");
    }
    Ok(())
}

async fn lame_duck_after_signal(
    mut terminate: Signal,
    mut interrupt: Signal,
    node: &Node,
    lame_duck: Duration,
) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    node.start_draining();
    tracing::info!("asked to end: not ready any more, finishing what runs");
    tokio::time::sleep(lame_duck).await;
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    // Never closed, so this only waits.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, Peer(peer.ip()), place)),
        Err(error) => {
            // A client that left while it waited says nothing about this node.
            if !matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            ) {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
            None
        }
    }
}

/// The router, for requests of one peer.
struct Attributed {
    router: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<Request<Incoming>> for Attributed {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        // Only who changes something is asked where they come from; for others it would be an allocation for nothing.
        if !request.method().is_safe() {
            request.extensions_mut().insert(self.peer);
        }
        self.router.call(request)
    }
}

fn spawn_connection(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    service: Attributed,
    connections: &GracefulShutdown,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "the client left before it was served");
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_BUFFER_BYTES)
        // Bodies are short: copying one behind its head costs less than gathering two buffers in the kernel.
        .writev(false)
        .serve_connection(TokioIo::new(Lingering::new(stream)), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        let _place = place;
        if let Err(error) = connection.await {
            // Clients come and go; what they miss is theirs to notice.
            tracing::debug!(%error, "connection broke off");
        }
    });
}

/// Answers are one small write each: they must not wait for more to come (Nagle), nor forever.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let within_ms = u32::try_from(WRITE_WITHIN.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, within_ms)?;
    Ok(())
}
