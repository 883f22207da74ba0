//! What a client sees while nodes die, freeze, break off and come back.

mod support;

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use support::{
    Balancer, ask, client, eventually, get, header, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

/// Checks that never come in time: what happens is up to the requests alone.
const NO_CHECKS: &str = "[health]\ninterval_ms = 60000\nfall = 100";

#[tokio::test]
async fn the_first_request_after_the_port_opens_is_served() {
    let ip = own_ip();
    let (alive, dead) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    dead.kill().await;
    let list = format!(
        "list = [ {{ name = \"node-2\", address = \"{}\" }}, {{ name = \"node-1\", address = \"{}\" }} ]",
        dead.address, alive.address
    );
    let balancer = Balancer::spawn(ip, &list, "");
    // A connection is taken as soon as the port is open.
    eventually("the port opens", || async {
        tokio::net::TcpStream::connect(balancer.public())
            .await
            .is_ok()
    })
    .await;
    for _ in 0..10 {
        let answer = get(&balancer.url("/"), None).await;
        assert_eq!(
            header(&answer, "x-balancer-retries"),
            None,
            "the dead node was found before"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_is_retried_for_every_method() {
    for method in [Method::POST, Method::PATCH, Method::GET, Method::DELETE] {
        let ip = own_ip();
        let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
        let balancer = Balancer::start(ip, &[&one, &two], NO_CHECKS).await;
        one.kill().await;
        let mut retried = 0;
        for _ in 0..4 {
            let answer = ask(method.clone(), &balancer.redis_url("/")).await;
            assert_eq!(
                (answer.status(), node_of(&answer).as_deref()),
                (StatusCode::OK, Some("node-2"))
            );
            retried += usize::from(header(&answer, "x-balancer-retries").as_deref() == Some("1"));
        }
        assert_eq!(retried, 2, "every other request met the dead node first");
        assert_eq!(two.requests().len(), 4);
        assert!(
            two.requests()
                .iter()
                .all(|request| request.ends_with("body of the request"))
        );
        assert_eq!(
            balancer
                .metric("load_balancer_retries_total{listener=\"redis\"}")
                .await,
            2
        );
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_repeated_only_if_idempotent() {
    for (method, repeated) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::OPTIONS, true),
        (Method::POST, false),
        (Method::PATCH, false),
    ] {
        let ip = own_ip();
        let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
        let balancer = Balancer::start(ip, &[&one, &two], NO_CHECKS).await;
        one.set(Mode::Close);
        two.set(Mode::Close);
        let answer = ask(method.clone(), &balancer.url("/")).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{method}");
        let seen = [one.requests().len(), two.requests().len()];
        if repeated {
            assert_eq!(seen, [1, 1], "{method}: each node once");
            assert_eq!(header(&answer, "x-balancer-retries").as_deref(), Some("1"));
            two.set(OK);
            assert_eq!(
                ask(method.clone(), &balancer.url("/")).await.status(),
                StatusCode::OK,
                "{method}"
            );
            let last = two.requests().pop().expect("a request");
            assert!(
                last.ends_with("body of the request"),
                "{method}: the body is sent again"
            );
        } else {
            assert_eq!(seen.iter().sum::<usize>(), 1, "{method}: one node, once");
            assert_eq!(header(&answer, "x-balancer-retries"), None);
        }
    }
}

#[tokio::test]
async fn a_silent_node_costs_an_idempotent_request_its_patience_and_no_more() {
    let ip = own_ip();
    let (silent, other) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let settings = format!("{NO_CHECKS}\n[timeouts]\nread_ms = 150\ntotal_ms = 600");
    let balancer = Balancer::start(ip, &[&silent, &other], &settings).await;
    silent.set(Mode::Hang);
    for _ in 0..2 {
        assert_eq!(
            node_of(&get(&balancer.redis_url("/"), None).await).as_deref(),
            Some("node-2")
        );
    }
    let statuses = [
        ask(Method::POST, &balancer.redis_url("/")).await.status(),
        ask(Method::POST, &balancer.redis_url("/")).await.status(),
    ];
    assert!(
        statuses.contains(&StatusCode::OK) && statuses.contains(&StatusCode::GATEWAY_TIMEOUT),
        "{statuses:?}"
    );

    other.set(Mode::Hang);
    let answer = ask(Method::GET, &balancer.redis_url("/")).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["type"], "/problems/node-timeout");
}

#[tokio::test]
async fn without_a_node_the_answer_is_503_at_once() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], NO_CHECKS).await;
    node.kill().await;
    for method in [Method::GET, Method::POST, Method::HEAD] {
        let answer = ask(method, &balancer.url("/")).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&answer, "retry-after").as_deref(), Some("1"));
        assert_eq!(
            header(&answer, "content-type").as_deref(),
            Some("application/problem+json")
        );
        assert_eq!(
            (node_of(&answer), header(&answer, "set-cookie")),
            (None, None)
        );
    }
    let sample =
        "load_balancer_own_answers_total{listener=\"sticky\",status=\"503\",type=\"no-node\"}";
    assert_eq!(balancer.metric(sample).await, 3);
}

#[tokio::test]
async fn a_frozen_node_leaves_rotation_and_comes_back() {
    let ip = own_ip();
    let (frozen, other) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(
        ip,
        &[&frozen, &other],
        "[health]\ninterval_ms = 50\ntimeout_ms = 100",
    )
    .await;
    assert_eq!(balancer.state("node-1").await, "up");

    frozen.set(Mode::Freeze);
    eventually("it is down", || async {
        balancer.state("node-1").await == "down"
    })
    .await;
    for _ in 0..4 {
        let answer = ask(Method::POST, &balancer.url("/")).await;
        assert_eq!(node_of(&answer).as_deref(), Some("node-2"));
    }
    frozen.set(OK);
    eventually("it is up", || async {
        balancer.state("node-1").await == "up"
    })
    .await;
}

