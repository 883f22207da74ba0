//! A stack of the real `docker-compose.yml`: under a project name of its own, on an address of its own, gone afterwards.
//!
//! Where no Docker Engine answers, or the images are not built, tests that need them say so and pass, unless `CI` is set
//! or `LAB_DOCKER=required`: then the images are built, and a missing engine is a failure.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agent::ports;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{User, client, eventually, own_address};

const IMAGES: [&str; 4] = ["app", "load-balancer", "loadtest", "redis"];

/// The label that Compose puts on everything that belongs to a project.
const LABEL: &str = "label=com.docker.compose.project";

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What there is to run Compose with: docker-compose 1.29, or the plugin of today.
pub fn program() -> Option<&'static [&'static str]> {
    const PROGRAMS: [&[&str]; 2] = [&["docker-compose"], &["docker", "compose"]];
    PROGRAMS
        .into_iter()
        .find(|words| succeeds(words[0], &[&words[1..], &["version"]].concat()))
}

/// Whether tests with containers can run; `false` when they are to be skipped, with the reason printed.
pub fn is_possible() -> bool {
    let required = std::env::var_os("CI").is_some()
        || std::env::var("LAB_DOCKER").is_ok_and(|wish| wish == "required");
    let lacking = if program().is_none() {
        "there is neither docker-compose nor the Compose plugin"
    } else if !succeeds("docker", &["version"]) {
        "no Docker Engine answers"
    } else if is_built() {
        return true;
    } else if required {
        let build = root().join("deploy/images/build");
        let done = Command::new(build).status().expect("bash is there");
        assert!(done.success(), "deploy/images/build failed, see above");
        return true;
    } else {
        "the images are not built (deploy/images/build does it)"
    };
    assert!(
        !required,
        "{lacking}, and CI or LAB_DOCKER wants containers"
    );
    println!("SKIPPED: {lacking}");
    false
}

/// What Compose takes where nobody has chosen otherwise: `${NAME:-default}`.
pub fn chosen(text: &str) -> String {
    let mut parts = text.split("${");
    let start = parts.next().unwrap_or_default().to_owned();
    parts.fold(start, |all, part| {
        let (choice, rest) = part.split_once('}').expect("a closing brace");
        let (_, default) = choice.split_once(":-").expect("a default");
        all + default + rest
    })
}

