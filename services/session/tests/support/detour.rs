//! An address in front of a store that can be moved, as a name or a virtual address can: what is connected stays where
//! it is, and what connects from now on goes elsewhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Detour {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listens: JoinHandle<()>,
}

struct Shared {
    leads_to: Mutex<SocketAddr>,
    opened: AtomicUsize,
    /// Connections with a lower number carry nothing any more.
    dead_below: AtomicUsize,
}

impl Detour {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let shared = Arc::new(Shared {
            leads_to: Mutex::new(target),
            opened: AtomicUsize::new(0),
            dead_below: AtomicUsize::new(0),
        });
        Self {
            address: listener.local_addr().unwrap(),
            listens: tokio::spawn(listen(listener, shared.clone())),
            shared,
        }
    }

    /// Where the next connections lead.
    pub(crate) fn leads_to(&self, target: SocketAddr) {
        *self.shared.leads_to.lock().unwrap() = target;
    }

    /// The connections that there are stay open and carry nothing any more: no answer, no end.
    pub(crate) fn swallow(&self) {
        let opened = self.shared.opened.load(Ordering::SeqCst);
        self.shared.dead_below.store(opened, Ordering::SeqCst);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let number = shared.opened.fetch_add(1, Ordering::SeqCst);
        let target = *shared.leads_to.lock().unwrap();
        let shared = shared.clone();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            tokio::join!(
                carry(from_near, to_far, &shared, number),
                carry(from_far, to_near, &shared, number)
            );
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, number: usize) {
    let is_dead = || number < shared.dead_below.load(Ordering::SeqCst);
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if !is_dead() && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    if is_dead() {
        std::future::pending::<()>().await;
    }
}
