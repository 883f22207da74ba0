//! What is done at which second: the scenario's faults with every repetition, every default and every choice of the
//! seed. The same scenario with the same seed always gives the same schedule, for each strategy and each repeat.

use std::fmt;
use std::time::Duration;

use agent::link::{Direction, Disturbance};

use super::fault::{Fault, FaultKind, MOST_SESSIONS, RANDOM, Way};
use super::{Spec, chaos};
use crate::cluster::{LOAD_BALANCER, LinkName, STORE};
use crate::random::{Random, Stream};
use crate::target::{self, NODES};

/// How long a restart may take: the node serves on for a while so that load balancers notice, ends, starts, and is
/// found well by a check. Only used to see whether a scenario makes sense.
pub(super) const RESTART_S: u64 = 5;

/// One fault, at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When, seconds after the start of the measured part.
    pub at_s: u64,
    /// For how long; `None` where it undoes itself.
    pub for_s: Option<u64>,
    /// What is done.
    pub deed: Deed,
    /// To whom.
    pub target: Target,
}

/// What is done, with all that it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
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

impl Spec {
    /// Everything that is done, in the order of time.
    pub fn schedule(&self) -> Vec<Planned> {
        let mut random = Random::new(self.seed, Stream::Faults);
        let mut schedule = match &self.chaos {
            Some(chaos) => chaos::expand(chaos, self, &mut random),
            None => self.faults.iter().flat_map(occurrences).collect(),
        };
        schedule.sort_by_key(|planned| planned.at_s);
        for planned in &mut schedule {
            if planned.target == Target::Random {
                planned.target = Target::Node(random_node(self, &mut random));
            }
        }
        schedule
    }
}

pub(super) fn random_node(spec: &Spec, random: &mut Random) -> String {
    let nodes = spec.cluster.node_count() as u64;
    format!("node-{}", random.below(nodes) + 1)
}

/// A fault each time that it comes. What a check has not seen yet may be incomplete; it counts as harmless then.
pub(super) fn occurrences(fault: &Fault) -> impl Iterator<Item = Planned> {
    let number = |field: &Option<toml::Spanned<u64>>| field.as_ref().map(|field| *field.get_ref());
    let first = Planned {
        at_s: *fault.at_s.get_ref(),
        for_s: number(&fault.for_s),
        deed: Deed::of(fault),
        target: Target::of(fault.target.get_ref()),
    };
    let every_s = number(&fault.every_s).unwrap_or(0);
    (0..number(&fault.times).unwrap_or(1)).map(move |time| Planned {
        at_s: first.at_s.saturating_add(every_s.saturating_mul(time)),
        ..first.clone()
    })
}

impl Planned {
    /// When it is over, as far as that can be said beforehand, in a cluster of so many nodes.
    pub(super) fn until_s(&self, nodes: usize) -> u64 {
        let takes_s = match self.deed {
            Deed::RollingRestart => RESTART_S * nodes as u64,
            Deed::Restart => RESTART_S,
            _ => self.for_s.unwrap_or(0),
        };
        self.at_s.saturating_add(takes_s)
    }

