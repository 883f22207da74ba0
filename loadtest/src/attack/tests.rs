//! Users, goose and recorder against a small shop in this process: every request must be in the history, counted as
//! goose counts it, and weighed as the wire weighs it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::checker::check;
use crate::history::file::Appender;
use crate::history::testing::meta;
use crate::history::{Action, Clock, History, Meta, Outcome};
use crate::scenario::Journey;
use crate::statistics::summarise;

/// What the small shop saw on the wire.
#[derive(Default)]
struct Seen {
    requests: u64,
    received_bytes: u64,
    sent_bytes: u64,
    /// Sessions by cookie: the user and its lines.
    sessions: HashMap<String, (String, Vec<String>)>,
    /// Every so many requests the shop refuses with 503, unstamped, as a load balancer without nodes does.
    fail_every: Option<u64>,
}

type Shop = Arc<Mutex<Seen>>;

async fn shop(fail_every: Option<u64>) -> (String, Shop) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shop = Shop::default();
    shop.lock().unwrap().fail_every = fail_every;
    let seen = Arc::clone(&shop);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&seen)));
        }
    });
    (url, shop)
}

async fn serve(mut stream: TcpStream, shop: Shop) -> Option<()> {
    let (input, mut output) = stream.split();
    let mut input = BufReader::new(input);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_string())
            })
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        input.read_exact(&mut body).await.ok()?;
        let body = String::from_utf8(body).unwrap();
        let answer = shop.lock().unwrap().answer(&head, header("cookie"), &body);
        output.write_all(answer.as_bytes()).await.ok()?;
    }
}

impl Seen {
    fn answer(&mut self, head: &str, cookie: Option<String>, body: &str) -> String {
        self.requests += 1;
        self.received_bytes += (head.len() + body.len()) as u64;
        let fails = self
            .fail_every
            .is_some_and(|every| self.requests.is_multiple_of(every));
        let answer = if fails {
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_string()
        } else {
            self.stamped(head, &cookie.unwrap_or_default(), body)
        };
        self.sent_bytes += answer.len() as u64;
        answer
    }

