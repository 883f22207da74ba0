//! `[chaos]`: faults that nobody chose. The seed decides what happens to whom and when, one fault at a time, so that
//! what users lose can still be laid at one fault's door.

use std::time::Duration;

use agent::link::{Direction, Disturbance};
use serde::Deserialize;
use toml::Spanned;

use super::Spec;
use super::problem::{Problem, at, within};
use cluster::faults::fault::RESTART_S;
use cluster::faults::{Fault, FaultAction, FaultKind as Kind, Target};
use cluster::{LOAD_BALANCER, LinkName};
use evidence::random::Random;

/// Before the first fault: the base line.
const CALM_S: u64 = 3;
/// After each fault: for processes to start, and for the load balancer to notice.
const RECOVERY_S: u64 = 2;
const MAX_FAULTS: u32 = 1_000;
const MAX_FAULT_S: u64 = 600;

/// What a link may suffer, and how little a slow node may run.
const DELAY_MS: (u64, u64) = (20, 300);
const KIB_PER_S: (u64, u64) = (16, 256);
const RUNNING_PERCENT: (u64, u64) = (5, 50);

/// `[chaos]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    /// How many.
    pub faults: Spanned<u32>,
    /// Which kinds there may be.
    pub kinds: Vec<Spanned<Kind>>,
    /// A fault lasts so many seconds at least …
    pub shortest_s: Spanned<u64>,
    /// … and so many at most.
    pub longest_s: Spanned<u64>,
}

impl Chaos {
    pub(super) fn check(&self, spec: &Spec) -> Result<(), Problem> {
        if let Some(fault) = spec.faults.first() {
            return Err(at(
                &fault.kind,
                "`[[faults]]` and `[chaos]` do not go together: the seed cannot know what else is done".into(),
            ));
        }
        within(&self.faults, 1, MAX_FAULTS, "faults")?;
        within(&self.shortest_s, 1, MAX_FAULT_S, "shortest_s")?;
        within(
            &self.longest_s,
            *self.shortest_s.get_ref(),
            MAX_FAULT_S,
            "longest_s",
        )?;
        if self.kinds.is_empty() {
            return Err(Problem {
                span: None,
                message: "`chaos.kinds` is empty".into(),
            });
        }
        for kind in &self.kinds {
            if matches!(kind.get_ref(), Kind::Scale | Kind::RollingRestart) {
                let name = kind.get_ref().name();
                return Err(at(
                    kind,
                    format!("`{name}` is no fault of one node or link; write it into [[faults]]"),
                ));
            }
        }
        let needed = CALM_S + u64::from(*self.faults.get_ref()) * self.slot_s() + 1;
        let measured = *spec.load.measure_s.get_ref();
        if measured < needed {
            return Err(at(
                &self.faults,
                format!(
                    "{} faults of up to {} s, one after the other, need `measure_s` of at least {needed}; it is {measured}",
                    self.faults.get_ref(),
                    self.longest_s.get_ref()
                ),
            ));
        }
        Ok(())
    }

    /// What one fault needs, with the time after it.
    fn slot_s(&self) -> u64 {
        (*self.longest_s.get_ref()).max(RESTART_S) + RECOVERY_S
    }
}

/// The faults, each somewhere in a slot of its own.
pub(super) fn expand(chaos: &Chaos, spec: &Spec, random: &mut Random) -> Vec<Fault> {
    let count = u64::from(*chaos.faults.get_ref());
    let room_s = spec.load.measure_s.get_ref().saturating_sub(CALM_S + 1);
    let slot_s = (room_s / count.max(1)).max(chaos.slot_s());
    let lasts = (*chaos.shortest_s.get_ref(), *chaos.longest_s.get_ref());
    (0..count)
        .filter_map(|slot| {
            let for_s = random.between(lasts);
            let at_s = CALM_S + slot * slot_s + random.between((0, slot_s - chaos.slot_s()));
            let kind = usize::try_from(random.below(chaos.kinds.len() as u64)).unwrap_or(0);
            let kind = *chaos.kinds[kind].get_ref();
            let node = spec.cluster.random_node(random);
            let action = action(kind, random)?;
            Some(Fault {
                at_s,
                for_s: (kind != Kind::Restart).then_some(for_s),
                action,
                target: if kind.is_for_links() {
                    Target::Link(LinkName {
                        from: LOAD_BALANCER.into(),
                        to: node,
                    })
                } else {
                    Target::Node(node)
                },
            })
        })
        .collect()
}

