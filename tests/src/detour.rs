//! A TCP proxy that makes the way to a server longer: latency, and nothing else. What was sent together arrives together,
//! as on a long wire, so a client that does not wait for answers loses no throughput.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Pieces under way on one connection, at most.
const UNDER_WAY: usize = 1024;

/// The proxy. Dropping it closes its port and its connections.
pub struct Detour {
    delay_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Detour {
    /// Listens at `address` and carries everything to `server`, without a delay at first.
    pub async fn start(address: SocketAddr, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, server, delay_ms.clone()));
        Ok(Self { delay_ms, task })
    }

    /// Makes every round trip longer by this much, from now on.
    pub fn delay(&self, round_trip: Duration) {
        let ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(ms, Relaxed);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, delay_ms: Arc<AtomicU64>) {
    // Dropped with this task, and with it all connections.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(carry(client, server, delay_ms.clone()));
    }
}

/// Until either side closes.
async fn carry(client: TcpStream, server: SocketAddr, delay_ms: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (leave, mut arrive) = mpsc::channel(UNDER_WAY);
    let departures = async {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let length = from_client.read(&mut piece).await?;
            let due = Instant::now() + Duration::from_millis(delay_ms.load(Relaxed));
            if length == 0 || leave.send((due, piece[..length].to_vec())).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    // All of the delay is on the way there: to one who waits for answers it is the same.
    let arrivals = async {
        while let Some((due, piece)) = arrive.recv().await {
            sleep_until(due).await;
            to_server.write_all(&piece).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        ended = departures => ended,
        ended = arrivals => ended,
        ended = tokio::io::copy(&mut from_server, &mut to_client) => ended.map(drop),
    }
}
