//! What the Kubernetes manifests tell the programs, the programs do: each container's own command line, environment and
//! secrets, with the agent around it, on loopback addresses in place of a pod's. Then the probes of the manifests are
//! asked, a user logs in, and everything ends as Kubernetes ends it. No cluster is needed, and none was asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::manifests::{Manifests, Pod, text};
use tests::{binary, eventually, own_address};

/// The container's address and its loopback. In a pod, a program may listen on both with the same port.
struct Place {
    pod: Ipv4Addr,
    loopback: Ipv4Addr,
}

impl Place {
    fn new() -> Self {
        Self {
            pod: own_address(),
            loopback: own_address(),
        }
    }

    /// A place whose program listens on all addresses, which is one here.
    fn single() -> Self {
        let pod = own_address();
        Self { pod, loopback: pod }
    }
}

/// A cluster in the making: what stands for the addresses and folders of the manifests here.
struct Stage {
    manifests: Manifests,
    /// What to replace everywhere: names of Services, and mounted folders.
    names: Vec<(String, String)>,
}

impl Stage {
    fn here(&self, place: &Place, told: &str) -> String {
        let told = told
            .replace("[::]:", &format!("{}:", place.pod))
            .replace("127.0.0.1:", &format!("{}:", place.loopback))
            .replace("localhost:", &format!("{}:", place.loopback));
        let mut names = self.names.iter();
        names
            .by_ref()
            .fold(told, |told, (name, here)| told.replace(name, here))
    }

    fn start(&self, name: &str, place: &Place, more: &[String]) -> Running {
        let container = self.manifests.pod(name).container();
        let told = container.command_line();
        let told: Vec<String> = told.iter().map(|word| self.here(place, word)).collect();
        let programs = binary("agent").parent().unwrap().to_owned();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let variables = container.environment();
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, self.here(place, value)));
        let child = Command::new(&told[0])
            .args(&told[1..])
            .args(more)
            .env_clear()
            .env("PATH", path)
            .envs(variables)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Asks every probe until all say yes.
    async fn probe(&self, name: &str, place: &Place) {
        let pod = self.manifests.pod(name);
        for (kind, probe) in pod.container().probes() {
            let what = format!("{name}: {kind}");
            eventually(&what, async || {
                self.asked(&pod, place, probe).await.then_some(())
            })
            .await;
        }
    }

    async fn asked(&self, pod: &Pod<'_>, place: &Place, probe: &Value) -> bool {
        if let Some(asked) = probe.get("httpGet") {
            let port = pod.port(&asked["port"]).unwrap();
            let url = format!("http://{}:{port}{}", place.pod, text(&asked["path"]));
            reqwest::get(url)
                .await
                .is_ok_and(|answer| answer.status().is_success())
        } else if let Some(asked) = probe.get("tcpSocket") {
            let port = u16::try_from(pod.port(&asked["port"]).unwrap()).unwrap();
            TcpStream::connect((place.pod, port)).is_ok()
        } else {
            let command = probe["exec"]["command"].as_array().unwrap();
            let command: Vec<String> = command
                .iter()
                .map(|word| self.here(place, text(word)))
                .collect();
            let mut probe = Command::new(binary(&command[0]));
            let status = probe.args(&command[1..]).stderr(Stdio::null()).status();
            status.unwrap().success()
        }
    }
}

/// A container's process 1, ended as Kubernetes ends it, also when a test fails.
struct Running(Child);

impl Running {
    fn end(mut self) -> ExitStatus {
        self.ended().expect("it ends within its grace")
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.0.try_wait().unwrap() {
            return Some(status);
        }
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap();
        let started = Instant::now();
        // As long as the manifests give it.
        while started.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

async fn runs_as_told(strategy: &str) {
    let manifests = Manifests::render(strategy);
    let mut stage = Stage {
        names: vec![("/secrets".into(), manifests.secrets.display().to_string())],
        manifests,
    };

    let mut store = None;
    if strategy == "redis" {
        let place = Place::single();
        let folder = stage.manifests.write("store", "");
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        stage
            .names
            .push(("/store".into(), folder.display().to_string()));
        // Redis takes all addresses there are; here it shares them with other tests.
        let started = stage.start("redis", &place, &["--bind".into(), place.pod.to_string()]);
        stage.probe("redis", &place).await;
        stage
            .names
            .push(("redis:6379".into(), format!("{}:6379", place.pod)));
        store = Some(started);
    }

    let place = Place::single();
    let node = stage.start("app", &place, &[]);
    stage.probe("app", &place).await;
    stage
        .names
        .push(("app:8080".into(), format!("{}:8080", place.pod)));

    let place = Place::new();
    let config = stage.manifests.object("ConfigMap", "load-balancer");
    let config = stage.here(&place, text(&config["data"]["load-balancer.toml"]));
    let config = stage.manifests.write("load-balancer.toml", &config);
    let folder = config.parent().unwrap().display().to_string();
    stage.names.push(("/etc/session-lab".into(), folder));
    let balancer = stage.start("load-balancer", &place, &[]);
    stage.probe("load-balancer", &place).await;

    // A user comes in by the public port, as through the Service.
    let service = &stage.manifests.object("Service", "load-balancer")["spec"]["ports"][0];
    let pods = stage.manifests.pod("load-balancer");
    let public = format!(
        "http://{}:{}",
        place.pod,
        pods.port(&service["targetPort"]).unwrap()
    );
    let password = fs::read_to_string(stage.manifests.secrets.join("password")).unwrap();
    let wish = json!({"user": "user-000001", "password": password.trim_end()});
    let login = reqwest::Client::new()
        .post(format!("{public}/login"))
        .json(&wish)
        .send()
        .await
        .unwrap();
    assert_eq!(login.status(), 200);
    assert_eq!(login.headers()["x-session-strategy"], strategy);

    // A run comes in by the admin port, through the agent.
    let token = fs::read_to_string(stage.manifests.secrets.join("admin.token")).unwrap();
    let admin = format!("http://{}:8090/nodes", place.pod);
    let nodes = reqwest::Client::new()
        .get(admin)
        .bearer_auth(token.trim_end())
        .send()
        .await
        .unwrap();
    assert_eq!(nodes.status(), 200);
    // And all agents are there for it.
    TcpStream::connect((place.pod, 7070)).unwrap();

    for (name, running) in [
        ("load-balancer", Some(balancer)),
        ("app", Some(node)),
        ("redis", store),
    ] {
        let status = running.map(Running::end);
        assert!(
            status.is_none_or(|status| status.success()),
            "{name}: {status:?}"
        );
    }
}

#[tokio::test]
async fn sticky_runs_as_told() {
    runs_as_told("sticky").await;
}

#[tokio::test]
async fn redis_runs_as_told() {
    runs_as_told("redis").await;
}

#[tokio::test]
async fn jwt_runs_as_told() {
    runs_as_told("jwt").await;
}
