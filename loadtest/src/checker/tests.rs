//! Proof that the checker sees: each anomaly planted in a clean history must be found, and nothing must be found where
//! nothing is wrong, however much is unknown.

use proptest::prelude::*;

use super::*;
use crate::history::testing::*;
use crate::history::{FaultEvent, FaultStep, Operation};
use crate::results::Anomalies;

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
    let found = anomalies(&with(read(1, 1, 6, 500, &[2, 3])));
    assert_eq!(
        found,
        Anomalies {
            stale_read: 1,
            ..Anomalies::default()
        }
    );
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
    assert_eq!(anomalies(&with(read(1, 2, 11, 11_000, &[3, 10]))).leak, 1);
    let mut operations = clean();
    operations.push(add(2, 1, 5, 300).failed());
    operations.push(read(2, 1, 6, 400, &[2, 5]));
    assert_eq!(anomalies(&history(operations)).leak, 1);
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

fn kill_of_node_2(history: &mut History, commanded_ms: i64, effective_ms: i64) {
    for (step, at_ms) in [
        (FaultStep::Commanded, commanded_ms),
        (FaultStep::Effective, effective_ms),
    ] {
        history.faults.push(FaultEvent {
            fault: 0,
            kind: "kill".into(),
            target: "node-2".into(),
            step,
            at_us: at_ms * 1_000,
        });
    }
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
        cart_lines_lost: 1,
    };
    assert_eq!(check(&history).losses, [expected]);
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

/// One user's life, drawn at random and played against a cart that works. `unknown` operations may have happened or
/// not, at the drawer's will.
fn plausible() -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec((0..6u8, any::<u8>(), any::<bool>()), 1..60).prop_map(|wishes| {
        let mut operations = vec![log_in(1, 1, 1, 0)];
        let (mut session, mut id, mut at_ms) = (1, 1, 0);
        let mut cart: Vec<u32> = Vec::new();
        for (wish, pick, happened) in wishes {
            id += 1;
            at_ms += 10;
            let picked = cart.get(usize::from(pick) % cart.len().max(1)).copied();
            let operation = match (wish, picked) {
                (0, _) => {
                    cart.push(id);
                    add(1, session, id, at_ms)
                }
                (1, _) => {
                    cart.extend(happened.then_some(id));
                    add(1, session, id, at_ms).unknown()
                }
                (2, Some(line)) => {
                    cart.retain(|known| *known != line);
                    remove(1, session, id, at_ms, line)
                }
                (3, Some(line)) => {
                    cart.retain(|known| *known != line || !happened);
                    remove(1, session, id, at_ms, line).unknown()
                }
                (4, _) => {
                    operations.push(read(1, session, id, at_ms, &cart));
                    operations.push(log_out(1, session, id + 1, at_ms + 10));
                    cart.clear();
                    session += 1;
                    id += 2;
                    at_ms += 20;
                    log_in(1, session, id, at_ms)
                }
                _ => read(1, session, id, at_ms, &cart),
            };
            operations.push(operation);
        }
        operations.push(read(1, session, id + 1, 11_000, &cart));
        operations
    })
}

/// The last read that shows something, and the line that it shows first.
fn last_showing(operations: &mut [Operation]) -> Option<(&mut Operation, LineId)> {
    operations.iter_mut().rev().find_map(|operation| {
        let line = *operation.read.as_ref()?.first()?;
        Some((operation, line))
    })
}

proptest! {
    #[test]
    fn plausible_histories_have_nothing(operations in plausible()) {
        prop_assert_eq!(anomalies(&history(operations)), Anomalies::default());
    }

    #[test]
    fn a_planted_duplicate_is_always_found(mut operations in plausible()) {
        if let Some((read, line)) = last_showing(&mut operations) {
            read.read.as_mut().unwrap().push(line);
            prop_assert_eq!(anomalies(&history(operations)).duplicate, 1);
        }
    }

    #[test]
    fn a_planted_leak_is_always_found(mut operations in plausible()) {
        if let Some((read, _)) = last_showing(&mut operations) {
            read.read.as_mut().unwrap().push(line(9, 9));
            prop_assert_eq!(anomalies(&history(operations)).leak, 1);
        }
    }

    #[test]
    fn a_line_dropped_from_all_reads_is_always_found(mut operations in plausible()) {
        let acknowledged = operations.iter().find(|operation| {
            operation.action == Action::AddLine && operation.outcome == Outcome::Ok
        });
        let Some(line) = acknowledged.and_then(|add| add.line) else { return Ok(()) };
        let removed = operations
            .iter()
            .any(|operation| operation.action == Action::RemoveLine && operation.line == Some(line));
        prop_assume!(!removed);
        for operation in &mut operations {
            if let Some(read) = &mut operation.read {
                read.retain(|other| *other != line);
            }
        }
        prop_assert_eq!(anomalies(&history(operations)).line_lost, 1);
    }
}
