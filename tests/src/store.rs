//! The store of a cluster in a test's hands: asked with its own commands, or moved to another port so that something
//! else can stand in its place.

use std::net::SocketAddr;

use agent::{Agent, ProcessSpec, Ready, ports, resp};
use cluster::Cluster;

use crate::eventually;

/// The Redis of a cluster.
pub struct Store<'a> {
    /// The supervisor of its process.
    pub agent: &'a Agent,
    /// Where the nodes expect it.
    pub address: SocketAddr,
    /// Its `requirepass`.
    pub password: String,
}

impl<'a> Store<'a> {
    /// The store of `cluster`, which must have one.
    pub fn of(cluster: &'a Cluster) -> Self {
        let store = cluster.store().expect("a store");
        let agent = store.here().expect("on loopback");
        match &agent.spec().ready {
            Ready::RedisPing { address, password } => Self {
                agent,
                address: *address,
                password: password.clone().expect("a password"),
            },
            _ => panic!("the store is not a Redis"),
        }
    }

    /// Sends one command, written as in the manual, that must succeed.
    pub async fn ask(&self, command: &str) -> String {
        self.try_ask(&self.password, command)
            .await
            .expect("the store does as it is told")
    }

    /// Sends one command with another password than the first one, or one that may be refused.
    pub async fn try_ask(&self, password: &str, command: &str) -> std::io::Result<String> {
        let words: Vec<&str> = command.split(' ').collect();
        resp::ask(self.address, Some(password), &words).await
    }

    /// SIGKILL, when everything that was acknowledged is written down.
    ///
    /// With `appendfsync everysec` Redis normally writes before it answers. But while an fsync is under way, and on a
    /// busy disk that takes long, it answers first and writes up to two seconds later.
    pub async fn kill(&self) {
        eventually("the store has written everything", async || {
            let info = self.ask("INFO persistence").await;
            info.contains("aof_buffer_length:0").then_some(())
        })
        .await;
        self.agent.kill().await.expect("killed");
    }

    /// How many connections clients hold, without the one that asks.
    pub async fn clients(&self) -> usize {
        let list = self.ask("CLIENT LIST TYPE normal").await;
        list.lines().filter(|line| !line.is_empty()).count() - 1
    }

    /// An agent for the next life of the same data, on another port. The store itself must have been killed before.
    pub fn elsewhere(&self) -> (Agent, SocketAddr) {
        let port = ports::free(self.address.ip()).expect("a free port");
        let address = SocketAddr::new(self.address.ip(), port);
        let ready = Ready::RedisPing {
            address,
            password: Some(self.password.clone()),
        };
        let port = port.to_string();
        (self.next_life(&["--port", &port], ready), address)
    }

    /// An agent for the next life of the same data with more settings. The store itself must have been killed before.
    pub fn next_life(&self, settings: &[&str], ready: Ready) -> Agent {
        let spec = self.agent.spec().clone();
        let more = settings.iter().map(ToString::to_string);
        Agent::new(ProcessSpec {
            args: spec.args.into_iter().chain(more).collect(),
            ready,
            ..spec
        })
    }
}
