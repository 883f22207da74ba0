//! Whether two strategies differ: the rank-sum test over runs (Wilcoxon 1945, Mann and Whitney 1947), as an exact permutation
//! test. If the strategies were alike, every way to deal their runs into two hands would be as likely as the one that was seen;
//! the result is the share of ways that part the ranks at least as much. Nothing is assumed about how runs are distributed, one
//! wild run counts no more than its rank, and runs that are equal share theirs.

use crate::random::{Random, Stream};

/// Every way is tried up to here; beyond, as many random ones.
const MOST_WAYS: u64 = 200_000;
/// Random ways, where there are too many.
const DEALS: u32 = 20_000;

/// In how many ways `a` of `all` runs can be chosen; no more than is ever tried out.
fn ways(all: usize, a: usize) -> u64 {
    let mut ways: u64 = 1;
    for chosen in 0..a {
        ways = ways.saturating_mul((all - chosen) as u64) / (chosen as u64 + 1);
        if ways > MOST_WAYS {
            return MOST_WAYS + 1;
        }
    }
    ways
}

/// The smallest probability that so many runs could show: with the two most extreme ways of all.
pub(super) fn smallest(a: usize, b: usize) -> f64 {
    2.0 / ways(a + b, a) as f64
}

/// The probability that chance alone would part the runs this much, in either direction.
pub(super) fn probability(a: &[f64], b: &[f64], seed: u64) -> f64 {
    let all = ranks(a, b);
    let middle = all.iter().sum::<f64>() * a.len() as f64 / all.len() as f64;
    let apart = |sum: f64| (sum - middle).abs();
    let observed = apart(all.iter().take(a.len()).sum());
    // Sums of half ranks are exact.
    let as_far = |sum: f64| apart(sum) >= observed;
    if ways(all.len(), a.len()) > MOST_WAYS {
        return at_random(&all, a.len(), seed, as_far);
    }
    let mut count = (0_u64, 0_u64);
    every_way(&all, a.len(), 0.0, &mut |sum| {
        count.0 += u64::from(as_far(sum));
        count.1 += 1;
    });
    count.0 as f64 / count.1 as f64
}

/// The sum of ranks of every choice of `left` of `ranks`, on top of `sum`.
fn every_way(ranks: &[f64], left: usize, sum: f64, told: &mut impl FnMut(f64)) {
    if left == 0 {
        told(sum);
        return;
    }
    if let [first, others @ ..] = ranks
        && others.len() + 1 >= left
    {
        every_way(others, left - 1, sum + first, told);
        every_way(others, left, sum, told);
    }
}

/// The way that was seen is one of those that are counted, so that chance never looks impossible.
fn at_random(ranks: &[f64], a: usize, seed: u64, as_far: impl Fn(f64) -> bool) -> f64 {
    let mut random = Random::new(seed, Stream::Statistics);
    let mut hand = ranks.to_vec();
    let mut count = 1;
    for _ in 0..DEALS {
        for at in 0..a {
            let from = random.below((hand.len() - at) as u64);
            hand.swap(at, at + usize::try_from(from).unwrap_or(0));
        }
        count += u32::from(as_far(hand.iter().take(a).sum()));
    }
    f64::from(count) / f64::from(DEALS + 1)
}

/// The ranks of all values, those of `a` first.
fn ranks(a: &[f64], b: &[f64]) -> Vec<f64> {
    let all = || a.iter().chain(b);
    all()
        .map(|value| {
            let below = all().filter(|other| *other < value).count() as f64;
            let same = all().filter(|other| other.total_cmp(value).is_eq()).count() as f64;
            below + f64::midpoint(same, 1.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(p: f64, expected: f64) {
        assert!((p - expected).abs() < 1e-9, "{p}, and not {expected}");
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
        near(probability(&low, &high, 1), 2.0 / 252.0);
        near(probability(&high, &low, 1), 2.0 / 252.0);
        // U = 2, as in the table of Mann and Whitney: 0.0317 (two-sided).
        let mixed = ([1.0, 2.0, 3.0, 5.0, 6.0], [4.0, 7.0, 8.0, 9.0, 10.0]);
        near(probability(&mixed.0, &mixed.1, 1), 8.0 / 252.0);
        near(probability(&[1.0; 4], &[1.0; 4], 1), 1.0);
        near(smallest(3, 3), 0.1);
        near(smallest(4, 4), 2.0 / 70.0);
    }

    #[test]
    fn equal_runs_share_their_rank() {
        assert_eq!(ranks(&[5.0, 1.0], &[5.0, 7.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn many_runs_are_dealt_at_random() {
        let low: Vec<f64> = (0..20).map(f64::from).collect();
        let high: Vec<f64> = low.iter().map(|value| value + 100.0).collect();
        let alike: Vec<f64> = low.iter().map(|value| value + 0.5).collect();
        assert!(probability(&low, &high, 1) < 0.001);
        assert!(probability(&low, &alike, 1) > 0.5);
    }
}
