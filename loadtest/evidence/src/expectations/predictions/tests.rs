//! Runs that are as theory has them, and runs that are not.

use super::*;
use crate::sample;

fn missed(run: &Run) -> Vec<String> {
    judge(&run.strategy, &[run])
        .into_iter()
        .filter(|demand| !demand.held)
        .map(|demand| format!("{}: {}", demand.expectation, demand.observed))
        .collect()
}

fn paused(for_ms: u64) -> Run {
    let mut run = sample::sticky(1);
    let fault = &mut run.faults[0];
    fault.kind = "pause".into();
    fault.undone_ms = fault.effective_ms.map(|effective_ms| effective_ms + for_ms);
    run
}

#[test]
fn runs_as_theory_has_them_miss_nothing() {
    for run in [
        sample::sticky(1),
        sample::redis(1),
        sample::jwt(1),
        paused(5_000),
    ] {
        assert_eq!(missed(&run), Vec::<String>::new(), "{}", run.strategy);
    }
}

#[test]
fn an_anomaly_that_is_in_no_cell_is_missed() {
    for anomaly in Anomaly::ALL {
        let mut run = sample::redis(1);
        *field(&mut run.anomalies, anomaly) = 3;
        let missed = missed(&run);
        assert_eq!(missed.len(), 1, "{missed:?}");
        assert!(missed[0].ends_with(&format!(": 3 {}", anomaly.name())));
    }
}

#[test]
fn any_fault_of_a_run_may_allow_it() {
    let mut run = sample::redis(1);
    run.anomalies.line_lost = 1;
    assert_eq!(missed(&run).len(), 1);
    let mut store_killed = run.faults[0].clone();
    store_killed.target = "store".into();
    run.faults.push(store_killed);
    assert_eq!(missed(&run), Vec::<String>::new());
}

#[test]
fn a_predicted_loss_must_show() {
    let mut run = sample::sticky(1);
    let fault = &mut run.faults[0];
    (fault.sessions_lost, fault.sessions_lost_on_target) = (0, 0);
    fault.cart_lines_lost = 0;
    let missed = missed(&run);
    assert_eq!(
        missed,
        [
            "kill of node-2: costs all sessions that it served, and no others: 0 of 51",
            "kill of node-2: costs the cart lines of these sessions: 0 of 137"
        ]
    );
    // Of no session none can be lost.
    let fault = &mut run.faults[0];
    (fault.sessions_on_target, fault.cart_lines_on_target) = (0, 0);
    assert_eq!(self::missed(&run), Vec::<String>::new());
}

#[test]
fn a_kill_costs_exactly_the_pinned() {
    let mut run = sample::sticky(1);
    run.faults[0].sessions_lost = 52;
    assert!(missed(&run)[0].ends_with("51 of 51, and 1 others"));
    run.faults[0].sessions_lost = 50;
    run.faults[0].sessions_lost_on_target = 50;
    assert!(missed(&run)[0].ends_with("50 of 51"));
    let mut paused = paused(5_000);
    (
        paused.faults[0].sessions_lost,
        paused.faults[0].sessions_lost_on_target,
    ) = (50, 50);
    assert_eq!(
        missed(&paused),
        Vec::<String>::new(),
        "who asks nothing notices nothing"
    );
}

#[test]
fn a_short_pause_need_not_cost_anything() {
    let mut run = paused(1_000);
    (
        run.faults[0].sessions_lost,
        run.faults[0].sessions_lost_on_target,
    ) = (0, 0);
    run.faults[0].cart_lines_lost = 0;
    assert_eq!(missed(&run), Vec::<String>::new());
}

#[test]
fn a_token_must_outlive_its_logout_if_somebody_tried() {
    let mut run = sample::jwt(1);
    run.anomalies.exposure = 0;
    assert_eq!(missed(&run).len(), 1);
    run.revocation_ms = None;
    assert_eq!(missed(&run), Vec::<String>::new());
    let mut redis = sample::redis(1);
    redis.anomalies.exposure = 1;
    assert_eq!(missed(&redis).len(), 1, "it is jwt's alone");
}

