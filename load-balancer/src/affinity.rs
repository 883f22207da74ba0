//! The affinity cookie: which node a client is pinned to, sealed so that nobody else can say or read it.
//!
//! ```text
//! affinity-<listener>=base64url( tag (8 bytes) ‖ issued (4 bytes, Unix seconds) ‖ mac (16 bytes) )
//! ```
//!
//! The tag is a keyed hash of the node's name, so the cookie shows neither name nor address. The mac is
//! HMAC-SHA256 over tag and time, cut to 128 bits: forging one takes 2¹²⁷ tries on average, and shorter
//! cookies are cheaper on every request. Balancers that share the key agree, without talking to each
//! other. Nothing here is kept on the server. Who gets a pin is decided in `verdict`, where it leads in `route`.
//!
//! Cookies ignore ports, so each listener has a cookie of its own name. Behind `https` it begins with `__Host-`
//! and is `Secure` (RFC 6265bis, section 4.1.3.2), so that nobody who can only speak plain HTTP for the same host
//! can set it. A browser may send several cookies of the name (another path, another site of the domain): the
//! first one counts that is genuine and names a node that there is. The others cannot lock anybody out.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use listen::Secret;

use crate::config::{AffinityCookie, COOKIE_FAMILY, HOST_PREFIX, SECURE_PREFIX};

/// Cookies of one request whose mac is looked at. Real clients send one, rarely two.
const MAX_LOOKED_AT: usize = 8;
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
pub(crate) enum CookieRefusal {
    /// Not the shape of our cookie.
    Malformed,
    /// The right shape, but not sealed with our key.
    Forged,
    /// Ours, but too old (or from the future).
    Expired,
    /// Ours, but no node answers to the tag any more.
    Unknown,
    /// Behind too many others of that name to be looked at.
    Surplus,
}

impl CookieRefusal {
    /// Every reason, in the order of the metrics.
    pub(crate) const ALL: [(Self, &str); 5] = [
        (Self::Malformed, "malformed"),
        (Self::Forged, "forged"),
        (Self::Expired, "expired"),
        (Self::Unknown, "unknown"),
        (Self::Surplus, "surplus"),
    ];
}

/// What the cookies of one request say, in the order in which they stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    genuine: [Option<Pin>; MAX_LOOKED_AT],
    refused: [u16; CookieRefusal::ALL.len()],
    /// There is a cookie of the name, whatever it says.
    pub(crate) is_there: bool,
}

impl Pins {
    /// The cookies that are sealed with our key and not too old.
    pub(crate) fn genuine(&self) -> impl Iterator<Item = Pin> {
        self.genuine.iter().map_while(|pin| *pin)
    }

    /// Why cookies were ignored, each as often as it happened.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (CookieRefusal, u64)> {
        let counts = CookieRefusal::ALL.into_iter().zip(self.refused);
        counts
            .filter(|(_, count)| *count > 0)
            .map(|((reason, _), count)| (reason, count.into()))
    }

    fn refuse(&mut self, reason: CookieRefusal) {
        let count = &mut self.refused[reason as usize];
        *count = count.saturating_add(1);
    }
}

/// Makes and reads the cookie of one listener.
#[derive(Debug)]
pub(crate) struct Affinity {
    tag_key: hmac::Key,
    mac_key: hmac::Key,
    name: String,
    /// Everything that follows the value in `Set-Cookie`.
    attributes: String,
    lifetime_s: u32,
    is_persistent: bool,
}

