//! The access log: a line a request, with every attempt and without any secret.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use support::{
    Balancer, SECRET, affinity_of, ask, client, eventually, get, log_in, own_ip,
    upstream::{Mode, Upstream},
};

async fn logging(ip: std::net::Ipv4Addr, nodes: &[&Upstream], more: &str) -> Balancer {
    let settings = format!(
        "access_log = \"access.log\"\n[health]\ninterval_ms = 60000\nfall = 100\n[timeouts]\nread_ms = 100\n{more}"
    );
    Balancer::start(ip, nodes, &settings).await
}

async fn lines(balancer: &Balancer, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(balancer.file("access.log")).expect("a log");
    eventually("the lines are written", || async {
        read().lines().count() >= count
    })
    .await;
    let text = read();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

#[tokio::test]
async fn a_line_says_who_asked_what_and_who_answered() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = logging(ip, &[&node], "").await;
    let pinned = affinity_of(&log_in(&balancer.url("/"), None).await).expect("a cookie");
    let request = client()
        .post(balancer.url("/cart/lines?token=query-secret"))
        .header("cookie", format!("{pinned}; session=cookie-secret"))
        .bearer_auth(SECRET)
        .header("x-request-id", "an-id")
        .body("four");
    request.send().await.expect("an answer");

    let lines = lines(&balancer, 2).await;
    let (first, second) = (&lines[0], &lines[1]);
    assert_eq!(
        (&first["pinned"], &second["pinned"]),
        (&false.into(), &true.into())
    );
    assert_eq!(first["request_id"].as_str().map(str::len), Some(32), "ours");
    for (field, wanted) in [
        ("listener", Value::from("sticky")),
        ("method", "POST".into()),
        ("path", "/cart/lines".into()),
        ("status", 200.into()),
        ("problem", Value::Null),
        ("moved", Value::Null),
        ("repinned", Value::Null),
        ("request_id", "an-id".into()),
        ("bytes_in", 4.into()),
        ("bytes_out", 5.into()),
    ] {
        assert_eq!(second[field], wanted, "{field}");
    }
    assert!(
        second["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("127."))
    );
    assert_eq!(second["attempts"][0]["node"], "node-1");
    assert_eq!(second["attempts"][0]["outcome"], "answered");
    assert!(second["took_us"].as_u64() >= second["attempts"][0]["took_us"].as_u64());

    let text = std::fs::read_to_string(balancer.file("access.log")).expect("a log");
    for secret in ["query-secret", "cookie-secret", SECRET, "affinity"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(
        balancer
            .metric("load_balancer_access_log_dropped_total ")
            .await,
        0
    );
}

#[tokio::test]
async fn every_attempt_is_there_and_why_it_failed() {
    let ip = own_ip();
    let nodes = [
        Upstream::start(ip, 1).await,
        Upstream::start(ip, 2).await,
        Upstream::start(ip, 3).await,
    ];
    let balancer = logging(ip, &[&nodes[0], &nodes[1], &nodes[2]], "total_ms = 500").await;
    let pinned = balancer.pin_to(&balancer.url("/"), &nodes[0]).await;
    let before = lines(&balancer, 1).await.len();
    nodes[0].set(Mode::Hang);
    nodes[1].set(Mode::Close);
    get(&balancer.url("/"), Some(&pinned)).await;
    nodes[2].kill().await;
    let answer = ask(Method::POST, &balancer.url("/")).await;
    assert!(matches!(
        answer.status(),
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
    ));

    let lines = lines(&balancer, before + 2).await;
    let (moved, failed) = (&lines[before], &lines[before + 1]);
    let attempts = moved["attempts"].as_array().expect("attempts");
    assert_eq!(
        (&attempts[0]["node"], &attempts[0]["outcome"]),
        (&"node-1".into(), &"timed-out".into())
    );
    let last = attempts.last().expect("an attempt");
    assert_eq!(
        (&last["node"], &last["outcome"]),
        (&"node-3".into(), &"answered".into())
    );
    assert!(
        attempts[1..attempts.len() - 1]
            .iter()
            .all(|attempt| attempt["outcome"] == "broke-off")
    );
    assert_eq!(
        (&moved["status"], &moved["moved"]),
        (&200.into(), &"retried".into())
    );
    assert_eq!(failed["status"], answer.status().as_u16());
    assert!(
        failed["problem"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("node-"))
    );
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    node.set(Mode::Answer {
        status: 200,
        after_ms: 200,
    });
    let mut balancer = logging(ip, &[&node], "").await;
    let url = balancer.url("/");
    let under_way = tokio::spawn(async move { get(&url, None).await });
    eventually("it is under way", || async { node.requests().len() == 1 }).await;
    balancer.signal("TERM");
    assert_eq!(balancer.end().await.code(), Some(0));
    under_way.await.expect("a 200");
    let text = std::fs::read_to_string(balancer.file("access.log")).expect("a log");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_named_at_the_start() {
    let text = "access_log = \"/no/such/folder/log\"\n[nodes]\nlist = [{ name = \"a\", address = \"127.0.0.1:1\" }]\n\
                [[listeners]]\nstrategy = \"jwt\"\naddress = \"127.0.0.1:0\"\n";
    let output = tokio::task::spawn_blocking(|| support::refused(text, &[]))
        .await
        .expect("an end");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(
        text.contains("/no/such/folder/log") && text.contains("access_log"),
        "{text}"
    );
}