#[test]
fn a_revocation_ends_logins_where_the_matrix_says_so() {
    let revoked = |mut run: Run, sessions, exposures| {
        run.anomalies.exposure += exposures;
        run.revocations = Some(Revocations {
            asked: sessions,
            acknowledged: sessions,
            unsupported: 0,
            sessions,
            exposures,
            resurrections: 0,
            alive_ms: None,
        });
        missed(&run)
    };
    assert_eq!(revoked(sample::redis(1), 40, 0), Vec::<String>::new());
    let redis = revoked(sample::redis(1), 40, 1);
    assert_eq!(
        redis[0],
        "no credential is accepted after an operator's revocation: 1 of 40 accepted"
    );
    assert_eq!(revoked(sample::sticky(1), 40, 27), Vec::<String>::new());
    let sticky = revoked(sample::sticky(1), 40, 0);
    assert_eq!(
        sticky,
        ["credentials are accepted after an operator's revocation: 0 of 40 accepted"]
    );
    assert_eq!(
        revoked(sample::sticky(1), 3, 0),
        Vec::<String>::new(),
        "chance"
    );
    let mut jwt = sample::jwt(1);
    jwt.anomalies.exposure = 0;
    assert_eq!(
        revoked(jwt, 40, 40),
        ["logged-out credentials stay valid until they expire: 0 accepted"],
        "what outlived a revocation says nothing of logouts"
    );
}

#[test]
fn what_may_be_repeated_must_not_fail_where_another_node_can_help() {
    let mut run = sample::jwt(1);
    run.requests.failed_idempotent = 1;
    assert_eq!(
        missed(&run),
        ["no request fails that the balancer may repeat: 1"]
    );
    run.faults[0].target = "load-balancer".into();
    assert_eq!(missed(&run), Vec::<String>::new());
    run.faults[0].target = "node-2".into();
    run.balancer = "haproxy".into();
    assert_eq!(missed(&run), Vec::<String>::new());
}

#[test]
fn the_matrix_tells_what_each_fault_showed() {
    let mut run = sample::sticky(1);
    run.anomalies.session_lost = 53;
    run.anomalies.leak = 1;
    let rows = matrix("sticky", &[&run]);
    let labels: Vec<&str> = rows.iter().map(|row| row.fault.as_str()).collect();
    assert_eq!(labels, ["at any time", "kill of node-2"]);
    assert_eq!(rows[0].observed["session_lost"], 2, "apart from the fault");
    assert_eq!(rows[0].observed["leak"], 1);
    assert_eq!(rows[1].observed["session_lost"], 51);
    assert_eq!(rows[1].predicted, ["session_lost", "line_lost"]);
}

#[test]
fn an_exposure_after_a_missed_logout_is_the_doing_of_a_node_that_was_away() {
    let mut run = paused(5_000);
    run.anomalies.exposure = 2;
    run.faults[0].exposures = 2;
    assert_eq!(missed(&run), Vec::<String>::new());
    let rows = matrix("sticky", &[&run]);
    assert!(!rows[0].observed.contains_key("exposure"));
    assert_eq!(rows[1].observed["exposure"], 2);
    assert!(rows[1].tolerated.contains(&"exposure".to_owned()));
    // A node that was killed forgets.
    run.faults[0].kind = "kill".into();
    assert!(
        missed(&run)
            .iter()
            .any(|demand| demand.ends_with(": 2 exposure"))
    );
}

#[test]
fn what_no_fault_explains_is_counted() {
    for run in [sample::sticky(1), sample::redis(1), sample::jwt(1)] {
        assert_eq!(unexplained(&run), 0, "{}", run.strategy);
    }
    let mut run = sample::sticky(1);
    run.anomalies.session_lost += 1;
    run.anomalies.line_lost += 2;
    assert_eq!(unexplained(&run), 3, "apart from the fault");
    run.faults[0].exposures = 4;
    run.anomalies.exposure = 4;
    assert_eq!(unexplained(&run), 7, "a kill may not cost that");
}

fn field(found: &mut Anomalies, anomaly: Anomaly) -> &mut u64 {
    match anomaly {
        Anomaly::SessionLost => &mut found.session_lost,
        Anomaly::LineLost => &mut found.line_lost,
        Anomaly::StaleRead => &mut found.stale_read,
        Anomaly::Rollback => &mut found.rollback,
        Anomaly::Duplicate => &mut found.duplicate,
        Anomaly::Phantom => &mut found.phantom,
        Anomaly::Leak => &mut found.leak,
        Anomaly::Resurrection => &mut found.resurrection,
        Anomaly::Exposure => &mut found.exposure,
        Anomaly::Unknown => &mut found.unknown,
    }
}
