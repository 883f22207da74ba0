//! Proof that the checker sees: each rule by a story here, then by histories drawn at random.
//!
//! * `blame`: faults. `simulator`: a model cluster with users, whose histories show nothing but what theory predicts.
//! * `revoked`: an operator. `planted`: each anomaly planted in such a history is found. `oracle`: tiny histories against a linearizability tester.

mod blame;
mod oracle;
mod planted;
mod revoked;
mod simulator;

use super::*;
use crate::history::testing::*;
use crate::history::{Action, FaultEvent, FaultStep, Lifetime, Operation};
use crate::results::Anomaly;

/// Two users; one logs out in between. Nothing is wrong.
fn clean() -> Vec<Operation> {
    vec![
        log_in(1, 1, 1, 0),
        add(1, 1, 2, 100),
        add(1, 1, 3, 200),
        read(1, 1, 4, 300, &[2, 3]),
        remove(1, 1, 5, 400, 2),
        read(1, 1, 6, 500, &[3]),
        log_out(1, 1, 7, 600),
        replay(1, 1, 8, 700),
        log_in(1, 2, 9, 800),
        add(1, 2, 10, 900),
        read(1, 2, 11, 11_000, &[10]),
        log_in(2, 1, 1, 50),
        add(2, 1, 2, 150),
        browse(2, 1, 3, 5_000),
        read(2, 1, 4, 11_000, &[2]),
    ]
}

/// The clean history with `operation` in the place of the one with the same user and id.
fn with(operation: Operation) -> History {
    let same = |other: &Operation| (other.user, other.id) == (operation.user, operation.id);
    let mut operations = clean();
    operations.retain(|other| !same(other));
    operations.push(operation);
    history(operations)
}

fn anomalies(history: &History) -> Anomalies {
    check(history).anomalies
}

#[test]
fn a_clean_history_has_nothing() {
    let verdict = check(&history(clean()));
    assert_eq!(verdict.anomalies, Anomalies::default());
    assert_eq!(verdict.logins_again, 0);
    assert_eq!(verdict.revocation_ms, Some(Revocation { p50: 0, max: 0 }));
}

#[test]
fn an_acknowledged_line_that_never_shows_is_lost() {
    let found = anomalies(&with(read(2, 1, 4, 11_000, &[])));
    assert_eq!(
        found,
        Anomalies {
            line_lost: 1,
            ..Anomalies::default()
        }
    );
}

#[test]
fn a_line_that_was_seen_and_disappears_is_lost_even_if_its_adding_was_never_acknowledged() {
    let mut operations = vec![log_in(1, 1, 1, 0), add(1, 1, 2, 100).unknown()];
    operations.push(read(1, 1, 3, 200, &[2]));
    operations.push(read(1, 1, 4, 11_000, &[]));
    assert_eq!(anomalies(&history(operations)).line_lost, 1);
}

#[test]
fn a_line_that_comes_back_was_a_stale_read() {
    let mut operations = clean();
    operations.push(read(2, 1, 5, 4_000, &[]));
    let found = anomalies(&history(operations));
    assert_eq!(
        found,
        Anomalies {
            stale_read: 1,
            ..Anomalies::default()
        }
    );
}

#[test]
fn a_removed_line_that_comes_back_was_a_stale_read() {
    let mut operations = clean();
    operations.retain(|operation| (operation.user, operation.id) != (1, 6));
    operations.push(read(1, 1, 6, 500, &[2, 3]));
    operations.push(read(1, 1, 20, 550, &[3]));
    let found = anomalies(&history(operations));
    assert_eq!(
        found,
        Anomalies {
            stale_read: 1,
            ..Anomalies::default()
        }
    );
}

#[test]
fn a_removed_line_that_never_goes_is_a_rollback() {
    let found = anomalies(&with(read(1, 1, 6, 500, &[2, 3])));
    assert_eq!(
        found,
        Anomalies {
            rollback: 1,
            ..Anomalies::default()
        }
    );
}

/// The node that the load balancer had left may still do what another one has done meanwhile.
#[test]
fn a_removed_line_that_was_added_by_two_nodes_may_come_back() {
    let mut operations = with(read(1, 1, 6, 500, &[2, 3])).operations;
    for operation in &mut operations {
        if operation.action == Action::AddLine {
            operation.retries = 1;
        }
    }
    assert_eq!(anomalies(&history(operations)), Anomalies::default());
}

#[test]
fn what_was_shown_and_is_not_for_a_while_is_a_rollback() {
    let expected = Anomalies {
        rollback: 1,
        ..Anomalies::default()
    };
    let mut operations = clean();
    operations.push(read(2, 1, 5, 4_000, &[2]));
    operations.push(read(2, 1, 6, 4_100, &[]));
    assert_eq!(anomalies(&history(operations)), expected, "a line");
    let mut operations = clean();
    operations.push(read(1, 1, 20, 520, &[2, 3]));
    operations.push(read(1, 1, 21, 540, &[3]));
    assert_eq!(anomalies(&history(operations)), expected, "a removal");
}

