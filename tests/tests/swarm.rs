//! The stack on a swarm of one machine: deployed, scaled, updated under load without a failed request, a task killed.
//!
//! Skipped, and said so, where no Docker Engine answers. A swarm that is not there yet is made, and left afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tests::compose::{docker, is_possible, root};
use tests::{eventually, own_address};
use tokio::task::JoinHandle;

/// Side by side; each waits for its answer before it asks again.
const CLIENTS: usize = 4;

/// For a busy machine.
const PATIENCE: &str = "
[health]
timeout_ms = 10000
fall = 4

[timeouts]
connect_ms = 5000
read_ms = 10000
total_ms = 30000
";

/// A stack under a name of its own. Dropping it removes everything, and the swarm if it was made for it.
struct Swarm {
    name: String,
    ports: [u16; 3],
    is_ours: bool,
}

impl Swarm {
    fn up() -> Self {
        let state = plain("docker", &["info", "--format", "{{.Swarm.LocalNodeState}}"]);
        let is_ours = state.trim() != "active";
        if is_ours {
            plain(
                "docker",
                &["swarm", "init", "--advertise-addr", "127.0.0.1"],
            );
        }
        // A swarm publishes on all addresses, so a free port must be free on all of them.
        let free = [(); 3].map(|()| TcpListener::bind("0.0.0.0:0").unwrap());
        let swarm = Self {
            name: format!("labtest{:08x}", u32::from(own_address())),
            ports: free.map(|listener| listener.local_addr().unwrap().port()),
            is_ours,
        };
        let output = swarm.script("up").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        swarm.be_patient();
        swarm
    }

    /// The load balancer's own settings find a frozen node within two seconds. On a machine that is busy with other tests,
    /// that finds nodes that only wait for their turn; who is late here is not what is tested.
    fn be_patient(&self) {
        let own = std::fs::read_to_string(root().join("deploy/swarm/load-balancer.toml")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load-balancer.toml");
        std::fs::write(&path, own + PATIENCE).unwrap();
        let filter = format!("name={}-load-balancer", self.name);
        let old = plain(
            "docker",
            &["config", "ls", "--format", "{{.Name}}", "--filter", &filter],
        );
        let new = format!("{}-patient", self.name);
        let label = format!("com.docker.stack.namespace={}", self.name);
        plain(
            "docker",
            &[
                "config",
                "create",
                "--label",
                &label,
                &new,
                path.to_str().unwrap(),
            ],
        );
        let add = format!("source={new},target=/etc/session-lab/load-balancer.toml");
        let service = format!("{}_load-balancer", self.name);
        let order = [
            "service",
            "update",
            "--no-resolve-image",
            "--config-rm",
            old.trim(),
            "--config-add",
            &add,
            &service,
        ];
        plain("docker", &order);
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(root().join("deploy/swarm").join(name));
        command.env("STACK", &self.name);
        for (name, port) in ["PORT_STICKY", "PORT_REDIS", "PORT_JWT"]
            .iter()
            .zip(self.ports)
        {
            command.env(name, port.to_string());
        }
        command
    }

    /// The containers of `app` that are healthy.
    async fn nodes(&self) -> Vec<String> {
        let service = format!("label=com.docker.swarm.service.name={}_app", self.name);
        let ids = docker(&[
            "ps",
            "--quiet",
            "--filter",
            &service,
            "--filter",
            "health=healthy",
        ])
        .await;
        ids.lines().map(str::to_owned).collect()
    }

    async fn update_state(&self) -> String {
        let service = format!("{}_app", self.name);
        let all = docker(&["service", "inspect", &service]).await;
        let all: Value = serde_json::from_str(&all).unwrap();
        all[0]["UpdateStatus"]["State"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    async fn scale(&self, nodes: usize) {
        let order = format!("{}_app={nodes}", self.name);
        docker(&["service", "scale", "--detach", &order]).await;
    }

    fn url(&self, port: usize, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[port])
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        let _ = self.script("down").output();
        let _ = Command::new("docker")
            .args(["volume", "rm", &format!("{}_store", self.name)])
            .output();
        let image = format!("session-lab/app:{}", self.name);
        let _ = Command::new("docker").args(["rmi", &image]).output();
        if self.is_ours {
            let _ = Command::new("docker")
                .args(["swarm", "leave", "--force"])
                .output();
        }
    }
}

fn plain(program: &str, arguments: &[&str]) -> String {
    tests::manifests::output(Command::new(program).args(arguments))
}

/// Users with one login each, who go on asking who they are.
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    nodes: Arc<Mutex<BTreeSet<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Half of them with a token, half with a session in Redis: any node can answer each of them.
    async fn start(swarm: &Swarm, password: &str) -> Self {
        let mut load = Self {
            ends: Arc::default(),
            answered: Arc::default(),
            failed: Arc::default(),
            nodes: Arc::default(),
            clients: Vec::new(),
        };
        for number in 0..CLIENTS {
            let port = 1 + number % 2;
            let client = Client::builder()
                .cookie_store(true)
                .timeout(Duration::from_mins(1))
                .build()
                .unwrap();
            let wish = json!({"user": format!("user-{:06}", number + 1), "password": password});
            let login = client
                .post(swarm.url(port, "/login"))
                .json(&wish)
                .send()
                .await
                .unwrap();
            assert_eq!(login.status(), 200);
            let token: Value = login.json().await.unwrap();
            let token = token["access_token"].as_str().unwrap_or("").to_owned();
            let url = swarm.url(port, "/me");
            let (ends, answered) = (Arc::clone(&load.ends), Arc::clone(&load.answered));
            let (failed, nodes) = (Arc::clone(&load.failed), Arc::clone(&load.nodes));
            load.clients.push(tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    let mut request = client.get(&url);
                    if !token.is_empty() {
                        request = request.bearer_auth(&token);
                    }
                    match request.send().await {
                        Ok(answer) if answer.status() == 200 => {
                            let node = answer.headers()["x-node"].to_str().unwrap().to_owned();
                            nodes.lock().unwrap().insert(node);
                        }
                        Ok(answer) => failed.lock().unwrap().push(answer.status().to_string()),
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }));
        }
        load
    }

