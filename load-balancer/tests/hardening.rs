//! Requests that are not quite HTTP, as bytes on a socket: what could be read in two ways gets 400 and a
//! closed connection, and a node never sees what was hidden in it.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use serde_json::Value;
use support::{
    Balancer, affinity_of, eventually, log_in, own_ip,
    raw::{exchange, head, statuses},
    upstream::Upstream,
};

/// What an attacker appends to a request that the balancer and a node might end at different places.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";

async fn one_node(settings: &str) -> (Upstream, Balancer) {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], settings).await;
    (node, balancer)
}

/// Sends each request with a smuggled one behind it. The answer must be that status alone, as a problem, and
/// then the end of the connection; no request may reach the node.
async fn all_are_refused(status: u16, requests: &[&str]) {
    let (node, balancer) = one_node("").await;
    for request in requests {
        let answer = exchange(balancer.public(), format!("{request}{SMUGGLED}").as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{request:?}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("connection: close"), "{request:?}: {answer}");
        assert!(
            head.contains("application/problem+json"),
            "{request:?}: {answer}"
        );
        let problem: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"], status, "{request:?}");
        assert_eq!(node.requests(), Vec::<String>::new(), "{request:?}");
    }
    let answered =
        format!("load_balancer_own_answers_total{{listener=\"sticky\",status=\"{status}\"");
    assert_eq!(balancer.metric(&answered).await, requests.len() as u64);
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n{body}")
}

async fn all_posts_are_refused(fields_and_bodies: &[(&str, &str)]) {
    let requests: Vec<_> = fields_and_bodies
        .iter()
        .map(|(fields, body)| post(fields, body))
        .collect();
    all_are_refused(
        400,
        &requests.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
}

#[tokio::test]
async fn lengths_that_can_be_read_in_two_ways_are_refused() {
    all_posts_are_refused(&[
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "0\r\n\r\n",
        ),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 0\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: -5\r\n", "hello"),
        ("Content-Length: 5,5\r\n", "hello"),
        ("Content-Length: 5, 6\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: 5 5\r\n", "hello"),
        ("Content-Length: 5.0\r\n", "hello"),
        ("Content-Length:\r\n", ""),
        ("Content-Length: 18446744073709551621\r\n", "hello"),
        ("Content-Length: 99999999999999999999999\r\n", "hello"),
        ("Content-Length : 5\r\n", "hello"),
        ("Content-Length\t: 5\r\n", "hello"),
        ("Content-Length: 5\r\n 5\r\n", "hello"),
        ("Content-Length: \u{b}5\r\n", "hello"),
    ])
    .await;
}

