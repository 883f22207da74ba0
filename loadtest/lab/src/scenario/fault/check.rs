//! What can be wrong with `[[faults]]`: settings that a kind does not have, targets that there are not, times that do
//! not fit, faults that would hide each other.

use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;

use super::super::Spec;
use super::super::problem::{Problem, at, within};
use super::FaultEntry;
use super::occurrences;
use cluster::faults::fault::{MOST_SESSIONS, RANDOM};
use cluster::faults::{Fault, FaultKind, Target};
use cluster::{BalancerKind, LOAD_BALANCER, STORE};
use evidence::part::NODES;
use evidence::strategy::Table;

const MAX_TIMES: u64 = 1_000;
const MAX_DELAY_MS: u64 = 60_000;
const MAX_KIB_PER_S: u64 = 1_048_576;
/// As long as the load balancer allows.
const MAX_DEADLINE_S: u64 = 43_200;
/// A share of 0 is a pause, a share of 1 is none.
const RUNNING: (f64, f64) = (0.01, 0.99);

/// Finds the first problem.
pub(in super::super) fn check(spec: &Spec, table: &Table) -> Result<(), Problem> {
    for fault in &spec.faults {
        settings(fault)?;
        target(spec, fault, table)?;
        numbers(spec, fault)?;
        balancer(spec, fault)?;
    }
    times(spec)
}

/// What a kind takes besides `kind`, `target`, `at_s`, and `every_s` with `times`: needed, and possible.
fn own_settings(kind: FaultKind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        FaultKind::Kill
        | FaultKind::Stop
        | FaultKind::Pause
        | FaultKind::Maint
        | FaultKind::Reset => (&["for_s"], &[]),
        FaultKind::Restart | FaultKind::RollingRestart => (&[], &[]),
        FaultKind::Slow => (&["for_s", "running"], &[]),
        FaultKind::Drain => (&["for_s"], &["deadline_s"]),
        FaultKind::Delay => (&["for_s", "delay_ms"], &["direction"]),
        FaultKind::Bandwidth => (&["for_s", "kib_per_s"], &["direction"]),
        FaultKind::Blackhole => (&["for_s"], &["direction"]),
        FaultKind::Scale => (&["for_s", "nodes"], &[]),
    }
}

/// A kind needs its own settings, and takes none of another's.
fn settings(fault: &FaultEntry) -> Result<(), Problem> {
    fn place<T>(field: Option<&Spanned<T>>) -> Option<Range<usize>> {
        field.map(Spanned::span)
    }
    let kind = *fault.kind.get_ref();
    let name = kind.name();
    let given = [
        ("for_s", place(fault.for_s.as_ref())),
        ("running", place(fault.running.as_ref())),
        ("deadline_s", place(fault.deadline_s.as_ref())),
        ("delay_ms", place(fault.delay_ms.as_ref())),
        ("kib_per_s", place(fault.kib_per_s.as_ref())),
        ("direction", place(fault.direction.as_ref())),
        ("nodes", place(fault.nodes.as_ref())),
    ];
    let (needed, possible) = own_settings(kind);
    let knows = |setting: &&str| needed.contains(setting) || possible.contains(setting);
    for (setting, place) in given {
        if place.is_some() && !knows(&setting) {
            let own = [needed, possible].concat().join("`, `");
            let has = if own.is_empty() {
                "none of its own: it takes as long as it takes".to_string()
            } else {
                format!("`{own}`")
            };
            return Err(Problem {
                span: place,
                message: format!("`{setting}` does not belong to `{name}`, which has {has}"),
            });
        }
        if place.is_none() && needed.contains(&setting) {
            return Err(at(&fault.kind, format!("`{name}` needs `{setting}`")));
        }
    }
    match (&fault.every_s, &fault.times) {
        (Some(every_s), None) => Err(at(every_s, "`every_s` needs `times`: how often?".into())),
        (None, Some(times)) => Err(at(
            times,
            "`times` needs `every_s`: how long from one to the next?".into(),
        )),
        _ => Ok(()),
    }
}

/// The target must exist, and be one that this kind can hit.
fn target(spec: &Spec, fault: &FaultEntry, table: &Table) -> Result<(), Problem> {
    let kind = *fault.kind.get_ref();
    let name = fault.target.get_ref();
    let allowed = targets(spec, kind, table);
    if allowed.contains(name) {
        return Ok(());
    }
    let parsed = Target::of(name);
    let hint = match &parsed {
        Target::Store if !has_store(spec, table) => {
            "; no strategy of this scenario keeps its state in a store"
        }
        Target::Link(link) if link.to == STORE && !has_store(spec, table) => {
            "; no strategy of this scenario keeps its state in a store"
        }
        Target::Link(link) if is_node(spec, &link.from) && is_node(spec, &link.to) => {
            "; nodes do not talk to each other in any strategy of this scenario"
        }
        _ => "",
    };
    Err(at(
        &fault.target,
        format!(
            "the target `{name}` does not exist for `{}`; allowed are {}{hint}",
            kind.name(),
            allowed.join(", ")
        ),
    ))
}

