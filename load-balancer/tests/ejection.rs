//! Nodes that pass their checks and fail requests.

mod support;

use reqwest::{Method, StatusCode};
use support::{
    Balancer, affinity_of, ask, eventually, get, log_in, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

const LONG: &str = "[ejection]\nfailures = 3\nbase_ms = 600000\nmax_ms = 600000";

async fn three_nodes(settings: &str) -> ([Upstream; 3], Balancer) {
    let ip = own_ip();
    let nodes = [
        Upstream::start(ip, 1).await,
        Upstream::start(ip, 2).await,
        Upstream::start(ip, 3).await,
    ];
    let balancer = Balancer::start(ip, &[&nodes[0], &nodes[1], &nodes[2]], settings).await;
    (nodes, balancer)
}

/// POSTs, which are not repeated, until the node has failed `count` of them.
async fn fail(balancer: &Balancer, node: &Upstream, count: usize) {
    while node.requests().len() < count {
        ask(Method::POST, &balancer.redis_url("/")).await;
    }
}

#[tokio::test]
async fn failures_in_a_row_eject_a_node_that_passes_its_checks() {
    for (mode, status) in [
        (Mode::Close, StatusCode::BAD_GATEWAY),
        (Mode::Hang, StatusCode::GATEWAY_TIMEOUT),
    ] {
        let settings =
            format!("{LONG}\n[timeouts]\nread_ms = 50\nconnect_ms = 100\ntotal_ms = 100");
        let (nodes, balancer) = three_nodes(&settings).await;
        nodes[0].set(mode);
        let mut statuses = Vec::new();
        while statuses.len() < 9 {
            statuses.push(ask(Method::POST, &balancer.redis_url("/")).await.status());
        }
        assert_eq!(
            statuses.iter().filter(|found| **found == status).count(),
            3,
            "{statuses:?}"
        );
        let shown = balancer.node(1, "node-1").await;
        assert_eq!(
            (&shown["state"], &shown["health"]),
            (&"ejected".into(), &"up".into())
        );
        assert!(
            shown["ejected_ms"]
                .as_u64()
                .is_some_and(|left| left > 500_000)
        );
        assert_eq!(shown["ejections"], 1);
        for _ in 0..6 {
            get(&balancer.redis_url("/"), None).await;
        }
        assert_eq!(nodes[0].requests().len(), 3, "{mode:?}: it got no more");
        assert_eq!(
            balancer.state("node-1").await,
            "up",
            "each listener judges for itself"
        );
        assert!(balancer.log().contains("node is ejected"));
    }
}

#[tokio::test]
async fn answers_of_a_node_never_eject_it() {
    let (nodes, balancer) = three_nodes(LONG).await;
    for node in &nodes {
        node.set(Mode::Answer {
            status: 503,
            after_ms: 0,
        });
    }
    for _ in 0..30 {
        let answer = ask(Method::POST, &balancer.redis_url("/")).await;
        assert!(node_of(&answer).is_some(), "a node's own 503");
    }
    for node in &nodes {
        assert_eq!(balancer.node(1, &node.name).await["state"], "up");
    }
}

#[tokio::test]
async fn an_answer_in_between_starts_the_count_again() {
    let (nodes, balancer) = three_nodes(LONG).await;
    for seen in [2, 5, 8] {
        nodes[0].set(Mode::Close);
        fail(&balancer, &nodes[0], seen).await;
        nodes[0].set(OK);
        fail(&balancer, &nodes[0], seen + 1).await;
    }
    assert_eq!(balancer.node(1, "node-1").await["state"], "up");
    assert_eq!(balancer.node(1, "node-1").await["failures"], 6);
}

#[tokio::test]
async fn no_more_than_half_of_the_nodes_are_ejected() {
    let (nodes, balancer) = three_nodes(LONG).await;
    for node in &nodes {
        node.set(Mode::Close);
    }
    for _ in 0..30 {
        let answer = ask(Method::POST, &balancer.redis_url("/")).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }
    let mut ejected = 0;
    for node in &nodes {
        ejected += usize::from(balancer.node(1, &node.name).await["state"] == "ejected");
    }
    assert_eq!(ejected, 1, "two of three would be more than half");
}

#[tokio::test]
async fn an_ejected_node_comes_back_and_its_pinned_clients_moved_meanwhile() {
    let settings = "[ejection]\nfailures = 3\nbase_ms = 4000\nmax_ms = 4000";
    let (nodes, balancer) = three_nodes(settings).await;
    let pinned = balancer.pin_to(&balancer.url("/"), &nodes[0]).await;
    nodes[0].set(Mode::Close);
    let client = support::client();
    eventually("it is ejected", || async {
        let post = client.post(balancer.url("/")).header("cookie", &pinned);
        post.send().await.expect("an answer");
        balancer.state("node-1").await == "ejected"
    })
    .await;
    let moved = get(&balancer.url("/"), Some(&pinned)).await;
    assert_ne!(node_of(&moved).as_deref(), Some("node-1"));
    assert_eq!(affinity_of(&moved), None, "its session may still be there");
    let started = log_in(&balancer.url("/"), Some(&pinned)).await;
    assert_ne!(node_of(&started).as_deref(), Some("node-1"));
    assert!(affinity_of(&started).is_some());
    let sample = "load_balancer_repins_total{listener=\"sticky\",reason=\"ejected\"}";
    assert!(balancer.metric(sample).await >= 1);

    nodes[0].set(OK);
    eventually("its time is over", || async {
        balancer.state("node-1").await == "up"
    })
    .await;
    balancer.pin_to(&balancer.url("/"), &nodes[0]).await;
}
