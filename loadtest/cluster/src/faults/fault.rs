//! What a fault is: an action, done to a target, at a time.

use std::fmt;

use agent::link::Disturbance;
use evidence::part::NODES;
use serde::Deserialize;

use crate::{LOAD_BALANCER, LinkName, STORE};

/// The target that stands for a node that the seed chooses.
pub const RANDOM: &str = "random";
/// The target that stands for the node that has the most sessions when the fault comes.
pub const MOST_SESSIONS: &str = "most-sessions";

/// How long a restart may take: the node serves on for a while so that load balancers notice, ends, starts, and is
/// found well by a check. Only used to see whether a scenario makes sense.
pub const RESTART_S: u64 = 5;

/// One fault, at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When, seconds after the start of the measured part.
    pub at_s: u64,
    /// For how long; `None` where it undoes itself.
    pub for_s: Option<u64>,
    /// What is done.
    pub action: FaultAction,
    /// To whom.
    pub target: Target,
}

/// What is done, with all that it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultAction {
    /// See [`FaultKind::Kill`].
    Kill,
    /// See [`FaultKind::Stop`].
    Stop,
    /// See [`FaultKind::Pause`].
    Pause,
    /// See [`FaultKind::Restart`].
    Restart,
    /// See [`FaultKind::Slow`].
    Slow {
        /// Share of time, between 0 and 1.
        running: f64,
    },
    /// See [`FaultKind::Drain`].
    Drain {
        /// How long pinned clients may stay.
        deadline_s: Option<u64>,
    },
    /// See [`FaultKind::Maint`].
    Maint,
    /// A link is disturbed.
    Link(Disturbance),
    /// See [`FaultKind::Scale`].
    Scale {
        /// How many there are from then on.
        nodes: usize,
    },
    /// See [`FaultKind::RollingRestart`].
    RollingRestart,
}

/// To whom it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A node.
    Node(String),
    /// A node that the seed chooses. Not in a schedule any more.
    Random,
    /// The node that has the most sessions when the fault comes.
    MostSessions,
    /// All nodes.
    Nodes,
    /// The store.
    Store,
    /// The load balancer.
    LoadBalancer,
    /// A link.
    Link(LinkName),
}

impl Fault {
    /// When it is over, as far as that can be said beforehand, in a cluster of so many nodes.
    pub fn until_s(&self, nodes: usize) -> u64 {
        let takes_s = match self.action {
            FaultAction::RollingRestart => RESTART_S * nodes as u64,
            FaultAction::Restart => RESTART_S,
            _ => self.for_s.unwrap_or(0),
        };
        self.at_s.saturating_add(takes_s)
    }

    /// Whether one of two faults would disturb the other, or hide its effect, if both were in force.
    pub fn touches(&self, other: &Self) -> bool {
        let order = |planned: &Self| {
            matches!(
                planned.action,
                FaultAction::Drain { .. } | FaultAction::Maint
            )
        };
        match (&self.target, &other.target) {
            (Target::Nodes, _) | (_, Target::Nodes) => true,
            // Orders do not outlive the load balancer that they were given to.
            (Target::LoadBalancer, _) if order(other) => true,
            (_, Target::LoadBalancer) if order(self) => true,
            (Target::Link(link), other) | (other, Target::Link(link)) => match other {
                // Through a link to a dead process nobody can see whether the link is well.
                Target::Node(name) => *name == link.from || *name == link.to,
                Target::Random | Target::MostSessions | Target::Nodes => true,
                Target::Store => link.to == STORE,
                Target::LoadBalancer => link.from == LOAD_BALANCER,
                Target::Link(other) => link == other,
            },
            (Target::Random | Target::MostSessions, other)
            | (other, Target::Random | Target::MostSessions) => {
                matches!(
                    other,
                    Target::Node(_) | Target::Random | Target::MostSessions
                )
            }
            (one, other) => one == other,
        }
    }
}

impl FaultAction {
    /// The name of what is done.
    pub fn kind(self) -> FaultKind {
        match self {
            Self::Kill => FaultKind::Kill,
            Self::Stop => FaultKind::Stop,
            Self::Pause => FaultKind::Pause,
            Self::Restart => FaultKind::Restart,
            Self::Slow { .. } => FaultKind::Slow,
            Self::Drain { .. } => FaultKind::Drain,
            Self::Maint => FaultKind::Maint,
            Self::Link(Disturbance::Delay { .. }) => FaultKind::Delay,
            Self::Link(Disturbance::Bandwidth { .. }) => FaultKind::Bandwidth,
            Self::Link(Disturbance::Reset) => FaultKind::Reset,
            Self::Link(Disturbance::Blackhole { .. }) => FaultKind::Blackhole,
            Self::Scale { .. } => FaultKind::Scale,
            Self::RollingRestart => FaultKind::RollingRestart,
        }
    }
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// `kill -9`, undone by starting the process again.
    Kill,
    /// SIGTERM, undone by starting the process again.
    Stop,
    /// SIGSTOP, undone by SIGCONT.
    Pause,
    /// SIGTERM, and started again at once.
    Restart,
    /// SIGSTOP and SIGCONT by turns, ten times a second.
    Slow,
    /// The load balancer sends no new clients.
    Drain,
    /// The load balancer sends nobody.
    Maint,
    /// A link on which everything takes longer.
    Delay,
    /// A link on which little passes.
    Bandwidth,
    /// A link that breaks off every connection.
    Reset,
    /// A link on which nothing passes and nothing says so.
    Blackhole,
    /// More nodes, or fewer.
    Scale,
    /// Every node is restarted, one after the other.
    RollingRestart,
}

impl FaultKind {
    /// As scenarios and results write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Slow => "slow",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Delay => "delay",
            Self::Bandwidth => "bandwidth",
            Self::Reset => "reset",
            Self::Blackhole => "blackhole",
            Self::Scale => "scale",
            Self::RollingRestart => "rolling-restart",
        }
    }

    /// Whether it is done to a link.
    pub fn is_for_links(self) -> bool {
        matches!(
            self,
            Self::Delay | Self::Bandwidth | Self::Reset | Self::Blackhole
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => f.write_str(name),
            Self::Random => f.write_str(RANDOM),
            Self::MostSessions => f.write_str(MOST_SESSIONS),
            Self::Nodes => f.write_str(NODES),
            Self::Store => f.write_str(STORE),
            Self::LoadBalancer => f.write_str(LOAD_BALANCER),
            Self::Link(link) => link.fmt(f),
        }
    }
}

impl Target {
    /// What a name means. Whether there is such a node or link, the check says.
    pub fn of(name: &str) -> Self {
        let link = |from: &str, to: &str| {
            Self::Link(LinkName {
                from: from.into(),
                to: to.into(),
            })
        };
        match name {
            RANDOM => Self::Random,
            MOST_SESSIONS => Self::MostSessions,
            _ => match evidence::part::Part::of(name) {
                evidence::part::Part::Nodes => Self::Nodes,
                evidence::part::Part::Store => Self::Store,
                evidence::part::Part::LoadBalancer => Self::LoadBalancer,
                evidence::part::Part::Link { from, to } => link(from, to),
                evidence::part::Part::Node(node) => Self::Node(node.into()),
            },
        }
    }
}
