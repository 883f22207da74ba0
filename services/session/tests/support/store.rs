//! A `redis-server` process of a test's own, on an address that no other test uses. Dies with its owner.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PASSWORD: &str = "only-for-tests";

/// The server and its folder.
pub(crate) struct Store {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Store {
    /// Starts a server that writes each change to its disk before it answers, and waits until it answers.
    pub(crate) fn start() -> Self {
        let address = free_address();
        let folder = tempfile::tempdir().unwrap();
        let process = spawn(address, &folder);
        let mut store = Self {
            process,
            address,
            folder,
        };
        store.wait_until_it_answers();
        store
    }

    /// Where a server will be started; none is there yet.
    pub(crate) fn announced() -> (SocketAddr, String) {
        let address = free_address();
        (address, url(address))
    }

    /// Starts a server at an announced address.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = spawn(address, &folder);
        let mut store = Self {
            process,
            address,
            folder,
        };
        store.wait_until_it_answers();
        store
    }

    pub(crate) fn url(&self) -> String {
        url(self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes it a replica of another one.
    pub(crate) fn follow(&self, master: &Self) {
        let (ip, port) = (master.address.ip(), master.address.port());
        self.ask::<()>(&format!("CONFIG SET masterauth {PASSWORD}"));
        self.ask::<()>(&format!("REPLICAOF {ip} {port}"));
    }

    /// How many commands clients and their scripts had run here, those of the tests left out.
    pub(crate) fn commands(&self) -> u64 {
        let stats: String = self.ask("INFO commandstats");
        let calls = |line: &str| {
            let (name, calls) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let is_work = name.starts_with(['h', 'z', 'e', 'u', 's', 'g', 'd', 't'])
                && !["hello", "select"].contains(&name);
            let calls = calls.split(',').next()?.parse::<u64>().ok()?;
            is_work.then_some(calls)
        };
        stats.lines().filter_map(calls).sum()
    }

    /// A connection of the test's own, for looking into the store.
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client
            .get_connection_with_timeout(Duration::from_secs(10))
            .unwrap()
    }

    /// Sends one command, written as in the manual.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut ask = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            ask.arg(word);
        });
        ask.query(&mut self.connection()).unwrap()
    }

    pub(crate) fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(&format!("KEYS {pattern}"))
    }

    /// Where the server keeps its data.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// SIGKILL. What the server has written down is still there for `start_again`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.address, &self.folder);
        self.wait_until_it_answers();
    }

    /// SIGSTOP: connections stay, the kernel even accepts new ones, and nobody answers.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        while !self.is_stopped() {
            std::thread::yield_now();
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The state comes after the name, which is in parentheses.
        stat.rsplit(") ").next().unwrap().starts_with('T')
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn wait_until_it_answers(&mut self) {
        loop {
            let client = redis::Client::open(self.url()).unwrap();
            let answer = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            if answer.is_ok() {
                return;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("redis-server ended at its start: {status}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // It may be dead already; SIGKILL ends a stopped process too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The URL of a store at `address`, with the password that all have.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("redis://:{PASSWORD}@{address}")
}

/// A free port of a random loopback address: two tests that run at the same time do not meet.
fn free_address() -> SocketAddr {
    let mut random = [0; 3];
    getrandom::fill(&mut random).unwrap();
    let ip = Ipv4Addr::new(127, random[0], random[1], random[2].clamp(1, 254));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

fn spawn(address: SocketAddr, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--bind", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .args(["--requirepass", PASSWORD])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .args(["--maxmemory-policy", "noeviction"])
        .arg("--dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("redis-server cannot be started ({error}); these tests need it: apt install redis-server")
        })
}
