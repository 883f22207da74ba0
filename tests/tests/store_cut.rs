//! One of three nodes is cut off from Redis, or all of them are: what users see until the load balancer has noticed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use agent::link::{Direction, Disturbance};
use cluster::{Cluster, LinkName, STORE};
use reqwest::Method;
use serde_json::json;
use tests::{Answer, User, client, cluster_with, eventually, send, states};
use tokio::task::JoinSet;

const USERS: u32 = 12;

/// Users who read, add with a key, remove, and log in and out, until they are told to stop; every answer that was none of
/// the usual ones.
async fn shop_until(cluster: &Cluster, stop: &Arc<AtomicBool>) -> JoinSet<Vec<Answer>> {
    let mut users = JoinSet::new();
    for number in 1..=USERS {
        let mut user = User::logged_in(cluster, "redis", number).await;
        let stop = stop.clone();
        users.spawn(async move {
            let mut failed = Vec::new();
            let mut line = 0;
            while !stop.load(Relaxed) {
                line += 1;
                let id = format!("line-{}", line % 50);
                let body = json!({"id": id, "sku": "book-1", "quantity": 1});
                let add = user.request(Method::POST, "/cart/lines").json(&body);
                let add = add.header("idempotency-key", format!("\"{id}\""));
                let answers = [
                    send(add).await,
                    user.cart().await,
                    user.me().await,
                    user.remove(&id).await,
                ];
                failed.extend(answers.into_iter().filter(|answer| answer.status > 201));
                failed.extend(Some(user.logout().await).filter(|answer| answer.status > 204));
                loop {
                    let login = user.login().await;
                    if login.status == 200 {
                        break;
                    }
                    failed.push(login);
                }
            }
            failed
        });
    }
    users
}

async fn collect(mut users: JoinSet<Vec<Answer>>) -> Vec<Answer> {
    let mut failed = Vec::new();
    while let Some(user) = users.join_next().await {
        failed.extend(user.unwrap());
    }
    failed
}

#[tokio::test]
async fn a_node_cut_off_from_the_store_costs_only_what_it_may_have_done() {
    let link = LinkName {
        from: "node-2".into(),
        to: STORE.into(),
    };
    let cluster = cluster_with(&["redis"], |spec| spec.links = vec![link.clone()]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let users = shop_until(&cluster, &stop).await;
    let black = Disturbance::Blackhole {
        direction: Direction::Both,
    };
    let way = cluster.link(&link).unwrap();
    way.disturb(black).await.unwrap();
    eventually("the node has left rotation", async || {
        (states(&cluster, "redis").await["node-2"] == "down").then_some(())
    })
    .await;
    stop.store(true, Relaxed);
    let failed = collect(users).await;
    for answer in &failed {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("x-outcome"), "unknown", "{answer:?}");
    }
    // Only logins and logouts can neither be repeated nor be sure, and each user had one under way at most.
    assert!(
        failed.len() <= USERS as usize,
        "{} failed: {failed:#?}",
        failed.len()
    );
    let page = client()
        .get(format!("{}/metrics", cluster.admin_url()))
        .bearer_auth(cluster.admin_token());
    let page = page.send().await.unwrap().text().await.unwrap();
    let sample =
        "load_balancer_node_answers_total{listener=\"redis\",node=\"node-2\",class=\"5xx\"} ";
    let refused = page
        .lines()
        .find_map(|line| line.strip_prefix(sample))
        .unwrap();
    let refused: usize = refused.parse().unwrap();
    println!(
        "of {refused} answers 503 of the node, users saw {}",
        failed.len()
    );
    assert!(refused > failed.len(), "others did the rest");
    way.heal().await.unwrap();
}

#[tokio::test]
async fn without_any_store_users_see_503_and_the_budget_bounds_the_attempts() {
    let cluster = cluster_with(&["redis"], |spec| {
        // Checks come late, so that nodes are asked.
        spec.balancer_toml =
            "[health]\ninterval_ms = 30000\n[retries]\nbudget_percent = 0\nbudget_floor = 1\n"
                .into();
    })
    .await;
    let user = User::logged_in(&cluster, "redis", 1).await;
    cluster.store().unwrap().kill().await.unwrap();
    let mut attempts = 0;
    for _ in 0..40 {
        let answer = user.me().await.expect(503);
        assert_eq!(answer.body["type"], "/problems/store-unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        attempts += 1 + answer
            .header("x-balancer-retries")
            .parse::<usize>()
            .unwrap_or(0);
    }
    // Ten seconds' worth of one a second, and some seconds may have passed.
    assert!((41..=70).contains(&attempts), "{attempts}");
}
