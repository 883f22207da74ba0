//! The highly available cluster in containers: two load balancers agree on who belongs where, and a master that dies
//! takes no session along.
//!
//! Needs docker, docker-compose and the images (`deploy/images/build`, or those that `IMAGE_TAG` names); where they are
//! missing, it says so and tests nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Only what is broken waits as long.
const PATIENCE: Duration = Duration::from_mins(5);
const NAMES: [&str; 6] = [
    "PORT_STICKY",
    "PORT_REDIS",
    "PORT_JWT",
    "PORT_STICKY_2",
    "PORT_REDIS_2",
    "PORT_JWT_2",
];

/// A cluster of a name of its own, which goes with its volumes when the test is over.
struct Ha {
    project: String,
    ports: Vec<u16>,
    /// The first three numbers of the stores' addresses.
    stores_net: String,
    password: String,
}

impl Ha {
    /// `None` where there is nothing to run it with.
    fn start() -> Option<Self> {
        let tag = std::env::var("IMAGE_TAG").unwrap_or_else(|_| "latest".into());
        for image in ["app", "load-balancer", "loadtest", "redis"] {
            let image = format!("session-lab/{image}:{tag}");
            let is_there =
                docker(&["image", "inspect", &image]).is_ok_and(|out| out.status.success());
            if !is_there {
                eprintln!("not tested: there is no image {image}; deploy/images/build makes it");
                return None;
            }
        }
        let held: Vec<_> = NAMES
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .into();
        let ports: Vec<u16> = held
            .iter()
            .map(|one| one.local_addr().unwrap().port())
            .collect();
        drop(held);
        let mut ha = Self {
            project: format!("session-lab-ha-{}", ports[0]),
            stores_net: format!("10.{}.{}", 200 + ports[0] % 50, ports[0] / 50 % 250),
            ports,
            password: String::new(),
        };
        // From here on it is taken down again, whatever happens.
        ha.compose(&["up", "-d", "--no-build"]);
        ha.password = ha.within("redis", "cat /secrets/password");
        Some(ha)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(["-p", &self.project, "-f", "docker-compose.yml"])
            .args(["-f", "deploy/compose/ha.yml"])
            .args(words)
            // A busy machine takes longer than a minute to start ten containers.
            .env("COMPOSE_HTTP_TIMEOUT", "300")
            .env("STORES_NET", &self.stores_net)
            .envs(NAMES.iter().zip(self.ports.iter().map(u16::to_string)));
        command
    }

    fn compose(&self, words: &[&str]) -> String {
        let out = self.command(words).output();
        let out = out.expect("docker-compose is there");
        let problems = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "docker-compose {words:?}: {problems}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// What a command says inside the container of a service.
    fn within(&self, service: &str, command: &str) -> String {
        let id = self.compose(&["ps", "-q", service]);
        let out = docker(&["exec", &id, "sh", "-c", command]).unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// The first word of a store's `ROLE`; empty when it does not answer.
    fn role(&self, store: &str) -> String {
        let ask = "REDISCLI_AUTH=$(cat /secrets/redis.password) timeout 2 redis-cli ROLE 2>&1";
        let answer = self.within(store, ask);
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// Listeners in the order of `NAMES`.
    fn url(&self, listener: usize, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[listener])
    }

    async fn login(&self, listener: usize, user: usize) -> Option<Session> {
        let body = json!({"user": format!("user-{user:06}"), "password": self.password});
        let request = client().post(self.url(listener, "/login")).json(&body);
        let answer = request.send().await.ok()?;
        (answer.status() == StatusCode::OK).then(|| Session(cookies(&answer)))
    }
}

impl Drop for Ha {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self
                .command(&["logs", "--no-color", "--tail", "20"])
                .status();
        }
        let _ = self.command(&["down", "-v", "-t", "1"]).output();
    }
}

/// The cookies of one client.
struct Session(String);

impl Session {
    async fn me(&self, url: String) -> Option<Response> {
        let request = client().get(url).header("cookie", &self.0);
        request.send().await.ok()
    }
}

fn client() -> Client {
    static CLIENT: std::sync::OnceLock<Client> = std::sync::OnceLock::new();
    let client = CLIENT.get_or_init(|| {
        let client = Client::builder().timeout(Duration::from_secs(10));
        client.build().unwrap()
    });
    client.clone()
}

