//! Where a cluster is that somebody else has brought up: the addresses of its agents and of its load balancer, from a TOML
//! file. Compose, Swarm and Kubernetes each have one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::{net::lookup_host, time::timeout};

use super::{ClusterError, Owed};

/// For one look-up of a name.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The folder that `lab secrets` has filled.
    pub(super) secrets: PathBuf,
    /// The nodes' agents.
    pub(super) nodes: Nodes,
    /// The nodes' own port, asked for metrics at the address of their agent.
    #[serde(default = "node_port")]
    pub(super) node_port: u16,
    /// `HOST:PORT` of the load balancer's agent.
    pub(super) load_balancer: String,
    /// `HOST:PORT` of the load balancer's admin port.
    pub(super) admin: String,
    /// `HOST:PORT` of the store's agent, where there is a store.
    pub(super) store: Option<String>,
    /// `HOST:PORT` of the store itself.
    pub(super) store_address: Option<String>,
    /// `http://HOST:PORT` of the load balancer's listener, for each strategy.
    pub(super) urls: BTreeMap<String, String>,
    /// What the run that uses it has to put back.
    #[serde(skip)]
    pub(super) owed: Owed,
}

/// Where the nodes' agents are.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Nodes {
    /// `HOST:PORT`; every address behind the name is one.
    Name(String),
    /// A `HOST:PORT` each, in the order of the nodes' numbers.
    List(Vec<String>),
}

impl Nodes {
    /// The address of each.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, ClusterError> {
        match self {
            Self::Name(name) => resolve(name).await,
            Self::List(names) => try_join_all(names.iter().map(|name| resolve_one(name))).await,
        }
    }
}

fn node_port() -> u16 {
    8080
}

impl Deployment {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ClusterError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ClusterError::Spec(format!(
                "cannot read {}: {error}; --on takes loopback, compose, or a file that describes a cluster that is up",
                path.display()
            ))
        })?;
        toml::from_str(&text).map_err(|error| {
            ClusterError::Spec(format!(
                "{} does not describe a deployment: {error}",
                path.display()
            ))
        })
    }

    /// What is not as it was, and the work that puts it back.
    pub fn owed(&self) -> Owed {
        self.owed.clone()
    }

    /// `HOST:PORT` of the listener for a strategy.
    pub(super) fn listener(&self, strategy: &str) -> Result<&str, ClusterError> {
        let url = self.urls.get(strategy).ok_or_else(|| {
            ClusterError::Spec(format!("the deployment has no URL for {strategy}"))
        })?;
        url.strip_prefix("http://").ok_or_else(|| {
            ClusterError::Spec(format!(
                "the deployment's URL for {strategy} is not http://HOST:PORT"
            ))
        })
    }
}

/// Every address behind `HOST:PORT`, in order and each once. Of a name with addresses of IPv4 and of IPv6 those of one family,
/// the one that the system puts first: nothing tells which two are one node, and each node has one agent.
async fn resolve(name: &str) -> Result<Vec<SocketAddr>, ClusterError> {
    let failed = |why: String| ClusterError::NoAddress {
        name: name.to_owned(),
        why,
    };
    let found = timeout(LOOK_UP_WITHIN, lookup_host(name))
        .await
        .map_err(|_| failed(format!("no answer within {LOOK_UP_WITHIN:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    let addresses = one_family(found.collect());
    if addresses.is_empty() {
        return Err(failed("there is nothing behind the name".into()));
    }
    Ok(addresses)
}

fn one_family(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(first) = addresses.first().copied() {
        addresses.retain(|address| address.is_ipv6() == first.is_ipv6());
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

/// One address behind `HOST:PORT`.
pub(super) async fn resolve_one(name: &str) -> Result<SocketAddr, ClusterError> {
    Ok(resolve(name).await?[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_mistake_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, "secrets = '/secrets'\nnode = 'app:7070'\n").unwrap();
        let error = Deployment::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("cluster.toml") && error.contains("node"),
            "{error}"
        );
    }

    #[test]
    fn both_addresses_of_a_node_are_one_agent() {
        let parse = |all: &[&str]| {
            all.iter()
                .map(|one| one.parse().unwrap())
                .collect::<Vec<_>>()
        };
        let found = [
            "[fd00::2]:1",
            "[fd00::1]:1",
            "[fd00::2]:1",
            "10.0.0.1:1",
            "10.0.0.2:1",
        ];
        let six = parse(&["[fd00::1]:1", "[fd00::2]:1"]);
        assert_eq!(one_family(parse(&found)), six);
        let four = parse(&["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(one_family(parse(&found[3..])), four);
        assert_eq!(one_family(vec![]), vec![]);
    }

    #[tokio::test]
    async fn an_address_is_its_own_name() {
        for address in ["127.0.0.1:7070", "[::1]:7070"] {
            let itself: SocketAddr = address.parse().unwrap();
            assert_eq!(resolve(address).await.unwrap(), [itself]);
        }
        let error = resolve("no-such-host.invalid:1").await.unwrap_err();
        assert!(
            error.to_string().contains("no-such-host.invalid:1"),
            "{error}"
        );
    }
}