fn targets(spec: &Spec, kind: FaultKind, table: &Table) -> Vec<String> {
    let nodes = spec.cluster.node_names();
    if matches!(kind, FaultKind::Scale | FaultKind::RollingRestart) {
        return vec![NODES.into()];
    }
    if kind.is_for_links() {
        let to_nodes = nodes.iter().map(|node| format!("{LOAD_BALANCER}->{node}"));
        let to_store = nodes.iter().map(|node| format!("{node}->{STORE}"));
        return to_nodes
            .chain(to_store.filter(|_| has_store(spec, table)))
            .collect();
    }
    let mut targets = nodes;
    targets.extend([RANDOM.into(), MOST_SESSIONS.into()]);
    let (store, load_balancer) = match kind {
        FaultKind::Kill | FaultKind::Pause | FaultKind::Restart => (true, true),
        FaultKind::Stop => (true, false),
        _ => (false, false),
    };
    if store && has_store(spec, table) {
        targets.push(STORE.into());
    }
    if load_balancer {
        targets.push(LOAD_BALANCER.into());
    }
    targets
}

fn is_node(spec: &Spec, name: &str) -> bool {
    spec.cluster.node_names().iter().any(|node| node == name)
}

/// One strategy with a store is enough: the others get one beside them, and the same faults are done to it. That they do
/// not care is a result, too.
fn has_store(spec: &Spec, table: &Table) -> bool {
    table.any_needs_store(&spec.cluster.strategy_names())
}

fn numbers(spec: &Spec, fault: &FaultEntry) -> Result<(), Problem> {
    fn check<T: Copy + PartialOrd + Display>(
        field: Option<&Spanned<T>>,
        (least, most): (T, T),
        name: &str,
    ) -> Result<(), Problem> {
        field.map_or(Ok(()), |field| within(field, least, most, name))
    }
    if let Some(for_s) = &fault.for_s
        && *for_s.get_ref() == 0
    {
        return Err(at(
            for_s,
            "`for_s` is 0: the fault would be over before it began; give at least 1".into(),
        ));
    }
    check(fault.every_s.as_ref(), (1, u64::MAX), "every_s")?;
    check(fault.times.as_ref(), (1, MAX_TIMES), "times")?;
    check(fault.running.as_ref(), RUNNING, "running")?;
    check(fault.deadline_s.as_ref(), (1, MAX_DEADLINE_S), "deadline_s")?;
    check(fault.delay_ms.as_ref(), (1, MAX_DELAY_MS), "delay_ms")?;
    check(fault.kib_per_s.as_ref(), (1, MAX_KIB_PER_S), "kib_per_s")?;
    let Some(nodes) = &fault.nodes else {
        return Ok(());
    };
    let first = spec.cluster.node_count();
    let most = first + spec.cluster.spare_nodes.get_ref();
    within(nodes, 1, most, "nodes")?;
    if *nodes.get_ref() == first {
        return Err(at(
            nodes,
            format!("there are {first} nodes already; more need `spare_nodes` in [cluster]"),
        ));
    }
    Ok(())
}

/// HAProxy cannot do everything that ours can.
fn balancer(spec: &Spec, fault: &FaultEntry) -> Result<(), Problem> {
    if spec.cluster.balancer != BalancerKind::Haproxy {
        return Ok(());
    }
    if let Some(deadline_s) = &fault.deadline_s {
        return Err(at(
            deadline_s,
            "a drain of HAProxy has no deadline: pinned clients stay as long as they like".into(),
        ));
    }
    if *fault.kind.get_ref() == FaultKind::Restart && fault.target.get_ref() == LOAD_BALANCER {
        return Err(at(
            &fault.kind,
            "HAProxy drops everything on SIGTERM, so a `restart` would be no orderly one; use `kill`".into(),
        ));
    }
    Ok(())
}

/// Over before the end, and no two that would hide each other.
fn times(spec: &Spec) -> Result<(), Problem> {
    let measured = *spec.load.measure_s.get_ref();
    let nodes = spec.cluster.node_count() + *spec.cluster.spare_nodes.get_ref();
    let all: Vec<(&FaultEntry, Fault)> = spec
        .faults
        .iter()
        .flat_map(|fault| occurrences(fault).map(move |planned| (fault, planned)))
        .collect();
    for (index, (fault, planned)) in all.iter().enumerate() {
        let (from, until) = (planned.at_s, planned.until_s(nodes));
        // Also covers a start outside, and keeps the cluster whole before the final reads.
        if until >= measured {
            return Err(at(
                &fault.at_s,
                format!(
                    "the fault lasts until second {until}, but only {measured} s are measured; it must be over \
                     before the end"
                ),
            ));
        }
        for (_, earlier) in &all[..index] {
            let (other_from, other_until) = (earlier.at_s, earlier.until_s(nodes));
            if planned.touches(earlier) && from <= other_until && other_from <= until {
                return Err(at(
                    &fault.at_s,
                    format!(
                        "`{}` still suffers from another fault, that of `{}` (second {other_from} to {other_until})",
                        planned.target, earlier.target
                    ),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
