//! Which nodes there are: a fixed list, or the addresses behind a DNS name, asked for every second.
//!
//! One pingora background service keeps the node sets of all listeners. It reports ready after the first
//! round of checks, and the listeners wait for that: whoever can connect finds proven nodes. A failed
//! look-up changes nothing: the last good set stays, and its health checks go on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};
use tokio::{
    net::lookup_host,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    config::{NodeAddress, NodeSource},
    group::{Difference, Group, diff},
    health::Checker,
    node::Node,
};

/// How often a name is resolved.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// How long one look-up may take before it counts as failed.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(1);
/// More nodes than this are not taken from one answer.
const MAX_NODES: usize = 256;

/// Keeps the node sets of all listeners.
pub(crate) struct Discovery {
    source: NodeSource,
    checkers: Vec<(Arc<Group>, Arc<Checker>)>,
}

impl Discovery {
    /// Fails only if a health check's request cannot be written in HTTP.
    pub(crate) fn new(source: NodeSource, groups: &[Arc<Group>]) -> pingora::Result<Self> {
        let checkers = groups
            .iter()
            .map(|group| {
                Ok((
                    Arc::clone(group),
                    Arc::new(Checker::new(Arc::clone(group))?),
                ))
            })
            .collect::<pingora::Result<_>>()?;
        Ok(Self { source, checkers })
    }

    /// Brings every listener's set in line with what was found. Returns the nodes that are new.
    fn apply(&self, found: &[NodeAddress]) -> Vec<(Arc<Checker>, Arc<Node>)> {
        let mut fresh = Vec::new();
        for (group, checker) in &self.checkers {
            let change = diff(&group.nodes.load(), found, |found| group.node(found));
            let Some(Difference {
                nodes,
                added,
                removed,
            }) = change
            else {
                continue;
            };
            group.nodes.store(nodes);
            for node in removed {
                info!(listener = group.strategy, node = node.name, "node is gone");
                node.retire();
            }
            fresh.extend(added.into_iter().map(|node| (Arc::clone(checker), node)));
        }
        fresh
    }

    async fn follow(&self, resolver: &mut Resolver, watches: &mut JoinSet<()>) {
        loop {
            sleep(LOOKUP_INTERVAL).await;
            // Tasks of removed nodes have ended by themselves.
            while watches.try_join_next().is_some() {}
            let Some(found) = resolver.resolve().await else {
                continue;
            };
            for (checker, node) in self.apply(&found) {
                watches.spawn(async move {
                    checker.check(&node).await;
                    checker.watch(node).await;
                });
            }
        }
    }
}

#[async_trait]
impl BackgroundService for Discovery {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let mut resolver = match &self.source {
            NodeSource::List(_) => None,
            NodeSource::Dns(name) => Some(Resolver::new(name.clone())),
        };
        let found = match (&self.source, &mut resolver) {
            (NodeSource::List(list), _) => list.clone(),
            (NodeSource::Dns(_), Some(resolver)) => resolver.resolve().await.unwrap_or_default(),
            (NodeSource::Dns(_), None) => Vec::new(),
        };

        let fresh = self.apply(&found);
        let mut first_round = JoinSet::new();
        for (checker, node) in fresh.clone() {
            first_round.spawn(async move { checker.check(&node).await });
        }
        first_round.join_all().await;
        ready.notify_ready();

        let mut watches: JoinSet<()> = fresh
            .into_iter()
            .map(|(checker, node)| checker.watch(node))
            .collect();
        // Dropping the tasks ends the checks: nobody needs them while the balancer shuts down.
        match &mut resolver {
            Some(resolver) => tokio::select! {
                () = self.follow(resolver, &mut watches) => {}
                _ = shutdown.changed() => {}
            },
            None => {
                let _ = shutdown.changed().await;
            }
        }
    }
}

/// Resolves one name, never more than once at a time: the resolver of the system cannot be interrupted,
/// and look-ups that hang would pile up threads.
struct Resolver {
    name: String,
    pending: Option<JoinHandle<std::io::Result<Vec<SocketAddr>>>>,
    failing: bool,
}

impl Resolver {
    fn new(name: String) -> Self {
        Self {
            name,
            pending: None,
            failing: false,
        }
    }

    /// The nodes behind the name, or `None` when that could not be found out now.
    async fn resolve(&mut self) -> Option<Vec<NodeAddress>> {
        let outcome = self.look_up().await;
        match &outcome {
            Err(reason) if !self.failing => {
                warn!(
                    name = self.name,
                    reason, "look-up failed, keeping the nodes known so far"
                );
            }
            Ok(_) if self.failing => info!(name = self.name, "look-up works again"),
            _ => {}
        }
        self.failing = outcome.is_err();
        outcome.ok()
    }

    async fn look_up(&mut self) -> Result<Vec<NodeAddress>, String> {
        let name = &self.name;
        let pending = self.pending.get_or_insert_with(|| {
            let name = name.clone();
            tokio::spawn(async move { Ok(lookup_host(name).await?.take(MAX_NODES).collect()) })
        });
        let Ok(finished) = timeout(LOOKUP_DEADLINE, pending).await else {
            return Err(format!(
                "no answer within {} ms",
                LOOKUP_DEADLINE.as_millis()
            ));
        };
        self.pending = None;
        let addresses: Vec<SocketAddr> = finished
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        if addresses.is_empty() {
            return Err("no address".to_owned());
        }
        // Behind a name, the address is all there is to tell nodes apart. No cookie shows it.
        let node = |address: SocketAddr| NodeAddress {
            name: address.to_string(),
            address,
        };
        Ok(addresses.into_iter().map(node).collect())
    }
}
