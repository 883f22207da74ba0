//! What cluster is wanted. The defaults are those of `lab up` and of the programs themselves.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use evidence::strategy::{ALL, Table};
use serde::{Deserialize, Serialize};

use super::ClusterError;

/// More nodes than any machine that runs all of them can serve.
pub const MOST_NODES: usize = 64;

pub use evidence::part::{LOAD_BALANCER, STORE};

/// Which load balancer stands in front of the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerKind {
    /// Ours.
    #[default]
    Pingora,
    /// HAProxy, with the same timeouts, checks and retries.
    Haproxy,
}

impl BalancerKind {
    /// As scenarios, histories and results write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pingora => "pingora",
            Self::Haproxy => "haproxy",
        }
    }
}

/// Whom a load balancer with affinity pins to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinRule {
    /// Clients whose session starts.
    Session,
    /// Every client, with its first answer.
    Everybody,
}

/// The way from one process to another, on which a proxy stands: `load-balancer->node-2`, `node-2->store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName {
    /// Who connects.
    pub from: String,
    /// To whom.
    pub to: String,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

/// A cluster on loopback.
#[derive(Clone)]
pub struct ClusterSpec {
    /// The node's program; ours where none is given.
    pub shop: Option<PathBuf>,
    /// How many nodes: `node-1`, `node-2` …
    pub nodes: usize,
    /// Nodes that follow them in number, known to the load balancer but not started.
    pub spare_nodes: usize,
    /// The strategies that each node serves side by side (`all` that it knows), each with a listener of its own at the load balancer.
    pub strategies: Vec<String>,
    /// Where everything listens. Tests take an address of their own in 127.0.0.0/8, or `::1`.
    pub ip: IpAddr,
    /// The load balancer's port for each strategy; 0 takes a free one. Empty: those of the table.
    pub public_ports: Vec<u16>,
    /// Whether the load balancer sends a client to the same node; `None` leaves it to the strategy's need.
    pub affinity: Option<bool>,
    /// Whom it pins; `None` leaves it to the load balancer's default.
    pub pin: Option<PinRule>,
    /// How many demo accounts there are.
    pub accounts: u32,
    /// The password of all of them; made at start where there is none.
    pub password: Option<String>,
    /// Memory that argon2id takes for one password.
    pub password_memory_kib: u32,
    /// Passes that argon2id makes over that memory.
    pub password_iterations: u32,
    /// CPU work added to each request.
    pub work_us: u64,
    /// CPU that each node may use at most, in cores; `None` sets no limit.
    pub quota: Option<f64>,
    /// More flags for every node, after all others.
    pub shop_args: Vec<String>,
    /// More environment for every node, such as `RUST_LOG`.
    pub env: Vec<(String, String)>,
    /// More tables for the load balancer's configuration, such as `[health]`; or nothing.
    pub balancer_toml: String,
    /// Which load balancer.
    pub balancer: BalancerKind,
    /// Whether there is a store although no strategy needs one: so that the same fault can hit every strategy.
    pub store: bool,
    /// Where a proxy stands, so that the link can be disturbed. Each costs every request on it a detour.
    pub links: Vec<LinkName>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            shop: None,
            nodes: 3,
            spare_nodes: 0,
            strategies: vec![ALL.to_owned()],
            ip: Ipv4Addr::LOCALHOST.into(),
            public_ports: Vec::new(),
            affinity: None,
            pin: None,
            accounts: 100_000,
            password: None,
            password_memory_kib: 19_456,
            password_iterations: 2,
            work_us: 0,
            quota: None,
            shop_args: vec![],
            env: vec![],
            balancer_toml: String::new(),
            balancer: BalancerKind::Pingora,
            store: false,
            links: vec![],
        }
    }
}

impl ClusterSpec {
    /// The spec with every strategy and port by name and number.
    pub(super) fn resolved(mut self, table: &Table) -> Self {
        self.strategies = table.resolve(&self.strategies);
        if self.public_ports.is_empty() {
            let rows = self.strategies.iter().map(|name| table.about(name));
            self.public_ports = rows
                .map(|about| about.map_or(0, |about| about.port))
                .collect();
        }
        self
    }

