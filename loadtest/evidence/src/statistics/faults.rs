//! What happened when around each fault. (What was lost, the checker says.)
//!
//! **Whose doing a failure is.** What failed from a fault's command on is ascribed to it until the next fault is commanded, or
//! the measured part ends: each failed request to one fault at most, and to the last that came before it. Where faults
//! overlap, the later one therefore takes what the earlier still causes, and where they follow each other within seconds, no
//! recovery can be seen. Two that are commanded in the same microsecond count as the second.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ms;
use super::windows::Windows;
use crate::checker::{Ends, Losses};
use crate::history::{FaultEvent, FaultStep, History, Operation, Outcome, Reason};
use crate::part::Part;
use crate::results::Fault;

/// The balancer that stamps answers with how often it asked again.
const TELLS_RETRIES: &str = "pingora";
/// The cause under which the refusal of a lost session is counted.
const SESSION_LOST: &str = "session_lost";

/// The run's faults in their order.
pub(super) fn of(history: &History, ends: &Ends, losses: &[Losses]) -> Vec<Fault> {
    let mut commanded: Vec<&FaultEvent> = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded)
        .collect();
    commanded.sort_by_key(|event| event.fault);
    let Some(first_us) = commanded.iter().map(|event| event.at_us).min() else {
        return Vec::new();
    };
    let until_us = history.meta.measured_until_us;
    let windows = Windows::of(&history.operations, ends, until_us, first_us);
    commanded
        .iter()
        .enumerate()
        .map(|(index, event)| {
            // What fails after the next fault is that one's doing.
            let next_us = commanded
                .iter()
                .filter(|next| (next.at_us, next.fault) > (event.at_us, event.fault))
                .map(|next| next.at_us)
                .min();
            let end_us = next_us
                .unwrap_or(until_us)
                .clamp(event.at_us, until_us.max(event.at_us));
            let life = Life {
                history,
                ends,
                windows: &windows,
                commanded: event,
                ascribed: event.at_us..end_us,
            };
            life.told(losses.get(index).copied().unwrap_or_default())
        })
        .collect()
}

/// One fault, from its command on.
struct Life<'a> {
    history: &'a History,
    ends: &'a Ends,
    windows: &'a Windows,
    commanded: &'a FaultEvent,
    /// What happens in here is its doing.
    ascribed: Range<i64>,
}

