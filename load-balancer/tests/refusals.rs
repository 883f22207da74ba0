//! A node that answers 503 while others could serve: who is asked next, and for which requests.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use support::{
    Balancer, ask, client, get, header, log_in, node_of, own_ip,
    upstream::{Mode, OK, Upstream},
};

/// Checks that never come in time: what happens is up to the requests alone.
const NO_CHECKS: &str = "[health]\ninterval_ms = 60000\nfall = 100";
const NOTHING_DONE: Mode = Mode::Refuse {
    outcome: "nothing-done",
};
const UNKNOWN: Mode = Mode::Refuse { outcome: "unknown" };

async fn two_nodes(settings: &str) -> (Upstream, Upstream, Balancer) {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let balancer = Balancer::start(ip, &[&one, &two], &format!("{NO_CHECKS}\n{settings}")).await;
    (one, two, balancer)
}

async fn keyed(url: &str, key: &str) -> Response {
    let request = client().post(url).header("idempotency-key", key);
    request
        .body("body of the request")
        .send()
        .await
        .expect("an answer")
}

/// Four requests, so that each node is the first one twice.
async fn four(url: &str, method: &Method) -> Vec<Response> {
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(ask(method.clone(), url).await);
    }
    answers
}

#[tokio::test]
async fn nothing_done_is_offered_to_another_node_whatever_the_method() {
    for method in [
        Method::POST,
        Method::PATCH,
        Method::GET,
        Method::DELETE,
        Method::HEAD,
    ] {
        let (one, two, balancer) = two_nodes("").await;
        one.set(NOTHING_DONE);
        let answers = four(&balancer.redis_url("/"), &method).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.status() == StatusCode::OK),
            "{method}"
        );
        let retried = answers
            .iter()
            .filter(|answer| header(answer, "x-balancer-retries").as_deref() == Some("1"));
        assert_eq!(retried.count(), 2, "{method}");
        assert_eq!(
            (one.requests().len(), two.requests().len()),
            (2, 4),
            "{method}"
        );
        assert!(
            two.requests()
                .iter()
                .all(|seen| seen.ends_with("body of the request"))
        );
        let sample =
            "load_balancer_node_answers_total{listener=\"redis\",node=\"node-1\",class=\"5xx\"}";
        assert_eq!(balancer.metric(sample).await, 2, "the node did answer");
        assert_eq!(
            balancer.node(1, "node-1").await["state"],
            "up",
            "and is no failure"
        );
        let opened =
            "load_balancer_node_connections_opened_total{listener=\"redis\",node=\"node-1\"}";
        assert!(balancer.metric(opened).await <= 2);
    }
}