    /// The checks that need nothing but the spec. The values of flags are checked by the programs themselves.
    pub(super) fn check(&self, table: &Table) -> Result<(), ClusterError> {
        let wrong = |message: String| Err(ClusterError::Spec(message));
        if self.strategies.is_empty() {
            return wrong(format!("no strategy is given; there are: {}", table.list()));
        }
        for (position, strategy) in self.strategies.iter().enumerate() {
            if !table.names().contains(&strategy.as_str()) {
                return wrong(format!(
                    "there is no strategy {strategy:?}; there are: {}",
                    table.list()
                ));
            }
            if self.strategies[..position].contains(strategy) {
                return wrong(format!("strategy {strategy} is given twice"));
            }
        }
        if self.public_ports.len() != self.strategies.len() {
            return wrong(format!(
                "{} ports for {} strategies: each needs one",
                self.public_ports.len(),
                self.strategies.len()
            ));
        }
        if self.nodes == 0 || self.nodes + self.spare_nodes > MOST_NODES {
            return wrong(format!(
                "{} nodes: between 1 and {MOST_NODES} are possible",
                self.nodes + self.spare_nodes
            ));
        }
        let has_settings = !self.balancer_toml.is_empty() || self.pin.is_some();
        if self.balancer == BalancerKind::Haproxy && has_settings {
            return wrong("these settings are for our own load balancer, not for HAProxy".into());
        }
        for link in &self.links {
            let to_node = link.from == LOAD_BALANCER && self.has_node(&link.to);
            let to_store = link.to == STORE && self.has_node(&link.from) && self.has_store(table);
            if !to_node && !to_store {
                return wrong(format!("there is no link {link}"));
            }
        }
        Ok(())
    }

    /// The names of all nodes, spare ones last.
    pub(super) fn node_names(&self) -> impl Iterator<Item = String> {
        (1..=self.nodes + self.spare_nodes).map(|number| format!("node-{number}"))
    }

    fn has_node(&self, name: &str) -> bool {
        self.node_names().any(|node| node == name)
    }

    /// Whether there is a store, needed or not.
    pub(super) fn has_store(&self, table: &Table) -> bool {
        self.store || self.needs_store(table)
    }

    /// Whether a strategy keeps its state in a store.
    pub(super) fn needs_store(&self, table: &Table) -> bool {
        table.any_needs_store(&self.strategies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample::table;

    fn wrong(change: impl FnOnce(&mut ClusterSpec)) -> String {
        let mut spec = ClusterSpec::default().resolved(&table());
        change(&mut spec);
        spec.check(&table()).unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_right() {
        ClusterSpec::default()
            .resolved(&table())
            .check(&table())
            .unwrap();
    }

    #[test]
    fn mistakes_are_told_with_what_is_allowed() {
        let unknown = wrong(|spec| spec.strategies[1] = "memcached".into());
        assert_eq!(
            unknown,
            r#"there is no strategy "memcached"; there are: sticky, redis, jwt"#
        );
        assert_eq!(
            wrong(|spec| spec.strategies[1] = "jwt".into()),
            "strategy jwt is given twice"
        );
        assert!(wrong(|spec| spec.strategies.clear()).starts_with("no strategy is given"));
        assert!(wrong(|spec| spec.nodes = 0).starts_with("0 nodes"));
        assert!(wrong(|spec| spec.public_ports.clear()).starts_with("0 ports for 3 strategies"));
    }

    #[test]
    fn only_a_strategy_with_a_store_needs_redis() {
        let mut spec = ClusterSpec::default().resolved(&table());
        assert!(spec.needs_store(&table()) && spec.has_store(&table()));
        spec.strategies.retain(|strategy| strategy != "redis");
        assert!(!spec.needs_store(&table()) && !spec.has_store(&table()));
        spec.store = true;
        assert!(!spec.needs_store(&table()) && spec.has_store(&table()));
    }

    #[test]
    fn a_link_leads_from_the_balancer_to_a_node_or_from_a_node_to_a_store() {
        let check = |from: &str, to: &str, strategy: &str| {
            let link = LinkName {
                from: from.into(),
                to: to.into(),
            };
            let spec = ClusterSpec {
                strategies: vec![strategy.into()],
                public_ports: vec![0],
                links: vec![link],
                ..ClusterSpec::default()
            };
            spec.check(&table()).is_ok()
        };
        assert!(check("load-balancer", "node-3", "jwt"));
        assert!(check("node-1", "store", "redis"));
        assert!(!check("node-1", "store", "jwt"), "no store");
        assert!(!check("load-balancer", "node-4", "jwt"), "no such node");
        assert!(!check("node-1", "node-2", "redis"));
    }
}
