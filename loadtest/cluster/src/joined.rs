//! A cluster in containers: somebody else has brought it up; for a run it is made what the scenario asks for, through its
//! agents, and afterwards it is put back.
//!
//! ```text
//! find the agents ─▶ claim the store ─▶ end every node ─▶ empty the store ─▶ start as many as the run wants, with its flags
//!                 ─▶ a fresh load balancer ─▶ the run ─▶ links healed, everything started as it was
//! ```
//! So each run begins with nodes that know nobody, as on loopback. What cannot be changed from here (CPU limits, which
//! load balancer, which ports) is the deployment's.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use agent::{AgentError, Remote};
use evidence::strategy::Table;
use futures_util::future::{join_all, try_join_all};
use tokio::time::timeout;

use super::{
    BalancerKind, ClusterError, ClusterSpec, GRACE, LOAD_BALANCER, LinkName, NodeState, Owed,
    Process, READY_WITHIN, STORE,
    deployment::{Deployment, resolve_one},
    emptying,
    files::{Listener, Node},
    owed::Debt,
    processes::node_flags,
    secrets::{self, Secrets},
    store::Store,
};

/// For everything to be put back. Less than the agent of a load test in a container waits for it to end.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(50);

/// An engine rounds a limit to whole microseconds of a period.
const LIMIT_TOLERANCE: f64 = 0.01;

/// Everything of a cluster that a run finds there.
pub(super) struct Found {
    pub(super) joined: Joined,
    pub(super) balancer: Process,
    pub(super) nodes: Vec<Process>,
    pub(super) node_addresses: Vec<Node>,
    pub(super) listeners: Vec<Listener>,
    pub(super) admin: SocketAddr,
    pub(super) store: Option<Store>,
    pub(super) secrets: Secrets,
}

/// All agents, and what is needed to leave everything as it was. Dropping it begins to put everything back.
pub(super) struct Joined {
    nodes: Vec<Remote>,
    balancer: Remote,
    store: Option<Remote>,
    /// Where each node of the run can be reached: the load balancer calls it by one of these.
    addresses: Vec<(String, Vec<IpAddr>)>,
    /// Opens the agents' control ports.
    token_file: PathBuf,
    owed: Owed,
    /// Whether anything has been changed.
    is_changed: bool,
}

impl Joined {
    /// Finds every agent, and makes the cluster what `spec` asks for.
    pub(super) async fn take(
        spec: &ClusterSpec,
        deployment: &Deployment,
        table: &Table,
    ) -> Result<Found, ClusterError> {
        check(spec, table)?;
        let secrets = Secrets::read(&deployment.secrets)?;
        let token = secrets::read(&deployment.secrets, secrets::AGENT_TOKEN)?;
        let remote = |name: String, address: SocketAddr| {
            Remote::new(name, format!("http://{address}"), &token, READY_WITHIN)
        };
        let agents = deployment.nodes.resolve().await?;
        let wanted = spec.nodes + spec.spare_nodes;
        if agents.len() < wanted {
            return Err(ClusterError::TooFewNodes {
                there: agents.len(),
                wanted,
            });
        }
        // Those that take no part have to be called something in errors, too.
        let names = (1..).map(|number| format!("node-{number}"));
        let nodes = names
            .zip(&agents)
            .map(|(name, address)| remote(name, *address))
            .collect::<Result<Vec<_>, _>>()?;
        let balancer = remote(
            LOAD_BALANCER.into(),
            resolve_one(&deployment.load_balancer).await?,
        )?;
        let store_agent = match &deployment.store {
            Some(store) => Some(remote(STORE.into(), resolve_one(store).await?)?),
            None => None,
        };
        let mut joined = Self {
            nodes,
            balancer,
            store: store_agent,
            addresses: vec![],
            token_file: deployment.secrets.join(secrets::AGENT_TOKEN),
            owed: deployment.owed(),
            is_changed: false,
        };
        let store = match (&joined.store, &deployment.store_address) {
            (Some(agent), Some(address)) if spec.has_store(table) => Some(Store {
                process: as_it_is(agent),
                address: resolve_one(address).await?,
                password: secrets::read(&deployment.secrets, secrets::REDIS_PASSWORD)?,
            }),
            _ if spec.has_store(table) => {
                return Err(ClusterError::Spec(
                    "the scenario needs a store, and the deployment has none".into(),
                ));
            }
            _ => None,
        };
        joined.prepare(spec, table, store.as_ref()).await?;
        let mut listeners = Vec::new();
        for strategy in &spec.strategies {
            listeners.push(Listener {
                strategy: strategy.clone(),
                address: resolve_one(deployment.listener(strategy)?).await?,
                affinity: table
                    .about(strategy)
                    .is_some_and(|about| about.needs_affinity),
                pin: None,
            });
        }
        let admin = resolve_one(&deployment.admin).await?;
        let nodes = &joined.nodes[..wanted];
        Ok(Found {
            balancer: as_it_is(&joined.balancer),
            nodes: nodes
                .iter()
                .map(|node| Process::There {
                    remote: node.clone(),
                    flags: node_flags(spec, node.name()),
                })
                .collect(),
            node_addresses: nodes
                .iter()
                .zip(&agents)
                .map(|(node, agent)| Node {
                    name: node.name().to_owned(),
                    address: SocketAddr::new(agent.ip(), deployment.node_port),
                })
                .collect(),
            listeners,
            admin,
            store,
            secrets,
            joined,
        })
    }

