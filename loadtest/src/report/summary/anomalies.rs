//! Sentences about what the checker found beyond the losses that a fault explains.

use super::names;
use crate::report::format::{count, list, plural};
use crate::report::table::Column;
use crate::results::{Anomalies, Anomaly, Fault, Run};

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
    let unknown: Vec<String> = columns
        .iter()
        .map(|column| (total(column, |found| found.unknown), column.strategy))
        .filter(|(carts, _)| *carts > 0)
        .map(|(carts, strategy)| format!("{} in {strategy}", count(carts)))
        .collect();
    if !unknown.is_empty() {
        sentences.push(format!(
            "Some carts were not read at the end, so nothing can be said of them: {}.",
            list(&unknown)
        ));
    }
    sentences
}

/// "in redis 2 stale reads": what neither a fault explains nor the strategy declares.
fn unexplained(column: &Column<'_>) -> Option<String> {
    let in_faults = |value: fn(&Fault) -> u64| -> u64 {
        let faults = column.runs.iter().flat_map(|run| &run.faults);
        faults.map(value).sum()
    };
    let sessions = total(column, |found| found.session_lost)
        .saturating_sub(in_faults(|fault| fault.sessions_lost));
    let lines = total(column, |found| found.line_lost)
        .saturating_sub(in_faults(|fault| fault.cart_lines_lost));
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
    let outlived =
        |column: &&Column<'_>| !revocable(column) && total(column, |found| found.exposure) > 0;
    let strategies = names(
        columns
            .iter()
            .filter(outlived)
            .map(|column| column.strategy),
    );
    let times: u64 = columns
        .iter()
        .filter(outlived)
        .map(|column| total(column, |found| found.exposure))
        .sum();
    (times > 0).then(|| {
        format!(
            "A credential was accepted after its {} {} in {strategies}, as declared: nothing there can revoke at once.",
            if operated(columns) { "logout or revocation" } else { "logout" },
            plural(times, "time", "times")
        )
    })
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
