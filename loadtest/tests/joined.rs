//! `lab run --on FILE`: a cluster that is up already, supervised by agents, is used for a run and put back afterwards.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.
#![allow(
    clippy::too_many_lines,
    clippy::format_collect,
    clippy::format_push_string
)] // A deployment is one long text.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent::ports;
use loadtest::results::{Results, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

/// Everything that goes through agents: a process, a link, an order to the load balancer, the number of nodes.
const SCENARIO: &str = r#"
question = "Does a run on a cluster that is up already work?"
[cluster]
nodes = 2
spare_nodes = 1
strategies = ["redis", "jwt"]
accounts = 100
password = { memory_kib = 8, iterations = 1 }
access_token_s = 3600
[load]
users = 6
think_ms = [100, 500]
journey = { browse = 4, add_line = 4, read_cart = 2, remove_line = 1, log_out = 1 }
warm_up_s = 1
measure_s = 9
[[faults]]
kind = "pause"
target = "node-2"
at_s = 1
for_s = 1
[[faults]]
kind = "delay"
target = "node-1->store"
delay_ms = 5
at_s = 1
for_s = 1
[[faults]]
kind = "drain"
target = "node-2"
at_s = 4
for_s = 1
[[faults]]
kind = "scale"
target = "nodes"
nodes = 3
at_s = 6
for_s = 2
"#;

/// A process that is ended with the test.
struct Kept(Child);

impl Kept {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The agent ends its program first.
        self.signal(Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Agents with a store, three nodes and a load balancer, and the file that describes them.
struct Deployment {
    folder: TempDir,
    strategies: Vec<(&'static str, SocketAddr)>,
    /// The order is the order in which they end.
    _processes: Vec<Kept>,
}

fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(name);
    let hint = "run `cargo build --workspace --bins` first";
    assert!(path.exists(), "{} is missing: {hint}", path.display());
    path
}

impl Deployment {
    fn up() -> Self {
        let [_, a, b, c, ..] = RandomState::new().hash_one(0).to_be_bytes();
        Self::up_at([127, a.max(1), b, c.clamp(1, 254)].into())
    }

    fn up_at(ip: IpAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let secrets = folder.path().join("secrets");
        let made = Command::new(program("lab"))
            .arg("secrets")
            .arg(&secrets)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let free = || SocketAddr::new(ip, ports::free(ip).unwrap());
        let secret = |name: &str| secrets.join(name).display().to_string();
        let agent = |name: &str, control: SocketAddr, flags: &[String], command: &[String]| {
            let log = fs::File::create(folder.path().join(format!("{name}.log"))).unwrap();
            let child = Command::new(program("agent"))
                .args(["run", "--name", name, "--control", &control.to_string()])
                .args(["--token-file", &secret("agent.token")])
                .args(flags)
                .arg("--")
                .args(command)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn();
            Kept(child.unwrap())
        };

        let (store, store_control) = (free(), free());
        let redis = agent(
            "redis",
            store_control,
            &["--ready".into(), format!("redis://{store}")],
            &[
                "redis-server".into(),
                secret("redis.conf"),
                "--bind".into(),
                ip.to_string(),
                "--port".into(),
                store.port().to_string(),
                "--save".into(),
                String::new(),
                "--dir".into(),
                folder.path().display().to_string(),
            ],
        );
        let mut controls = Vec::new();
        let mut list = String::new();
        let mut nodes = Vec::new();
        for number in 1..=3 {
            let (address, control, link) = (free(), free(), free());
            let name = format!("node-{number}");
            nodes.push(agent(
                &name,
                control,
                &[
                    "--ready".into(),
                    format!("http://{address}/healthz"),
                    "--link".into(),
                    format!("store={link}={store}"),
                ],
                &[
                    program("shop").display().to_string(),
                    format!("--listen={address}"),
                    format!("--node-name=of-the-deployment-{number}"),
                    "--strategies=sticky,redis,jwt".into(),
                    "--accounts=10".into(),
                    format!("--password-file={}", secret("password")),
                    format!("--jwt-key-file={}", secret("jwt.key")),
                    format!("--redis-url=redis://{link}"),
                    format!("--redis-password-file={}", secret("redis.password")),
                ],
            ));
            list += &format!("{{ name = '{name}', address = '{address}' }},\n");
            controls.push(control.to_string());
        }
        let (admin, balancer_control) = (free(), free());
        let strategies = ["sticky", "redis", "jwt"].map(|strategy| (strategy, free()));
        let listeners: String = strategies
            .iter()
            .map(|(strategy, at)| {
                format!("[[listeners]]\nstrategy = '{strategy}'\naddress = '{at}'\n")
            })
            .collect();
        let config = folder.path().join("load-balancer.toml");
        let text = format!(
            "admin = '{admin}'\naffinity_key_file = '{}'\nadmin_token_file = '{}'\n[nodes]\nlist = [{list}]\n{listeners}",
            secret("affinity.key"),
            secret("admin.token")
        );
        fs::write(&config, text).unwrap();
        let balancer = agent(
            "load-balancer",
            balancer_control,
            &["--ready".into(), format!("http://{admin}/healthz")],
            &[
                program("load-balancer").display().to_string(),
                format!("--config={}", config.display()),
            ],
        );
        let urls: String = strategies
            .iter()
            .map(|(strategy, at)| format!("{strategy} = 'http://{at}'\n"))
            .collect();
        let file = format!(
            "secrets = '{}'\nnodes = {controls:?}\nload_balancer = '{balancer_control}'\nadmin = '{admin}'\n\
             store = '{store_control}'\nstore_address = '{store}'\n[urls]\n{urls}",
            secrets.display()
        );
        fs::write(folder.path().join("cluster.toml"), file).unwrap();
        fs::write(folder.path().join("short.toml"), SCENARIO).unwrap();
        let mut processes = vec![balancer];
        processes.extend(nodes);
        processes.push(redis);
        let deployment = Self {
            folder,
            strategies: strategies.to_vec(),
            _processes: processes,
        };
        deployment.is_as_it_was();
        deployment
    }

    fn lab(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("lab"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let flags = ["run", "short.toml", "--on", "cluster.toml", "--out", "out"];
        self.lab(&[&flags, args].concat()).output().unwrap()
    }

    /// Every strategy is served, by each of the nodes, under the name that the deployment gives it.
    fn is_as_it_was(&self) {
        let urls: Vec<String> = self
            .strategies
            .iter()
            .map(|(_, at)| format!("http://{at}"))
            .collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let waited = self.lab(&[&["wait"], &*urls].concat()).output().unwrap();
        assert!(waited.status.success(), "{waited:?}");
        let deadline = Instant::now() + PATIENCE;
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3 {
            assert!(Instant::now() < deadline, "only {seen:?} answer");
            let answer = ask(self.strategies[2].1);
            seen.extend(answer.lines().find_map(|line| {
                let name = line.strip_prefix("x-node: ")?;
                name.starts_with("of-the-deployment")
                    .then(|| name.to_owned())
            }));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn ask(address: SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut text = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let request =
            format!("GET /plain HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut text);
    }
    text
}

#[test]
fn a_run_uses_it_and_puts_it_back() {
    is_used_and_put_back(&Deployment::up());
}

#[test]
fn all_of_it_works_over_ipv6() {
    is_used_and_put_back(&Deployment::up_at(Ipv6Addr::LOCALHOST.into()));
}

fn is_used_and_put_back(deployment: &Deployment) {
    let output = deployment.run(&[]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let path = deployment.folder.path().join("out/results.json");
    let results: Results = serde_json::from_slice(&fs::read(path).expect(&text)).unwrap();
    assert_ne!(results.verdict, Verdict::Fail, "{text}");
    assert_eq!(
        results.settings["cluster"],
        "containers, through their agents"
    );
    assert_eq!(results.runs.len(), 2);
    for run in &results.runs {
        let kinds: Vec<&str> = run.faults.iter().map(|fault| &*fault.kind).collect();
        assert_eq!(kinds, ["pause", "delay", "drain", "scale"], "{text}");
        for fault in &run.faults {
            assert!(
                fault.recovered_ms.is_some() || fault.effective_ms.is_some(),
                "{fault:?}"
            );
        }
        let nodes: Vec<&String> = run
            .timeline
            .iter()
            .flat_map(|at| at.per_node.keys())
            .collect();
        assert!(
            nodes.iter().all(|node| node.starts_with("node-")),
            "{nodes:?}"
        );
        assert!(run.cost_us_per_request.node.is_some_and(|cost| cost > 0.0));
    }
    deployment.is_as_it_was();
}

#[test]
fn a_run_that_is_broken_off_puts_it_back_too() {
    let deployment = Deployment::up();
    let flags = [
        "run",
        "short.toml",
        "--on",
        "cluster.toml",
        "--out",
        "out",
        "--strategy",
        "jwt",
    ];
    let mut lab = deployment.lab(&flags);
    let lab = Kept(
        lab.stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Users act when the history has their first operations.
    let history = deployment.folder.path().join("out/history-jwt-1.jsonl");
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(&history).map_or(0, |text| text.lines().count()) < 20 {
        assert!(Instant::now() < deadline, "no history");
        thread::sleep(Duration::from_millis(20));
    }
    lab.signal(Signal::INT);
    drop(lab);
    deployment.is_as_it_was();
}

#[test]
fn what_a_deployment_cannot_do_is_said() {
    let deployment = Deployment::up();
    let path = deployment.folder.path().join("short.toml");
    let four = SCENARIO.replace("spare_nodes = 1", "spare_nodes = 2");
    fs::write(&path, four).unwrap();
    let output = deployment.run(&[]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("wants 4 nodes, and the deployment has 3"),
        "{text}"
    );

    let other = SCENARIO.replace("strategies =", "balancer = \"haproxy\"\nstrategies =");
    fs::write(&path, other).unwrap();
    let output = deployment.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    let link = SCENARIO.replace("node-1->store", "load-balancer->node-1");
    fs::write(&path, link).unwrap();
    let output = deployment.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("no proxy stands on the link load-balancer->node-1"),
        "{text}"
    );
    deployment.is_as_it_was();
}
