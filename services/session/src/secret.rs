//! 128 random bits, their text, and the one-way digest of them that may be stored and shown.
//!
//! Who knows a secret is logged in, so it exists only at the client and, in `sticky`, as the key of a map in memory.
//! Everything that others can see (a store's keys, the list of a user's logins) holds the digest.

use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Length of a secret in bytes: 128 bits cannot be guessed at any rate that a network carries.
pub(crate) const BYTES: usize = 16;
/// Length of a secret as text.
pub(crate) const TEXT: usize = 22;
/// Length of a digest as text.
pub(crate) const DIGEST: usize = 43;

/// Draws a new secret from the system's generator.
#[expect(
    clippy::expect_used,
    reason = "fails only where the kernel has no generator at all, which no input can cause; going on would be worse"
)]
pub(crate) fn draw() -> [u8; BYTES] {
    let mut secret = [0; BYTES];
    getrandom::fill(&mut secret).expect("the system's random generator answers");
    secret
}

/// The text of a secret, as a cookie carries it.
pub(crate) fn text(secret: &[u8; BYTES]) -> String {
    URL_SAFE_NO_PAD.encode(secret)
}

/// The secret of a text. Each secret has exactly one text, so that a credential cannot be presented in two spellings.
pub(crate) fn parse(text: &str) -> Option<[u8; BYTES]> {
    let mut secret = [0; BYTES];
    // The decoder wants room for 18 bytes before it looks at how many there are.
    let mut room = [0; BYTES + 2];
    if text.len() != TEXT {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut room).ok()?;
    secret.copy_from_slice(room.get(..length)?.get(..BYTES)?);
    Some(secret)
}

/// SHA-256 of a secret as text. No salt: nobody can try 2^128 secrets.
pub(crate) fn digest(secret: &[u8; BYTES]) -> [u8; DIGEST] {
    let mut text = [0; DIGEST];
    encode(digest::digest(&SHA256, secret).as_ref(), &mut text);
    text
}

/// A short name for `user` that is safe inside a key: the first 128 bits of SHA-256, as text.
pub(crate) fn tag(user: &str) -> [u8; TEXT] {
    let mut text = [0; TEXT];
    encode(
        &digest::digest(&SHA256, user.as_bytes()).as_ref()[..BYTES],
        &mut text,
    );
    text
}

fn encode<const N: usize>(bytes: &[u8], text: &mut [u8; N]) {
    // Cannot fail: both callers give exactly the room that the text takes.
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, text);
    debug_assert_eq!(written, Ok(N));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_text() {
        let secret = draw();
        let text = text(&secret);
        assert_eq!(text.len(), TEXT);
        assert_eq!(parse(&text), Some(secret));
        // The last character carries four bits that must be zero: another spelling of the same bytes is refused.
        assert_eq!(parse("AAAAAAAAAAAAAAAAAAAAAA"), Some([0; BYTES]));
        assert_eq!(parse("AAAAAAAAAAAAAAAAAAAAAB"), None);
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "A",
            "AAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAé",
            &"A".repeat(23),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_is_sha_256() {
        // SHA-256 of sixteen zero bytes, from an independent tool.
        assert_eq!(
            &digest(&[0; BYTES]),
            b"N0cI__dxndWXnsh11WzSKG9tPPfsMXo7JWMqqyjsN7s"
        );
        assert_eq!(tag("alice").len(), TEXT);
        assert_ne!(tag("alice"), tag("bob"));
    }
}