#[tokio::test]
async fn encodings_other_than_chunked_are_refused() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    all_posts_are_refused(&[
        ("Transfer-Encoding: chunked, identity\r\n", chunks),
        ("Transfer-Encoding: identity, chunked\r\n", chunks),
        ("Transfer-Encoding: xchunked\r\n", chunks),
        ("Transfer-Encoding: chunkedx\r\n", chunks),
        ("Transfer-Encoding: chunked, chunked\r\n", chunks),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            chunks,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            chunks,
        ),
        ("Transfer-Encoding: gzip\r\n", chunks),
        ("Transfer-Encoding: \"chunked\"\r\n", chunks),
        ("Transfer-Encoding: chunked;q=1\r\n", chunks),
        ("Transfer-Encoding:\r\n", chunks),
        ("Transfer-Encoding : chunked\r\n", chunks),
        ("Transfer-Encoding\t: chunked\r\n", chunks),
        ("Transfer-Encoding:\r\n chunked\r\n", chunks),
        ("Transfer-Encoding: \u{b}chunked\r\n", chunks),
        ("Transfer-Encoding: chunked\u{b}\r\n", chunks),
        ("Transfer-Encoding: chunked\0\r\n", chunks),
        ("X: y\nTransfer-Encoding: chunked\r\n", chunks),
        ("X: y\rTransfer-Encoding: chunked\r\n", chunks),
    ])
    .await;
    all_are_refused(
        400,
        &[
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1000));
    let long_trailers = format!("0\r\nx: {}\r\n\r\n", "x".repeat(9000));
    let chunked = "Transfer-Encoding: chunked\r\n";
    all_posts_are_refused(&[
        (chunked, "x\r\nhello\r\n0\r\n\r\n"),
        (chunked, "-5\r\nhello\r\n0\r\n\r\n"),
        (chunked, "+5\r\nhello\r\n0\r\n\r\n"),
        (chunked, "0x5\r\nhello\r\n0\r\n\r\n"),
        (chunked, "5 \r\nhello\r\n0\r\n\r\n"),
        (chunked, " 5\r\nhello\r\n0\r\n\r\n"),
        (chunked, "\r\nhello\r\n0\r\n\r\n"),
        (chunked, "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        (chunked, "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        (chunked, "5\r\nhelloXX0\r\n\r\n"),
        (chunked, "5\r\nhello!\r\n0\r\n\r\n"),
        (chunked, "5\nhello\r\n0\r\n\r\n"),
        (chunked, "5\r\nhello\n0\r\n\r\n"),
        (chunked, "5\r\nhello\r\n0\n\n"),
        (chunked, "5\r\nhello\r\n0\r\n\n"),
        (chunked, "5\rX\nhello\r\n0\r\n\r\n"),
        (chunked, "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        (chunked, "5;\0\r\nhello\r\n0\r\n\r\n"),
        (chunked, "5\r\nhello\r\n0\r\n folded: 1\r\n\r\n"),
        (chunked, "5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
        (chunked, &long_extension),
        (chunked, &long_trailers),
    ])
    .await;
}

#[tokio::test]
async fn heads_that_are_not_http_are_refused() {
    let host = "Host: shop.example\r\n";
    let with = |text: &str| text.replace("HOST", host);
    let requests: Vec<_> = [
        // Line ends.
        "GET / HTTP/1.1\nHOST\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHOST\n",
        "GET / HTTP/1.1\r\r\nHOST\r\n",
        "GET / HTTP/1.1\r\nHOSTX: a\rb\r\n\r\n",
        // Folded lines, blanks, control bytes.
        "GET / HTTP/1.1\r\nHOSTX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n HOST\r\n",
        "GET / HTTP/1.1\r\n\tX: 1\r\nHOST\r\n",
        "GET / HTTP/1.1\r\nHOSTX : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHOST: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTX\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTX: \u{1}\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTX: \u{7f}\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTX\0: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTX(: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTÄ: 1\r\n\r\n",
        // Request lines.
        "GET /\0 HTTP/1.1\r\nHOST\r\n",
        "GET /\u{1} HTTP/1.1\r\nHOST\r\n",
        "GET /\u{7f} HTTP/1.1\r\nHOST\r\n",
        "GET /ä HTTP/1.1\r\nHOST\r\n",
        "GET /a b HTTP/1.1\r\nHOST\r\n",
        "GET  / HTTP/1.1\r\nHOST\r\n",
        "GET /  HTTP/1.1\r\nHOST\r\n",
        "GET\t/ HTTP/1.1\r\nHOST\r\n",
        " GET / HTTP/1.1\r\nHOST\r\n",
        "GET /#a HTTP/1.1\r\nHOST\r\n",
        "GET a HTTP/1.1\r\nHOST\r\n",
        "GET * HTTP/1.1\r\nHOST\r\n",
        "GET ftp://shop.example/ HTTP/1.1\r\nHOST\r\n",
        "GET http:///a HTTP/1.1\r\nHOST\r\n",
        "GET http://u:p@shop.example/ HTTP/1.1\r\nHOST\r\n",
        "G(T / HTTP/1.1\r\nHOST\r\n",
        "G\u{1}T / HTTP/1.1\r\nHOST\r\n",
        "/ HTTP/1.1\r\nHOST\r\n",
        "GET / HTTP/1.2\r\nHOST\r\n",
        "GET / HTTP/2.0\r\nHOST\r\n",
        "GET / HTTP/0.9\r\nHOST\r\n",
        "GET / http/1.1\r\nHOST\r\n",
        "GET / HTTP/1.1 \r\nHOST\r\n",
        "GET / HTTP/01.1\r\nHOST\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
        // Hosts.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHOSTHOST\r\n",
        "GET / HTTP/1.1\r\nHOSTHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET http://shop.example./ HTTP/1.1\r\nHOST\r\n",
        "GET https://shop.example:80/ HTTP/1.1\r\nHOST\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHOST\r\n",
        "GET http://shop.example:81/ HTTP/1.1\r\nHOST\r\n",
        "GET / HTTP/1.0\r\nHOSTHOST\r\n",
    ]
    .iter()
    .map(|request| with(request))
    .collect();
    all_are_refused(
        400,
        &requests.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
}

#[tokio::test]
async fn what_is_too_large_has_a_status_of_its_own() {
    let fields = "X: 1\r\n".repeat(65);
    let field = format!("X: {}\r\n", "x".repeat(17_000));
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    all_are_refused(431, &[&get(&fields), &get(&field)]).await;
    let target = |bytes| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes));
    all_are_refused(414, &[&target(8_192), &target(17_000)]).await;
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    all_are_refused(
        413,
        &[
            &post("Content-Length: 1048577\r\n"),
            &post("Content-Length: 999999999999\r\n"),
        ],
    )
    .await;
    all_are_refused(417, &[&post("Expect: 200-ok\r\nContent-Length: 5\r\n")]).await;
    all_are_refused(
        405,
        &["CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n"],
    )
    .await;
}

#[tokio::test]
async fn a_chunked_body_that_grows_too_large_is_cut() {
    let (node, balancer) = one_node("[clients]\nbody_bytes = 1000").await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let most = exchange(
        balancer.public(),
        format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&most), [200], "{most}");
    let more = exchange(
        balancer.public(),
        format!("{head}{chunk}{chunk}1\r\nx\r\n0\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&more), [413], "{more}");
    assert_eq!(node.requests().len(), 1, "the second one never ended");
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let (node, balancer) = one_node("").await;
    let requests = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
                    \r\nPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n\
                    HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n\
                    GET http://a:80/4?x HTTP/1.1\r\nHost: A\r\nConnection: close\r\n\r\n\
                    GET /5 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = exchange(balancer.public(), requests.as_bytes()).await;
    assert_eq!(statuses(&answer), [200, 200, 200, 200], "{answer}");
    let seen = node.requests();
    let lines: Vec<_> = seen
        .iter()
        .map(|request| head(request)[0].clone())
        .collect();
    assert_eq!(
        lines,
        [
            "POST /1 HTTP/1.1",
            "POST /2 HTTP/1.1",
            "HEAD /3 HTTP/1.1",
            "GET /4?x HTTP/1.1"
        ]
    );
    assert!(
        seen[1].ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "chunks of ours, no trailer: {}",
        seen[1]
    );
    assert!(!seen[1].to_lowercase().contains("trailer"), "{}", seen[1]);
}

/// The heads that go on fit into what a node takes, whatever a client fills its own with.
#[tokio::test]
async fn no_head_grows_beyond_what_a_node_takes() {
    let (node, balancer) = one_node("").await;
    let quotes = "\"".repeat(2700);
    let fields = "X: 1\r\n".repeat(60);
    let field = format!("X: {}\r\n", "x".repeat(7000));
    for (target, host, fields) in [
        (&*format!("/a?{quotes}"), &*"a".repeat(250), &*field),
        ("/a", "a", &*fields),
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        let answer = exchange(balancer.public(), request.as_bytes()).await;
        assert_eq!(statuses(&answer), [200], "{answer}");
        let seen = node.requests().pop().expect("a request");
        assert!(seen.len() < 24 * 1024, "{}", seen.len());
        assert!(head(&seen).len() < 100, "{seen}");
    }
    let host = "a".repeat(300);
    let long = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = exchange(balancer.public(), long.as_bytes()).await;
    assert_eq!(statuses(&answer), [400], "{answer}");
}

#[tokio::test]
async fn old_clients_are_served_in_their_own_way() {
    let (node, balancer) = one_node("").await;
    let closed = exchange(balancer.public(), b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&closed), [200], "{closed}");
    assert!(closed.contains("connection: close"), "{closed}");
    let kept = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let kept = exchange(balancer.public(), kept.as_bytes()).await;
    assert_eq!(statuses(&kept), [200, 200], "{kept}");
    assert!(kept.contains("connection: keep-alive"), "{kept}");
    assert!(
        node.requests()
            .iter()
            .all(|request| request.starts_with("GET / HTTP/1.1\r\n"))
    );
}

#[tokio::test]
async fn fields_of_one_connection_and_fields_of_ours_are_not_passed_on() {
    let (node, balancer) = one_node("").await;
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close, X-Named, Host, x-session-strategy, x-forwarded-for\r\n\
                   X-Named: secret\r\nKeep-Alive: secret\r\nProxy-Connection: secret\r\nProxy-Authorization: secret\r\nProxy: secret\r\n\
                   TE: secret\r\nTrailer: secret\r\nUpgrade: secret\r\nConnection: X-Other\r\nX-Other: secret\r\n\
                   X_Session_Strategy: secret\r\nx_forwarded_for: secret\r\nContent_Length: 7\r\nX-Forwarded-Port: secret\r\n\
                   X-Session-Strategy: secret\r\nX-Forwarded-For: secret\r\nForwarded: for=secret\r\nX-Real-Ip: secret\r\n\
                   X-Balancer-Retries: secret\r\nX-Kept: kept\r\nX-Request-Id: mine\r\n\r\n";
    let answer = exchange(balancer.public(), request.as_bytes()).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    let seen = node.requests().remove(0);
    assert!(
        !seen.contains("secret")
            && !seen.contains('_')
            && !seen.to_lowercase().contains("connection"),
        "{seen}"
    );
    let lines = head(&seen);
    for wanted in [
        "host: shop.example",
        "x-kept: kept",
        "x-session-strategy: sticky",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: shop.example",
        "x-forwarded-proto: http",
        "x-request-id: mine",
    ] {
        let name = wanted.split(':').next().expect("a name");
        let same: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with(&format!("{name}:")))
            .collect();
        assert_eq!(same, [wanted], "{seen}");
    }
}

