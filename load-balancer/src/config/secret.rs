//! The two secrets: where they come from, how long they must be, and that no log ever shows them.

use std::{fmt, path::Path};

use super::error::ConfigError;

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// The bytes themselves.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A secret that is known already.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One of the two secrets: its setting, its variable, and how long it must be.
pub(super) struct Kind {
    setting: &'static str,
    variable: &'static str,
    min_bytes: usize,
}

/// Signs the affinity cookie.
pub(super) const AFFINITY_KEY: Kind = Kind {
    setting: "affinity_key_file",
    variable: "LOAD_BALANCER_AFFINITY_KEY",
    min_bytes: 32,
};

/// Opens the admin port.
pub(super) const ADMIN_TOKEN: Kind = Kind {
    setting: "admin_token_file",
    variable: "LOAD_BALANCER_ADMIN_TOKEN",
    min_bytes: 16,
};

impl Kind {
    /// Reads the secret from `file`, or from the environment when no file is named. A file wins, because
    /// it was asked for in so many words. The newline that editors leave at the end is not part of it.
    pub(super) fn read(
        &self,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Secret, ConfigError> {
        let bytes = match (file, variable(self.variable)) {
            (Some(path), _) => std::fs::read(path)
                .map_err(|cause| self.error(format!("cannot read {}: {cause}", path.display())))?,
            (None, Some(value)) => value.into_bytes(),
            (None, None) => return Err(self.error("is missing".to_owned())),
        };
        let trimmed = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let secret = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
        if secret.len() < self.min_bytes {
            return Err(self.error(format!("holds {} bytes, that is too short", secret.len())));
        }
        Ok(Secret(secret.to_vec()))
    }

    /// An error that says what to do: the same few words help in each case.
    pub(super) fn error(&self, problem: String) -> ConfigError {
        ConfigError::Secret {
            setting: self.setting,
            problem,
            variable: self.variable,
            min_bytes: self.min_bytes,
        }
    }
}
