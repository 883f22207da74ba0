//! What the node counts about itself, and how `/metrics` tells it (Prometheus text format 0.0.4).
//!
//! A request must not pay for being counted: every counter has its place in a table, found by index and not by looking up
//! label values, so that one request costs three relaxed additions. Label values come from fixed sets only (strategies,
//! endpoints, statuses): nothing that a client sends can make the table grow.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use session::Eviction;

use crate::endpoints::Endpoint;
use crate::node::Node;

/// The statuses that this node gives; others are counted as `other`.
const STATUSES: [u16; 18] = [
    200, 201, 204, 400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 500, 501, 503,
];

/// Upper bounds of the latency histogram. In memory a request takes some microseconds, with a store some hundreds,
/// a password check tens of thousands.
const BOUNDS_US: [u64; 16] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000,
];

/// The requests that went to one strategy, or to none.
pub(crate) struct Requests {
    endpoints: [Row; Endpoint::ALL.len()],
}

/// The requests to one endpoint. Every request that was answered is in exactly one status, so their sum is the count.
struct Row {
    statuses: [AtomicU64; STATUSES.len() + 1],
    buckets: [AtomicU64; BOUNDS_US.len()],
    sum_us: AtomicU64,
    abandoned: AtomicU64,
    abandoned_us: AtomicU64,
}

impl Requests {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            endpoints: std::array::from_fn(|_| Row {
                statuses: std::array::from_fn(|_| AtomicU64::new(0)),
                buckets: std::array::from_fn(|_| AtomicU64::new(0)),
                sum_us: AtomicU64::new(0),
                abandoned: AtomicU64::new(0),
                abandoned_us: AtomicU64::new(0),
            }),
        }
    }

    /// Counts one request.
    pub(crate) fn count(&self, endpoint: Endpoint, status: StatusCode, took: Duration) {
        let row = &self.endpoints[endpoint as usize];
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let status = STATUSES
            .iter()
            .position(|&known| known == status.as_u16())
            .unwrap_or(STATUSES.len());
        row.statuses[status].fetch_add(1, Ordering::Relaxed);
        // Each request is in one bucket here; the text format wants them cumulative, which is cheaper done there.
        if let Some(bucket) = BOUNDS_US.iter().position(|&bound| took_us <= bound) {
            row.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        row.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// Counts one request that was given up after this time, before there was an answer.
    pub(crate) fn count_abandoned(&self, endpoint: Endpoint, took: Duration) {
        let row = &self.endpoints[endpoint as usize];
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        row.abandoned.fetch_add(1, Ordering::Relaxed);
        row.abandoned_us.fetch_add(took_us, Ordering::Relaxed);
    }
}

/// The page at `/metrics`.
pub(crate) fn page(node: &Node) -> String {
    let mut page = String::with_capacity(16 * 1024);
    requests(&mut page, node);
    abandoned(&mut page, node);
    sessions(&mut page, node);
    keys(&mut page, node);
    store(&mut page, node);
    let (running, waiting) = node.accounts.load();
    family(
        &mut page,
        "shop_password_checks_running",
        "gauge",
        "Password checks that run now.",
    );
    line(
        &mut page,
        format_args!("shop_password_checks_running {running}"),
    );
    family(
        &mut page,
        "shop_password_checks_waiting",
        "gauge",
        "Password checks that wait for a worker.",
    );
    line(
        &mut page,
        format_args!("shop_password_checks_waiting {waiting}"),
    );
    family(
        &mut page,
        "shop_password_checks_total",
        "counter",
        "Password checks that were done.",
    );
    line(
        &mut page,
        format_args!("shop_password_checks_total {}", node.accounts.done()),
    );
    family(
        &mut page,
        "shop_draining",
        "gauge",
        "1 from the signal to end until the end.",
    );
    line(
        &mut page,
        format_args!("shop_draining {}", u8::from(node.is_draining())),
    );
    page
}

fn requests(page: &mut String, node: &Node) {
    family(
        page,
        "shop_requests_total",
        "counter",
        "Requests answered; strategy is none where none was chosen.",
    );
    for (strategy, endpoint, row) in rows(node).filter(|(.., row)| row.count() > 0) {
        for (index, count) in row.statuses.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            let Some(status) = STATUSES.get(index) else {
                if count > 0 {
                    line(
                        page,
                        format_args!(
                            "shop_requests_total{{strategy=\"{strategy}\",endpoint=\"{endpoint}\",status=\"other\"}} {count}"
                        ),
                    );
                }
                continue;
            };
            if count > 0 {
                line(
                    page,
                    format_args!(
                        "shop_requests_total{{strategy=\"{strategy}\",endpoint=\"{endpoint}\",status=\"{status}\"}} {count}"
                    ),
                );
            }
        }
    }
    let name = "shop_request_duration_seconds";
    family(
        page,
        name,
        "histogram",
        "Time from the head of a request to the head of its answer.",
    );
    for (strategy, endpoint, row) in rows(node).filter(|(.., row)| row.count() > 0) {
        let labels = format!("strategy=\"{strategy}\",endpoint=\"{endpoint}\"");
        let mut below = 0;
        let buckets = BOUNDS_US
            .iter()
            .zip(&row.buckets)
            .map(|(&bound_us, count)| {
                below += count.load(Ordering::Relaxed);
                (bound_us, below)
            });
        histogram(
            page,
            name,
            &labels,
            buckets,
            row.count(),
            row.sum_us.load(Ordering::Relaxed),
        );
    }
}

