//! The rows about faults: what each cost, for how long, and how the cluster came back.

use std::collections::BTreeSet;

use super::fault::{self, FaultKey};
use super::table::{Column, Group, Row, group, largest, whole};
use evidence::format::{self, TimeUnit, figure};
use evidence::results::{Fault, Run};

/// One group for each fault.
pub(super) fn groups(columns: &[Column<'_>]) -> Vec<Group> {
    let keys = fault::keys(columns);
    keys.iter().map(|key| of(columns, key)).collect()
}

fn of(columns: &[Column<'_>], key: &FaultKey) -> Group {
    let mut rows = losses(columns, key);
    rows.extend(failures(columns, key));
    rows.extend(times(columns, key));
    rows.extend(rates(columns, key));
    group(&key.doing(), rows)
}

fn losses(columns: &[Column<'_>], key: &FaultKey) -> Vec<Row> {
    let part = |label: String, value: fn(&Fault) -> (u64, u64)| {
        Row::parts(label, columns, format::part_of, |run| {
            key.find(run).map(value)
        })
    };
    let mut rows = vec![part(
        "Sessions lost, of live sessions".to_owned(),
        |fault| (fault.sessions_lost, fault.sessions_live),
    )];
    // Sessions are served by nodes: of a store there is nothing to say.
    if faults(columns, key).any(|fault| fault.sessions_on_target > 0) {
        let served = format!("of those served by {}", key.target());
        rows.push(
            part(served, |fault| {
                (fault.sessions_lost_on_target, fault.sessions_on_target)
            })
            .detail(),
        );
    }
    rows.push(part(
        "Cart lines lost, of acknowledged".to_owned(),
        |fault| (fault.cart_lines_lost, fault.cart_lines_acknowledged),
    ));
    rows
}

fn failures(columns: &[Column<'_>], key: &FaultKey) -> Vec<Row> {
    let count = |label: String, value: &dyn Fn(&Fault) -> u64| {
        let of = |run: &Run| key.find(run).map(|fault| value(fault) as f64);
        Row::numbers(label, "", columns, of, whole)
    };
    let mut rows = vec![count(
        "Failed requests since this fault".to_owned(),
        &|fault| fault.failed_requests,
    )];
    let causes: BTreeSet<&String> = faults(columns, key)
        .flat_map(|fault| fault.failed_by_cause.keys())
        .collect();
    rows.extend(causes.into_iter().map(|cause| {
        let of_it = |fault: &Fault| fault.failed_by_cause.get(cause).copied().unwrap_or(0);
        count(in_words(cause), &of_it).detail()
    }));
    rows
}

/// A cause of failures, as the history names it.
fn in_words(cause: &str) -> String {
    match cause {
        "session_lost" => "session refused (401)".to_owned(),
        "not_connected" => "no connection to the load balancer".to_owned(),
        "nothing_ended" => "logout at a node without the session".to_owned(),
        "timed_out" => "no answer in time".to_owned(),
        "broken" => "connection broke".to_owned(),
        "no_node" => "no node available (503)".to_owned(),
        "bad_gateway" => "load balancer gave up (502, 504)".to_owned(),
        "refused" => "refused by a node (4xx)".to_owned(),
        "node_failed" => "failed in a node (5xx)".to_owned(),
        other => other.replace('_', " "),
    }
}

/// A time of a fault, in milliseconds.
type Span = fn(&Fault) -> Option<u64>;

fn times(columns: &[Column<'_>], key: &FaultKey) -> Vec<Row> {
    let spans: [(&str, Span); 4] = [
        ("Time unavailable", |fault| Some(fault.unavailable_ms)),
        ("Last request routed to it after", |fault| {
            fault.detection_ms
        }),
        ("Goodput back to 95 % after", |fault| fault.recovery_ms),
        ("Fault lifted after", |fault| {
            Some(fault.undone_ms?.saturating_sub(fault.effective_ms?))
        }),
    ];
    let at = |run: &Run, span: Span| key.find(run).and_then(span).map(|ms| ms as f64 * 1e3);
    let longest = spans
        .iter()
        .map(|(_, span)| largest(columns, |run| at(run, *span)))
        .fold(0.0, f64::max);
    let unit = TimeUnit::for_largest(longest.max(1e3));
    let rows = spans.map(|(label, span)| {
        Row::numbers(
            label,
            unit.name(),
            columns,
            |run| at(run, span),
            |us| unit.show(us),
        )
    });
    rows.into()
}

fn rates(columns: &[Column<'_>], key: &FaultKey) -> Vec<Row> {
    let row = |label: &str, unit: &'static str, value: fn(&Fault) -> Option<f64>| {
        let of = |run: &Run| key.find(run).and_then(value);
        Row::numbers(label, unit, columns, of, figure)
    };
    vec![
        row("Error-seconds", "", |fault| fault.error_seconds),
        row("Throughput during the fault", "1/s", |fault| {
            fault.throughput_rps
        }),
        row("Goodput during the fault", "1/s", |fault| fault.goodput_rps),
        row("Peak login rate", "× normal", |fault| {
            fault.relogin_amplification
        }),
    ]
}

fn faults<'a>(
    columns: &'a [Column<'_>],
    key: &'a FaultKey,
) -> impl Iterator<Item = &'a Fault> + 'a {
    let runs = columns.iter().flat_map(|column| &column.runs);
    runs.filter_map(|run| key.find(run))
}
