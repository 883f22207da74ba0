//! The whole cluster on loopback: store, nodes, load balancer, each a real process with an agent beside it.
//!
//! [`Cluster::start`] makes a temporary folder with fresh secrets, starts store and nodes at the same time, then the
//! load balancer, and returns when every listener answers. Used by `lab up`, by runs, and by the black-box tests.
//! Whatever happens (an error in the middle, a cancelled start, a panic), dropping the cluster kills every process and
//! removes the folder. What users do to the cluster, and which faults hit it, is the business of others.
//!
//! # Layout
//! * [`spec`]: what is wanted, and the checks that need no process.
//! * `files`: what the processes read: secrets and configurations; `programs`: where the programs are.
//! * [`store`]: the Redis, and what it says about itself.
//! * [`error`]: why a cluster did not come up.

pub mod error;
pub(crate) mod files;
mod programs;
pub mod spec;
pub mod store;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use agent::{Agent, ProcessSpec, Ready, ports};
use futures_util::future::{join_all, try_join_all};
use tempfile::TempDir;

pub use self::{error::ClusterError, spec::ClusterSpec, store::StoreInfo};
use self::{
    files::{BalancerConfig, Listener, Node, Secrets},
    programs::Programs,
    store::Store,
};

/// For a process to become ready. Generous: it only matters when something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// For a process to end after SIGTERM: more than the ten seconds that a node gives to running requests.
const GRACE: Duration = Duration::from_secs(15);

/// A cluster that runs.
///
/// The order of the fields is the order in which they are dropped: nobody sends to what is gone already.
pub struct Cluster {
    balancer: Agent,
    nodes: Vec<Agent>,
    store: Option<Store>,
    listeners: Vec<Listener>,
    node_addresses: Vec<Node>,
    admin: SocketAddr,
    secrets: Secrets,
    dir: TempDir,
}

impl Cluster {
    /// Brings it up. Cancelling leaves nothing behind.
    pub async fn start(spec: ClusterSpec) -> Result<Self, ClusterError> {
        let cluster = Self::prepare(&spec)?;
        try_join_all(
            cluster
                .store()
                .into_iter()
                .chain(&cluster.nodes)
                .map(Agent::start),
        )
        .await?;
        cluster.balancer.start().await?;
        try_join_all(cluster.listeners.iter().map(Listener::serves)).await?;
        Ok(cluster)
    }

    /// Everything before the first process: checks, addresses, files, agents.
    fn prepare(spec: &ClusterSpec) -> Result<Self, ClusterError> {
        spec.check()?;
        let programs = Programs::find(spec.needs_redis())?;
        let listeners = spec
            .strategies
            .iter()
            .zip(&spec.public_ports)
            .map(|(strategy, port)| {
                Ok(Listener {
                    strategy: strategy.clone(),
                    address: public_address(spec, strategy, *port)?,
                    affinity: spec.affinity,
                })
            })
            .collect::<Result<Vec<_>, ClusterError>>()?;
        let node_addresses = (1..=spec.nodes)
            .map(|number| {
                Ok(Node {
                    name: format!("node-{number}"),
                    address: free_address(spec)?,
                })
            })
            .collect::<Result<Vec<_>, ClusterError>>()?;
        let admin = free_address(spec)?;

        let dir = files::folder()?;
        let secrets = Secrets::write(dir.path(), spec.password.as_deref())?;
        let store = match programs.redis {
            Some(program) => Some(Store::prepare(program, free_address(spec)?, dir.path())?),
            None => None,
        };
        let nodes = node_addresses
            .iter()
            .map(|node| {
                Agent::new(node_process(
                    spec,
                    node,
                    &programs.shop,
                    dir.path(),
                    store.as_ref(),
                ))
            })
            .collect();
        let config = BalancerConfig {
            admin,
            nodes: &node_addresses,
            listeners: &listeners,
            more: &spec.balancer_toml,
        };
        let config = config.write(dir.path())?;
        let balancer = Agent::new(balancer_process(
            &config,
            admin,
            programs.balancer,
            dir.path(),
        ));
        Ok(Self {
            balancer,
            nodes,
            store,
            listeners,
            node_addresses,
            admin,
            secrets,
            dir,
        })
    }

