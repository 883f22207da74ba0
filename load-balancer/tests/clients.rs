//! What clients do that is allowed but unusual: they end their sending side, write without reading, ask for heads,
//! name themselves. All as bytes on a socket.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{
    Balancer, eventually, own_ip,
    raw::{exchange, head, read_to_end, statuses},
    upstream::{Mode, Upstream},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

const IN_FLIGHT: &str = "load_balancer_node_in_flight{listener=\"sticky\",node=\"node-1\"}";
const UNANSWERED: &str = "load_balancer_unanswered_total{listener=\"sticky\"}";
const GET: &str = "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n";

async fn one_node(settings: &str) -> (Upstream, Balancer) {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let settings = format!("access_log = \"access.log\"\n{settings}");
    let balancer = Balancer::start(ip, &[&node], &settings).await;
    (node, balancer)
}

async fn connect(balancer: &Balancer) -> TcpStream {
    TcpStream::connect(balancer.public())
        .await
        .expect("connected")
}

/// Sends bytes, ends the sending side, and reads to the end.
async fn half_closed(balancer: &Balancer, bytes: &str) -> String {
    let mut stream = connect(balancer).await;
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("ended");
    read_to_end(&mut stream).await
}

async fn log_lines(balancer: &Balancer, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(balancer.file("access.log")).expect("a log");
    eventually("the lines are written", || async {
        read().lines().count() >= count
    })
    .await;
    let text = read();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn field(answer: &str, name: &str) -> Option<String> {
    head(answer)
        .iter()
        .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_answered() {
    let (node, balancer) = one_node("").await;
    let answer = half_closed(&balancer, GET).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let answer = half_closed(&balancer, post).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    // Several at once, the last of them cut short.
    let answer = half_closed(&balancer, &format!("{GET}{post}{GET}GET /c HT")).await;
    assert_eq!(statuses(&answer), [200, 200, 200, 400], "{answer}");
    assert_eq!(node.requests().len(), 5);
    // While the node takes its time.
    node.set(Mode::Answer {
        status: 200,
        after_ms: 600,
    });
    let answer = half_closed(&balancer, &format!("{GET}{GET}")).await;
    assert_eq!(statuses(&answer), [200, 200], "{answer}");
    assert_eq!(balancer.metric(UNANSWERED).await, 0);
    let lines = log_lines(&balancer, 8).await;
    let found: Vec<_> = lines.iter().map(|line| line["status"].as_u64()).collect();
    let wanted = [200, 200, 200, 200, 200, 400, 200, 200].map(Some);
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn who_ends_in_the_middle_of_a_request_is_told_so() {
    let (node, balancer) = one_node("").await;
    for half in [
        "GET /a HTTP/1.1\r\nHost: a\r\n",
        "G",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let answer = half_closed(&balancer, half).await;
        assert_eq!(statuses(&answer), [400], "{half:?}: {answer}");
    }
    for nothing in ["", "\r\n"] {
        assert_eq!(
            half_closed(&balancer, nothing).await,
            "",
            "there is nothing to answer"
        );
    }
    assert_eq!(node.requests().len(), 0);
    eventually("nothing is left at the node", || async {
        balancer.metric(IN_FLIGHT).await == 0
    })
    .await;
}

#[tokio::test]
async fn with_abort_on_close_who_sends_no_more_is_gone() {
    let (node, balancer) = one_node("[clients]\nabort_on_close = true").await;
    node.set(Mode::Hang);
    let mut stream = connect(&balancer).await;
    stream.write_all(GET.as_bytes()).await.expect("sent");
    eventually("it is in flight", || async {
        balancer.metric(IN_FLIGHT).await == 1
    })
    .await;
    stream.shutdown().await.expect("ended");
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(balancer.metric(IN_FLIGHT).await, 0);
    assert_eq!(balancer.metric(UNANSWERED).await, 1);
    let answer = half_closed(&balancer, "GET /a HT").await;
    assert_eq!(answer, "", "nor is half a head answered");
    let lines = log_lines(&balancer, 1).await;
    assert_eq!(lines[0]["status"], Value::Null);
    assert_eq!(lines[0]["attempts"][0]["outcome"], "abandoned");
}

/// Closes with a reset, as a process does that is killed with unread bytes.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("set");
    drop(stream);
}

#[tokio::test]
async fn a_client_that_is_gone_for_good_takes_its_request_with_it() {
    let (node, balancer) = one_node("[timeouts]\ntotal_ms = 60000").await;
    node.set(Mode::Hang);
    for ends_first in [false, true] {
        let mut stream = connect(&balancer).await;
        let post = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(post.as_bytes()).await.expect("sent");
        let before = node.requests().len();
        eventually("it is in flight", || async {
            balancer.metric(IN_FLIGHT).await == 1 && node.requests().len() >= before
        })
        .await;
        if ends_first {
            stream.shutdown().await.expect("ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(balancer.metric(IN_FLIGHT).await, 1, "it may still read");
        }
        reset(stream);
        eventually("it is not", || async {
            balancer.metric(IN_FLIGHT).await == 0
        })
        .await;
    }
    assert_eq!(balancer.metric(UNANSWERED).await, 2);
}

/// Writes all of it before it reads anything, as Python's `http.client` does. The buffers between are small,
/// so that nothing of it is hidden in the kernel.
async fn write_then_read(balancer: &Balancer, head: &str, body: &[u8]) -> std::io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(16 * 1024)?;
    let mut stream = socket.connect(balancer.public()).await?;
    stream.write_all(head.as_bytes()).await?;
    for piece in body.chunks(64 * 1024) {
        stream.write_all(piece).await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_refusal_reaches_a_sender_that_reads_only_when_it_has_written() {
    // Writing takes its time where everybody writes.
    let (node, balancer) = one_node("[clients]\nlinger_ms = 60000").await;
    let plain = vec![b'x'; 3_000_000];
    let chunks = format!("2dc6c0\r\n{}\r\n0\r\n\r\n", "x".repeat(3_000_000)).into_bytes();
    let long_target = format!("/{}", "x".repeat(9000));
    let many_fields = "X: 1\r\n".repeat(65);
    for (status, target, fields) in [
        (413, "/a", ""),
        (400, "/a#", ""),
        (404, "/metrics", ""),
        (414, &*long_target, ""),
        (417, "/a", "Expect: nope\r\n"),
        (431, "/a", &*many_fields),
    ] {
        for (framing, body) in [
            ("Content-Length: 3000000", &plain),
            ("Transfer-Encoding: chunked", &chunks),
        ] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n{fields}\r\n");
            let answer = write_then_read(&balancer, &head, body).await;
            let answer = answer.unwrap_or_else(|error| panic!("{status} {framing}: {error}"));
            assert_eq!(statuses(&answer), [status], "{framing}: {answer}");
        }
    }
    // The same where the node answers first, or not at all.
    let body = vec![b'x'; 1_000_000];
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    node.set_early(Some(
        "HTTP/1.1 401 X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
    ));
    let answer = write_then_read(&balancer, head, &body)
        .await
        .expect("an answer");
    assert_eq!(statuses(&answer), [401], "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
    node.kill().await;
    eventually("no node is left", || async {
        write_then_read(&balancer, head, &body)
            .await
            .is_ok_and(|answer| statuses(&answer) == [503])
    })
    .await;
}

#[tokio::test]
async fn lingering_has_an_end_by_bytes_and_by_time() {
    let (_node, balancer) = one_node("[clients]\nlinger_bytes = 100000\nlinger_ms = 300").await;
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n";
    let much = write_then_read(&balancer, head, &vec![b'x'; 5_000_000]).await;
    assert!(much.is_err(), "cut after so many bytes: {much:?}");

    let stream = connect(&balancer).await;
    let (mut read, mut write) = stream.into_split();
    write.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    read.read_to_end(&mut answer).await.expect("an answer");
    assert_eq!(statuses(&String::from_utf8_lossy(&answer)), [413]);
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while write.write_all(b"x").await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "never cut");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn answers_to_head_have_no_content() {
    let (node, balancer) = one_node("").await;
    let long = "x".repeat(9000);
    let fields = "X: 1\r\n".repeat(65);
    for (status, request) in [
        (
            417,
            "HEAD /a HTTP/1.1\r\nHost: a\r\nExpect: nope\r\n\r\n".to_owned(),
        ),
        (400, "HEAD /a HTTP/1.1\r\n\r\n".to_owned()),
        (400, "HEAD /a HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".to_owned()),
        (400, "HEAD /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (404, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (
            413,
            "HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n".to_owned(),
        ),
        (414, format!("HEAD /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (414, format!("HEAD /{long}{long}")),
        (431, format!("HEAD /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n")),
        (
            431,
            format!("HEAD /a HTTP/1.1\r\nHost: a\r\nX: {long}{long}"),
        ),
    ] {
        let answer = exchange(balancer.public(), request.as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{status}: {answer}");
        let length = field(&answer, "content-length").expect("a length");
        assert_ne!(length, "0", "the length that a GET would get");
    }
    let request = b"HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (mode, status) in [(Mode::Close, 502), (Mode::Truncate, 200)] {
        node.set(mode);
        let answer = exchange(balancer.public(), request).await;
        assert_eq!(statuses(&answer), [status], "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    node.kill().await;
    let answer = exchange(balancer.public(), request).await;
    assert!(matches!(statuses(&answer)[..], [502 | 503]), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_tunnel_is_refused_with_the_methods_that_are_not() {
    let (_node, balancer) = one_node("").await;
    let connect = b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let answer = exchange(balancer.public(), connect).await;
    assert_eq!(statuses(&answer), [405], "{answer}");
    let allowed = field(&answer, "allow").expect("methods");
    assert!(allowed.contains("GET, HEAD, POST"), "{allowed}");
    assert!(!allowed.contains("CONNECT"), "{allowed}");
}

#[expect(
    clippy::too_many_lines,
    reason = "each kind of answer takes a few lines"
)]
#[tokio::test]
async fn every_answer_of_our_own_has_an_id_and_the_log_has_the_same() {
    let (node, balancer) = one_node(
        "[clients]\nhead_ms = 400\nsilence_ms = 400\n[timeouts]\ntotal_ms = 500\nread_ms = 400",
    )
    .await;
    let id = "Root=1-67891233-abcdef0123456789";
    let given = format!("X-Request-Id: {id}\r\n");
    let many = "X: 1\r\n".repeat(65);
    let long = "x".repeat(9000);
    let get = |fields: &str| format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut requests = vec![
        (400, "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), false),
        (400, "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), false),
        (400, format!("GET / HTTP/1.1\r\n{given}\r\n"), true),
        (
            400,
            format!("GET / HTTP/1.1\r\n{given}Host: a\nX: y\r\n\r\n"),
            true,
        ),
        (
            400,
            format!("GET / HTTP/1.1\r\n{given}Host: a b\r\n\r\n"),
            true,
        ),
        (
            404,
            format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{given}\r\n"),
            true,
        ),
        (
            405,
            format!("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n{given}\r\n"),
            true,
        ),
        (408, "GET / HTTP/1.1\r\nHo".to_owned(), false),
        (408, format!("GET / HTTP/1.1\r\n{given}Ho"), true),
        (
            408,
            format!("POST / HTTP/1.1\r\nHost: a\r\n{given}Content-Length: 5\r\n\r\nx"),
            true,
        ),
        (
            413,
            get(&format!("Content-Length: 9999999\r\n{given}")),
            true,
        ),
        (414, format!("GET /{long}{long}"), false),
        (
            414,
            format!("GET /{long} HTTP/1.1\r\nHost: a\r\n{given}\r\n"),
            true,
        ),
        (417, get(&format!("Expect: nope\r\n{given}")), true),
        (417, get("Expect: nope\r\n"), false),
        (431, get(&format!("{given}{many}")), true),
        (
            431,
            format!("GET / HTTP/1.1\r\n{given}X: {long}{long}"),
            true,
        ),
    ];
    let ids = async |requests: &[(u16, String, bool)]| {
        let mut ids = Vec::new();
        for (status, request, is_given) in requests {
            let answer = exchange(balancer.public(), request.as_bytes()).await;
            assert_eq!(statuses(&answer), [*status], "{request:?}: {answer}");
            let found = field(&answer, "x-request-id");
            let found = found.unwrap_or_else(|| panic!("no id: {answer}"));
            if *is_given {
                assert_eq!(found, id, "{request:?}");
            }
            let outcome = match status {
                503 => Some("nothing-done"),
                502 | 504 => Some("unknown"),
                _ => None,
            };
            assert_eq!(field(&answer, "x-outcome").as_deref(), outcome, "{answer}");
            ids.push(found);
        }
        ids
    };
    let mut wanted = ids(&requests).await;
    for (mode, status) in [(Mode::Close, 502), (Mode::Hang, 504)] {
        node.set(mode);
        let more = [(status, get(&given), true), (status, get(""), false)];
        wanted.extend(ids(&more).await);
        requests.extend(more);
    }
    node.kill().await;
    eventually("no node is left", || async {
        balancer.state("node-1").await == "down"
    })
    .await;
    let more = [(503, get(&given), true), (503, get(""), false)];
    wanted.extend(ids(&more).await);
    requests.extend(more);

    let lines = log_lines(&balancer, requests.len()).await;
    let logged: Vec<_> = lines
        .iter()
        .map(|line| line["request_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(logged, wanted);
    for (line, (status, ..)) in lines.iter().zip(&requests) {
        assert_eq!(line["status"], *status, "{line}");
    }
    assert_eq!(
        (&lines[5]["method"], &lines[5]["path"]),
        (&"GET".into(), &"/metrics".into())
    );
    let mut made: Vec<_> = wanted.iter().filter(|found| *found != id).collect();
    let count = made.len();
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), count, "no id twice");
}

#[tokio::test]
async fn one_id_and_one_trace_go_all_the_way() {
    let (node, balancer) = one_node("").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let odd = "\"{}\\<>;=,:/?#[]@!$&'()*+|~^`%";
    // A node that answers with another id does not change what the request is called.
    node.set(Mode::Raw {
        text: "HTTP/1.1 200 OK\r\nX-Request-ID: of-the-node\r\ncontent-length: 2\r\n\r\nok",
        close: false,
    });
    for (fields, wanted) in [
        (
            "X-Request-Id: Root=1-67891233-abcdef0123456789\r\n",
            "Root=1-67891233-abcdef0123456789",
        ),
        (&*format!("x-request-id: {odd}\r\n"), odd),
        (
            "X-REQUEST-ID: two words\r\nX-Request-Id: first\r\nX-Request-Id: second\r\n",
            "first",
        ),
        (
            &*format!("X-Request-Id: {}\r\n", "x".repeat(128)),
            &*"x".repeat(128),
        ),
    ] {
        let request = format!(
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTraceParent: {trace}\r\ntracestate: a=b\r\n{fields}\r\n"
        );
        let answer = exchange(balancer.public(), request.as_bytes()).await;
        assert_eq!(
            answer.to_lowercase().matches("x-request-id").count(),
            1,
            "{answer}"
        );
        assert_eq!(field(&answer, "x-request-id").as_deref(), Some(wanted));
        let seen = node.requests().pop().expect("a request");
        assert_eq!(
            seen.to_lowercase().matches("x-request-id").count(),
            1,
            "{seen}"
        );
        assert_eq!(field(&seen, "x-request-id").as_deref(), Some(wanted));
        assert!(
            seen.contains(&format!("TraceParent: {trace}\r\ntracestate: a=b\r\n")),
            "{seen}"
        );
        let line = log_lines(&balancer, node.requests().len())
            .await
            .pop()
            .expect("a line");
        assert_eq!(
            (&line["request_id"], &line["traceparent"]),
            (&wanted.into(), &trace.into())
        );
    }
}
