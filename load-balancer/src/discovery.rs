//! Which nodes there are: a fixed list, or the addresses behind a DNS name, asked for every second.
//!
//! One pingora background service keeps the node sets of all listeners. It reports ready after the first
//! round of checks, and the listeners wait for that: whoever can connect finds proven nodes. A failed
//! look-up changes nothing: the last good set stays, and its health checks go on.
//!
//! **A name with addresses of IPv4 and of IPv6.** Nothing tells which two of them are one node, and a node that counted
//! twice would get twice its share, and sessions under two names. So nodes are those of one family: the one that the
//! system puts first, which is one that this machine has (RFC 6724, `gai.conf`), and then that one for as long as the name
//! has addresses of it.

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
    group::Group,
    health::Checker,
    node::Node,
    node_set::{Difference, diff},
};

/// How often a name is resolved.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// How long one look-up may take before it counts as failed.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(1);
/// More nodes than this are not taken from one answer.
const MAX_NODES: usize = 256;
/// A name server may answer for one family and fail for the other. So many look-ups in a row without an address of the
/// nodes' family count as failed; then the nodes have moved to the other one.
const MISSING_LOOKUPS: u32 = 5;

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
    family: Family,
}

impl Resolver {
    fn new(name: String) -> Self {
        Self {
            name,
            pending: None,
            failing: false,
            family: Family::default(),
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
            tokio::spawn(async move { Ok(lookup_host(name).await?.take(2 * MAX_NODES).collect()) })
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
        let mut addresses = self.family.only(addresses)?;
        addresses.truncate(MAX_NODES);
        // Behind a name, the address is all there is to tell nodes apart. No cookie shows it.
        let node = |address: SocketAddr| NodeAddress {
            name: address.to_string(),
            address,
        };
        Ok(addresses.into_iter().map(node).collect())
    }
}

/// The family of the nodes behind a name.
#[derive(Default)]
struct Family {
    /// Unknown until the first answer.
    is_ipv6: Option<bool>,
    /// Look-ups in a row that lacked it.
    missing: u32,
}

impl Family {
    /// Of what a look-up found, the addresses of the nodes' family.
    fn only(&mut self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, &'static str> {
        let first = found.first().ok_or("no address")?.is_ipv6();
        let is_ipv6 = *self.is_ipv6.get_or_insert(first);
        if found.iter().any(|address| address.is_ipv6() == is_ipv6) {
            self.missing = 0;
            let ours = found.into_iter();
            return Ok(ours.filter(|one| one.is_ipv6() == is_ipv6).collect());
        }
        self.missing += 1;
        if self.missing < MISSING_LOOKUPS {
            return Err("only addresses of the other family, IPv4 or IPv6");
        }
        *self = Self {
            is_ipv6: Some(first),
            missing: 0,
        };
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(family: &mut Family, found: &[&str]) -> Result<Vec<String>, &'static str> {
        let found = found.iter().map(|text| text.parse().unwrap()).collect();
        let ours = family.only(found)?;
        Ok(ours.iter().map(SocketAddr::to_string).collect())
    }

    #[test]
    fn a_node_with_two_addresses_is_one_node() {
        let (four, six) = ("10.0.0.1:80", "[fd00::1]:80");
        assert_eq!(
            only(&mut Family::default(), &[four, six]),
            Ok(vec![four.into()])
        );
        let mut family = Family::default();
        assert_eq!(only(&mut family, &[six, four]), Ok(vec![six.into()]));
        // Another order later is no other node.
        assert_eq!(only(&mut family, &[four, six]), Ok(vec![six.into()]));
    }

    #[test]
    fn a_family_alone_is_taken_whole() {
        for all in [
            ["10.0.0.1:80", "10.0.0.2:80"],
            ["[fd00::1]:80", "[fd00::2]:80"],
        ] {
            assert_eq!(only(&mut Family::default(), &all).unwrap(), all);
        }
        assert_eq!(only(&mut Family::default(), &[]), Err("no address"));
    }

    #[test]
    fn half_an_answer_moves_nobody_and_a_lasting_one_does() {
        let mut family = Family::default();
        let (four, six) = ("10.0.0.1:80", "[fd00::1]:80");
        only(&mut family, &[six, four]).unwrap();
        for _ in 1..MISSING_LOOKUPS {
            only(&mut family, &[four]).unwrap_err();
        }
        // The family was there again, so the count begins anew.
        only(&mut family, &[four, six]).unwrap();
        for _ in 1..MISSING_LOOKUPS {
            only(&mut family, &[four]).unwrap_err();
        }
        assert_eq!(only(&mut family, &[four]), Ok(vec![four.into()]));
        assert_eq!(only(&mut family, &[six, four]), Ok(vec![four.into()]));
    }
}
