//! The sentences, word by word.

use crate::table;
use evidence::results::{Anomalies, Results, Revocation, Revocations};
use evidence::sample;

fn sentences(results: &Results) -> String {
    let results = results.clone().judged();
    let columns = table::columns(&results);
    let said = super::of(&columns, &columns, &results.comparisons);
    [said.headline, said.others].concat().join("\n")
}

#[test]
fn the_sentence_about_a_kill_says_who_lost_what() {
    let mut results = sample::results();
    let text = sentences(&results);
    assert!(
        text.contains("Killing node-2, one of 3 nodes, logged out 34 % of the sticky sessions (51 of 150; all 51 served by node-2); redis and jwt lost none."),
        "{text}"
    );
    results.runs[0].faults[0].sessions_lost_on_target = 49;
    assert!(
        sentences(&results)
            .contains("(51 of 150; 49 of the 51 served by node-2, and 2 of other nodes)")
    );
    results.runs[0].faults[0].sessions_lost = 49;
    assert!(sentences(&results).contains("(49 of 150; 49 of the 51 served by node-2)"));
    results.runs.remove(0);
    assert!(sentences(&results).contains(
        "Killing node-2, one of 3 nodes, ended no session: redis and jwt kept all that were alive (150 and 150)."
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
    results.runs.extend(sample::repeated().runs);
    let costs = [
        ("sticky", [100.0, 120.0, 140.0, 110.0, 120.0, 145.0]),
        ("redis", [130.0, 150.0, 160.0, 105.0, 150.0, 125.0]),
        ("jwt", [10.0, 11.0, 12.0, 10.0, 11.0, 12.0]),
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
        text.contains("11.0 µs in jwt, 120 µs in sticky and 140 µs in redis (no difference shown between sticky and redis)."),
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
    results.runs[0].anomalies.resurrection = 3;
    let text = sentences(&results);
    assert!(
        text.contains("The checker found in sticky 3 resurrections of dead credentials."),
        "{text}"
    );
    assert!(
        text.contains("A credential was accepted after its logout 24 times in jwt, as declared"),
        "{text}"
    );
}

#[test]
fn a_revocation_is_told_by_what_it_is_worth() {
    let mut results = sample::results();
    let revoked = |exposures, unsupported| {
        Some(Revocations {
            asked: 60,
            acknowledged: 60 - unsupported,
            unsupported,
            sessions: 50,
            exposures,
            resurrections: 0,
            alive_ms: Some(Revocation {
                p50: 0,
                max: 9_800 * exposures.min(1),
            }),
        })
    };
    results.runs[1].revocations = revoked(0, 0);
    let lead = "After an operator had ended all logins of a user, the credential was";
    let refused = format!("{lead} refused at once in redis.");
    assert!(sentences(&results).contains(&refused));
    results.runs[0].revocations = revoked(30, 0);
    results.runs[2].revocations = revoked(50, 60);
    let text = sentences(&results);
    let all = format!(
        "{lead} still accepted from 30 of 50 (60 %) sessions in sticky for up to 9.80 s and 50 of 50 (100 %) sessions in jwt \
         for up to 9.80 s (it cannot revoke); in redis it was refused at once."
    );
    assert!(text.contains(&all), "{text}");
    assert!(
        text.contains("after its logout or revocation 24 times in jwt"),
        "{text}"
    );
}

#[test]
fn a_logout_is_told_by_what_it_is_worth() {
    let mut results = sample::results();
    let alive = |max| Some(Revocation { p50: 0, max });
    let said = |results: &Results| {
        let text = sentences(results);
        let line = text
            .lines()
            .find(|line| line.starts_with("After its logout"));
        line.unwrap_or_default().to_owned()
    };
    results.runs[2].revocation_ms = alive(29_800);
    assert_eq!(
        said(&results),
        "After its logout a credential was accepted for up to another 29.8 s in jwt."
    );
    results.runs[0].revocation_ms = alive(0);
    results.runs[1].revocation_ms = alive(0);
    assert_eq!(
        said(&results),
        "After its logout a credential was accepted for up to another 29.8 s in jwt; in sticky and redis it was refused at once."
    );
    results.runs[2].revocation_ms = None;
    assert_eq!(
        said(&results),
        "After its logout a credential was refused at once in sticky and redis."
    );
    for run in &mut results.runs {
        run.revocation_ms = None;
    }
    assert_eq!(said(&results), "");
}

#[test]
fn after_a_pause_it_is_told_whether_old_state_came_back() {
    let mut results = sample::results();
    for run in &mut results.runs {
        run.faults[0].kind = "pause".into();
    }
    assert!(
        sentences(&results)
            .contains("After node-2 resumed, no old state was seen in sticky, redis and jwt.")
    );
    results.runs[0].anomalies.stale_read = 3;
    assert!(sentences(&results).contains(
        "After node-2 resumed, old state was seen 3 times in sticky; never in redis and jwt."
    ));
    // With another fault beside it nobody can say whose doing it is.
    let kill = sample::results().runs[0].faults[0].clone();
    results.runs[0].faults.push(kill);
    assert!(!sentences(&results).contains("resumed"));
}

#[test]
fn the_headline_has_room_for_each_kind() {
    let mut results = sample::results();
    for run in &mut results.runs {
        let mut pause = run.faults[0].clone();
        pause.kind = "pause".into();
        run.faults.extend([pause.clone(), pause]);
    }
    let columns = table::columns(&results);
    let headline = super::of(&columns, &columns, &results.comparisons).headline;
    let begins = ["Killing", "Pausing", "Killing node-2:", "After its logout"];
    assert_eq!(headline.len(), begins.len(), "{headline:#?}");
    for (sentence, begin) in headline.iter().zip(begins) {
        assert!(sentence.starts_with(begin), "{headline:#?}");
    }
}
