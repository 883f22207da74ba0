//! What cluster is wanted. The defaults are those of `lab up` and of the programs themselves.

use std::net::Ipv4Addr;

use session::StateLives;

use super::ClusterError;

/// More nodes than any machine that runs all of them can serve.
pub const MOST_NODES: usize = 64;

/// A cluster on loopback.
#[derive(Clone)]
pub struct ClusterSpec {
    /// How many nodes: `node-1`, `node-2` …
    pub nodes: usize,
    /// The strategies that each node serves side by side, each with a listener of its own at the load balancer.
    pub strategies: Vec<String>,
    /// Where everything listens. Tests take an address of their own in 127.0.0.0/8.
    pub ip: Ipv4Addr,
    /// The load balancer's port for each strategy; 0 takes a free one.
    pub public_ports: Vec<u16>,
    /// Whether the load balancer sends a client to the same node; `None` leaves it to the strategy's need.
    pub affinity: Option<bool>,
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
    /// More flags for every node, after all others.
    pub shop_args: Vec<String>,
    /// More environment for every node, such as `RUST_LOG`.
    pub env: Vec<(String, String)>,
    /// More tables for the load balancer's configuration, such as `[health]`; or nothing.
    pub balancer_toml: String,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            nodes: 3,
            strategies: ["sticky", "redis", "jwt"].map(str::to_owned).to_vec(),
            ip: Ipv4Addr::LOCALHOST,
            public_ports: vec![8081, 8082, 8083],
            affinity: None,
            accounts: 100_000,
            password: None,
            password_memory_kib: 19_456,
            password_iterations: 2,
            work_us: 0,
            shop_args: vec![],
            env: vec![],
            balancer_toml: String::new(),
        }
    }
}

impl ClusterSpec {
    /// The checks that need nothing but the spec. The values of flags are checked by the programs themselves.
    pub(super) fn check(&self) -> Result<(), ClusterError> {
        let known: Vec<&str> = session::STRATEGIES.iter().map(|known| known.name).collect();
        let wrong = |message: String| Err(ClusterError::Spec(message));
        if self.strategies.is_empty() {
            return wrong(format!(
                "no strategy is given; there are: {}",
                known.join(", ")
            ));
        }
        for (position, strategy) in self.strategies.iter().enumerate() {
            if !known.contains(&strategy.as_str()) {
                return wrong(format!(
                    "there is no strategy {strategy:?}; there are: {}",
                    known.join(", ")
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
        if !(1..=MOST_NODES).contains(&self.nodes) {
            return wrong(format!(
                "{} nodes: between 1 and {MOST_NODES} are possible",
                self.nodes
            ));
        }
        Ok(())
    }

    /// Whether a strategy keeps its state in a store.
    pub(super) fn needs_redis(&self) -> bool {
        session::STRATEGIES.iter().any(|known| {
            known.state_lives == StateLives::Store
                && self.strategies.iter().any(|wanted| wanted == known.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut ClusterSpec)) -> String {
        let mut spec = ClusterSpec::default();
        change(&mut spec);
        spec.check().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_right() {
        ClusterSpec::default().check().unwrap();
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
        let mut spec = ClusterSpec::default();
        assert!(spec.needs_redis());
        spec.strategies.retain(|strategy| strategy != "redis");
        assert!(!spec.needs_redis());
    }
}
