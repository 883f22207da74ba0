//! The sentences, word by word.

use crate::report::{sample, table};
use crate::results::{Anomalies, Results};

fn sentences(results: &Results) -> String {
    super::sentences(&table::columns(results)).join("\n")
}

#[test]
fn the_sentence_about_a_kill_says_who_lost_what() {
    let mut results = sample::results();
    let text = sentences(&results);
    assert!(
        text.contains("Killing node-2 logged out 34 % of the sticky sessions (51 of 150; all 51 that node-2 had served); redis and jwt lost none."),
        "{text}"
    );
    results.runs[0].faults[0].sessions_lost_on_target = 49;
    assert!(
        sentences(&results)
            .contains("(51 of 150; 49 of the 51 that node-2 had served, and 2 of other nodes)")
    );
    results.runs[0].faults[0].sessions_lost = 49;
    assert!(sentences(&results).contains("(49 of 150; 49 of the 51 that node-2 had served)"));
    results.runs.remove(0);
    assert!(sentences(&results).contains(
        "Killing node-2 ended no session: redis and jwt kept all that were alive (150 and 150)."
    ));
    for run in &mut results.runs {
        run.faults[0].sessions_live = 0;
    }
    assert!(
        !sentences(&results).contains("session:"),
        "of no session nothing is said"
    );
}

#[test]
fn nothing_is_concluded_from_a_fault_that_took_no_effect() {
    let mut results = sample::results();
    results.runs[0].faults[0].effective_ms = None;
    let text = sentences(&results);
    assert!(
        text.contains("never seen to take effect in sticky"),
        "{text}"
    );
    assert!(!text.contains("sticky sessions"), "{text}");
}

#[test]
fn runs_that_overlap_show_no_difference() {
    let mut results = sample::repeated();
    let costs = [
        ("sticky", [100.0, 120.0, 140.0]),
        ("redis", [130.0, 150.0, 160.0]),
        ("jwt", [10.0, 11.0, 12.0]),
    ];
    for (strategy, costs) in costs {
        for (run, cost) in results
            .runs
            .iter_mut()
            .filter(|run| run.strategy == strategy)
            .zip(costs)
        {
            run.cost_us_per_request.load_balancer = Some(0.0);
            run.cost_us_per_request.node = Some(cost);
            run.cost_us_per_request.store = Some(0.0);
        }
    }
    let text = sentences(&results);
    assert!(
        text.contains("11.0 µs in jwt, 120 µs in sticky and 150 µs in redis (no difference shown between sticky and redis, whose runs overlap)."),
        "{text}"
    );
}

#[test]
fn anomalies_apart_from_a_fault_are_named() {
    let mut results = sample::results();
    assert!(sentences(&results).contains("Beyond these losses the checker found no anomaly."));
    results.runs[1].anomalies = Anomalies {
        session_lost: 2,
        leak: 1,
        ..Anomalies::default()
    };
    assert!(sentences(&results).contains("The checker found in redis 2 sessions lost apart from any fault and 1 leak to another user."));
}

#[test]
fn a_credential_that_outlives_its_logout_is_an_anomaly_only_where_that_was_not_declared() {
    let mut results = sample::results();
    for run in &mut results.runs {
        run.anomalies.resurrection = 3;
    }
    let text = sentences(&results);
    assert!(text.contains("The checker found in sticky 3 resurrections after logout; in redis 3 resurrections after logout."), "{text}");
    assert!(
        text.contains("A credential was accepted after its logout 3 times in jwt, as declared"),
        "{text}"
    );
}
