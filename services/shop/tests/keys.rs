//! The keys of the tokens, changed while nodes run: nobody is logged out, and a retired key is refused at its time.
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute and not their helpers; both report by a panic"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::Node;

const OLD: &str = "the-old-key-of-the-nodes-01234567";
const NEW: &str = "the-new-key-of-the-nodes-01234567";

/// A node with a file of keys of its own.
struct Keyed {
    node: Node,
    folder: TempDir,
}

impl Keyed {
    fn start(keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let token = folder.path().join("token");
        fs::write(&file, keys).unwrap();
        fs::write(&token, "the operator's token").unwrap();
        let node = Node::start(&[
            "--strategies=jwt",
            "--turnable-clock",
            &format!("--jwt-key-file={}", file.display()),
            &format!("--operator-token-file={}", token.display()),
        ]);
        Self { node, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Replaces the file as an operator should, in one step, and waits until the node has taken it.
    fn change(&self, keys: &str) {
        let beside = self.folder.path().join("keys.new");
        fs::write(&beside, keys).unwrap();
        fs::rename(&beside, self.file()).unwrap();
        let line = self.node.wait_for_log("keys of the tokens were changed");
        assert!(!line.contains(OLD) && !line.contains(NEW), "{line}");
    }

    fn log_in(&self) -> String {
        let body = json!({"user": "user-000001", "password": "open sesame"}).to_string();
        let head = "POST /login HTTP/1.1\r\ncontent-type: application/json";
        let answer = self.node.ask(head, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The status of a request with this token.
    fn me(&self, token: &str) -> u16 {
        let head = format!("GET /me HTTP/1.1\r\nauthorization: Bearer {token}");
        self.node.ask(&head, "").status
    }

    fn turn_clock(&self, seconds: u64) {
        let head = "POST /admin/clock HTTP/1.1\r\ncontent-type: application/json\r\nauthorization: Bearer the operator's token";
        let body = json!({ "advance_seconds": seconds }).to_string();
        assert_eq!(self.node.ask(head, &body).status, 204);
    }

    /// What `/metrics` says about the key that signed this token.
    fn state_of_key(&self, token: &str) -> Option<String> {
        let page = self.node.ask("GET /metrics HTTP/1.1", "").body;
        let label = format!("kid=\"{}\",state=\"", kid(token));
        let (_, rest) = page.split_once(&label)?;
        rest.split('"').next().map(str::to_owned)
    }
}

fn kid(token: &str) -> String {
    // Decoded by hand, as any client could: the header of a token is no secret.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let header = token.split('.').next().unwrap();
    let mut bits = header.bytes().flat_map(|byte| {
        let six = alphabet.iter().position(|known| *known == byte).unwrap();
        (0..6).rev().map(move |bit| six >> bit & 1)
    });
    let mut json = Vec::new();
    while let Some(byte) = (0..8).try_fold(0, |byte, _| Some(byte << 1 | bits.next()?)) {
        json.push(u8::try_from(byte).unwrap());
    }
    let header: Value = serde_json::from_slice(&json).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// A time as the file wants it, so many seconds from now.
fn time_in(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = i64::try_from(now.as_secs() + seconds).unwrap();
    let time = chrono::DateTime::from_timestamp(time, 0).unwrap();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[test]
fn a_change_of_keys_logs_nobody_out_and_a_retired_key_is_refused_at_its_time() {
    // One file is the form for beginners, one the form with a line for each key: they mean the same.
    let (a, b) = (Keyed::start(OLD), Keyed::start(&format!("signs {OLD}\n")));
    let old = a.log_in();
    let is_accepted_everywhere = |token: &str| (a.me(token), b.me(token)) == (200, 200);
    assert!(is_accepted_everywhere(&old));

    let announced = format!("signs {OLD}\nverifies {NEW}\n");
    a.change(&announced);
    assert_eq!(kid(&a.log_in()), kid(&old));
    b.change(&announced);

    let until = time_in(600);
    let switched = format!("signs {NEW}\nverifies {OLD} until {until}\n");
    a.change(&switched);
    // The nodes are at different steps, and accept each other's tokens.
    let new = a.log_in();
    assert_ne!(kid(&new), kid(&old));
    assert_eq!(kid(&b.log_in()), kid(&old));
    assert!(is_accepted_everywhere(&old) && is_accepted_everywhere(&new));
    b.change(&switched);
    assert_eq!(kid(&b.log_in()), kid(&new));
    assert!(is_accepted_everywhere(&old) && is_accepted_everywhere(&new));
    assert_eq!(a.state_of_key(&old).as_deref(), Some("verifies"));
    assert_eq!(a.state_of_key(&new).as_deref(), Some("signs"));

    // The token itself is good for twenty minutes more.
    a.turn_clock(600);
    assert_eq!((a.me(&old), a.me(&new)), (401, 200));
    assert_eq!((b.me(&old), b.me(&new)), (200, 200));
    assert_eq!(a.state_of_key(&old).as_deref(), Some("retired"));

    a.change(&format!("signs {NEW}\n"));
    assert_eq!((a.me(&old), a.me(&new)), (401, 200));
    assert_eq!(a.state_of_key(&old), None);
}

#[test]
fn keys_that_cannot_be_used_are_told_and_change_nothing() {
    let keyed = Keyed::start(OLD);
    let token = keyed.log_in();
    let still_serves = || {
        assert_eq!(keyed.me(&token), 200);
        assert_eq!(kid(&keyed.log_in()), kid(&token));
    };
    for (keys, told) in [
        (String::new(), "0 keys sign"),
        (
            format!("signs {OLD}\nverifies {}", &NEW[..20]),
            "key 2 has 20 bytes",
        ),
        (format!("signs {OLD}\nsigns {NEW}"), "2 keys sign"),
        (format!("signs {NEW}\nverified {OLD}"), "line 2"),
    ] {
        fs::write(keyed.file(), keys).unwrap();
        let line = keyed.node.wait_for_log("cannot be read again");
        assert!(line.contains(told), "{line}");
        assert!(!line.contains(OLD) && !line.contains(&NEW[..20]), "{line}");
        still_serves();
    }
    fs::remove_file(keyed.file()).unwrap();
    let line = keyed.node.wait_for_log("cannot be read again");
    assert!(line.contains("No such file"), "{line}");
    still_serves();
    // And the node has not given up on the file.
    keyed.change(&format!("verifies {OLD}\nsigns {NEW}"));
    assert_eq!(keyed.me(&token), 200);
    assert_ne!(kid(&keyed.log_in()), kid(&token));
}

#[test]
fn a_node_does_not_start_with_keys_that_cannot_be_used() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("signs {OLD} until tomorrow")).unwrap();
    let file = format!("--jwt-key-file={}", file.path().display());
    let output = support::command(&["--strategies=jwt", &file])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("line 1") && !told.contains(OLD), "{told}");
}