    /// Ends balancer, nodes and store, in this order and each in its own time, and removes the folder.
    /// Cancelling kills what still runs.
    pub async fn shutdown(self) -> Result<(), ClusterError> {
        let balancer = stop(&self.balancer).await;
        let nodes = join_all(self.nodes.iter().map(stop)).await;
        let store = match self.store() {
            Some(store) => stop(store).await,
            None => Ok(()),
        };
        for outcome in [balancer].into_iter().chain(nodes).chain([store]) {
            outcome?;
        }
        let path = self.dir.path().to_owned();
        let Self { dir, .. } = self;
        dir.close()
            .map_err(|source| ClusterError::File { path, source })
    }

    /// The base address for a strategy, through the load balancer: `http://127.0.0.1:8081`.
    ///
    /// # Panics
    /// When the cluster was started without that strategy: a mistake in the calling code.
    pub fn url(&self, strategy: &str) -> String {
        let listener = self
            .listeners
            .iter()
            .find(|listener| listener.strategy == strategy);
        match listener {
            Some(listener) => format!("http://{}", listener.address),
            None => panic!("the cluster serves no strategy {strategy:?}"),
        }
    }

    /// The base address of a node, past the load balancer.
    ///
    /// # Panics
    /// When there is no such node: a mistake in the calling code.
    pub fn node_url(&self, name: &str) -> String {
        let node = self.node_addresses.iter().find(|node| node.name == name);
        match node {
            Some(node) => format!("http://{}", node.address),
            None => panic!("the cluster has no node {name:?}"),
        }
    }

    /// The strategies that are served, in the order of the spec.
    pub fn strategies(&self) -> impl Iterator<Item = &str> {
        self.listeners
            .iter()
            .map(|listener| listener.strategy.as_str())
    }

    /// The agent beside a node.
    pub fn node(&self, name: &str) -> Option<&Agent> {
        self.nodes.iter().find(|node| node.spec().name == name)
    }

    /// The agents beside all nodes.
    pub fn nodes(&self) -> &[Agent] {
        &self.nodes
    }

    /// The agent beside the load balancer.
    pub fn balancer(&self) -> &Agent {
        &self.balancer
    }

    /// The agent beside the store, where a strategy needs one.
    pub fn store(&self) -> Option<&Agent> {
        self.store.as_ref().map(|store| &store.agent)
    }

    /// Where the store listens.
    pub fn store_address(&self) -> Option<SocketAddr> {
        self.store.as_ref().map(|store| store.address)
    }

    /// What the store says about itself; `None` where there is no store.
    pub async fn store_info(&self) -> Result<Option<StoreInfo>, ClusterError> {
        match &self.store {
            Some(store) => store.info().await.map(Some),
            None => Ok(None),
        }
    }

    /// The base address of the load balancer's admin port; it wants [`admin_token`](Self::admin_token).
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Opens the load balancer's admin port.
    pub fn admin_token(&self) -> &str {
        &self.secrets.admin_token
    }

    /// Opens the nodes' operator calls.
    pub fn operator_token(&self) -> &str {
        &self.secrets.operator_token
    }

    /// The password of every demo account.
    pub fn password(&self) -> &str {
        &self.secrets.password
    }

    /// The key that signs tokens.
    pub fn jwt_key(&self) -> &[u8] {
        self.secrets.jwt_key.as_bytes()
    }

    /// The key of the affinity cookie.
    pub fn affinity_key(&self) -> &[u8] {
        self.secrets.affinity_key.as_bytes()
    }

    /// The temporary folder with logs, configurations and secrets; gone after the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Listener {
    /// Waits until the load balancer passes requests on: a node's own readiness, asked through the listener.
    async fn serves(&self) -> Result<(), ClusterError> {
        let through_the_balancer = Ready::Http {
            address: self.address,
            path: "/readyz".into(),
        };
        through_the_balancer
            .wait(READY_WITHIN)
            .await
            .map_err(|problem| ClusterError::NotServing {
                strategy: self.strategy.clone(),
                problem,
            })
    }
}

