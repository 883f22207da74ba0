//! Each kind of anomaly, planted in a clean history of each strategy, is found, is the only thing that is found, and its
//! witness names the operation where it was planted.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::Index;

use super::simulator::{Events, KINDS, Kind, Life, lives};
use super::*;
use crate::history::testing::*;
use crate::history::{Action, LineId, Operation};

/// Plants something in a history, if there is a place for it; returns the place of the operation that shows it.
type Plant = fn(&mut Life, Index) -> Option<usize>;

/// Plants `kind` in many lives of each strategy, and insists that it is found once, with its witness. What `plant` does to
/// other counts, it writes into the prediction.
fn is_found(kind: Anomaly, plant: Plant) {
    is_found_in(&KINDS, kind, plant);
}

fn is_found_in(strategies: &[Kind], kind: Anomaly, plant: Plant) {
    is_found_among(strategies, Events::default(), kind, plant);
}

fn is_found_among(strategies: &[Kind], events: Events, kind: Anomaly, plant: Plant) {
    for &strategy in strategies {
        let config = ProptestConfig {
            cases: 60,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let planted = Cell::new(0);
        proptest!(config, |(mut life in lives(strategy, events), pick: Index)| {
            let Some(place) = plant(&mut life, pick) else { return Ok(()) };
            planted.set(planted.get() + 1);
            *life.predicted.count_mut(kind) += 1;
            let shown = life.history.operations[place].clone();
            let verdict = check(&life.history);
            prop_assert_eq!(verdict.anomalies, life.predicted, "{:#?}", verdict.witnesses);
            let names_it = verdict.witnesses.iter().any(|witness| {
                witness.kind == kind
                    && witness.user == shown.user
                    && witness.operations.iter().any(|operation| operation.id == shown.id)
            });
            prop_assert!(names_it, "{:?} in {:#?}", shown, verdict.witnesses);
        });
        assert!(
            planted.get() >= 20,
            "{strategy:?}: found a place only {} times",
            planted.get()
        );
    }
}

/// The places of all operations that fit; one of them.
fn pick_place(life: &Life, pick: Index, fits: impl Fn(&Operation) -> bool) -> Option<usize> {
    let operations = life.history.operations.iter().enumerate();
    let fit: Vec<usize> = operations
        .filter(|(_, one)| fits(one))
        .map(|(place, _)| place)
        .collect();
    (!fit.is_empty()).then(|| fit[pick.index(fit.len())])
}

/// Places of the answers that show this session's cart and were asked for from `from_us` on.
fn reads_from(life: &Life, same: &Operation, from_us: i64) -> Vec<usize> {
    let operations = life.history.operations.iter().enumerate();
    let fits = |one: &Operation| {
        (one.user, one.session) == (same.user, same.session)
            && one.read.is_some()
            && one.sent_us >= from_us
    };
    operations
        .filter(|(_, one)| fits(one))
        .map(|(place, _)| place)
        .collect()
}

fn may_be_removed(life: &Life, id: Option<LineId>) -> bool {
    life.history
        .operations
        .iter()
        .any(|one| one.action == Action::RemoveLine && one.line == id && may_have_happened(one))
}

fn shown(life: &mut Life, place: usize) -> &mut Vec<LineId> {
    life.history.operations[place].read.as_mut().unwrap()
}

/// An acknowledged line that nobody removes, and the places of all reads after it, of which there are so many.
fn line_with_reads(life: &Life, pick: Index, reads: usize) -> Option<(LineId, Vec<usize>)> {
    let adding = pick_place(life, pick, |one| {
        one.action == Action::AddLine
            && one.outcome == Outcome::Ok
            && !may_be_removed(life, one.line)
            && reads_from(life, one, one.done_us).len() >= reads
    })?;
    let adding = &life.history.operations[adding];
    Some((adding.line?, reads_from(life, adding, adding.done_us)))
}

/// An acknowledged removal, and the places of all reads after it, of which there are so many.
fn removal_with_reads(life: &Life, pick: Index, reads: usize) -> Option<(LineId, Vec<usize>)> {
    let removal = pick_place(life, pick, |one| {
        one.action == Action::RemoveLine
            && one.outcome == Outcome::Ok
            && reads_from(life, one, one.done_us).len() >= reads
    })?;
    let removal = &life.history.operations[removal];
    Some((removal.line?, reads_from(life, removal, removal.done_us)))
}

#[test]
fn a_live_session_refused() {
    is_found(Anomaly::SessionLost, |life, pick| {
        let place = pick_place(life, pick, |one| {
            one.action == Action::Browse && one.outcome == Outcome::Ok
        })?;
        let operations = &mut life.history.operations;
        operations[place] = operations[place].clone().refused();
        // Its lines go with it, also those that it was still to add.
        let at = &operations[place];
        life.predicted.line_lost = check(&history(operations.clone())).anomalies.line_lost;
        let known = operations.iter().filter(|one| {
            (one.user, one.session) == (at.user, at.session)
                && one.action == Action::AddLine
                && one.outcome == Outcome::Ok
        });
        (life.predicted.line_lost <= known.count() as u64).then_some(place)
    });
}

#[test]
fn an_acknowledged_write_dropped() {
    is_found(Anomaly::LineLost, |life, pick| {
        let (line, reads) = line_with_reads(life, pick, 1)?;
        for &place in &reads {
            shown(life, place).retain(|other| *other != line);
        }
        Some(reads[0])
    });
}

#[test]
fn an_answer_from_before_a_write() {
    is_found(Anomaly::StaleRead, |life, pick| {
        let (line, reads) = line_with_reads(life, pick, 2)?;
        shown(life, reads[0]).retain(|other| *other != line);
        Some(reads[0])
    });
}

#[test]
fn an_answer_from_before_a_removal() {
    is_found(Anomaly::StaleRead, |life, pick| {
        let (line, reads) = removal_with_reads(life, pick, 2)?;
        shown(life, reads[0]).push(line);
        Some(reads[0])
    });
}

#[test]
fn an_answer_older_than_one_before() {
    is_found(Anomaly::Rollback, |life, pick| {
        let (line, reads) = line_with_reads(life, pick, 3)?;
        let place = reads[1 + pick.index(reads.len() - 2)];
        shown(life, place).retain(|other| *other != line);
        Some(place)
    });
}

#[test]
fn a_removal_taken_back() {
    is_found(Anomaly::Rollback, |life, pick| {
        let (line, reads) = removal_with_reads(life, pick, 2)?;
        // For a while or for good.
        let from = 1 + pick.index(reads.len() - 1);
        for &place in &reads[from..] {
            shown(life, place).push(line);
        }
        Some(reads[from])
    });
}

#[test]
fn a_write_applied_twice() {
    is_found(Anomaly::Duplicate, |life, pick| {
        let place = pick_place(life, pick, |one| {
            one.read.as_ref().is_some_and(|read| !read.is_empty())
        })?;
        let lines = shown(life, place);
        lines.push(lines[pick.index(lines.len())]);
        Some(place)
    });
}

#[test]
fn a_failed_write_that_shows() {
    is_found(Anomaly::Phantom, |life, pick| {
        let adding = pick_place(life, pick, |one| {
            one.action == Action::AddLine
                && one.outcome == Outcome::Fail
                && !reads_from(life, one, one.done_us).is_empty()
        })?;
        let adding = life.history.operations[adding].clone();
        let reads = reads_from(life, &adding, adding.done_us);
        let place = reads[pick.index(reads.len())];
        shown(life, place).extend(adding.line);
        Some(place)
    });
}

#[test]
fn a_line_of_the_session_before() {
    is_found(Anomaly::Phantom, |life, pick| {
        let place = pick_place(life, pick, |one| one.read.is_some() && one.session > 1)?;
        let user = life.history.operations[place].user;
        let before = life
            .history
            .operations
            .iter()
            .find(|one| one.action == Action::AddLine && one.user == user && one.session == 1);
        let line = before?.line?;
        shown(life, place).push(line);
        Some(place)
    });
}

#[test]
fn two_users_swapped() {
    is_found(Anomaly::Leak, |life, pick| {
        let mine = pick_place(life, pick, |one| one.read.is_some())?;
        let user = life.history.operations[mine].user;
        let other = pick_place(life, pick, |one| {
            one.user != user && one.read.as_ref().is_some_and(|read| !read.is_empty())
        })?;
        let line = shown(life, other)[0];
        shown(life, mine).push(line);
        Some(mine)
    });
    is_found(Anomaly::Leak, |life, pick| {
        let place = pick_place(life, pick, |one| {
            one.action == Action::Browse && one.status == Some(200)
        })?;
        life.history.operations[place].mistaken_for = Some("user-000009".into());
        Some(place)
    });
}

#[test]
fn a_logout_undone() {
    is_found_in(
        &[Kind::Sticky, Kind::Redis],
        Anomaly::Resurrection,
        |life, pick| {
            let place = pick_place(life, pick, |one| one.action == Action::Replay)?;
            life.history.operations[place].status = Some(200);
            Some(place)
        },
    );
}

#[test]
fn a_token_accepted_after_its_end() {
    is_found_in(&[Kind::Jwt], Anomaly::Resurrection, |life, pick| {
        let place = pick_place(life, pick, |one| one.action == Action::Replay)?;
        let replay = life.history.operations[place].clone();
        for one in &mut life.history.operations {
            if (one.user, one.session, one.action) == (replay.user, replay.session, Action::LogOut)
            {
                one.alive_until_unix_s = Some(990); // the run began at 1,000
            }
        }
        life.predicted.exposure -= 1;
        Some(place)
    });
}

#[test]
fn a_token_accepted_after_its_logout() {
    is_found_in(&[Kind::Jwt], Anomaly::Exposure, |life, pick| {
        let place = pick_place(life, pick, |one| one.action == Action::Replay)?;
        // All others refused: the one that is left must be the one that is found.
        for one in &mut life.history.operations {
            if one.action == Action::Replay {
                one.status = Some(401);
            }
        }
        life.history.operations[place].status = Some(200);
        life.predicted.exposure = 0;
        Some(place)
    });
}

const REVOCATIONS: Events = Events {
    kills: false,
    revocations: true,
    missed_logouts: false,
};

/// An order that ended a session which was in use before and was refused after it: the order, and that refusal.
fn revocation_that_ended(life: &Life, pick: Index) -> Option<(Operation, Operation)> {
    let refused = pick_place(life, pick, |one| {
        let refused = one.status == Some(401) && one.action != Action::Replay;
        refused && order_before(life, one).is_some()
    })?;
    let refused = life.history.operations[refused].clone();
    Some((order_before(life, &refused)?.clone(), refused))
}

/// The only order about the session of `refused`, if it reached its node: then it has ended it.
fn order_before<'a>(life: &'a Life, refused: &Operation) -> Option<&'a Operation> {
    let login = life.history.operations.iter().find(|one| {
        (one.user, one.session, one.action) == (refused.user, refused.session, Action::LogIn)
    })?;
    let mut orders = life.history.revocations.iter().filter(|order| {
        order.user == refused.user && (login.done_us..refused.sent_us).contains(&order.sent_us)
    });
    let order = orders.next()?;
    let reached = life.history.meta.properties.revocable_at_once || order.node == login.node;
    let ended = order.outcome == Outcome::Ok && order.revoked > Some(0) && reached;
    (ended && orders.next().is_none()).then_some(order)
}

