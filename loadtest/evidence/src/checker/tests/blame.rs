//! Which fault is to blame, what each one cost, and how a witness tells it.

use super::*;

/// A fault's steps at these moments; without an end it lasts.
fn strike(
    history: &mut History,
    fault: usize,
    (kind, target): (&str, &str),
    (commanded_ms, effective_ms): (i64, i64),
    undone_ms: Option<i64>,
) {
    let steps = [
        (FaultStep::Commanded, Some(commanded_ms)),
        (FaultStep::Effective, Some(effective_ms)),
        (FaultStep::Undone, undone_ms),
    ];
    for (step, at_ms) in steps {
        history.faults.extend(at_ms.map(|at_ms| FaultEvent {
            fault,
            kind: kind.into(),
            target: target.into(),
            step,
            at_us: at_ms * 1_000,
            evidence: None,
        }));
    }
}

fn kill_of_node_2(history: &mut History, commanded_ms: i64, effective_ms: i64) {
    let what = ("kill", "node-2");
    strike(history, 0, what, (commanded_ms, effective_ms), None);
}

#[test]
fn a_fault_costs_what_was_alive_and_is_gone() {
    let mut history = history([
        // On the victim: refused afterwards, with one line of two; the other was removed before.
        log_in(1, 1, 1, 0).on("node-2"),
        add(1, 1, 2, 100).on("node-2"),
        add(1, 1, 3, 200).on("node-2"),
        remove(1, 1, 4, 300, 2).on("node-2"),
        read(1, 1, 5, 6_000, &[]).refused(),
        // Elsewhere: survives with its line.
        log_in(2, 1, 1, 0),
        add(2, 1, 2, 100),
        read(2, 1, 3, 11_000, &[2]),
        // Logged out before anything was heard of it again: nobody can say.
        log_in(3, 1, 1, 0).on("node-2"),
        log_out(3, 1, 2, 5_500),
        // Logged out before the fault, and begun after it: not concerned.
        log_in(4, 1, 1, 0).on("node-2"),
        log_out(4, 1, 2, 4_000).on("node-2"),
        log_in(4, 2, 3, 5_100),
        read(4, 2, 4, 11_000, &[]),
        // Heard of between command and effect only, then refused.
        log_in(5, 1, 1, 0).on("node-2"),
        browse(5, 1, 2, 5_001).on("node-2"),
        browse(5, 1, 3, 7_000).refused(),
    ]);
    kill_of_node_2(&mut history, 5_000, 5_010);
    let expected = Losses {
        sessions_live: 3,
        sessions_on_target: 2,
        sessions_lost: 2,
        sessions_lost_on_target: 2,
        cart_lines_acknowledged: 2,
        cart_lines_on_target: 1,
        cart_lines_lost: 1,
        exposures: 0,
    };
    assert_eq!(check(&history).losses, [expected]);
}

/// A node that was told to end still serves for a while, and a node behind a cut link until the balancer notices.
#[test]
fn lines_that_were_added_while_the_fault_lasted_and_went_with_the_session_are_its_doing() {
    let mut history = history([
        log_in(1, 1, 1, 0).on("node-2"),
        add(1, 1, 2, 4_000).on("node-2"),
        add(1, 1, 3, 5_500).on("node-2"),
        browse(1, 1, 4, 6_500).refused(),
        // Begun while it lasted.
        log_in(2, 1, 1, 5_200).on("node-2"),
        add(2, 1, 2, 5_600).on("node-2"),
        browse(2, 1, 3, 6_600).refused(),
    ]);
    let what = ("restart", "node-2");
    strike(&mut history, 0, what, (5_000, 6_000), Some(6_200));
    let verdict = check(&history);
    let losses = verdict.losses[0];
    assert_eq!(verdict.anomalies.line_lost, 3);
    assert_eq!((losses.sessions_live, losses.sessions_lost), (2, 2));
    assert_eq!(
        (
            losses.cart_lines_acknowledged,
            losses.cart_lines_on_target,
            losses.cart_lines_lost
        ),
        (3, 3, 3)
    );
}

