//! Sentences about what the checker found beyond the losses that a fault explains.

use super::names;
use crate::table::Column;
use evidence::format::{count, list, plural};
use evidence::results::{Anomalies, Anomaly, Fault, Run};

/// What was found, or that nothing was; then what was to be expected, and what nobody can know.
pub(super) fn sentences(columns: &[Column<'_>]) -> Vec<String> {
    let runs = || columns.iter().flat_map(|column| &column.runs);
    if runs().all(|run| run.requests.total == 0) {
        return Vec::new(); // of an empty history everything is true
    }
    let found: Vec<String> = columns.iter().filter_map(unexplained).collect();
    let lost = runs().any(|run| run.anomalies.session_lost + run.anomalies.line_lost > 0);
    let mut sentences = vec![match (found.is_empty(), lost) {
        (true, true) => "Beyond these losses the checker found no anomaly.".to_owned(),
        (true, false) => "The checker found no anomaly.".to_owned(),
        (false, _) => format!("The checker found {}.", found.join("; ")),
    }];
    sentences.extend(declared(columns));
    sentences.extend(missed_logouts(columns));
    let unknown: Vec<String> = columns
        .iter()
        .map(|column| (total(column, |found| found.unknown), column.strategy))
        .filter(|(carts, _)| *carts > 0)
        .map(|(carts, strategy)| format!("{} in {strategy}", count(carts)))
        .collect();
    if !unknown.is_empty() {
        sentences.push(format!(
            "Some carts were not read at the end, so their outcome is unknown: {}.",
            list(&unknown)
        ));
    }
    sentences
}

/// "in redis 2 stale reads": what neither a fault explains nor the strategy declares.
fn unexplained(column: &Column<'_>) -> Option<String> {
    let sessions = total(column, |found| found.session_lost)
        .saturating_sub(in_faults(column, |fault| fault.sessions_lost));
    let lines = total(column, |found| found.line_lost)
        .saturating_sub(in_faults(column, |fault| fault.cart_lines_lost));
    let beyond = Anomaly::ALL.into_iter().filter_map(|kind| {
        let (one, many) = kind.words();
        match kind {
            Anomaly::SessionLost => Some((
                sessions,
                "session lost apart from any fault",
                "sessions lost apart from any fault",
            )),
            Anomaly::LineLost => Some((
                lines,
                "cart line lost apart from any fault",
                "cart lines lost apart from any fault",
            )),
            Anomaly::Exposure if !revocable(column) => None,
            Anomaly::Unknown => None,
            _ => Some((total(column, |found| found.count(kind)), one, many)),
        }
    });
    let kinds = beyond.filter(|(n, ..)| *n > 0);
    let kinds: Vec<String> = kinds.map(|(n, one, many)| plural(n, one, many)).collect();
    (!kinds.is_empty()).then(|| format!("in {} {}", column.strategy, list(&kinds)))
}

/// A strategy that cannot revoke says so; that its credentials outlive a logout is worth a sentence, but no surprise.
fn declared(columns: &[Column<'_>]) -> Option<String> {
    let outlived = |column: &Column<'_>| {
        let exposures = total(column, |found| found.exposure);
        exposures.saturating_sub(in_faults(column, |fault| fault.exposures))
    };
    let (times, strategies) = where_any(columns, outlived)?;
    Some(format!(
        "A credential was accepted after its {} {times} in {strategies}, as declared: nothing there can revoke at once.",
        if operated(columns) {
            "logout or revocation"
        } else {
            "logout"
        },
    ))
}

/// A logout that a fault led to another node.
fn missed_logouts(columns: &[Column<'_>]) -> Option<String> {
    let missed = |column: &Column<'_>| in_faults(column, |fault| fault.exposures);
    let (times, strategies) = where_any(columns, missed)?;
    Some(format!(
        "A credential was accepted after a logout {times} in {strategies}, because the session’s node was away: another node \
         answered the logout, did not know the session, and ended nothing."
    ))
}

/// How often all in all, and in which strategies, where nothing can revoke at once. `None` where never.
fn where_any(
    columns: &[Column<'_>],
    value: impl Fn(&Column<'_>) -> u64,
) -> Option<(String, String)> {
    let affected: Vec<&Column<'_>> = columns
        .iter()
        .filter(|column| !revocable(column) && value(column) > 0)
        .collect();
    let times: u64 = affected.iter().map(|column| value(column)).sum();
    let strategies = names(affected.iter().map(|column| column.strategy));
    (times > 0).then(|| (plural(times, "time", "times"), strategies))
}

fn in_faults(column: &Column<'_>, value: fn(&Fault) -> u64) -> u64 {
    let faults = column.runs.iter().flat_map(|run| &run.faults);
    faults.map(value).sum()
}

fn operated(columns: &[Column<'_>]) -> bool {
    let mut runs = columns.iter().flat_map(|column| &column.runs);
    runs.any(|run| run.revocations.is_some())
}

fn revocable(column: &Column<'_>) -> bool {
    column
        .runs
        .iter()
        .all(|run| run.properties.revocable_at_once)
}

fn total(column: &Column<'_>, value: impl Fn(&Anomalies) -> u64) -> u64 {
    column
        .runs
        .iter()
        .map(|run: &&Run| value(&run.anomalies))
        .sum()
}