fn is_built() -> bool {
    IMAGES.iter().all(|image| {
        succeeds(
            "docker",
            &["image", "inspect", &format!("session-lab/{image}")],
        )
    })
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs `docker` with these arguments; what it printed. It must succeed.
pub async fn docker(arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    command.args(arguments);
    printed(run(command).await)
}

async fn run(mut command: Command) -> Output {
    let output = spawn_blocking(move || command.output()).await;
    output.expect("no panic").expect("the program is there")
}

fn printed(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// A project that runs. Dropping it takes it down with its volumes.
pub struct Stack {
    project: String,
    files: Vec<&'static str>,
    environment: Vec<(String, String)>,
    address: IpAddr,
    ports: [u16; 3],
}

impl Stack {
    /// Brings up what `docker-compose.yml` and `overlays` say, with `more` in the environment, and waits until every container is healthy.
    pub async fn up(overlays: &[&'static str], more: &[(&str, &str)]) -> Self {
        let address = IpAddr::from(own_address());
        let ports = [(); 3].map(|()| ports::free(address).expect("a free port"));
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut environment: Vec<_> = more.iter().copied().map(text).collect();
        environment.push(("BIND".into(), address.to_string()));
        let number = address_number(address);
        let (high, low) = ((number >> 16) & 0xff, number & 0xffff);
        environment.push(("IPV6_NET".into(), format!("fd00:{high:x}:{low:x}")));
        for (name, port) in ["PORT_STICKY", "PORT_REDIS", "PORT_JWT"].iter().zip(ports) {
            environment.push(((*name).into(), port.to_string()));
        }
        let stack = Self {
            project: format!("labtest{:08x}", address_number(address)),
            files: [&["docker-compose.yml"], overlays].concat(),
            environment,
            address,
            ports,
        };
        stack.compose(&["up", "-d"]).await;
        stack.wait_until_healthy().await;
        stack
    }

    /// Runs Compose on this project; what it printed. It must succeed.
    pub async fn compose(&self, arguments: &[&str]) -> String {
        printed(run(self.command(arguments)).await)
    }

    /// The same, also where it does not succeed.
    pub async fn try_compose(&self, arguments: &[&str]) -> Output {
        run(self.command(arguments)).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = program().expect("asked before");
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).current_dir(root());
        for file in &self.files {
            command.args(["-f", file]);
        }
        command.args(["-p", &self.project]).args(arguments);
        command.envs(self.environment.iter().cloned());
        // On a busy machine a container takes its time to start.
        command.env("COMPOSE_HTTP_TIMEOUT", "300");
        command
    }

    /// Waits until every container with a health check passes it.
    pub async fn wait_until_healthy(&self) {
        eventually("every container is healthy", async || {
            let containers = self.containers(None).await;
            let mut checked = containers
                .iter()
                .filter_map(|one| one["State"]["Health"]["Status"].as_str());
            checked.all(|status| status == "healthy").then_some(())
        })
        .await;
    }

    /// What `docker inspect` says of every running container, or of those of one service.
    pub async fn containers(&self, service: Option<&str>) -> Vec<Value> {
        let project = format!("{LABEL}={}", self.project);
        let service = service.map(|name| format!("label=com.docker.compose.service={name}"));
        let mut arguments = vec!["ps", "--quiet", "--filter", &project];
        if let Some(service) = &service {
            arguments.extend(["--filter", service]);
        }
        let ids = docker(&arguments).await;
        if ids.is_empty() {
            return Vec::new();
        }
        let all = docker(&[&["inspect"], &*ids.lines().collect::<Vec<_>>()].concat()).await;
        serde_json::from_str(&all).expect("JSON")
    }

    /// A file of a container that runs.
    pub async fn read(&self, service: &str, path: &str) -> String {
        let containers = self.containers(Some(service)).await;
        let id = containers[0]["Id"].as_str().expect("an id");
        docker(&["exec", id, "cat", path]).await
    }

    /// The address of a container in one of the project's networks; `None` when it is not in there.
    pub fn address_in(&self, container: &Value, network: &str, port: u16) -> Option<SocketAddr> {
        self.place(container, network, "IPAddress", port)
    }

    /// The same of IPv6; `None` also when the network has none.
    pub fn ipv6_in(&self, container: &Value, network: &str, port: u16) -> Option<SocketAddr> {
        self.place(container, network, "GlobalIPv6Address", port)
    }

    fn place(&self, container: &Value, network: &str, key: &str, port: u16) -> Option<SocketAddr> {
        let name = self.network(network);
        let address = container["NetworkSettings"]["Networks"][&name][key].as_str()?;
        Some(SocketAddr::new(address.parse().ok()?, port))
    }

    /// What the engine calls one of the project's networks.
    pub fn network(&self, network: &str) -> String {
        format!("{}_{network}", self.project)
    }

    /// The public URL of a strategy.
    pub fn url(&self, strategy: &str) -> String {
        let index = crate::STRATEGIES.iter().position(|one| *one == strategy);
        format!(
            "http://{}:{}",
            self.address,
            self.ports[index.expect("known")]
        )
    }

    /// The address that the public ports are on.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A user who is not logged in yet.
    pub fn user(&self, strategy: &str, number: u32, password: &str) -> User {
        User {
            client: client(),
            base: self.url(strategy),
            direct: None,
            name: format!("user-{number:06}"),
            password: password.to_owned(),
            token: None,
            cart_token: None,
        }
    }

    /// Takes it down with its volumes, as a user does; what is left of the project.
    pub async fn down(&self) -> String {
        self.compose(&["down", "--volumes"]).await;
        let project = format!("{LABEL}={}", self.project);
        let mut left = docker(&["ps", "--all", "--quiet", "--filter", &project]).await;
        for kind in ["network", "volume"] {
            left += &docker(&[kind, "ls", "--quiet", "--filter", &project]).await;
        }
        left
    }
}

fn address_number(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(_) => 0,
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self
                .command(&["logs", "--no-color", "--tail", "40"])
                .output();
            let logs = logs.map(|output| output.stdout).unwrap_or_default();
            eprintln!("{}", String::from_utf8_lossy(&logs));
        }
        // An engine that is busy may answer too late, and Compose gives up.
        for _ in 0..3 {
            let arguments = ["down", "--volumes", "--remove-orphans", "--timeout", "1"];
            let output = self.command(&arguments).output();
            if output.is_ok_and(|output| output.status.success()) {
                return;
            }
        }
        eprintln!("project {} could not be taken down", self.project);
    }
}
