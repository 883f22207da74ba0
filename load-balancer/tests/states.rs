//! What an operator orders, and what a client of each kind sees of it: ready, drain, maint.

mod support;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use support::{
    Balancer, SECRET, affinity_of, ask, client, eventually, get, header, log_in, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

async fn two_nodes(settings: &str) -> (Upstream, Upstream, Balancer) {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&one, &two], settings).await;
    (one, two, balancer)
}

#[tokio::test]
async fn a_draining_node_keeps_its_clients_and_takes_no_new_ones() {
    let (one, _two, balancer) = two_nodes("").await;
    let pinned = balancer.pin_to(&balancer.url("/"), &one).await;

    let ordered = balancer.order("node-1", r#"{"state":"drain"}"#).await;
    assert_eq!(ordered.status(), StatusCode::OK);
    let page: Value = ordered.json().await.expect("JSON");
    let shown = &page["listeners"][0]["nodes"][0];
    assert_eq!(
        (&shown["name"], &shown["state"]),
        (&"node-1".into(), &"drain".into())
    );
    let left = shown["drain_left_ms"].as_u64().expect("a time");
    assert!((290_000..=300_000).contains(&left), "the default: {left}");

    for _ in 0..4 {
        let new = get(&balancer.url("/"), None).await;
        assert_eq!(node_of(&new).as_deref(), Some("node-2"));
        let kept = get(&balancer.url("/"), Some(&pinned)).await;
        assert_eq!(node_of(&kept).as_deref(), Some("node-1"));
        assert_eq!(affinity_of(&kept), None);
    }
    assert_eq!(balancer.node(0, "node-1").await["pinned_requests"], 4);

    balancer.order("node-1", r#"{"state":"ready"}"#).await;
    assert_eq!(balancer.state("node-1").await, "up", "no check was needed");
    balancer.pin_to(&balancer.url("/"), &one).await;
}

#[tokio::test]
async fn after_the_deadline_a_drain_is_maintenance() {
    let (one, _two, balancer) = two_nodes("[health]\ninterval_ms = 50").await;
    let pinned = balancer.pin_to(&balancer.url("/"), &one).await;
    balancer
        .order("node-1", r#"{"state":"drain","deadline_s":1}"#)
        .await;
    eventually("the deadline is over", || async {
        balancer.state("node-1").await == "maint"
    })
    .await;
    let moved = get(&balancer.url("/"), Some(&pinned)).await;
    assert_eq!(node_of(&moved).as_deref(), Some("node-2"));
    assert_eq!(affinity_of(&moved), None, "no session has started there");
    let sample = "load_balancer_moved_total{listener=\"sticky\",reason=\"maint\"}";
    assert_eq!(balancer.metric(sample).await, 1);
    let started = log_in(&balancer.url("/"), Some(&pinned)).await;
    assert_eq!(node_of(&started).as_deref(), Some("node-2"));
    assert!(
        affinity_of(&started).is_some(),
        "pinned to the other one now"
    );
    let sample = "load_balancer_repins_total{listener=\"sticky\",reason=\"maint\"}";
    assert_eq!(balancer.metric(sample).await, 1);
    let change =
        "load_balancer_node_state_changes_total{listener=\"sticky\",node=\"node-1\",to=\"maint\"}";
    eventually("the change is counted", || async {
        balancer.metric(change).await == 1
    })
    .await;
}

#[tokio::test]
async fn maintenance_moves_everybody_at_once_and_ends_the_checks() {
    let settings = "[health]\ninterval_ms = 50\ntimeout_ms = 1000";
    let (one, two, balancer) = two_nodes(settings).await;
    let pinned = balancer.pin_to(&balancer.url("/"), &one).await;
    balancer.order("node-1", r#"{"state":"maint"}"#).await;
    let moved = get(&balancer.url("/"), Some(&pinned)).await;
    assert_eq!(node_of(&moved).as_deref(), Some("node-2"));
    assert_eq!(header(&moved, "x-balancer-retries"), None);

    // The other node shows that the time for two checks has passed.
    one.set(Mode::Freeze);
    two.set(Mode::Freeze);
    eventually("the checks of the other node fail", || async {
        balancer.state("node-2").await == "down"
    })
    .await;
    let shown = balancer.node(0, "node-1").await;
    assert_eq!(
        (&shown["state"], &shown["health"]),
        (&"maint".into(), &"up".into())
    );

    balancer.order("node-1", r#"{"state":"ready"}"#).await;
    eventually("it is checked again before it serves", || async {
        balancer.state("node-1").await == "down"
    })
    .await;
    one.set(OK);
    eventually("it proves itself", || async {
        balancer.state("node-1").await == "up"
    })
    .await;
}

#[tokio::test]
async fn a_request_under_way_is_not_disturbed_by_maintenance() {
    let (one, two, balancer) = two_nodes("").await;
    let slow = Mode::Answer {
        status: 200,
        after_ms: 300,
    };
    one.set(slow);
    two.set(slow);
    let url = balancer.redis_url("/");
    let under_way = tokio::spawn(async move { ask(Method::POST, &url).await });
    eventually("it is under way", || async {
        one.requests().len() + two.requests().len() == 1
    })
    .await;
    for node in ["node-1", "node-2"] {
        balancer.order(node, r#"{"state":"maint"}"#).await;
    }
    let refused = ask(Method::POST, &balancer.redis_url("/")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(under_way.await.expect("a task").status(), StatusCode::OK);
}

#[tokio::test]
async fn an_order_may_be_for_one_listener() {
    let (_one, _two, balancer) = two_nodes("").await;
    balancer
        .order("node-1", r#"{"state":"maint","listener":"redis"}"#)
        .await;
    assert_eq!(balancer.node(0, "node-1").await["admin_state"], "ready");
    assert_eq!(balancer.node(1, "node-1").await["admin_state"], "maint");
    for _ in 0..4 {
        let answer = get(&balancer.redis_url("/"), None).await;
        assert_eq!(node_of(&answer).as_deref(), Some("node-2"));
    }
}

#[tokio::test]
async fn a_wrong_order_says_what_is_allowed_and_changes_nothing() {
    let (_one, _two, balancer) = two_nodes("").await;
    let long = format!(r#"{{"state":"drain","listener":"{}"}}"#, "x".repeat(2000));
    for (node, body, status, says) in [
        ("node-1", "", 400, "ready"),
        ("node-1", "{}", 400, "missing field `state`"),
        ("node-1", r#"{"state":"down"}"#, 400, "`maint`"),
        (
            "node-1",
            r#"{"state":"drain","deadline":3}"#,
            400,
            "`deadline_s`",
        ),
        (
            "node-1",
            r#"{"state":"drain","deadline_s":-1}"#,
            400,
            "deadline_s",
        ),
        (
            "node-1",
            r#"{"state":"drain","deadline_s":43201}"#,
            400,
            "0 to 43200",
        ),
        ("node-1", r#"{"state":"maint","deadline_s":1}"#, 400, "only"),
        (
            "node-1",
            r#"{"state":"maint","listener":"jwt"}"#,
            400,
            "sticky, redis",
        ),
        ("node-9", r#"{"state":"maint"}"#, 404, "node-1, node-2"),
        ("node-1", long.as_str(), 413, "1024"),
    ] {
        let answer = balancer.order(node, body).await;
        assert_eq!(answer.status().as_u16(), status, "{body}");
        assert_eq!(
            header(&answer, "content-type").as_deref(),
            Some("application/problem+json")
        );
        let problem: Value = answer.json().await.expect("JSON");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(
            detail.contains(says),
            "{body}: {says:?} is missing in {detail:?}"
        );
    }
    for listener in [0, 1] {
        assert_eq!(
            balancer.node(listener, "node-1").await["admin_state"],
            "ready"
        );
    }

    let url = |path: &str| format!("http://{}:8090{path}", balancer.public().ip());
    let no_token = client()
        .put(url("/nodes/node-1/state"))
        .body(r#"{"state":"maint"}"#);
    let answer = no_token.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    for (method, path, allowed) in [
        (Method::GET, "/nodes/node-1/state", "PUT"),
        (Method::POST, "/nodes/node-1/state", "PUT"),
        (Method::PUT, "/nodes", "GET, HEAD"),
    ] {
        let request = client().request(method, url(path)).bearer_auth(SECRET);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&answer, "allow").as_deref(), Some(allowed));
    }
}
