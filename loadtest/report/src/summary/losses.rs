//! Sentences about what the faults cost: sessions, cart lines, failed requests.

use super::names;
use crate::fault::{self, FaultKey};
use crate::table::Column;
use evidence::format::{count, list, part_of, plural, share, time};
use evidence::results::{Fault, Run};

/// What faults cost, by what it is about.
pub(super) struct Sentences {
    /// Who was logged out; a sentence each fault.
    pub(super) sessions: Vec<String>,
    /// Whose requests failed, the longest outage first.
    pub(super) failures: Vec<String>,
    /// The rest: faults without effect, cart lines, how soon it was noticed.
    pub(super) others: Vec<String>,
}

/// What each fault cost; then which requests failed that could have been repeated.
pub(super) fn sentences(columns: &[Column<'_>]) -> Sentences {
    let mut said = Sentences {
        sessions: Vec::new(),
        failures: Vec::new(),
        others: Vec::new(),
    };
    let mut outages = Vec::new();
    for key in fault::keys(columns) {
        let outcomes: Vec<Outcome<'_>> = columns
            .iter()
            .filter_map(|column| outcome(column, &key))
            .collect();
        let longest = outcomes.iter().map(|one| one.unavailable_ms).max();
        said.others.extend(not_in_effect(columns, &key));
        said.sessions.extend(sessions(columns, &key, &outcomes));
        said.others.extend(cart_lines(&key, &outcomes));
        said.others.extend(detection(columns, &key));
        said.others.extend(afterwards(columns, &key));
        outages.extend(failures(&key, &outcomes).map(|sentence| (longest, sentence)));
    }
    outages.sort_by_key(|(longest, _)| std::cmp::Reverse(*longest));
    said.failures
        .extend(outages.into_iter().map(|(_, sentence)| sentence));
    said.others.extend(idempotent(columns));
    said
}

/// What a fault did to one strategy, all its runs together.
struct Outcome<'a> {
    strategy: &'a str,
    live: u64,
    on_target: u64,
    lost: u64,
    lost_on_target: u64,
    lines: u64,
    lines_lost: u64,
    failed: u64,
    unavailable_ms: u64,
}

fn outcome<'a>(column: &Column<'a>, key: &FaultKey) -> Option<Outcome<'a>> {
    let faults: Vec<&Fault> = column.runs.iter().filter_map(|run| key.find(run)).collect();
    if faults.is_empty() || faults.iter().any(|fault| fault.effective_ms.is_none()) {
        return None;
    }
    let sum = |value: fn(&Fault) -> u64| faults.iter().map(|fault| value(fault)).sum();
    Some(Outcome {
        strategy: column.strategy,
        live: sum(|fault| fault.sessions_live),
        on_target: sum(|fault| fault.sessions_on_target),
        lost: sum(|fault| fault.sessions_lost),
        lost_on_target: sum(|fault| fault.sessions_lost_on_target),
        lines: sum(|fault| fault.cart_lines_acknowledged),
        lines_lost: sum(|fault| fault.cart_lines_lost),
        failed: sum(|fault| fault.failed_requests),
        unavailable_ms: faults
            .iter()
            .map(|fault| fault.unavailable_ms)
            .max()
            .unwrap_or(0),
    })
}

/// The strategies that lost something, each with what it lost, and the names of those that lost nothing.
struct Sides {
    affected: Vec<String>,
    spared: String,
}

