//! A server that stands where the store should be and is not one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What it says.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// What a web server says to a Redis client before it hangs up: somebody mixed up two ports.
    Http,
    /// `+OK` to each command: the right protocol, and never the right answer.
    Ok,
    /// The same bytes again and again, for as long as somebody takes them.
    Endlessly(&'static [u8]),
}

/// The server. Dropping it closes its port and its connections.
pub struct Impostor {
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Impostor {
    /// Listens at `address`.
    pub async fn start(address: SocketAddr, says: Says) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            // Dropped with this task, and with it all connections.
            let mut talks = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                talks.spawn(talk(client, says));
            }
        });
        Ok(Self { connections, task })
    }

    /// How many connections it has taken so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(mut client: TcpStream, says: Says) -> io::Result<()> {
    let mut heard = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut heard).await?;
        if length == 0 {
            return Ok(());
        }
        match says {
            Says::Http => {
                let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
                return client.write_all(answer).await;
            }
            Says::Ok => {
                let commands = commands_in(&heard[..length]);
                client
                    .write_all("+OK\r\n".repeat(commands).as_bytes())
                    .await?;
            }
            Says::Endlessly(bytes) => loop {
                client.write_all(bytes).await?;
            },
        }
    }
}

/// A command is an array, and an array begins with `*` on a line of its own.
fn commands_in(heard: &[u8]) -> usize {
    let lines = heard.split(|byte| *byte == b'\n');
    lines.filter(|line| line.first() == Some(&b'*')).count()
}
