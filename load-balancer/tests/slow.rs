//! Clients and nodes that take their time, and clients that are too many. Nobody's patience is measured
//! here: a test passes when the slow side is cut at all, and would wait for ever if it were not.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use std::time::Duration;

use reqwest::StatusCode;
use support::{
    Balancer, ask, eventually, get, own_ip,
    raw::{exchange, read_to_end, statuses},
    upstream::{Mode, Upstream},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn one_node(settings: &str) -> (Upstream, Balancer) {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], settings).await;
    (node, balancer)
}

/// Sends `first`, then a byte now and then, and returns what came until the end.
async fn drip(balancer: &Balancer, first: &str, byte: &[u8]) -> String {
    let stream = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    let (mut read, mut write) = stream.into_split();
    write.write_all(first.as_bytes()).await.expect("sent");
    let byte = byte.to_vec();
    let dripping = tokio::spawn(async move {
        while write.write_all(&byte).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let end = tokio::time::timeout(support::PATIENCE, read.read_to_end(&mut answer)).await;
    dripping.abort();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(end.is_ok(), "never cut: {answer}");
    answer
}

#[tokio::test]
async fn a_head_that_comes_slowly_is_cut() {
    let (node, balancer) = one_node("[clients]\nhead_ms = 300").await;
    for first in ["G", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        assert_eq!(
            statuses(&drip(&balancer, first, b"x").await),
            [408],
            "{first:?}"
        );
    }
    let mut silent = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    assert_eq!(
        read_to_end(&mut silent).await,
        "",
        "who says nothing is told nothing"
    );
    assert_eq!(node.requests().len(), 0);
}

#[tokio::test]
async fn a_body_that_comes_slowly_or_not_at_all_is_cut() {
    let (node, balancer) = one_node("[clients]\nsilence_ms = 300").await;
    for (fields, byte) in [
        ("Content-Length: 9999", &b"x"[..]),
        ("Transfer-Encoding: chunked", b"1\r\nx\r\n"),
    ] {
        let first = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        assert_eq!(
            statuses(&drip(&balancer, &first, byte).await),
            [408],
            "slow: {fields}"
        );
        assert_eq!(
            statuses(&exchange(balancer.public(), first.as_bytes()).await),
            [408],
            "silent: {fields}"
        );
    }
    assert_eq!(node.requests().len(), 0, "none of them ever ended");
}

#[tokio::test]
async fn a_kept_connection_that_is_not_used_is_closed() {
    let (_node, balancer) = one_node("[clients]\nkeepalive_ms = 300").await;
    let answer = exchange(balancer.public(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert!(
        !answer.contains("connection: close"),
        "closed later, and not announced: {answer}"
    );
}

/// The client takes a byte now and then. All buffers in between are full before the balancer has to wait,
/// so there is a lot to send.
#[tokio::test]
async fn a_client_that_reads_slowly_is_cut() {
    let (node, balancer) = one_node("[clients]\nsilence_ms = 500\nbytes_per_s = 1000000").await;
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n{}",
        "x".repeat(50_000_000)
    );
    node.set(Mode::Raw {
        text: Box::leak(text.into_boxed_str()),
        close: false,
    });
    let mut stream = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let in_flight = "load_balancer_node_in_flight{listener=\"sticky\",node=\"node-1\"}";
    eventually("it is under way", || async {
        balancer.metric(in_flight).await == 1
    })
    .await;
    let reading = tokio::spawn(async move {
        while stream.read(&mut [0; 1]).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    eventually("it is cut", || async {
        balancer.metric(in_flight).await == 0
    })
    .await;
    reading.abort();
}

#[tokio::test]
async fn a_node_whose_answer_drips_is_cut() {
    for (every_ms, settings) in [
        (60_000, "[timeouts]\nread_ms = 300"),
        (20, "[clients]\nsilence_ms = 300"),
    ] {
        let (node, balancer) = one_node(settings).await;
        node.set(Mode::Drip { every_ms });
        let answer = ask(reqwest::Method::POST, &balancer.url("/")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.text().await.is_err(), "cut: {settings}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let (_node, balancer) = one_node("[clients]\nconnections = 3").await;
    let open = "load_balancer_connections_open{listener=\"sticky\"}";
    // The balancer itself looked whether its port is open.
    eventually("none is open", || async {
        balancer.metric(open).await == 0
    })
    .await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(
            TcpStream::connect(balancer.public())
                .await
                .expect("connected"),
        );
    }
    eventually("three are open", || async {
        balancer.metric(open).await == 3
    })
    .await;
    let mut fourth = TcpStream::connect(balancer.public())
        .await
        .expect("the kernel accepts it");
    assert_eq!(read_to_end(&mut fourth).await, "");
    let refused = "load_balancer_connections_refused_total{listener=\"sticky\"}";
    assert_eq!(balancer.metric(refused).await, 1);
    assert_eq!(
        get(&balancer.redis_url("/"), None).await.status(),
        StatusCode::OK,
        "each listener has its own"
    );
    kept.pop();
    eventually("there is room again", || async {
        balancer.metric(open).await == 2
    })
    .await;
    assert_eq!(get(&balancer.url("/"), None).await.status(), StatusCode::OK);
}