/// Adds an operation to a life; its place.
fn insert(life: &mut Life, operation: Operation) -> usize {
    let operations = &mut life.history.operations;
    let place = operations.partition_point(|one| one.sent_us < operation.sent_us);
    operations.insert(place, operation);
    place
}

#[test]
fn a_revocation_undone() {
    let strategies = [Kind::Sticky, Kind::Redis];
    is_found_among(
        &strategies,
        REVOCATIONS,
        Anomaly::Resurrection,
        |life, pick| {
            let (order, refused) = revocation_that_ended(life, pick)?;
            // Accepted by the very node that had said that it was done, before another request finds the end.
            let mut accepted = browse(refused.user, refused.session, 100_000, 0)
                .on(order.node.as_deref().unwrap_or_default());
            (accepted.sent_us, accepted.done_us) = (order.done_us + 1_000, order.done_us + 3_000);
            Some(insert(life, accepted))
        },
    );
}

#[test]
fn a_credential_accepted_after_a_revocation_that_could_not_reach_it() {
    let strategies = [Kind::Sticky, Kind::Jwt];
    is_found_in(&strategies, Anomaly::Exposure, |life, pick| {
        // Of logouts in jwt there is enough elsewhere.
        for one in &mut life.history.operations {
            if one.action == Action::Replay {
                one.status = Some(401);
            }
        }
        life.predicted.exposure = 0;
        let place = pick_place(life, pick, |one| {
            one.action == Action::Browse && one.outcome == Outcome::Ok && one.status == Some(200)
        })?;
        let used = life.history.operations[place].clone();
        let mut order = revoke(used.user, 1, 0, 0).on("node-9");
        if life.history.meta.properties.survives_node_death {
            order = order.unsupported(); // jwt
        }
        (order.sent_us, order.done_us) = (used.sent_us - 3_000, used.sent_us - 1_000);
        life.history.revocations.push(order);
        // The last use of the credential is the one that is told.
        life.history.operations.iter().rposition(|one| {
            (one.user, one.session) == (used.user, used.session) && one.was_accepted()
        })
    });
}