#[test]
fn a_logout_that_missed_its_session_is_the_doing_of_the_fault_that_led_the_user_elsewhere() {
    let accepted_at = |at_ms, node| {
        let mut accepted = replay(1, 1, 4, at_ms).on(node);
        accepted.status = Some(200);
        let mut history = history([
            log_in(1, 1, 1, 0).on("node-2"),
            browse(1, 1, 2, 4_000).on("node-2"),
            log_out(1, 1, 3, 6_000).on("node-1").nothing_ended(),
            accepted,
        ]);
        history.meta.properties.revocable_at_once = false;
        for (fault, kind, target, at_ms) in [
            (0, "blackhole", "load-balancer->node-2", 5_000),
            (1, "slow", "node-3", 5_500),
            (2, "pause", "node-2", 8_500),
        ] {
            strike(
                &mut history,
                fault,
                (kind, target),
                (at_ms, at_ms + 10),
                Some(at_ms + 2_000),
            );
        }
        check(&history)
    };
    let verdict = accepted_at(9_000, "node-2");
    let exposures: Vec<u64> = verdict
        .losses
        .iter()
        .map(|losses| losses.exposures)
        .collect();
    assert_eq!(exposures, [1, 0, 0]);
    let blamed = verdict.witnesses[0].fault.as_ref().unwrap();
    assert_eq!((blamed.index, blamed.kind.as_str()), (0, "blackhole"));
    // Nobody's doing but the node's.
    let verdict = accepted_at(9_000, "node-1");
    assert_eq!(verdict.anomalies.resurrection, 1);
    assert!(verdict.losses.iter().all(|losses| losses.exposures == 0));
}

#[test]
fn a_refusal_of_a_request_that_was_on_its_way_when_the_fault_came_is_the_faults_doing() {
    let mut refused = browse(1, 1, 2, 4_999).refused();
    refused.done_us = 5_040_000;
    let mut history = history([log_in(1, 1, 1, 0).on("node-2"), refused]);
    kill_of_node_2(&mut history, 5_000, 5_010);
    let losses = check(&history).losses[0];
    assert_eq!(
        (losses.sessions_live, losses.sessions_lost_on_target),
        (1, 1)
    );

    // Also when the answer came in before the fault was verified.
    history.operations[1].done_us = 5_005_000;
    assert_eq!(check(&history).losses[0], losses);
}

/// A session that `server` served last, at 4 s, and that is refused at 8 s.
fn lost_session(server: &str) -> History {
    history([
        log_in(1, 1, 1, 0).on("node-1"),
        add(1, 1, 2, 4_000).on(server),
        browse(1, 1, 3, 8_000).on("node-1").refused(),
    ])
}

/// The place of the fault that is blamed for the session and its line; both in the witnesses and in the losses.
fn blamed(history: &History) -> Option<usize> {
    let verdict = check(history);
    let blamed: Vec<usize> = (0..verdict.losses.len())
        .filter(|&place| verdict.losses[place].sessions_lost == 1)
        .collect();
    assert!(blamed.len() <= 1, "a lost session counts for one fault");
    for (place, losses) in verdict.losses.iter().enumerate() {
        let expected = u64::from(blamed.contains(&place));
        assert_eq!(losses.cart_lines_lost, expected, "fault {place}");
    }
    let told = |kind| {
        let witness = verdict
            .witnesses
            .iter()
            .find(|witness| witness.kind == kind);
        witness.unwrap().fault.as_ref().map(|fault| fault.index)
    };
    if let [place] = blamed[..] {
        assert_eq!(told(Anomaly::SessionLost), Some(place));
        assert_eq!(told(Anomaly::LineLost), Some(place));
    }
    blamed.first().copied()
}

