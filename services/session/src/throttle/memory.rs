//! Buckets in a node's own memory, in a table that never grows.
//!
//! An attacker chooses the names, so the table must stand a flood of invented ones. It has a fixed number of places in
//! small sets. A key belongs to one set, found by a hash with a random key: nobody can aim at the set of a certain
//! account. In a full set the bucket that is closest to being full again makes room, because it forgets the least: an
//! account under attack is the last to be forgotten.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Attempt, Limit, Limits, Throttle, Verdict};
use crate::{Clock, Error};

/// Sets in the table. With the places in each, 65,536 buckets in 1 MiB.
const SETS: usize = 8_192;
/// Places in a set: few enough to look at all of them.
const PLACES: usize = 8;

/// The buckets of one node.
pub struct Memory {
    // A std mutex and not one per set: it is held for some dozen nanoseconds, beside the milliseconds of a password check.
    table: Mutex<Table>,
    hasher: RandomState,
    clock: Clock,
}

impl Memory {
    /// All buckets full.
    pub fn new(clock: Clock) -> Self {
        Self {
            table: Mutex::new(Table::new(SETS)),
            hasher: RandomState::new(),
            clock,
        }
    }

    /// The buckets that an attempt is about. The hash stands for the key: two that fall together by chance, one in
    /// 2^64, share a bucket.
    fn buckets(
        &self,
        limits: &Limits,
        attempt: &Attempt<'_>,
    ) -> impl Iterator<Item = (u64, Limit)> {
        let account = limits
            .account
            .map(|limit| (self.hasher.hash_one(("account", attempt.user)), limit));
        let address = limits
            .address
            .map(|limit| (self.hasher.hash_one(("address", attempt.network())), limit));
        account.into_iter().chain(address)
    }
}

#[async_trait]
impl Throttle for Memory {
    async fn reserve(&self, limits: &Limits, attempt: &Attempt<'_>) -> Result<Verdict, Error> {
        let now = self.clock.now_ms();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let wait_ms = self
            .buckets(limits, attempt)
            .filter_map(|(key, limit)| limit.take(table.full_at(key), now).err())
            .max();
        if let Some(wait_ms) = wait_ms {
            return Ok(Verdict::Wait(Duration::from_millis(wait_ms)));
        }
        for (key, limit) in self.buckets(limits, attempt) {
            if let Ok(full_at) = limit.take(table.full_at(key), now) {
                table.set(key, full_at);
            }
        }
        Ok(Verdict::Go)
    }

    async fn give_back(&self, limits: &Limits, attempt: &Attempt<'_>) -> Result<(), Error> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in self.buckets(limits, attempt) {
            // One that was forgotten meanwhile has nothing to get back.
            if let Some(bucket) = table.find(key) {
                bucket.full_at_ms = limit.give_back(bucket.full_at_ms);
            }
        }
        Ok(())
    }
}

/// A place in the table. One that is full again, such as the one at time 0, is as good as empty.
#[derive(Clone, Copy, Default)]
struct Bucket {
    key: u64,
    full_at_ms: u64,
}

struct Table {
    sets: Box<[[Bucket; PLACES]]>,
}

impl Table {
    fn new(sets: usize) -> Self {
        Self {
            sets: vec![[Bucket::default(); PLACES]; sets].into_boxed_slice(),
        }
    }

    fn set_of(&mut self, key: u64) -> &mut [Bucket; PLACES] {
        // The remainder is smaller than the number of sets, so it fits wherever that does.
        let index = usize::try_from(key % self.sets.len() as u64).unwrap_or_default();
        &mut self.sets[index]
    }

    fn find(&mut self, key: u64) -> Option<&mut Bucket> {
        self.set_of(key).iter_mut().find(|bucket| bucket.key == key)
    }

    /// When the bucket of `key` is full; long ago where it is not in the table.
    fn full_at(&mut self, key: u64) -> u64 {
        self.find(key).map_or(0, |bucket| bucket.full_at_ms)
    }

