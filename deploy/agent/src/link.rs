//! A proxy on the way from one process to another, which can disturb that way: a network that fails on command.
//!
//! ```text
//! client ──▶ proxy's address ══ queue, bounded ══▶ target        "there"
//!        ◀── ═════════════════════════════════════ ◀──           "back"
//! ```
//! A disturbance applies at once, to connections that exist as well as to new ones, and ends as fast:
//!
//! | disturbance | living connections | new connections |
//! | --- | --- | --- |
//! | none | carried | carried |
//! | delay | each piece arrives that much later, in each direction that is meant | the same |
//! | bandwidth | bytes arrive at that pace, and back-pressure does the rest | the same |
//! | reset | RST to both sides | RST as soon as they come |
//! | black hole | nothing moves, not even an end; what was sent arrives when it is over | accepted by the kernel, connected to nothing until it is over |
//!
//! **What a proxy cannot be.** The kernel accepts connections for it, so a client sees a dead target as a reset and not as
//! a refusal, and a black hole as silence after connecting and not as silence while connecting. And it costs CPU: all proxies
//! of a cluster share one thread, whose time [`Links::cpu_us`] tells.
//!
//! This file: proxies and their connections. `disturbance`: what can be done to them. `carry`: what happens to the bytes.
//! `probe`: what a request meets that goes that way.

mod carry;
mod disturbance;
mod probe;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

pub(crate) use self::disturbance::micros;
use self::{
    carry::{Flow, carry},
    disturbance::Disturbed,
};
pub use self::{
    disturbance::{Direction, Disturbance},
    probe::{Met, probe},
};

/// Connections at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;

/// For the target to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The thread that all proxies of a cluster run on. Dropping it ends them.
pub struct Links {
    handle: Handle,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// One proxy. Dropping it closes its port and its connections.
pub struct Link {
    /// One at least.
    addresses: Vec<SocketAddr>,
    disturbance: watch::Sender<Option<Disturbance>>,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Links {
    /// A thread without a proxy yet.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("links".into()).spawn(move || {
            // An error is how the other side says stop. Dropping the runtime then drops every connection.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// A proxy that listens at `listen` and carries everything to `target`, undisturbed.
    pub fn open(&self, listen: SocketAddr, target: SocketAddr) -> io::Result<Link> {
        self.open_to(vec![listen::open(listen)?], target.to_string())
    }

    /// The same, with sockets that are open, to a target `HOST:PORT` whose name is resolved anew for each connection.
    pub fn open_to(&self, sockets: Vec<std::net::TcpListener>, target: String) -> io::Result<Link> {
        let addresses = sockets.iter().map(std::net::TcpListener::local_addr);
        let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
        if addresses.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let (disturbance, disturbed) = watch::channel(None);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = self.handle.spawn(async move {
            match listen::Listeners::new(sockets) {
                Ok(listeners) => accept(listeners, target.into(), disturbed, &count).await,
                Err(error) => tracing::warn!(target, %error, "a proxy cannot listen"),
            }
        });
        Ok(Link {
            addresses,
            disturbance,
            connections,
            task: task.abort_handle(),
        })
    }

    /// CPU time that all proxies together have used.
    pub async fn cpu_us(&self) -> io::Result<u64> {
        // Asked on the thread itself: that is the only thread that this clock can be read for.
        let reading = self.handle.spawn(async {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000).unwrap_or(0)
        });
        reading.await.map_err(io::Error::other)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Link {
    /// Where to connect instead of to the target, on this machine.
    pub fn address(&self) -> SocketAddr {
        listen::ways_to(self.addresses[0])[0]
    }

    /// Every address that it listens at, for people.
    pub fn listens_at(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(SocketAddr::to_string).collect();
        addresses.join(", ")
    }

    /// Disturbs it from now on, in the place of what disturbed it before.
    pub fn disturb(&self, disturbance: Disturbance) {
        self.disturbance.send_replace(Some(disturbance));
    }

    /// Disturbs it no more.
    pub fn heal(&self) {
        self.disturbance.send_replace(None);
    }

    /// What disturbs it now.
    pub fn disturbance(&self) -> Option<Disturbance> {
        *self.disturbance.borrow()
    }

    /// Connections that exist now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listeners: listen::Listeners,
    target: Arc<str>,
    disturbed: Disturbed,
    count: &AtomicUsize,
) {
    // Dropped with this task, and with it all connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (client, _) = listeners.accept(), if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(connection(client, Arc::clone(&target), disturbed.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
        count.store(connections.len(), Ordering::Relaxed);
    }
}

/// One connection, from `accept` to its end.
async fn connection(mut client: TcpStream, target: Arc<str>, mut disturbed: Disturbed) {
    if !may_connect(&client, &mut disturbed).await {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(Ok(mut server)) = timeout(CONNECT_WITHIN, TcpStream::connect(&*target)).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = server.set_nodelay(true);
    let ended_in_order = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let there = carry(
            &mut from_client,
            &mut to_server,
            disturbed.clone(),
            Flow::there,
        );
        let back = carry(
            &mut from_server,
            &mut to_client,
            disturbed.clone(),
            Flow::back,
        );
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.is_ok(),
            _ = disturbed.wait_for(|now| *now == Some(Disturbance::Reset)) => false,
        }
    };
    if !ended_in_order {
        // One side broke off, or is made to look so: the other one must see the same, and not an end in order.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Waits until a connection could be made: that needs both ways. No when it is reset, or its client gave up meanwhile.
async fn may_connect(client: &TcpStream, disturbed: &mut Disturbed) -> bool {
    let mut has_waited = false;
    loop {
        match *disturbed.borrow_and_update() {
            Some(Disturbance::Reset) => return false,
            Some(Disturbance::Blackhole { .. }) => has_waited = true,
            _ => break,
        }
        if disturbed.changed().await.is_err() {
            return false;
        }
    }
    !(has_waited && has_left(client))
}

/// Whether the peer has closed. What it sent before that would be carried to the target, though on a real network
/// this connection had never come into being.
fn has_left(client: &TcpStream) -> bool {
    let mut question = [PollFd::new(client, PollFlags::RDHUP)];
    let at_once = Timespec::default();
    poll(&mut question, Some(&at_once)).is_ok_and(|answers| answers > 0)
}

#[cfg(test)]
mod tests;
