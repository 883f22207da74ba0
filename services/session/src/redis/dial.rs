//! From a name to a socket, as long as the name leads anywhere.
//!
//! A name is looked up anew for each connection: what replaces a store may have another address. The system's resolver
//! cannot be told to stop, and it may hang for longer than a deadline. So a name that is still being looked up is not looked up
//! again, and never on the runtime's few threads for what blocks, which belong to password checks.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Of those behind one name, the ones that are tried.
const MAX_ADDRESSES: usize = 8;

/// Names and ports that are being looked up, so that there is one thread for each at most.
static LOOKED_UP: Mutex<BTreeSet<(String, u16)>> = Mutex::new(BTreeSet::new());

/// Opens a connection that notices when nobody is at its other end.
pub(super) async fn dial(to: &ConnectionInfo, deadline: Duration) -> RedisResult<TcpStream> {
    let ConnectionAddr::Tcp(host, port) = to.addr() else {
        let why = "its URL is not one of TCP without TLS";
        return Err(RedisError::from((ErrorKind::InvalidClientConfig, why)));
    };
    let stream = reach(&look_up(host, *port).await?, deadline).await?;
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

/// Tries the addresses behind a name in turn. Each has a share of the deadline: one that swallows everything must not
/// keep the next one from being tried.
async fn reach(addresses: &[SocketAddr], deadline: Duration) -> RedisResult<TcpStream> {
    let share = deadline / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut why = RedisError::from((ErrorKind::Io, "its name has no address"));
    for address in addresses {
        match within(share, async { Ok(TcpStream::connect(address).await?) }).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(why)
}

async fn look_up(host: &str, port: u16) -> RedisResult<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let name = (host.to_owned(), port);
    if !looked_up().insert(name.clone()) {
        return Err(RedisError::from((
            ErrorKind::Io,
            "its name is still being looked up: the resolver of this machine does not answer",
        )));
    }
    let (answer, answered) = oneshot::channel();
    let ask = {
        let name = name.clone();
        move || {
            let found = (&*name.0, name.1).to_socket_addrs();
            looked_up().remove(&name);
            // Nobody may wait any more.
            let _ = answer.send(found.map(|found| found.take(MAX_ADDRESSES).collect()));
        }
    };
    let thread = thread::Builder::new().name("look-up".into());
    if let Err(why) = thread.spawn(ask) {
        looked_up().remove(&name);
        return Err(why.into());
    }
    let found = answered
        .await
        .unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
    Ok(found?)
}

fn looked_up() -> MutexGuard<'static, BTreeSet<(String, u16)>> {
    LOOKED_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What takes longer than the deadline counts as a connection that broke.
pub(super) async fn within<T>(
    deadline: Duration,
    exchange: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    timeout(deadline, exchange).await.unwrap_or_else(|_| {
        let late = (ErrorKind::Io, "it did not answer in time");
        Err(RedisError::from(late))
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn an_address_that_does_not_answer_keeps_no_other_from_being_tried() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let answers = listener.local_addr().unwrap();
        // Its queue is full, so that a connection to it is neither taken nor refused.
        let swallows = tokio::net::TcpSocket::new_v4().unwrap();
        swallows.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let full = swallows.listen(0).unwrap();
        let swallows = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(swallows)).await
        {
            waiting.push(stream);
        }
        let stream = reach(&[swallows, answers], Duration::from_secs(2)).await;
        assert_eq!(stream.unwrap().peer_addr().unwrap(), answers);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time() {
        assert!(!look_up("localhost", 1).await.unwrap().is_empty());
        looked_up().insert(("localhost".to_owned(), 2));
        let why = look_up("localhost", 2).await.unwrap_err().to_string();
        assert!(why.contains("still being looked up"), "{why}");
        looked_up().remove(&("localhost".to_owned(), 2));
        assert!(!look_up("localhost", 2).await.unwrap().is_empty());
        assert!(look_up("no-such-name.invalid", 2).await.is_err());
        assert!(!looked_up().contains(&("no-such-name.invalid".to_owned(), 2)));
    }
}
