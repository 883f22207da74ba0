//! The proxies on links that are to be disturbed. Who uses such a link is given the proxy's address in the place of the
//! target's; nobody else pays for it.

use std::net::SocketAddr;

use agent::link::{Link, Links};

use super::{
    ClusterError, ClusterSpec, LinkName, STORE, files::Node, processes::free_address, store::Store,
};

/// All proxies of a cluster.
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
