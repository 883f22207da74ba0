//! The real binary as its users meet it: flags, exit codes, the port, signals, and answers over a real socket.
//!
//! Each test takes loopback addresses of its own, so that all can run side by side.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute and not their helpers; both report by a panic"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use support::{Answer, Node, PATIENCE, address, command, lines};

fn text(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_wrong_configuration_is_told_before_any_port_opens() {
    // The port is taken: a node that came as far as opening it would say so, with another exit code.
    let taken = TcpListener::bind(address()).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, told) in [
        (
            &["--strategies", "paper"][..],
            "choose from sticky, redis, jwt",
        ),
        (&["--strategies", "jwt"], "SHOP_JWT_KEY"),
        (&["--strategies", "redis"], "SHOP_REDIS_URL"),
        (
            &[
                "--strategies",
                "redis",
                "--redis-url",
                "redis://:hunter2@h:1",
            ],
            "SHOP_REDIS_URL",
        ),
        (
            &["--strategies", "sticky", "--password-file", "/no/such/file"],
            "which one counts",
        ),
        (
            &["--strategies", "sticky", "--turnable-clock"],
            "SHOP_OPERATOR_TOKEN",
        ),
        (
            &["--strategies", "sticky", "--node-name", "a b"],
            "--node-name",
        ),
        (
            &[
                "--strategies",
                "sticky",
                "--public-url",
                "http://lab.example",
            ],
            "put TLS in front of the node",
        ),
        (
            &["--strategies", "sticky", "--trusted-balancers", "everybody"],
            "--trusted-balancers",
        ),
        (&[], "--strategies"),
        (&["--strategies", "sticky", "--accounts", "0"], "--accounts"),
        (&["--strategies", "sticky", "--surprise"], "--surprise"),
    ] {
        let output = command(arguments)
            .args(["--listen", &taken])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output)
        );
        assert!(
            text(&output).contains(told),
            "{arguments:?}: {}",
            text(&output)
        );
        assert!(!text(&output).contains("hunter2"));
    }
    let output = command(&["--strategies", "sticky"])
        .env_remove("SHOP_PASSWORD")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("Invalid configuration: "),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains("SHOP_PASSWORD"), "{}", text(&output));
}