/// Ends a process that may have ended already, by a fault or by hand.
async fn stop(agent: &Agent) -> Result<(), ClusterError> {
    if agent.is_running() {
        agent.stop(GRACE).await?;
    }
    Ok(())
}

fn node_process(
    spec: &ClusterSpec,
    node: &Node,
    program: &Path,
    dir: &Path,
    store: Option<&Store>,
) -> ProcessSpec {
    let mut args = vec![
        format!("--listen={}", node.address),
        format!("--node-name={}", node.name),
        format!("--strategies={}", spec.strategies.join(",")),
        format!("--accounts={}", spec.accounts),
        format!("--password-memory-kib={}", spec.password_memory_kib),
        format!("--password-iterations={}", spec.password_iterations),
        format!("--work-us={}", spec.work_us),
        format!("--password-file={}", dir.join(files::PASSWORD).display()),
        format!("--jwt-key-file={}", dir.join(files::JWT_KEY).display()),
        format!(
            "--operator-token-file={}",
            dir.join(files::OPERATOR_TOKEN).display()
        ),
    ];
    args.extend_from_slice(&spec.shop_args);
    ProcessSpec {
        name: node.name.clone(),
        program: program.to_owned(),
        args,
        // The store's password is in its URL: an environment is private, a command line is not.
        env: store
            .map(|store| ("SHOP_REDIS_URL".into(), store.url()))
            .into_iter()
            .chain([no_color(), no_huge_pages(), no_address_limit()])
            .chain(spec.env.iter().cloned())
            .collect(),
        log: dir.join(format!("{}.log", node.name)),
        ready: Ready::Http {
            address: node.address,
            path: "/readyz".into(),
        },
        ready_within: READY_WITHIN,
    }
}

fn balancer_process(config: &Path, admin: SocketAddr, program: PathBuf, dir: &Path) -> ProcessSpec {
    ProcessSpec {
        name: "load-balancer".into(),
        program,
        args: vec![format!("--config={}", config.display())],
        env: vec![no_color()],
        log: dir.join("load-balancer.log"),
        ready: Ready::Http {
            address: admin,
            path: "/healthz".into(),
        },
        ready_within: READY_WITHIN,
    }
}

/// Logs go into files, and their last lines into errors: no colours.
fn no_color() -> (String, String) {
    ("NO_COLOR".into(), "1".into())
}

fn free_address(spec: &ClusterSpec) -> Result<SocketAddr, ClusterError> {
    let ip = IpAddr::from(spec.ip);
    let port = ports::free(ip).map_err(|source| ClusterError::NoPort { ip, source })?;
    Ok(SocketAddr::new(ip, port))
}

/// Nodes grow by pages of 4 KiB. With transparent huge pages they would grow by 2 MiB or not at all,
/// and what a session takes could not be seen. (Redis does the same for itself.)
fn no_huge_pages() -> (String, String) {
    ("MIMALLOC_ALLOW_THP".into(), "0".into())
}

/// All users of a load test come from one address, and many of them log in at the same time. In the environment, so that
/// a flag among `shop_args` can still set a limit.
fn no_address_limit() -> (String, String) {
    ("SHOP_LOGIN_ATTEMPTS_PER_ADDRESS".into(), "0".into())
}

/// The wanted port if nobody has it, or any where the spec says 0.
fn public_address(
    spec: &ClusterSpec,
    strategy: &str,
    port: u16,
) -> Result<SocketAddr, ClusterError> {
    if port == 0 {
        return free_address(spec);
    }
    let address = SocketAddr::new(spec.ip.into(), port);
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(address),
        Err(source) => Err(ClusterError::PortTaken {
            strategy: strategy.to_owned(),
            address,
            owner: ports::owner(address),
            source,
        }),
    }
}
