//! Holds runs against the strategy's [`theory`].

use std::collections::BTreeMap;

use super::theory;
use super::{demanded, each};
use crate::part::Part;
use crate::results::Anomaly;
use crate::results::{Anomalies, Expectation, Fault, Prediction, Revocations, Run};
use crate::results::{Expected, Extent};

/// A node that is away for less may be back before the balancer has given up on it, at its default settings.
const LONG_ENOUGH_MS: u64 = 3_000;
/// Faults that the balancer promises to hide from whoever sends a request that may be repeated.
const HIDDEN: [&str; 7] = [
    "kill",
    "stop",
    "restart",
    "rolling-restart",
    "scale",
    "drain",
    "maint",
];
/// As a row of the matrix.
const REVOCATION: &str = "revocation by an operator";
/// Of so many credentials, one at least is expected to show what holds for two of three of them: by chance it does not in one
/// of 50,000 runs.
const ENOUGH_SESSIONS: u64 = 10;
/// The balancer that promises it.
const PROMISES: &str = "pingora";

/// What the matrix demands of the runs of one strategy.
pub(super) fn judge(strategy: &str, runs: &[&Run]) -> Vec<Expectation> {
    let mut demands = Vec::new();
    demands.extend(exposure(strategy, runs));
    demands.extend(revocation(strategy, runs));
    for group in Group::of(runs) {
        demands.extend(group.sessions(strategy, runs));
        demands.extend(group.lines(strategy, runs));
    }
    demands.push(nothing_else(strategy, runs));
    demands.extend(nothing_repeatable_fails(strategy, runs));
    demands
}

/// Sessions and cart lines lost, and credentials exposed, of which neither the strategy itself nor a fault that they are
/// ascribed to may cost any.
pub(super) fn unexplained(run: &Run) -> u64 {
    let ascribed = [Anomaly::SessionLost, Anomaly::LineLost, Anomaly::Exposure];
    let rows = matrix(&run.strategy, &[run]);
    let counts = rows.iter().flat_map(|row| {
        let known = |name: &String| row.predicted.contains(name) || row.tolerated.contains(name);
        let seen = ascribed.iter().map(|anomaly| anomaly.name().to_owned());
        let unknown = seen.filter(move |name| !known(name));
        unknown.filter_map(|name| row.observed.get(&name).copied())
    });
    counts.sum()
}

/// The part of the matrix that these runs are about, with what they showed.
pub(super) fn matrix(strategy: &str, runs: &[&Run]) -> Vec<Prediction> {
    let groups = Group::of(runs);
    let revoked: Vec<Revocations> = runs.iter().filter_map(|run| run.revocations).collect();
    let outlived = |value: fn(&Revocations) -> u64| revoked.iter().map(value).sum::<u64>();
    let outlived = [
        outlived(|revoked| revoked.resurrections),
        outlived(|revoked| revoked.exposures),
    ];
    let mut by_faults = [0; 3];
    let mut under_faults = Vec::new();
    for group in &groups {
        let lost = [
            group.sum(runs, |fault| fault.sessions_lost),
            group.sum(runs, |fault| fault.cart_lines_lost),
            group.sum(runs, |fault| fault.exposures),
        ];
        for (sum, lost) in by_faults.iter_mut().zip(lost) {
            *sum += lost;
        }
        let kinds = [Anomaly::SessionLost, Anomaly::LineLost, Anomaly::Exposure];
        let row = theory::under(theory_of(runs), group.kind, group.target);
        let observed = kinds.into_iter().zip(lost);
        under_faults.push(prediction(strategy, group.label(), row, observed));
    }
    let apart = Anomaly::ALL.into_iter().map(|anomaly| {
        let all = runs
            .iter()
            .map(|run| run.anomalies.count(anomaly))
            .sum::<u64>();
        let explained = match anomaly {
            Anomaly::SessionLost => by_faults[0],
            Anomaly::LineLost => by_faults[1],
            Anomaly::Resurrection => outlived[0],
            Anomaly::Exposure => outlived[1] + by_faults[2],
            _ => 0,
        };
        (anomaly, all.saturating_sub(explained))
    });
    let always = theory::at_any_time(theory_of(runs));
    let mut rows = vec![prediction(strategy, "at any time".into(), always, apart)];
    if !revoked.is_empty() {
        let row = theory::under_revocation(theory_of(runs));
        let kinds = [Anomaly::Resurrection, Anomaly::Exposure];
        let observed = kinds.into_iter().zip(outlived);
        rows.push(prediction(strategy, REVOCATION.into(), row, observed));
    }
    rows.extend(under_faults);
    rows
}

fn prediction(
    strategy: &str,
    fault: String,
    row: &Expected,
    observed: impl Iterator<Item = (Anomaly, u64)>,
) -> Prediction {
    let names = |anomalies: &[Anomaly]| -> Vec<String> {
        let names = anomalies.iter().map(|anomaly| anomaly.name().to_owned());
        names.collect()
    };
    let observed: BTreeMap<String, u64> = observed
        .filter(|(_, count)| *count > 0)
        .map(|(anomaly, count)| (anomaly.name().to_owned(), count))
        .collect();
    // What must show need not be allowed once more.
    let mut tolerated = names(&row.tolerated);
    tolerated.retain(|name| !names(&row.predicted).contains(name));
    Prediction {
        strategy: strategy.to_owned(),
        fault,
        predicted: names(&row.predicted),
        tolerated,
        observed,
        why: row.why.clone(),
    }
}

