//! Accepting connections at one port, which may have several addresses: in a network with IPv4 and IPv6 one of each.

use std::{future::poll_fn, io, net::SocketAddr, task::Poll, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// After a failed `accept`, which is nearly always a lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The sockets of one port. One task waits for connections to all of them.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Within a Tokio runtime, of sockets that do not block.
    pub fn new(sockets: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let sockets = sockets.into_iter().map(TcpListener::from_std);
        sockets.collect::<io::Result<_>>().map(Self)
    }

    /// The next connection to any of them, which sends what it is given at once, and the address of its client. Where
    /// none can be accepted, it says so and tries again a moment later.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            let next = poll_fn(|context| {
                let mut answers = self.0.iter().map(|socket| socket.poll_accept(context));
                answers.find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            match next.await {
                // A client that has left already is not worth a word.
                Ok((stream, client)) if stream.set_nodelay(true).is_ok() => {
                    return (stream, client);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_come_in_at_each_address() {
        let sockets = ["127.0.0.1:0", "[::1]:0"].map(|at| crate::open(at.parse().unwrap()));
        let sockets: Vec<_> = sockets.into_iter().map(Result::unwrap).collect();
        let at: Vec<_> = sockets
            .iter()
            .map(|one| one.local_addr().unwrap())
            .collect();
        let listeners = Listeners::new(sockets).unwrap();
        for address in [at[0], at[1], at[0], at[1]] {
            let connecting = TcpStream::connect(address);
            let (ours, theirs) = tokio::join!(listeners.accept(), connecting);
            assert_eq!(
                ours.0.peer_addr().unwrap(),
                theirs.unwrap().local_addr().unwrap()
            );
        }
    }
}
