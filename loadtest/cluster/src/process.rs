//! A process of the cluster and the agent that supervises it: in this very program on loopback, PID 1 of the container
//! elsewhere. What a fault does to it is the same in both places, and so is when it counts as done.

use std::{process::ExitStatus, time::Duration};

use agent::{Agent, AgentError, Remote, Usage, procfs};

/// One process, supervised here or there.
pub enum Process {
    /// On this machine, as a child of this program.
    Here(Agent),
    /// In a container.
    There {
        /// Its agent.
        remote: Remote,
        /// What each start adds to the deployment's own arguments.
        flags: Vec<String>,
    },
}

impl Process {
    /// The name in reports: `node-1`.
    pub fn name(&self) -> &str {
        match self {
            Self::Here(agent) => &agent.spec().name,
            Self::There { remote, .. } => remote.name(),
        }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Result<(), AgentError> {
        match self {
            Self::Here(agent) => agent.start().await,
            Self::There { remote, flags } => remote.start_with(flags.clone()).await,
        }
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&self) -> Result<(), AgentError> {
        match self {
            Self::Here(agent) => agent.kill().await,
            Self::There { remote, .. } => remote.kill().await,
        }
    }

    /// SIGTERM, and SIGKILL after `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus, AgentError> {
        match self {
            Self::Here(agent) => agent.stop(grace).await,
            Self::There { remote, .. } => remote.stop(grace).await,
        }
    }

    /// SIGSTOP; returns when every thread stands still.
    pub async fn pause(&self) -> Result<(), AgentError> {
        match self {
            Self::Here(agent) => agent.pause().await,
            Self::There { remote, .. } => remote.pause().await,
        }
    }

    /// SIGCONT; returns when no thread stands still any more.
    pub async fn resume(&self) -> Result<(), AgentError> {
        match self {
            Self::Here(agent) => agent.resume().await,
            Self::There { remote, .. } => remote.resume().await,
        }
    }

    /// [`stop`](Self::stop), then [`start`](Self::start).
    pub async fn restart(&self, grace: Duration) -> Result<(), AgentError> {
        self.stop(grace).await?;
        self.start().await
    }

    /// Waits until it ends.
    pub async fn ended(&self) -> Result<ExitStatus, AgentError> {
        match self {
            Self::Here(agent) => agent.ended().await,
            Self::There { remote, .. } => remote.ended().await,
        }
    }

    /// CPU time over all its lives, and memory now.
    pub async fn usage(&self) -> Result<Usage, AgentError> {
        match self {
            Self::Here(agent) => agent.usage(),
            Self::There { remote, .. } => remote.usage().await,
        }
    }

    /// Its id, while it runs; in a container's own count there.
    pub async fn pid(&self) -> Result<Option<u32>, AgentError> {
        match self {
            Self::Here(agent) => Ok(agent.pid()),
            Self::There { remote, .. } => remote.pid().await,
        }
    }

    /// Whether it runs; a paused process does.
    pub async fn is_running(&self) -> Result<bool, AgentError> {
        Ok(self.pid().await?.is_some())
    }

    /// How many threads it has; `None` when that cannot be told.
    pub async fn threads(&self) -> Option<usize> {
        match self {
            Self::Here(agent) => Some(procfs::thread_states(agent.pid()?).ok()?.len()),
            Self::There { remote, .. } => Some(remote.thread_states().await.ok()?.len()),
        }
    }

    /// The agent, where it is part of this program.
    pub fn here(&self) -> Option<&Agent> {
        match self {
            Self::Here(agent) => Some(agent),
            Self::There { .. } => None,
        }
    }
}