#[tokio::test]
async fn unknown_is_offered_to_another_node_where_the_request_may_be_repeated() {
    for (mode, word) in [
        (UNKNOWN, Some("unknown")),
        (Mode::Refuse { outcome: "" }, None),
    ] {
        for (method, is_repeated) in [
            (Method::GET, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
        ] {
            let (one, _two, balancer) = two_nodes("").await;
            one.set(mode);
            let url = balancer.redis_url("/");
            let answers = four(&url, &method).await;
            let refused: Vec<_> = answers
                .iter()
                .filter(|answer| answer.status() == 503)
                .collect();
            assert_eq!(
                refused.len(),
                if is_repeated { 0 } else { 2 },
                "{method} {word:?}"
            );
            for answer in refused {
                assert_eq!(node_of(answer).as_deref(), Some("node-1"));
                assert_eq!(header(answer, "x-outcome").as_deref(), word);
                assert_eq!(
                    header(answer, "retry-after").as_deref(),
                    Some("7"),
                    "untouched"
                );
                assert_eq!(header(answer, "x-balancer-retries"), None);
            }
            for _ in 0..2 {
                assert_eq!(keyed(&url, "\"a-key\"").await.status(), StatusCode::OK);
            }
        }
    }
}

#[tokio::test]
async fn when_nobody_does_better_the_last_refusal_is_passed_on() {
    let (one, two, balancer) = two_nodes("").await;
    one.set(NOTHING_DONE);
    two.set(NOTHING_DONE);
    let answer = ask(Method::POST, &balancer.redis_url("/")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(node_of(&answer).is_some());
    assert_eq!(
        header(&answer, "x-outcome").as_deref(),
        Some("nothing-done")
    );
    assert_eq!(header(&answer, "retry-after").as_deref(), Some("7"));
    assert_eq!(header(&answer, "x-balancer-retries").as_deref(), Some("1"));
    assert_eq!(answer.text().await.expect("a body"), "refused");
    assert_eq!((one.requests().len(), two.requests().len()), (1, 1));

    // One of the two may have acted: that the other one did nothing must not hide it.
    one.set(UNKNOWN);
    for _ in 0..2 {
        let answer = ask(Method::DELETE, &balancer.redis_url("/")).await;
        assert_eq!(header(&answer, "x-outcome").as_deref(), Some("unknown"));
    }

    // The other one cannot even be connected to: what the first one said is the better answer.
    one.set(NOTHING_DONE);
    two.kill().await;
    for _ in 0..2 {
        let answer = ask(Method::POST, &balancer.redis_url("/")).await;
        assert_eq!(node_of(&answer).as_deref(), Some("node-1"));
        assert_eq!(header(&answer, "retry-after").as_deref(), Some("7"));
        assert_eq!(answer.text().await.expect("a body"), "refused");
    }
}

#[tokio::test]
async fn attempts_time_and_budget_bound_it() {
    let settings = "[retries]\nbudget_percent = 0\nbudget_floor = 1";
    let (one, two, balancer) = two_nodes(settings).await;
    one.set(NOTHING_DONE);
    two.set(NOTHING_DONE);
    for _ in 0..30 {
        let answer = ask(Method::POST, &balancer.redis_url("/")).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            header(&answer, "x-outcome").as_deref(),
            Some("nothing-done")
        );
    }
    let asked = one.requests().len() + two.requests().len();
    // Ten seconds' worth of the floor, and a second or two may have passed.
    assert!((40..=45).contains(&asked), "{asked}");
    let refusals = "load_balancer_retry_budget_refusals_total{listener=\"redis\"}";
    assert!(balancer.metric(refusals).await >= 15);

    let (one, two, balancer) = two_nodes("[retries]\nattempts = 1").await;
    one.set(NOTHING_DONE);
    two.set(NOTHING_DONE);
    ask(Method::POST, &balancer.redis_url("/")).await;
    assert_eq!(one.requests().len() + two.requests().len(), 1);
}

#[tokio::test]
async fn a_client_stays_with_the_refusal_of_its_own_node() {
    let ip = own_ip();
    let (one, two) = (Upstream::start(ip, 1).await, Upstream::start(ip, 2).await);
    let listener = format!(
        "{NO_CHECKS}\n[[listeners]]\nstrategy = \"strict\"\naddress = \"{ip}:8083\"\naffinity = true\non_dead_node = \"strict\""
    );
    let balancer = Balancer::start(ip, &[&one, &two], &listener).await;
    for url in [balancer.url("/"), format!("http://{ip}:8083/")] {
        one.set(OK);
        let pinned = balancer.pin_to(&url, &one).await;
        one.set(NOTHING_DONE);
        let seen = two.requests().len();
        for method in [Method::GET, Method::POST] {
            let request = client().request(method, &url).header("cookie", &pinned);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(header(&answer, "set-cookie"), None);
        }
        assert_eq!(
            two.requests().len(),
            seen,
            "its session is in the other one"
        );
        // Whoever has no session may start one elsewhere.
        for _ in 0..2 {
            assert_eq!(
                node_of(&log_in(&url, None).await).as_deref(),
                Some("node-2")
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_that_is_too_long_to_be_kept_is_passed_on_whole() {
    const BYTES: usize = 100_000;
    let (one, two, balancer) = two_nodes("").await;
    let text = format!(
        "HTTP/1.1 503 X\r\nx-outcome: nothing-done\r\ncontent-length: {BYTES}\r\n\r\n{}",
        "x".repeat(BYTES)
    );
    let long = Mode::Raw {
        text: Box::leak(text.into_boxed_str()),
        close: false,
    };
    one.set(long);
    two.set(long);
    let answer = ask(Method::POST, &balancer.redis_url("/")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        header(&answer, "x-outcome").as_deref(),
        Some("nothing-done")
    );
    assert_eq!(answer.text().await.expect("a body").len(), BYTES);
    assert_eq!(one.requests().len() + two.requests().len(), 1);

    // In pieces, with a length that only its end tells, and with none at all.
    for (text, close) in [
        (
            "HTTP/1.1 503 X\r\nx-outcome: nothing-done\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 503 X\r\nx-outcome: nothing-done\r\n\r\nabc", true),
    ] {
        one.set(Mode::Raw { text, close });
        two.set(OK);
        for _ in 0..2 {
            assert_eq!(
                ask(Method::POST, &balancer.redis_url("/")).await.status(),
                StatusCode::OK
            );
        }
        two.set(Mode::Raw { text, close });
        let answer = ask(Method::POST, &balancer.redis_url("/")).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text().await.expect("a body"), "abc");
    }
}

#[tokio::test]
async fn a_body_too_long_to_be_sent_again_keeps_the_refusal() {
    let (one, two, balancer) = two_nodes("").await;
    one.set(NOTHING_DONE);
    two.set(NOTHING_DONE);
    let request = client()
        .post(balancer.redis_url("/"))
        .body("x".repeat(300_000));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&answer, "x-balancer-retries"), None);
    assert_eq!(one.requests().len() + two.requests().len(), 1);
}

#[tokio::test]
async fn other_failures_of_a_node_are_passed_on() {
    let (one, two, balancer) = two_nodes("").await;
    for status in [500, 501, 502, 504, 429] {
        let text =
            format!("HTTP/1.1 {status} X\r\nx-outcome: nothing-done\r\ncontent-length: 0\r\n\r\n");
        let text = Box::leak(text.into_boxed_str());
        one.set(Mode::Raw { text, close: false });
        two.set(Mode::Raw { text, close: false });
        let answer = ask(Method::GET, &balancer.redis_url("/")).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(
            header(&answer, "x-outcome").as_deref(),
            Some("nothing-done")
        );
        assert_eq!(header(&answer, "x-balancer-retries"), None);
    }
}

/// A POST that its client marks is worth as much as a GET: to a node that froze, or broke off.
#[tokio::test]
async fn a_post_with_a_key_is_repeated() {
    for mode in [Mode::Hang, Mode::Close] {
        let (one, two, balancer) =
            two_nodes("[timeouts]\nread_ms = 150\ntotal_ms = 1000\n[ejection]\nfailures = 0").await;
        let url = balancer.redis_url("/");
        one.set(mode);
        for key in ["\"a-key\"", "a-key"] {
            for _ in 0..2 {
                let answer = keyed(&url, key).await;
                assert_eq!(
                    node_of(&answer).as_deref(),
                    Some("node-2"),
                    "{mode:?} {key}"
                );
            }
        }
        let seen = two.requests().pop().expect("a request");
        assert!(seen.contains("idempotency-key: a-key\r\n"), "{seen}");
        assert!(seen.ends_with("body of the request"), "{seen}");
        // Keys that are none promise nothing.
        for key in ["", "\"\"", "a,b", "\"open"] {
            let mut statuses = Vec::new();
            for _ in 0..2 {
                statuses.push(keyed(&url, key).await.status().as_u16());
            }
            statuses.sort_unstable();
            let failed = if mode == Mode::Hang { 504 } else { 502 };
            assert_eq!(statuses, [200, failed], "{key:?}");
        }
        let twice = client()
            .post(&url)
            .header("idempotency-key", "a")
            .header("idempotency-key", "a");
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let request = twice.try_clone().expect("no body");
            statuses.push(request.send().await.expect("an answer").status() == 200);
        }
        assert_ne!(statuses[0], statuses[1], "two keys are none");
    }
}

#[tokio::test]
async fn our_own_answers_say_what_was_done() {
    let (one, two, balancer) =
        two_nodes("[timeouts]\nconnect_ms = 150\nread_ms = 150\ntotal_ms = 300").await;
    for (mode, status, outcome) in [(Mode::Hang, 504, "unknown"), (Mode::Close, 502, "unknown")] {
        one.set(mode);
        two.set(mode);
        let answer = ask(Method::POST, &balancer.redis_url("/")).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(header(&answer, "x-outcome").as_deref(), Some(outcome));
    }
    one.kill().await;
    two.kill().await;
    let answer = ask(Method::POST, &balancer.redis_url("/")).await;
    assert_eq!(
        header(&answer, "x-outcome").as_deref(),
        Some("nothing-done")
    );
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["type"], "/problems/no-node");
    one.restart().await;
    one.set(OK);
    get(&balancer.redis_url("/"), None).await;
}
