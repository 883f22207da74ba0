//! What a node may be given, and how often a request may be repeated.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use support::{
    Balancer, ask, client, eventually, get, header, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};
use tokio::task::JoinHandle;

// A client that is dropped here must be noticed while its node hangs.
const ONE_EACH: &str =
    "[clients]\nabort_on_close = true\n[limits]\nmax_in_flight = 1\n[timeouts]\ntotal_ms = 60000";

async fn two_nodes(settings: &str) -> (Upstream, Upstream, Balancer) {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&one, &two], settings).await;
    (one, two, balancer)
}

/// A request that the node keeps until the task is aborted.
async fn occupy(node: &Upstream, url: String, cookie: &str) -> JoinHandle<()> {
    node.set(Mode::Hang);
    let before = node.requests().len();
    let request = client().post(url).header("cookie", cookie);
    let task = tokio::spawn(async move {
        let _ = request.send().await;
    });
    eventually("the node has it", || async {
        node.requests().len() > before
    })
    .await;
    node.set(OK);
    task
}

async fn problem_of(answer: reqwest::Response) -> (StatusCode, Option<String>, Value) {
    let (status, retry_after) = (answer.status(), header(&answer, "retry-after"));
    let body: Value = answer.json().await.expect("JSON");
    (status, retry_after, body["type"].clone())
}

#[tokio::test]
async fn a_request_goes_around_a_node_at_its_limit_until_all_are() {
    let (one, two, balancer) = two_nodes(ONE_EACH).await;
    let pin_one = balancer.pin_to(&balancer.url("/"), &one).await;
    let pin_two = balancer.pin_to(&balancer.url("/"), &two).await;
    let first = occupy(&one, balancer.url("/"), &pin_one).await;
    for _ in 0..4 {
        let answer = get(&balancer.url("/"), None).await;
        assert_eq!(node_of(&answer).as_deref(), Some("node-2"));
    }
    let second = occupy(&two, balancer.url("/"), &pin_two).await;
    let refused = ask(Method::POST, &balancer.url("/")).await;
    assert_eq!(header(&refused, "set-cookie"), None);
    let (status, retry_after, kind) = problem_of(refused).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retry_after.as_deref(), Some("1"));
    assert_eq!(kind, "/problems/nodes-full");
    let sample =
        "load_balancer_own_answers_total{listener=\"sticky\",status=\"503\",type=\"nodes-full\"}";
    assert_eq!(balancer.metric(sample).await, 1);
    assert_eq!(balancer.node(0, "node-1").await["in_flight"], 1);
    get(&balancer.redis_url("/"), None).await; // Another listener has a limit of its own.

    first.abort();
    second.abort();
    eventually("there is room again", || async {
        ask(Method::POST, &balancer.url("/")).await.status() == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn a_pinned_client_waits_for_its_full_node_and_keeps_its_session() {
    let (one, _two, balancer) = two_nodes(ONE_EACH).await;
    let pinned = balancer.pin_to(&balancer.url("/"), &one).await;
    let occupied = occupy(&one, balancer.url("/"), &pinned).await;

    let request = client().get(balancer.url("/")).header("cookie", &pinned);
    let refused = request.send().await.expect("an answer");
    assert_eq!(header(&refused, "set-cookie"), None, "still pinned");
    let (status, retry_after, kind) = problem_of(refused).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retry_after.as_deref(), Some("1"));
    assert_eq!(kind, "/problems/pinned-node-full");

    occupied.abort();
    eventually("the node has room", || async {
        balancer.node(0, "node-1").await["in_flight"] == 0
    })
    .await;
    let served = get(&balancer.url("/"), Some(&pinned)).await;
    assert_eq!(node_of(&served).as_deref(), Some("node-1"));
}

/// The limit holds however many come at the same moment, and nothing is counted for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_never_has_more_than_its_limit() {
    const CLIENTS: u64 = 32;
    let settings = "[clients]\nabort_on_close = true\n[limits]\nmax_in_flight = 3\n[retries]\nattempts = 1\n[timeouts]\ntotal_ms = 60000";
    let (one, two, balancer) = two_nodes(settings).await;
    for node in [&one, &two] {
        node.set(Mode::Answer {
            status: 200,
            after_ms: 5,
        });
    }
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, url) = (client(), balancer.redis_url("/"));
            tokio::spawn(async move {
                for _ in 0..20 {
                    client.get(&url).send().await.expect("an answer");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    assert!(one.most_at_once() <= 3 && two.most_at_once() <= 3);
    for node in ["node-1", "node-2"] {
        assert_eq!(balancer.node(1, node).await["in_flight"], 0);
    }

    // How many of those met a full node depends on the machine. Of these, six are kept, and the others are refused.
    let refused =
        "load_balancer_own_answers_total{listener=\"redis\",status=\"503\",type=\"nodes-full\"}";
    let before = balancer.metric(refused).await;
    one.set(Mode::Hang);
    two.set(Mode::Hang);
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let request = client().get(balancer.redis_url("/"));
            tokio::spawn(async move { request.send().await.map(|answer| answer.status()) })
        })
        .collect();
    eventually("all but six are refused", || async {
        balancer.metric(refused).await - before == CLIENTS - 6
    })
    .await;
    for node in ["node-1", "node-2"] {
        assert_eq!(balancer.node(1, node).await["in_flight"], 3);
    }
    for task in &tasks {
        task.abort();
    }
    eventually("no place is taken for ever", || async {
        balancer.node(1, "node-1").await["in_flight"] == 0
            && balancer.node(1, "node-2").await["in_flight"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_dead_cluster_is_not_hit_with_attempts_times_load() {
    const REQUESTS: usize = 30;
    // Ten seconds of the floor are ten retries.
    let settings = "[health]\ninterval_ms = 60000\n[ejection]\nfailures = 0\n\
                    [retries]\nattempts = 2\nbudget_percent = 0\nbudget_floor = 1";
    let (one, two, balancer) = two_nodes(settings).await;
    one.set(Mode::Close);
    two.set(Mode::Close);
    let mut retried = 0;
    for _ in 0..REQUESTS {
        let answer = ask(Method::GET, &balancer.redis_url("/")).await;
        retried += usize::from(header(&answer, "x-balancer-retries").is_some());
        let (status, _, kind) = problem_of(answer).await;
        assert_eq!(
            status,
            StatusCode::BAD_GATEWAY,
            "what the failed attempt deserves"
        );
        assert_eq!(kind, "/problems/node-broke-off");
    }
    let refusals = balancer
        .metric("load_balancer_retry_budget_refusals_total{listener=\"redis\"}")
        .await;
    let seen = one.requests().len() + two.requests().len();
    assert_eq!(seen, REQUESTS + retried);
    assert_eq!(retried as u64 + refusals, REQUESTS as u64);
    assert!(
        refusals > 0 && retried >= 10,
        "{retried} retries, {refusals} refusals"
    );
}