#[test]
fn the_fault_that_hit_the_last_server_is_to_blame_though_others_came_later() {
    for target in ["node-2", "node-2->store", "load-balancer->node-2", "nodes"] {
        let mut history = lost_session("node-2");
        strike(
            &mut history,
            0,
            ("kill", target),
            (5_000, 5_010),
            Some(5_500),
        );
        strike(
            &mut history,
            1,
            ("kill", "node-1"),
            (6_000, 6_010),
            Some(6_500),
        );
        assert_eq!(blamed(&history), Some(0), "{target}");
        let losses = &check(&history).losses[0];
        assert_eq!(
            (losses.sessions_on_target, losses.sessions_lost_on_target),
            (1, 1)
        );
    }
}

#[test]
fn else_the_last_fault_is_to_blame_and_what_was_over_before_is_not() {
    let mut history = lost_session("node-2");
    strike(
        &mut history,
        0,
        ("kill", "node-2"),
        (1_000, 1_010),
        Some(3_500),
    );
    strike(
        &mut history,
        1,
        ("kill", "node-1"),
        (5_000, 5_010),
        Some(5_500),
    );
    strike(
        &mut history,
        2,
        ("pause", "store"),
        (6_000, 6_010),
        Some(6_500),
    );
    strike(&mut history, 3, ("kill", "node-2"), (9_000, 9_010), None);
    assert_eq!(blamed(&history), Some(2));
    assert_eq!(check(&history).losses[2].sessions_on_target, 0);

    let mut history = lost_session("node-2");
    strike(
        &mut history,
        0,
        ("kill", "node-2"),
        (1_000, 1_010),
        Some(3_500),
    );
    assert_eq!(blamed(&history), None);
}

#[test]
fn of_a_fault_that_repeats_each_time_has_its_own_losses() {
    let mut history = lost_session("node-2");
    strike(
        &mut history,
        0,
        ("kill", "node-2"),
        (1_000, 1_010),
        Some(1_500),
    );
    strike(
        &mut history,
        1,
        ("kill", "node-2"),
        (5_000, 5_010),
        Some(5_500),
    );
    assert_eq!(blamed(&history), Some(1));
    let losses = check(&history).losses;
    assert_eq!((losses[0].sessions_live, losses[0].sessions_lost), (1, 0));
    assert_eq!((losses[1].sessions_live, losses[1].sessions_lost), (1, 1));
}

#[test]
fn a_session_begun_while_a_long_fault_lasts_may_be_its_victim() {
    let mut history = lost_session("node-2");
    for operation in &mut history.operations {
        operation.sent_us += 2_000_000;
        operation.done_us += 2_000_000;
    }
    let what = ("rolling-restart", "nodes");
    strike(&mut history, 0, what, (1_000, 1_010), Some(20_000));
    let losses = check(&history).losses[0];
    assert_eq!((losses.sessions_live, losses.sessions_lost), (1, 1));
}

#[test]
fn a_witness_names_what_proves_it_in_the_order_of_sending() {
    let mut history = lost_session("node-2");
    kill_of_node_2(&mut history, 5_000, 5_010);
    let verdict = check(&history);
    let witness = &verdict.witnesses[0];
    assert_eq!(witness.kind, Anomaly::SessionLost);
    let ids: Vec<u32> = witness.operations.iter().map(|one| one.id).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(
        witness.sentence,
        "User 1: browse 3 at 8.000 s on node-1 was refused, though nobody had logged out and add_line 2 at 4.000 s on \
         node-2 had still been served. Before that: kill of node-2 at 5.000 s."
    );
}

#[test]
fn of_many_anomalies_all_are_counted_and_the_first_have_witnesses() {
    let users =
        (1..=40).flat_map(|user| [log_in(user, 1, 1, 0), browse(user, 1, 2, 100).refused()]);
    let verdict = check(&history(users));
    assert_eq!(verdict.anomalies.session_lost, 40);
    assert_eq!(verdict.witnesses.len(), 5);
}