impl Life<'_> {
    fn told(&self, losses: Losses) -> Fault {
        let effective_us = self.when(FaultStep::Effective);
        let undone_us = self.when(FaultStep::Undone);
        let recovered_us = self.windows.recovered_us(&self.ascribed);
        let last_routed_us = effective_us.and_then(|effective_us| self.last_routed(effective_us));
        let since_effect = |us: i64| Some(ms(us - effective_us?));
        let failures = self.failures();
        let (throughput_rps, goodput_rps) = self.rates(undone_us);
        Fault {
            kind: self.commanded.kind.clone(),
            target: self.commanded.target.clone(),
            commanded_ms: ms(self.commanded.at_us),
            effective_ms: effective_us.map(ms),
            detected_ms: last_routed_us.map(ms),
            recovered_ms: recovered_us.map(ms),
            undone_ms: undone_us.map(ms),
            ascribed_until_ms: ms(self.ascribed.end),
            detection_ms: effective_us
                .filter(|_| self.victim().is_some())
                .and_then(|effective_us| since_effect(last_routed_us.unwrap_or(effective_us))),
            recovery_ms: recovered_us.and_then(since_effect),
            unavailable_ms: self.unavailable_ms(&failures),
            error_seconds: Some(self.windows.error_seconds(&self.ascribed)),
            relogin_amplification: self.windows.relogin_amplification(&self.ascribed),
            throughput_rps,
            goodput_rps,
            failed_requests: failures.len() as u64,
            failed_by_cause: by_cause(&failures),
            sessions_live: losses.sessions_live,
            sessions_on_target: losses.sessions_on_target,
            sessions_lost: losses.sessions_lost,
            sessions_lost_on_target: losses.sessions_lost_on_target,
            cart_lines_acknowledged: losses.cart_lines_acknowledged,
            cart_lines_on_target: losses.cart_lines_on_target,
            cart_lines_lost: losses.cart_lines_lost,
            exposures: losses.exposures,
        }
    }

    fn when(&self, step: FaultStep) -> Option<i64> {
        self.history
            .faults
            .iter()
            .find(|event| event.fault == self.commanded.fault && event.step == step)
            .map(|event| event.at_us)
    }

    fn failures(&self) -> Vec<&Operation> {
        self.history
            .operations
            .iter()
            .filter(|operation| self.ends.is_failure(operation))
            .filter(|operation| self.ascribed.contains(&operation.done_us))
            .collect()
    }

    /// From the sending of the first failed request to the first clean window.
    fn unavailable_ms(&self, failures: &[&Operation]) -> u64 {
        failures
            .iter()
            .filter(|operation| !operation.lost_its_session())
            .map(|operation| operation.sent_us)
            .min()
            .map_or(0, |first_us| {
                ms(self.windows.clean_from_us(first_us, &self.ascribed) - first_us)
            })
    }

    /// The node that requests should no longer be sent to, where it can be seen that they are.
    fn victim(&self) -> Option<&str> {
        let meta = &self.history.meta;
        let target = Part::of(&self.commanded.target);
        // A node that never asks the store misses nothing, and requests are right there.
        let unused = target.is_link_to_store() && !meta.properties.has_store();
        target
            .node()
            .filter(|_| meta.balancer == TELLS_RETRIES && !unused)
    }

    /// The last request that was still routed to the victim before it was to come back: the balancer had to ask another
    /// node, or gave up, or the victim answered after all.
    fn last_routed(&self, effective_us: i64) -> Option<i64> {
        let victim = self.victim()?;
        let undo_commanded_us = self.when(FaultStep::UndoCommanded);
        let until_us = undo_commanded_us
            .or_else(|| self.when(FaultStep::Undone))
            .unwrap_or(i64::MAX)
            .min(self.ascribed.end);
        let routed = |operation: &&Operation| {
            operation.retries > 0
                || operation.reason == Some(Reason::BadGateway)
                // Without that moment, the answer may be that of a victim that is back.
                || undo_commanded_us.is_some() && operation.node.as_deref() == Some(victim)
        };
        self.history
            .operations
            .iter()
            .filter(|operation| (effective_us..until_us).contains(&operation.sent_us))
            .filter(routed)
            .map(|operation| operation.sent_us)
            .max()
    }

    /// Answers a second while the fault lasted, all and good ones.
    fn rates(&self, undone_us: Option<i64>) -> (Option<f64>, Option<f64>) {
        let end_us = undone_us.map_or(self.ascribed.end, |undone_us| {
            undone_us.min(self.history.meta.measured_until_us)
        });
        let lasted = self.commanded.at_us..end_us;
        let seconds = (lasted.end - lasted.start) as f64 / 1e6;
        if seconds <= 0.0 {
            return (None, None);
        }
        let answers = || {
            self.history
                .operations
                .iter()
                .filter(|operation| lasted.contains(&operation.done_us))
        };
        let good = answers().filter(|operation| operation.outcome == Outcome::Ok);
        let rate = |count: usize| Some(count as f64 / seconds);
        (rate(answers().count()), rate(good.count()))
    }
}

fn by_cause(failures: &[&Operation]) -> BTreeMap<String, u64> {
    let mut causes = BTreeMap::new();
    for operation in failures {
        let cause = if operation.lost_its_session() {
            SESSION_LOST.to_owned()
        } else {
            operation.reason.map_or_else(|| "unknown".to_owned(), name)
        };
        *causes.entry(cause).or_default() += 1;
    }
    causes
}

