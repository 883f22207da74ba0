//! The tables: which figures stand beside each other, in which order and unit. Each cell is computed from the runs here;
//! the formats only draw.

use super::failover;
use super::table::{Cell, Column, Group, Row, Table, group, largest, whole};
use evidence::format::{self, TimeUnit, figure};
use evidence::results::{Arrivals, Latency, Revocations, Run, Summary};

/// All figures but those that decide, which stand in `key_figures`.
pub(super) fn figures(columns: &[Column<'_>], summaries: &[Summary]) -> Table {
    let mut groups = vec![traffic(columns), latency(columns)];
    groups.extend(merged_latency(columns, summaries));
    groups.extend([cpu(columns), network_and_store(columns), memory(columns)]);
    groups.extend(failover::groups(columns));
    if columns
        .iter()
        .flat_map(|column| &column.runs)
        .any(|run| run.revocation_ms.is_some())
    {
        groups.push(revocation(columns));
    }
    if revoked(columns) {
        groups.push(by_an_operator(columns));
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
        Row::words("Store round trips per request (at most)", columns, |run| {
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
        Row::counts("Rollbacks", columns, |run| run.anomalies.rollback),
        Row::counts("Duplicated lines", columns, |run| run.anomalies.duplicate),
        Row::counts("Phantom lines", columns, |run| run.anomalies.phantom),
        Row::counts("Leaks to another user", columns, |run| run.anomalies.leak),
        Row::counts("Resurrections of dead credentials", columns, |run| {
            run.anomalies.resurrection
        }),
        Row::counts("Dead credentials accepted, as declared", columns, |run| {
            run.anomalies.exposure
        }),
        Row::counts("Carts with unknown outcome", columns, |run| {
            run.anomalies.unknown
        }),
    ];
    table(
        "Counted over the whole run, from the history of all operations.",
        columns,
        vec![group("", rows)],
    )
}

/// One of the counts of an open loop.
type Count = fn(&Arrivals) -> u64;

/// Whether the generator measured the cluster or itself.
pub(super) fn generator(columns: &[Column<'_>]) -> Table {
    let lag = |run: &Run| run.generator.lag_p99_us.map(|us| us as f64);
    let unit = TimeUnit::for_largest(largest(columns, lag));
    let mut rows = vec![
        Row::words("Measurement valid", columns, |run| {
            match (&run.generator.reason, run.generator.valid) {
                (_, true) => "yes".to_owned(),
                (None, false) => "no".to_owned(),
                (Some(reason), false) => format!("no: {reason}"),
            }
        }),
        Row::numbers(
            "Requests sent late by (p99)",
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
        Row::numbers(
            "Requests in flight, sampled",
            "",
            columns,
            |run| Some(run.generator.in_flight?.seen),
            figure,
        ),
        Row::numbers(
            "Requests in flight, by Little’s law",
            "",
            columns,
            |run| Some(run.generator.in_flight?.by_littles_law),
            figure,
        ),
    ];
    let arrivals = |run: &Run, value: Count| {
        run.generator
            .arrivals
            .as_ref()
            .map(|arrivals| value(arrivals) as f64)
    };
    let mut all = columns.iter().flat_map(|column| &column.runs);
    if all.any(|run| run.generator.arrivals.is_some()) {
        let count: [(&str, Count); 4] = [
            ("Scheduled arrivals", |arrivals| arrivals.due),
            ("Sent late", |arrivals| arrivals.late),
            ("Sent late because no user was free", |arrivals| {
                arrivals.late_without_user
            }),
            ("Dropped", |arrivals| arrivals.dropped),
        ];
        rows.extend(count.map(|(label, value)| {
            let of = |run: &Run| arrivals(run, value);
            Row::numbers(label, "", columns, of, figure)
        }));
    }
    table(
        "Did it measure the cluster, or its own limits?",
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
            Row::counts("Retryable requests unserved", columns, |run| {
                run.requests.failed_idempotent
            }),
            Row::counts("Correctly refused (expired, revoked)", columns, |run| {
                run.requests.refused_expired + run.requests.refused_revoked
            }),
            Row::counts("Retried by the load balancer", columns, |run| {
                run.requests.retried_by_balancer
            }),
            Row::counts("Re-logins after a lost session", columns, |run| {
                run.logins_again
            }),
        ],
    )
}

type Percentile = fn(&Latency) -> Option<u64>;

const PERCENTILES: [(&str, Percentile); 5] = [
    ("p50", |latency| Some(latency.p50)),
    ("p90", |latency| latency.p90),
    ("p99", |latency| latency.p99),
    ("p99.9", |latency| latency.p999),
    ("Slowest", |latency| Some(latency.max)),
];

fn latency(columns: &[Column<'_>]) -> Group {
    let at = |latency: Option<Latency>, percentile: Percentile| {
        percentile(&latency?).map(|us| us as f64)
    };
    let slowest = |run: &Run| at(run.latency_us, |latency| Some(latency.max));
    let slowest_failure = |run: &Run| at(run.failure_latency_us, |latency| Some(latency.max));
    // One unit for all of them: percentiles are read down the column.
    let longest = largest(columns, slowest).max(largest(columns, slowest_failure));
    let unit = TimeUnit::for_largest(longest);
    let row = |label, value: &dyn Fn(&Run) -> Option<f64>| {
        Row::numbers(label, unit.name(), columns, value, |us| unit.show(us))
    };
    // The key figures have p50 and p99: of these latencies, but in an open loop of the response times from schedule.
    let is_open = columns
        .iter()
        .flat_map(|column| &column.runs)
        .any(|run| run.generator.arrivals.is_some());
    let mut rows: Vec<Row> = PERCENTILES
        .iter()
        .filter(|(label, _)| is_open || !["p50", "p99"].contains(label))
        .map(|(label, percentile)| row(*label, &|run| at(run.latency_us, *percentile)))
        .collect();
    if largest(columns, slowest_failure) > 0.0 {
        rows.push(row("p50 of failed requests", &|run| {
            at(run.failure_latency_us, |latency| Some(latency.p50))
        }));
        rows.push(row("Slowest failed request", &slowest_failure));
    }
    group("Latency of successful requests", rows)
}

/// Over the requests of all runs; nothing new where each strategy ran once.
fn merged_latency(columns: &[Column<'_>], summaries: &[Summary]) -> Option<Group> {
    if summaries.iter().all(|summary| summary.runs < 2) {
        return None;
    }
    let of = |column: &Column<'_>| {
        let summary = summaries
            .iter()
            .find(|summary| summary.strategy == column.strategy)?;
        summary.latency_us
    };
    let slowest = columns.iter().filter_map(of).map(|latency| latency.max);
    let unit = TimeUnit::for_largest(slowest.max().unwrap_or(0) as f64);
    let rows = PERCENTILES.iter().map(|(label, percentile)| {
        let cells = columns.iter().map(|column| {
            of(column)
                .and_then(|latency| percentile(&latency))
                .map_or_else(Cell::gap, |us| Cell::words(unit.show(us as f64)))
        });
        Row::of(*label, unit.name(), cells.collect())
    });
    Some(group(
        "Latency over all runs (merged histograms)",
        rows.collect(),
    ))
}

fn cpu(columns: &[Column<'_>]) -> Group {
    let row = |label: &str, value: fn(&Run) -> Option<f64>| {
        Row::numbers(label, "µs", columns, value, figure)
    };
    group(
        "CPU per request",
        vec![
            row("Load balancer", |run| run.cost_us_per_request.load_balancer),
            row("Nodes", |run| run.cost_us_per_request.node),
            without_store(row("Store", |run| run.cost_us_per_request.store), columns),
            row("Generator", |run| run.cost_us_per_request.generator),
        ],
    )
}

fn network_and_store(columns: &[Column<'_>]) -> Group {
    let bytes = |label: &str, value: fn(&Run) -> Option<f64>| {
        Row::numbers(label, "bytes", columns, value, figure)
    };
    let store_operations = |run: &Run| run.store_operations_per_request;
    let store = Row::numbers("Store operations", "", columns, store_operations, figure);
    group(
        "Network and store, per request",
        vec![
            bytes("Sent by the client", |run| run.bytes_per_request.sent),
            bytes("Received by the client", |run| {
                run.bytes_per_request.received
            }),
            without_store(store, columns),
        ],
    )
}

fn memory(columns: &[Column<'_>]) -> Group {
    let bytes = |label: &str, value: fn(&Run) -> Option<f64>| {
        Row::numbers(label, "bytes", columns, value, figure)
    };
    let store = bytes("Store", |run| run.memory_bytes_per_session.store);
    group(
        "Memory per session (empty cart)",
        vec![
            bytes("Nodes", |run| run.memory_bytes_per_session.node),
            without_store(store, columns),
        ],
    )
}

/// The longest is a key figure.
fn revocation(columns: &[Column<'_>]) -> Group {
    let median = |run: &Run| run.revocation_ms.map(|alive| alive.p50 as f64 * 1e3);
    let unit = TimeUnit::for_largest(largest(columns, median));
    let row = Row::numbers("Median", unit.name(), columns, median, |us| unit.show(us));
    group("After logout, still accepted for", vec![row])
}

fn revoked(columns: &[Column<'_>]) -> bool {
    let mut runs = columns.iter().flat_map(|column| &column.runs);
    runs.any(|run| run.revocations.is_some())
}

/// What an operator's revocations were worth.
fn by_an_operator(columns: &[Column<'_>]) -> Group {
    let count = |label: &str, value: fn(&Revocations) -> u64| {
        let of = |run: &Run| run.revocations.as_ref().map(|one| value(one) as f64);
        Row::numbers(label, "", columns, of, whole)
    };
    let alive_us = |run: &Run| Some(run.revocations?.alive_ms?.max as f64 * 1e3);
    let unit = TimeUnit::for_largest(largest(columns, alive_us));
    group(
        "Revocation by an operator",
        vec![
            count("Calls", |one| one.asked),
            count("acknowledged by a node", |one| one.acknowledged).detail(),
            count("refused: not supported", |one| one.unsupported).detail(),
            Row::parts(
                "Credentials accepted afterwards",
                columns,
                format::part_of,
                |run| run.revocations.map(|one| (one.accepted(), one.sessions)),
            ),
            Row::numbers("Longest", unit.name(), columns, alive_us, |us| {
                unit.show(us)
            })
            .detail(),
        ],
    )
}

fn without_store(mut row: Row, columns: &[Column<'_>]) -> Row {
    for (cell, column) in row.cells.iter_mut().zip(columns) {
        if cell.text == format::NOT_MEASURED && !column.runs.iter().any(|run| run.has_store()) {
            *cell = Cell::words("no store");
        }
    }
    row
}

fn table(caption: &'static str, columns: &[Column<'_>], groups: Vec<Group>) -> Table {
    Table {
        caption,
        words: false,
        spread: false,
        columns: columns
            .iter()
            .map(|column| column.strategy.to_owned())
            .collect(),
        groups,
    }
}