#[test]
fn a_session_refused_though_its_revocation_ended_nothing() {
    let strategies = [Kind::Sticky, Kind::Redis];
    is_found_in(&strategies, Anomaly::SessionLost, |life, pick| {
        let place = pick_place(life, pick, |one| {
            one.action == Action::Browse && one.outcome == Outcome::Ok
        })?;
        let operations = &mut life.history.operations;
        operations[place] = operations[place].clone().refused();
        let refused = operations[place].clone();
        // Whatever was accepted after it is no part of this.
        operations.retain(|one| {
            (one.user, one.session) != (refused.user, refused.session)
                || one.sent_us <= refused.sent_us
        });
        life.predicted.line_lost = check(&history(operations.clone())).anomalies.line_lost;
        let mut order = revoke(refused.user, 1, 0, 0).on("node-9");
        (order.sent_us, order.done_us) = (refused.sent_us - 3_000, refused.sent_us - 1_000);
        life.history.revocations.push(order);
        Some(place)
    });
}

#[test]
fn no_final_read() {
    is_found(Anomaly::Unknown, |life, pick| {
        let last = pick_place(life, pick, |one| {
            one.sent_us >= life.history.meta.final_read_us && one.read.is_some()
        })?;
        let last = life.history.operations[last].clone();
        let operations = &mut life.history.operations;
        operations.retain(|one| {
            (one.user, one.session) != (last.user, last.session) || one.sent_us < 11_000_000
        });
        operations.iter().rposition(|one| {
            (one.user, one.session, one.action) == (last.user, last.session, Action::AddLine)
                && one.outcome == Outcome::Ok
        })
    });
}
