//! How nodes come back when their store does: one that was started first, a store that comes and goes, one that talks
//! without end, and one that is slow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use cluster::Cluster;
use reqwest::Method;
use tests::failure::Failure;
use tests::impostor::{Impostor, Says};
use tests::store::Store;
use tests::{
    STRATEGIES, User, client, cluster, cluster_with, eventually, send, states, wait_for_rotation,
};

/// The status of a node's readiness for a strategy.
async fn readiness(cluster: &Cluster, strategy: &str, node: &str) -> u16 {
    let user = User::new(cluster, strategy, 1).at_node(cluster, strategy, node);
    send(user.request(Method::GET, "/readyz")).await.status
}

/// Waits until a user of `redis` gets answers by `node`.
async fn answered_by(user: &User, node: &str) {
    eventually(&format!("an answer of {node}"), async || {
        let me = user.me().await;
        // The load balancer may not yet know of an outage that is over already.
        assert!(matches!(me.status, 200 | 503), "{me:?}");
        (me.status == 200 && me.node() == node).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_starts_before_its_store_is_ready_when_the_store_comes() {
    let cluster = cluster(&STRATEGIES).await;
    let user = User::logged_in(&cluster, "redis", 1).await;
    let store = Store::of(&cluster);
    let node = cluster.node("node-1").unwrap();
    store.kill().await;
    node.kill().await.unwrap();

    // `start` returns when the node is ready for all of its strategies.
    let (started, ()) = tokio::join!(node.start(), async {
        for strategy in ["sticky", "jwt"] {
            wait_for_rotation(&cluster, strategy, true).await;
            assert_eq!(readiness(&cluster, strategy, "node-1").await, 200);
        }
        assert_eq!(readiness(&cluster, "redis", "node-1").await, 503);
        wait_for_rotation(&cluster, "redis", false).await;
        store.agent.start().await.unwrap();
    });
    started.unwrap();
    wait_for_rotation(&cluster, "redis", true).await;
    answered_by(&user, "node-1").await;
}

#[tokio::test]
async fn without_a_ready_node_a_listener_answers_by_itself_and_the_others_do_not_notice() {
    let cluster = cluster(&STRATEGIES).await;
    Store::of(&cluster).kill().await;
    wait_for_rotation(&cluster, "redis", false).await;
    for strategy in STRATEGIES {
        // Not even a request that needs no session finds a node.
        let answer = send(client().get(format!("{}/plain", cluster.url(strategy)))).await;
        if strategy == "redis" {
            assert_eq!(answer.status, 503);
            assert_eq!(answer.node(), "", "the load balancer's own answer");
            assert_eq!(answer.body["type"], "/problems/no-node");
            assert!(!answer.header("retry-after").is_empty());
        } else {
            let mut user = User::new(&cluster, strategy, 1);
            user.login().await.expect(200);
            user.add("a").await.expect(201);
            let states = states(&cluster, strategy).await;
            assert!(states.values().all(|state| state == "up"), "{states:?}");
        }
    }
}

#[tokio::test]
async fn a_store_that_comes_and_goes_leaves_no_node_stuck() {
    let cluster = cluster(&["redis"]).await;
    let mut user = User::logged_in(&cluster, "redis", 1).await;
    let store = Store::of(&cluster);
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        // In turn a store that is gone, and one that is silent.
        let kill = round % 2 == 0;
        if kill {
            store.kill().await;
        } else {
            store.agent.pause().await.unwrap();
        }
        // The outage is over before all nodes have noticed, or after some have.
        for line in 0..round {
            let id = format!("{round}-{line}");
            let added = user.add(&id).await;
            match added.status {
                201 => acknowledged.push(id),
                status => assert_eq!(status, 503, "{added:?}"),
            }
        }
        if kill {
            store.agent.start().await.unwrap();
        } else {
            store.agent.resume().await.unwrap();
        }
        let id = format!("{round}-after");
        if user.add(&id).await.status == 201 {
            acknowledged.push(id);
        }
    }
    wait_for_rotation(&cluster, "redis", true).await;
    for node in ["node-1", "node-2", "node-3"] {
        answered_by(&user, node).await;
    }
    let cart = eventually("the cart", async || {
        let cart = user.cart().await;
        assert!(matches!(cart.status, 200 | 503), "{cart:?}");
        (cart.status == 200).then_some(cart)
    })
    .await;
    let lines = cart.lines();
    for id in &acknowledged {
        assert!(lines.contains(id), "{id} is not in {lines:?}");
    }
    // Each node holds one connection, however many it has tried.
    eventually("one connection a node", async || {
        (store.clients().await == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_store_that_talks_without_end_is_survived() {
    // Lengths that no memory holds, a line that does not end, and arrays in arrays.
    const MOST_MIB: u64 = 200;
    let texts: [&[u8]; 5] = [
        b"$2147483647\r\n",
        b"*2147483647\r\n",
        b"*9223372036854775807\r\n",
        b"+no end, ",
        b"*1\r\n",
    ];
    let cluster = cluster_with(&STRATEGIES, |spec| spec.nodes = 1).await;
    let user = User::logged_in(&cluster, "redis", 1).await;
    let sticky = User::logged_in(&cluster, "sticky", 1).await;
    let jwt = User::logged_in(&cluster, "jwt", 1).await;
    let store = Store::of(&cluster);
    let node = cluster.node("node-1").unwrap().here().unwrap();
    let pid = node.pid();
    store.kill().await;
    for text in texts {
        // The port of the one before is free a moment after it was dropped.
        let impostor = eventually("the store's port", async || {
            let next = Impostor::start(store.address, Says::Endlessly(text));
            next.await.ok()
        })
        .await;
        // Every attempt of the node to connect ends here.
        eventually("the node has tried", async || {
            (impostor.connections() >= 2).then_some(())
        })
        .await;
        user.me().await.expect(503);
        sticky.me().await.expect(200);
        jwt.me().await.expect(200);
    }
    eventually("the store starts", async || store.agent.start().await.ok()).await;
    wait_for_rotation(&cluster, "redis", true).await;
    user.me().await.expect(200);
    assert_eq!(node.pid(), pid, "the node has not ended in between");
    let peak_mib = peak_mib(pid.unwrap());
    println!("at most {peak_mib} MiB");
    assert!(peak_mib < MOST_MIB, "{peak_mib} MiB");
}

#[tokio::test]
async fn a_changed_password_hurts_nobody_until_a_connection_breaks() {
    let cluster = cluster_with(&["redis"], |spec| spec.nodes = 1).await;
    let user = User::logged_in(&cluster, "redis", 1).await;
    let store = Store::of(&cluster);
    store.ask("CONFIG SET requirepass changed").await;
    user.me().await.expect(200);
    let closed = store.try_ask("changed", "CLIENT KILL TYPE normal").await;
    closed.unwrap();
    wait_for_rotation(&cluster, "redis", false).await;
    user.me().await.expect(503);
    let log = std::fs::read_to_string(cluster.dir().join("node-1.log")).unwrap();
    assert!(
        !log.contains(&store.password),
        "the node tells its password"
    );
}

/// The most memory that a process has ever had.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn a_store_that_is_quick_enough_to_be_used_is_quick_enough_to_be_connected_to() {
    let cluster = cluster_with(&["redis"], |spec| {
        spec.nodes = 2;
        spec.shop_args.push("--store-timeout-ms=20000".into());
    })
    .await;
    let user = User::logged_in(&cluster, "redis", 1).await;
    let mut outage = Failure::SlowBy2S.begin(&cluster).await;
    let node = cluster.node("node-1").unwrap();
    node.restart(Duration::from_secs(20)).await.unwrap();
    user.at_node(&cluster, "redis", "node-1")
        .me()
        .await
        .expect(200);
    outage.end().await;
}