    /// Waits until these many nodes, and no others, have answered since.
    async fn reaches(&self, nodes: usize) -> BTreeSet<String> {
        let what = format!("{nodes} nodes answer");
        eventually(&what, async || {
            self.nodes.lock().unwrap().clear();
            let from = self.answered.load(Ordering::Relaxed);
            while self.answered.load(Ordering::Relaxed) < from + 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let seen = self.nodes.lock().unwrap().clone();
            (seen.len() == nodes).then_some(seen)
        })
        .await
    }

    /// What failed since the last time it was asked.
    #[track_caller]
    fn failures(&self, what: &str) -> Vec<String> {
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        let answered = self.answered.swap(0, Ordering::Relaxed);
        println!(
            "{what}: {} of {answered} requests failed: {failed:?}",
            failed.len()
        );
        failed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_scaled_and_updated_without_a_failed_request() {
    if !is_possible() {
        return;
    }
    let swarm = tokio::task::spawn_blocking(Swarm::up).await.unwrap();
    let node = &swarm.nodes().await[0];
    let password = docker(&["exec", node, "cat", "/secrets/password"]).await;
    // Every listener has its nodes.
    let store = eventually("the store is ready", async || {
        let answer = reqwest::get(swarm.url(1, "/plain")).await.ok()?;
        (answer.status() == 200).then_some(())
    });
    store.await;

    let load = Load::start(&swarm, password.trim_end()).await;
    let before = load.reaches(3).await;
    swarm.scale(6).await;
    load.reaches(6).await;
    swarm.scale(3).await;
    load.reaches(3).await;
    assert_eq!(load.failures("3 → 6 → 3 nodes"), [""; 0]);

    let image = format!("session-lab/app:{}", swarm.name);
    docker(&["tag", "session-lab/app:latest", &image]).await;
    let service = format!("{}_app", swarm.name);
    docker(&[
        "service",
        "update",
        "--detach",
        "--no-resolve-image",
        "--image",
        &image,
        &service,
    ])
    .await;
    eventually("the update is complete", async || {
        let state = swarm.update_state().await;
        assert!(matches!(&*state, "" | "updating" | "completed"), "{state}");
        (state == "completed").then_some(())
    })
    .await;
    let after = load.reaches(3).await;
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    assert_eq!(load.failures("another image"), [""; 0]);

    let victim = &swarm.nodes().await[0];
    docker(&["kill", victim]).await;
    eventually("the task is replaced", async || {
        let nodes = swarm.nodes().await;
        (nodes.len() == 3 && !nodes.contains(victim)).then_some(())
    })
    .await;
    load.reaches(3).await;
    // GET may be repeated, and the balancer does: what a killed node owed, another one gives.
    assert_eq!(load.failures("a killed task"), [""; 0]);
    load.ends.store(true, Ordering::Relaxed);
    for client in load.clients {
        client.await.unwrap();
    }
}
