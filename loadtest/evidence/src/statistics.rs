//! Figures: from a history and the checker's verdict to one [`Run`] of the results. Pure.
//!
//! **Which operations count.** All figures but the checker's are over operations whose answer was complete in the
//! measured part; what began in warm-up and ended in it counts, what ended after it does not. So total, timeline and
//! throughput agree. A request that did not do what the user wanted counts as failed, whoever's fault it was; but not a refusal
//! that had to be, because the credential had expired or was revoked ([`crate::checker::Ends`]).
//!
//! * `latency`: percentiles and histogram. `timeline`: slices. `faults` with `windows`: what happened when. `costs`: CPU,
//!   bytes, store commands, memory. `generator`: whether any of this may be believed, with `arrivals` (what became of those
//!   of an open loop) and `in_flight` (Little's law).
//! * `scale_out`: several sizes of cluster, with `scalability` (the law that is fitted).
//! * `repeats`: several runs together, with `bootstrap` (how far a median may be trusted) and `ranks` (whether two strategies
//!   differ).

mod arrivals;
mod bootstrap;
mod costs;
mod faults;
mod generator;
mod in_flight;
mod latency;
mod ranks;
mod repeats;
mod scalability;
mod scale_out;
mod sending;
mod timeline;
mod windows;

use crate::checker::{End, Ends, Verdict};
use crate::history::{History, Operation, Outcome, Reason};
use crate::results::{Requests, Run};
pub use bootstrap::median;
pub use repeats::{comparisons, summaries};
pub use scale_out::{refuse, scale_out};

/// Computes the run's figures.
pub fn summarise(history: &History, verdict: &Verdict) -> Run {
    let meta = &history.meta;
    let measured: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|operation| (0..meta.measured_until_us).contains(&operation.done_us))
        .collect();
    let ends = &verdict.ends;
    let requests = requests(&measured, ends);
    let seconds = meta.measured_until_us as f64 / 1e6;
    let rate = |count: u64| (seconds > 0.0).then(|| count as f64 / seconds);
    let timeline = timeline::of(&measured, ends, meta);
    let costs = costs::of(history);
    Run {
        strategy: meta.strategy.clone(),
        properties: meta.properties.clone(),
        repeat: meta.repeat,
        nodes: meta.nodes.len(),
        balancer: meta.balancer.clone(),
        users: meta.users as usize,
        measured_ms: ms(meta.measured_until_us),
        requests,
        throughput_rps: rate(requests.total),
        goodput_rps: rate(requests.ok),
        latency_us: latency::percentiles(measured.iter().filter_map(|one| latency::of(one))),
        failure_latency_us: latency::percentiles(
            measured
                .iter()
                .filter(|one| ends.is_failure(one))
                .filter_map(|one| latency::of_failure(one)),
        ),
        response_us: latency::percentiles(
            measured.iter().filter_map(|one| latency::of_response(one)),
        ),
        latency_histogram: latency::histogram(&measured),
        cost_us_per_request: costs.cpu,
        cost_window_ms: costs.window_ms,
        bytes_per_request: costs.bytes,
        store_operations_per_request: costs.store_operations,
        memory_bytes_per_session: costs::memory(history.memory),
        logins_again: verdict.logins_again,
        faults: faults::of(history, ends, &verdict.losses),
        anomalies: verdict.anomalies,
        witnesses: verdict.witnesses.clone(),
        revocation_ms: verdict.revocation_ms,
        revocations: verdict.revocations,
        generator: generator::judge(history),
        timeline,
    }
}

fn requests(measured: &[&Operation], ends: &Ends) -> Requests {
    let mut requests = Requests::default();
    for operation in measured {
        requests.total += 1;
        match ends.why(operation) {
            Some(End::Expired) => requests.refused_expired += 1,
            Some(End::Revoked) => requests.refused_revoked += 1,
            None if operation.outcome == Outcome::Ok => requests.ok += 1,
            None => {
                requests.failed += 1;
                // What a node refuses (4xx), it would refuse again.
                let unserved = operation.reason != Some(Reason::Refused);
                requests.failed_idempotent +=
                    u64::from(unserved && operation.action.is_idempotent());
            }
        }
        requests.retried_by_balancer += u64::from(operation.retries > 0);
    }
    requests
}

/// Milliseconds of a time in the measured part; what was before it is at 0.
fn ms(us: i64) -> u64 {
    u64::try_from(us / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::check;
    use crate::history::Lifetime;
    use crate::history::testing::{browse, history, log_in, log_out, read, revoke};

    #[test]
    fn only_the_measured_part_counts() {
        let history = history([
            log_in(1, 1, 1, -500),
            browse(1, 1, 2, -1), // ends at 1 ms, in the measured part
            log_out(1, 1, 3, 5_000).failed(),
            read(1, 1, 4, 6_000, &[]).unknown(),
            browse(1, 1, 5, 9_999), // ends after it
            read(1, 1, 6, 11_000, &[]),
        ]);
        let run = summarise(&history, &check(&history));
        let expected = Requests {
            total: 3,
            ok: 1,
            failed: 2,
            failed_idempotent: 1,
            ..Requests::default()
        };
        assert_eq!(run.requests, expected);
        assert_eq!(run.throughput_rps, Some(0.3));
        assert_eq!(run.goodput_rps, Some(0.1));
        let in_slices: u64 = run
            .timeline
            .iter()
            .map(|slice| slice.ok + slice.failed)
            .sum();
        assert_eq!(in_slices, 3);
    }

    #[test]
    fn a_refusal_that_had_to_be_is_no_failure() {
        let mut history = history([
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 8_500).refused(), // it lived for 8 s
            log_in(2, 1, 1, 0),
            browse(2, 1, 2, 3_000).refused(), // the operator ended it at 2 s
            log_in(3, 1, 1, 0),
            browse(3, 1, 2, 4_000).refused(), // lost
            browse(3, 0, 3, 4_500).failed(),
        ]);
        history.meta.lifetime = Some(Lifetime {
            absolute_s: 8,
            idle_s: None,
        });
        history.revocations = vec![revoke(2, 1, 2_000, 1)];
        let run = summarise(&history, &check(&history));
        let expected = Requests {
            total: 7,
            ok: 3,
            failed: 2,
            failed_idempotent: 1, // the lost session is counted as such
            refused_expired: 1,
            refused_revoked: 1,
            retried_by_balancer: 0,
        };
        assert_eq!(run.requests, expected);
        assert_eq!(run.anomalies.session_lost, 1);
        let in_slices: u64 = run.timeline.iter().map(|slice| slice.failed).sum();
        assert_eq!(in_slices, 2);
    }

    #[test]
    fn an_empty_history_gives_no_figures_rather_than_zeros() {
        let history = history([]);
        let run = summarise(&history, &check(&history));
        assert!(run.latency_us.is_none());
        assert!(run.cost_us_per_request.node.is_none());
        assert!(run.bytes_per_request.sent.is_none());
        assert!(run.memory_bytes_per_session.node.is_none());
        assert!(run.revocation_ms.is_none());
        assert!(!run.generator.valid);
    }
}