#[test]
fn a_node_that_others_can_reach_wants_to_know_its_public_url() {
    let [a, b] = ["0.0.0.0:0", "[::]:0"].map(|listen| {
        command(&["--strategies", "sticky", "--listen", listen])
            .output()
            .unwrap()
    });
    for output in [a, b] {
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(
            text(&output).contains("set --public-url https://NAME"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn plain_http_is_told_at_start_and_https_is_not() {
    let not_secure = |arguments: &[&str]| {
        let node = Node::start_and(arguments, |line| line.contains("not Secure"));
        node.1
    };
    assert!(not_secure(&["--strategies", "sticky"]));
    assert!(not_secure(&[
        "--strategies",
        "sticky",
        "--public-url",
        "http://localhost:8081"
    ]));
    assert!(!not_secure(&[
        "--strategies",
        "sticky",
        "--public-url",
        "https://lab.example"
    ]));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind(address()).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let output = command(&["--strategies", "sticky", "--listen", &taken])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output);
    assert!(told.contains(&taken) && told.contains("--listen"), "{told}");
}

#[test]
fn sigterm_finishes_what_runs_and_ends_with_0() {
    let mut node = Node::start(&["--strategies", "sticky", "--drain-s", "20"]);
    let login = json!({"user": "user-000001", "password": "open sesame"}).to_string();
    let login = node.ask(
        "POST /login HTTP/1.1\r\ncontent-type: application/json",
        &login,
    );
    let cookie = login.head.split_once("session-sticky=").unwrap().1;
    let cookie = cookie.split_once(';').unwrap().0;
    let body = json!({"id": "line-1", "sku": "book-1", "quantity": 1}).to_string();
    let (first, rest) = body.split_at(10);
    let mut running = TcpStream::connect(node.address).unwrap();
    let length = body.len();
    write!(
        running,
        "POST /cart/lines HTTP/1.1\r\nhost: shop\r\ncookie: session-sticky={cookie}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{first}"
    )
    .unwrap();
    // Once this answers, the node has accepted the connection before it, too.
    assert_eq!(node.ask("GET /readyz HTTP/1.1", "").status, 200);

    node.signal(Signal::TERM);
    node.wait_for_log("asked to end");
    assert_eq!(
        node.ask("GET /readyz HTTP/1.1", "").problem(),
        "/problems/draining"
    );
    let begun = Instant::now();
    while TcpStream::connect(node.address).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "the port stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
    write!(running, "{rest}").unwrap();
    let answer = Answer::read(running);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.body.contains("line-1"), "{}", answer.body);
    assert_eq!(node.wait_for_end().code(), Some(0));
}

#[test]
fn what_does_not_finish_is_cut_off_and_the_exit_code_is_0_all_the_same() {
    let mut node = Node::start(&["--strategies", "sticky", "--drain-s", "1"]);
    let mut stuck = TcpStream::connect(node.address).unwrap();
    write!(
        stuck,
        "POST /login HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
    )
    .unwrap();
    assert_eq!(node.ask("GET /plain HTTP/1.1", "").status, 200);
    node.signal(Signal::INT);
    node.wait_for_log("ended before all requests did");
    assert_eq!(node.wait_for_end().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let mut node = Node::start(&["--strategies", "sticky", "--drain-s", "3600"]);
    let mut idle = TcpStream::connect(node.address).unwrap();
    write!(idle, "GET /plain HTTP/1.1\r\nhost: shop\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    node.signal(Signal::TERM);
    assert_eq!(node.wait_for_end().code(), Some(0));
}

#[test]
fn problems_come_over_the_wire() {
    let key = "k".repeat(32);
    let listen = address();
    let address = listen.to_string();
    let flags = ["--strategies", "sticky,jwt", "--node-name", "node-1"];
    let mut child = command(&[&flags[..], &["--listen", &address]].concat())
        .env("SHOP_JWT_KEY", key)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let node = Node {
        log: lines(child.stderr.take().unwrap()),
        child,
        address: listen,
    };
    node.wait_for_log("ready");

    let answer = node.ask("GET /me HTTP/1.1", "");
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (421, "/problems/unknown-strategy")
    );
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["strategies"], json!(["sticky", "jwt"]));

    let json = "\r\nx-session-strategy: sticky\r\ncontent-type: application/json";
    let large = "x".repeat(200 * 1024);
    for (head, body, status, problem) in [
        (
            "GET /nowhere HTTP/1.1".to_owned(),
            "",
            404,
            "/problems/not-found",
        ),
        (
            "GET /login HTTP/1.1".to_owned(),
            "",
            405,
            "/problems/method-not-allowed",
        ),
        (
            format!("POST /login HTTP/1.1{json}"),
            "{",
            400,
            "/problems/malformed-json",
        ),
        (
            format!("POST /login HTTP/1.1{json}"),
            "{}",
            422,
            "/problems/invalid-input",
        ),
        (
            format!("POST /login HTTP/1.1{json}"),
            &large,
            413,
            "/problems/body-too-large",
        ),
        (
            "POST /login HTTP/1.1\r\nx-session-strategy: jwt".to_owned(),
            "{}",
            415,
            "/problems/not-json",
        ),
        (
            "GET /me HTTP/1.1\r\nx-session-strategy: jwt".to_owned(),
            "",
            401,
            "/problems/not-logged-in",
        ),
    ] {
        let answer = node.ask(&head, body);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{head}"
        );
        assert!(
            answer.head.contains("x-node: node-1")
                && answer.head.contains("cache-control: no-store")
        );
    }
}

#[test]
fn a_store_that_is_not_there_stops_no_start() {
    let nobody = address();
    let url = format!("redis://{nobody}");
    let node = Node::start(&["--strategies", "sticky,redis", "--redis-url", &url]);
    let strategy = |name| format!("GET /readyz HTTP/1.1\r\nx-session-strategy: {name}");
    assert_eq!(node.ask(&strategy("sticky"), "").status, 200);
    let answer = node.ask(&strategy("redis"), "");
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "/problems/store-unavailable")
    );
    assert!(answer.head.contains("retry-after: 1"));
}

#[test]
fn logs_can_be_read_by_machines_and_hold_no_secret() {
    let node = Node::start(&["--strategies", "sticky", "--log-format", "json"]);
    node.signal(Signal::TERM);
    let line: Value = serde_json::from_str(&node.wait_for_log("asked to end")).unwrap();
    assert_eq!(line["level"], "INFO");
}
