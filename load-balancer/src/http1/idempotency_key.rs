//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the client's word that a POST or PATCH may arrive twice.
//!
//! The draft makes the value a string in quotes (RFC 8941, section 3.3.3); clients that are older than it send the key
//! bare. Both count, with 1 to 255 bytes. Everything else is passed on like any other field and promises nothing: an
//! empty key, one that is cut off, and two keys, be it in two fields or joined by a comma.

/// Bytes of a key, at most.
const MAX_BYTES: usize = 255;

/// The keys of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keys {
    is_there: bool,
    /// There is one key, and it is valid.
    pub(crate) is_one: bool,
}

impl Keys {
    /// One more field with a key.
    pub(crate) fn note(&mut self, value: &[u8]) {
        self.is_one = !self.is_there && is_key(value);
        self.is_there = true;
    }
}

fn is_key(value: &[u8]) -> bool {
    match value {
        [b'"', inner @ .., b'"'] => is_quoted_key(inner),
        bare => {
            (1..=MAX_BYTES).contains(&bare.len())
                && bare
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && !b"\",;".contains(byte))
        }
    }
}

/// What may stand between quotes: quotes and backslashes only behind a backslash.
fn is_quoted_key(inner: &[u8]) -> bool {
    let mut is_escaped = false;
    for byte in inner {
        is_escaped = match byte {
            b'"' | b'\\' if is_escaped => false,
            _ if is_escaped => return false,
            b'\\' => true,
            b'"' => return false,
            b' '..=b'~' => false,
            _ => return false,
        };
    }
    (1..=MAX_BYTES).contains(&inner.len()) && !is_escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(fields: &[&str]) -> bool {
        let mut seen = Keys::default();
        for value in fields {
            seen.note(value.as_bytes());
        }
        seen.is_one
    }

    #[test]
    fn one_key_in_quotes_or_bare_is_a_promise() {
        let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
        for (value, wanted) in [
            (r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, true),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", true),
            (r#""a, b""#, true),
            (r#""a\"b\\c""#, true),
            (&longest, true),
            (&too_long, false),
            (&format!("\"{longest}\""), true),
            (&format!("\"{too_long}\""), false),
            ("", false),
            (r#""""#, false),
            (r#"""#, false),
            (r#""a"#, false),
            (r#"a""#, false),
            (r#""a"b""#, false),
            (r#""a\""#, false),
            (r#""a\b""#, false),
            (r#""a";b"#, false),
            ("a,b", false),
            ("a b", false),
            ("é", false),
            ("\"é\"", false),
        ] {
            assert_eq!(promise(&[value]), wanted, "{value}");
        }
    }

    #[test]
    fn two_keys_are_none() {
        assert!(!promise(&["a", "a"]));
        assert!(!promise(&["a", ""]));
        assert!(!promise(&["", "a"]));
        assert!(!promise(&["a", "a", "a"]));
        assert!(!promise(&[]));
    }
}
