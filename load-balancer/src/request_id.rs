//! Ids for requests that come without one: unique, not secret.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;

/// Makes ids.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Tells balancers, and their restarts, apart.
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that no other balancer makes.
    pub(crate) fn new() -> Self {
        let mut prefix = [0; 8];
        // Without randomness ids of two balancers could be the same, which only makes logs harder to read.
        let _ = rand::fill(&mut prefix);
        Self {
            prefix: u64::from_ne_bytes(prefix),
            next: AtomicU64::new(0),
        }
    }

    /// The next id: 32 hexadecimal digits.
    pub(crate) fn next(&self) -> [u8; 32] {
        let number =
            (u128::from(self.prefix) << 64) | u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        let mut text = [0; 32];
        for (index, letter) in text.iter_mut().rev().enumerate() {
            *letter = b"0123456789abcdef"[(number >> (4 * index)) as usize & 0xf];
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_digits() {
        let ids = RequestIds::new();
        let (first, second) = (ids.next(), ids.next());
        assert!(first.iter().all(u8::is_ascii_hexdigit));
        assert_ne!(first, second);
    }
}