impl Sides {
    /// Divides what was observed by `lost`; `describe` says what a strategy lost.
    fn of<'a, T: 'a>(
        observed: impl Iterator<Item = &'a T> + Clone,
        lost: impl Fn(&T) -> u64,
        describe: impl Fn(&T) -> String,
        name: impl Fn(&'a T) -> &'a str,
    ) -> Self {
        Self {
            affected: observed
                .clone()
                .filter(|one| lost(one) > 0)
                .map(describe)
                .collect(),
            spared: names(observed.filter(|one| lost(one) == 0).map(name)),
        }
    }

    /// "{lead} {affected}; {rest}.", or `nobody`, with the names of the spared filled in for "{}".
    fn say(&self, lead: &str, rest: &str, nobody: &str) -> Option<String> {
        let affected = list(&self.affected);
        let fill = |sentence: &str| sentence.replace("{}", &self.spared);
        match (affected.is_empty(), self.spared.is_empty()) {
            (true, true) => None,
            (true, false) => Some(fill(nobody)),
            (false, true) => Some(format!("{lead} {affected}.")),
            (false, false) => Some(format!("{lead} {affected}; {}.", fill(rest))),
        }
    }
}

fn not_in_effect(columns: &[Column<'_>], key: &FaultKey) -> Option<String> {
    let unseen = |run: &Run| {
        key.find(run)
            .is_some_and(|fault| fault.effective_ms.is_none())
    };
    let concerned = columns
        .iter()
        .filter(|column| column.runs.iter().any(|run| unseen(run)));
    let strategies = names(concerned.map(|column| column.strategy));
    (!strategies.is_empty()).then(|| {
        format!(
            "{} was commanded, but never seen to take effect in {strategies}: no conclusion is drawn from it.",
            key.doing()
        )
    })
}

/// "Killing node-2 logged out 34 % of the sticky sessions (51 of 150; all 51 served by node-2); redis and jwt lost none."
fn sessions(columns: &[Column<'_>], key: &FaultKey, outcomes: &[Outcome<'_>]) -> Option<String> {
    let observed = outcomes.iter().filter(|outcome| outcome.live > 0);
    let alive: Vec<String> = observed
        .clone()
        .map(|outcome| count(outcome.live))
        .collect();
    let sides = Sides::of(observed, |o| o.lost, |o| loss(key, o), |o| o.strategy);
    let mut nodes = columns
        .iter()
        .flat_map(|column| &column.runs)
        .map(|run| run.nodes);
    let doing = match nodes.next() {
        Some(all) if key.hits_a_node() && nodes.all(|other| other == all) => {
            format!(
                "{}, one of {}, ",
                key.doing(),
                plural(all as u64, "node", "nodes")
            )
        }
        _ => format!("{} ", key.doing()),
    };
    sides.say(
        &format!("{doing}logged out"),
        "{} lost none",
        &format!(
            "{doing}ended no session: {{}} kept all that were alive ({}).",
            list(&alive)
        ),
    )
}

fn loss(key: &FaultKey, outcome: &Outcome<'_>) -> String {
    let Outcome {
        strategy,
        live,
        on_target,
        lost,
        lost_on_target,
        ..
    } = outcome;
    let target = key.target();
    let elsewhere = lost - lost_on_target.min(lost);
    let whose = match (*on_target, *lost_on_target, elsewhere) {
        (0, _, _) => String::new(),
        (served, ended, 0) if served == ended => {
            format!("; all {} served by {target}", count(served))
        }
        (served, ended, 0) => format!(
            "; {} of the {} served by {target}",
            count(ended),
            count(served)
        ),
        (served, ended, elsewhere) => format!(
            "; {} of the {} served by {target}, and {} of other nodes",
            count(ended),
            count(served),
            count(elsewhere)
        ),
    };
    format!(
        "{} of the {strategy} sessions ({} of {}{whose})",
        share(*lost, *live),
        count(*lost),
        count(*live)
    )
}

fn cart_lines(key: &FaultKey, outcomes: &[Outcome<'_>]) -> Option<String> {
    let sides = Sides::of(
        outcomes.iter().filter(|outcome| outcome.lines > 0),
        |o| o.lines_lost,
        |o| format!("{} in {}", part_of(o.lines_lost, o.lines), o.strategy),
        |o| o.strategy,
    );
    sides.say(
        &format!("{} lost acknowledged cart lines:", key.doing()),
        "none in {}",
        &format!("{} lost no acknowledged cart line in {{}}.", key.doing()),
    )
}

fn failures(key: &FaultKey, outcomes: &[Outcome<'_>]) -> Option<String> {
    let describe = |o: &Outcome<'_>| {
        let requests = plural(o.failed, "request", "requests");
        let unavailable = match o.unavailable_ms {
            0 => String::new(),
            ms => format!(" ({} unavailable)", time(ms as f64 * 1e3)),
        };
        format!("{requests} failed in {}{unavailable}", o.strategy)
    };
    let sides = Sides::of(outcomes.iter(), |o| o.failed, describe, |o| o.strategy);
    let when = format!("{}:", key.doing());
    sides.say(
        &when,
        "none failed in {}",
        &format!("{when} no request failed in {{}}."),
    )
}

/// "Killing node-2: the last request was routed to it after 1.52 s in sticky and 1.60 s in redis." The slowest of all runs.
fn detection(columns: &[Column<'_>], key: &FaultKey) -> Option<String> {
    let noticed: Vec<String> = columns
        .iter()
        .filter_map(|column| {
            let faults = column.runs.iter().filter_map(|run| key.find(run));
            let slowest = faults.filter_map(|fault| fault.detection_ms).max()?;
            Some(format!(
                "{} in {}",
                time(slowest as f64 * 1e3),
                column.strategy
            ))
        })
        .collect();
    (!noticed.is_empty()).then(|| {
        format!(
            "{}: the last request was routed to it after {}.",
            key.doing(),
            list(&noticed)
        )
    })
}

/// "After node-2 resumed, old state was seen 3 times in sticky; never in redis and jwt."
fn afterwards(columns: &[Column<'_>], key: &FaultKey) -> Option<String> {
    if !key.is_the_only_pause(columns) {
        return None;
    }
    let old = |column: &Column<'_>| -> u64 {
        let found = column.runs.iter().map(|run| run.anomalies);
        found
            .map(|found| found.stale_read + found.rollback + found.resurrection)
            .sum()
    };
    let sides = Sides::of(
        columns.iter(),
        old,
        |column| {
            let times = plural(old(column), "time", "times");
            format!("{times} in {}", column.strategy)
        },
        |column| column.strategy,
    );
    let when = format!("After {} resumed,", key.target());
    sides.say(
        &format!("{when} old state was seen"),
        "never in {}",
        &format!("{when} no old state was seen in {{}}."),
    )
}

fn idempotent(columns: &[Column<'_>]) -> Option<String> {
    let total = |column: &Column<'_>, value: fn(&Run) -> u64| {
        column.runs.iter().map(|run| value(run)).sum::<u64>()
    };
    let failed = |column: &Column<'_>| total(column, |run| run.requests.failed_idempotent);
    let sides = Sides::of(
        columns
            .iter()
            .filter(|column| total(column, |run| run.requests.total) > 0),
        failed,
        |column| format!("{} in {}", count(failed(column)), column.strategy),
        |column| column.strategy,
    );
    sides.say(
        "Retryable requests that failed unserved:",
        "none in {}",
        "No retryable request failed unserved in {}.",
    )
}
