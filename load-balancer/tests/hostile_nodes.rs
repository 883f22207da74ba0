//! Answers of nodes that are not quite HTTP, or say what is not theirs to say; and all the ways in which an
//! answer may end.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use serde_json::Value;
use support::{
    Balancer, ask, get, own_ip,
    raw::{exchange, head, statuses},
    upstream::{Mode, OK, Upstream},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NO_CHECKS: &str = "[health]\ninterval_ms = 60000\n[ejection]\nfailures = 0";

async fn one_node() -> (Upstream, Balancer) {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], NO_CHECKS).await;
    (node, balancer)
}

fn raw(text: &'static str) -> Mode {
    Mode::Raw { text, close: false }
}

#[tokio::test]
async fn an_answer_whose_end_is_not_certain_is_502_and_its_connection_is_not_used_again() {
    let (node, balancer) = one_node().await;
    let mut answers = vec![
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 0\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5,5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\n\r\nhello",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "hello\r\n\r\n",
    ];
    // More interim answers than anybody needs.
    answers.push(Box::leak(
        "HTTP/1.1 102 Processing\r\n\r\n"
            .repeat(20)
            .into_boxed_str(),
    ));
    answers.push(Box::leak(
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(20_000)).into_boxed_str(),
    ));
    for text in answers {
        node.set(raw(text));
        let answer = exchange(balancer.public(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let last = answer.rfind("HTTP/1.1 ").expect("an answer");
        assert!(
            answer[last..].starts_with("HTTP/1.1 502 "),
            "{text:?}: {answer}"
        );
        let (_, body) = answer[last..].split_once("\r\n\r\n").expect("a head");
        let problem: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["type"], "/problems/node-broke-off", "{text:?}");
        node.set(OK);
        assert_eq!(
            get(&balancer.url("/"), None)
                .await
                .text()
                .await
                .expect("a body"),
            "hello",
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_not_the_next_answer() {
    let (node, balancer) = one_node().await;
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        "HTTP/1.1 204 No Content\r\n\r\npoison",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\npoison",
    ] {
        node.set(raw(text));
        let answer = exchange(
            balancer.public(),
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(statuses(&answer).len(), 1, "{answer}");
        assert!(!answer.contains("poison"), "{answer}");
        node.set(OK);
        assert_eq!(
            get(&balancer.url("/"), None)
                .await
                .text()
                .await
                .expect("a body"),
            "hello",
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_may_end_in_every_way_that_http_knows() {
    let (node, balancer) = one_node().await;
    for (text, close, wanted) in [
        (
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            true,
            "until the end",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            true,
            "until the end",
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            false,
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nx-trailer: 1\r\n\r\n",
            false,
            "hello!",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
            true,
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, ""),
    ] {
        node.set(Mode::Raw { text, close });
        let answer = get(&balancer.url("/"), None).await;
        assert!(!answer.headers().contains_key("x-trailer"));
        assert_eq!(answer.text().await.expect("a body"), wanted, "{text:?}");
        let old = exchange(balancer.public(), b"GET / HTTP/1.0\r\n\r\n").await;
        assert!(
            old.ends_with(&format!("\r\n\r\n{wanted}")) && !old.contains("chunked"),
            "{text:?}: {old}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_seen_to_break_off() {
    let (node, balancer) = one_node().await;
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        node.set(Mode::Raw { text, close: true });
        assert!(
            ask(reqwest::Method::GET, &balancer.url("/"))
                .await
                .text()
                .await
                .is_err(),
            "{text:?}"
        );
    }
    for text in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    ] {
        node.set(Mode::Raw { text, close: true });
        let answer = ask(reqwest::Method::GET, &balancer.url("/")).await;
        // Found out before or after the client got the beginning.
        assert!(
            answer.status() == 502 || answer.text().await.is_err(),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn what_a_node_says_in_our_name_is_dropped() {
    let (node, balancer) = one_node().await;
    node.set(raw(
        "HTTP/1.1 200 OK\r\nx-balancer-retries: 7\r\nset-cookie: affinity=forged; Path=/\r\nset-cookie: __Host-affinity-other=forged\r\n\
         set-cookie: affinity-sticky=forged\r\nx-session-event: started\r\nx-balancer-drain: 1\r\n\
         set-cookie: a=1\r\nconnection: x-named, keep-alive\r\nx-named: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: x\r\n\
         upgrade: h2c\r\ntrailer: x\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n",
    ));
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(balancer.public(), request).await;
    let lines = head(&answer);
    assert!(
        lines.contains(&"x-kept: 1".to_owned()) && lines.contains(&"set-cookie: a=1".to_owned()),
        "{answer}"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("set-cookie: affinity-sticky="))
            .count(),
        1,
        "ours: {answer}"
    );
    for unwanted in [
        "forged",
        "x-balancer",
        "x-session-event",
        "x-named",
        "keep-alive",
        "proxy-",
        "upgrade",
        "trailer",
    ] {
        assert!(!answer.contains(unwanted), "{unwanted}: {answer}");
    }
}

/// A node that answers as soon as it has a head, and never reads the body.
#[tokio::test]
async fn a_node_may_answer_before_the_request_has_ended() {
    let ip = own_ip();
    let listener = tokio::net::TcpListener::bind((ip, 9001))
        .await
        .expect("a free port");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
                    .await;
                std::future::pending::<()>().await;
            });
        }
    });
    let list = format!("list = [ {{ name = \"node-1\", address = \"{ip}:9001\" }} ]");
    let balancer = Balancer::start_with(ip, &list, NO_CHECKS).await;
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\nthe beginning";
    let answer = exchange(balancer.public(), request).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert!(
        answer.contains("connection: close") && answer.ends_with("early"),
        "{answer}"
    );
}
