//! The cluster as runs and tests use it: its figures, faults in the middle, and its end.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

mod cheap;

use std::time::Duration;

use agent::Ready;
use cheap::spec;
use cluster::Cluster;

#[tokio::test]
async fn figures_of_store_and_processes_can_be_read() {
    let cluster = Cluster::start(spec(1, &["redis"])).await.unwrap();
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
    let cluster = Cluster::start(spec(1, &["jwt"])).await.unwrap();
    assert!(cluster.store().is_none());
    assert_eq!(cluster.store_info().await.unwrap(), None);
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn it_ends_in_order_with_a_dead_node_and_a_frozen_store() {
    let cluster = Cluster::start(spec(1, &["sticky", "redis"])).await.unwrap();
    let folder = cluster.dir().to_owned();
    cluster.node("node-1").unwrap().kill().await.unwrap();
    cluster.store().unwrap().pause().await.unwrap();
    assert!(folder.exists());
    cluster.shutdown().await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn dropping_it_leaves_nothing_behind() {
    let cluster = Cluster::start(spec(1, &["jwt"])).await.unwrap();
    let folder = cluster.dir().to_owned();
    let node = cluster.nodes()[0].here().unwrap().spec().ready.clone();
    drop(cluster);
    assert!(!folder.exists());
    assert!(matches!(node, Ready::Http { .. }) && node.wait(Duration::ZERO).await.is_err());
}
