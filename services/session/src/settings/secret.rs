//! Values that must never be seen: where they may come from, and a type that cannot print them.
//!
//! A secret comes from a file or from the environment, never from the command line, which every user of the machine
//! can read. A secret has no default: a node without one says so and does not start.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use crate::Unfit;

/// Files larger than this hold no secret; someone named the wrong file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes what was read elsewhere.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves. Every use of this is a place to look at in a review.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Reads the secret `what` from the file that `flag` named, else from the environment variable `variable`.
    /// One trailing newline of a file is not part of the secret: editors and `echo` add it.
    pub fn load(
        what: &str,
        flag: &str,
        file: Option<&Path>,
        variable: &str,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, Unfit> {
        let from_environment = environment(variable).filter(|value| !value.is_empty());
        match (file, from_environment) {
            (Some(_), Some(_)) => Err(Unfit(format!(
                "{what} comes from {flag} and from {variable}: which one counts? Give only one of them"
            ))),
            (Some(path), None) => Self::read(path)
                .map_err(|why| {
                    Unfit(format!(
                        "{what} cannot be read from {}: {why}. Check {flag}",
                        path.display()
                    ))
                })
                .and_then(|secret| {
                    if secret.0.is_empty() {
                        return Err(Unfit(format!(
                            "{what}: the file {} is empty. Check {flag}",
                            path.display()
                        )));
                    }
                    Ok(Some(secret))
                }),
            (None, Some(value)) => Ok(Some(Self(value.into_encoded_bytes()))),
            (None, None) => Ok(None),
        }
    }

    /// Reads a file of secrets. One trailing newline is not part of it.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let size_bytes = std::fs::metadata(path)?.len();
        if size_bytes > MAX_SECRET_BYTES {
            return Err(std::io::Error::other(format!(
                "{size_bytes} bytes are too many for a secret"
            )));
        }
        let mut bytes = std::fs::read(path)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&Path>, variable: Option<&str>) -> Result<Option<Secret>, Unfit> {
        let environment = |_: &str| variable.map(OsString::from);
        Secret::load(
            "the password",
            "--password-file",
            file,
            "SHOP_PASSWORD",
            environment,
        )
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn the_newline_that_an_editor_adds_is_not_part_of_it() {
        for content in [&b"open sesame"[..], b"open sesame\n", b"open sesame\r\n"] {
            let file = file(content);
            let secret = load(Some(file.path()), None).unwrap().unwrap();
            assert_eq!(secret.reveal(), b"open sesame");
        }
    }

    #[test]
    fn the_environment_serves_when_there_is_no_file() {
        let secret = load(None, Some("open sesame")).unwrap().unwrap();
        assert_eq!(secret.reveal(), b"open sesame");
        assert_eq!(load(None, Some("")).unwrap(), None);
        assert_eq!(load(None, None).unwrap(), None);
    }

    #[test]
    fn two_sources_an_empty_file_and_a_missing_file_are_refused() {
        let full = file(b"x");
        let empty = file(b"\n");
        assert!(load(Some(full.path()), Some("y")).is_err());
        assert!(load(Some(empty.path()), None).is_err());
        let why = load(Some(Path::new("/no/such/file")), None).unwrap_err();
        assert!(why.0.contains("/no/such/file") && why.0.contains("--password-file"));
    }

    #[test]
    fn it_is_never_printed() {
        assert_eq!(
            format!("{:?}", Secret::new("open sesame")),
            "Secret(11 bytes)"
        );
    }
}
