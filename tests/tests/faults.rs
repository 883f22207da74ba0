//! Nodes and the store killed, paused and brought back, as clients see it through the balancer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tests::store::Store;
use tests::{User, client, cluster, eventually, send, try_send};

const SHARED: [&str; 2] = ["redis", "jwt"];

#[tokio::test]
async fn a_killed_node_costs_sticky_its_sessions_and_the_others_nothing() {
    let cluster = cluster(&["sticky", "redis", "jwt"]).await;
    let mut users = Vec::new();
    for number in 1..=12 {
        for strategy in ["sticky", "redis", "jwt"] {
            let mut user = User::logged_in(&cluster, strategy, number).await;
            user.add("kept").await.expect(201);
            let home = user.me().await.node().to_owned();
            users.push((strategy, user, home));
        }
    }
    cluster.node("node-2").unwrap().kill().await.unwrap();
    let mut lost = 0;
    for (strategy, user, home) in &users {
        let cart = user.cart().await;
        let expected = *strategy == "sticky" && home == "node-2";
        lost += usize::from(expected);
        assert_eq!(
            cart.status,
            if expected { 401 } else { 200 },
            "{strategy} at {home}"
        );
        if !expected {
            assert_eq!(cart.lines(), ["kept"]);
        }
    }
    assert_eq!(
        lost, 4,
        "round robin gave each of three nodes four of twelve users"
    );
}

#[tokio::test]
async fn no_idempotent_request_fails_while_a_node_dies_and_returns() {
    let cluster = cluster(&SHARED).await;
    for strategy in SHARED {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut workers = Vec::new();
        for number in 1..=6 {
            let (user, stop) = (
                User::logged_in(&cluster, strategy, number).await,
                stop.clone(),
            );
            workers.push(tokio::spawn(async move {
                let mut answers = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = try_send(user.request(Method::GET, "/cart")).await;
                    let answer = answer.expect("an answer, however often it was retried");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answers += 1;
                }
                answers
            }));
        }
        let node = cluster.node("node-2").unwrap();
        for _ in 0..2 {
            node.kill().await.unwrap();
            eventually("the balancer to see the death", async || {
                (state(&cluster, strategy, "node-2").await == "down").then_some(())
            })
            .await;
            node.start().await.unwrap();
            eventually("the balancer to see the return", async || {
                (state(&cluster, strategy, "node-2").await == "up").then_some(())
            })
            .await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for worker in workers {
            assert!(worker.await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn a_paused_node_leaves_rotation_and_comes_back() {
    let cluster = cluster(&["redis"]).await;
    let user = User::logged_in(&cluster, "redis", 1).await;
    let node = cluster.node("node-3").unwrap();
    node.pause().await.unwrap();
    eventually("the balancer to take the frozen node out", async || {
        (state(&cluster, "redis", "node-3").await == "down").then_some(())
    })
    .await;
    for _ in 0..12 {
        assert_ne!(user.me().await.expect(200).node(), "node-3");
    }
    node.resume().await.unwrap();
    eventually("the node to serve again", async || {
        (user.me().await.expect(200).node() == "node-3").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_stuck_on_a_frozen_node_is_answered_by_another() {
    let cluster = cluster(&["jwt"]).await;
    let user = User::logged_in(&cluster, "jwt", 1).await;
    cluster.node("node-1").unwrap().pause().await.unwrap();
    for _ in 0..6 {
        user.me().await.expect(200);
    }
    cluster.node("node-1").unwrap().resume().await.unwrap();
}

#[tokio::test]
async fn with_no_node_left_the_answer_is_503_and_not_a_hang() {
    let cluster = cluster(&["jwt"]).await;
    for node in cluster.nodes() {
        node.kill().await.unwrap();
    }
    let answer = eventually("all nodes to be seen as gone", async || {
        let answer = send(client().get(format!("{}/plain", cluster.url("jwt")))).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("retry-after").is_empty());
    for node in cluster.nodes() {
        node.start().await.unwrap();
    }
    eventually("service again", async || {
        let answer = send(client().get(format!("{}/plain", cluster.url("jwt")))).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// While the store is away: only 200 and 503, no cookie touched, other strategies unharmed; after its return, all as before.
async fn store_fault(kill: bool) {
    let cluster = cluster(&["sticky", "redis", "jwt"]).await;
    let mut users = Vec::new();
    for number in 1..=6 {
        let mut user = User::logged_in(&cluster, "redis", number).await;
        user.add("kept").await.expect(201);
        users.push(user);
    }
    let sticky = User::logged_in(&cluster, "sticky", 1).await;
    let jwt = User::logged_in(&cluster, "jwt", 1).await;
    let store = Store::of(&cluster);
    if kill {
        store.kill().await;
    } else {
        store.agent.pause().await.unwrap();
    }
    let away = Instant::now();
    let mut refused = 0;
    while away.elapsed() < Duration::from_secs(3) {
        for user in &users {
            let answer = user.cart().await;
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            if answer.status == 503 {
                refused += 1;
                assert!(!answer.header("retry-after").is_empty());
                assert_eq!(
                    answer.set_cookies().count(),
                    0,
                    "a blip must log nobody out"
                );
            }
        }
        sticky.me().await.expect(200);
        jwt.me().await.expect(200);
    }
    assert!(refused > 0, "the fault took no effect");
    let wish = json!({"user": "user-000009", "password": cluster.password()});
    let login = client()
        .post(format!("{}/login", cluster.url("redis")))
        .json(&wish);
    send(login).await.expect(503);

    if kill {
        store.agent.start().await.unwrap();
    } else {
        store.agent.resume().await.unwrap();
    }
    for user in &users {
        let cart = eventually("the store to be used again", async || {
            let answer = user.cart().await;
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!(cart.lines(), ["kept"]);
    }
}

#[tokio::test]
async fn a_killed_store_loses_nothing_and_hurts_only_its_own_strategy() {
    store_fault(true).await;
}

#[tokio::test]
async fn a_paused_store_loses_nothing_and_hurts_only_its_own_strategy() {
    store_fault(false).await;
}

/// What the balancer thinks of a node.
async fn state(cluster: &cluster::Cluster, strategy: &str, node: &str) -> String {
    tests::states(cluster, strategy).await.remove(node).unwrap()
}
