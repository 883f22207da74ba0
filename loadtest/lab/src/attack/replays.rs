//! Credentials that were logged out or revoked, and when each is tried again: is it dead, how long did it live on, does it come back
//! to life?
//!
//! Each is tried equally often, whatever the answers say: a strategy that refuses at once must not get fewer requests than
//! one that cannot.

use std::collections::VecDeque;

use super::browser::Credentials;
use crate::scenario::Replays;

/// A user that leaves faster than its old credentials are tried out forgets the oldest.
const MAX_KEPT: usize = 8;

/// One credential that should be dead.
#[derive(Clone)]
pub(super) struct Dead {
    /// The number of the login that it belonged to.
    pub(super) session: u32,
    pub(super) credentials: Credentials,
    /// When the logout was answered, or the credential refused.
    since_us: i64,
    /// How often it was tried.
    tries: u32,
}

/// Those of one user, the newest last.
pub(super) struct DeadCredentials {
    replays: Replays,
    kept: VecDeque<Dead>,
}

impl DeadCredentials {
    pub(super) fn new(replays: Replays) -> Self {
        Self {
            replays,
            kept: VecDeque::new(),
        }
    }

    /// The login of this number was logged out now, or refused.
    pub(super) fn keep(&mut self, session: u32, credentials: Credentials, now_us: i64) {
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Dead {
            session,
            credentials,
            since_us: now_us,
            tries: 0,
        });
    }

    /// Whether one was not tried yet, which should happen at once.
    pub(super) fn has_untried(&self) -> bool {
        self.kept.iter().any(|dead| dead.tries == 0)
    }

    /// The one whose next try has been due for longest, if any; that try counts as done.
    pub(super) fn take_due(&mut self, now_us: i64) -> Option<Dead> {
        let replays = self.replays;
        let due = self
            .kept
            .iter_mut()
            .filter_map(|dead| Some((dead.next_try_us(replays)?, dead)))
            .filter(|(at_us, _)| *at_us <= now_us);
        let (_, dead) = due.min_by_key(|(at_us, _)| *at_us)?;
        dead.tries += 1;
        Some(dead.clone())
    }

    /// The last of them, for a try when everything is over.
    pub(super) fn newest(&self) -> Option<&Dead> {
        self.kept.back()
    }
}

impl Dead {
    /// `None` when it was tried often enough.
    fn next_try_us(&self, replays: Replays) -> Option<i64> {
        if self.tries >= replays.times {
            return None;
        }
        let gaps = u64::from(replays.times.saturating_sub(1)).max(1);
        let after_us = replays.for_s * 1_000_000 * u64::from(self.tries) / gaps;
        Some(self.since_us + after_us.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn dead(times: u32, for_s: u64) -> DeadCredentials {
        DeadCredentials::new(Replays { times, for_s })
    }

    fn taken(dead: &mut DeadCredentials, now_us: i64) -> Option<u32> {
        dead.take_due(now_us).map(|dead| dead.session)
    }

    #[test]
    fn tries_begin_at_once_and_are_spread_evenly() {
        let mut dead = dead(4, 9);
        dead.keep(1, Credentials::default(), 5 * SECOND);
        assert!(dead.has_untried());
        for at_s in [5, 8, 11, 14] {
            assert_eq!(taken(&mut dead, at_s * SECOND - 1), None);
            assert_eq!(taken(&mut dead, at_s * SECOND), Some(1));
            assert!(!dead.has_untried());
        }
        assert_eq!(taken(&mut dead, 100 * SECOND), None);
        assert_eq!(dead.newest().unwrap().session, 1);
    }

    #[test]
    fn one_try_is_at_once() {
        let mut dead = dead(1, 0);
        dead.keep(1, Credentials::default(), 5);
        assert_eq!(taken(&mut dead, 5), Some(1));
        assert_eq!(taken(&mut dead, 100 * SECOND), None);
    }

    #[test]
    fn the_one_that_is_due_for_longest_comes_first_and_the_number_is_bounded() {
        let mut dead = dead(2, 10);
        dead.keep(1, Credentials::default(), 0);
        assert_eq!(taken(&mut dead, 0), Some(1));
        dead.keep(2, Credentials::default(), 5 * SECOND);
        assert_eq!(taken(&mut dead, 11 * SECOND), Some(2));
        assert_eq!(taken(&mut dead, 11 * SECOND), Some(1));
        assert_eq!(taken(&mut dead, 11 * SECOND), None);
        for number in 3..30 {
            dead.keep(number, Credentials::default(), 20 * SECOND);
        }
        assert_eq!(dead.kept.len(), MAX_KEPT);
        assert_eq!(dead.newest().unwrap().session, 29);
    }
}
