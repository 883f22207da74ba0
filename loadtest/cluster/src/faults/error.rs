//! Why a fault did not work. Each ends up in the verdict of an invalid run, so it must be understood without this code.

use std::time::Duration;

use agent::AgentError;

use crate::ClusterError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The process did not do what the fault makes it do.
    #[error(transparent)]
    Process(#[from] AgentError),
    /// The cluster, or its load balancer, did not.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nobody of that name takes part.
    #[error("there is no {0} in this cluster")]
    NoTarget(String),
    /// No node runs that a rule could choose.
    #[error("no node runs, so none could be chosen")]
    NoNode,
    /// SIGTERM was not enough.
    #[error("{name} did not end by itself after SIGTERM: {status}")]
    NotByItself {
        /// The process.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A process that was halted used CPU time.
    #[error("{name} used {used:?} of CPU time while it was halted")]
    NotHalted {
        /// The process.
        name: String,
        /// How much.
        used: Duration,
    },
    /// The load balancer went on to see a node otherwise.
    #[error(
        "the load balancer did not call {node} {wanted} within {within:?}; the last that it said was: {last}"
    )]
    NotSeen {
        /// The node.
        node: String,
        /// What it should have said.
        wanted: &'static str,
        /// How long that was waited for.
        within: Duration,
        /// What it said.
        last: String,
    },
    /// A probe through the link did not show what it should.
    #[error("the link {link} is not {wanted}: a probe {found}")]
    NotDisturbed {
        /// The link.
        link: String,
        /// What it should be.
        wanted: String,
        /// What the probe met.
        found: String,
    },
    /// The history does not take any more lines.
    #[error("{0}")]
    NotWritten(String),
}
