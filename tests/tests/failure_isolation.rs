//! A store that fails slows nobody who does not use it: counted by which requests come back while others wait, not by
//! the clock.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cluster::Cluster;
use reqwest::Client;
use tests::store::Store;
use tests::{STRATEGIES, User, client, cluster_with, eventually};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Clients who ask in vain.
const FLOOD: usize = 12;

/// How many calls to the store a node has begun.
async fn store_calls(cluster: &Cluster) -> usize {
    let url = format!("{}/metrics", cluster.node_url("node-1"));
    let page = client().get(url).send().await.unwrap();
    let page = page.text().await.unwrap();
    let prefix = "shop_store_calls_total{strategy=\"redis\"} ";
    let count = page.lines().find_map(|line| line.strip_prefix(prefix));
    count.expect("the counter").parse().unwrap()
}

#[tokio::test]
async fn a_node_with_one_thread_serves_the_others_while_all_of_redis_waits() {
    const WAITING: usize = 100;
    // A deadline that does not come: what ends the waiting is the store.
    let cluster = cluster_with(&STRATEGIES, |spec| {
        spec.nodes = 1;
        spec.shop_args.push("--threads=1".into());
        spec.shop_args.push("--store-timeout-ms=60000".into());
    })
    .await;
    // A user who gives up nothing, asking the node itself because the load balancer would give up for them.
    let mut user = User::new(&cluster, "redis", 1).at_node(&cluster, "redis", "node-1");
    user.client = Client::builder().cookie_store(true).build().unwrap();
    user.login().await.expect(200);
    let before = store_calls(&cluster).await;

    let store = cluster.store().unwrap();
    store.pause().await.unwrap();
    let back = Arc::new(AtomicUsize::new(0));
    let mut waiting = JoinSet::new();
    for number in 0..WAITING {
        let (mut user, back) = (user.clone(), back.clone());
        waiting.spawn(async move {
            let answer = match number % 4 {
                0 => user.me().await,
                1 => user.cart().await,
                2 => user.add(&format!("line-{number}")).await,
                _ => {
                    User {
                        name: format!("user-{:06}", 100 + number),
                        ..user
                    }
                    .login()
                    .await
                }
            };
            back.fetch_add(1, Relaxed);
            answer.status
        });
    }
    eventually("all of them wait for the store", async || {
        (store_calls(&cluster).await >= before + WAITING).then_some(())
    })
    .await;

    for strategy in ["sticky", "jwt"] {
        for number in 0..10 {
            let mut other = User::new(&cluster, strategy, 10 + number);
            other.login().await.expect(200);
            for line in 0..10 {
                other.add(&format!("line-{line}")).await.expect(201);
                assert_eq!(other.cart().await.expect(200).lines().len(), line + 1);
            }
            other.logout().await.expect(204);
        }
    }
    assert_eq!(back.load(Relaxed), 0, "requests of redis came back before");

    store.resume().await.unwrap();
    while let Some(status) = waiting.join_next().await {
        let status = status.unwrap();
        assert!(matches!(status, 200 | 201), "{status}");
    }
}

/// With the deadline that users have, and requests for `redis` that go on whatever the answer.
async fn flooded(kill: bool) {
    let cluster = cluster_with(&STRATEGIES, |spec| {
        // What is asked here is whether nodes serve, and not whether a busy machine answers checks in half a second.
        spec.balancer_toml = "[health]\ninterval_ms = 10000\ntimeout_ms = 10000\n".into();
    })
    .await;
    let redis = User::logged_in(&cluster, "redis", 1).await;
    let mut sticky = User::logged_in(&cluster, "sticky", 1).await;
    let mut jwt = User::logged_in(&cluster, "jwt", 1).await;
    let store = Store::of(&cluster);
    if kill {
        store.kill().await;
    } else {
        store.agent.pause().await.unwrap();
    }

    let (stop, refused) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut flood = JoinSet::new();
    for number in 0..FLOOD {
        let node = format!("node-{}", number % 3 + 1);
        // Past the load balancer, which would soon keep them from the nodes.
        let user = redis.at_node(&cluster, "redis", &node);
        let (stop, refused) = (stop.clone(), refused.clone());
        flood.spawn(async move {
            while !stop.load(Relaxed) {
                let answer = user.me().await.expect(503);
                assert_eq!(answer.body["type"], "/problems/store-unavailable");
                refused.fetch_add(1, Relaxed);
                // Without it, this would be a test of a machine without any CPU time left.
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    for number in 0..100 {
        let id = format!("line-{number}");
        sticky.add(&id).await.expect(201);
        jwt.cart().await.expect(200);
        jwt.add(&format!("line-{}", number % 10)).await.expect(201);
        for user in [&sticky, &jwt] {
            user.me().await.expect(200);
        }
    }
    eventually("the flood has met the failure", async || {
        (refused.load(Relaxed) >= FLOOD).then_some(())
    })
    .await;
    stop.store(true, Relaxed);
    while let Some(ended) = flood.join_next().await {
        ended.unwrap();
    }
    assert_eq!(sticky.cart().await.expect(200).lines().len(), 100);
    assert_eq!(jwt.cart().await.expect(200).lines().len(), 10);
}

#[tokio::test]
async fn a_flood_for_a_killed_store_does_not_reach_the_other_strategies() {
    flooded(true).await;
}

#[tokio::test]
async fn a_flood_for_a_silent_store_does_not_reach_the_other_strategies() {
    flooded(false).await;
}
