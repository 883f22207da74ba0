//! The tables: which figures stand beside each other, in which order and unit. Each cell is computed from the runs here;
//! the formats only draw.

use super::fault::{self, FaultKey};
use super::format::{self, TimeUnit, figure};
use super::table::{Cell, Column, Group, Row, Table, whole};
use crate::results::{Fault, Latency, Run};

/// The main table.
pub(super) fn figures(columns: &[Column<'_>]) -> Table {
    let mut groups = vec![
        traffic(columns),
        latency(columns),
        cpu(columns),
        network_and_store(columns),
        memory(columns),
    ];
    groups.extend(fault::keys(columns).iter().map(|key| losses(columns, key)));
    if columns
        .iter()
        .flat_map(|column| &column.runs)
        .any(|run| run.revocation_ms.is_some())
    {
        groups.push(revocation(columns));
    }
    table("One column for each strategy.", columns, groups)
}

/// What the strategies declare about themselves.
pub(super) fn properties(columns: &[Column<'_>]) -> Table {
    let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
    let rows = vec![
        Row::words("Session state lives", columns, |run| {
            match run.properties.state_lives.as_str() {
                "node" => "in one node’s memory".to_owned(),
                "store" => "in the shared store".to_owned(),
                "client" => "with the client, signed".to_owned(),
                other => other.to_owned(),
            }
        }),
        Row::words("Needs affinity", columns, |run| {
            yes(run.properties.needs_affinity)
        }),
        Row::words("Survives a node’s death", columns, |run| {
            yes(run.properties.survives_node_death)
        }),
        Row::words("Revocable at once", columns, |run| {
            yes(run.properties.revocable_at_once)
        }),
        Row::words("Store round trips a request, at most", columns, |run| {
            run.properties.store_round_trips.to_string()
        }),
        Row::words("What a logout does", columns, |run| {
            run.properties.logout.clone()
        }),
    ];
    let caption = "Declared in the code of each strategy.";
    Table {
        words: true,
        ..table(caption, columns, vec![group("", rows)])
    }
}

/// What the checker proved.
pub(super) fn anomalies(columns: &[Column<'_>]) -> Table {
    let rows = vec![
        Row::counts("Sessions lost", columns, |run| run.anomalies.session_lost),
        Row::counts("Cart lines lost", columns, |run| run.anomalies.line_lost),
        Row::counts("Stale reads", columns, |run| run.anomalies.stale_read),
        Row::counts("Duplicated lines", columns, |run| run.anomalies.duplicate),
        Row::counts("Leaks to another user", columns, |run| run.anomalies.leak),
        Row::counts("Resurrections after logout", columns, |run| {
            run.anomalies.resurrection
        }),
        Row::counts("Carts of which nothing can be said", columns, |run| {
            run.anomalies.unknown
        }),
    ];
    table(
        "Counted over the whole run, from the history of all operations.",
        columns,
        vec![group("", rows)],
    )
}

/// Whether the generator measured the cluster or itself.
pub(super) fn generator(columns: &[Column<'_>]) -> Table {
    let lag = |run: &Run| run.generator.lag_p99_us.map(|us| us as f64);
    let unit = TimeUnit::for_largest(largest(columns, lag));
    let rows = vec![
        Row::words("Figures may be believed", columns, |run| {
            match (&run.generator.reason, run.generator.valid) {
                (_, true) => "yes".to_owned(),
                (None, false) => "no".to_owned(),
                (Some(reason), false) => format!("no: {reason}"),
            }
        }),
        Row::numbers(
            "Requests sent late by, p99",
            unit.name(),
            columns,
            lag,
            |us| unit.show(us),
        ),
        Row::numbers(
            "CPU of the generator",
            "cores",
            columns,
            |run| run.generator.cpu_cores,
            figure,
        ),
        Row::numbers(
            "CPU of all processes together",
            "cores",
            columns,
            |run| run.generator.machine_cpu_cores,
            figure,
        ),
    ];
    table(
        "Whether it measured the cluster or itself.",
        columns,
        vec![group("", rows)],
    )
}

fn traffic(columns: &[Column<'_>]) -> Group {
    group(
        "Traffic",
        vec![
            Row::counts("Requests", columns, |run| run.requests.total),
            Row::numbers(
                "Throughput",
                "answers/s",
                columns,
                |run| run.throughput_rps,
                figure,
            ),
            Row::numbers(
                "Goodput",
                "answers/s",
                columns,
                |run| run.goodput_rps,
                figure,
            ),
            Row::parts("Failed requests", columns, format::with_share, |run| {
                Some((run.requests.failed, run.requests.total))
            }),
            Row::counts("of these idempotent", columns, |run| {
                run.requests.failed_idempotent
            })
            .detail(),
            Row::counts("Retried by the balancer", columns, |run| {
                run.requests.retried_by_balancer
            }),
            Row::counts("Logins again after a loss", columns, |run| run.logins_again),
        ],
    )
}

fn latency(columns: &[Column<'_>]) -> Group {
    type Percentile = fn(&Latency) -> Option<u64>;
    let percentiles: [(&str, Percentile); 5] = [
        ("p50 (median)", |latency| Some(latency.p50)),
        ("p90", |latency| latency.p90),
        ("p99", |latency| latency.p99),
        ("p99.9", |latency| latency.p999),
        ("Slowest", |latency| Some(latency.max)),
    ];
    let at = |run: &Run, percentile: Percentile| {
        run.latency_us
            .as_ref()
            .and_then(percentile)
            .map(|us| us as f64)
    };
    // One unit for all of them: percentiles are read down the column.
    let unit = TimeUnit::for_largest(largest(columns, |run| at(run, percentiles[4].1)));
    let rows = percentiles.map(|(label, percentile)| {
        Row::numbers(
            label,
            unit.name(),
            columns,
            |run| at(run, percentile),
            |us| unit.show(us),
        )
    });
    group("Latency of requests that were ok", rows.into())
}

fn cpu(columns: &[Column<'_>]) -> Group {
    let row = |label: &str, value: fn(&Run) -> Option<f64>| {
        Row::numbers(label, "µs", columns, value, figure)
    };
    group(
        "CPU a request",
        vec![
            row("Load balancer", |run| run.cost_us_per_request.load_balancer),
            row("Nodes", |run| run.cost_us_per_request.node),
            without_store(row("Store", |run| run.cost_us_per_request.store), columns),
            row("Cluster, together", cluster_cpu),
            row("Generator", |run| run.cost_us_per_request.generator),
        ],
    )
}

fn network_and_store(columns: &[Column<'_>]) -> Group {
    let store_operations = |run: &Run| run.store_operations_per_request;
    group(
        "Network and store, a request",
        vec![
            Row::numbers(
                "Sent by the client",
                "bytes",
                columns,
                |run| run.bytes_per_request.sent,
                figure,
            ),
            Row::numbers(
                "Received by the client",
                "bytes",
                columns,
                |run| run.bytes_per_request.received,
                figure,
            ),
            without_store(
                Row::numbers("Store operations", "", columns, store_operations, figure),
                columns,
            ),
        ],
    )
}

fn memory(columns: &[Column<'_>]) -> Group {
    let store = |run: &Run| run.memory_bytes_per_session.store;
    group(
        "Memory a session, cart empty",
        vec![
            Row::numbers(
                "Nodes",
                "bytes",
                columns,
                |run| run.memory_bytes_per_session.node,
                figure,
            ),
            without_store(
                Row::numbers("Store", "bytes", columns, store, figure),
                columns,
            ),
        ],
    )
}

fn revocation(columns: &[Column<'_>]) -> Group {
    let median = |run: &Run| {
        run.revocation_ms
            .map(|revocation| revocation.p50 as f64 * 1e3)
    };
    let longest = |run: &Run| {
        run.revocation_ms
            .map(|revocation| revocation.max as f64 * 1e3)
    };
    let unit = TimeUnit::for_largest(largest(columns, longest));
    group(
        "After logout, still accepted for",
        vec![
            Row::numbers("Median", unit.name(), columns, median, |us| unit.show(us)),
            Row::numbers("Longest", unit.name(), columns, longest, |us| unit.show(us)),
        ],
    )
}

/// A moment of a fault, in milliseconds after it took effect.
type Since = fn(&Fault) -> Option<u64>;

fn losses(columns: &[Column<'_>], key: &FaultKey) -> Group {
    let part = |label: String, value: fn(&Fault) -> (u64, u64)| {
        Row::parts(label, columns, format::part_of, |run| {
            key.find(run).map(value)
        })
    };
    let mut rows = vec![
        part("Sessions lost, of those alive".to_owned(), |fault| {
            (fault.sessions_lost, fault.sessions_live)
        }),
        part(format!("of those that {} served", key.target()), |fault| {
            (fault.sessions_lost_on_target, fault.sessions_on_target)
        })
        .detail(),
        part("Cart lines lost, of acknowledged".to_owned(), |fault| {
            (fault.cart_lines_lost, fault.cart_lines_acknowledged)
        }),
        Row::numbers(
            "Failed requests till recovery",
            "",
            columns,
            |run| key.find(run).map(|fault| fault.failed_requests as f64),
            whole,
        ),
    ];
    // Sessions are served by nodes: of a store there is nothing to say.
    if !columns
        .iter()
        .flat_map(|column| &column.runs)
        .any(|run| key.find(run).is_some_and(|f| f.sessions_on_target > 0))
    {
        rows.remove(1);
    }
    let spans: [(&str, Since); 4] = [
        ("Time unavailable", |fault| Some(fault.unavailable_ms)),
        ("Last request to it after", |fault| {
            since_effective(fault, fault.detected_ms)
        }),
        ("Goodput back at 95 % after", |fault| {
            since_effective(fault, fault.recovered_ms)
        }),
        ("Undone after", |fault| {
            since_effective(fault, fault.undone_ms)
        }),
    ];
    let at = |run: &Run, since: Since| key.find(run).and_then(since).map(|ms| ms as f64 * 1e3);
    let unit = spans
        .iter()
        .map(|(_, since)| largest(columns, |run| at(run, *since)))
        .fold(0.0, f64::max);
    let unit = TimeUnit::for_largest(unit.max(1e3));
    rows.extend(spans.map(|(label, since)| {
        Row::numbers(
            label,
            unit.name(),
            columns,
            |run| at(run, since),
            |us| unit.show(us),
        )
    }));
    group(&key.doing(), rows)
}

/// Milliseconds from the moment at which the fault was in effect.
fn since_effective(fault: &Fault, moment_ms: Option<u64>) -> Option<u64> {
    Some(moment_ms?.saturating_sub(fault.effective_ms?))
}

/// CPU of balancer, nodes and store together; `None` while one of them was not measured.
pub(super) fn cluster_cpu(run: &Run) -> Option<f64> {
    let cost = &run.cost_us_per_request;
    let store = if has_store(run) { cost.store? } else { 0.0 };
    Some(cost.load_balancer? + cost.node? + store)
}

/// Memory of a session in nodes and store together; `None` while one of them was not measured.
pub(super) fn session_memory(run: &Run) -> Option<f64> {
    let memory = &run.memory_bytes_per_session;
    let store = if has_store(run) { memory.store? } else { 0.0 };
    Some(memory.node? + store)
}

/// Whether the strategy asks a store at all. If not, a missing figure of the store is no gap.
pub(super) fn has_store(run: &Run) -> bool {
    run.properties.store_round_trips > 0
}

fn without_store(mut row: Row, columns: &[Column<'_>]) -> Row {
    for (cell, column) in row.cells.iter_mut().zip(columns) {
        if cell.text == format::NOT_MEASURED && !column.runs.iter().any(|run| has_store(run)) {
            *cell = Cell::words("no store");
        }
    }
    row
}

fn largest(columns: &[Column<'_>], value: impl Fn(&Run) -> Option<f64>) -> f64 {
    let runs = columns.iter().flat_map(|column| &column.runs);
    runs.filter_map(|run| value(run)).fold(0.0, f64::max)
}

fn group(title: &str, rows: Vec<Row>) -> Group {
    Group {
        title: title.to_owned(),
        rows,
    }
}

fn table(caption: &'static str, columns: &[Column<'_>], groups: Vec<Group>) -> Table {
    Table {
        caption,
        words: false,
        columns: columns
            .iter()
            .map(|column| column.strategy.to_owned())
            .collect(),
        groups,
    }
}
