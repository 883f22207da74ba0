//! The id of a request: one from the client's request through both logs to the answer. A client's own is taken if it
//! is 1 to 128 bytes of visible ASCII, which is the nodes' rule as well; else we make one, unique and not secret.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;

/// Bytes of an id, at most.
const MAX: usize = 128;

/// The id of one request. Held in place, so that it costs no allocation.
#[derive(Clone, Copy)]
pub(crate) struct RequestId {
    text: [u8; MAX],
    length: usize,
}

impl RequestId {
    /// A client's own id, if it can go into logs and headers as it is.
    pub(crate) fn of_client(value: &[u8]) -> Option<Self> {
        let is_valid = (1..=MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
        is_valid.then(|| Self::new(value))
    }

    fn new(value: &[u8]) -> Self {
        let mut text = [0; MAX];
        text[..value.len()].copy_from_slice(value);
        Self {
            text,
            length: value.len(),
        }
    }

    /// As headers carry it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes().escape_ascii().fmt(f)
    }
}

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
    pub(crate) fn next(&self) -> RequestId {
        let number =
            (u128::from(self.prefix) << 64) | u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        let mut text = [0; 32];
        for (index, letter) in text.iter_mut().rev().enumerate() {
            *letter = b"0123456789abcdef"[(number >> (4 * index)) as usize & 0xf];
        }
        RequestId::new(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_digits() {
        let ids = RequestIds::new();
        let (first, second) = (ids.next(), ids.next());
        assert_eq!(first.bytes().len(), 32);
        assert!(first.bytes().iter().all(u8::is_ascii_hexdigit));
        assert_ne!(first.bytes(), second.bytes());
    }

    #[test]
    fn a_client_may_choose_anything_that_is_visible_and_short() {
        for id in [
            "a",
            "Root=1-67891233-abcdef0123456789",
            "\"{}\\",
            &"x".repeat(128),
        ] {
            let taken = RequestId::of_client(id.as_bytes()).expect("valid");
            assert_eq!(taken.bytes(), id.as_bytes());
        }
        for id in ["", "a b", "a\tb", "\u{7f}", "é", &"x".repeat(129)] {
            assert!(RequestId::of_client(id.as_bytes()).is_none(), "{id}");
        }
    }
}
