//! The demo accounts, `user-000001` and so on, and the check of their password.
//!
//! argon2id is slow and hungry on purpose: one check takes milliseconds of CPU and megabytes of memory. So checks run
//! in a pool of their own, off the threads that serve requests, and the pool is bounded twice: how many run (their
//! memory adds up) and how many wait (a queue without a bound answers everybody too late). The megabytes are not kept
//! from check to check: the allocator hands out the same ones again (measured: no page fault in 640 logins). All accounts
//! share one password, hashed once at start; a real shop would keep a hash an account and do the same work at login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::secret::Secret;

/// With 20 ms a check this is a queue of some 2.5 s a worker.
const WAITING_PER_WORKER: usize = 128;

/// Longer than this, and the user has pressed the button again: a check would be work for nobody.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Who may log in.
pub(crate) struct Accounts {
    count: u32,
    hash: Arc<PasswordHash>,
    workers: usize,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    done: Arc<AtomicU64>,
}

/// Why nobody was let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No such user, or not their password: the same answer after the same work, or the difference would list the users.
    #[error("wrong user or password")]
    Wrong,
    /// More checks wait than will be done in good time.
    #[error("too many password checks are waiting")]
    Busy,
    /// The check itself broke.
    #[error("the password check failed: {0}")]
    Broken(String),
}

impl Accounts {
    /// `count` accounts with one `password`; at most `workers` checks at a time, each at the `cost`.
    pub(crate) fn new(
        count: u32,
        password: &Secret,
        cost: Params,
        workers: usize,
    ) -> Result<Self, Refused> {
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
            .hash_password(password.reveal())
            .map_err(|error| Refused::Broken(error.to_string()))?;
        Ok(Self {
            count,
            hash: Arc::new(hash),
            workers,
            running: Arc::new(Semaphore::new(workers)),
            waiting: AtomicUsize::new(0),
            done: Arc::default(),
        })
    }

    /// Checks that `user` exists and has this `password`.
    pub(crate) async fn check(&self, user: &str, password: String) -> Result<(), Refused> {
        let permit = {
            let _place = self.queue()?;
            let running = Arc::clone(&self.running);
            tokio::time::timeout(MAX_WAIT, running.acquire_owned())
                .await
                .map_err(|_| Refused::Busy)?
                .map_err(|closed| Refused::Broken(closed.to_string()))?
        };
        let (hash, done) = (Arc::clone(&self.hash), Arc::clone(&self.done));
        let verified = tokio::task::spawn_blocking(move || {
            // The permit lives in here: when the client goes away, this future is dropped, but the work runs on,
            // and its worker must not count as free before it is done.
            let _permit = permit;
            // Cost and salt come from the hash.
            let verified = Argon2::default().verify_password(password.as_bytes(), &*hash);
            done.fetch_add(1, Ordering::Relaxed);
            verified
        })
        .await
        .map_err(|panic| Refused::Broken(panic.to_string()))?;
        match verified {
            Ok(()) if self.exists(user) => Ok(()),
            Ok(()) | Err(argon2::password_hash::Error::PasswordInvalid) => Err(Refused::Wrong),
            Err(error) => Err(Refused::Broken(error.to_string())),
        }
    }

    /// Whether `user` is one of `user-000001` to the last.
    fn exists(&self, user: &str) -> bool {
        user.strip_prefix("user-")
            .and_then(|digits| digits.parse::<u32>().ok())
            // Each number has one spelling, else one user would have many names.
            .is_some_and(|number| {
                (1..=self.count).contains(&number) && user == format!("user-{number:06}")
            })
    }

    /// Checks that run now, and those that wait for a worker.
    pub(crate) fn load(&self) -> (usize, usize) {
        let running = self.workers - self.running.available_permits().min(self.workers);
        (running, self.waiting.load(Ordering::Relaxed))
    }

    /// Checks that were done since the start, also for clients that had left meanwhile.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn queue(&self) -> Result<Place<'_>, Refused> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.workers * WAITING_PER_WORKER {
            return Err(Refused::Busy); // dropping the place gives it back
        }
        Ok(place)
    }
}

/// A place in the queue, given back also when the client went away while waiting.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(workers: usize) -> Accounts {
        let cost = Params::new(8, 1, 1, None).unwrap();
        Accounts::new(100, &Secret::new("open sesame"), cost, workers).unwrap()
    }

    #[tokio::test]
    async fn the_right_user_with_the_right_password_gets_in() {
        let accounts = accounts(1);
        assert_eq!(
            accounts.check("user-000100", "open sesame".into()).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn wrong_password_and_unknown_user_get_the_same_answer_for_the_same_work() {
        let accounts = accounts(1);
        for (user, password) in [
            ("user-000001", "wrong"),
            ("user-000101", "open sesame"),
            ("user-000000", "open sesame"),
            ("user-1", "open sesame"),
            ("user-0000001", "open sesame"),
            ("user-+00001", "open sesame"),
            ("root", "open sesame"),
            ("", ""),
        ] {
            let done = accounts.done();
            let answer = accounts.check(user, password.into()).await;
            assert_eq!(answer, Err(Refused::Wrong), "{user}");
            // The same work too: time must not tell which of the two was wrong.
            assert_eq!(accounts.done(), done + 1, "{user}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_forgets_those_who_left() {
        let accounts = Arc::new(accounts(1));
        let busy = Arc::clone(&accounts.running).acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..WAITING_PER_WORKER)
            .map(|_| {
                let accounts = Arc::clone(&accounts);
                tokio::spawn(
                    async move { accounts.check("user-000001", "open sesame".into()).await },
                )
            })
            .collect();
        while accounts.load() != (1, WAITING_PER_WORKER) {
            tokio::task::yield_now().await;
        }
        let refused = accounts.check("user-000001", "open sesame".into()).await;
        assert_eq!(refused, Err(Refused::Busy));
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        while accounts.load() != (1, 0) {
            tokio::task::yield_now().await;
        }
        drop(busy);
        assert_eq!(
            accounts.check("user-000001", "open sesame".into()).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn who_waits_is_served_when_a_worker_is_free() {
        let accounts = Arc::new(accounts(1));
        let busy = Arc::clone(&accounts.running).acquire_owned().await.unwrap();
        let waiting = tokio::spawn({
            let accounts = Arc::clone(&accounts);
            async move { accounts.check("user-000001", "open sesame".into()).await }
        });
        while accounts.load().1 == 0 {
            tokio::task::yield_now().await;
        }
        drop(busy);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