#[test]
fn a_line_that_was_applied_twice_is_a_duplicate() {
    let found = anomalies(&with(read(1, 2, 11, 11_000, &[10, 10])));
    assert_eq!(
        found,
        Anomalies {
            duplicate: 1,
            ..Anomalies::default()
        }
    );
}

#[test]
fn lines_of_another_user_are_leaks() {
    let mut swapped = read(1, 2, 11, 11_000, &[10]);
    swapped.read = Some(vec![line(2, 2)]);
    let found = anomalies(&with(swapped));
    assert_eq!((found.leak, found.line_lost), (1, 1));
}

#[test]
fn an_answer_for_another_user_is_a_leak() {
    let mut mistaken = browse(2, 1, 3, 5_000);
    mistaken.mistaken_for = Some("user-000001".into());
    assert_eq!(anomalies(&with(mistaken)).leak, 1);
}

#[test]
fn lines_of_an_earlier_session_and_refused_ones_do_not_belong_there() {
    assert_eq!(
        anomalies(&with(read(1, 2, 11, 11_000, &[3, 10]))).phantom,
        1
    );
    let mut operations = clean();
    operations.push(add(2, 1, 5, 300).failed());
    operations.push(read(2, 1, 6, 400, &[2, 5]));
    assert_eq!(anomalies(&history(operations)).phantom, 1);
}

#[test]
fn a_dead_credential_that_is_accepted_is_a_resurrection_and_its_time_is_told() {
    let mut accepted = replay(1, 1, 8, 700);
    accepted.status = Some(200);
    let verdict = check(&with(accepted.clone()));
    assert_eq!(verdict.anomalies.resurrection, 1);
    // Seen to work from the logout's end (602 ms) to the end of the replay (702 ms).
    assert_eq!(verdict.revocation_ms.unwrap().max, 100);

    // The node said itself when the credential will end: second 1,030 of the wall clock; the run began at 1,000.
    let mut history = with(accepted);
    for operation in &mut history.operations {
        if operation.action == Action::LogOut {
            operation.alive_until_unix_s = Some(1_030);
        }
    }
    assert_eq!(check(&history).revocation_ms.unwrap().max, 29_398);
}

#[test]
fn where_no_logout_revokes_the_same_is_an_exposure_until_the_declared_end() {
    let with_replay_at = |at_ms| {
        let mut accepted = replay(1, 1, 8, at_ms);
        accepted.status = Some(200);
        let mut history = with(accepted);
        history.meta.properties.revocable_at_once = false;
        for operation in &mut history.operations {
            if operation.action == Action::LogOut {
                operation.alive_until_unix_s = Some(1_030); // second 30 of the run
            }
        }
        anomalies(&history)
    };
    let early = with_replay_at(29_000);
    assert_eq!((early.exposure, early.resurrection), (1, 0));
    let late = with_replay_at(31_500);
    assert_eq!((late.exposure, late.resurrection), (0, 1));
}

#[test]
fn a_node_that_acknowledged_a_logout_without_an_end_must_not_accept_the_credential_itself() {
    let accepted_by = |node| {
        let mut accepted = replay(1, 1, 8, 700).on(node);
        accepted.status = Some(200);
        let mut history = with(accepted);
        history.meta.properties.revocable_at_once = false;
        anomalies(&history)
    };
    let same = accepted_by("node-1");
    assert_eq!((same.exposure, same.resurrection), (0, 1));
    let other = accepted_by("node-2");
    assert_eq!((other.exposure, other.resurrection), (1, 0));
}

/// User 1 logs out at 600 ms at node-2, which does not know the session, and the credential is tried 100 ms later.
fn logged_out_elsewhere(tried: impl FnOnce(Operation) -> Operation) -> History {
    let mut history = with(tried(replay(1, 1, 8, 700)));
    for operation in &mut history.operations {
        if operation.action == Action::LogOut {
            *operation = operation.clone().on("node-2").nothing_ended();
        }
    }
    history.meta.properties.revocable_at_once = false;
    history
}

