//! A whole cluster: store, nodes, load balancer, each a real process with an agent beside it. On loopback it is brought up
//! here; a cluster in containers is joined.
//!
//! [`Cluster::start`] makes a temporary folder with fresh secrets, starts store and nodes at the same time, then the
//! load balancer, and returns when every listener answers. Used by `lab up`, by runs, and by the black-box tests.
//! Whatever happens (an error in the middle, a cancelled start, a panic), dropping the cluster kills every process and
//! removes the folder. [`Cluster::join`] makes a cluster that is there already fit for a run, and dropping that puts it back. What users do to the cluster, and which faults hit it, is the business of others.
//!
//! # Layout
//! * [`spec`]: what is wanted, and the checks that need no process.
//! * `files` and `secrets`: what the processes read; `programs`: where the programs are; `processes`: how they are started.
//! * [`store`]: the Redis, and what it says about itself.
//! * [`balancer`]: what the load balancer says about nodes, and orders to it; `haproxy`: another one in its place.
//! * [`links`]: the proxies on links that are to be disturbed.
//! * [`process`]: a process with its agent, here or in a container; [`deployment`]: where containers are; `joined`: how they
//!   are made fit for a run; `emptying`: the store is emptied for it; `owed`: what has to be put back afterwards.
//! * [`error`]: why a cluster did not come up. [`faults`]: what is done to a cluster that runs, each with the evidence that it took
//!   effect. [`leftovers`]: what a lab that was killed has left. [`clock`]: the one clock of a run.

pub mod balancer;
pub mod clock;
pub mod deployment;
mod emptying;
pub mod error;
pub mod faults;
mod files;
mod haproxy;
mod joined;
pub mod leftovers;
pub mod links;
mod owed;
pub mod process;
mod processes;
mod programs;
pub mod secrets;
pub mod spec;
pub mod store;

use std::{net::SocketAddr, path::Path, time::Duration};

use agent::{Agent, AgentError, Ready};
use evidence::strategy::{About, Table};
use futures_util::future::{join_all, try_join_all};
use tempfile::TempDir;

use self::{
    balancer::AdminPort,
    files::{Listener, Node},
    joined::Joined,
    links::{Proxies, Proxy},
    processes::{balancer_process, free_address, front, node_process, public_address},
    programs::Programs,
    secrets::Secrets,
    store::Store,
};
pub use self::{
    balancer::{NodeState, Order},
    clock::Clock,
    deployment::Deployment,
    error::ClusterError,
    owed::Owed,
    process::Process,
    programs::{describe, ours},
    spec::{BalancerKind, ClusterSpec, LOAD_BALANCER, LinkName, STORE},
    store::StoreInfo,
};

/// For a process to become ready. Generous: it only matters when something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// For a process to end after SIGTERM: more than the ten seconds that a node gives to running requests.
pub const GRACE: Duration = Duration::from_secs(15);

/// A cluster that runs.
///
/// The order of the fields is the order in which they are dropped: nobody sends to what is gone already.
pub struct Cluster {
    balancer: Process,
    /// Spare ones last.
    nodes: Vec<Process>,
    /// How many of them run from the start.
    first_nodes: usize,
    store: Option<Store>,
    /// Whether a strategy keeps its state there.
    store_is_used: bool,
    table: Table,
    proxies: Option<Proxies>,
    /// Where it was found and not brought up.
    joined: Option<Joined>,
    listeners: Vec<Listener>,
    node_addresses: Vec<Node>,
    admin: SocketAddr,
    admin_port: AdminPort,
    secrets: Secrets,
    dir: TempDir,
}

impl Cluster {
    /// Brings it up. Cancelling leaves nothing behind.
    pub async fn start(spec: ClusterSpec) -> Result<Self, ClusterError> {
        let table = describe(spec.shop.as_deref()).await?;
        let spec = spec.resolved(&table);
        let cluster = Self::prepare(&spec, table)?;
        try_join_all(
            cluster
                .store()
                .into_iter()
                .chain(&cluster.nodes[..cluster.first_nodes])
                .map(Process::start),
        )
        .await?;
        cluster.balancer.start().await?;
        cluster.serves().await?;
        Ok(cluster)
    }

