//! What became of the arrivals of an open loop, seen from the history: the schedule is made again from the scenario's
//! seed, and each arrival on it is looked for among the operations.
//!
//! **Whose doing it is** that an arrival was late. The user that sent it was still waiting for its last answer when the
//! arrival was due: then no user was free. Otherwise a user was free, and the generator was slow.
//!
//! **No user free** is what an open loop is meant to show while the cluster hangs: strangers keep coming, and all of the
//! users wait. So it says nothing against the generator from the command of a fault until the last request of that time
//! can have ended (one time limit after the fault was undone). Outside of that it does: there are too few users for this
//! rate and this cluster, arrivals wait for users instead of for the cluster, and the loop is not open.

use std::ops::Range;

use super::sending::Sending;
use crate::history::{ArrivalCounts, FaultStep, History};
use crate::pace::{LATE_US, REQUEST_TIMEOUT, Schedule};
use crate::results::Arrivals;

/// Outside of faults, this share of the arrivals must find a free user in time, and none may be dropped.
const IN_TIME_SHARE: f64 = 0.99;

/// Figures, and what is wrong with them.
pub(super) struct Judgement {
    pub(super) arrivals: Arrivals,
    pub(super) problems: Vec<String>,
}

/// Judges the arrivals that were due in the measured part; `None` for a closed loop.
pub(super) fn judge(history: &History, sendings: &[Sending]) -> Option<Judgement> {
    let meta = &history.meta;
    let schedule = Schedule::new(meta.pace, meta.seed, meta.warm_up_from_us)?;
    let measured = 0..meta.measured_until_us;
    let mut sent: Vec<&Sending> = sendings
        .iter()
        .filter(|sending| measured.contains(&sending.intended_us))
        .collect();
    sent.sort_by_key(|sending| sending.intended_us);
    let mut sent = sent.into_iter().peekable();
    let disturbed = disturbed(history);
    let is_disturbed = |due_us: i64| disturbed.iter().any(|span| span.contains(&due_us));

    let mut counts = ArrivalCounts::default();
    let mut late_without_user = 0;
    let mut undisturbed = Undisturbed::default();
    let due = schedule
        .skip_while(|due_us| *due_us < measured.start)
        .take_while(|due_us| *due_us < measured.end);
    let mut strays = 0;
    for due_us in due {
        while sent
            .next_if(|sending| sending.intended_us < due_us)
            .is_some()
        {
            strays += 1;
        }
        counts.due += 1;
        let sending = sent.next_if(|sending| sending.intended_us == due_us);
        let without_user = sending.is_none_or(|sending| sending.free_us > due_us + LATE_US);
        if let Some(sending) = sending {
            let is_late = sending.sent_us - due_us > LATE_US;
            counts.sent += 1;
            counts.late += u64::from(is_late);
            late_without_user += u64::from(without_user);
        } else {
            counts.dropped += 1;
        }
        if !is_disturbed(due_us) {
            undisturbed.due += 1;
            undisturbed.without_user += u64::from(without_user);
            undisturbed.dropped += u64::from(sending.is_none());
        }
    }
    let seconds = meta.measured_until_us as f64 / 1e6;
    let arrivals = Arrivals {
        target_per_s: meta.pace.arrivals_per_s().into(),
        achieved_per_s: counts.sent as f64 / seconds,
        due: counts.due,
        sent: counts.sent,
        late: counts.late,
        late_without_user,
        dropped: counts.dropped,
    };
    strays += sent.count();
    let problems = [
        undisturbed.problem(),
        (strays > 0).then(|| format!("{strays} operations were sent for which no arrival was due")),
        untied(history, counts),
    ];
    Some(Judgement {
        arrivals,
        problems: problems.into_iter().flatten().collect(),
    })
}

/// Arrivals outside of faults.
#[derive(Default)]
struct Undisturbed {
    due: u64,
    without_user: u64,
    dropped: u64,
}

impl Undisturbed {
    fn problem(&self) -> Option<String> {
        let in_time = (self.due - self.without_user) as f64;
        let is_open = in_time >= IN_TIME_SHARE * self.due as f64 && self.dropped == 0;
        (!is_open).then(|| {
            format!(
                "outside of faults no user was free for {} of {} arrivals ({} were dropped), so the loop was not open: use \
                 more users, or fewer arrivals than the cluster can serve",
                self.without_user, self.due, self.dropped
            )
        })
    }
}

/// The users' process counted while it happened; the history must say the same.
fn untied(history: &History, counts: ArrivalCounts) -> Option<String> {
    let counted = history.counts.as_ref()?.arrivals;
    (counted != Some(counts)).then(|| {
        format!("the arrivals in the history and those counted by the users' process do not agree: {counts:?}, {counted:?}")
    })
}

/// When a lack of free users is the cluster's doing.
fn disturbed(history: &History) -> Vec<Range<i64>> {
    let grace_us = grace_us();
    let commanded = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded);
    commanded
        .map(|fault| {
            let undone = history
                .faults
                .iter()
                .find(|event| event.fault == fault.fault && event.step == FaultStep::Undone);
            fault.at_us..undone.map_or(i64::MAX, |undone| undone.at_us.saturating_add(grace_us))
        })
        .collect()
}

