//! The affinity cookie: which node a client is pinned to, sealed so that nobody else can say or read it.
//!
//! ```text
//! affinity=base64url( tag (8 bytes) ‖ issued (4 bytes, Unix seconds) ‖ mac (16 bytes) )
//! ```
//!
//! The tag is a keyed hash of the node's name, so the cookie shows neither name nor address. The mac is
//! HMAC-SHA256 over tag and time, cut to 128 bits: forging one takes 2¹²⁷ tries on average, and shorter
//! cookies are cheaper on every request. Balancers that share the key agree, without talking to each
//! other. Nothing here is kept on the server. What to do with a pin is decided in `proxy`.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::config::Secret;

/// The cookie's name.
const NAME: &[u8] = b"affinity";
/// How long a pin holds. As long as the longest session.
const LIFETIME_S: u32 = 12 * 60 * 60;
/// Clocks of two balancers may differ by this much.
const CLOCK_SKEW_S: u32 = 60;

const TAG_BYTES: usize = 8;
const TIME_BYTES: usize = 4;
const MAC_BYTES: usize = 16;
const SIGNED_BYTES: usize = TAG_BYTES + TIME_BYTES;
const COOKIE_BYTES: usize = SIGNED_BYTES + MAC_BYTES;
/// Base64 without padding: four letters for three bytes.
const COOKIE_LETTERS: usize = (COOKIE_BYTES * 4).div_ceil(3);

/// Stands for a node in the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag([u8; TAG_BYTES]);

/// A pin that a client proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The node.
    pub(crate) tag: Tag,
    /// The cookie has passed half its life: renew it, so that a client that keeps coming keeps its node.
    pub(crate) ageing: bool,
}

/// Why a cookie was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not the shape of our cookie.
    Malformed,
    /// The right shape, but not sealed with our key.
    Forged,
    /// Ours, but too old (or from the future).
    Expired,
    /// Ours, but no node answers to the tag any more.
    Unknown,
    /// Several cookies of that name: nobody can say which one counts.
    Duplicated,
}

impl Refusal {
    /// Every reason, in the order of the metrics.
    pub(crate) const ALL: [(Self, &str); 5] = [
        (Self::Malformed, "malformed"),
        (Self::Forged, "forged"),
        (Self::Expired, "expired"),
        (Self::Unknown, "unknown"),
        (Self::Duplicated, "duplicated"),
    ];
}

/// Makes and reads the cookie.
#[derive(Debug)]
pub(crate) struct Affinity {
    tag_key: hmac::Key,
    mac_key: hmac::Key,
}

impl Affinity {
    /// Derives one key for tags and one for macs, so that neither can be used as the other.
    pub(crate) fn new(secret: &Secret) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let derive = |purpose: &[u8]| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose).as_ref())
        };
        Self {
            tag_key: derive(b"affinity/1 tag"),
            mac_key: derive(b"affinity/1 mac"),
        }
    }

    /// What stands for a node of that name.
    pub(crate) fn tag(&self, name: &str) -> Tag {
        Tag(front(hmac::sign(&self.tag_key, name.as_bytes()).as_ref()))
    }

    /// The `Set-Cookie` value that pins a client to a node. No `Max-Age`: it ends with the browser's
    /// session like the session cookies beside it, and after its lifetime in any case.
    pub(crate) fn issue(&self, tag: Tag, now_s: u32) -> HeaderValue {
        const BEFORE: &[u8] = b"affinity=";
        const AFTER: &[u8] = b"; Path=/; HttpOnly; SameSite=Lax";

        let mut cookie = [0; COOKIE_BYTES];
        cookie[..TAG_BYTES].copy_from_slice(&tag.0);
        cookie[TAG_BYTES..SIGNED_BYTES].copy_from_slice(&now_s.to_be_bytes());
        let mac = self.mac(&cookie[..SIGNED_BYTES]);
        cookie[SIGNED_BYTES..].copy_from_slice(&mac);

        let mut value = Vec::with_capacity(BEFORE.len() + COOKIE_LETTERS + AFTER.len());
        value.extend_from_slice(BEFORE);
        value.extend_from_slice(URL_SAFE_NO_PAD.encode(cookie).as_bytes());
        value.extend_from_slice(AFTER);
        HeaderValue::from_maybe_shared(Bytes::from(value))
            .unwrap_or_else(|_| unreachable!("base64url and the attributes are visible ASCII"))
    }

    /// The pin that a request carries: `None` without a cookie, an error when it must be ignored.
    pub(crate) fn read(&self, headers: &HeaderMap, now_s: u32) -> Result<Option<Pin>, Refusal> {
        let mut values = headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
            .filter_map(affinity_value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => self.open(value, now_s).map(Some),
            (Some(_), Some(_)) => Err(Refusal::Duplicated),
        }
    }

    fn open(&self, value: &[u8], now_s: u32) -> Result<Pin, Refusal> {
        let mut cookie = [0; COOKIE_BYTES];
        // The exact length bounds the work before the decoder sees anything.
        if value.len() != COOKIE_LETTERS
            || URL_SAFE_NO_PAD.decode_slice(value, &mut cookie) != Ok(COOKIE_BYTES)
        {
            return Err(Refusal::Malformed);
        }
        let (signed, mac) = cookie.split_at(SIGNED_BYTES);
        constant_time::verify_slices_are_equal(&self.mac(signed), mac)
            .map_err(|_| Refusal::Forged)?;

        let (tag, issued) = signed.split_at(TAG_BYTES);
        let issued_s = u32::from_be_bytes(front(issued));
        if issued_s > now_s.saturating_add(CLOCK_SKEW_S) {
            return Err(Refusal::Expired);
        }
        let age_s = now_s.saturating_sub(issued_s);
        if age_s >= LIFETIME_S {
            return Err(Refusal::Expired);
        }
        Ok(Pin {
            tag: Tag(front(tag)),
            ageing: age_s >= LIFETIME_S / 2,
        })
    }

    fn mac(&self, signed: &[u8]) -> [u8; MAC_BYTES] {
        front(hmac::sign(&self.mac_key, signed).as_ref())
    }
}

/// The first `N` bytes; the callers' slices are never shorter.
fn front<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut front = [0; N];
    front.copy_from_slice(&bytes[..N]);
    front
}

/// The value, if this piece of a `Cookie` header is our cookie.
fn affinity_value(piece: &[u8]) -> Option<&[u8]> {
    let after_name = piece.trim_ascii_start().strip_prefix(NAME)?;
    Some(
        after_name
            .trim_ascii_start()
            .strip_prefix(b"=")?
            .trim_ascii(),
    )
}

/// The `Cookie` header without the affinity cookie, or `None` when it holds none. The other cookies are the
/// node's business and stay as they are, byte for byte, even where they break the grammar.
pub(crate) fn strip(header: &[u8]) -> Option<Vec<u8>> {
    let pieces = || header.split(|byte| *byte == b';');
    if !pieces().any(|piece| affinity_value(piece).is_some()) {
        return None;
    }
    let mut rest = Vec::with_capacity(header.len());
    for piece in pieces().filter(|piece| affinity_value(piece).is_none()) {
        if rest.is_empty() {
            // The blank after a separator that is gone would otherwise open the header.
            rest.extend_from_slice(piece.trim_ascii_start());
        } else {
            rest.push(b';');
            rest.extend_from_slice(piece);
        }
    }
    Some(rest)
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
