//! What is done to all nodes: more or fewer of them, and a restart of each, one after the other.
//!
//! Nodes always leave with SIGTERM, and the next step waits until the load balancer has seen the last one: what an operator
//! with patience would do.

use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};

use super::fault::FaultAction;
use super::{FaultError, order::seen};
use crate::{Cluster, GRACE, Process};

/// The nodes.
pub(super) struct Fleet<'a> {
    cluster: &'a Cluster,
    action: FaultAction,
    begun: Instant,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(cluster: &'a Cluster, action: FaultAction) -> Self {
        Self {
            cluster,
            action,
            begun: Instant::now(),
        }
    }

    pub(super) async fn command(&mut self) -> Result<String, FaultError> {
        self.begun = Instant::now();
        let first = self.cluster.first_nodes();
        if let FaultAction::Scale { nodes } = self.action {
            return self.change(first, nodes).await;
        }
        let node = &self.cluster.nodes()[0];
        end(node).await?;
        Ok(format!("{} ended by itself", node.name()))
    }

    pub(super) async fn undo(&mut self) -> Result<String, FaultError> {
        let first = self.cluster.first_nodes();
        match self.action {
            FaultAction::Scale { nodes } => self.change(nodes, first).await,
            _ => self.roll_on().await,
        }
    }

    /// Brings the first node back, and restarts the others.
    async fn roll_on(&self) -> Result<String, FaultError> {
        let nodes = &self.cluster.nodes()[..self.cluster.first_nodes()];
        for (index, node) in nodes.iter().enumerate() {
            // The first one has been ended by the command.
            if index > 0 {
                end(node).await?;
            }
            node.start().await?;
            seen(self.cluster, node.name(), "up").await?;
        }
        Ok(format!(
            "all {} nodes have ended by themselves, are ready and called up by the load balancer, {:.1} s after the first was told to end",
            nodes.len(),
            self.begun.elapsed().as_secs_f64()
        ))
    }

    /// From so many nodes to so many.
    async fn change(&self, from: usize, to: usize) -> Result<String, FaultError> {
        let range = from.min(to)..from.max(to);
        let nodes = &self.cluster.nodes()[range];
        let word = if to > from {
            try_join_all(nodes.iter().map(Process::start)).await?;
            "up"
        } else {
            // All of them, also when one does not obey.
            let ended = join_all(nodes.iter().map(end)).await;
            ended.into_iter().collect::<Result<(), _>>()?;
            "down"
        };
        let mut evidence = Vec::new();
        for node in nodes {
            evidence.push(seen(self.cluster, node.name(), word).await?);
        }
        Ok(evidence.join("; "))
    }
}

/// SIGTERM, and nothing worse.
async fn end(node: &Process) -> Result<(), FaultError> {
    let status = node.stop(GRACE).await?;
    if status.signal().is_some() {
        let name = node.name().to_owned();
        return Err(FaultError::NotByItself { name, status });
    }
    Ok(())
}