#[test]
fn a_logout_that_found_nothing_acknowledges_nothing_and_its_user_is_gone_all_the_same() {
    let refused = logged_out_elsewhere(|tried| tried.on("node-2"));
    let verdict = check(&refused);
    assert_eq!(verdict.anomalies, Anomalies::default());
    assert_eq!(verdict.revocation_ms, Some(Revocation { p50: 0, max: 0 }));
    let accepted_by = |node| {
        logged_out_elsewhere(|mut tried| {
            tried.status = Some(200);
            tried.on(node)
        })
    };
    let verdict = check(&accepted_by("node-1"));
    let exposed = Anomalies {
        exposure: 1,
        ..Anomalies::default()
    };
    assert_eq!(verdict.anomalies, exposed);
    assert_eq!(verdict.revocation_ms.unwrap().max, 100);
    assert_eq!(
        verdict.witnesses[0].sentence,
        "User 1: replay 8 at 0.700 s on node-1 accepted a credential after log_out 7 at 0.600 s on node-2, which that node \
         answered by saying that it does not know the session."
    );
    // The node said that it does not know the session, and then it does.
    assert_eq!(check(&accepted_by("node-2")).anomalies.resurrection, 1);
    // A strategy that can end sessions everywhere has no such excuse.
    let mut history = accepted_by("node-1");
    history.meta.properties.revocable_at_once = true;
    assert_eq!(check(&history).anomalies.resurrection, 1);
}

#[test]
fn a_logout_that_finds_an_expired_session_gone_is_no_failure() {
    let mut history = logged_out_elsewhere(|tried| tried);
    let found = |history: &History| {
        let ends = check(history).ends;
        let mut logouts = history.operations.iter();
        let logout = logouts.find(|operation| operation.action == Action::LogOut);
        ends.is_failure(logout.unwrap())
    };
    assert!(found(&history), "nobody knows whether the session is over");
    history.meta.lifetime = Some(Lifetime {
        absolute_s: 1,
        idle_s: None,
    });
    assert!(!found(&history));
}

#[test]
fn a_session_that_may_have_expired_is_not_lost_and_its_lines_are_not_owed() {
    let found = |lifetime, refused_at_ms| {
        let mut history = history([
            log_in(1, 1, 1, 0),
            add(1, 1, 2, 1_000),
            browse(1, 1, 3, refused_at_ms).refused(),
        ]);
        history.meta.lifetime = Some(lifetime);
        anomalies(&history)
    };
    let lost = Anomalies {
        session_lost: 1,
        line_lost: 1,
        ..Anomalies::default()
    };
    let absolute = Lifetime {
        absolute_s: 8,
        idle_s: None,
    };
    assert_eq!(found(absolute, 6_900), lost);
    assert_eq!(found(absolute, 8_000), Anomalies::default());
    let idle = Lifetime {
        absolute_s: 600,
        idle_s: Some(4),
    };
    assert_eq!(found(idle, 3_900), lost);
    assert_eq!(found(idle, 5_000), Anomalies::default());
}

#[test]
fn a_live_session_that_is_refused_is_lost_with_its_lines() {
    let mut operations = clean();
    operations.retain(|operation| (operation.user, operation.id) != (2, 4));
    operations.push(browse(2, 1, 4, 6_000).refused());
    operations.push(log_in(2, 2, 5, 6_100));
    operations.push(read(2, 2, 6, 11_000, &[]));
    let verdict = check(&history(operations));
    let expected = Anomalies {
        session_lost: 1,
        line_lost: 1,
        ..Anomalies::default()
    };
    assert_eq!(verdict.anomalies, expected);
    assert_eq!(verdict.logins_again, 1);
}

#[test]
fn a_refusal_after_a_logout_that_may_have_happened_is_no_loss() {
    let operations = vec![
        log_in(1, 1, 1, 0),
        log_out(1, 1, 2, 100).unknown(),
        browse(1, 1, 3, 200).refused(),
    ];
    assert_eq!(anomalies(&history(operations)), Anomalies::default());
}

#[test]
fn a_cart_without_a_final_read_is_unknown() {
    let mut operations = clean();
    operations.retain(|operation| (operation.user, operation.id) != (2, 4));
    assert_eq!(anomalies(&history(operations)).unknown, 1);
    // A read before the faults were over does not count.
    assert_eq!(anomalies(&with(read(2, 1, 4, 9_000, &[2]))).unknown, 1);
    // Nor does one that failed.
    assert_eq!(
        anomalies(&with(read(2, 1, 4, 11_000, &[2]).unknown())).unknown,
        1
    );
}

#[test]
fn what_may_or_may_not_have_happened_excuses_both() {
    for seen in [&[2][..], &[]] {
        let operations = vec![
            log_in(1, 1, 1, 0),
            add(1, 1, 2, 100).unknown(),
            read(1, 1, 3, 11_000, seen),
        ];
        assert_eq!(
            anomalies(&history(operations)),
            Anomalies::default(),
            "add, {seen:?}"
        );
        let operations = vec![
            log_in(1, 1, 1, 0),
            add(1, 1, 2, 100),
            remove(1, 1, 3, 200, 2).unknown(),
            read(1, 1, 4, 11_000, seen),
        ];
        assert_eq!(
            anomalies(&history(operations)),
            Anomalies::default(),
            "remove, {seen:?}"
        );
    }
}
