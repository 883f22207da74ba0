//! The proxies on links that are to be disturbed. On loopback they run in this program, one on each link that a scenario
//! names, and who uses such a link is given the proxy's address in the place of the target's; nobody else pays for it.
//! Elsewhere they run in the node's agent, where the deployment has put them.

use std::{net::SocketAddr, time::Duration};

use agent::{
    AgentError, Remote,
    link::{Disturbance, Link, Links, Met, probe},
};

use super::{
    ClusterError, ClusterSpec, LinkName, STORE, files::Node, processes::free_address, store::Store,
};

/// The proxy on a link.
pub enum Proxy<'a> {
    /// In this program.
    Here(&'a Link),
    /// In the agent of a node, which knows it by who or what is at the other end.
    There(&'a Remote, &'a str),
}

impl Proxy<'_> {
    /// Disturbs the link from now on.
    pub async fn disturb(&self, disturbance: Disturbance) -> Result<(), AgentError> {
        match self {
            Self::Here(link) => {
                link.disturb(disturbance);
                Ok(())
            }
            Self::There(agent, name) => agent.disturb(name, disturbance).await,
        }
    }

    /// Disturbs it no more.
    pub async fn heal(&self) -> Result<(), AgentError> {
        match self {
            Self::Here(link) => {
                link.heal();
                Ok(())
            }
            Self::There(agent, name) => agent.undisturb(name).await,
        }
    }

    /// Sends a question the way that requests go, and says what it met.
    pub async fn probe(&self, question: &str, patience: Duration) -> Result<Met, AgentError> {
        match self {
            Self::Here(link) => Ok(probe(link.address(), question.as_bytes(), patience).await),
            Self::There(agent, name) => agent.probe(name, question, patience).await,
        }
    }

    /// Connections that exist now.
    pub async fn connections(&self) -> Result<usize, AgentError> {
        match self {
            Self::Here(link) => Ok(link.connections()),
            Self::There(agent, name) => {
                let status = agent.status().await?;
                let links = status.links.open.iter();
                Ok(links
                    .filter(|link| link.name == *name)
                    .map(|link| link.connections)
                    .sum())
            }
        }
    }
}

/// All proxies of a cluster on loopback.
pub(super) struct Proxies {
    /// Dropped before the thread that they run on.
    open: Vec<(LinkName, Link)>,
    links: Links,
}

impl Proxies {
    /// Opens one on each link that the spec names; `None` where it names none.
    pub(super) fn open(
        spec: &ClusterSpec,
        nodes: &[Node],
        store: Option<&Store>,
    ) -> Result<Option<Self>, ClusterError> {
        let Some(first) = spec.links.first() else {
            return Ok(None);
        };
        let failed = |link: &LinkName, source| ClusterError::Link {
            link: link.to_string(),
            source,
        };
        let links = Links::start().map_err(|source| failed(first, source))?;
        let mut open: Vec<(LinkName, Link)> = Vec::new();
        for name in &spec.links {
            // A link may be disturbed several times; one proxy is enough.
            if open.iter().any(|(known, _)| known == name) {
                continue;
            }
            let target = if name.to == STORE {
                store.map(|store| store.address)
            } else {
                let node = nodes.iter().find(|node| node.name == name.to);
                node.map(|node| node.address)
            };
            let target =
                target.ok_or_else(|| ClusterError::Spec(format!("there is no link {name}")))?;
            let link = links
                .open(free_address(spec)?, target)
                .map_err(|source| failed(name, source))?;
            open.push((name.clone(), link));
        }
        Ok(Some(Self { open, links }))
    }

    /// The proxy on a link.
    pub(super) fn get(&self, from: &str, to: &str) -> Option<&Link> {
        self.open
            .iter()
            .find(|(name, _)| name.from == from && name.to == to)
            .map(|(_, link)| link)
    }

    /// What all of them have used.
    pub(super) async fn cpu_us(&self) -> Option<u64> {
        self.links.cpu_us().await.ok()
    }
}

/// Where to connect for a link on which a proxy stands.
pub(super) fn way(proxies: Option<&Proxies>, from: &str, to: &str) -> Option<SocketAddr> {
    proxies?.get(from, to).map(Link::address)
}
