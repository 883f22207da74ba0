//! The affinity cookie: `Cookie` fields, one a line.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use load_balancer::inspect::{COOKIE, LIFETIME_S};

use crate::LISTENER;

/// The nodes that cookies of the seeds pin to.
const NODES: [&str; 3] = ["node-1", "node-2", "node-9"];
/// The moment at which all are judged.
const NOW_S: u32 = 1_800_000_000;

/// Cookies of one request that are looked at, at most.
const LOOKED_AT: usize = 8;
/// A cookie, before and after Base64.
const BYTES: usize = 28;
const LETTERS: usize = 38;

/// The cookies that count are those that we would have written, letter by letter: in their order, and not too old.
pub fn check(input: &[u8]) {
    let fields: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let pieces = fields
        .iter()
        .flat_map(|field| field.split(|byte| *byte == b';'));
    let looked_at = pieces.filter_map(value_and_time).take(LOOKED_AT);
    let ours = looked_at.filter_map(|(value, issued_s)| {
        let age_s = i64::from(NOW_S) - i64::from(issued_s);
        let is_alive = (-60..i64::from(LIFETIME_S)).contains(&age_s);
        let is_of = |node: &&str| {
            let ours = LISTENER.pin(node, issued_s);
            ours.split(['=', ';']).nth(1) == Some(value)
        };
        is_alive.then(|| NODES.iter().position(is_of)).flatten()
    });
    let ours: Vec<_> = ours.map(Some).collect();
    assert_eq!(LISTENER.pins(&fields, &NODES, NOW_S), ours);
}

/// The value of an affinity cookie of the right shape, and when it says that it was issued.
fn value_and_time(piece: &[u8]) -> Option<(&str, u32)> {
    let (name, value) = std::str::from_utf8(piece).ok()?.split_once('=')?;
    let is_blank = |letter: char| letter.is_ascii_whitespace();
    let value = value.trim_matches(is_blank);
    if name.trim_matches(is_blank) != COOKIE || value.len() != LETTERS {
        return None;
    }
    let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()?;
    Some((value, u32::from_be_bytes(bytes[8..12].try_into().ok()?)))
}
