//! One public port: its threads, its connections, and their end.
//!
//! Each thread has a socket of its own for the port (the kernel deals connections to them), a runtime of its
//! own, and its own connections to nodes. Threads share counters and nothing else: a request is served where
//! its connection was accepted, and no other thread is woken for it. pingora's own service is not used,
//! because it hands connections to a random thread whose runtime does not watch their sockets, has no limit
//! for them, and gives a TLS handshake a minute.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use listen::Listeners;
use pingora::{
    server::{ListenFds, ShutdownWatch},
    services::{ServiceReadyNotifier, ServiceWithDependents},
};
use tokio::{
    net::TcpStream,
    runtime,
    sync::oneshot,
    task::{AbortHandle, Id, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::error;

use crate::{
    http1::pool,
    proxy::Proxy,
    proxy_protocol::{self, NoHeader},
};

/// Connections that the kernel keeps for a thread that is busy.
const BACKLOG: u32 = 4096;
/// How often unused connections to nodes are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// A public port.
#[derive(Debug)]
pub(crate) struct ListenerService {
    pub(crate) threads: usize,
    pub(crate) shared: Arc<Shared>,
}

/// What the threads of a port share.
pub(crate) struct Shared {
    pub(crate) proxy: Proxy,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Every connection begins with a PROXY header.
    is_behind_proxy: bool,
    /// Connections now, and at most. The listener's counters are not exact enough for a limit.
    open: AtomicUsize,
    max_open: usize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// A port with at most `max_open` connections.
    pub(crate) fn new(
        proxy: Proxy,
        tls: Option<TlsAcceptor>,
        is_behind_proxy: bool,
        max_open: usize,
    ) -> Self {
        Self {
            proxy,
            tls,
            is_behind_proxy,
            open: AtomicUsize::new(0),
            max_open,
        }
    }
}

#[async_trait]
impl ServiceWithDependents for ListenerService {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let threads: io::Result<Vec<_>> = (0..self.threads)
            .map(|number| {
                let listener = listen::open_shared(self.shared.proxy.group().address, BACKLOG)?;
                let (shared, shutdown) = (Arc::clone(&self.shared), shutdown.clone());
                let (ended, has_ended) = oneshot::channel::<()>();
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                std::thread::Builder::new()
                    .name(format!("{}-{number}", self.shared.proxy.group().strategy))
                    .spawn(move || {
                        if let Err(error) = runtime.block_on(run(listener, shared, shutdown)) {
                            error!(%error, "a thread of the listener ended");
                        }
                        drop(ended);
                    })?;
                Ok(has_ended)
            })
            .collect();
        match threads {
            Ok(threads) => {
                ready.notify_ready();
                for has_ended in threads {
                    let _ = has_ended.await;
                }
            }
            // Whoever supervises the process must notice.
            Err(error) => {
                error!(%error, address = %self.shared.proxy.group().address, listener = self.shared.proxy.group().strategy, "cannot listen");
                std::process::exit(1);
            }
        }
    }

    fn name(&self) -> &str {
        &self.shared.proxy.group().strategy
    }

    /// Threads of pingora's: this one only waits for the others.
    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// One thread: accepts until shutdown, then waits for the requests that are under way.
async fn run(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut shutdown: ShutdownWatch,
) -> io::Result<()> {
    let listeners = Listeners::new(vec![listener])?;
    let mut connections = Connections::default();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*shutdown.borrow() {
        tokio::select! {
            (io, client) = listeners.accept() => connections.start(io, client, &shared),
            () = connections.one_ended() => {}
            _ = sweep.tick() => pool::sweep(shared.proxy.group().timeouts.idle, Instant::now()),
            changed = shutdown.changed() => if changed.is_err() { break },
        }
    }
    // The kernel has accepted these already; closing the socket would reset them.
    while let Ok((io, client)) = timeout(Duration::ZERO, listeners.accept()).await {
        connections.start(io, client, &shared);
    }
    drop(listeners);
    connections.end().await;
    Ok(())
}

/// The connections of one thread.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Whether a request is under way, and how to close the connection when there is none.
    known: HashMap<Id, (Arc<AtomicBool>, AbortHandle)>,
}

impl Connections {
    /// Serves a connection, or closes it if there are too many.
    fn start(&mut self, io: TcpStream, client: SocketAddr, shared: &Arc<Shared>) {
        let Some(permit) = Permit::take(shared) else {
            return;
        };
        let is_busy = Arc::new(AtomicBool::new(false));
        let task = self
            .tasks
            .spawn(serve(io, client, permit, Arc::clone(&is_busy)));
        self.known.insert(task.id(), (is_busy, task));
    }

    /// Waits for a connection to end. Never returns when there is none.
    async fn one_ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
        };
        self.known.remove(&id);
    }

    /// Closes every connection: the unused ones at once, the others after their request.
    async fn end(&mut self) {
        for (is_busy, task) in self.known.values() {
            if !is_busy.load(Ordering::Relaxed) {
                task.abort();
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn serve(mut io: TcpStream, peer: SocketAddr, permit: Permit, is_busy: Arc<AtomicBool>) {
    let Shared {
        proxy,
        tls,
        is_behind_proxy,
        ..
    } = &*permit.0;
    let client = if *is_behind_proxy {
        let Some(client) = client_of_proxy(&mut io, peer, proxy).await else {
            return;
        };
        client
    } else {
        peer
    };
    match tls {
        None => proxy.serve(io, client, &is_busy).await,
        Some(tls) => {
            let handshake = timeout(proxy.limits().head, tls.accept(io)).await;
            if let Ok(Ok(io)) = handshake {
                proxy.serve(io, client, &is_busy).await;
            }
        }
    }
}

/// Whose connection a proxy passes on. `None`: it said so wrongly, not in time, or is nobody to say so.
async fn client_of_proxy(
    io: &mut TcpStream,
    peer: SocketAddr,
    proxy: &Proxy,
) -> Option<SocketAddr> {
    let is_trusted = proxy.rules().trusted_proxies.contains(peer.ip());
    let header = timeout(proxy.limits().head, proxy_protocol::receive(io));
    match header.await {
        Ok(Ok(source)) if is_trusted => return Some(source.unwrap_or(peer)),
        // Whoever only looks whether the port is open said nothing wrong.
        Ok(Err(NoHeader::Ended)) => {}
        Ok(_) | Err(_) => proxy.group().stats.connections.unproven.count(),
    }
    None
}

/// A place among the connections of a port, until it is dropped.
struct Permit(Arc<Shared>);

impl Permit {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let stats = &shared.proxy.group().stats.connections;
        // Counted first and looked at afterwards, so that two threads cannot both take the last place.
        if shared.open.fetch_add(1, Ordering::Relaxed) < shared.max_open {
            stats.opened.count();
            return Some(Self(Arc::clone(shared)));
        }
        shared.open.fetch_sub(1, Ordering::Relaxed);
        stats.refused.count();
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.proxy.group().stats.connections.closed.count();
    }
}
