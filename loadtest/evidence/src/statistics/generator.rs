//! The generator's judgement of itself: did it measure the cluster, or its own limits?

use std::collections::{BTreeMap, HashMap};

use super::in_flight::Seen;
use super::latency::{bins, nearest_rank};
use super::sending::Sending;
use super::{arrivals, in_flight};
use crate::history::{Action, Count, FaultStep, History, Meta, Operation, Outcome, Reason};
use crate::pace::Pace;
use crate::results::Generator;

/// In a closed loop: a user that acts later than intended by this share of its usual pause puts that much less load on the
/// cluster.
const LAG_SHARE: f64 = 0.1;
/// In an open loop: an arrival that is sent so much later than it could have been makes a fast cluster look slow. A fifth of
/// the 100 ms windows in which failover is measured; what is below shows in the response times, and is printed first.
const LAG_US: u64 = 20_000;
/// All users share one thread. With less than a fifth of it free they wait for each other, and the process is the limit.
/// (The recorder's thread is in the figure too.)
const OWN_SHARE: f64 = 0.8;
/// With less than a tenth of the machine idle, processes wait for each other, and every latency is the scheduler's.
const BUSY_SHARE: f64 = 0.9;

/// All operations', in the order of sending.
pub(super) fn sendings(history: &History) -> Vec<Sending> {
    let mut free_us: HashMap<u32, i64> = HashMap::new();
    history
        .operations
        .iter()
        .map(|operation| Sending {
            intended_us: operation.intended_us,
            free_us: free_us
                .insert(operation.user, operation.done_us)
                .unwrap_or(i64::MIN),
            sent_us: operation.sent_us,
        })
        .collect()
}

/// Judges. Saturation is no fault where users never pause: such a load asks for it.
pub(super) fn judge(history: &History) -> Generator {
    let meta = &history.meta;
    let sendings = sendings(history);
    let mut lags: Vec<u64> = sendings
        .iter()
        .filter(|sending| (0..meta.measured_until_us).contains(&sending.sent_us))
        .map(|sending| sending.lag_us())
        .collect();
    lags.sort_unstable();
    let lag_p99_us = nearest_rank(&lags, 0.99);
    let (cpu_cores, machine_cpu_cores) = cores(history);
    let in_flight = in_flight::of(history);
    let (arrivals, arrival_problems) = match arrivals::judge(history, &sendings) {
        Some(judgement) => (Some(judgement.arrivals), judgement.problems),
        None => (None, Vec::new()),
    };

    let mut reasons = unsent(history);
    if !meta.pace.is_saturating() {
        reasons.extend(late(meta, lag_p99_us));
        reasons.extend(busy(meta, machine_cpu_cores));
    }
    reasons.extend(exhausted(cpu_cores));
    reasons.extend(arrival_problems);
    reasons.extend(in_flight.and_then(Seen::problem));
    reasons.extend(untied(history));
    reasons.extend(faults_without_effect(history));
    reasons.extend(unheard_operator(history));
    Generator {
        valid: reasons.is_empty(),
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        lag_p99_us,
        lag_us: bins(lags),
        cpu_cores,
        machine_cpu_cores,
        arrivals,
        in_flight: in_flight.map(|seen| seen.figures),
    }
}