fn abandoned(page: &mut String, node: &Node) {
    let given_up = || rows(node).filter(|(.., row)| row.abandoned.load(Ordering::Relaxed) > 0);
    let name = "shop_abandoned_requests_total";
    let help = "Requests that the client or the load balancer gave up before the answer.";
    family(page, name, "counter", help);
    for (strategy, endpoint, row) in given_up() {
        let count = row.abandoned.load(Ordering::Relaxed);
        line(
            page,
            format_args!("{name}{{strategy=\"{strategy}\",endpoint=\"{endpoint}\"}} {count}"),
        );
    }
    let name = "shop_abandoned_request_seconds_total";
    let help = "Time from the heads of those requests until they were given up.";
    family(page, name, "counter", help);
    for (strategy, endpoint, row) in given_up() {
        let sum = seconds(row.abandoned_us.load(Ordering::Relaxed));
        line(
            page,
            format_args!("{name}{{strategy=\"{strategy}\",endpoint=\"{endpoint}\"}} {sum}"),
        );
    }
}

fn sessions(page: &mut String, node: &Node) {
    family(
        page,
        "shop_sessions_owned",
        "gauge",
        "Sessions in this node's own memory.",
    );
    for lane in &node.lanes {
        if let Some(owned) = lane.strategy.sessions_owned() {
            line(
                page,
                format_args!("shop_sessions_owned{{strategy=\"{}\"}} {owned}", lane.name),
            );
        }
    }
}

/// Before an operator goes on with a change of keys, every node must show the step before.
fn keys(page: &mut String, node: &Node) {
    family(
        page,
        "shop_signing_key_info",
        "gauge",
        "Keys of tokens; state is signs, verifies or retired.",
    );
    for lane in &node.lanes {
        for key in lane.strategy.keys() {
            line(
                page,
                format_args!(
                    "shop_signing_key_info{{strategy=\"{}\",kid=\"{}\",state=\"{}\"}} 1",
                    lane.name, key.id, key.state
                ),
            );
        }
    }
}

fn store(page: &mut String, node: &Node) {
    let used: Vec<_> = node
        .lanes
        .iter()
        .filter_map(|lane| Some((lane.name, lane.strategy.store_use()?)))
        .collect();
    family(
        page,
        "shop_store_calls_total",
        "counter",
        "Round trips to the store that were begun.",
    );
    for (strategy, used) in &used {
        line(
            page,
            format_args!(
                "shop_store_calls_total{{strategy=\"{strategy}\"}} {}",
                used.calls
            ),
        );
    }
    family(
        page,
        "shop_store_errors_total",
        "counter",
        "Calls to the store that failed or took too long.",
    );
    for (strategy, used) in &used {
        line(
            page,
            format_args!(
                "shop_store_errors_total{{strategy=\"{strategy}\"}} {}",
                used.errors
            ),
        );
    }
    family(
        page,
        "shop_store_may_evict",
        "gauge",
        "1 where the store may throw sessions away when it is short of memory, NaN where it does not say.",
    );
    for lane in &node.lanes {
        let (policy, value) = match lane.strategy.eviction() {
            None => continue,
            Some(Eviction::Never) => ("noeviction".to_owned(), "0"),
            Some(Eviction::May { policy }) => (policy, "1"),
            Some(Eviction::Unknown) => ("unknown".to_owned(), "NaN"),
        };
        line(
            page,
            format_args!(
                "shop_store_may_evict{{strategy=\"{}\",policy=\"{policy}\"}} {value}",
                lane.name
            ),
        );
    }
    let name = "shop_store_wait_seconds";
    family(page, name, "histogram", "Time spent waiting for the store.");
    for (strategy, used) in &used {
        let labels = format!("strategy=\"{strategy}\"");
        histogram(
            page,
            name,
            &labels,
            used.wait_buckets.iter().copied(),
            used.calls,
            used.wait_us,
        );
    }
}

/// Every row. A table of zeros for calls that nobody made helps nobody: callers leave them out.
fn rows(node: &Node) -> impl Iterator<Item = (&'static str, &'static str, &Row)> {
    let lanes = node.lanes.iter().map(|lane| (lane.name, &lane.requests));
    lanes
        .chain([("none", &node.unrouted)])
        .flat_map(|(strategy, requests)| {
            Endpoint::ALL
                .iter()
                .zip(&requests.endpoints)
                .map(move |(endpoint, row)| (strategy, endpoint.label(), row))
        })
}

impl Row {
    fn count(&self) -> u64 {
        self.statuses
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    line(
        page,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"),
    );
}

/// One histogram; `buckets` are upper bounds in microseconds with cumulative counts.
fn histogram(
    page: &mut String,
    name: &str,
    labels: &str,
    buckets: impl Iterator<Item = (u64, u64)>,
    count: u64,
    sum_us: u64,
) {
    // Counters move while they are read: a bucket that was read after the count must not exceed it.
    for (bound_us, below) in buckets {
        let (bound, below) = (seconds(bound_us), below.min(count));
        line(
            page,
            format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {below}"),
        );
    }
    line(
        page,
        format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"),
    );
    line(
        page,
        format_args!("{name}_sum{{{labels}}} {}", seconds(sum_us)),
    );
    line(page, format_args!("{name}_count{{{labels}}} {count}"));
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
    page.push('\n');
}