impl Affinity {
    /// Derives one key for tags and one for macs, so that neither can be used as the other.
    pub(crate) fn new(secret: &Secret, cookie: &AffinityCookie) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let derive = |purpose: &[u8]| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose).as_ref())
        };
        let secure = if cookie.is_secure { "; Secure" } else { "" };
        Self {
            tag_key: derive(b"affinity/1 tag"),
            mac_key: derive(b"affinity/1 mac"),
            name: cookie.name.clone(),
            attributes: format!(
                "; Path={}; HttpOnly; SameSite={}{secure}",
                cookie.path,
                cookie.same_site.word()
            ),
            lifetime_s: cookie.lifetime_s,
            is_persistent: cookie.is_persistent,
        }
    }

    /// What stands for a node of that name.
    pub(crate) fn tag(&self, name: &str) -> Tag {
        Tag(front(hmac::sign(&self.tag_key, name.as_bytes()).as_ref()))
    }

    /// The `Set-Cookie` value that pins a client to a node. Without `Max-Age`, unless the configuration wants one, it ends
    /// with the browser's session like the session cookies beside it, and after its lifetime in any case.
    pub(crate) fn issue(&self, tag: Tag, now_s: u32) -> String {
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..TAG_BYTES].copy_from_slice(&tag.0);
        cookie[TAG_BYTES..SIGNED_BYTES].copy_from_slice(&now_s.to_be_bytes());
        let mac = self.mac(&cookie[..SIGNED_BYTES]);
        cookie[SIGNED_BYTES..].copy_from_slice(&mac);

        let value = URL_SAFE_NO_PAD.encode(cookie);
        let max_age_s = self.is_persistent.then_some(self.lifetime_s);
        self.set_cookie(&value, max_age_s)
    }

    /// The `Set-Cookie` value that releases a client.
    pub(crate) fn clear(&self) -> String {
        self.set_cookie("", Some(0))
    }

    fn set_cookie(&self, value: &str, max_age_s: Option<u32>) -> String {
        let max_age = max_age_s.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
        format!("{}={value}{max_age}{}", self.name, self.attributes)
    }

    /// What the `Cookie` fields of a request say.
    pub(crate) fn read<'a>(&self, cookies: impl Iterator<Item = &'a [u8]>, now_s: u32) -> Pins {
        let values = cookies
            .flat_map(|cookies| cookies.split(|byte| *byte == b';'))
            .filter_map(|piece| value_of(piece, self.name.as_bytes()));
        let mut pins = Pins::default();
        let (mut looked_at, mut found) = (0, 0);
        for value in values {
            pins.is_there = true;
            let opened = match decode(value) {
                None => Err(CookieRefusal::Malformed),
                Some(_) if looked_at == MAX_LOOKED_AT => Err(CookieRefusal::Surplus),
                Some(cookie) => {
                    looked_at += 1;
                    self.open(&cookie, now_s)
                }
            };
            match opened {
                Ok(pin) => {
                    pins.genuine[found] = Some(pin);
                    found += 1;
                }
                Err(reason) => pins.refuse(reason),
            }
        }
        pins
    }

    fn open(&self, cookie: &[u8; COOKIE_BYTES], now_s: u32) -> Result<Pin, CookieRefusal> {
        let (signed, mac) = cookie.split_at(SIGNED_BYTES);
        constant_time::verify_slices_are_equal(&self.mac(signed), mac)
            .map_err(|_| CookieRefusal::Forged)?;

        let (tag, issued) = signed.split_at(TAG_BYTES);
        let issued_s = u32::from_be_bytes(front(issued));
        if issued_s > now_s.saturating_add(CLOCK_SKEW_S) {
            return Err(CookieRefusal::Expired);
        }
        let age_s = now_s.saturating_sub(issued_s);
        if age_s >= self.lifetime_s {
            return Err(CookieRefusal::Expired);
        }
        Ok(Pin {
            tag: Tag(front(tag)),
            ageing: age_s >= self.lifetime_s / 2,
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

/// The bytes of a cookie that has the shape of ours.
fn decode(value: &[u8]) -> Option<[u8; COOKIE_BYTES]> {
    let mut cookie = [0; COOKIE_BYTES];
    // The exact length bounds the work before the decoder sees anything.
    let is_ours = value.len() == COOKIE_LETTERS
        && URL_SAFE_NO_PAD.decode_slice(value, &mut cookie) == Ok(COOKIE_BYTES);
    is_ours.then_some(cookie)
}

/// Name and value of a piece of a `Cookie` field, or of a `Set-Cookie` field.
fn parts_of(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', piece)?;
    Some((
        piece[..equals].trim_ascii(),
        piece[equals + 1..].trim_ascii(),
    ))
}

/// The value, if this piece is the cookie of that name.
fn value_of<'a>(piece: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = parts_of(piece)?;
    (found == name).then_some(value)
}

/// Which cookies are ours, and so none of the nodes' business: those of every listener, and those that another balancer
/// of ours has left with the same host, or an older one.
#[derive(Clone, Debug, Default)]
pub(crate) struct OurCookies {
    /// Names from the configuration that do not show whose they are.
    given: Vec<String>,
}

impl OurCookies {
    /// With the names of all listeners.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let given = names.filter(|name| !is_of_the_family(name.as_bytes()));
        Self {
            given: given.map(str::to_owned).collect(),
        }
    }

    /// Is this piece of a `Cookie` field, or this `Set-Cookie` field, an affinity cookie?
    pub(crate) fn contain(&self, piece: &[u8]) -> bool {
        parts_of(piece).is_some_and(|(name, _)| {
            is_of_the_family(name) || self.given.iter().any(|given| given.as_bytes() == name)
        })
    }

    /// The `Cookie` field without affinity cookies, or `None` when it holds none. The other cookies are the
    /// node's business and stay as they are, byte for byte, even where they break the grammar.
    pub(crate) fn strip(&self, field: &[u8]) -> Option<Vec<u8>> {
        let pieces = || field.split(|byte| *byte == b';');
        if !pieces().any(|piece| self.contain(piece)) {
            return None;
        }
        let mut rest = Vec::with_capacity(field.len());
        for piece in pieces().filter(|piece| !self.contain(piece)) {
            if rest.is_empty() {
                // The blank after a separator that is gone would otherwise open the field.
                rest.extend_from_slice(piece.trim_ascii_start());
            } else {
                rest.push(b';');
                rest.extend_from_slice(piece);
            }
        }
        Some(rest)
    }
}

fn is_of_the_family(name: &[u8]) -> bool {
    let mut prefixes = [HOST_PREFIX, SECURE_PREFIX].iter();
    let bare = prefixes.find_map(|prefix| name.strip_prefix(prefix.as_bytes()));
    let rest = bare.unwrap_or(name).strip_prefix(COOKIE_FAMILY.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'-')))
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
