//! What a node says of its Redis, and how it gets along with one whose password is changed: real binaries on both sides.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute and not their helpers; both report by a panic"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use support::{Node, PATIENCE, address};

/// A `redis-server` that is killed when the test is over.
struct Store {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Store {
    fn start(arguments: &[&str]) -> Self {
        let (address, folder) = (address(), tempfile::tempdir().unwrap());
        let process = Command::new("redis-server")
            .args(["--bind", &address.ip().to_string()])
            .args(["--port", &address.port().to_string(), "--save", ""])
            .arg("--dir")
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let store = Self {
            process,
            address,
            _folder: folder,
        };
        patiently("the store answers", || {
            TcpStream::connect(store.address).is_ok()
        });
        store
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sends commands, one a line, and reads until the store has answered all.
    fn ask(&self, commands: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{commands}\r\nQUIT\r\n").unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn patiently(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn node_of(store: &Store, more: &[&str]) -> Node {
    let url = store.url();
    Node::start(&[&["--strategies", "redis", "--redis-url", &url], more].concat())
}

/// A node whose log has said all `words` in one line, before or after it said that it is ready.
fn node_that_says(store: &Store, words: &[&str]) -> Node {
    let url = store.url();
    let arguments = ["--strategies", "redis", "--redis-url", &url];
    let says = |line: &str| words.iter().all(|word| line.contains(word));
    let (node, has_said) = Node::start_and(&arguments, says);
    while !has_said && !says(&node.wait_for_log(words[0])) {}
    node
}

fn says(node: &Node, path: &str, text: &str) -> bool {
    let answer = node.ask(&format!("GET {path} HTTP/1.1"), "");
    answer.status == 200 && answer.body.contains(text)
}

fn log_in(node: &Node) -> u16 {
    let login = r#"{"user": "user-000001", "password": "open sesame"}"#;
    let head = "POST /login HTTP/1.1\r\ncontent-type: application/json";
    node.ask(head, login).status
}

#[test]
fn a_store_that_may_evict_is_told_at_start_in_readyz_and_in_a_metric_and_asked_again() {
    let store = Store::start(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let node = node_that_says(&store, &["MAY EVICT", "ERROR", "allkeys-lru"]);
    patiently("/readyz warns", || {
        says(
            &node,
            "/readyz",
            "warning: redis: the store may evict sessions",
        ) && says(&node, "/readyz", "allkeys-lru")
    });
    let metric = r#"shop_store_may_evict{strategy="redis",policy="allkeys-lru"} 1"#;
    assert!(says(&node, "/metrics", metric));

    // Somebody mends it, and somebody else undoes that, with a policy that takes only keys with a TTL: all of ours.
    store.ask("CONFIG SET maxmemory-policy noeviction");
    patiently("/readyz warns no more", || {
        let answer = node.ask("GET /readyz HTTP/1.1", "");
        answer.body == "ready\n"
    });
    let metric = r#"shop_store_may_evict{strategy="redis",policy="noeviction"} 0"#;
    assert!(says(&node, "/metrics", metric));
    store.ask("CONFIG SET maxmemory-policy volatile-ttl");
    assert!(node.wait_for_log("MAY EVICT").contains("volatile-ttl"));
    assert!(says(&node, "/readyz", "volatile-ttl"));
}

#[test]
fn whether_a_store_evicts_is_asked_in_another_way_and_unknown_where_all_are_forbidden() {
    let store = Store::start(&["--maxmemory-policy", "allkeys-lfu"]);
    store.ask("ACL SETUSER default -config");
    let node = node_of(&store, &[]);
    patiently("INFO tells", || says(&node, "/readyz", "allkeys-lfu"));
    store.ask("ACL SETUSER default +config -info");
    let node = node_of(&store, &[]);
    patiently("CONFIG tells", || says(&node, "/readyz", "allkeys-lfu"));
    store.ask("ACL SETUSER default -config");
    let node = node_that_says(&store, &["does not say whether it evicts"]);
    assert!(says(&node, "/readyz", "is unknown"));
    let metric = r#"shop_store_may_evict{strategy="redis",policy="unknown"} NaN"#;
    assert!(says(&node, "/metrics", metric));
    assert_eq!(log_in(&node), 200);
}

#[test]
fn a_password_that_is_changed_in_its_file_is_taken_without_a_restart() {
    let store = Store::start(&["--requirepass", "first"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let path = file.path().to_str().unwrap();
    let node = node_of(&store, &["--redis-password-file", path]);
    patiently("the node serves", || log_in(&node) == 200);

    let new_connections_only = "CLIENT KILL TYPE normal SKIPME yes";
    store.ask(&format!(
        "AUTH first\r\nCONFIG SET requirepass second\r\n{new_connections_only}"
    ));
    patiently("the node is refused", || log_in(&node) == 503);
    // Half a password, none, and at last the right one.
    for (content, serves) in [("sec", false), ("", false), ("second\n", true)] {
        std::fs::write(file.path(), content).unwrap();
        patiently("the node says what it found", || {
            (log_in(&node) == 200) == serves
        });
    }
}