/// `None` for what the check refuses: faults of all nodes.
fn action(kind: Kind, random: &mut Random) -> Option<FaultAction> {
    let direction = Direction::Both;
    Some(match kind {
        Kind::Scale | Kind::RollingRestart => return None,
        Kind::Kill => FaultAction::Kill,
        Kind::Stop => FaultAction::Stop,
        Kind::Pause => FaultAction::Pause,
        Kind::Restart => FaultAction::Restart,
        Kind::Slow => FaultAction::Slow {
            running: random.between(RUNNING_PERCENT) as f64 / 100.0,
        },
        Kind::Drain => FaultAction::Drain { deadline_s: None },
        Kind::Maint => FaultAction::Maint,
        Kind::Delay => FaultAction::Link(Disturbance::Delay {
            by: Duration::from_millis(random.between(DELAY_MS)),
            direction,
        }),
        Kind::Bandwidth => FaultAction::Link(Disturbance::Bandwidth {
            bytes_per_s: random.between(KIB_PER_S) * 1024,
            direction,
        }),
        Kind::Reset => FaultAction::Link(Disturbance::Reset),
        Kind::Blackhole => FaultAction::Link(Disturbance::Blackhole { direction }),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::scenario::Scenario;

    const GOOD: &str = r#"question = "?"
[cluster]
nodes = 3
strategies = ["sticky", "redis", "jwt"]
accounts = 10
password = { memory_kib = 8, iterations = 1 }
[load]
users = 10
think_ms = [1, 2]
journey = { browse = 1 }
warm_up_s = 0
measure_s = 90
[chaos]
faults = 10
kinds = ["kill", "stop", "pause", "restart", "slow", "drain", "maint", "delay", "bandwidth", "reset", "blackhole"]
shortest_s = 1
longest_s = 5
"#;

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_it_fits() {
        let mut spec = Scenario::parse(Path::new("a.toml"), GOOD, &evidence::sample::table())
            .unwrap()
            .spec;
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            spec.seed = seed;
            let schedule = spec.schedule();
            assert_eq!(schedule, spec.schedule());
            assert_eq!(schedule.len(), 10);
            for pair in schedule.windows(2) {
                assert!(pair[0].until_s(3) < pair[1].at_s, "{pair:?}");
            }
            assert!(schedule[9].until_s(3) < 90, "{:?}", schedule[9]);
            seen.extend(schedule.iter().map(|planned| planned.action.kind().name()));
        }
        assert_eq!(seen.len(), 11, "every kind comes up: {seen:?}");
        let first = spec.schedule();
        spec.seed += 1;
        assert_ne!(first, spec.schedule());
    }

    #[test]
    fn mistakes_are_explained_where_they_are() {
        for (from, to, place, text) in [
            (
                "measure_s = 90",
                "measure_s = 73",
                "a.toml:14:10:",
                "need `measure_s` of at least 74; it is 73",
            ),
            (
                "longest_s = 5",
                "longest_s = 0",
                "a.toml:17:13:",
                "allowed are 1 to 600",
            ),
            (
                "\"maint\",",
                "\"scale\",",
                "a.toml:15:",
                "`scale` is no fault of one node or link",
            ),
            (
                "[chaos]",
                "[[faults]]\nkind = \"kill\"\ntarget = \"node-1\"\nat_s = 1\nfor_s = 1\n[chaos]",
                "a.toml:14:8:",
                "do not go together",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = Scenario::parse(
                Path::new("a.toml"),
                &GOOD.replace(from, to),
                &evidence::sample::table(),
            )
            .unwrap_err()
            .to_string();
            assert!(error.starts_with(place), "{to}: {error}");
            assert!(error.contains(text), "{to}: {error}");
        }
    }
}
