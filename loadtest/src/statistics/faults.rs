//! What happened when around each fault. (What was lost, the checker says.)

use super::timeline::{SLICE_US, SLICES_A_SECOND};
use crate::checker::Losses;
use crate::history::{FaultEvent, FaultStep, History, Operation, Outcome, Reason};
use crate::results::{Fault, Slice};

/// Unavailable from the first failure until a window of this length is free of failures.
const WINDOW_US: i64 = 100_000;
/// Recovered when goodput, taken over one second at a time, is back at this share of the base line …
const RECOVERED_SHARE: f64 = 0.95;
/// … and stays there for this long.
const HELD: usize = 5 * SLICES_A_SECOND;

/// The scenario's faults in their order.
pub(super) fn of(history: &History, losses: &[Losses], timeline: &[Slice]) -> Vec<Fault> {
    let mut commanded: Vec<&FaultEvent> = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded)
        .collect();
    commanded.sort_by_key(|event| event.fault);
    commanded
        .iter()
        .enumerate()
        .map(|(index, event)| fault(history, event, losses.get(index).copied(), timeline))
        .collect()
}

fn fault(
    history: &History,
    commanded: &FaultEvent,
    losses: Option<Losses>,
    timeline: &[Slice],
) -> Fault {
    let when = |step: FaultStep| {
        history
            .faults
            .iter()
            .find(|event| event.fault == commanded.fault && event.step == step)
            .map(|event| event.at_us)
    };
    let effective_us = when(FaultStep::Effective);
    let undone_us = when(FaultStep::Undone);
    let recovered_us = recovered(commanded.at_us, timeline);
    // What fails after the next fault is that one's doing.
    let next_us = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded && event.at_us > commanded.at_us)
        .map(|event| event.at_us)
        .min();
    let until_us = recovered_us
        .into_iter()
        .chain(next_us)
        .chain([history.meta.measured_until_us])
        .min()
        .unwrap_or_default();
    let disturbed = commanded.at_us..until_us;
    let failures: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|operation| operation.outcome != Outcome::Ok)
        .filter(|operation| disturbed.contains(&operation.done_us))
        .collect();
    let losses = losses.unwrap_or_default();
    Fault {
        kind: commanded.kind.clone(),
        target: commanded.target.clone(),
        commanded_ms: super::ms(commanded.at_us),
        effective_ms: effective_us.map(super::ms),
        detected_ms: effective_us
            .and_then(|effective_us| {
                let until_us = undone_us.unwrap_or(history.meta.measured_until_us);
                last_sent_to_victim(history, effective_us, until_us)
            })
            .map(super::ms),
        recovered_ms: recovered_us.map(super::ms),
        undone_ms: undone_us.map(super::ms),
        unavailable_ms: unavailable_ms(&failures),
        failed_requests: failures.len() as u64,
        sessions_live: losses.sessions_live,
        sessions_on_target: losses.sessions_on_target,
        sessions_lost: losses.sessions_lost,
        sessions_lost_on_target: losses.sessions_lost_on_target,
        cart_lines_acknowledged: losses.cart_lines_acknowledged,
        cart_lines_lost: losses.cart_lines_lost,
    }
}

/// From the sending of the first failed request to the first window without one. A lost session's refusal does not
/// count: the service was there, it only knew the user no more.
fn unavailable_ms(failures: &[&Operation]) -> u64 {
    let mut sent: Vec<i64> = failures
        .iter()
        .filter(|operation| !operation.lost_its_session())
        .map(|operation| operation.sent_us)
        .collect();
    sent.sort_unstable();
    let Some(&first) = sent.first() else {
        return 0;
    };
    let window = |us: i64| us.div_euclid(WINDOW_US);
    let mut last = window(first);
    for &sent_us in &sent {
        if window(sent_us) > last + 1 {
            break;
        }
        last = window(sent_us);
    }
    super::ms((last + 1) * WINDOW_US - first)
}

/// The last request that the load balancer still sent to a node that was gone: it had to ask another one, or gave up.
fn last_sent_to_victim(history: &History, from_us: i64, until_us: i64) -> Option<i64> {
    history
        .operations
        .iter()
        .filter(|operation| (from_us..until_us).contains(&operation.sent_us))
        .filter(|operation| operation.retries > 0 || operation.reason == Some(Reason::BadGateway))
        .map(|operation| operation.sent_us)
        .max()
}