fn cookies(answer: &Response) -> String {
    let set = answer.headers().get_all("set-cookie").iter();
    let pairs = set.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

fn docker(words: &[&str]) -> std::io::Result<Output> {
    Command::new("docker").args(words).output()
}

async fn eventually<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Users who log in all the time, through both balancers by turns.
struct Load {
    acknowledged: Arc<Mutex<Vec<(Instant, Session)>>>,
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(ha: &Arc<Ha>) -> Self {
        let acknowledged: Arc<Mutex<Vec<_>>> = Arc::default();
        let goes_on = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn({
            let (ha, acknowledged, goes_on) = (ha.clone(), acknowledged.clone(), goes_on.clone());
            async move {
                for user in (200..300).cycle() {
                    if !goes_on.load(Ordering::Relaxed) {
                        return;
                    }
                    let listener = if user % 2 == 0 { 1 } else { 4 };
                    if let Some(login) = ha.login(listener, user).await {
                        acknowledged.lock().unwrap().push((Instant::now(), login));
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
        Self {
            acknowledged,
            goes_on,
            task,
        }
    }

    /// Waits for twenty more logins.
    async fn is_served(&self) {
        let count = || self.acknowledged.lock().unwrap().len();
        let before = count();
        eventually("logins under load", async || {
            (count() >= before + 20).then_some(())
        })
        .await;
    }

    async fn end(self) -> Vec<(Instant, Session)> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await.unwrap();
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_two_balancers_agree_and_a_dead_master_takes_no_session_along() {
    let Some(ha) = Ha::start() else { return };
    let ha = Arc::new(ha);
    both_balancers_send_a_client_to_its_node(&ha).await;
    a_dead_master_is_replaced(&ha).await;
}

async fn both_balancers_send_a_client_to_its_node(ha: &Ha) {
    for user in 1..=6 {
        // Logged in through one of the two, by turns.
        let (through, other) = if user % 2 == 0 { (0, 3) } else { (3, 0) };
        let session = eventually("a login", async || ha.login(through, user).await).await;
        let mut nodes = Vec::new();
        for listener in [through, other, through, other] {
            let answer = session.me(ha.url(listener, "/me")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "user {user}");
            nodes.push(answer.headers()["x-node"].to_str().unwrap().to_owned());
        }
        nodes.dedup();
        assert_eq!(nodes.len(), 1, "user {user} was served by {nodes:?}");
    }
}

async fn a_dead_master_is_replaced(ha: &Arc<Ha>) {
    let mut before = Vec::new();
    for user in 100..120 {
        before.push(eventually("a login", async || ha.login(1, user).await).await);
    }
    eventually("both replicas follow", async || {
        let info = "REDISCLI_AUTH=$(cat /secrets/redis.password) redis-cli INFO replication";
        let info = ha.within("redis", info);
        (info.matches("state=online,").count() == 2).then_some(())
    })
    .await;

    // They ask the master for its replicas every ten seconds, and cannot choose one that they have not heard of.
    for sentinel in ["sentinel-1", "sentinel-2", "sentinel-3"] {
        eventually("the Sentinels know both replicas", async || {
            let ask =
                "REDISCLI_AUTH=$(cat /secrets/redis.password) redis-cli -p 26379 INFO sentinel";
            ha.within(sentinel, ask)
                .contains("slaves=2,sentinels=3")
                .then_some(())
        })
        .await;
    }

    let load = Load::start(ha);
    load.is_served().await;
    let master = ha.compose(&["ps", "-q", "redis"]);
    let killed = Instant::now();
    assert!(docker(&["kill", &master]).unwrap().status.success());
    eventually("a replica was made the master", async || {
        ["redis-2", "redis-3"]
            .into_iter()
            .find(|store| ha.role(store) == "master")
    })
    .await;
    for listener in [1, 4] {
        eventually("logins through each balancer", async || {
            ha.login(listener, 99).await
        })
        .await;
    }
    load.is_served().await;
    let load = load.end().await;

    for session in &before {
        for listener in [1, 4] {
            let answer = session.me(ha.url(listener, "/me")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    let mut lost = 0;
    for (_, session) in &load {
        let answer = session.me(ha.url(1, "/me")).await.unwrap();
        lost += usize::from(answer.status() == StatusCode::UNAUTHORIZED);
    }
    // The kill itself takes a moment, and logins go on until it is done: the longest gap is what nobody was served in.
    let unavailable = load
        .windows(2)
        .filter(|pair| pair[1].0 > killed)
        .map(|pair| pair[1].0 - pair[0].0)
        .max()
        .unwrap();
    println!(
        "no login for {unavailable:.2?} around the kill; of {} acknowledged under load, {lost} are lost",
        load.len()
    );

    // It comes back as the master that it was, and becomes a replica.
    assert!(docker(&["start", &master]).unwrap().status.success());
    eventually("the old master follows", async || {
        (ha.role("redis") == "slave").then_some(())
    })
    .await;
    eventually("a login", async || ha.login(1, 99).await).await;
}
