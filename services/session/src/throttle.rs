//! How many logins may be tried, by account and by client address, so that passwords cannot be guessed by trying.
//!
//! The rule is a token bucket whose whole state is one time (GCRA, the "generic cell rate algorithm"): the time at which
//! all attempts are there again. An attempt moves it further away by what one attempt takes to come back; one that would
//! move it beyond the whole bucket is refused. Nothing ticks, and a bucket that is full again needs no state at all.
//!
//! An attempt is *reserved before* the password is checked and *given back* when the password was right. So guesses that
//! run in parallel cannot slip through together, and users who know their password are never throttled however often
//! they log in, as long as no more than a bucket's worth of their logins is being checked at a time.
//!
//! Where the buckets are: in the store of a strategy that has one (see `redis`), where all nodes share them; else in
//! [`Memory`], a node's own.

mod memory;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;

pub use self::memory::Memory;
use crate::Error;

/// The size of a bucket and how it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    attempts: u64,
    refill_ms: u64,
}

/// Longer than any limit makes sense, short enough that no sum of times overflows: about 35 years.
const MAX_REFILL_MS: u64 = 1 << 40;

impl Limit {
    /// At most `attempts` at once, and from then on one every `refill`. `None`, no limit, where `attempts` is 0.
    pub fn new(attempts: u32, refill: Duration) -> Option<Self> {
        let refill_ms = u64::try_from(refill.as_millis()).unwrap_or(MAX_REFILL_MS);
        (attempts > 0).then(|| Self {
            attempts: attempts.into(),
            refill_ms: refill_ms.clamp(1, MAX_REFILL_MS / u64::from(attempts)),
        })
    }

    /// What one attempt takes to come back, milliseconds.
    pub(crate) fn refill_ms(self) -> u64 {
        self.refill_ms
    }

    /// What a whole bucket takes to fill, milliseconds.
    pub(crate) fn window_ms(self) -> u64 {
        self.attempts * self.refill_ms
    }

    /// Takes one attempt at `now_ms` from a bucket that is full at `full_at_ms`: when it is full afterwards,
    /// or how many milliseconds are left until there is an attempt to take.
    pub fn take(self, full_at_ms: u64, now_ms: u64) -> Result<u64, u64> {
        let emptiest = now_ms.saturating_add(self.window_ms());
        // A bucket is never emptier than empty: a clock that was set back must not lock anybody out for long.
        let full_at_ms = full_at_ms.clamp(now_ms, emptiest);
        let after = full_at_ms.saturating_add(self.refill_ms);
        if after > emptiest {
            Err(after - emptiest)
        } else {
            Ok(after)
        }
    }

    /// When the bucket is full after one attempt has come back.
    pub fn give_back(self, full_at_ms: u64) -> u64 {
        full_at_ms.saturating_sub(self.refill_ms)
    }
}

/// What is limited. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Attempts on one account, from wherever they come.
    pub account: Option<Limit>,
    /// Attempts from one client address, on whatever account.
    pub address: Option<Limit>,
}

/// One attempt to log in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The account that is named, whether it exists or not: throttling one and not the other would list the accounts.
    pub user: &'a str,
    /// Where the attempt comes from.
    pub address: IpAddr,
}

impl Attempt<'_> {
    /// What counts as one client: an IPv4 address, or the /64 that an IPv6 provider gives to one customer at least.
    pub(crate) fn network(&self) -> IpAddr {
        match self.address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        }
    }
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is reserved: the password may be checked.
    Go,
    /// It is refused, and nothing was taken. After this time it would not be.
    Wait(Duration),
}

/// Where the buckets are.
#[async_trait]
pub trait Throttle: Send + Sync {
    /// Takes one attempt from each limit, or from none where one of them has run out.
    async fn reserve(&self, limits: &Limits, attempt: &Attempt<'_>) -> Result<Verdict, Error>;

    /// Gives a reserved attempt back: the password was right, or was not looked at.
    async fn give_back(&self, limits: &Limits, attempt: &Attempt<'_>) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(attempts: u32, refill_ms: u64) -> Limit {
        Limit::new(attempts, Duration::from_millis(refill_ms)).unwrap()
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let limit = limit(3, 1_000);
        let mut full_at = 0;
        for _ in 0..3 {
            full_at = limit.take(full_at, 50_000).unwrap();
        }
        assert_eq!(limit.take(full_at, 50_000), Err(1_000));
        assert_eq!(limit.take(full_at, 50_999), Err(1));
        assert!(limit.take(full_at, 51_000).is_ok());
        assert_eq!(limit.take(full_at, 51_000), Ok(54_000));
    }

    #[test]
    fn none_means_no_limit_and_nothing_overflows() {
        assert_eq!(Limit::new(0, Duration::from_secs(1)), None);
        let huge = Limit::new(u32::MAX, Duration::MAX).unwrap();
        assert!(huge.take(u64::MAX, u64::MAX).is_ok());
        assert!(Limit::new(1, Duration::ZERO).unwrap().take(0, 0).is_ok());
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out_for_longer_than_a_bucket_takes() {
        let limit = limit(10, 30_000);
        assert_eq!(limit.take(u64::MAX, 1_000), Err(30_000));
    }

    #[test]
    fn one_client_is_an_ipv4_address_or_an_ipv6_network() {
        let network = |text: &str| {
            let attempt = Attempt {
                user: "",
                address: text.parse().unwrap(),
            };
            attempt.network().to_string()
        };
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::"), "2001:db8:1:2::");
    }

    proptest! {
        /// Whatever the pattern of attempts: never more than a bucket and what has come back since.
        #[test]
        fn no_pattern_of_attempts_gets_more_than_the_limit(
            attempts in 1_u32..20,
            refill_ms in 1_u64..5_000,
            pauses in prop::collection::vec(0_u64..20_000, 1..200),
        ) {
            let limit = limit(attempts, refill_ms);
            let (begun, mut now, mut full_at, mut taken) = (1_000_000, 1_000_000, 0, 0);
            for pause in pauses {
                now += pause;
                match limit.take(full_at, now) {
                    Ok(after) => (full_at, taken) = (after, taken + 1),
                    Err(wait) => {
                        prop_assert!((1..=refill_ms).contains(&wait));
                        prop_assert!(limit.take(full_at, now + wait - 1).is_err());
                        prop_assert!(limit.take(full_at, now + wait).is_ok());
                    }
                }
                prop_assert!(taken <= u64::from(attempts) + (now - begun) / refill_ms);
            }
        }

        /// Who always knows the password is never refused, and leaves nothing behind.
        #[test]
        fn what_is_given_back_was_never_taken(
            attempts in 1_u32..20,
            refill_ms in 1_u64..5_000,
            pauses in prop::collection::vec(0_u64..2_000, 1..200),
        ) {
            let limit = limit(attempts, refill_ms);
            let (mut now, mut full_at) = (1_000_000, 0);
            for pause in pauses {
                now += pause;
                full_at = limit.give_back(limit.take(full_at, now).unwrap());
                prop_assert!(full_at <= now);
            }
        }
    }
}