    fn stamped(&mut self, head: &str, cookie: &str, body: &str) -> String {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_string();
        let mut extra = String::new();
        let (status, body) = match (method, path, self.sessions.get_mut(cookie)) {
            ("POST", "/login", _) => {
                let cookie = format!("session-test={}", self.requests);
                extra = format!("set-cookie: {cookie}; HttpOnly; Path=/\r\n");
                let user = text("user");
                self.sessions.insert(cookie, (user.clone(), Vec::new()));
                ("200 OK", format!(r#"{{"user":"{user}"}}"#))
            }
            ("POST", "/logout", _) => {
                self.sessions.remove(cookie);
                ("204 No Content", String::new())
            }
            (_, _, None) => ("401 Unauthorized", "{}".into()),
            ("GET", "/me", Some((user, _))) => ("200 OK", format!(r#"{{"user":"{user}"}}"#)),
            (_, _, Some((_, lines))) => {
                if method == "POST" {
                    lines.push(text("id"));
                }
                if method == "DELETE" {
                    lines.retain(|line| !path.ends_with(&format!("/{line}")));
                }
                let status = if method == "POST" {
                    "201 Created"
                } else {
                    "200 OK"
                };
                let lines: Vec<_> = lines
                    .iter()
                    .map(|id| serde_json::json!({ "id": id, "sku": "book", "quantity": 1 }))
                    .collect();
                (
                    status,
                    serde_json::json!({ "version": 1, "lines": lines }).to_string(),
                )
            }
        };
        let length = match status {
            "204 No Content" => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        format!("HTTP/1.1 {status}\r\nx-node: node-1\r\n{extra}{length}\r\n{body}")
    }
}

/// Plays a short plan against a shop and reads the history.
async fn played(fail_every: Option<u64>) -> (History, Shop) {
    let (url, shop) = shop(fail_every).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let plan = Plan {
        url,
        history: path.clone(),
        clock: Clock::starting_in(0),
        warm_up_from_us: 0,
        measured_until_us: 1_500_000,
        final_read_us: 1_600_000,
        users: 5,
        password: "with \"quotes\"".into(),
        think_ms: (1, 20),
        journey: Journey {
            browse: 4,
            add_line: 4,
            read_cart: 2,
            remove_line: 2,
            log_out: 2,
        },
        seed: 1,
    };
    let meta = Meta {
        users: plan.users,
        measured_until_us: plan.measured_until_us,
        final_read_us: plan.final_read_us,
        ..meta()
    };
    let mut parent = Appender::open(&path).unwrap();
    parent.append(&Line::Meta(Box::new(meta))).unwrap();
    Box::pin(play(plan)).await.unwrap();
    (History::read(&path).unwrap(), shop)
}

fn sum(history: &History, bytes: impl Fn(&crate::history::Operation) -> u32) -> u64 {
    history
        .operations
        .iter()
        .map(|operation| u64::from(bytes(operation)))
        .sum()
}

/// One test, because goose keeps its state by process and nextest gives each test one.
#[tokio::test]
async fn every_request_is_recorded_counted_and_weighed() {
    let (history, shop) = Box::pin(played(None)).await;
    let seen = shop.lock().unwrap();
    assert_eq!(history.operations.len() as u64, seen.requests);
    assert_eq!(
        sum(&history, |operation| operation.sent_bytes),
        seen.received_bytes
    );
    assert_eq!(
        sum(&history, |operation| operation.received_bytes),
        seen.sent_bytes
    );
    for action in [
        "log_in",
        "browse",
        "add_line",
        "read_cart",
        "remove_line",
        "log_out",
        "replay",
    ] {
        let counted = history.counts.as_ref().unwrap().by_action[action];
        assert!(counted.requests > 0, "{action} never happened");
    }
    let verdict = check(&history);
    assert_eq!(verdict.anomalies, crate::results::Anomalies::default());
    let run = summarise(&history, &verdict);
    let reason = run.generator.reason.unwrap_or_default();
    assert!(!reason.contains("do not agree"), "{reason}");
}

#[tokio::test]
async fn failures_tie_out_too_and_prove_nothing_wrong() {
    let (history, shop) = Box::pin(played(Some(7))).await;
    assert_eq!(
        history.operations.len() as u64,
        shop.lock().unwrap().requests
    );
    let failed = |operation: &&crate::history::Operation| operation.outcome == Outcome::Fail;
    assert!(history.operations.iter().filter(failed).count() > 0);
    let verdict = check(&history);
    assert_eq!(verdict.anomalies, crate::results::Anomalies::default());
    let run = summarise(&history, &verdict);
    let reason = run.generator.reason.unwrap_or_default();
    assert!(!reason.contains("do not agree"), "{reason}");
}

#[tokio::test]
async fn users_that_lose_their_session_log_in_again() {
    let (url, shop) = shop(None).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let forget = tokio::spawn({
        let shop = Arc::clone(&shop);
        async move {
            // Once somebody is logged in, all sessions vanish: the node was killed.
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut shop = shop.lock().unwrap();
                if shop.sessions.len() == 3 && shop.requests > 20 {
                    shop.sessions.clear();
                    return;
                }
            }
        }
    });
    let plan = Plan {
        url,
        history: path.clone(),
        clock: Clock::starting_in(0),
        warm_up_from_us: 0,
        measured_until_us: 2_000_000,
        final_read_us: 2_000_000,
        users: 3,
        password: "p".into(),
        think_ms: (1, 20),
        journey: Journey {
            browse: 1,
            add_line: 1,
            ..Journey::default()
        },
        seed: 1,
    };
    let meta = Meta {
        final_read_us: 2_000_000,
        ..meta()
    };
    let mut parent = Appender::open(&path).unwrap();
    parent.append(&Line::Meta(Box::new(meta))).unwrap();
    Box::pin(play(plan)).await.unwrap();
    forget.await.unwrap();
    let history = History::read(&path).unwrap();
    let verdict = check(&history);
    assert_eq!(verdict.anomalies.session_lost, 3);
    assert_eq!(verdict.logins_again, 3);
    assert!(verdict.anomalies.line_lost > 0);
    assert_eq!(verdict.anomalies.unknown, 0);
    let logins = history
        .operations
        .iter()
        .filter(|operation| operation.action == Action::LogIn);
    assert_eq!(logins.count(), 6);
}
