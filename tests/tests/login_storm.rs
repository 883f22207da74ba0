//! Logins under a storm, and requests whose sender does not wait for the answer: the node answers before the load balancer
//! gives up, an attempt that nobody judged is given back, and what was given up is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use cluster::{Cluster, ClusterSpec};
use reqwest::Method;
use serde_json::json;
use tests::direct::{at_node, guess_at, problem, wish};
use tests::{User, client, cluster_with, eventually, send};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// One worker, and one attempt per account that does not come back by itself. A check takes long: `passes` times 10 ms,
/// or some times more on a busy machine.
fn slow_and_strict(spec: &mut ClusterSpec, passes: u32) {
    spec.nodes = 1;
    spec.password_memory_kib = 19_456;
    spec.password_iterations = passes;
    let strict = [
        "--password-workers=1",
        "--login-attempts-per-account=1",
        "--login-account-refill-s=3600",
    ];
    spec.shop_args.extend(strict.map(Into::into));
}

/// A busy machine must not make a node that works look dead: then the load balancer would answer in its place.
const LENIENT_CHECKS: &str = "[health]\ntimeout_ms = 10000\nfall = 10\n";

/// The figure on the node's page of metrics.
async fn figure(cluster: &Cluster, name: &str) -> Option<f64> {
    let page = client().get(format!("{}/metrics", cluster.node_url("node-1")));
    let page = page
        .send()
        .await
        .expect("metrics")
        .text()
        .await
        .expect("a page");
    let found = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map(|figure| figure.parse().expect("a number"))
}

async fn wait_for(cluster: &Cluster, name: &str, least: f64) {
    eventually(&format!("{name} is {least}"), async || {
        figure(cluster, name)
            .await
            .filter(|figure| *figure >= least)
    })
    .await;
}

/// Waits until one more check than these runs, or was done.
async fn wait_for_check(cluster: &Cluster, done: f64) {
    eventually("a check runs", async || {
        let running = figure(cluster, "shop_password_checks_running").await?;
        let total = figure(cluster, "shop_password_checks_total").await?;
        (running > 0.0 || total > done).then_some(())
    })
    .await;
}

