//! What is done at which second: the scenario's faults with every repetition, every default and every choice of the
//! seed. The same scenario with the same seed always gives the same schedule, for each strategy and each repeat.

use std::time::Duration;

use agent::link::{Direction, Disturbance};

use cluster::faults::{Fault, FaultAction, FaultKind, Target};
use evidence::random::{Random, Stream};

use super::fault::{FaultEntry, Way};
use super::{Spec, chaos};

impl Spec {
    /// Everything that is done, in the order of time.
    pub fn schedule(&self) -> Vec<Fault> {
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
pub(super) fn occurrences(fault: &FaultEntry) -> impl Iterator<Item = Fault> {
    let number = |field: &Option<toml::Spanned<u64>>| field.as_ref().map(|field| *field.get_ref());
    let first = Fault {
        at_s: *fault.at_s.get_ref(),
        for_s: number(&fault.for_s),
        action: action(fault),
        target: Target::of(fault.target.get_ref()),
    };
    let every_s = number(&fault.every_s).unwrap_or(0);
    (0..number(&fault.times).unwrap_or(1)).map(move |time| Fault {
        at_s: first.at_s.saturating_add(every_s.saturating_mul(time)),
        ..first.clone()
    })
}

/// What a file asks for.
fn action(fault: &FaultEntry) -> FaultAction {
    let number =
        |field: &Option<toml::Spanned<u64>>| field.as_ref().map_or(0, |field| *field.get_ref());
    let direction = match fault.direction.as_ref().map(toml::Spanned::get_ref) {
        None | Some(Way::Both) => Direction::Both,
        Some(Way::There) => Direction::There,
        Some(Way::Back) => Direction::Back,
    };
    match fault.kind.get_ref() {
        FaultKind::Kill => FaultAction::Kill,
        FaultKind::Stop => FaultAction::Stop,
        FaultKind::Pause => FaultAction::Pause,
        FaultKind::Restart => FaultAction::Restart,
        FaultKind::Slow => FaultAction::Slow {
            running: fault.running.as_ref().map_or(1.0, |share| *share.get_ref()),
        },
        FaultKind::Drain => FaultAction::Drain {
            deadline_s: fault.deadline_s.as_ref().map(|field| *field.get_ref()),
        },
        FaultKind::Maint => FaultAction::Maint,
        FaultKind::Delay => FaultAction::Link(Disturbance::Delay {
            by: Duration::from_millis(number(&fault.delay_ms)),
            direction,
        }),
        FaultKind::Bandwidth => FaultAction::Link(Disturbance::Bandwidth {
            bytes_per_s: number(&fault.kib_per_s) * 1024,
            direction,
        }),
        FaultKind::Reset => FaultAction::Link(Disturbance::Reset),
        FaultKind::Blackhole => FaultAction::Link(Disturbance::Blackhole { direction }),
        FaultKind::Scale => FaultAction::Scale {
            nodes: fault.nodes.as_ref().map_or(0, |nodes| *nodes.get_ref()),
        },
        FaultKind::RollingRestart => FaultAction::RollingRestart,
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
        Scenario::parse(Path::new("a.toml"), &text, &evidence::sample::table())
            .unwrap()
            .spec
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
