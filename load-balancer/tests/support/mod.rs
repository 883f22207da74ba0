//! What the black-box tests share: the real binary, nodes that misbehave on demand, and an address of
//! their own for every test, so that all tests can run at the same time.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::expect_used, reason = "a panic is how tests report")]

pub(crate) mod raw;
pub(crate) mod upstream;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use upstream::Upstream;

/// Both secrets of every balancer here.
pub(crate) const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
/// Long enough for a machine that builds at the same time; a test that passes never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An address that no other test uses: all of 127.0.0.0/8 is loopback.
pub(crate) fn own_ip() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A load balancer: the real process. Killed when dropped.
pub(crate) struct Balancer {
    process: Child,
    dir: TempDir,
    ip: Ipv4Addr,
}

impl Balancer {
    /// Starts one in front of `nodes`. `settings` are lines for the top of the file, then tables for its end;
    /// the listener `sticky` is on port 8081, `redis` on 8082, admin on 8090.
    pub(crate) async fn start(ip: Ipv4Addr, nodes: &[&Upstream], settings: &str) -> Self {
        let list: Vec<_> = nodes
            .iter()
            .map(|node| {
                format!(
                    "{{ name = \"{}\", address = \"{}\" }}",
                    node.name, node.address
                )
            })
            .collect();
        Self::start_with(ip, &format!("list = [ {} ]", list.join(", ")), settings).await
    }

    /// The same with the line of `[nodes]` given.
    pub(crate) async fn start_with(ip: Ipv4Addr, nodes: &str, settings: &str) -> Self {
        let mut balancer = Self::spawn(ip, nodes, settings);
        let deadline = Instant::now() + PATIENCE;
        while !balancer.log().contains("ready") {
            if let Some(status) = balancer.process.try_wait().expect("a state") {
                panic!("ended with {status}: {}", balancer.log());
            }
            assert!(
                Instant::now() < deadline,
                "never got ready: {}",
                balancer.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        balancer
    }

    /// Starts without waiting for anything.
    pub(crate) fn spawn(ip: Ipv4Addr, nodes: &str, settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (top, tables) = settings.split_at(settings.find('[').unwrap_or(settings.len()));
        let text = format!(
            "{top}\nadmin = \"{ip}:8090\"\nthreads = 2\n[nodes]\n{nodes}\n\
             [[listeners]]\nstrategy = \"sticky\"\naddress = \"{ip}:8081\"\naffinity = true\n\
             [[listeners]]\nstrategy = \"redis\"\naddress = \"{ip}:8082\"\n{tables}\n"
        );
        let config = dir.path().join("balancer.toml");
        std::fs::write(&config, text).expect("written");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let process = command(&config)
            .current_dir(dir.path())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Self { process, dir, ip }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}:8081{path}", self.ip)
    }

    pub(crate) fn redis_url(&self, path: &str) -> String {
        format!("http://{}:8082{path}", self.ip)
    }

    /// A file in the balancer's own folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn public(&self) -> SocketAddr {
        (self.ip, 8081).into()
    }

    /// Asks the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Response {
        let url = format!("http://{}:8090{path}", self.ip);
        Client::new()
            .get(url)
            .bearer_auth(SECRET)
            .send()
            .await
            .expect("an answer of the admin port")
    }

    /// The state of a node in the listener `sticky`.
    pub(crate) async fn state(&self, node: &str) -> String {
        let found = self.node(0, node).await;
        found["state"].as_str().expect("a word").to_owned()
    }

    /// What the admin port shows of a node, in the listener of that number.
    pub(crate) async fn node(&self, listener: usize, node: &str) -> Value {
        let page: Value = self.admin("/nodes").await.json().await.expect("JSON");
        let nodes = page["listeners"][listener]["nodes"].as_array();
        let mut nodes = nodes.expect("nodes").iter();
        let found = nodes.find(|found| found["name"] == node);
        found.expect("the node").clone()
    }

    /// Orders a state for a node.
    pub(crate) async fn order(&self, node: &str, body: &str) -> Response {
        client()
            .put(format!("http://{}:8090/nodes/{node}/state", self.ip))
            .bearer_auth(SECRET)
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer of the admin port")
    }

    /// Asks for readiness, without the token. `None`: the port is closed.
    pub(crate) async fn readiness(&self) -> Option<StatusCode> {
        let url = format!("http://{}:8090/readyz", self.ip);
        Some(client().get(url).send().await.ok()?.status())
    }

    /// A cookie that pins to this node.
    pub(crate) async fn pin_to(&self, url: &str, node: &Upstream) -> String {
        loop {
            let answer = log_in(url, None).await;
            if node_of(&answer).as_deref() == Some(node.name.as_str()) {
                return affinity_of(&answer).expect("a cookie");
            }
        }
    }

    /// The value of a metric, by the beginning of its line.
    pub(crate) async fn metric(&self, sample: &str) -> u64 {
        let page = self.admin("/metrics").await.text().await.expect("text");
        let line = page.lines().find(|line| line.starts_with(sample));
        let line = line.unwrap_or_else(|| panic!("{sample} is not on the page:\n{page}"));
        line.rsplit(' ')
            .next()
            .expect("a value")
            .parse()
            .expect("a number")
    }

    /// Sends a signal by its name, and waits for the end.
    pub(crate) async fn end_with(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.end().await
    }

    /// Waits for the end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("a state") {
                return status;
            }
            assert!(Instant::now() < deadline, "did not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &id])
                .status()
                .expect("kill")
                .success()
        );
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("log of the balancer:\n{}", self.log());
        }
    }
}

/// The binary with both secrets in its environment.
pub(crate) fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load-balancer"));
    command
        .arg("--config")
        .arg(config)
        .env("LOAD_BALANCER_AFFINITY_KEY", SECRET)
        .env("LOAD_BALANCER_ADMIN_TOKEN", SECRET)
        .env_remove("RUST_LOG");
    command
}

/// Runs the binary on a configuration that it should refuse, and returns what it said.
pub(crate) fn refused(text: &str, flags: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("balancer.toml");
    std::fs::write(&config, text).expect("written");
    command(&config).args(flags).output().expect("an end")
}

/// A client without a memory: each request says itself which cookies it carries.
pub(crate) fn client() -> Client {
    Client::builder()
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

/// The node that answered.
pub(crate) fn node_of(answer: &Response) -> Option<String> {
    header(answer, "x-node")
}

pub(crate) fn header(answer: &Response, name: &str) -> Option<String> {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().expect("text").to_owned())
}

/// The new affinity cookie, as `affinity-…=…`.
pub(crate) fn affinity_of(answer: &Response) -> Option<String> {
    let set = answer.headers().get_all("set-cookie").iter();
    let set = set
        .map(|value| value.to_str().expect("text"))
        .find(|set| set.starts_with("affinity-"))?;
    Some(set.split(';').next().expect("a first part").to_owned())
}

/// Starts a session below this URL, which ends in `/`.
pub(crate) async fn log_in(url: &str, cookie: Option<&str>) -> Response {
    let mut request = client().post(format!("{url}login"));
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

/// Asks and expects 200.
pub(crate) async fn get(url: &str, cookie: Option<&str>) -> Response {
    let mut request = client().get(url);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

/// Sends a request with a small body, whatever comes of it.
pub(crate) async fn ask(method: Method, url: &str) -> reqwest::Response {
    client()
        .request(method, url)
        .body("body of the request")
        .send()
        .await
        .expect("an answer")
}
