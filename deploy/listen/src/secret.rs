//! Secrets from files, and the token that opens a port for operators.

use std::{fmt, fs, io, path::Path};

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret that is known already. The newline that editors leave at the end is not part of it.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        bytes.truncate(line.strip_suffix(b"\r").unwrap_or(line).len());
        Self(bytes)
    }

    /// What a file holds.
    pub fn read(file: &Path) -> io::Result<Self> {
        fs::read(file).map(Self::new)
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What those have who may use a port for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Secret);

impl Token {
    /// The fewest bytes.
    pub const MIN_BYTES: usize = 16;
    /// The most bytes.
    pub const MAX_BYTES: usize = 4096;

    /// A secret that a header can carry and nobody guesses; or what is wrong with it, without repeating it.
    pub fn new(secret: Secret) -> Result<Self, String> {
        let bytes = secret.bytes();
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes.len()) {
            let (min, max) = (Self::MIN_BYTES, Self::MAX_BYTES);
            return Err(format!(
                "holds {} bytes, allowed are {min} to {max}",
                bytes.len()
            ));
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err("holds blanks or non-ASCII bytes, which no HTTP header can carry".into());
        }
        Ok(Self(secret))
    }

    /// Does this value of `Authorization` bring it, as `Bearer` and the token?
    pub fn is_in(&self, authorization: Option<&[u8]>) -> bool {
        let token = authorization.and_then(|value| {
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        token.is_some_and(|token| verify_slices_are_equal(token, self.0.bytes()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_enough_and_one_plain_line() {
        let token = |text: &[u8]| Token::new(Secret::new(text.to_vec()));
        assert!(token(b"0123456789abcdef\r\n").is_ok());
        for wrong in [
            &b"0123456789abcde\n"[..],
            b"",
            b"0123456789 abcdef",
            &[b'a'; 5000],
        ] {
            assert!(token(wrong).is_err());
        }
        let error = token(b"geheim").unwrap_err();
        assert!(!error.contains("geheim"), "{error}");
    }

    #[test]
    fn a_bearer_of_the_token_is_known() {
        let token = Token::new(Secret::new(b"0123456789abcdef".to_vec())).unwrap();
        for given in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef"] {
            assert!(token.is_in(Some(given.as_bytes())), "{given}");
        }
        assert!(!token.is_in(None));
        for given in [
            "",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeg",
        ] {
            assert!(!token.is_in(Some(given.as_bytes())), "{given}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }
}
