//! A cluster under agents, as containers have it, but on loopback: for the tests of `lab run --on FILE`.

#![allow(dead_code)] // Each test binary uses what it needs.
#![allow(
    clippy::too_many_lines,
    clippy::format_collect,
    clippy::format_push_string
)] // A deployment is one long text.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent::ports;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Everything that goes through agents: a process, a link, an order to the load balancer, the number of nodes.
pub(crate) const SCENARIO: &str = r#"
question = "Does a run on a cluster that is up already work?"
[cluster]
nodes = 2
spare_nodes = 1
strategies = ["redis", "jwt"]
accounts = 100
password = { memory_kib = 8, iterations = 1 }
settings = { access_token_s = 3600 }
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
pub(crate) struct Kept(pub(crate) Child);

impl Kept {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A number that was given back may be somebody else's by now.
        if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // The agent ends its program first; one that a test has stopped has to go on for that.
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Agents with a store, three nodes and a load balancer, and the file that describes them.
pub(crate) struct Deployment {
    pub(crate) folder: TempDir,
    pub(crate) strategies: Vec<(&'static str, SocketAddr)>,
    /// Where Redis listens.
    pub(crate) store: SocketAddr,
    /// The load balancer's agent, those of the nodes, the store's: in the order in which they end.
    pub(crate) agents: Vec<Kept>,
}

fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(name);
    let hint = "run `cargo build --workspace --bins` first";
    assert!(path.exists(), "{} is missing: {hint}", path.display());
    path
}

impl Deployment {
    pub(crate) fn up() -> Self {
        let [_, a, b, c, ..] = RandomState::new().hash_one(0).to_be_bytes();
        Self::up_at([127, a.max(1), b, c.clamp(1, 254)].into())
    }

    pub(crate) fn up_at(ip: IpAddr) -> Self {
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
            store,
            agents: processes,
        };
        deployment.is_as_it_was();
        deployment
    }

    pub(crate) fn lab(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("lab"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let flags = ["run", "short.toml", "--on", "cluster.toml", "--out", "out"];
        self.lab(&[&flags, args].concat()).output().unwrap()
    }

    /// Every strategy is served, by each of the nodes, under the name that the deployment gives it.
    pub(crate) fn is_as_it_was(&self) {
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

/// The head and body of an answer, or what came of it.
pub(crate) fn ask(address: SocketAddr) -> String {
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