/// What the generator could not even begin, by reason.
fn unsent(history: &History) -> Vec<String> {
    let mut reasons: Vec<(Reason, usize)> = Vec::new();
    for reason in history.unsent.iter().filter_map(|one| one.reason) {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons
        .into_iter()
        .map(|(reason, count)| {
            format!(
                "{count} of the generator's requests never left it: {}",
                reason.advice().unwrap_or("it could not send them")
            )
        })
        .collect()
}

/// Cores' worth of CPU over the measured part: the generator's, and everybody's.
fn cores(history: &History) -> (Option<f64>, Option<f64>) {
    let mut measured = history.usage.iter().filter(|usage| usage.at_us >= 0);
    let (Some(first), Some(last)) = (measured.next(), measured.next_back()) else {
        return (None, None);
    };
    let wall_us = (last.at_us - first.at_us) as f64;
    let generator = (last.generator_us as f64 - first.generator_us as f64) / wall_us;
    let sum = |usage: &crate::history::Usage| {
        usage.load_balancer_us
            + usage.node_us
            + usage.store_us.unwrap_or(0)
            + usage.generator_us
            + usage.lab_us
    };
    let machine = (sum(last) as f64 - sum(first) as f64) / wall_us;
    (Some(generator), Some(machine))
}

fn late(meta: &Meta, lag_p99_us: Option<u64>) -> Option<String> {
    let lag_us = lag_p99_us?;
    let told = format!("{:.1} ms", lag_us as f64 / 1e3);
    match meta.pace {
        Pace::Closed {
            think_ms: (shortest, longest),
        } => {
            let usual_us = (shortest + longest) as f64 / 2.0 * 1_000.0;
            (lag_us as f64 > LAG_SHARE * usual_us).then(|| {
                format!(
                    "users acted up to {told} later than they intended (99th percentile), more than a tenth of \
                     their usual pause: the generator could not keep up"
                )
            })
        }
        Pace::Open { .. } => (lag_us > LAG_US).then(|| {
            format!(
                "arrivals were sent up to {told} later than they could have been (99th percentile), more than \
                 {} ms: the generator could not keep up",
                LAG_US / 1_000
            )
        }),
    }
}

fn exhausted(cpu_cores: Option<f64>) -> Option<String> {
    let cores = cpu_cores?;
    (cores > OWN_SHARE).then(|| {
        format!(
            "the generator took {cores:.2} cores, and all of its users share one thread: it was the limit, not the cluster"
        )
    })
}

fn busy(meta: &Meta, machine_cpu_cores: Option<f64>) -> Option<String> {
    let cores = machine_cpu_cores?;
    (cores > BUSY_SHARE * meta.cores as f64).then(|| {
        format!(
            "the run took {cores:.2} of {} cores: latencies show how processes wait for each other; use fewer users or \
             longer pauses, or fewer arrivals",
            meta.cores
        )
    })
}

/// Goose's counts and ours must agree, by action, for requests and for answers of the 2xx kind.
fn untied(history: &History) -> Option<String> {
    let Some(counts) = &history.counts else {
        return Some("the users' process did not reach its end, so its counts are missing".into());
    };
    let mut ours: BTreeMap<&str, Count> = BTreeMap::new();
    let unsent = history.unsent.iter();
    // The operator's calls go past goose.
    let unsent = unsent.filter(|one| one.action != Action::Revoke);
    for operation in history.operations.iter().chain(unsent) {
        let count = ours.entry(operation.action.name()).or_default();
        count.requests += 1;
        let succeeded = operation
            .status
            .is_some_and(|status| (200..300).contains(&status));
        count.success += u64::from(succeeded);
    }
    let theirs: BTreeMap<&str, Count> = counts
        .by_action
        .iter()
        .map(|(action, count)| (action.as_str(), *count))
        .collect();
    (ours != theirs).then(|| {
        format!("the recorder's counts and goose's do not agree: {ours:?} here, {theirs:?} there")
    })
}

/// An operator whom no node listens to proves nothing about revocations.
fn unheard_operator(history: &History) -> Option<String> {
    let heard = |call: &Operation| call.outcome == Outcome::Ok || call.is_unsupported();
    let first = history.revocations.first()?;
    let status = first
        .status
        .map(|status| format!(", the first with {status}"));
    (!history.revocations.iter().any(heard)).then(|| {
        format!(
            "no node did what the operator asked for: all {} revocations failed{}",
            history.revocations.len(),
            status.unwrap_or_default()
        )
    })
}

fn faults_without_effect(history: &History) -> Vec<String> {
    let commanded = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded);
    let problem = commanded.filter_map(|fault| {
        let at = |step: FaultStep| {
            history
                .faults
                .iter()
                .find(|event| event.fault == fault.fault && event.step == step)
                .map(|event| event.at_us)
        };
        let name = format!("{} of {}", fault.kind, fault.target);
        if at(FaultStep::Effective).is_none() {
            return Some(format!("the {name} did not take effect"));
        }
        let undone_us = at(FaultStep::Undone);
        undone_us
            .is_none_or(|undone| undone > history.meta.final_read_us)
            .then(|| format!("the {name} was not undone before the final reads"))
    });
    problem.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::{browse, history, log_in, revoke};
    use crate::history::{Counts, FaultEvent, Usage};
    use crate::pace;

    fn tied(mut history: History) -> History {
        let mut counts = Counts::default();
        for operation in &history.operations {
            let count: &mut Count = counts
                .by_action
                .entry(operation.action.name().into())
                .or_default();
            count.requests += 1;
            count.success += 1;
        }
        history.counts = Some(counts);
        history
    }

    fn reason(history: &History) -> String {
        judge(history).reason.unwrap_or_default()
    }

    fn good() -> History {
        tied(history([log_in(1, 1, 1, 0), browse(1, 1, 2, 100)]))
    }

    #[test]
    fn a_quiet_generator_is_believed() {
        let generator = judge(&good());
        assert!(generator.valid, "{generator:?}");
        assert_eq!(generator.lag_p99_us, Some(100));
    }

    #[test]
    fn counts_that_do_not_agree_are_not_believed() {
        let mut history = good();
        history.operations.pop();
        assert!(reason(&history).contains("do not agree"));
        history.counts = None;
        assert!(reason(&history).contains("did not reach its end"));
    }

    #[test]
    fn what_never_left_the_generator_makes_the_run_invalid_and_is_counted() {
        let mut history = good();
        let mut operation = history.operations.pop().unwrap();
        operation.outcome = Outcome::Fail;
        operation.reason = Some(Reason::NoOpenFile);
        operation.status = None;
        assert!(operation.is_unsent());
        history
            .counts
            .as_mut()
            .unwrap()
            .by_action
            .get_mut("browse")
            .unwrap()
            .success = 0;
        history.unsent.push(operation);
        let reason = reason(&history);
        assert!(
            reason
                .starts_with("1 of the generator's requests never left it: no open file was left"),
            "{reason}"
        );
        assert!(!reason.contains("do not agree"), "{reason}");
    }

    #[test]
    fn an_operator_whom_nobody_hears_is_not_believed() {
        let mut history = good();
        history.revocations = vec![
            revoke(1, 1, 500, 1).refused(),
            revoke(1, 2, 900, 1).unknown(),
        ];
        assert_eq!(
            reason(&history),
            "no node did what the operator asked for: all 2 revocations failed, the first with 401"
        );
        history.revocations.push(revoke(1, 3, 950, 0).unsupported());
        assert!(judge(&history).valid);
    }

    #[test]
    fn late_users_are_not_believed_unless_they_never_pause() {
        let mut history = good();
        for operation in &mut history.operations {
            operation.intended_us -= 50_000;
        }
        assert!(reason(&history).contains("50.1 ms later"));
        history.meta.pace = Pace::Closed { think_ms: (0, 0) };
        assert!(judge(&history).valid);
    }

    #[test]
    fn arrivals_that_free_users_send_late_are_not_believed() {
        let mut history = good();
        history.meta.pace = Pace::Open {
            arrivals_per_s: 1,
            arrivals: pace::Arrivals::Constant,
        };
        for operation in &mut history.operations {
            operation.intended_us = operation.sent_us - 19_900;
        }
        assert!(!reason(&history).contains("could not keep up"));
        for operation in &mut history.operations {
            operation.intended_us = operation.sent_us - 20_200;
        }
        assert!(
            reason(&history).contains("up to 20.2 ms later than they could have been"),
            "{}",
            reason(&history)
        );
        // The same, but the user was still waiting for its last answer: that is not the generator's doing.
        let mut waiting = history.operations[0].clone();
        waiting.sent_us -= 1_000_000;
        waiting.intended_us = waiting.sent_us;
        waiting.done_us = history.operations[0].sent_us - 10;
        history.operations[1].intended_us = history.operations[1].sent_us;
        history.operations.insert(0, waiting);
        assert!(!reason(&history).contains("could not keep up"));
    }

    #[test]
    fn every_lag_is_in_the_histogram() {
        let generator = judge(&good());
        let lags: u64 = generator.lag_us.iter().map(|bin| bin.count).sum();
        assert_eq!(lags, 2);
        assert_eq!(generator.lag_us.last().unwrap().le_us, 100);
    }

    #[test]
    fn a_generator_that_needs_its_thread_for_itself_is_not_believed() {
        let mut history = good();
        history.meta.cores = 8;
        let usage = |at_us, generator_us| Usage {
            generator_us,
            ..usage(at_us, 0)
        };
        history.usage = vec![usage(0, 0), usage(1_000_000, 790_000)];
        assert!(judge(&history).valid);
        history.usage = vec![usage(0, 0), usage(1_000_000, 810_000)];
        assert!(reason(&history).contains("took 0.81 cores"));
        // Also where users never pause: then its limit would be taken for the cluster's.
        history.meta.pace = Pace::Closed { think_ms: (0, 0) };
        assert!(reason(&history).contains("took 0.81 cores"));
    }

    fn usage(at_us: i64, cpu_us: u64) -> Usage {
        Usage {
            at_us,
            load_balancer_us: cpu_us,
            node_us: cpu_us,
            store_us: None,
            generator_us: cpu_us,
            lab_us: 0,
            store_commands: None,
        }
    }

    #[test]
    fn a_busy_machine_is_not_believed() {
        let mut history = good();
        history.usage = vec![usage(0, 0), usage(1_000_000, 650_000)];
        assert!(
            reason(&history).contains("1.95 of 2 cores"),
            "{}",
            reason(&history)
        );
        history.usage = vec![usage(0, 0), usage(1_000_000, 200_000)];
        assert!(judge(&history).valid);
        assert!((judge(&history).cpu_cores.unwrap() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_fault_must_have_taken_effect_and_be_over_before_the_final_reads() {
        let mut history = good();
        let event = |step, at_us| FaultEvent {
            fault: 0,
            kind: "kill".into(),
            target: "node-2".into(),
            step,
            at_us,
            evidence: None,
        };
        history.faults.push(event(FaultStep::Commanded, 5_000_000));
        assert!(reason(&history).contains("kill of node-2 did not take effect"));
        history.faults.push(event(FaultStep::Effective, 5_010_000));
        assert!(reason(&history).contains("was not undone"));
        history.faults.push(event(FaultStep::Undone, 12_000_000));
        assert!(reason(&history).contains("was not undone"));
        history.faults[2].at_us = 9_000_000;
        assert!(judge(&history).valid);
    }
}