    /// Joins a cluster in containers and makes it what `spec` asks for. Dropping it puts the cluster back.
    pub async fn join(spec: &ClusterSpec, deployment: &Deployment) -> Result<Self, ClusterError> {
        let table = describe(spec.shop.as_deref()).await?;
        let found = Joined::take(spec, deployment, &table).await?;
        let cluster = Self {
            admin_port: AdminPort::Http {
                address: found.admin,
                token: found.secrets.admin_token.clone(),
            },
            balancer: found.balancer,
            nodes: found.nodes,
            first_nodes: spec.nodes,
            store: found.store,
            store_is_used: spec.needs_store(&table),
            table,
            proxies: None,
            joined: Some(found.joined),
            listeners: found.listeners,
            node_addresses: found.node_addresses,
            admin: found.admin,
            secrets: found.secrets,
            dir: files::folder()?,
        };
        for link in &spec.links {
            cluster.has_proxy(link).await?;
        }
        cluster.serves().await?;
        Ok(cluster)
    }

    /// Whether the deployment has put a proxy there.
    async fn has_proxy(&self, link: &LinkName) -> Result<(), ClusterError> {
        let missing = || {
            ClusterError::Spec(format!(
                "no proxy stands on the link {link}: bring the cluster up with the overlay deploy/compose/chaos.yml"
            ))
        };
        match self.link(link).ok_or_else(missing)? {
            Proxy::Here(_) => Ok(()),
            Proxy::There(agent, name) => {
                let links = agent.status().await?.links.open;
                links
                    .iter()
                    .any(|open| open.name == name)
                    .then_some(())
                    .ok_or_else(missing)
            }
        }
    }

    /// Waits until the load balancer passes requests on at every listener.
    pub async fn serves(&self) -> Result<(), ClusterError> {
        try_join_all(self.listeners.iter().map(Listener::serves))
            .await
            .map(drop)
    }

