//! The open loop: arrivals become due on a schedule, whatever the answers do, and each is given to a user that is free.
//!
//! ```text
//! schedule ─▶ due ─▶ a free user: the one that waited longest ─▶ one operation ─▶ free again
//!                └─▶ nobody is free: the first who gets free takes it, late; after a second it is dropped
//! ```
//! An arrival is one operation, no more: so what was due, sent and dropped adds up, and the statistics can see it from the
//! history alone ([`evidence::statistics`]). What is counted here is for them to compare with.
//!
//! Everything happens on the one thread of the users' process; the lock is there because goose's users might run on several.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::alarm::Alarm;
use cluster::Clock;
use evidence::history::ArrivalCounts;
use evidence::pace::{LATE_US, Schedule};

/// So long after it was due, an arrival is not sent any more. A person would have gone; and what waits stays bounded.
const GONE_US: i64 = 1_000_000;

/// Between schedule and users.
pub(super) struct Arrivals {
    clock: Clock,
    /// From then on nothing is due.
    until_us: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Users that are free, each with the way to tell it that its arrival is due.
    free: VecDeque<oneshot::Sender<i64>>,
    /// Due, and nobody was free: at most those of the last second.
    overdue: VecDeque<i64>,
    has_ended: bool,
    counts: ArrivalCounts,
}

impl Arrivals {
    pub(super) fn new(clock: Clock, until_us: i64) -> Self {
        Self {
            clock,
            until_us,
            state: Mutex::default(),
        }
    }

    /// Gives out the arrivals of `schedule`, each when it is due, until the end.
    pub(super) async fn give_out(&self, schedule: Schedule) -> io::Result<()> {
        let given = self.give_out_in_time(schedule).await;
        // Also after an error: users that wait for ever would hide it.
        let mut state = self.state();
        state.has_ended = true;
        state.free.clear();
        given
    }

    async fn give_out_in_time(&self, schedule: Schedule) -> io::Result<()> {
        let mut alarm = Alarm::new()?;
        for due_us in schedule.take_while(|due_us| *due_us < self.until_us) {
            alarm.wait(due_us - self.clock.now_us()).await?;
            self.give(due_us, self.clock.now_us());
        }
        Ok(())
    }

    fn give(&self, due_us: i64, now_us: i64) {
        let mut state = self.state();
        state.counts.due += u64::from(due_us >= 0);
        if is_gone(due_us, now_us) {
            state.drop_arrival(due_us);
            return;
        }
        while let Some(user) = state.free.pop_front() {
            // Fails when the user was aborted while it waited.
            if user.send(due_us).is_ok() {
                return;
            }
        }
        state.drop_gone(now_us);
        state.overdue.push_back(due_us);
    }

    /// The next arrival for a user that is free, as the moment at which it was due; `None` when there are no more.
    /// Who is `in_a_hurry` gets the next, though others wait longer.
    pub(super) async fn next(&self, in_a_hurry: bool) -> Option<i64> {
        let arrival = {
            let mut state = self.state();
            state.drop_gone(self.clock.now_us());
            if let Some(due_us) = state.overdue.pop_front() {
                return Some(due_us);
            }
            if state.has_ended {
                return None;
            }
            let (user, arrival) = oneshot::channel();
            if in_a_hurry {
                state.free.push_front(user);
            } else {
                state.free.push_back(user);
            }
            arrival
        };
        arrival.await.ok()
    }

    /// Notes that the operation of an arrival was sent.
    pub(super) fn sent(&self, due_us: i64, sent_us: i64) {
        if (0..self.until_us).contains(&due_us) {
            let mut state = self.state();
            state.counts.sent += 1;
            state.counts.late += u64::from(sent_us - due_us > LATE_US);
        }
    }