/// The start of the first slice from which on goodput is back.
fn recovered(commanded_us: i64, timeline: &[Slice]) -> Option<i64> {
    let at = usize::try_from(commanded_us / SLICE_US).ok()?;
    let before = timeline.get(..at).filter(|before| !before.is_empty())?;
    let base_line = goodput(before) / before.len() as f64 * SLICES_A_SECOND as f64;
    if base_line == 0.0 {
        return None;
    }
    let is_back = |from: usize| {
        timeline.get(from..from + HELD).is_some_and(|held| {
            held.windows(SLICES_A_SECOND)
                .all(|second| goodput(second) >= RECOVERED_SHARE * base_line)
        })
    };
    let slice = (at..timeline.len()).find(|&from| is_back(from))?;
    // The fault came in the middle of its slice.
    Some((i64::try_from(slice).ok()? * SLICE_US).max(commanded_us))
}

fn goodput(slices: &[Slice]) -> f64 {
    slices.iter().map(|slice| slice.ok).sum::<u64>() as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::testing::{browse, history, log_in};

    fn timeline(goodput: impl IntoIterator<Item = u64>) -> Vec<Slice> {
        goodput
            .into_iter()
            .zip(0..)
            .map(|(ok, index)| Slice {
                at_ms: index * 250,
                ok,
                failed: 0,
                p50_us: None,
                p99_us: None,
                per_node: BTreeMap::new(),
            })
            .collect()
    }

    #[test]
    fn recovered_is_where_goodput_is_back_and_stays() {
        // 2 s base line, half a second away, a first return that does not last, then for good.
        let shape = [[100; 8].as_slice(), &[0; 2], &[100; 6], &[20; 4], &[97; 24]].concat();
        assert_eq!(recovered(2_000_000, &timeline(shape)), Some(5_000_000));
    }

    #[test]
    fn a_fault_that_nobody_noticed_is_over_at_once() {
        assert_eq!(recovered(2_100_000, &timeline([100; 40])), Some(2_100_000));
    }

    #[test]
    fn recovery_that_cannot_be_seen_is_not_told() {
        let never_back = [[100; 8].as_slice(), &[50; 40]].concat();
        assert_eq!(recovered(2_000_000, &timeline(never_back)), None);
        let too_short_to_tell = [[100; 8].as_slice(), &[0; 2], &[100; 15]].concat();
        assert_eq!(recovered(2_000_000, &timeline(too_short_to_tell)), None);
        assert_eq!(recovered(0, &timeline([100; 40])), None, "no base line");
    }

    #[test]
    fn unavailable_lasts_until_the_first_clean_window() {
        let failed = |at_ms| browse(1, 1, 1, at_ms).failed();
        let of = |operations: &[Operation]| unavailable_ms(&operations.iter().collect::<Vec<_>>());
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[failed(5_030)]), 70);
        assert_eq!(of(&[failed(5_030), failed(5_150), failed(5_290)]), 270);
        assert_eq!(
            of(&[failed(5_030), failed(5_500)]),
            70,
            "the window after 5,100 is clean"
        );
        assert_eq!(
            of(&[browse(1, 1, 1, 5_000).refused()]),
            0,
            "a lost session is not an outage"
        );
    }

    #[test]
    fn a_fault_is_told_with_its_times() {
        let mut retried = browse(1, 1, 3, 5_400);
        retried.retries = 1;
        let mut history = history([
            log_in(1, 1, 1, 0),
            browse(1, 1, 2, 5_005).failed(),
            retried,
            browse(1, 1, 4, 8_000),
        ]);
        for (step, at_us) in [
            (FaultStep::Commanded, 5_000_000),
            (FaultStep::Effective, 5_003_000),
            (FaultStep::Undone, 7_000_000),
        ] {
            history.faults.push(FaultEvent {
                fault: 0,
                kind: "kill".into(),
                target: "node-2".into(),
                step,
                at_us,
            });
        }
        let told = of(&history, &[Losses::default()], &timeline([100; 40]));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].commanded_ms, 5_000);
        assert_eq!(told[0].effective_ms, Some(5_003));
        assert_eq!(told[0].detected_ms, Some(5_400));
        assert_eq!(told[0].undone_ms, Some(7_000));
    }
}
