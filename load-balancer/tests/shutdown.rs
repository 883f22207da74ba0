//! How the balancer ends: lame duck, drain, and an end as soon as nothing is under way.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use std::net::Ipv4Addr;

use reqwest::StatusCode;
use support::{
    Balancer, client, eventually, get, header, own_ip,
    upstream::{Mode, Upstream},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn one_node(settings: &str, after_ms: u64) -> (Ipv4Addr, Upstream, Balancer) {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    node.set(Mode::Answer {
        status: 200,
        after_ms,
    });
    let balancer = Balancer::start(ip, &[&node], settings).await;
    (ip, node, balancer)
}

/// One request on a connection of its own that stays open if the balancer lets it.
async fn exchange(stream: &mut TcpStream) -> String {
    let request = "GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"hello") {
        let read = stream.read_buf(&mut bytes).await.expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).expect("text").to_lowercase()
}

#[tokio::test]
async fn requests_under_way_are_all_answered_and_then_it_ends() {
    const REQUESTS: usize = 20;
    // Would the whole grace be waited for, this test would never end.
    let settings = "[shutdown]\nlame_duck_ms = 0\ngrace_ms = 600000";
    let (_ip, node, mut balancer) = one_node(settings, 500).await;
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let url = balancer.url("/");
            tokio::spawn(async move { get(&url, None).await })
        })
        .collect();
    eventually("all are under way", || async {
        node.requests().len() == REQUESTS
    })
    .await;
    balancer.signal("TERM");
    eventually("new connections are refused", || async {
        TcpStream::connect(balancer.public()).await.is_err()
    })
    .await;
    for request in requests {
        let answer = request.await.expect("a 200");
        assert_eq!(header(&answer, "connection").as_deref(), Some("close"));
        assert_eq!(answer.text().await.expect("a body"), "hello");
    }
    assert_eq!(balancer.end().await.code(), Some(0));
    assert!(balancer.log().contains("stopped"), "{}", balancer.log());
}

#[tokio::test]
async fn a_lame_duck_is_not_ready_but_serves_until_a_second_signal() {
    let (ip, _node, mut balancer) = one_node("[shutdown]\nlame_duck_ms = 600000", 0).await;
    assert_eq!(balancer.readiness().await, Some(StatusCode::OK));
    let mut kept = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    assert!(!exchange(&mut kept).await.contains("connection: close"));

    balancer.signal("TERM");
    eventually("it is not ready", || async {
        balancer.readiness().await == Some(StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    let answer = get(&balancer.url("/"), None).await;
    assert_eq!(
        header(&answer, "connection").as_deref(),
        Some("close"),
        "a new connection"
    );
    assert!(
        exchange(&mut kept).await.contains("connection: close"),
        "a kept one"
    );
    assert_eq!(
        kept.read(&mut [0]).await.expect("an end"),
        0,
        "and it is closed"
    );
    let alive = client().get(format!("http://{ip}:8090/healthz"));
    assert_eq!(
        alive.send().await.expect("an answer").status(),
        StatusCode::OK
    );

    balancer.signal("TERM");
    assert_eq!(balancer.end().await.code(), Some(1), "not in order");
    assert!(
        balancer.log().contains("second signal"),
        "{}",
        balancer.log()
    );
}

#[tokio::test]
async fn idle_connections_do_not_keep_it_alive() {
    let settings = "[shutdown]\nlame_duck_ms = 0\ngrace_ms = 600000";
    let (_ip, _node, balancer) = one_node(settings, 0).await;
    let mut kept = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    exchange(&mut kept).await;
    let mut silent = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    silent.write_all(b"GET / HT").await.expect("sent");
    assert_eq!(balancer.end_with("TERM").await.code(), Some(0));
    assert_eq!(kept.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn after_the_grace_it_ends_all_the_same() {
    let settings = "[shutdown]\nlame_duck_ms = 0\ngrace_ms = 200\n[timeouts]\ntotal_ms = 600000";
    let (_ip, node, mut balancer) = one_node(settings, 0).await;
    node.set(Mode::Hang);
    let stuck = client().post(balancer.url("/"));
    let stuck = tokio::spawn(stuck.send());
    eventually("it is under way", || async { node.requests().len() == 1 }).await;
    balancer.signal("INT");
    assert_eq!(balancer.end().await.code(), Some(0));
    assert!(
        balancer.log().contains("grace is over"),
        "{}",
        balancer.log()
    );
    assert!(stuck.await.expect("a task").is_err());
}

#[tokio::test]
async fn a_signal_during_the_start_ends_it_in_order() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    node.set(Mode::Freeze);
    let list = format!(
        "list = [{{ name = \"node-1\", address = \"{}\" }}]",
        node.address
    );
    // The listeners wait for the first check, which takes for ever.
    let mut balancer = Balancer::spawn(ip, &list, "[health]\ntimeout_ms = 60000");
    eventually("it is not ready", || async {
        balancer.readiness().await == Some(StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    balancer.signal("TERM");
    assert_eq!(balancer.end().await.code(), Some(0));
}