    /// The counts over the measured part, when the last user is done: what nobody took is dropped.
    pub(super) fn finish(&self) -> ArrivalCounts {
        let mut state = self.state();
        while let Some(due_us) = state.overdue.pop_front() {
            state.drop_arrival(due_us);
        }
        state.counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_gone(&mut self, now_us: i64) {
        while let Some(due_us) = self.overdue.pop_front_if(|due_us| is_gone(*due_us, now_us)) {
            self.drop_arrival(due_us);
        }
    }

    fn drop_arrival(&mut self, due_us: i64) {
        self.counts.dropped += u64::from(due_us >= 0);
    }
}

fn is_gone(due_us: i64, now_us: i64) -> bool {
    now_us - due_us > GONE_US
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn arrivals() -> Arrivals {
        Arrivals::new(Clock::starting_in(0), 10_000_000)
    }

    /// Looks whether the user has its arrival by now.
    fn look(user: std::pin::Pin<&mut impl Future<Output = Option<i64>>>) -> Poll<Option<i64>> {
        user.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_longest_is_next_unless_somebody_is_in_a_hurry() {
        let arrivals = arrivals();
        let (mut first, mut second) = (pin!(arrivals.next(false)), pin!(arrivals.next(false)));
        let mut hurried = pin!(arrivals.next(true));
        assert_eq!(look(first.as_mut()), Poll::Pending);
        assert_eq!(look(second.as_mut()), Poll::Pending);
        assert_eq!(look(hurried.as_mut()), Poll::Pending);
        for due_us in [10, 20, 30] {
            arrivals.give(due_us, due_us);
        }
        assert_eq!(look(hurried), Poll::Ready(Some(10)));
        assert_eq!(look(first), Poll::Ready(Some(20)));
        assert_eq!(look(second), Poll::Ready(Some(30)));
    }

    #[test]
    fn when_nobody_is_free_arrivals_wait_a_second_and_then_are_gone() {
        let arrivals = arrivals();
        let now_us = arrivals.clock.now_us();
        // Nobody is free, and the second is over for the first of them when the third becomes due.
        for due_us in [now_us, now_us + 900_000, now_us + 1_000_001] {
            arrivals.give(due_us, due_us);
        }
        // Much too late already when it is given out: the process was stopped in between.
        arrivals.give(now_us, now_us + GONE_US + 1);
        assert_eq!(
            look(pin!(arrivals.next(false))),
            Poll::Ready(Some(now_us + 900_000))
        );
        arrivals.sent(now_us + 900_000, now_us + 900_000 + LATE_US);
        assert_eq!(
            look(pin!(arrivals.next(false))),
            Poll::Ready(Some(now_us + 1_000_001))
        );
        arrivals.sent(now_us + 1_000_001, now_us + 1_000_001 + LATE_US + 1);
        arrivals.give(now_us + 1_000_002, now_us + 1_000_002);
        let expected = ArrivalCounts {
            due: 5,
            sent: 2,
            late: 1,
            dropped: 3,
        };
        assert_eq!(arrivals.finish(), expected, "the last one, nobody took");
    }

    #[test]
    fn a_user_that_is_gone_takes_no_arrival_with_it() {
        let arrivals = arrivals();
        {
            let mut aborted = pin!(arrivals.next(false));
            assert_eq!(look(aborted.as_mut()), Poll::Pending);
        }
        let mut other = pin!(arrivals.next(false));
        assert_eq!(look(other.as_mut()), Poll::Pending);
        arrivals.give(10, 10);
        assert_eq!(look(other), Poll::Ready(Some(10)));
    }

    #[test]
    fn warm_up_is_not_counted() {
        let arrivals = arrivals();
        arrivals.give(-10, 0);
        arrivals.sent(-10, 0);
        arrivals.give(-5, GONE_US);
        assert_eq!(arrivals.finish(), ArrivalCounts::default());
    }

    #[tokio::test]
    async fn all_are_given_out_not_before_they_are_due_and_then_users_learn_of_the_end() {
        let clock = Clock::starting_in(0);
        let arrivals = Arrivals::new(clock, 20_000);
        let pace = evidence::pace::Pace::Open {
            arrivals_per_s: 1_000,
            arrivals: evidence::pace::Arrivals::Poisson,
        };
        let schedule = || Schedule::new(pace, 1, 0).unwrap();
        let user = async {
            let mut taken = Vec::new();
            while let Some(due_us) = arrivals.next(false).await {
                let sent_us = clock.now_us();
                assert!(sent_us >= due_us);
                arrivals.sent(due_us, sent_us);
                taken.push(due_us);
            }
            taken
        };
        let (given, taken) = tokio::join!(arrivals.give_out(schedule()), user);
        given.unwrap();
        let due: Vec<i64> = schedule().take_while(|due_us| *due_us < 20_000).collect();
        let counts = arrivals.finish();
        assert_eq!(counts.due, due.len() as u64);
        // On a machine that stood still for a second some may be gone; none is forgotten, and none comes twice.
        assert_eq!(counts.sent + counts.dropped, counts.due);
        assert_eq!(counts.sent, taken.len() as u64);
        assert!(taken.is_sorted() && taken.iter().all(|due_us| due.contains(due_us)));
    }
}
