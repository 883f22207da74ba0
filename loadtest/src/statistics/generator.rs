//! The generator's judgement of itself: did it measure the cluster, or its own limits?

use std::collections::BTreeMap;

use super::latency::nearest_rank;
use crate::history::{Action, Count, FaultStep, History, Meta, Operation};
use crate::results::Generator;

/// A user that acts later than intended by this share of its usual pause puts that much less load on the cluster.
const LAG_SHARE: f64 = 0.1;
/// With less than a tenth of the machine idle, processes wait for each other, and every latency is the scheduler's.
const BUSY_SHARE: f64 = 0.9;

/// Judges. Saturation is no fault where users never pause: such a load asks for it.
pub(super) fn judge(history: &History, measured: &[&Operation]) -> Generator {
    let meta = &history.meta;
    let lag_p99_us = lag_p99_us(measured);
    let (cpu_cores, machine_cpu_cores) = cores(history);
    let mut reasons = Vec::new();
    if meta.think_ms.1 > 0 {
        reasons.extend(late(meta, lag_p99_us));
        reasons.extend(busy(meta, machine_cpu_cores));
    }
    reasons.extend(untied(history));
    reasons.extend(faults_without_effect(history));
    Generator {
        valid: reasons.is_empty(),
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        lag_p99_us,
        cpu_cores,
        machine_cpu_cores,
    }
}

/// How late users acted after their pauses. What follows another action at once has no pause to be late after.
fn lag_p99_us(measured: &[&Operation]) -> Option<u64> {
    let mut lags: Vec<u64> = measured
        .iter()
        .filter(|operation| !matches!(operation.action, Action::LogOut | Action::Replay))
        .map(|operation| u64::try_from(operation.sent_us - operation.intended_us).unwrap_or(0))
        .collect();
    lags.sort_unstable();
    nearest_rank(&lags, 0.99)
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
    let (shortest, longest) = meta.think_ms;
    let usual_us = (shortest + longest) as f64 / 2.0 * 1_000.0;
    let lag_us = lag_p99_us? as f64;
    (lag_us > LAG_SHARE * usual_us).then(|| {
        format!(
            "users acted up to {:.1} ms later than they intended (99th percentile), more than a tenth of their usual \
             pause: the generator could not keep up",
            lag_us / 1e3
        )
    })
}

fn busy(meta: &Meta, machine_cpu_cores: Option<f64>) -> Option<String> {
    let cores = machine_cpu_cores?;
    (cores > BUSY_SHARE * meta.cores as f64).then(|| {
        format!(
            "the run took {cores:.2} of {} cores: latencies show how processes wait for each other; use fewer users or \
             longer pauses",
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
    for operation in &history.operations {
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
    use crate::history::testing::{browse, history, log_in};
    use crate::history::{Counts, FaultEvent, Usage};

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

    fn judged(history: &History) -> Generator {
        judge(history, &history.operations.iter().collect::<Vec<_>>())
    }

    fn reason(history: &History) -> String {
        judged(history).reason.unwrap_or_default()
    }

    fn good() -> History {
        tied(history([log_in(1, 1, 1, 0), browse(1, 1, 2, 100)]))
    }

    #[test]
    fn a_quiet_generator_is_believed() {
        let generator = judged(&good());
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
    fn late_users_are_not_believed_unless_they_never_pause() {
        let mut history = good();
        for operation in &mut history.operations {
            operation.intended_us -= 50_000;
        }
        assert!(reason(&history).contains("50.1 ms later"));
        history.meta.think_ms = (0, 0);
        assert!(judged(&history).valid);
    }

    #[test]
    fn a_busy_machine_is_not_believed() {
        let mut history = good();
        let usage = |at_us, cpu_us| Usage {
            at_us,
            load_balancer_us: cpu_us,
            node_us: cpu_us,
            store_us: None,
            generator_us: cpu_us,
            lab_us: 0,
            store_commands: None,
        };
        history.usage = vec![usage(0, 0), usage(1_000_000, 650_000)];
        assert!(
            reason(&history).contains("1.95 of 2 cores"),
            "{}",
            reason(&history)
        );
        history.usage = vec![usage(0, 0), usage(1_000_000, 200_000)];
        assert!(judged(&history).valid);
        assert!((judged(&history).cpu_cores.unwrap() - 0.2).abs() < 1e-9);
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
        };
        history.faults.push(event(FaultStep::Commanded, 5_000_000));
        assert!(reason(&history).contains("kill of node-2 did not take effect"));
        history.faults.push(event(FaultStep::Effective, 5_010_000));
        assert!(reason(&history).contains("was not undone"));
        history.faults.push(event(FaultStep::Undone, 12_000_000));
        assert!(reason(&history).contains("was not undone"));
        history.faults[2].at_us = 9_000_000;
        assert!(judged(&history).valid);
    }
}
