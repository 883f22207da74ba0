//! The cluster in containers: brought up, locked down, scaled under load, partitioned, and gone without a trace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent::Remote;
use agent::link::{Direction, Disturbance};
use evidence::results::{Results, Verdict};
use reqwest::Method;
use serde_json::{Value, json};
use tests::compose::{Stack, docker, is_possible, root};
use tests::{STRATEGIES, client, cluster, eventually, send, try_send};
use tokio::net::TcpStream;

const CHAOS: &str = "deploy/compose/chaos.yml";
const IPV6: &str = "deploy/compose/ipv6.yml";
const PATIENCE: Duration = Duration::from_mins(1);
const AGENT_PORT: u16 = 7070;
const ADMIN_PORT: u16 = 8090;

#[tokio::test]
async fn docker_three_strategies_side_by_side_in_containers_that_can_do_little() {
    if !is_possible() {
        return;
    }
    let stack = Stack::up(&[], &[]).await;
    let password = stack.read("redis", "/secrets/password").await;
    for (number, strategy) in (1..).zip(STRATEGIES) {
        let mut user = stack.user(strategy, number, &password);
        user.login().await.expect(200);
        user.add("a").await.expect(201);
        let cart = user.cart().await.expect(200);
        assert_eq!(cart.lines(), ["a"], "{strategy}");
        assert_eq!(user.me().await.body["strategy"], strategy);
    }
    let containers = stack.containers(None).await;
    assert_eq!(containers.len(), 5, "three nodes, the load balancer, Redis");
    for container in &containers {
        is_locked_down(container).await;
        has_only_public_ports(&stack, container);
    }
    control_is_apart(&stack).await;

    let listed = stack
        .compose(&["run", "--rm", "-T", "--no-deps", "loadtest", "scenarios"])
        .await;
    assert!(listed.contains("kill-node"), "{listed}");

    assert_eq!(stack.down().await, "", "nothing is left");
}

