//! When users act, and when the arrivals of an open loop are due: a list without end, the same for the same seed.
//!
//! It is made twice: the users follow it, and the statistics make it again from the history's first line, to see
//! which arrivals were never sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::{Random, Stream};

const SECOND_US: u64 = 1_000_000;

/// Sent later than this after it was due, an arrival is late. A free user sends within some hundred microseconds.
pub const LATE_US: i64 = 1_000;

/// No user waits longer for a whole answer. Longer than every time limit of the load balancer and the nodes, so that
/// their answers are seen; short enough that the end of a run waits for nobody.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

/// How the arrivals of an open loop are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// The same time between any two.
    Constant,
    /// Independent of each other: exponential times in between.
    Poisson,
}

/// When users act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Each by itself, after a pause.
    Closed {
        /// Shortest and longest pause.
        think_ms: (u64, u64),
    },
    /// Whoever is free takes the next action that is due.
    Open {
        /// Actions a second.
        arrivals_per_s: u32,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

impl Arrivals {
    /// As scenarios write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

impl Pace {
    /// The rate of an open loop; 0 for a closed one, which has none.
    pub fn arrivals_per_s(self) -> u32 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { arrivals_per_s, .. } => arrivals_per_s,
        }
    }

    /// Whether users never pause. Such a load is meant to saturate the machine.
    pub fn is_saturating(self) -> bool {
        self == Self::Closed { think_ms: (0, 0) }
    }
}

/// The moments at which arrivals are due, ascending, on the run's clock in microseconds.
pub struct Schedule {
    arrivals: Arrivals,
    per_s: u32,
    from_us: i64,
    /// Arrivals so far.
    number: u64,
    /// Where random gaps have led to, from `from_us` on.
    elapsed_us: f64,
    random: Random,
}

impl Schedule {
    /// The schedule of an open loop that begins at `from_us`; `None` for a closed loop, which has none.
    pub fn new(pace: Pace, seed: u64, from_us: i64) -> Option<Self> {
        let Pace::Open {
            arrivals_per_s,
            arrivals,
        } = pace
        else {
            return None;
        };
        Some(Self {
            arrivals,
            per_s: arrivals_per_s.max(1),
            from_us,
            number: 0,
            elapsed_us: 0.0,
            random: Random::new(seed, Stream::Arrivals),
        })
    }
}

impl Iterator for Schedule {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let per_s = u64::from(self.per_s);
        let elapsed_us = match self.arrivals {
            // Counted from the beginning each time, so that no rounding adds up.
            Arrivals::Constant => (self.number * SECOND_US / per_s).cast_signed(),
            Arrivals::Poisson => {
                self.elapsed_us += self.random.exponential(SECOND_US as f64 / per_s as f64);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "fractions of a microsecond may go"
                )]
                let elapsed_us = self.elapsed_us as i64;
                elapsed_us
            }
        };
        self.number += 1;
        Some(self.from_us + elapsed_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(arrivals: Arrivals, seed: u64, count: usize) -> Vec<i64> {
        let pace = Pace::Open {
            arrivals_per_s: 300,
            arrivals,
        };
        let schedule = Schedule::new(pace, seed, -1_000_000).unwrap();
        schedule.take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            assert_eq!(first(arrivals, 1, 1_000), first(arrivals, 1, 1_000));
        }
        assert_ne!(
            first(Arrivals::Poisson, 1, 1_000),
            first(Arrivals::Poisson, 2, 1_000)
        );
    }

    #[test]
    fn constant_arrivals_keep_their_rate_whatever_it_is_divided_by() {
        let due = first(Arrivals::Constant, 1, 301);
        assert_eq!(due[..4], [-1_000_000, -996_667, -993_334, -990_000]);
        assert_eq!(due[300], 0);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_gaps_of_a_poisson_process() {
        let due = first(Arrivals::Poisson, 7, 30_001);
        assert!(due.is_sorted());
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let squares: f64 = gaps.iter().map(|gap| (gap - mean).powi(2)).sum();
        let deviation = (squares / gaps.len() as f64).sqrt();
        // Of 30,000 gaps the mean is within 2 % of 1/300 s in all but one of 2,000 seeds, and this is one seed.
        assert!((mean / 3_333.3 - 1.0).abs() < 0.02, "{mean}");
        assert!((deviation / mean - 1.0).abs() < 0.03, "{deviation}");
        let short = gaps.iter().filter(|gap| **gap < mean).count() as f64;
        assert!(
            (short / 30_000.0 - 0.632).abs() < 0.02,
            "1 - 1/e are shorter"
        );
    }

    #[test]
    fn a_closed_loop_has_no_schedule() {
        let pace = Pace::Closed { think_ms: (1, 2) };
        assert!(Schedule::new(pace, 1, 0).is_none());
    }
}
