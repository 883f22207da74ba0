//! The scenario's thresholds, held against the figures of every run.

use super::{demanded, each};
use crate::expectations::Threshold;
use crate::results::{Expectation, Run, Source};

/// Those of `thresholds` that are about the strategy of these runs.
pub(super) fn judge(strategy: &str, runs: &[&Run], thresholds: &[Threshold]) -> Vec<Expectation> {
    thresholds
        .iter()
        .filter(|threshold| {
            let about = threshold.strategy.as_deref();
            about.is_none_or(|about| about == strategy)
        })
        .map(|threshold| {
            let observed: Vec<Option<f64>> =
                runs.iter().map(|run| (threshold.figure.of)(run)).collect();
            let held = observed.iter().all(|observed| {
                observed
                    .is_some_and(|observed| threshold.relation.holds(observed, threshold.number))
            });
            Expectation {
                source: Source::Scenario,
                held,
                ..demanded(
                    strategy,
                    threshold.to_string(),
                    each(observed.into_iter().map(shown)),
                )
            }
        })
        .collect()
}

/// Exact enough to see by how much a threshold was missed.
fn shown(observed: Option<f64>) -> String {
    let Some(observed) = observed else {
        return "not measured".into();
    };
    let digits = format!("{observed:.4}");
    let short = digits.trim_end_matches('0').trim_end_matches('.');
    short.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn judged(runs: &[&Run], threshold: &str) -> Vec<(String, String, bool)> {
        let threshold = Threshold::try_from(threshold.to_owned()).unwrap();
        judge("sticky", runs, &[threshold])
            .into_iter()
            .map(|judged| (judged.expectation, judged.observed, judged.held))
            .collect()
    }

    #[test]
    fn a_threshold_shows_what_was_observed() {
        let run = sample::sticky(1);
        let one = |threshold| judged(&[&run], threshold).remove(0);
        assert_eq!(
            one("lines_lost == 0"),
            ("lines_lost == 0".into(), "137".into(), false)
        );
        assert!(one("unavailable_ms < 2251").2);
        assert!(!one("unavailable_ms < 2250").2);
        assert!(one("sticky: sessions_lost > 0").2);
        assert_eq!(judged(&[&run], "redis: sessions_lost == 0"), []);
    }

    #[test]
    fn what_was_not_measured_did_not_hold() {
        let mut run = sample::sticky(1);
        run.revocation_ms = None;
        run.faults[0].recovery_ms = None;
        for threshold in [
            "revocation_ms.max < 1000",
            "revocation_ms.max >= 0",
            "recovered_ms != 7",
        ] {
            let (_, observed, held) = judged(&[&run], threshold).remove(0);
            assert_eq!(
                (observed.as_str(), held),
                ("not measured", false),
                "{threshold}"
            );
        }
    }

    #[test]
    fn every_repeat_must_hold() {
        let mut runs = [sample::sticky(1), sample::sticky(2), sample::sticky(3)];
        for (run, count) in runs.iter_mut().zip([0, 0, 2]) {
            run.requests.failed_idempotent = count;
        }
        let all: Vec<&Run> = runs.iter().collect();
        let (_, observed, held) = judged(&all, "failed_idempotent == 0").remove(0);
        assert_eq!((observed.as_str(), held), ("0; 0; 2", false));
        let (_, observed, held) = judged(&all[..2], "failed_idempotent == 0").remove(0);
        assert_eq!((observed.as_str(), held), ("0 in each of 2 runs", true));
    }
}