/// What is sent while a fault is on has ended so long after it.
fn grace_us() -> i64 {
    i64::try_from(REQUEST_TIMEOUT.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::generator::sendings;
    use super::*;
    use crate::history::testing::{browse, meta};
    use crate::history::{Counts, FaultEvent, Meta, Operation};
    use crate::pace::{self, Pace};

    /// An arrival each 100 ms for 10 s, each answered at once by one of 100 users, the warm-up too.
    fn good() -> Vec<Operation> {
        (-10..100)
            .map(|number| {
                let user = u32::try_from(number + 11).unwrap();
                let operation = browse(user, 1, 1, number * 100);
                Operation {
                    intended_us: operation.sent_us,
                    sent_us: operation.sent_us + 200,
                    ..operation
                }
            })
            .collect()
    }

    fn judged(operations: Vec<Operation>, counted: ArrivalCounts) -> Judgement {
        judged_with(operations, counted, Vec::new())
    }

    fn judged_with(
        operations: Vec<Operation>,
        counted: ArrivalCounts,
        faults: Vec<FaultEvent>,
    ) -> Judgement {
        let mut history = crate::history::testing::history(operations);
        history.meta = Meta {
            pace: Pace::Open {
                arrivals_per_s: 10,
                arrivals: pace::Arrivals::Constant,
            },
            ..meta()
        };
        history.faults = faults;
        history.counts = Some(Counts {
            arrivals: Some(counted),
            ..Counts::default()
        });
        judge(&history, &sendings(&history)).unwrap()
    }

    fn all_sent() -> ArrivalCounts {
        ArrivalCounts {
            due: 100,
            sent: 100,
            late: 0,
            dropped: 0,
        }
    }

    /// Answers take nearly 6 s, so that from 5 s on no user is free in time, and the last ten arrivals find none at all.
    fn hanging() -> (Vec<Operation>, ArrivalCounts) {
        let mut operations = good();
        operations.truncate(60);
        operations.extend((50..90).map(|number| {
            let user = u32::try_from(number - 50 + 11).unwrap();
            let operation = browse(user, 1, 2, number * 100 + 900);
            Operation {
                intended_us: number * 100_000,
                ..operation
            }
        }));
        for operation in &mut operations[10..50] {
            operation.done_us = operation.intended_us + 5_899_000;
        }
        let counted = ArrivalCounts {
            due: 100,
            sent: 90,
            late: 40,
            dropped: 10,
        };
        (operations, counted)
    }

    fn fault(step: FaultStep, at_us: i64) -> FaultEvent {
        FaultEvent {
            fault: 0,
            kind: "pause".into(),
            target: "store".into(),
            step,
            at_us,
            evidence: None,
        }
    }

    #[test]
    fn arrivals_that_were_all_sent_in_time_are_believed() {
        let judgement = judged(good(), all_sent());
        assert_eq!(judgement.problems, Vec::<String>::new());
        let expected = Arrivals {
            target_per_s: 10.0,
            achieved_per_s: 10.0,
            due: 100,
            sent: 100,
            late: 0,
            late_without_user: 0,
            dropped: 0,
        };
        assert_eq!(judgement.arrivals, expected);
    }

    #[test]
    fn a_generator_that_is_slow_with_free_users_is_late_all_the_same() {
        let mut operations = good();
        for operation in &mut operations[20..30] {
            operation.sent_us += 5_000;
        }
        let counted = ArrivalCounts {
            late: 10,
            ..all_sent()
        };
        let judgement = judged(operations, counted);
        // The lag itself is judged by the generator's own rule.
        assert_eq!(judgement.problems, Vec::<String>::new());
        let arrivals = judgement.arrivals;
        assert_eq!((arrivals.late, arrivals.late_without_user), (10, 0));
    }

    #[test]
    fn without_free_users_the_loop_is_not_open() {
        let (operations, counted) = hanging();
        let judgement = judged(operations, counted);
        let arrivals = judgement.arrivals;
        assert_eq!((arrivals.sent, arrivals.dropped), (90, 10));
        assert_eq!((arrivals.late, arrivals.late_without_user), (40, 40));
        let [problem] = &judgement.problems[..] else {
            panic!("{:?}", judgement.problems);
        };
        assert!(
            problem.contains("for 50 of 100 arrivals (10 were dropped)"),
            "{problem}"
        );
    }

    #[test]
    fn while_a_fault_keeps_users_waiting_the_generator_is_not_to_blame() {
        let (operations, counted) = hanging();
        let begun = fault(FaultStep::Commanded, 4_900_000);
        let judgement = judged_with(operations.clone(), counted, vec![begun.clone()]);
        assert_eq!(judgement.problems, Vec::<String>::new());
        assert_eq!(
            judgement.arrivals.dropped, 10,
            "they are counted all the same"
        );

        let over = vec![begun, fault(FaultStep::Undone, 9_400_000 - grace_us())];
        let judgement = judged_with(operations, counted, over);
        assert!(
            judgement.problems[0].contains("for 6 of 55 arrivals (6 were dropped)"),
            "{:?}",
            judgement.problems
        );
    }

    #[test]
    fn one_arrival_in_a_hundred_may_be_late_but_none_lost() {
        let mut operations = good();
        operations.remove(40);
        let counted = ArrivalCounts {
            sent: 99,
            dropped: 1,
            ..all_sent()
        };
        let judgement = judged(operations, counted);
        assert!(judgement.problems[0].contains("for 1 of 100 arrivals (1 were dropped)"));
    }

    #[test]
    fn counts_that_do_not_agree_are_not_believed() {
        let counted = ArrivalCounts {
            late: 1,
            ..all_sent()
        };
        let judgement = judged(good(), counted);
        assert!(judgement.problems[0].contains("do not agree"));

        let mut operations = good();
        operations[30].intended_us += 1;
        let judgement = judged(operations, all_sent());
        let strays = |problem: &String| problem.contains("no arrival was due");
        assert!(
            judgement.problems.iter().any(strays),
            "{:?}",
            judgement.problems
        );
    }

    #[test]
    fn a_closed_loop_has_no_arrivals() {
        let history = crate::history::testing::history([browse(1, 1, 1, 0)]);
        assert!(judge(&history, &sendings(&history)).is_none());
    }
}
