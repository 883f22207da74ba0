//! The two secrets: where they come from and how long they must be.

use std::path::Path;

use listen::{Secret, Token};

use super::error::ConfigError;

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
    min_bytes: Token::MIN_BYTES,
};

impl Kind {
    /// Reads the secret from `file`, or from the environment when no file is named. A file wins, because
    /// it was asked for in so many words.
    pub(super) fn read(
        &self,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Secret, ConfigError> {
        let secret = match (file, variable(self.variable)) {
            (Some(path), _) => Secret::read(path)
                .map_err(|cause| self.error(format!("cannot read {}: {cause}", path.display())))?,
            (None, Some(value)) => Secret::new(value.into_bytes()),
            (None, None) => return Err(self.error("is missing".to_owned())),
        };
        let length = secret.bytes().len();
        if length < self.min_bytes {
            return Err(self.error(format!("holds {length} bytes, that is too short")));
        }
        Ok(secret)
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
