//! What the load balancer lets through, the nodes understand; and what is not for clients, no client gets. The real
//! programs, asked in bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use cluster::Cluster;
use tests::{STRATEGIES, cluster, cluster_with, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Sends bytes and reads until the other side closes.
async fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_mins(1), read)
        .await
        .expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn host_of(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn status(answer: &str) -> u16 {
    let digits = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    digits
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
        .parse()
        .unwrap()
}

/// Every answer is one of ours: never the bare refusal of an HTTP library.
#[track_caller]
fn is_ours(request: &[u8], answer: &str) {
    let shown = request.escape_ascii();
    assert!(field(answer, "x-request-id").is_some(), "{shown}: {answer}");
    if status(answer) >= 400 && !request.starts_with(b"HEAD") {
        let kind = field(answer, "content-type");
        assert_eq!(kind, Some("application/problem+json"), "{shown}: {answer}");
    }
}

#[tokio::test]
async fn whatever_the_balancer_lets_through_the_node_understands() {
    let cluster = cluster_with(&["sticky"], |spec| spec.nodes = 1).await;
    let address = host_of(&cluster.url("sticky"));
    let fields = "Host: shop.example\r\nConnection: close\r\n";
    let mut requests: Vec<(Vec<u8>, Option<u16>)> = Vec::new();
    for byte in 0x21..=0xff_u8 {
        let is_fine = byte < 0x7f && byte != b'#';
        for (before, after, found) in [
            ("GET /plain?f=", "", 200),
            ("GET /plain", "x", 404),
            ("GET http://shop.example:80/plain?", "=1", 200),
            ("DELETE /cart/lines/", "", 422),
        ] {
            let line = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let request = [&line[..], b" HTTP/1.1\r\n", fields.as_bytes(), b"\r\n"].concat();
            let wanted = match (is_fine, before, byte) {
                (false, ..) => Some(400),
                // Where the byte itself begins a query, is a line's name, or ends a path, another answer is right.
                (_, "GET /plain", b'?') => Some(200),
                (_, "DELETE /cart/lines/", _) => None,
                _ => Some(found),
            };
            requests.push((request, wanted));
        }
        for (before, after) in [("X-", ": 1"), ("X: ", ""), ("X: a", "b"), ("Host", ": a")] {
            let line = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let head = b"GET /plain HTTP/1.1\r\n";
            requests.push((
                [&head[..], fields.as_bytes(), &line[..], b"\r\n\r\n"].concat(),
                None,
            ));
        }
        let head = [
            &b"GET /plain HTTP/1.1\r\nConnection: close\r\nHost: a"[..],
            &[byte],
            b"\r\n\r\n",
        ];
        requests.push((head.concat(), None));
        let head = [
            &b"GET"[..],
            &[byte],
            b" /plain HTTP/1.1\r\n",
            fields.as_bytes(),
            b"\r\n",
        ];
        requests.push((head.concat(), None));
    }
    let many = "X: 1\r\n".repeat(61);
    let long = "a".repeat(8000);
    for (line, more) in [
        (r#"GET /plain?f={"a":1}"#, ""),
        (r#"GET /plain?f={"a":[1,"<b>"]}|^`\"#, ""),
        (
            &*format!("GET /plain?{}", "\"".repeat(2700)),
            &*format!("X: {long}\r\n"),
        ),
        (&*format!("GET /plain?{long}"), &*many),
        ("GET /plain?%zz%", ""),
        ("GET /%ff%00", ""),
        ("OPTIONS *", ""),
        ("OPTIONS http://shop.example", ""),
        ("get /plain", ""),
        ("BREW /plain", ""),
        ("TRACE /plain", ""),
        ("GET //plain", ""),
        ("GET /plain", "X:\r\nY: \r\nAccept: \r\n"),
        (
            "GET /plain",
            "X-Request-Id: \"{}\\\r\nCookie: a=\"b\r\nCookie: ;;=\r\nAuthorization: \r\n",
        ),
    ] {
        let request = format!("{line} HTTP/1.1\r\n{fields}{more}\r\n");
        requests.push((request.into_bytes(), None));
    }
    for (request, wanted) in requests {
        let answer = exchange(&address, &request).await;
        is_ours(&request, &answer);
        if let Some(wanted) = wanted {
            let shown = request.escape_ascii();
            assert_eq!(status(&answer), wanted, "{shown}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_is_for_operators_is_not_for_clients() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let address = host_of(&cluster.url(strategy));
        for path in [
            "/metrics",
            "/healthz",
            "/readyz",
            "/admin/clock",
            "/%6detrics",
            "//metrics/",
            "http://a/metrics",
        ] {
            for method in ["GET", "HEAD", "POST", "OPTIONS"] {
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let answer = exchange(&address, request.as_bytes()).await;
                assert_eq!(status(&answer), 404, "{method} {path}: {answer}");
                assert_eq!(field(&answer, "x-node"), None, "no node saw it: {answer}");
                assert!(
                    method == "HEAD" || answer.contains("private-path"),
                    "{answer}"
                );
            }
        }
    }
    // Operators ask the nodes.
    let node = host_of(&cluster.node_url("node-1"));
    let page = exchange(
        &node,
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&page), 200);
}

#[tokio::test]
async fn heads_have_no_content_and_wrong_methods_are_told_the_right_ones() {
    let cluster = cluster_with(&["sticky"], |spec| spec.nodes = 1).await;
    let node = host_of(&cluster.node_url("node-1"));
    let balancer = host_of(&cluster.url("sticky"));
    for address in [&node, &balancer] {
        for path in [
            "/me",
            "/cart",
            "/sessions",
            "/plain",
            "/healthz",
            "/readyz",
            "/metrics",
            "/nothing",
            "/login",
        ] {
            let ask = async |method: &str| {
                let head =
                    format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                exchange(address, head.as_bytes()).await
            };
            let (get, head) = (ask("GET").await, ask("HEAD").await);
            assert_eq!(status(&get), status(&head), "{path}");
            assert!(head.ends_with("\r\n\r\n"), "{path}: {head}");
            assert_eq!(
                field(&get, "content-type"),
                field(&head, "content-type"),
                "{path}"
            );
            assert_eq!(field(&get, "allow"), field(&head, "allow"), "{path}");
        }
        for (method, path) in [
            ("GET", "/login"),
            ("HEAD", "/logout"),
            ("PUT", "/me"),
            ("PATCH", "/cart/lines"),
            ("OPTIONS", "/plain"),
            ("BREW", "/plain"),
            ("GET", "/cart/lines/a"),
            ("CONNECT", "a:1"),
        ] {
            if method == "CONNECT" && address == &node {
                continue;
            }
            let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answer = exchange(address, head.as_bytes()).await;
            assert_eq!(status(&answer), 405, "{method} {path}: {answer}");
            assert!(
                field(&answer, "allow").is_some_and(|allow| !allow.is_empty()),
                "{answer}"
            );
        }
    }
}

/// Writes everything before it reads anything, through small buffers.
async fn write_then_read(address: &str, head: &str, body: &[u8]) -> std::io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(16 * 1024)?;
    let mut stream = socket.connect(address.parse().unwrap()).await?;
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
async fn a_refusal_is_read_by_who_writes_first_with_and_without_a_balancer() {
    let cluster = cluster_with(&["sticky"], |spec| spec.nodes = 1).await;
    let plain = vec![b'x'; 3_000_000];
    let chunks = format!("2dc6c0\r\n{}\r\n0\r\n\r\n", "x".repeat(3_000_000)).into_bytes();
    for url in [cluster.node_url("node-1"), cluster.url("sticky")] {
        let address = host_of(&url);
        for (status_wanted, path) in [
            (413, "/login"),
            (405, "/plain"),
            (404, "/nothing"),
            (401, "/cart/lines"),
        ] {
            for (framing, body) in [
                ("Content-Length: 3000000", &plain),
                ("Transfer-Encoding: chunked", &chunks),
            ] {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
                );
                let answer = write_then_read(&address, &head, body).await;
                let answer =
                    answer.unwrap_or_else(|error| panic!("{url}{path} {framing}: {error}"));
                // The balancer may refuse the size before the node refuses the rest.
                assert!(matches!(status(&answer), 413 | 401 | 404 | 405), "{answer}");
                if url == cluster.node_url("node-1") {
                    assert_eq!(status(&answer), status_wanted, "{path} {framing}: {answer}");
                }
            }
        }
    }
}

/// The log of a node, where it says what it answered.
fn log(cluster: &Cluster) -> String {
    std::fs::read_to_string(cluster.dir().join("node-1.log")).unwrap()
}

#[tokio::test]
async fn one_id_is_in_the_request_the_answer_and_the_nodes_log() {
    let cluster = cluster_with(&["sticky"], |spec| {
        spec.nodes = 1;
        spec.env.push(("RUST_LOG".into(), "shop=debug".into()));
    })
    .await;
    let id = "Root=1-67891233-abcdef0123456789";
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let head = format!(
        "GET /me HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: {id}\r\nTraceparent: {trace}\r\n\r\n"
    );
    let answer = exchange(&host_of(&cluster.url("sticky")), head.as_bytes()).await;
    assert_eq!(field(&answer, "x-request-id"), Some(id), "{answer}");
    eventually("the node's line", async || {
        let log = log(&cluster);
        let line = log.lines().find(|line| line.contains(id))?;
        line.contains(trace).then_some(())
    })
    .await;
}