#[tokio::test]
async fn a_request_id_that_is_not_plain_is_replaced() {
    let (node, balancer) = one_node("").await;
    for id in ["", "a b", &"x".repeat(129)] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: {id}\r\n\r\n");
        exchange(balancer.public(), request.as_bytes()).await;
        let seen = node.requests().pop().expect("a request");
        let made = head(&seen)
            .into_iter()
            .find_map(|line| Some(line.strip_prefix("x-request-id: ")?.to_owned()));
        assert_eq!(made.expect("an id").len(), 32, "{seen}");
    }
}

#[tokio::test]
async fn a_node_that_waits_to_say_continue_is_understood() {
    let (node, balancer) = one_node("").await;
    node.set(support::upstream::Mode::Raw {
        text: "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        close: false,
    });
    let fields =
        "Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let answer = exchange(
        balancer.public(),
        format!("PUT / HTTP/1.1\r\n{fields}").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), [103, 100, 200], "{answer}");
    assert!(
        node.requests()[0]
            .to_lowercase()
            .contains("expect: 100-continue")
    );
    let old = exchange(
        balancer.public(),
        format!("PUT / HTTP/1.0\r\n{fields}").as_bytes(),
    )
    .await;
    assert_eq!(
        statuses(&old),
        [200],
        "an old client knows no interim answers: {old}"
    );
    assert!(!node.requests()[1].to_lowercase().contains("expect"));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let (node, balancer) = one_node("[clients]\nabort_on_close = true").await;
    node.set(support::upstream::Mode::Hang);
    let mut stream = tokio::net::TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .expect("sent");
    let in_flight = "load_balancer_node_in_flight{listener=\"sticky\",node=\"node-1\"}";
    eventually("it is in flight", || async {
        balancer.metric(in_flight).await == 1
    })
    .await;
    drop(stream);
    eventually("it is not", || async {
        balancer.metric(in_flight).await == 0
    })
    .await;
    node.set(support::upstream::OK);
    assert!(
        affinity_of(&log_in(&balancer.url("/"), None).await).is_some(),
        "and all is well"
    );
}
