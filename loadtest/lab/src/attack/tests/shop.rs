//! A small shop in this process, which can misbehave.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the small shop saw on the wire.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    /// Sessions by cookie: the user and its lines.
    pub(super) sessions: HashMap<String, (String, Vec<String>)>,
    /// Cookies that were logged out.
    ended: HashSet<String>,
    /// How often one of these was presented afterwards.
    pub(super) presented_after_logout: usize,
    /// One request after the other is treated like this, over and over; without any, all are answered.
    manners: Vec<Manner>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Answered,
    /// A load balancer without nodes.
    NoNode,
    /// A load balancer that gave up on a node.
    BadGateway,
    /// A node that fails.
    Failure,
    /// No answer; the connection is closed.
    BrokenOff,
    /// No answer until the client gives up.
    Silence,
    /// Answered; the connection is closed after it, without a word about it before.
    AnsweredAndClosed,
}

pub(super) type Shop = Arc<Mutex<Seen>>;

/// Opens a shop; it is closed with the test's runtime.
pub(super) async fn open(manners: &[Manner]) -> (String, Shop) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shop = Shop::default();
    shop.lock().unwrap().manners = manners.to_vec();
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
        let (manner, answer) = shop.lock().unwrap().answer(&head, header("cookie"), &body);
        match manner {
            Manner::BrokenOff => return None,
            Manner::Silence => {
                let mut rest = Vec::new();
                input.read_to_end(&mut rest).await.ok()?;
                return None;
            }
            _ => output.write_all(answer.as_bytes()).await.ok()?,
        }
        if manner == Manner::AnsweredAndClosed {
            return None;
        }
    }
}

impl Seen {
    fn answer(&mut self, head: &str, cookie: Option<String>, body: &str) -> (Manner, String) {
        let turn = usize::try_from(self.requests).unwrap() % self.manners.len().max(1);
        let manner = *self.manners.get(turn).unwrap_or(&Manner::Answered);
        self.requests += 1;
        self.received_bytes += (head.len() + body.len()) as u64;
        let plain = |status: &str, stamp: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\n{stamp}content-length: {length}\r\n\r\n{body}")
        };
        let answer = match manner {
            Manner::Answered | Manner::AnsweredAndClosed => {
                self.stamped(head, &cookie.unwrap_or_default(), body)
            }
            Manner::NoNode => {
                let body = r#"{"type":"/problems/no-node","status":503}"#;
                plain("503 Service Unavailable", "", body)
            }
            Manner::BadGateway => plain("502 Bad Gateway", "", ""),
            Manner::Failure => plain("500 Internal Server Error", "x-node: node-1\r\n", ""),
            Manner::BrokenOff | Manner::Silence => String::new(),
        };
        self.sent_bytes += answer.len() as u64;
        (manner, answer)
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
            ("POST", path, _) if path.starts_with("/admin/users/") => {
                let of_user = |user: &String| path == format!("/admin/users/{user}/revoke");
                let before = self.sessions.len();
                self.sessions.retain(|_, (user, _)| !of_user(user));
                let revoked = before - self.sessions.len();
                if head.contains("authorization: Bearer operator\r\n") {
                    ("200 OK", format!(r#"{{"revoked":{revoked}}}"#))
                } else {
                    ("401 Unauthorized", "{}".into())
                }
            }
            ("POST", "/logout", _) => {
                self.sessions.remove(cookie);
                self.ended.insert(cookie.to_owned());
                ("204 No Content", String::new())
            }
            (_, _, None) => {
                self.presented_after_logout += usize::from(self.ended.contains(cookie));
                ("401 Unauthorized", "{}".into())
            }
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