/// At the default settings two unanswered checks take a node out. How long that takes at most is a matter of
/// arithmetic, which a unit test of the configuration does.
#[tokio::test]
async fn a_frozen_node_leaves_rotation_after_two_checks_at_the_default_settings() {
    let ip = own_ip();
    let (frozen, other) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&frozen, &other], "").await;
    frozen.set(Mode::Freeze);
    let before = frozen.checks();
    eventually("it is down for both listeners", || async {
        balancer.node(0, "node-1").await["state"] == "down"
            && balancer.node(1, "node-1").await["state"] == "down"
    })
    .await;
    // Both listeners check. Each may have begun one more check before the test looked.
    let checks = frozen.checks() - before;
    assert!((3..=6).contains(&checks), "{checks} checks");
}

#[tokio::test]
async fn a_refused_connection_is_news_for_the_health_of_the_node() {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    // Checks on their own would take two intervals.
    let balancer = Balancer::start(ip, &[&one, &two], "[health]\ninterval_ms = 2000").await;
    one.kill().await;
    for _ in 0..2 {
        get(&balancer.url("/"), None).await;
    }
    eventually("it is down", || async {
        balancer.state("node-1").await == "down"
    })
    .await;
    one.restart().await;
    eventually("it is up", || async {
        balancer.state("node-1").await == "up"
    })
    .await;
}

#[tokio::test]
async fn readiness_is_per_strategy() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    node.set_unready_for("redis");
    let balancer = Balancer::start(ip, &[&node], "").await;
    get(&balancer.url("/"), None).await;
    let answer = ask(Method::GET, &balancer.redis_url("/")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        header(&answer, "x-session-strategy").as_deref(),
        Some("redis")
    );
}

#[tokio::test]
async fn what_a_node_answers_is_passed_on_as_it_is() {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&one, &two], "").await;
    for status in [404, 500, 503] {
        one.set(Mode::Answer {
            status,
            after_ms: 0,
        });
        two.set(Mode::Answer {
            status,
            after_ms: 0,
        });
        let answer = ask(Method::GET, &balancer.url("/")).await;
        assert_eq!(answer.status().as_u16(), status);
        assert!(node_of(&answer).is_some() && header(&answer, "retry-after").is_none());
        // Another one was asked whether it can do better, and then its answer is passed on.
        let retries = (status == 503).then_some("1");
        assert_eq!(header(&answer, "x-balancer-retries").as_deref(), retries);
        assert_eq!(answer.text().await.expect("a body"), "hello");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_completed_by_another_node() {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&one, &two], NO_CHECKS).await;
    one.set(Mode::Truncate);
    two.set(Mode::Truncate);
    let answer = client()
        .get(balancer.url("/"))
        .send()
        .await
        .expect("a head");
    assert!(
        answer.text().await.is_err(),
        "the client can tell that something is missing"
    );
    assert_eq!(one.requests().len() + two.requests().len(), 1);
}

/// A node dies under load: nothing idempotent is lost, and of the rest only what the node was working on.
/// Each client has one request under way, so it can lose one POST at most; later ones must not be sent
/// into connections that died with the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dying_node_takes_only_what_it_was_working_on() {
    const CLIENTS: usize = 24;
    let ip = own_ip();
    let nodes = [
        Upstream::start(ip, 1).await,
        Upstream::start(ip, 2).await,
        Upstream::start(ip, 3).await,
    ];
    for node in &nodes {
        node.set(Mode::Answer {
            status: 200,
            after_ms: 2,
        });
    }
    // A node that is only slow to answer a check, as on a busy machine, is not what this is about.
    let settings = "[health]\ntimeout_ms = 5000\n[timeouts]\nconnect_ms = 5000\nread_ms = 20000\ntotal_ms = 30000";
    let all = [&nodes[0], &nodes[1], &nodes[2]];
    let balancer = Arc::new(Balancer::start(ip, &all, settings).await);
    for node in &nodes {
        eventually("it has passed a check", || async {
            balancer.node(1, &node.name).await["state"] == "up"
        })
        .await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);

    let load: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (balancer, stopped) = (Arc::clone(&balancer), stopped.clone());
            let method = if number % 2 == 0 {
                Method::GET
            } else {
                Method::POST
            };
            tokio::spawn(async move {
                let client = client();
                let mut failed = Vec::new();
                while !*stopped.borrow() {
                    let request = client.request(method.clone(), balancer.redis_url("/"));
                    let status = request.send().await.expect("an answer").status();
                    if status != StatusCode::OK {
                        failed.push(status);
                    }
                }
                (method, failed)
            })
        })
        .collect();

    for node in &nodes {
        eventually("load arrives", || async { node.requests().len() > 200 }).await;
        node.kill().await;
        eventually("it is down", || async {
            balancer.state(&node.name).await == "down"
        })
        .await;
        node.restart().await;
        eventually("it is up", || async {
            balancer.state(&node.name).await == "up"
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await; // Some load on the node that came back.
    }
    stop.send(true).expect("clients are running");
    assert!(
        !balancer.log().contains("ERROR"),
        "no line a request: {}",
        balancer.log()
    );
    for task in load {
        let (method, failed) = task.await.expect("a client");
        let most = if method == Method::GET {
            0
        } else {
            nodes.len()
        };
        assert!(failed.len() <= most, "{method}: {failed:?}");
        assert!(
            failed
                .iter()
                .all(|status| *status == StatusCode::BAD_GATEWAY),
            "{failed:?}"
        );
    }
}