/// In networks with IPv4 and IPv6 everything is reached over both, and each node counts once.
#[tokio::test]
async fn docker_everything_is_there_over_ipv6_too() {
    if !is_possible() {
        return;
    }
    let stack = Stack::up(&[IPV6], &[]).await;
    let password = stack.read("redis", "/secrets/password").await;
    for (number, strategy) in (1..).zip(STRATEGIES) {
        let mut user = stack.user(strategy, number, &password);
        user.login().await.expect(200);
        user.add("a").await.expect(201);
        assert_eq!(user.cart().await.expect(200).lines(), ["a"], "{strategy}");
    }

    let token = stack.read("redis", "/secrets/agent.token").await;
    for container in &stack.containers(None).await {
        let control = stack.ipv6_in(container, "control", AGENT_PORT).unwrap();
        let process = client().get(format!("http://{control}/process"));
        let status = send(process.bearer_auth(&token)).await.expect(200);
        // So that a run knows which of the load balancer's nodes this one is.
        let known = status.body["addresses"].as_array().unwrap();
        assert!(
            known.contains(&control.ip().to_string().into()),
            "{known:?}"
        );
    }
    for node in &stack.containers(Some("app")).await {
        let node = stack.ipv6_in(node, "cluster", 8080).unwrap();
        send(client().get(format!("http://{node}/healthz")))
            .await
            .expect(200);
    }
    let balancer = &stack.containers(Some("load-balancer")).await[0];
    let admin = stack.ipv6_in(balancer, "control", ADMIN_PORT).unwrap();
    let token = stack.read("redis", "/secrets/admin.token").await;
    let nodes = client()
        .get(format!("http://{admin}/nodes"))
        .bearer_auth(token);
    let nodes = send(nodes).await.expect(200).body;
    for listener in nodes["listeners"].as_array().unwrap() {
        let names = listener["nodes"].as_array().unwrap().iter();
        let names: BTreeSet<_> = names.map(|node| node["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }
    let public = stack.ipv6_in(balancer, "edge", 8081).unwrap();
    let url = format!("http://{public}/plain");
    let edge = stack.network("edge");
    docker(&[
        "run",
        "--rm",
        "--network",
        &edge,
        "session-lab/app",
        "probe",
        &url,
    ])
    .await;
}

/// What was asked for, and what the kernel made of it.
async fn is_locked_down(container: &Value) {
    let (name, host) = (&container["Name"], &container["HostConfig"]);
    assert_eq!(container["Config"]["User"], "10001:10001", "{name}");
    assert_eq!(host["ReadonlyRootfs"], true, "{name}");
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{name}");
    for limit in ["Memory", "NanoCpus"] {
        assert!(host[limit].as_u64().unwrap() > 0, "{name} has no {limit}");
    }
    let id = container["Id"].as_str().unwrap();
    let process = docker(&["exec", id, "cat", "/proc/1/comm", "/proc/1/status"]).await;
    assert!(process.starts_with("agent\n"), "{name}: {process}");
    let field = |name: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(field("Uid:"), "10001", "{name}");
    assert_eq!(field("NoNewPrivs:"), "1", "{name}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{name} {set}");
    }
}

fn has_only_public_ports(stack: &Stack, container: &Value) {
    let is_balancer =
        container["Config"]["Labels"]["com.docker.compose.service"] == "load-balancer";
    let ports = container["NetworkSettings"]["Ports"].as_object().unwrap();
    let published: Vec<_> = ports.iter().filter(|(_, to)| !to.is_null()).collect();
    for (port, hosts) in &published {
        assert!(
            ["8081/tcp", "8082/tcp", "8083/tcp"].contains(&port.as_str()),
            "{port}"
        );
        for host in hosts.as_array().unwrap() {
            assert_eq!(host["HostIp"], stack.address());
        }
    }
    assert_eq!(published.len(), if is_balancer { 3 } else { 0 });
}

/// Agents and the admin port answer on the control network, with a token, and nowhere else.
async fn control_is_apart(stack: &Stack) {
    let token = stack.read("redis", "/secrets/agent.token").await;
    for container in &stack.containers(None).await {
        let name = container["Name"].as_str().unwrap();
        let inside = stack.address_in(container, "control", AGENT_PORT);
        let process = format!("http://{}/process", inside.expect("an agent each"));
        send(client().get(&process)).await.expect(401);
        let known = send(client().get(&process).bearer_auth(&token)).await;
        assert_eq!(known.expect(200).body["running"], true, "{name}");
        for network in ["edge", "cluster"] {
            for port in [AGENT_PORT, ADMIN_PORT] {
                if let Some(outside) = stack.address_in(container, network, port) {
                    let refused = TcpStream::connect(outside).await.unwrap_err().kind();
                    assert_eq!(
                        refused,
                        ErrorKind::ConnectionRefused,
                        "{name} {network} {port}"
                    );
                }
            }
        }
        let is_public = stack.address_in(container, "edge", 0).is_some();
        assert_eq!(is_public, name.contains("load-balancer"), "{name}");
    }
}

/// Requests of users whose sessions are in no node, until told to end.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    workers: Vec<tokio::task::JoinHandle<BTreeSet<String>>>,
}

impl Load {
    async fn start(stack: &Stack, password: &str) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut workers = Vec::new();
        for (number, strategy) in (1..).zip(["redis", "jwt", "redis", "jwt"]) {
            let mut user = stack.user(strategy, number, password);
            user.login().await.expect(200);
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            workers.push(tokio::spawn(async move {
                let mut nodes = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    for (method, path) in [(Method::GET, "/me"), (Method::POST, "/cart/lines")] {
                        let mut request = user.request(method.clone(), path);
                        if method == Method::POST {
                            request =
                                request.json(&json!({"id": "a", "sku": "book-1", "quantity": 1}));
                        }
                        let answer = try_send(request).await.expect("an answer");
                        assert!(answer.status < 300, "{method} {path}: {answer:?}");
                        nodes.insert(answer.node().to_owned());
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                nodes
            }));
        }
        Self {
            stop,
            sent,
            workers,
        }
    }

    /// The nodes that answered. Every request must have been served.
    async fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut nodes = BTreeSet::new();
        for worker in self.workers {
            nodes.extend(worker.await.expect("every request was served"));
        }
        println!("{} requests", self.sent.load(Ordering::Relaxed));
        nodes
    }
}

