//! The cluster as runs and tests use it: its figures, faults in the middle, and its end.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

use std::{
    hash::{BuildHasher, RandomState},
    net::Ipv4Addr,
    time::Duration,
};

use agent::Ready;
use loadtest::cluster::{Cluster, ClusterSpec};

/// One node with everything cheap, on a loopback address that no other test uses.
fn spec(strategies: &[&str]) -> ClusterSpec {
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_le_bytes();
    ClusterSpec {
        nodes: 1,
        strategies: strategies.iter().map(ToString::to_string).collect(),
        ip: Ipv4Addr::new(127, a % 253 + 1, b, c % 253 + 1),
        public_ports: vec![0; strategies.len()],
        accounts: 10,
        password_memory_kib: 8,
        password_iterations: 1,
        ..ClusterSpec::default()
    }
}

#[tokio::test]
async fn figures_of_store_and_processes_can_be_read() {
    let cluster = Cluster::start(spec(&["redis"])).await.unwrap();
    let before = cluster.store_info().await.unwrap().unwrap();
    let after = cluster.store_info().await.unwrap().unwrap();
    assert!(before.used_memory_bytes > 0);
    assert!(
        after.commands_processed > before.commands_processed,
        "the question itself is a command"
    );
    for process in cluster
        .nodes()
        .iter()
        .chain([cluster.balancer(), cluster.store().unwrap()])
    {
        assert!(
            process.usage().await.unwrap().anon_bytes > 0,
            "{}",
            process.name()
        );
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_strategy_without_store_gets_none() {
    let cluster = Cluster::start(spec(&["jwt"])).await.unwrap();
    assert!(cluster.store().is_none());
    assert_eq!(cluster.store_info().await.unwrap(), None);
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn it_ends_in_order_with_a_dead_node_and_a_frozen_store() {
    let cluster = Cluster::start(spec(&["sticky", "redis"])).await.unwrap();
    let folder = cluster.dir().to_owned();
    cluster.node("node-1").unwrap().kill().await.unwrap();
    cluster.store().unwrap().pause().await.unwrap();
    assert!(folder.exists());
    cluster.shutdown().await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn dropping_it_leaves_nothing_behind() {
    let cluster = Cluster::start(spec(&["jwt"])).await.unwrap();
    let folder = cluster.dir().to_owned();
    let node = cluster.nodes()[0].here().unwrap().spec().ready.clone();
    drop(cluster);
    assert!(!folder.exists());
    assert!(matches!(node, Ready::Http { .. }) && node.wait(Duration::ZERO).await.is_err());
}