/// Sends a whole login to the node and hands over the connection, on which the answer will come.
async fn begin_login(cluster: &Cluster, strategy: &str, number: u32, password: &str) -> TcpStream {
    let address = cluster.node_url("node-1").replace("http://", "");
    let body = json!({"user": format!("user-{number:06}"), "password": password}).to_string();
    let request = format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\nx-session-strategy: {strategy}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// Logs in at the node, where nobody loses patience, until it has time for it. An attempt that was counted and not given
/// back would be a 429 for an hour.
async fn is_let_in(cluster: &Cluster, strategy: &str, number: u32) {
    eventually("the right password is let in", async || {
        let wish = wish(cluster, &format!("user-{number:06}"));
        let login = at_node(cluster, "node-1", strategy, Method::POST, "/login").json(&wish);
        (send(login).await.status == 200).then_some(())
    })
    .await;
}

async fn storm(cluster: &Cluster, strategy: &str) {
    let logins: Vec<_> = (1..=40)
        .map(|number| {
            let mut user = User::new(cluster, strategy, number);
            // Longer than the load balancer waits: it is its patience that is at stake.
            user.client = reqwest::Client::builder()
                .timeout(Duration::from_mins(1))
                .build()
                .unwrap();
            tokio::spawn(async move { (number, user.login().await) })
        })
        .collect();
    let mut refused = Vec::new();
    for login in logins {
        let (number, answer) = login.await.unwrap();
        if answer.status == 200 {
            continue;
        }
        assert_eq!(
            problem(&answer),
            (503, "/problems/too-many-logins"),
            "{answer:?}"
        );
        assert!(!answer.header("retry-after").is_empty());
        assert_eq!(answer.node(), "node-1", "the node's own answer");
        refused.push(number);
    }
    assert!(!refused.is_empty(), "{strategy}: no storm");
    for number in refused.into_iter().rev().take(3) {
        is_let_in(cluster, strategy, number).await;
    }
}

#[tokio::test]
async fn the_node_answers_a_storm_before_the_balancer_gives_up_and_counts_nobody() {
    let strategies = ["sticky", "redis"];
    let cluster = cluster_with(&strategies, |spec| {
        slow_and_strict(spec, 16);
        spec.balancer_toml = LENIENT_CHECKS.into();
    })
    .await;
    for strategy in strategies {
        storm(&cluster, strategy).await;
    }
}

#[tokio::test]
async fn it_does_so_at_any_patience_of_the_balancer() {
    let cluster = cluster_with(&["sticky"], |spec| {
        slow_and_strict(spec, 40);
        spec.balancer_toml = format!("{LENIENT_CHECKS}[timeouts]\ntotal_ms = 8000");
        spec.shop_args.push("--password-wait-ms=60000".into());
    })
    .await;
    storm(&cluster, "sticky").await;
}

#[tokio::test]
async fn an_attempt_that_nobody_judged_is_given_back_when_its_client_leaves() {
    let strategies = ["sticky", "redis"];
    let cluster = cluster_with(&strategies, |spec| slow_and_strict(spec, 16)).await;
    let password = cluster.password().to_owned();
    for (strategy, first) in strategies.into_iter().zip([1, 11]) {
        let done = figure(&cluster, "shop_password_checks_total")
            .await
            .unwrap();
        let mut logins = Vec::new();
        for number in first..first + 6 {
            logins.push(begin_login(&cluster, strategy, number, &password).await);
        }
        wait_for_check(&cluster, done).await;
        drop(logins);
        for number in first..first + 6 {
            is_let_in(&cluster, strategy, number).await;
        }
    }
}

#[tokio::test]
async fn a_guess_that_was_judged_counts_though_its_client_left() {
    let strategies = ["sticky", "redis"];
    let cluster = cluster_with(&strategies, |spec| slow_and_strict(spec, 40)).await;
    for strategy in strategies {
        let done = figure(&cluster, "shop_password_checks_total")
            .await
            .unwrap();
        let running = begin_login(&cluster, strategy, 1, "wrong").await;
        wait_for_check(&cluster, done).await;
        drop(running);
        wait_for(&cluster, "shop_password_checks_total", done + 1.0).await;
        let again = guess_at(&cluster, "node-1", strategy, "user-000001").await;
        assert_eq!(
            problem(&again),
            (429, "/problems/too-many-attempts"),
            "{strategy}"
        );
    }
}

#[tokio::test]
async fn a_login_whose_client_left_leaves_no_session() {
    let cluster = cluster_with(&["sticky"], |spec| slow_and_strict(spec, 40)).await;
    let password = cluster.password().to_owned();
    let running = begin_login(&cluster, "sticky", 1, &password).await;
    wait_for(&cluster, "shop_password_checks_running", 1.0).await;
    drop(running);
    wait_for(&cluster, "shop_password_checks_total", 1.0).await;
    is_let_in(&cluster, "sticky", 1).await;
    let owned = figure(&cluster, "shop_sessions_owned{strategy=\"sticky\"}").await;
    assert_eq!(owned, Some(1.0));
}

#[tokio::test]
async fn requests_that_were_given_up_are_counted_with_their_time() {
    let cluster = cluster_with(&["sticky"], |spec| slow_and_strict(spec, 40)).await;
    let password = cluster.password().to_owned();
    let labels = r#"{strategy="sticky",endpoint="login"}"#;
    for given_up in 1..=2_u32 {
        let waiting = begin_login(&cluster, "sticky", given_up, &password).await;
        wait_for(&cluster, "shop_password_checks_running", 1.0).await;
        drop(waiting);
        let count = format!("shop_abandoned_requests_total{labels}");
        wait_for(&cluster, &count, f64::from(given_up)).await;
    }
    let seconds = figure(
        &cluster,
        &format!("shop_abandoned_request_seconds_total{labels}"),
    )
    .await;
    assert!(seconds.unwrap() > 0.0);
    let answered = r#"shop_requests_total{strategy="sticky",endpoint="login",status="200"}"#;
    assert_eq!(
        figure(&cluster, answered).await,
        None,
        "nobody was answered"
    );
}