    /// Everything before the first process: checks, addresses, files, proxies, agents.
    fn prepare(spec: &ClusterSpec, table: Table) -> Result<Self, ClusterError> {
        spec.check(&table)?;
        let programs = Programs::find(spec, programs::shop(spec.shop.as_deref())?, &table)?;
        let listeners = spec
            .strategies
            .iter()
            .zip(&spec.public_ports)
            .map(|(strategy, port)| {
                Ok(Listener {
                    strategy: strategy.clone(),
                    address: public_address(spec, strategy, *port)?,
                    affinity: spec.affinity.unwrap_or_else(|| {
                        let about = table.about(strategy);
                        about.is_some_and(|about| about.needs_affinity)
                    }),
                    pin: spec.pin,
                })
            })
            .collect::<Result<Vec<_>, ClusterError>>()?;
        let node_addresses = spec
            .node_names()
            .map(|name| {
                Ok(Node {
                    name,
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
        let proxies = Proxies::open(spec, &node_addresses, store.as_ref())?;
        let nodes = node_addresses
            .iter()
            .map(|node| {
                // The store's password is in its URL: an environment is private, a command line is not.
                let store = store.as_ref().filter(|_| spec.needs_store(&table));
                let url = store.map(|store| {
                    let direct = store.address;
                    store.url(links::way(proxies.as_ref(), &node.name, STORE).unwrap_or(direct))
                });
                let process = node_process(spec, node, &programs.shop, dir.path(), url);
                Process::Here(Agent::new(process))
            })
            .collect();
        let seen_by_balancer: Vec<Node> = node_addresses
            .iter()
            .map(|node| Node {
                name: node.name.clone(),
                address: links::way(proxies.as_ref(), LOAD_BALANCER, &node.name)
                    .unwrap_or(node.address),
            })
            .collect();
        let (args, admin_port) = front(
            spec,
            admin,
            &seen_by_balancer,
            &listeners,
            &secrets,
            dir.path(),
        )?;
        Ok(Self {
            balancer: Process::Here(Agent::new(balancer_process(
                args,
                admin,
                programs.balancer,
                dir.path(),
            ))),
            nodes,
            first_nodes: spec.nodes,
            store,
            store_is_used: spec.needs_store(&table),
            table,
            proxies,
            joined: None,
            listeners,
            node_addresses,
            admin,
            admin_port,
            secrets,
            dir,
        })
    }

    /// Ends balancer, nodes and store, in this order and each in its own time, and removes the folder.
    /// Cancelling kills what still runs. A cluster that was joined is put back instead.
    pub async fn shutdown(mut self) -> Result<(), ClusterError> {
        if let Some(joined) = self.joined.take() {
            return joined.put_back().await;
        }
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

    /// What a strategy says of itself.
    pub fn about(&self, strategy: &str) -> Option<&About> {
        self.table.about(strategy)
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&Process> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// All nodes, spare ones last.
    pub fn nodes(&self) -> &[Process] {
        &self.nodes
    }

    /// How many nodes run from the start; the others are spare ones.
    pub fn first_nodes(&self) -> usize {
        self.first_nodes
    }

    /// A node, [`STORE`] or [`LOAD_BALANCER`].
    pub fn process(&self, name: &str) -> Option<&Process> {
        match name {
            STORE => self.store(),
            LOAD_BALANCER => Some(&self.balancer),
            node => self.node(node),
        }
    }

    /// The proxy on a link, where the spec asks for one.
    pub fn link<'a>(&'a self, name: &'a LinkName) -> Option<Proxy<'a>> {
        if let Some(joined) = &self.joined {
            let (agent, far_end) = joined.link(name)?;
            return Some(Proxy::There(agent, far_end));
        }
        let link = self.proxies.as_ref()?.get(&name.from, &name.to)?;
        Some(Proxy::Here(link))
    }

    /// CPU time that the proxies on links have used; `None` where there are none.
    pub async fn links_cpu_us(&self) -> Option<u64> {
        match (&self.proxies, &self.joined) {
            (Some(proxies), _) => proxies.cpu_us().await,
            (None, Some(joined)) => joined.links_cpu_us().await,
            (None, None) => None,
        }
    }

    /// How the load balancer sees every node, at every listener.
    pub async fn node_states(&self) -> Result<Vec<NodeState>, ClusterError> {
        let states = self.admin_port.nodes().await?;
        Ok(match &self.joined {
            Some(joined) => {
                // The deployment has listeners that this run does not use.
                let mut states = joined.rename(states);
                states.retain(|state| self.strategies().any(|name| name == state.listener));
                states
            }
            None => states,
        })
    }

    /// Tells the load balancer what to do with a node, at every listener.
    pub async fn order(&self, node: &str, order: Order) -> Result<(), ClusterError> {
        let known = match &self.joined {
            Some(joined) => joined.balancers_name(node, &self.admin_port.nodes().await?),
            None => Some(node.to_owned()),
        };
        let node = known.ok_or_else(|| {
            ClusterError::Admin(format!("the load balancer does not know {node}"))
        })?;
        self.admin_port.order(&node, order, self.strategies()).await
    }

    /// The load balancer.
    pub fn balancer(&self) -> &Process {
        &self.balancer
    }

    /// The store, where there is one.
    pub fn store(&self) -> Option<&Process> {
        self.store.as_ref().map(|store| &store.process)
    }

    /// Where the store listens.
    pub fn store_address(&self) -> Option<SocketAddr> {
        self.store.as_ref().map(|store| store.address)
    }

    /// What the store says about itself; `None` where no strategy uses one: then its figures are about nobody.
    pub async fn store_info(&self) -> Result<Option<StoreInfo>, ClusterError> {
        match &self.store {
            Some(store) if self.store_is_used => store.info().await.map(Some),
            _ => Ok(None),
        }
    }

    /// CPU time of the store; `None` where no strategy uses one.
    pub async fn store_cpu_us(&self) -> Result<Option<u64>, ClusterError> {
        match &self.store {
            Some(store) if self.store_is_used => Ok(Some(store.process.usage().await?.cpu_us)),
            _ => Ok(None),
        }
    }

    /// What makes the store answer a client that knows its password.
    pub(crate) fn store_password(&self) -> Option<&str> {
        self.store.as_ref().map(|store| store.password.as_str())
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
    /// Waits until the load balancer passes requests on, which it does to nodes that are ready for the strategy.
    async fn serves(&self) -> Result<(), ClusterError> {
        let through_the_balancer = Ready::Http {
            address: self.address,
            path: "/plain".into(),
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
async fn stop(process: &Process) -> Result<(), ClusterError> {
    match process.stop(GRACE).await {
        Ok(_) | Err(AgentError::NotRunning { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
