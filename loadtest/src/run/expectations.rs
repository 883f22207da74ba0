//! What must come out of a run, derived from what the strategy promises about itself.

use crate::results::{Fault, Run};
use crate::scenario::STORE;

/// The promises that `run` broke, a sentence each.
pub(super) fn broken(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    let mut none = |count: u64, what: &str| {
        if count > 0 {
            broken.push(format!("{count} {what}"));
        }
    };
    let found = run.anomalies;
    none(found.leak, "times a user saw what is not its own");
    none(found.duplicate, "lines were in a cart twice");
    none(
        found.stale_read,
        "reads showed a cart as it had been before",
    );
    none(
        found.unknown,
        "carts were not read at the end, so nothing can be said about them",
    );
    if run.properties.revocable_at_once {
        none(
            found.resurrection,
            "credentials were accepted after their logout",
        );
    }
    if run.properties.survives_node_death {
        none(found.session_lost, "sessions were lost; none should be");
        none(
            found.line_lost,
            "acknowledged cart lines were lost; none should be",
        );
        // No other node helps while the store that all of them share is away.
        if run.faults.iter().all(|fault| fault.target != STORE) {
            none(
                run.requests.failed_idempotent,
                "requests failed that the load balancer may repeat; none should",
            );
        }
    } else if run.faults.is_empty() {
        none(
            found.session_lost,
            "sessions were lost although nothing happened",
        );
    } else {
        broken.extend(run.faults.iter().filter_map(loses_just_the_pinned));
    }
    broken
}

/// A strategy that keeps sessions in a node loses those of a killed node: all of them, and no others.
fn loses_just_the_pinned(fault: &Fault) -> Option<String> {
    let pinned = fault.sessions_on_target;
    let exact = fault.sessions_lost == pinned && fault.sessions_lost_on_target == pinned;
    (!exact).then(|| {
        format!(
            "the {} of {} should cost the {pinned} sessions that it served, and cost {}, {} of them its own",
            fault.kind, fault.target, fault.sessions_lost, fault.sessions_lost_on_target
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::check;
    use crate::history::testing::{browse, history, log_in};
    use crate::statistics::summarise;

    fn run() -> Run {
        let history = history([log_in(1, 1, 1, 0), browse(1, 1, 2, 100)]);
        summarise(&history, &check(&history))
    }

    #[test]
    fn a_run_without_losses_breaks_nothing() {
        assert_eq!(broken(&run()), Vec::<String>::new());
    }

    #[test]
    fn a_strategy_that_survives_must_lose_nothing() {
        let mut run = run();
        run.anomalies.session_lost = 3;
        run.requests.failed_idempotent = 1;
        let broken = broken(&run);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].starts_with("3 sessions"));
    }

    #[test]
    fn a_strategy_in_a_node_must_lose_just_the_pinned_sessions() {
        let mut run = run();
        run.properties.survives_node_death = false;
        run.anomalies.session_lost = 7;
        let mut fault = Fault {
            kind: "kill".into(),
            target: "node-2".into(),
            commanded_ms: 0,
            effective_ms: Some(1),
            detected_ms: None,
            recovered_ms: None,
            undone_ms: None,
            unavailable_ms: 0,
            failed_requests: 7,
            sessions_live: 20,
            sessions_on_target: 7,
            sessions_lost: 7,
            sessions_lost_on_target: 7,
            cart_lines_acknowledged: 0,
            cart_lines_lost: 0,
        };
        run.faults = vec![fault.clone()];
        assert_eq!(broken(&run), Vec::<String>::new());
        fault.sessions_lost = 8;
        run.faults = vec![fault];
        assert!(broken(&run)[0].contains("should cost the 7 sessions"));
    }

    #[test]
    fn only_who_promises_revocation_must_keep_it() {
        let mut run = run();
        run.anomalies.resurrection = 1;
        assert_eq!(broken(&run).len(), 1);
        run.properties.revocable_at_once = false;
        assert_eq!(broken(&run).len(), 0);
    }
}
