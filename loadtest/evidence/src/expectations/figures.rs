//! The figures of a run by name: what thresholds, medians and comparisons of strategies are about.

use crate::part::Part;
use crate::results::{Fault, Latency, Run};

/// One number of a run.
#[derive(Debug)]
pub struct Figure {
    /// As in `results.json`, with its unit.
    pub name: &'static str,
    /// Reads it; `None` = not measured.
    pub of: fn(&Run) -> Option<f64>,
}

/// All of them. What a run has once for each fault is that of the worst one.
pub const FIGURES: &[Figure] = &[
    figure("sessions_lost", |run| count(run.anomalies.session_lost)),
    figure("lines_lost", |run| count(run.anomalies.line_lost)),
    figure("stale_reads", |run| count(run.anomalies.stale_read)),
    figure("rollbacks", |run| count(run.anomalies.rollback)),
    figure("duplicates", |run| count(run.anomalies.duplicate)),
    figure("phantoms", |run| count(run.anomalies.phantom)),
    figure("leaks", |run| count(run.anomalies.leak)),
    figure("resurrections", |run| count(run.anomalies.resurrection)),
    figure("exposures", |run| count(run.anomalies.exposure)),
    figure("unknown", |run| count(run.anomalies.unknown)),
    figure("unexplained_losses", |run| {
        count(super::predictions::unexplained(run))
    }),
    figure("failed_requests", |run| count(run.requests.failed)),
    figure("failed_idempotent", |run| {
        count(run.requests.failed_idempotent)
    }),
    figure("retried_by_balancer", |run| {
        count(run.requests.retried_by_balancer)
    }),
    figure("logins_again", |run| count(run.logins_again)),
    figure("unavailable_ms", |run| {
        worst(run, |fault| count(fault.unavailable_ms))
    }),
    figure("detected_ms", detected_ms),
    figure("recovered_ms", |run| {
        worst(run, |fault| count(fault.recovery_ms?))
    }),
    figure("error_seconds", |run| {
        worst(run, |fault| fault.error_seconds)
    }),
    figure("relogin_amplification", |run| {
        worst(run, |fault| fault.relogin_amplification)
    }),
    figure("throughput_rps", |run| run.throughput_rps),
    figure("goodput_rps", |run| run.goodput_rps),
    figure("goodput_share", |run| {
        Some(run.goodput_rps? / run.throughput_rps.filter(|rps| *rps > 0.0)?)
    }),
    figure("p50_us", |run| latency(run, |latency| Some(latency.p50))),
    figure("p90_us", |run| latency(run, |latency| latency.p90)),
    figure("p99_us", |run| latency(run, |latency| latency.p99)),
    figure("p999_us", |run| latency(run, |latency| latency.p999)),
    figure("max_us", |run| latency(run, |latency| Some(latency.max))),
    figure("response_p50_us", |run| count(run.response_us?.p50)),
    figure("response_p99_us", |run| count(run.response_us?.p99?)),
    figure("failures_max_us", |run| count(run.failure_latency_us?.max)),
    figure("revocation_ms.p50", |run| count(run.revocation_ms?.p50)),
    figure("revocation_ms.max", |run| count(run.revocation_ms?.max)),
    figure("revocations.sessions", |run| {
        count(run.revocations?.sessions)
    }),
    figure("revocations.accepted", |run| {
        count(run.revocations?.accepted())
    }),
    figure("revocations.alive_ms.p50", |run| {
        count(run.revocations?.alive_ms?.p50)
    }),
    figure("revocations.alive_ms.max", |run| {
        count(run.revocations?.alive_ms?.max)
    }),
    figure("cost_us_per_request.load_balancer", |run| {
        run.cost_us_per_request.load_balancer
    }),
    figure("cost_us_per_request.node", |run| {
        run.cost_us_per_request.node
    }),
    figure("cost_us_per_request.store", |run| {
        run.cost_us_per_request.store
    }),
    figure("cost_us_per_request.cluster", Run::cluster_cpu_us),
    figure("bytes_per_request.sent", |run| run.bytes_per_request.sent),
    figure("bytes_per_request.received", |run| {
        run.bytes_per_request.received
    }),
    figure("store_operations_per_request", |run| {
        run.store_operations_per_request
    }),
    figure("memory_bytes_per_session.node", |run| {
        run.memory_bytes_per_session.node
    }),
    figure("memory_bytes_per_session.store", |run| {
        run.memory_bytes_per_session.store
    }),
    figure(
        "memory_bytes_per_session.cluster",
        Run::session_memory_bytes,
    ),
];

const fn figure(name: &'static str, of: fn(&Run) -> Option<f64>) -> Figure {
    Figure { name, of }
}

/// The figure of this name.
pub fn named(name: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.name == name)
}

/// All names, for people.
pub fn names() -> String {
    let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
    names.join(", ")
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every figure may be missing; counts never are"
)]
fn count(count: u64) -> Option<f64> {
    Some(count as f64)
}

/// The largest over all faults; `None` if it is missing for one of them, for that may be the worst.
fn worst(run: &Run, value: fn(&Fault) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = run.faults.iter().map(value).collect();
    values?.into_iter().reduce(f64::max)
}

/// As [`worst`], over the faults that there is a victim of to be routed to. Who asks no store has none in a link to it.
fn detected_ms(run: &Run) -> Option<f64> {
    let has_victim = |fault: &&Fault| {
        let target = Part::of(&fault.target);
        target.node().is_some() && (run.has_store() || !target.is_link_to_store())
    };
    let of_nodes = run.faults.iter().filter(has_victim);
    let values: Option<Vec<u64>> = of_nodes.map(|fault| fault.detection_ms).collect();
    count(values?.into_iter().max()?)
}

fn latency(run: &Run, value: fn(&Latency) -> Option<u64>) -> Option<f64> {
    count(value(run.latency_us.as_ref()?)?)
}