    /// From whatever state to fresh processes.
    async fn prepare(
        &mut self,
        spec: &ClusterSpec,
        table: &Table,
        store: Option<&Store>,
    ) -> Result<(), ClusterError> {
        let (taking_part, idle) = self.nodes.split_at(spec.nodes + spec.spare_nodes);
        let statuses = try_join_all(taking_part.iter().map(Remote::status)).await?;
        for (node, status) in taking_part.iter().zip(&statuses) {
            fits(spec.quota, status.cpu_limit, node.name())?;
        }
        if let Some(store) = store {
            if let Some(agent) = &self.store {
                bring_up(agent).await?;
            }
            emptying::claim(store, table).await?;
        }
        let mut debts: Vec<Debt> = self
            .store
            .iter()
            .map(|store| Debt::running(store, &self.token_file))
            .collect();
        debts.extend(
            self.nodes.iter().enumerate().map(|(index, node)| {
                Debt::fresh_start(node, statuses.get(index), &self.token_file)
            }),
        );
        debts.push(Debt::fresh_start(&self.balancer, None, &self.token_file));
        self.addresses = taking_part
            .iter()
            .zip(statuses)
            .map(|(node, status)| (node.name().to_owned(), status.addresses))
            .collect();
        // Until here no node was touched, and a refusal leaves the cluster alone.
        self.owed.owe(debts);
        self.is_changed = true;
        try_join_all(taking_part.iter().chain(idle).map(end)).await?;
        if let Some(store) = store {
            emptying::empty(store, table).await?;
        }
        let starting = taking_part[..spec.nodes].iter();
        try_join_all(starting.map(|node| node.start_with(node_flags(spec, node.name())))).await?;
        // It forgets whom it has ejected, and counts from zero.
        end(&self.balancer).await?;
        self.balancer.start().await?;
        Ok(())
    }

    /// What the load balancer says, in the names of the run; nodes that take no part are left out.
    pub(super) fn rename(&self, states: Vec<NodeState>) -> Vec<NodeState> {
        let known = states.into_iter().filter_map(|state| {
            let node = self.our_name(&state.node)?.to_owned();
            Some(NodeState { node, ..state })
        });
        known.collect()
    }

    /// What the load balancer calls a node of the run.
    pub(super) fn balancers_name(&self, node: &str, states: &[NodeState]) -> Option<String> {
        let mut names = states.iter().map(|state| &state.node);
        names
            .find(|name| self.our_name(name) == Some(node))
            .cloned()
    }

    /// A load balancer that has found its nodes by a name calls them by their addresses; one with a list, as the list does.
    fn our_name(&self, balancers: &str) -> Option<&str> {
        let address = balancers.parse::<SocketAddr>().map(|address| address.ip());
        let known = self
            .addresses
            .iter()
            .find(|(name, addresses)| match address {
                Ok(address) => addresses.contains(&address),
                Err(_) => name == balancers,
            });
        known.map(|(name, _)| name.as_str())
    }

    /// The agent that has the proxy on a link, and the proxy's name there: who or what is at the far end.
    pub(super) fn link<'a>(&'a self, link: &'a LinkName) -> Option<(&'a Remote, &'a str)> {
        let (node, far_end) = if link.from == LOAD_BALANCER {
            (&link.to, LOAD_BALANCER)
        } else {
            (&link.from, &*link.to)
        };
        let agent = self.nodes.iter().find(|agent| agent.name() == node)?;
        Some((agent, far_end))
    }

    /// CPU time of all proxies; `None` where there are none.
    pub(super) async fn links_cpu_us(&self) -> Option<u64> {
        let statuses = join_all(self.nodes.iter().map(Remote::status)).await;
        let used = statuses.into_iter().flatten();
        used.filter_map(|status| status.links.cpu_us)
            .reduce(|all, one| all + one)
    }

    /// Starts everything as the deployment has it.
    pub(super) async fn put_back(self) -> Result<(), ClusterError> {
        let owed = self.owed.clone();
        drop(self);
        owed.paid().await
    }
}

