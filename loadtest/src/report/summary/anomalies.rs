//! Sentences about what the checker found beyond the losses that a fault explains.

use crate::report::format::{count, list, plural};
use crate::report::table::Column;
use crate::results::{Anomalies, Fault};

pub(super) fn sentences(columns: &[Column<'_>]) -> Vec<String> {
    type Kind = (&'static str, &'static str, fn(&Anomalies) -> u64);
    const KINDS: [Kind; 4] = [
        ("stale read", "stale reads", |found| found.stale_read),
        ("duplicated line", "duplicated lines", |found| {
            found.duplicate
        }),
        ("leak to another user", "leaks to another user", |found| {
            found.leak
        }),
        (
            "resurrection after logout",
            "resurrections after logout",
            |found| found.resurrection,
        ),
    ];
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for column in columns {
        let total = |value: fn(&Anomalies) -> u64| {
            column
                .runs
                .iter()
                .map(|run| value(&run.anomalies))
                .sum::<u64>()
        };
        let in_faults = |value: fn(&Fault) -> u64| {
            column
                .runs
                .iter()
                .flat_map(|run| &run.faults)
                .map(value)
                .sum()
        };
        let mut kinds: Vec<String> = Vec::new();
        let mut add = |n: u64, one: &str, many: &str| {
            if n > 0 {
                kinds.push(plural(n, one, many));
            }
        };
        let apart = |n: u64, in_faults: u64| n.saturating_sub(in_faults);
        add(
            apart(total(|f| f.session_lost), in_faults(|f| f.sessions_lost)),
            "session lost apart from any fault",
            "sessions lost apart from any fault",
        );
        add(
            apart(total(|f| f.line_lost), in_faults(|f| f.cart_lines_lost)),
            "cart line lost apart from any fault",
            "cart lines lost apart from any fault",
        );
        for (one, many, value) in KINDS {
            add(total(value), one, many);
        }
        if !kinds.is_empty() {
            found.push(format!("in {} {}", column.strategy, list(&kinds)));
        }
        if total(|f| f.unknown) > 0 {
            unknown.push(format!(
                "{} in {}",
                count(total(|f| f.unknown)),
                column.strategy
            ));
        }
    }
    if columns
        .iter()
        .flat_map(|column| &column.runs)
        .all(|run| run.requests.total == 0)
    {
        return Vec::new(); // of an empty history everything is true
    }
    let mut sentences = vec![if found.is_empty() {
        let lost = columns
            .iter()
            .flat_map(|c| &c.runs)
            .any(|run| run.anomalies.session_lost + run.anomalies.line_lost > 0);
        let beyond = if lost {
            "Beyond these losses the"
        } else {
            "The"
        };
        format!(
            "{beyond} checker found no anomaly: no stale read, no duplicate, no leak, no resurrection."
        )
    } else {
        format!("The checker found {}.", found.join("; "))
    }];
    if !unknown.is_empty() {
        sentences.push(format!(
            "Some carts were not read at the end, so nothing can be said of them: {}.",
            list(&unknown)
        ));
    }
    sentences
}
