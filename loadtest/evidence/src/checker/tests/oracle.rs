//! Tiny histories against stateright's linearizability tester. The sequential specification is a cart: a register that
//! holds a set of lines; a read tells all of them.
//!
//! * Whatever the checker finds is not linearizable, however operations overlap: it never cries wolf.
//! * Of one line, with operations that follow each other as a user's do, it finds whatever is not linearizable. What is
//!   unknown may happen at any time later.
//!
//! In between the checker is weaker on purpose: it judges lines one by one, and where operations overlap it asks
//! only for orders that each pair of them betrays.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::*;
use crate::history::testing::*;
use crate::history::{LineId, Operation};

#[derive(Clone, Debug, Default)]
struct CartSpec(BTreeSet<LineId>);

#[derive(Clone, Copy, Debug)]
enum Op {
    Add(LineId),
    Remove(LineId),
    Read,
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Done,
    Lines(BTreeSet<LineId>),
}

impl SequentialSpec for CartSpec {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Add(line) => _ = self.0.insert(*line),
            Op::Remove(line) => _ = self.0.remove(line),
            Op::Read => return Ret::Lines(self.0.clone()),
        }
        Ret::Done
    }
}

/// What one operation does, how it ends, and how long it takes.
#[derive(Clone, Debug)]
struct Draft {
    does: u8,
    line: u8,
    shows: u8,
    outcome: Outcome,
    starts: u16,
    takes: u16,
}

fn draft() -> impl Strategy<Value = Draft> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Ok),
        1 => Just(Outcome::Info),
        1 => Just(Outcome::Fail),
    ];
    (
        0..8_u8,
        0..2_u8,
        0..4_u8,
        outcome,
        any::<u16>(),
        1..20_000_u16,
    )
        .prop_map(|(does, line, shows, outcome, starts, takes)| Draft {
            does,
            line,
            shows,
            outcome,
            starts,
            takes,
        })
}

/// A cart's operations: each of its `lines` is added once, all else is as drawn. When they follow each other, none begins
/// before the one before it has ended.
fn operations(drafts: &[Draft], lines: u8, overlapping: bool) -> Vec<Operation> {
    let added = |number: u8| u32::from(number) + 2;
    let mut unused: Vec<u8> = (0..lines).collect();
    let mut operations = vec![log_in(1, 1, 1, -10)];
    for (draft, id) in drafts.iter().zip(10..) {
        let number = draft.line % lines;
        let mut operation = match draft.does {
            0..=2 if unused.contains(&number) => {
                unused.retain(|other| *other != number);
                Operation {
                    line: Some(line(1, added(number))),
                    ..add(1, 1, id, 0)
                }
            }
            3 | 4 => remove(1, 1, id, 0, added(number)),
            _ => {
                let shown: Vec<u32> = (0..lines)
                    .filter(|number| draft.shows >> number & 1 == 1)
                    .map(added)
                    .collect();
                read(1, 1, id, 0, &shown)
            }
        };
        let place = i64::from(id);
        // No two moments are the same, so that "before" is never in doubt.
        (operation.sent_us, operation.done_us) = if overlapping {
            let sent_us = i64::from(draft.starts) * 100 + place * 2;
            (sent_us, sent_us + i64::from(draft.takes) * 100 + 1)
        } else {
            (place * 1_000, place * 1_000 + 500)
        };
        operations.push(match draft.outcome {
            Outcome::Ok => operation,
            Outcome::Info => operation.unknown(),
            Outcome::Fail => operation.failed(),
        });
    }
    operations
}

/// Whether some order of the operations explains all answers.
fn linearizable(operations: &[Operation]) -> bool {
    let mut events = Vec::new();
    for operation in operations {
        let op = match (operation.action, operation.line) {
            (_, _) if operation.outcome == Outcome::Fail => continue,
            (Action::AddLine, Some(line)) => Op::Add(line),
            (Action::RemoveLine, Some(line)) => Op::Remove(line),
            (Action::ReadCart, _) => Op::Read,
            _ => continue,
        };
        events.push((operation.sent_us, operation.id, Some(op), None));
        if operation.outcome == Outcome::Ok {
            let ret = match &operation.read {
                Some(lines) => Ret::Lines(lines.iter().copied().collect()),
                None => Ret::Done,
            };
            events.push((operation.done_us, operation.id, None, Some(ret)));
        }
    }
    events.sort_by_key(|(at_us, id, ..)| (*at_us, *id));
    let mut tester = LinearizabilityTester::new(CartSpec::default());
    for (_, id, op, ret) in events {
        if let Some(op) = op {
            tester.on_invoke(id, op).unwrap();
        }
        if let Some(ret) = ret {
            tester.on_return(id, ret).unwrap();
        }
    }
    tester.is_consistent()
}

/// Everything found but what is left unknown.
fn found(operations: &[Operation]) -> u64 {
    let anomalies = check(&history(operations.to_vec())).anomalies;
    let kinds = Anomaly::ALL
        .into_iter()
        .filter(|kind| *kind != Anomaly::Unknown);
    kinds.map(|kind| anomalies.count(kind)).sum()
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn what_is_found_is_not_linearizable() {
    let alarms = Cell::new(0);
    proptest!(config(), |(drafts in proptest::collection::vec(draft(), 1..7))| {
        let operations = operations(&drafts, 2, true);
        if found(&operations) > 0 {
            alarms.set(alarms.get() + 1);
            prop_assert!(!linearizable(&operations), "{:#?}", check(&history(operations)).witnesses);
        }
    });
    assert!(alarms.get() > 300, "{} alarms prove little", alarms.get());
}

#[test]
fn of_one_line_all_that_is_not_linearizable_is_found() {
    let fine = Cell::new(0);
    proptest!(config(), |(drafts in proptest::collection::vec(draft(), 1..8))| {
        let operations = operations(&drafts, 1, false);
        let linearizable = linearizable(&operations);
        fine.set(fine.get() + u32::from(linearizable));
        let witnesses = check(&history(operations.clone())).witnesses;
        prop_assert_eq!(found(&operations) == 0, linearizable, "{:#?}", witnesses);
    });
    assert!(
        (300..2_700).contains(&fine.get()),
        "{} of 3,000 are linearizable",
        fine.get()
    );
}
