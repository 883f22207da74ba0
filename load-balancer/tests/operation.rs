//! The balancer as its operator sees it: configuration, ports, signals, the admin port, DNS; and what it
//! makes of a request's headers.

mod support;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use support::{
    Balancer, SECRET, client, eventually, get, header, node_of, own_ip, refused,
    upstream::{Mode, Upstream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn headers_from_outside_are_replaced_even_if_they_are_nominated_for_removal() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], "").await;
    let mut stream = TcpStream::connect(balancer.public())
        .await
        .expect("connected");
    let request = "GET /path?query HTTP/1.1\r\nHost: shop.example\r\nConnection: close, x-session-strategy, x-secret\r\n\
                   X-Session-Strategy: redis\r\nX-Forwarded-For: 6.6.6.6\r\nX-Secret: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let seen = node.requests().remove(0);
    assert!(seen.starts_with("GET /path?query HTTP/1.1\r\n"), "{seen}");
    let lower = seen.to_lowercase();
    let names: Vec<_> = lower
        .lines()
        .skip(1)
        .filter_map(|line| line.split(':').next())
        .collect();
    for wanted in [
        "host: shop.example",
        "x-session-strategy: sticky",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: shop.example",
    ] {
        let name = wanted.split(':').next().expect("a name");
        assert_eq!(
            names.iter().filter(|other| **other == name).count(),
            1,
            "{name} in {seen}"
        );
        assert!(
            lower.lines().any(|line| line == wanted),
            "{wanted:?} in {seen}"
        );
    }
    assert!(names.contains(&"x-request-id"), "{seen}");
    for unwanted in [
        "redis",
        "6.6.6.6",
        "x-secret",
        "te: trailers",
        "keep-alive: 5",
    ] {
        assert!(!lower.contains(unwanted), "{unwanted:?} in {seen}");
    }
}

#[tokio::test]
async fn the_admin_port_wants_the_token() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], "").await;
    get(&balancer.url("/"), None).await;

    let url = |path: &str| format!("http://{ip}:8090{path}");
    assert_eq!(
        client()
            .get(url("/healthz"))
            .send()
            .await
            .expect("an answer")
            .status(),
        StatusCode::OK
    );
    for path in ["/nodes", "/metrics", "/", "/unknown"] {
        for token in [
            None,
            Some(""),
            Some("wrong"),
            Some(&SECRET[1..]),
            Some(&format!("{SECRET}x")),
        ] {
            let mut request = client().get(url(path));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(
                answer.status(),
                StatusCode::UNAUTHORIZED,
                "{path} {token:?}"
            );
            assert_eq!(
                header(&answer, "www-authenticate").as_deref(),
                Some("Bearer")
            );
        }
    }
    assert_eq!(
        balancer.admin("/unknown").await.status(),
        StatusCode::NOT_FOUND
    );
    let post = client()
        .post(url("/nodes"))
        .bearer_auth(SECRET)
        .send()
        .await
        .expect("an answer");
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);

    let page: Value = balancer.admin("/nodes").await.json().await.expect("JSON");
    let node = &page["listeners"][0]["nodes"][0];
    assert_eq!(page["listeners"][0]["strategy"], "sticky");
    assert_eq!(page["listeners"][0]["address"], format!("{ip}:8081"));
    assert_eq!(
        (&node["name"], &node["state"]),
        (&Value::from("node-1"), &Value::from("up"))
    );
    assert_eq!(
        (&node["in_flight"], &node["requests"], &node["failures"]),
        (&0.into(), &1.into(), &0.into())
    );
    assert!(!balancer.log().contains(SECRET));
}

#[tokio::test]
async fn nodes_behind_a_name_are_found() {
    let ip = own_ip();
    let node = Upstream::start_at(([127, 0, 0, 1], 0).into(), 1).await;
    let dns = format!("dns = \"localhost:{}\"", node.address.port());
    let balancer = Balancer::start_with(ip, &dns, "").await;
    let answer = get(&balancer.url("/"), None).await;
    assert_eq!(node_of(&answer).as_deref(), Some("node-1"));
    assert_eq!(balancer.state(&node.address.to_string()).await, "up");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_answer_of_503_and_a_line_in_the_log() {
    let ip = own_ip();
    let balancer = Balancer::start_with(ip, "dns = \"no-such-host.invalid:80\"", "").await;
    let answer = client()
        .get(balancer.url("/"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        balancer.log().contains("look-up failed"),
        "{}",
        balancer.log()
    );
}

#[tokio::test]
async fn both_signals_end_it_in_order() {
    for signal in ["TERM", "INT"] {
        let ip = own_ip();
        let node = Upstream::start(ip, 1).await;
        node.set(Mode::Answer {
            status: 200,
            after_ms: 300,
        });
        let balancer = Balancer::start(ip, &[&node], "").await;
        let url = balancer.url("/");
        let under_way = tokio::spawn(async move { get(&url, None).await.text().await });
        eventually("the request is under way", || async {
            node.requests().len() == 1
        })
        .await;
        let status = balancer.end_with(signal).await;
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(
            under_way.await.expect("a task").expect("a body"),
            "hello",
            "{signal}: it was finished"
        );
    }
}

#[test]
fn a_wrong_configuration_ends_with_2_before_any_port_opens() {
    let good = "[nodes]\nlist = [{ name = \"a\", address = \"127.0.0.1:1\" }]\n\
                [[listeners]]\nstrategy = \"jwt\"\naddress = \"127.0.0.1:0\"\n";
    let output = refused(&good.replace("strategy", "strategie"), &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(
        text.starts_with("Invalid configuration: ")
            && text.contains("balancer.toml, line 4, column 1"),
        "{text}"
    );
    assert!(
        text.contains("unknown field `strategie`, expected one of `strategy`"),
        "{text}"
    );

    assert_eq!(refused(good, &["--check"]).status.code(), Some(0));
    assert_eq!(refused("", &["--check"]).status.code(), Some(2));
    assert_eq!(refused(good, &["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(refused(good, &["--threads", "0"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let ip = own_ip();
    let taken = std::net::TcpListener::bind((ip, 8081)).expect("a free port");
    let text = format!(
        "[nodes]\nlist = [{{ name = \"a\", address = \"{ip}:1\" }}]\n\
         [[listeners]]\nstrategy = \"jwt\"\naddress = \"{ip}:8081\"\n"
    );
    let output = tokio::time::timeout(
        Duration::from_secs(20),
        tokio::task::spawn_blocking(move || refused(&text, &[])),
    )
    .await
    .expect("it does not try for half a minute")
    .expect("an end");
    drop(taken);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(
        text.contains(&format!("{ip}:8081")) && text.contains("listener jwt"),
        "{text}"
    );
}
