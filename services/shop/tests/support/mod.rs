//! What the tests share: the real binary as a process of a test's own, and a client that reads whole answers.
#![allow(dead_code, reason = "each test binary uses another part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for any machine; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A command with the cheapest password check and no environment but what it needs.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command
        .env_clear()
        .env("SHOP_PASSWORD", "open sesame")
        .args(["--password-memory-kib", "8", "--password-iterations", "1"])
        .args(arguments);
    command
}

/// An address that no other test uses.
pub(crate) fn address() -> SocketAddr {
    let [a, b, c, d] = getrandom::u32().unwrap().to_ne_bytes();
    let ip = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
    (ip, 20_000 + u16::from(d)).into()
}

/// A node that runs, and is killed when the test is over.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) log: mpsc::Receiver<String>,
}

impl Node {
    /// Starts a node and waits until it says that it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_and(arguments, |_| false).0
    }

    /// The same, and whether it said before something that `is_wanted`.
    pub(crate) fn start_and(arguments: &[&str], is_wanted: impl Fn(&str) -> bool) -> (Self, bool) {
        let address = address();
        let listen = address.to_string();
        let mut child = command(arguments)
            .args(["--listen", &listen])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let node = Self {
            log: lines(child.stderr.take().unwrap()),
            child,
            address,
        };
        let mut wanted = false;
        loop {
            let line = node.log.recv_timeout(PATIENCE).unwrap();
            wanted |= is_wanted(&line);
            if line.contains("ready") {
                return (node, wanted);
            }
        }
    }

    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the node does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request and reads the answer until the node closes the connection.
    pub(crate) fn ask(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head}\r\nhost: shop\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        Answer::read(stream)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a log as they come, read by a thread that ends with the process.
pub(crate) fn lines(log: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            // Nobody may listen any more, but the pipe must be read on.
            let _ = sender.send(line);
        }
    });
    receiver
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            // hyper writes names in small letters.
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// The type of a problem document.
    pub(crate) fn problem(&self) -> String {
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{}",
            self.head
        );
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["status"], self.status);
        body["type"].as_str().unwrap().to_owned()
    }
}
