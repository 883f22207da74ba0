//! A cluster for tests in which everything is cheap.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use cluster::ClusterSpec;

/// On a loopback address that no other test uses.
pub(crate) fn spec(nodes: usize, strategies: &[&str]) -> ClusterSpec {
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_le_bytes();
    ClusterSpec {
        nodes,
        strategies: strategies.iter().map(ToString::to_string).collect(),
        ip: Ipv4Addr::new(127, a % 253 + 1, b, c % 253 + 1).into(),
        public_ports: vec![0; strategies.len()],
        accounts: 10,
        password_memory_kib: 8,
        password_iterations: 1,
        ..ClusterSpec::default()
    }
}
