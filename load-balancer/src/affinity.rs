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
//!
//! Behind `https` the cookie is called `__Host-affinity` and is `Secure` (RFC 6265bis, section 4.1.3.2), so
//! that nobody who can only speak plain HTTP for the same host can set it.

use crate::config::Secret;
use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The cookie's name over plain HTTP.
const PLAIN_NAME: &str = "affinity";
/// The cookie's name over TLS.
const SECURE_NAME: &str = "__Host-affinity";
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
    is_secure: bool,
}

impl Affinity {
    /// Derives one key for tags and one for macs, so that neither can be used as the other. `is_secure` says
    /// that clients come over TLS.
    pub(crate) fn new(secret: &Secret, is_secure: bool) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let derive = |purpose: &[u8]| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose).as_ref())
        };
        Self {
            tag_key: derive(b"affinity/1 tag"),
            mac_key: derive(b"affinity/1 mac"),
            is_secure,
        }
    }

    /// What stands for a node of that name.
    pub(crate) fn tag(&self, name: &str) -> Tag {
        Tag(front(hmac::sign(&self.tag_key, name.as_bytes()).as_ref()))
    }

    fn name(&self) -> &'static str {
        if self.is_secure {
            SECURE_NAME
        } else {
            PLAIN_NAME
        }
    }

    /// The `Set-Cookie` value that pins a client to a node. No `Max-Age`: it ends with the browser's
    /// session like the session cookies beside it, and after its lifetime in any case.
    pub(crate) fn issue(&self, tag: Tag, now_s: u32) -> String {
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..TAG_BYTES].copy_from_slice(&tag.0);
        cookie[TAG_BYTES..SIGNED_BYTES].copy_from_slice(&now_s.to_be_bytes());
        let mac = self.mac(&cookie[..SIGNED_BYTES]);
        cookie[SIGNED_BYTES..].copy_from_slice(&mac);

        let secure = if self.is_secure { "; Secure" } else { "" };
        let value = URL_SAFE_NO_PAD.encode(cookie);
        format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}",
            self.name()
        )
    }

    /// The pin that a request carries, by its `Cookie` fields: `None` without one, an error when it must be
    /// ignored.
    pub(crate) fn read<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        now_s: u32,
    ) -> Result<Option<Pin>, Refusal> {
        let mut values = cookies
            .flat_map(|cookies| cookies.split(|byte| *byte == b';'))
            .filter_map(|piece| value_of(piece, self.name()));
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

/// The value, if this piece of a `Cookie` header is the cookie of that name.
fn value_of<'a>(piece: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let after_name = piece.trim_ascii_start().strip_prefix(name.as_bytes())?;
    Some(
        after_name
            .trim_ascii_start()
            .strip_prefix(b"=")?
            .trim_ascii(),
    )
}

/// Is this piece of a `Cookie` header, or this `Set-Cookie` header, the affinity cookie under one of its names?
pub(crate) fn is_ours(piece: &[u8]) -> bool {
    value_of(piece, PLAIN_NAME).is_some() || value_of(piece, SECURE_NAME).is_some()
}

/// The `Cookie` header without the affinity cookie, or `None` when it holds none. The other cookies are the
/// node's business and stay as they are, byte for byte, even where they break the grammar.
pub(crate) fn strip(header: &[u8]) -> Option<Vec<u8>> {
    let pieces = || header.split(|byte| *byte == b';');
    if !pieces().any(is_ours) {
        return None;
    }
    let mut rest = Vec::with_capacity(header.len());
    for piece in pieces().filter(|piece| !is_ours(piece)) {
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