    /// Writes the bucket of `key`, over the one that is closest to full where there is no place left.
    fn set(&mut self, key: u64, full_at_ms: u64) {
        let set = self.set_of(key);
        let known = set.iter().position(|bucket| bucket.key == key);
        let index = known.or_else(|| {
            let fullest = set.iter().enumerate().min_by_key(|(_, b)| b.full_at_ms);
            fullest.map(|(index, _)| index)
        });
        if let Some(index) = index {
            set[index] = Bucket { key, full_at_ms };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn limits(account: u32, address: u32) -> Limits {
        Limits {
            account: Limit::new(account, Duration::from_hours(1)),
            address: Limit::new(address, Duration::from_hours(1)),
        }
    }

    async fn reserve(memory: &Memory, limits: &Limits, user: &str, address: IpAddr) -> bool {
        let attempt = Attempt { user, address };
        memory.reserve(limits, &attempt).await.unwrap() == Verdict::Go
    }

    #[tokio::test]
    async fn each_account_has_a_bucket_and_each_address() {
        let memory = Memory::new(Clock::system());
        let limits = limits(2, 3);
        for (user, allowed) in [
            ("a", true),
            ("a", true),
            ("a", false),
            ("b", true),
            ("c", false),
        ] {
            assert_eq!(
                reserve(&memory, &limits, user, HERE).await,
                allowed,
                "{user}"
            );
        }
        let elsewhere = Ipv6Addr::LOCALHOST.into();
        assert!(!reserve(&memory, &limits, "a", elsewhere).await);
        assert!(reserve(&memory, &limits, "c", elsewhere).await);
    }

    #[tokio::test]
    async fn a_refused_attempt_takes_nothing_and_says_how_long() {
        let clock = Clock::system();
        let memory = Memory::new(clock.clone());
        let limits = limits(1, 100);
        assert!(reserve(&memory, &limits, "a", HERE).await);
        for _ in 0..200 {
            assert!(!reserve(&memory, &limits, "a", HERE).await);
        }
        // The address has 99 attempts left.
        assert!(reserve(&memory, &limits, "b", HERE).await);
        let attempt = Attempt {
            user: "a",
            address: HERE,
        };
        let Verdict::Wait(wait) = memory.reserve(&limits, &attempt).await.unwrap() else {
            panic!("not refused");
        };
        assert!(wait <= Duration::from_hours(1));
        clock.turn(Duration::from_hours(1));
        assert!(reserve(&memory, &limits, "a", HERE).await);
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_again() {
        let memory = Memory::new(Clock::system());
        let limits = limits(1, 1);
        for _ in 0..100 {
            assert!(reserve(&memory, &limits, "a", HERE).await);
            let attempt = Attempt {
                user: "a",
                address: HERE,
            };
            memory.give_back(&limits, &attempt).await.unwrap();
        }
    }

    #[tokio::test]
    async fn without_limits_nothing_is_counted() {
        let memory = Memory::new(Clock::system());
        for _ in 0..1_000 {
            assert!(reserve(&memory, &Limits::default(), "a", HERE).await);
        }
    }

    #[tokio::test]
    async fn a_flood_of_invented_names_makes_nothing_grow_and_the_attacked_are_forgotten_last() {
        let memory = Memory::new(Clock::system());
        let limits = limits(10, 0);
        for _ in 0..10 {
            assert!(reserve(&memory, &limits, "attacked", HERE).await);
        }
        for number in 0..10 * SETS * PLACES {
            assert!(reserve(&memory, &limits, &format!("invented-{number}"), HERE).await);
        }
        assert!(!reserve(&memory, &limits, "attacked", HERE).await);
        let table = memory.table.lock().unwrap();
        assert_eq!(size_of_val(&*table.sets), 1024 * 1024);
    }

    #[test]
    fn a_full_set_makes_room_where_least_is_forgotten() {
        let mut table = Table::new(1);
        for key in 1..=PLACES as u64 {
            table.set(key, 1_000 + key);
        }
        table.set(99, 5);
        assert_eq!((table.full_at(1), table.full_at(99)), (0, 5));
        table.set(100, 2_000);
        assert_eq!((table.full_at(99), table.full_at(100)), (0, 2_000));
        assert_eq!(table.full_at(PLACES as u64), 1_000 + PLACES as u64);
    }
}