impl Drop for Joined {
    /// A drop cannot wait, and a run that was broken off must not be in the way of a second Ctrl-C: so the work is begun here,
    /// and whoever ends the run waits for it ([`Owed::paid`]).
    fn drop(&mut self) {
        if !self.is_changed {
            return;
        }
        let (nodes, balancer) = (self.nodes.clone(), self.balancer.clone());
        let (store, owed) = (self.store.clone(), self.owed.clone());
        let work = self.owed.clone();
        work.begin(async move {
            // What is not done by then stays in the list.
            let all = put_back(&nodes, &balancer, store.as_ref(), &owed);
            let _ = timeout(PUT_BACK_WITHIN, all).await;
        });
    }
}

/// A process that runs as the deployment has it.
fn as_it_is(agent: &Remote) -> Process {
    Process::There {
        remote: agent.clone(),
        flags: vec![],
    }
}

/// What a deployment decides for itself.
fn check(spec: &ClusterSpec, table: &Table) -> Result<(), ClusterError> {
    spec.check(table)?;
    let not_ours = |what: &str| {
        Err(ClusterError::Spec(format!(
            "{what}: that is decided by the deployment, and only on loopback by the scenario"
        )))
    };
    if spec.balancer != BalancerKind::Pingora {
        return not_ours("another load balancer");
    }
    if !spec.balancer_toml.is_empty() || spec.affinity.is_some() || spec.pin.is_some() {
        return not_ours("settings of the load balancer");
    }
    if !spec.env.is_empty() {
        return not_ours("the environment of the nodes");
    }
    Ok(())
}

/// A CPU limit is set by whoever starts the container; a scenario that wants one is only measured under that very one.
fn fits(wanted: Option<f64>, found: Option<f64>, node: &str) -> Result<(), ClusterError> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    if found.is_some_and(|found| (found / wanted - 1.0).abs() < LIMIT_TOLERANCE) {
        return Ok(());
    }
    let found = found.map_or_else(|| "no limit".into(), |cores| format!("{cores} cores"));
    Err(ClusterError::Spec(format!(
        "the scenario limits a node to {wanted} cores, and {node} has {found}: start the containers with that limit \
         (NODE_CPUS={wanted} docker-compose up -d)"
    )))
}

/// Ends a process that may be paused, or may not run.
async fn end(agent: &Remote) -> Result<(), AgentError> {
    heal(agent).await?;
    match agent.stop(GRACE).await {
        Ok(_) | Err(AgentError::NotRunning { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Starts a process that may be paused, or may run.
async fn bring_up(agent: &Remote) -> Result<(), AgentError> {
    heal(agent).await?;
    match agent.resume().await {
        Err(AgentError::NotRunning { .. }) => agent.start().await,
        resumed => resumed,
    }
}

async fn heal(agent: &Remote) -> Result<(), AgentError> {
    for link in agent.status().await?.links.open {
        if link.disturbance.is_some() {
            agent.undisturb(&link.name).await?;
        }
    }
    Ok(())
}

/// Starts a process anew, as the deployment has it. Everything is tried as long as its agent can be reached.
async fn renew(agent: &Remote) -> Result<(), AgentError> {
    let healed = heal(agent).await;
    if let Err(error @ AgentError::Unreachable { .. }) = healed {
        return Err(error);
    }
    let ended = agent.stop(GRACE).await;
    let started = agent.start_with(vec![]).await;
    // That it would not end is no matter once it has started again.
    started.map_err(|error| match ended {
        Err(earlier) if !matches!(earlier, AgentError::NotRunning { .. }) => earlier,
        _ => error,
    })?;
    healed
}

/// Everything, also when one does not obey. The load balancer comes last: it forgets whom it was told to drain, and finds the
/// nodes as they are.
async fn put_back(nodes: &[Remote], balancer: &Remote, store: Option<&Remote>, owed: &Owed) {
    if let Some(store) = store {
        owed.settle(store.name(), bring_up(store).await);
    }
    join_all(nodes.iter().map(async |node| {
        owed.settle(node.name(), renew(node).await);
    }))
    .await;
    owed.settle(balancer.name(), renew(balancer).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_with_a_cpu_limit_wants_that_very_limit() {
        assert!(fits(None, Some(1.0), "node-1").is_ok());
        assert!(fits(Some(0.1), Some(0.0999), "node-1").is_ok());
        let error = fits(Some(0.1), Some(1.0), "node-2")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("node-2 has 1 cores") && error.contains("NODE_CPUS=0.1"),
            "{error}"
        );
        assert!(fits(Some(0.1), None, "node-1").is_err());
    }
}
