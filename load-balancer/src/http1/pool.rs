//! Connections to nodes that wait for their next request, and how new ones are made.
//!
//! Each thread has its own: a connection stays where its socket is watched, so using one again wakes no other
//! thread and takes no lock. The one used last is taken first, which lets the others grow old and go.

use std::{cell::RefCell, io, sync::Arc, time::Duration};

use rustix::net::{RecvFlags, recv};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::node::Node;

/// Unused connections to one node that a thread keeps.
const KEPT: usize = 256;
/// A connection that rested longer is looked at by the kernel before any request is sent on it.
const RESTED: Duration = Duration::from_secs(1);

thread_local! {
    static POOL: RefCell<Vec<IdleConnections>> = const { RefCell::new(Vec::new()) };
}

/// The unused connections to one node.
struct IdleConnections {
    node: Arc<Node>,
    connections: Vec<(TcpStream, Instant)>,
}

/// An unused connection to the node that it did not close. `must_not_repeat` says that the request cannot
/// be offered to another node once it was sent.
pub(crate) fn take(node: &Arc<Node>, must_not_repeat: bool, now: Instant) -> Option<TcpStream> {
    POOL.with_borrow_mut(|pool| {
        let idle = pool.iter_mut().find(|idle| Arc::ptr_eq(&idle.node, node))?;
        loop {
            let (connection, since) = idle.connections.pop()?;
            let is_careful = must_not_repeat || now.duration_since(since) > RESTED;
            if is_quiet(&connection) && (!is_careful || is_open(&connection)) {
                return Some(connection);
            }
        }
    })
}

/// Keeps a connection whose last answer has ended.
pub(crate) fn give(node: &Arc<Node>, connection: TcpStream, now: Instant) {
    if node.is_retired() {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        let index = pool
            .iter()
            .position(|idle| Arc::ptr_eq(&idle.node, node))
            .unwrap_or_else(|| {
                pool.push(IdleConnections {
                    node: Arc::clone(node),
                    connections: Vec::new(),
                });
                pool.len() - 1
            });
        let connections = &mut pool[index].connections;
        if connections.len() < KEPT {
            connections.push((connection, now));
        }
    });
}

/// Closes what nobody used for `idle`, what the node closed, and what belongs to nodes that are gone.
pub(crate) fn sweep(idle: Duration, now: Instant) {
    POOL.with_borrow_mut(|pool| {
        pool.retain_mut(|kept| {
            kept.connections.retain(|(connection, since)| {
                now.duration_since(*since) < idle && is_quiet(connection)
            });
            !kept.node.is_retired()
        });
    });
}

/// Has nothing come, no byte and no end? Costs no system call while that is so, as far as the runtime knows.
fn is_quiet(connection: &TcpStream) -> bool {
    let nothing = connection.try_read(&mut [0]);
    matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The same, asked of the kernel, which may know of an end that the runtime has not been told yet.
fn is_open(connection: &TcpStream) -> bool {
    matches!(
        recv(
            connection,
            &mut [0; 1][..],
            RecvFlags::PEEK | RecvFlags::DONTWAIT
        ),
        Err(rustix::io::Errno::AGAIN)
    )
}

/// Opens a connection.
pub(crate) async fn connect(node: &Node, within: Duration) -> io::Result<TcpStream> {
    let connection = timeout(within, TcpStream::connect(node.address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    connection.set_nodelay(true)?;
    Ok(connection)
}