/// What the strategy of these runs said beforehand. It stands in each of them.
fn theory_of<'a>(runs: &[&'a Run]) -> &'a [Expected] {
    runs.first().map_or(&[], |run| &run.properties.theory)
}

/// The faults of one kind on one target, in all runs of a strategy.
struct Group<'a> {
    kind: &'a str,
    target: &'a str,
}

impl<'a> Group<'a> {
    fn of(runs: &[&'a Run]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for fault in runs.iter().flat_map(|run| &run.faults) {
            if !groups.iter().any(|group| group.has(fault)) {
                groups.push(Self {
                    kind: &fault.kind,
                    target: &fault.target,
                });
            }
        }
        groups
    }

    fn has(&self, fault: &Fault) -> bool {
        fault.kind == self.kind && fault.target == self.target
    }

    fn label(&self) -> String {
        format!("{} of {}", self.kind, self.target)
    }

    fn faults<'b>(&self, run: &'b Run) -> impl Iterator<Item = &'b Fault> {
        run.faults.iter().filter(|fault| self.has(fault))
    }

    fn sum(&self, runs: &[&Run], value: fn(&Fault) -> u64) -> u64 {
        runs.iter()
            .flat_map(|run| self.faults(run))
            .map(value)
            .sum()
    }

    /// Of the runs with this fault, what each lost of what it had to lose.
    fn sessions(&self, strategy: &str, runs: &[&Run]) -> Option<Expectation> {
        let row = theory::under(theory_of(runs), self.kind, self.target);
        if !row.predicted.contains(&Anomaly::SessionLost) {
            return None;
        }
        let label = self.label();
        let expectation = match row.extent {
            Extent::AllPinned => {
                format!("{label}: costs all sessions that it served, and no others")
            }
            Extent::SomePinned => format!("{label}: costs sessions that it served, and no others"),
            Extent::AsListed => format!("{label}: costs sessions"),
        };
        let mut held = true;
        let with_it = runs.iter().filter(|run| self.faults(run).next().is_some());
        let observed = with_it.map(|run| {
            let at_stake = self.loss(run, |fault| {
                (fault.sessions_on_target, fault.sessions_lost_on_target)
            });
            let Some((served, lost)) = at_stake else {
                return "nothing to lose".to_owned();
            };
            let others: u64 = self
                .faults(run)
                .map(|fault| {
                    fault
                        .sessions_lost
                        .saturating_sub(fault.sessions_lost_on_target)
                })
                .sum();
            held &= match row.extent {
                Extent::AllPinned => lost == served && others == 0,
                Extent::SomePinned => lost > 0 && others == 0,
                Extent::AsListed => lost > 0,
            };
            match others {
                0 => format!("{lost} of {served}"),
                others => format!("{lost} of {served}, and {others} others"),
            }
        });
        let demand = demanded(strategy, expectation, each(observed));
        Some(Expectation { held, ..demand })
    }

    fn lines(&self, strategy: &str, runs: &[&Run]) -> Option<Expectation> {
        let row = theory::under(theory_of(runs), self.kind, self.target);
        if !row.predicted.contains(&Anomaly::LineLost) {
            return None;
        }
        let mut held = true;
        let with_it = runs.iter().filter(|run| self.faults(run).next().is_some());
        let observed = with_it.map(|run| {
            let at_stake = self.loss(run, |fault| {
                (fault.cart_lines_on_target, fault.cart_lines_lost)
            });
            let Some((there, lost)) = at_stake else {
                return "nothing to lose".to_owned();
            };
            held &= lost > 0;
            format!("{lost} of {there}")
        });
        let expectation = format!("{}: costs the cart lines of these sessions", self.label());
        let demand = demanded(strategy, expectation, each(observed));
        Some(Expectation { held, ..demand })
    }

    /// What was there and what of it was lost, over the faults of this kind that had something to cost. `None` if none
    /// had: it served nobody, or was back too soon.
    fn loss(&self, run: &Run, value: impl Fn(&Fault) -> (u64, u64)) -> Option<(u64, u64)> {
        let row = theory::under(&run.properties.theory, self.kind, self.target);
        let costly = |fault: &&Fault| row.extent != Extent::SomePinned || was_away(fault);
        self.faults(run)
            .filter(costly)
            .map(value)
            .filter(|(there, _)| *there > 0)
            .reduce(|sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

fn was_away(fault: &Fault) -> bool {
    let (Some(effective_ms), Some(undone_ms)) = (fault.effective_ms, fault.undone_ms) else {
        return false;
    };
    undone_ms.saturating_sub(effective_ms) >= LONG_ENOUGH_MS
}

/// Where logged-out credentials are predicted to live on, they must, if somebody tried one.
fn exposure(strategy: &str, runs: &[&Run]) -> Option<Expectation> {
    let row = theory::at_any_time(theory_of(runs));
    if !row.predicted.contains(&Anomaly::Exposure) {
        return None;
    }
    let mut held = true;
    let observed = runs.iter().map(|run| {
        if run.revocation_ms.is_none() {
            return "nobody tried one".to_owned();
        }
        let after_revocation = run.revocations.map_or(0, |revoked| revoked.exposures);
        let exposed = run.anomalies.exposure.saturating_sub(after_revocation);
        held &= exposed > 0;
        format!("{exposed} accepted")
    });
    let demand = demanded(
        strategy,
        "logged-out credentials stay valid until they expire".to_owned(),
        each(observed),
    );
    Some(Expectation { held, ..demand })
}

/// An operator's revocation ends every login at once, or does not, as the matrix has it.
fn revocation(strategy: &str, runs: &[&Run]) -> Option<Expectation> {
    if runs.iter().all(|run| run.revocations.is_none()) {
        return None;
    }
    let row = theory::under_revocation(theory_of(runs));
    let outlives = row.predicted.contains(&Anomaly::Exposure);
    let mut held = true;
    let observed = runs.iter().map(|run| {
        let Some(revoked) = run.revocations.filter(|revoked| revoked.sessions > 0) else {
            return "nobody tried one".to_owned();
        };
        // Where there is one node, the operator's call reaches it.
        let shows = run.nodes > 1 && revoked.sessions >= ENOUGH_SESSIONS;
        held &= if outlives {
            revoked.accepted() > 0 || !shows
        } else {
            revoked.accepted() == 0
        };
        format!("{} of {} accepted", revoked.accepted(), revoked.sessions)
    });
    let expectation = if outlives {
        "credentials are accepted after an operator's revocation"
    } else {
        "no credential is accepted after an operator's revocation"
    };
    let demand = demanded(strategy, expectation.to_owned(), each(observed));
    Some(Expectation { held, ..demand })
}

/// No run may show what no row of its faults lists.
fn nothing_else(strategy: &str, runs: &[&Run]) -> Expectation {
    let mut held = true;
    let forbidden = runs.iter().map(|run| forbidden(run));
    let in_all: Vec<&str> = Anomaly::ALL
        .into_iter()
        .filter(|anomaly| forbidden.clone().all(|kinds| kinds.contains(anomaly)))
        .map(Anomaly::name)
        .collect();
    let observed = runs.iter().map(|run| {
        let found = found(&run.anomalies, &self::forbidden(run));
        held &= found.is_empty();
        if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        }
    });
    let observed = each(observed);
    let demand = demanded(strategy, format!("no {}", in_all.join(", ")), observed);
    Expectation { held, ..demand }
}

/// What this run must not show: what neither the strategy nor any of its faults allows.
pub(super) fn forbidden(run: &Run) -> Vec<Anomaly> {
    let always = theory::at_any_time(&run.properties.theory);
    let under = |fault: &Fault| theory::under(&run.properties.theory, &fault.kind, &fault.target);
    let revoked = run
        .revocations
        .map(|_| theory::under_revocation(&run.properties.theory));
    let cells: Vec<&Expected> = std::iter::once(always)
        .chain(revoked)
        .chain(run.faults.iter().map(under))
        .collect();
    let allowed = |anomaly: &Anomaly| {
        cells
            .iter()
            .any(|row| row.predicted.contains(anomaly) || row.tolerated.contains(anomaly))
    };
    let kinds = Anomaly::ALL.into_iter();
    kinds.filter(|anomaly| !allowed(anomaly)).collect()
}

fn found(anomalies: &Anomalies, kinds: &[Anomaly]) -> Vec<String> {
    kinds
        .iter()
        .map(|anomaly| (anomaly, anomalies.count(*anomaly)))
        .filter(|(_, count)| *count > 0)
        .map(|(anomaly, count)| format!("{count} {}", anomaly.name()))
        .collect()
}

/// Where sessions outlive a node, the balancer can ask another one for everything that may be repeated.
fn nothing_repeatable_fails(strategy: &str, runs: &[&Run]) -> Option<Expectation> {
    let promised = |run: &&Run| {
        run.properties.survives_node_death
            && run.balancer == PROMISES
            && run.faults.iter().all(|fault| {
                let of_nodes = matches!(Part::of(&fault.target), Part::Node(_) | Part::Nodes);
                of_nodes && HIDDEN.contains(&fault.kind.as_str())
            })
    };
    if !runs.iter().all(promised) {
        return None;
    }
    let held = runs.iter().all(|run| run.requests.failed_idempotent == 0);
    let counts = runs
        .iter()
        .map(|run| run.requests.failed_idempotent.to_string());
    let demand = demanded(
        strategy,
        "no request fails that the balancer may repeat".to_owned(),
        each(counts),
    );
    Some(Expectation { held, ..demand })
}

#[cfg(test)]
mod tests;
