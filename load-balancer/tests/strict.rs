//! A listener that moves nobody: `on_dead_node = "strict"`.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use support::{
    Balancer, affinity_of, client, eventually, get, header, log_in, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

/// Two nodes behind a strict listener on port 8083, which is number 2 on the admin port.
async fn strict(settings: &str) -> (Upstream, Upstream, Balancer, String) {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let listener = format!(
        "[[listeners]]\nstrategy = \"strict\"\naddress = \"{ip}:8083\"\naffinity = true\non_dead_node = \"strict\"\n{settings}"
    );
    let balancer = Balancer::start(ip, &[&one, &two], &listener).await;
    (one, two, balancer, format!("http://{ip}:8083/"))
}

async fn send(method: Method, url: &str, cookie: &str) -> Response {
    let request = client().request(method, url).header("cookie", cookie);
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn a_client_of_a_dead_node_gets_503_until_it_is_back() {
    let (one, two, balancer, url) = strict("[health]\ninterval_ms = 300\nfall = 3").await;
    let pinned = balancer.pin_to(&url, &one).await;
    let seen = two.requests().len();
    one.kill().await;
    // First because the connection is refused, later because the node is known to be down.
    for state in ["up", "down"] {
        eventually("the state", || async {
            state == "up" || balancer.node(2, "node-1").await["state"] == state
        })
        .await;
        for method in [Method::GET, Method::POST] {
            let refused = send(method, &url, &pinned).await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(header(&refused, "retry-after").as_deref(), Some("1"));
            assert_eq!(header(&refused, "set-cookie"), None, "the cookie is kept");
            let problem: Value = refused.json().await.expect("JSON");
            assert_eq!(problem["type"], "/problems/pinned-node-dead");
        }
    }
    assert_eq!(two.requests().len(), seen, "nobody else was asked");
    let new = get(&url, None).await;
    assert_eq!(
        node_of(&new).as_deref(),
        Some("node-2"),
        "new clients go elsewhere"
    );

    one.restart().await;
    eventually("it is back", || async {
        balancer.node(2, "node-1").await["state"] == "up"
    })
    .await;
    let served = send(Method::GET, &url, &pinned).await;
    assert_eq!(node_of(&served).as_deref(), Some("node-1"));
    assert_eq!(affinity_of(&served), None);
}

#[tokio::test]
async fn a_request_that_is_stuck_on_its_node_is_never_answered_by_another() {
    let settings = "[health]\ninterval_ms = 60000\n[timeouts]\nread_ms = 100\nconnect_ms = 100\ntotal_ms = 400";
    let (one, two, balancer, url) = strict(settings).await;
    let pinned = balancer.pin_to(&url, &one).await;
    let seen = two.requests().len();
    for (mode, status) in [
        (Mode::Hang, StatusCode::GATEWAY_TIMEOUT),
        (Mode::Close, StatusCode::BAD_GATEWAY),
    ] {
        one.set(mode);
        let answer = send(Method::GET, &url, &pinned).await;
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "set-cookie"), None);
    }
    assert_eq!(two.requests().len(), seen);
    // Slower than `read_ms`: without an alternative the node may take all the time there is.
    one.set(Mode::Answer {
        status: 200,
        after_ms: 200,
    });
    let slow = send(Method::GET, &url, &pinned).await;
    assert_eq!(node_of(&slow).as_deref(), Some("node-1"));
    one.set(OK);
}

#[tokio::test]
async fn maintenance_moves_the_clients_of_a_strict_listener_too() {
    let (one, _two, balancer, url) = strict("").await;
    let pinned = balancer.pin_to(&url, &one).await;
    balancer.order("node-1", r#"{"state":"maint"}"#).await;
    let moved = send(Method::GET, &url, &pinned).await;
    assert_eq!(node_of(&moved).as_deref(), Some("node-2"));
    assert_eq!(affinity_of(&moved), None);
    let started = log_in(&url, Some(&pinned)).await;
    assert_eq!(node_of(&started).as_deref(), Some("node-2"));
    assert!(affinity_of(&started).is_some());
}