#[tokio::test]
async fn docker_nodes_come_and_go_under_load_and_no_request_fails() {
    if !is_possible() {
        return;
    }
    let stack = Stack::up(&[], &[]).await;
    let password = stack.read("redis", "/secrets/password").await;
    let load = Load::start(&stack, &password).await;
    let serving = async |wanted: usize| {
        let begun = Instant::now();
        eventually(&format!("{wanted} nodes serve"), async || {
            let mut nodes = BTreeSet::new();
            for _ in 0..wanted * 2 {
                let answer = send(client().get(stack.url("jwt") + "/plain")).await;
                nodes.insert(answer.expect(200).node().to_owned());
            }
            (nodes.len() == wanted).then_some(())
        })
        .await;
        println!("{wanted} nodes serve, after {:?}", begun.elapsed());
    };
    serving(3).await;
    stack
        .compose(&["up", "-d", "--no-recreate", "--scale", "app=6"])
        .await;
    serving(6).await;
    stack
        .compose(&["up", "-d", "--no-recreate", "--scale", "app=3"])
        .await;
    serving(3).await;
    let nodes = load.end().await;
    assert_eq!(nodes.len(), 6, "all of them served users: {nodes:?}");
    assert_eq!(stack.containers(Some("app")).await.len(), 3);
}

#[tokio::test]
async fn docker_a_partition_is_made_by_the_agents_alone() {
    if !is_possible() {
        return;
    }
    // One strategy alone, too: nobody serves the others.
    let stack = Stack::up(&[CHAOS], &[("SESSION_STRATEGIES", "redis")]).await;
    let password = stack.read("redis", "/secrets/password").await;
    let mut user = stack.user("redis", 1, &password);
    eventually("a login", async || {
        (user.login().await.status == 200).then_some(())
    })
    .await;
    let none = send(client().get(stack.url("jwt") + "/plain")).await;
    assert_eq!(none.expect(503).body["type"], "/problems/no-node");

    let token = stack.read("redis", "/secrets/agent.token").await;
    let nodes = stack.containers(Some("app")).await;
    let cut_off = nodes[0]["Config"]["Hostname"].as_str().unwrap();
    let agent = stack.address_in(&nodes[0], "control", AGENT_PORT).unwrap();
    let agent = Remote::new(cut_off, format!("http://{agent}"), &token, PATIENCE).unwrap();
    let in_rotation = async |wanted: bool| {
        eventually(&format!("{cut_off} serves: {wanted}"), async || {
            let mut nodes = BTreeSet::new();
            for _ in 0..8 {
                // Until the load balancer knows, a node without its store answers that it cannot serve.
                let answer = try_send(user.request(Method::GET, "/me")).await?;
                nodes.insert((answer.node().to_owned(), answer.status));
            }
            let serves = nodes.contains(&(cut_off.to_owned(), 200));
            let all_served = nodes.iter().all(|(_, status)| *status == 200);
            (all_served && serves == wanted).then_some(())
        })
        .await;
    };
    in_rotation(true).await;
    let direction = Direction::default();
    let cut = Disturbance::Blackhole { direction };
    agent.disturb("store", cut).await.unwrap();
    in_rotation(false).await;
    agent.undisturb("store").await.unwrap();
    in_rotation(true).await;
}

