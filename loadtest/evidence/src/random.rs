//! Random numbers that are the same for the same seed: what makes a run repeatable.
//!
//! `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): a counter and a good
//! mixing function. Never for secrets.

/// A stream of numbers.
pub struct Random {
    state: u64,
}

/// Whom a stream is for. Streams of one seed have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// The user of this number.
    User(u32),
    /// When arrivals are due.
    Arrivals,
    /// When operations in flight are counted.
    InFlight,
    /// Whom faults hit, and which a chaos draws.
    Faults,
    /// Which samples the statistics draw.
    Statistics,
    /// Whose logins the operator ends.
    Operator,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The numbers that `stream` gets with `seed`.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let number = match stream {
            Stream::User(number) => u64::from(number),
            // Beyond all users.
            Stream::Arrivals => 1 << 32,
            Stream::InFlight => 1 << 33,
            Stream::Faults => 1 << 34,
            Stream::Statistics => 1 << 35,
            Stream::Operator => 1 << 36,
        };
        let mut random = Self {
            state: seed ^ number.wrapping_mul(GOLDEN),
        };
        // Mixes once, so that neighbouring users do not begin with neighbouring states.
        random.state = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The product's upper half: no division, and no bias that 64 bits could show.
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// A time between two events that know nothing of each other and are `mean` apart on average.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        // All 53 bits that a float between 0 and 1 can hold; never 1 itself, whose logarithm below is infinite.
        let below_one = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -mean * (1.0 - below_one).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_users_differ() {
        let draw = |seed, user| {
            let mut random = Random::new(seed, Stream::User(user));
            (0..8)
                .map(|_| random.between((200, 800)))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    #[test]
    fn numbers_cover_the_range_evenly() {
        let mut random = Random::new(7, Stream::User(1));
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(random.below(10)).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|&count| (850..1_150).contains(&count)),
            "{seen:?}"
        );
        assert_eq!(random.between((5, 5)), 5);
        assert_eq!(random.below(0), 0);
    }
}
