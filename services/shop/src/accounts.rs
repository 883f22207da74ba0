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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use session::Secret;

/// With 20 ms a check this is a queue of some 2.5 s a worker.
const WAITING_PER_WORKER: usize = 128;

/// Who may log in.
pub(crate) struct Accounts {
    count: u32,
    hash: Arc<PasswordHash>,
    workers: usize,
    max_wait: Duration,
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
    /// `count` accounts with one `password`; at most `workers` checks at a time, each at the `cost`, and none waits longer
    /// than `max_wait` for a worker.
    pub(crate) fn new(
        count: u32,
        password: &Secret,
        cost: Params,
        workers: usize,
        max_wait: Duration,
    ) -> Result<Self, Refused> {
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
            .hash_password(password.reveal())
            .map_err(|error| Refused::Broken(error.to_string()))?;
        Ok(Self {
            count,
            hash: Arc::new(hash),
            workers,
            max_wait,
            running: Arc::new(Semaphore::new(workers)),
            waiting: AtomicUsize::new(0),
            done: Arc::default(),
        })
    }

    /// Waits for a worker, at most until `until`. Dropping the future gives up the place in the queue.
    pub(crate) async fn worker(&self, until: Option<Instant>) -> Result<Worker, Refused> {
        let _place = self.queue()?;
        let running = Arc::clone(&self.running);
        let latest = Instant::now() + self.max_wait;
        let until = until.map_or(latest, |until| until.min(latest));
        let permit = timeout_at(until, running.acquire_owned())
            .await
            .map_err(|_| Refused::Busy)?;
        permit
            .map(Worker)
            .map_err(|closed| Refused::Broken(closed.to_string()))
    }

    /// Checks that `user` exists and has this `password`.
    pub(crate) async fn check(
        &self,
        Worker(permit): Worker,
        user: &str,
        password: String,
    ) -> Result<(), Refused> {
        let (hash, done) = (Arc::clone(&self.hash), Arc::clone(&self.done));
        let verified = tokio::task::spawn_blocking(move || {
            // The permit lives in here: when the future is dropped the work runs on, and its worker must not count as
            // free before it is done.
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

/// The right to run one check.
pub(crate) struct Worker(OwnedSemaphorePermit);

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
        let max_wait = Duration::from_mins(1);
        Accounts::new(100, &Secret::new("open sesame"), cost, workers, max_wait).unwrap()
    }

    async fn check(accounts: &Accounts, user: &str, password: &str) -> Result<(), Refused> {
        let worker = accounts.worker(None).await?;
        accounts.check(worker, user, password.into()).await
    }

    #[tokio::test]
    async fn the_right_user_with_the_right_password_gets_in() {
        let accounts = accounts(1);
        assert_eq!(check(&accounts, "user-000100", "open sesame").await, Ok(()));
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
            let answer = check(&accounts, user, password).await;
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
                tokio::spawn(async move { check(&accounts, "user-000001", "open sesame").await })
            })
            .collect();
        while accounts.load() != (1, WAITING_PER_WORKER) {
            tokio::task::yield_now().await;
        }
        let refused = check(&accounts, "user-000001", "open sesame").await;
        assert_eq!(refused, Err(Refused::Busy));
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        while accounts.load() != (1, 0) {
            tokio::task::yield_now().await;
        }
        drop(busy);
        assert_eq!(check(&accounts, "user-000001", "open sesame").await, Ok(()));
    }

    #[tokio::test]
    async fn who_waits_is_served_when_a_worker_is_free() {
        let accounts = Arc::new(accounts(1));
        let busy = Arc::clone(&accounts.running).acquire_owned().await.unwrap();
        let waiting = tokio::spawn({
            let accounts = Arc::clone(&accounts);
            async move { check(&accounts, "user-000001", "open sesame").await }
        });
        while accounts.load().1 == 0 {
            tokio::task::yield_now().await;
        }
        drop(busy);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_is_allowed() {
        let accounts = accounts(1);
        let _busy = accounts.worker(None).await.unwrap();
        let began = Instant::now();
        for (until, waited_s) in [
            (Some(Duration::from_secs(7)), 7),
            (None, 60),
            (Some(Duration::from_secs(99)), 60),
        ] {
            let began = Instant::now();
            let refused = accounts
                .worker(until.map(|until| began + until))
                .await
                .err();
            assert_eq!(refused, Some(Refused::Busy));
            assert_eq!(began.elapsed().as_secs(), waited_s);
        }
        // A time that is over already is no panic.
        assert!(accounts.worker(Some(began)).await.is_err());
    }
}