/// Whatever a scenario does to processes and links, done by the agents between the containers' own networks, and judged.
const SCENARIO: &str = r#"
question = "Do faults reach containers, and does the checker see what they cost?"
[cluster]
nodes = 3
strategies = ["sticky", "redis", "jwt"]
accounts = 200
password = { memory_kib = 8, iterations = 1 }
[load]
users = 12
think_ms = [50, 300]
journey = { browse = 4, add_line = 4, read_cart = 2, remove_line = 1, log_out = 1 }
warm_up_s = 1
measure_s = 12
[[faults]]
kind = "kill"
target = "node-2"
at_s = 1
for_s = 1
[[faults]]
kind = "pause"
target = "node-3"
at_s = 4
for_s = 2
[[faults]]
kind = "blackhole"
target = "load-balancer->node-1"
at_s = 8
for_s = 2
"#;

#[tokio::test]
async fn docker_a_run_goes_through_the_agents_and_is_judged() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    // Somebody who is neither root nor the user of the containers owns the reports.
    std::os::unix::fs::chown(&reports, Some(1_234), None).ok();
    let owner = std::fs::metadata(&reports).unwrap().uid();
    let scenario = folder.path().join("faults.toml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    let mount = format!("{}:/scenarios/faults.toml:ro", scenario.display());
    let reports_folder = reports.display().to_string();
    let stack = Stack::up(&[CHAOS, IPV6], &[("REPORTS", &reports_folder)]).await;
    let output = stack
        .try_compose(&[
            "run",
            "--rm",
            "-T",
            "--no-deps",
            "-v",
            &mount,
            "loadtest",
            "run",
            "/scenarios/faults.toml",
            "--on",
            "/etc/session-lab/cluster.toml",
            "--out",
            "/reports/run",
        ])
        .await;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let results = std::fs::read(reports.join("run/results.json")).expect(&said);
    assert_eq!(std::fs::metadata(reports.join("run")).unwrap().uid(), owner);
    let results: Results = serde_json::from_slice(&results).unwrap();
    // A busy machine may make the figures unbelievable, which is no business of this test. What was lost is counted all the same.
    assert_ne!(results.verdict, Verdict::Fail, "{said}");
    for run in &results.runs {
        let faults: Vec<(&str, bool)> = run
            .faults
            .iter()
            .map(|fault| (&*fault.kind, fault.undone_ms.is_some()))
            .collect();
        let wanted = [("kill", true), ("pause", true), ("blackhole", true)];
        assert_eq!(faults, wanted, "{}: {said}", run.strategy);
        let lost = run.faults[0].sessions_lost;
        assert_eq!(
            lost > 0,
            run.strategy == "sticky",
            "{lost} in {}",
            run.strategy
        );
    }
    // The deployment is as it was.
    for strategy in STRATEGIES {
        eventually("it serves again", async || {
            let answer = try_send(client().get(stack.url(strategy) + "/plain")).await?;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_dashboard_asks_for_nothing_that_is_not_there() {
    let cluster = cluster(&STRATEGIES).await;
    let node = cluster.node_url("node-1") + "/metrics";
    let balancer = client()
        .get(cluster.admin_url() + "/metrics")
        .bearer_auth(cluster.admin_token());
    let mut known = BTreeSet::new();
    for request in [client().get(node), balancer] {
        let page = request.send().await.unwrap().text().await.unwrap();
        for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = family.split_once(' ').unwrap();
            if kind == "histogram" {
                known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            } else {
                known.insert(name.to_owned());
            }
        }
    }
    let path = root().join("deploy/compose/observe/dashboards/session-lab.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        let metrics =
            words.filter(|word| word.starts_with("shop_") || word.starts_with("load_balancer_"));
        let metrics: Vec<_> = metrics.collect();
        assert!(!metrics.is_empty(), "no metric in {expression}");
        for metric in metrics {
            assert!(known.contains(metric), "{metric} is on no page: {known:?}");
            asked += 1;
        }
    }
    assert!(asked > 10, "the dashboard shows something");
}