    /// Whether one of two faults would disturb the other, or hide its effect, if both were in force.
    pub(super) fn touches(&self, other: &Self) -> bool {
        let order = |planned: &Self| matches!(planned.deed, Deed::Drain { .. } | Deed::Maint);
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

impl Deed {
    fn of(fault: &Fault) -> Self {
        let number =
            |field: &Option<toml::Spanned<u64>>| field.as_ref().map_or(0, |field| *field.get_ref());
        let direction = match fault.direction.as_ref().map(toml::Spanned::get_ref) {
            None | Some(Way::Both) => Direction::Both,
            Some(Way::There) => Direction::There,
            Some(Way::Back) => Direction::Back,
        };
        match fault.kind.get_ref() {
            FaultKind::Kill => Self::Kill,
            FaultKind::Stop => Self::Stop,
            FaultKind::Pause => Self::Pause,
            FaultKind::Restart => Self::Restart,
            FaultKind::Slow => Self::Slow {
                running: fault.running.as_ref().map_or(1.0, |share| *share.get_ref()),
            },
            FaultKind::Drain => Self::Drain {
                deadline_s: fault.deadline_s.as_ref().map(|field| *field.get_ref()),
            },
            FaultKind::Maint => Self::Maint,
            FaultKind::Delay => Self::Link(Disturbance::Delay {
                by: Duration::from_millis(number(&fault.delay_ms)),
                direction,
            }),
            FaultKind::Bandwidth => Self::Link(Disturbance::Bandwidth {
                bytes_per_s: number(&fault.kib_per_s) * 1024,
                direction,
            }),
            FaultKind::Reset => Self::Link(Disturbance::Reset),
            FaultKind::Blackhole => Self::Link(Disturbance::Blackhole { direction }),
            FaultKind::Scale => Self::Scale {
                nodes: fault.nodes.as_ref().map_or(0, |nodes| *nodes.get_ref()),
            },
            FaultKind::RollingRestart => Self::RollingRestart,
        }
    }

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

impl Target {
    /// What a name means. Whether there is such a node or link, the check says.
    pub(super) fn of(name: &str) -> Self {
        let link = |from: &str, to: &str| {
            Self::Link(LinkName {
                from: from.into(),
                to: to.into(),
            })
        };
        match name {
            RANDOM => Self::Random,
            MOST_SESSIONS => Self::MostSessions,
            _ => match target::Target::of(name) {
                target::Target::Nodes => Self::Nodes,
                target::Target::Store => Self::Store,
                target::Target::LoadBalancer => Self::LoadBalancer,
                target::Target::ToNode(node) => link(LOAD_BALANCER, node),
                target::Target::FromNode { node, to } => link(node, to),
                target::Target::Node(node) => Self::Node(node.into()),
            },
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Scenario;

    fn spec(faults: &str) -> Spec {
        let text = format!(
            "question = \"?\"\n[cluster]\nnodes = 3\nstrategies = [\"redis\"]\naccounts = 10\n\
             password = {{ memory_kib = 8, iterations = 1 }}\n[load]\nusers = 10\nthink_ms = [1, 2]\n\
             journey = {{ browse = 1 }}\nwarm_up_s = 0\nmeasure_s = 60\n{faults}"
        );
        Scenario::parse(Path::new("a.toml"), &text).unwrap().spec
    }

    #[test]
    fn repetitions_are_faults_of_their_own_in_the_order_of_time() {
        let schedule = spec(
            "[[faults]]\nkind = \"kill\"\ntarget = \"node-2\"\nat_s = 5\nfor_s = 2\nevery_s = 10\ntimes = 3\n\
             [[faults]]\nkind = \"pause\"\ntarget = \"store\"\nat_s = 8\nfor_s = 2\n",
        )
        .schedule();
        let times: Vec<(u64, String)> = schedule
            .iter()
            .map(|planned| (planned.at_s, planned.target.to_string()))
            .collect();
        let expected = [(5, "node-2"), (8, "store"), (15, "node-2"), (25, "node-2")];
        assert_eq!(times, expected.map(|(at_s, name)| (at_s, name.to_string())));
    }

    #[test]
    fn the_seed_chooses_random_nodes_and_chooses_the_same_again() {
        let mut spec = spec(
            "[[faults]]\nkind = \"kill\"\ntarget = \"random\"\nat_s = 2\nfor_s = 1\nevery_s = 2\ntimes = 25\n",
        );
        let first = spec.schedule();
        assert_eq!(first, spec.schedule());
        for node in ["node-1", "node-2", "node-3"] {
            let chosen = Target::Node(node.into());
            assert!(
                first.iter().any(|planned| planned.target == chosen),
                "{node}"
            );
        }
        spec.seed += 1;
        assert_ne!(first, spec.schedule());
    }
}