/// As the history writes it.
fn name(reason: Reason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{reason:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::{browse, history, log_in};

    fn event(fault: usize, target: &str, step: FaultStep, at_ms: i64) -> FaultEvent {
        FaultEvent {
            fault,
            kind: "kill".into(),
            target: target.into(),
            step,
            at_us: at_ms * 1_000,
            evidence: None,
        }
    }

    fn killed(operations: Vec<Operation>) -> History {
        let mut history = history(operations);
        history.faults = vec![
            event(0, "node-2", FaultStep::Commanded, 5_000),
            event(0, "node-2", FaultStep::Effective, 5_003),
            event(0, "node-2", FaultStep::UndoCommanded, 6_900),
            event(0, "node-2", FaultStep::Undone, 7_000),
        ];
        history
    }

    fn retried(id: u32, at_ms: i64) -> Operation {
        Operation {
            retries: 1,
            ..browse(1, 1, id, at_ms)
        }
    }

    #[test]
    fn a_fault_is_told_with_its_times() {
        let history = killed(vec![
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 5_005).failed(),
            retried(3, 5_400),
            retried(4, 6_950), // while it comes back
            browse(1, 1, 5, 8_000),
        ]);
        let told = of(&history, &Ends::default(), &[Losses::default()]);
        assert_eq!(told.len(), 1);
        let told = &told[0];
        assert_eq!(told.commanded_ms, 5_000);
        assert_eq!(told.effective_ms, Some(5_003));
        assert_eq!(told.detected_ms, Some(5_400));
        assert_eq!(told.detection_ms, Some(397));
        assert_eq!(told.undone_ms, Some(7_000));
        assert_eq!(told.ascribed_until_ms, 10_000);
        assert_eq!(told.unavailable_ms, 395, "the next that was sent went well");
        assert_eq!(told.throughput_rps, Some(1.5));
        assert_eq!(told.goodput_rps, Some(1.0));
    }

    #[test]
    fn a_victim_that_answers_was_still_in_rotation() {
        let history = killed(vec![
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 5_100).on("node-2"),
            browse(1, 1, 3, 5_200),
        ]);
        assert_eq!(
            of(&history, &Ends::default(), &[])[0].detection_ms,
            Some(97)
        );
        let mut history = history;
        history
            .faults
            .retain(|event| event.step != FaultStep::UndoCommanded);
        assert_eq!(
            of(&history, &Ends::default(), &[])[0].detection_ms,
            Some(0),
            "it may be back"
        );
    }

    #[test]
    fn detection_is_told_only_where_it_can_be_seen() {
        let mut history = killed(vec![log_in(1, 1, 1, 0), browse(1, 1, 2, 5_200)]);
        assert_eq!(
            of(&history, &Ends::default(), &[])[0].detection_ms,
            Some(0),
            "nobody was sent there"
        );
        history.meta.balancer = "haproxy".into();
        assert_eq!(of(&history, &Ends::default(), &[])[0].detection_ms, None);
        history.meta.balancer = "pingora".into();
        for event in &mut history.faults {
            event.target = "store".into();
        }
        assert_eq!(of(&history, &Ends::default(), &[])[0].detection_ms, None);
    }

    #[test]
    fn a_link_that_the_strategy_does_not_use_is_not_detected() {
        let mut history = killed(vec![
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 5_200).on("node-2"),
        ]);
        for event in &mut history.faults {
            event.target = "node-2->store".into();
        }
        let detected = |history: &History| {
            let told = &of(history, &Ends::default(), &[])[0];
            (told.detected_ms, told.detection_ms)
        };
        assert_eq!(detected(&history), (Some(5_200), Some(197)));
        history.meta.properties.store = None;
        history.meta.properties.store_round_trips = 0;
        assert_eq!(detected(&history), (None, None));
    }

    #[test]
    fn every_failure_is_ascribed_to_the_last_fault_before_it() {
        let mut history = killed(vec![
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 4_000).failed(), // before any fault
            browse(1, 1, 3, 5_100).failed(),
            browse(1, 1, 4, 6_000).refused(),
            browse(1, 1, 5, 6_100).unknown(),
            browse(1, 1, 6, 8_050).failed(),
        ]);
        history
            .faults
            .push(event(1, "store", FaultStep::Commanded, 8_000));
        let told = of(&history, &Ends::default(), &[]);
        let failed: Vec<u64> = told.iter().map(|fault| fault.failed_requests).collect();
        assert_eq!(failed, [3, 1]);
        let causes: Vec<(&str, u64)> = told[0]
            .failed_by_cause
            .iter()
            .map(|(cause, count)| (cause.as_str(), *count))
            .collect();
        assert_eq!(
            causes,
            [("no_node", 1), ("session_lost", 1), ("timed_out", 1)]
        );
        assert_eq!(told[0].ascribed_until_ms, 8_000);
        assert_eq!(told[1].effective_ms, None, "nothing is made up");
        assert_eq!(told[1].recovery_ms, None);
    }

    #[test]
    fn a_lost_session_is_not_an_outage() {
        let history = killed(vec![
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 5_000).refused(),
            browse(1, 1, 3, 5_500),
        ]);
        let told = &of(&history, &Ends::default(), &[])[0];
        assert_eq!((told.unavailable_ms, told.failed_requests), (0, 1));
        assert_eq!(told.error_seconds, Some(0.0));
    }
}
