//! What an operator may set: each strategy declares its settings, the program that serves it reads them, from flags,
//! environment and files alike, and hands the values back.
//!
//! A setting is declared once, beside the strategy that it belongs to, with its range and its text. Two strategies may
//! share one. Which settings go together is for the strategy to judge ([`Kind::check`](crate::Kind::check)).

mod secret;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use self::secret::Secret;
use crate::Unfit;

/// One setting.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// The flag without its dashes; names the setting everywhere.
    pub flag: &'static str,
    /// Stands for the value in help texts.
    pub value_name: &'static str,
    /// What it does, for people.
    pub doc: &'static str,
    /// What values it takes.
    pub takes: Takes,
}

/// What values a setting takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    /// A whole number.
    Number {
        /// When it is not set.
        default: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// Text that may hold a secret, so it is never printed.
    Text,
    /// The path of a file that holds a secret.
    SecretFile {
        /// The secret in a few words, to begin a sentence with.
        what: &'static str,
    },
}

impl Setting {
    /// The environment variable with the same meaning as the flag.
    pub fn variable(&self) -> String {
        format!("SHOP_{}", self.flag.to_uppercase().replace('-', "_"))
    }

    /// The environment variable that holds the secret itself, where the setting is the path of its file.
    pub fn content_variable(&self) -> String {
        let variable = self.variable();
        let content = variable.strip_suffix("_FILE");
        content.map_or(variable.clone(), str::to_owned)
    }
}

/// A session ends when nothing was heard of its client for this long.
pub static IDLE: Setting = Setting {
    flag: "session-idle-s",
    value_name: "S",
    doc: "A session ends when nothing was heard of its client for this long.",
    takes: Takes::Number {
        default: 1_800,
        least: 1,
        most: 31_536_000,
    },
};

/// A session ends this long after its login.
pub static ABSOLUTE: Setting = Setting {
    flag: "session-absolute-s",
    value_name: "S",
    doc: "A session ends this long after its login, whatever its client does.",
    takes: Takes::Number {
        default: 43_200,
        least: 1,
        most: 31_536_000,
    },
};

/// The bound on a cart.
pub static MAX_CART_LINES: Setting = Setting {
    flag: "max-cart-lines",
    value_name: "N",
    doc: "Lines that a cart holds at most; a line beyond gets 409.",
    takes: Takes::Number {
        default: 200,
        least: 1,
        most: 10_000,
    },
};

/// What was set, by the flags of the settings.
#[derive(Clone, Debug, Default)]
pub struct Values {
    numbers: HashMap<&'static str, u64>,
    texts: HashMap<&'static str, Text>,
    secrets: HashMap<&'static str, Kept>,
}

/// A text, and where it stood.
#[derive(Clone, Debug)]
pub struct Text {
    /// May hold a secret.
    pub value: Secret,
    /// Every user of the machine can read it there.
    pub on_command_line: bool,
}

/// A secret, and the file that it was read from and can be read from again; none where the environment held it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// As it was at the start.
    pub secret: Secret,
    /// Where it is kept.
    pub path: Option<PathBuf>,
}

impl Values {
    /// Sets a number. The caller has checked its range.
    #[must_use]
    pub fn with_number(mut self, setting: &Setting, number: u64) -> Self {
        self.numbers.insert(setting.flag, number);
        self
    }

    /// Sets a text.
    #[must_use]
    pub fn with_text(mut self, setting: &Setting, text: Text) -> Self {
        self.texts.insert(setting.flag, text);
        self
    }

    /// Sets a secret.
    #[must_use]
    pub fn with_secret(mut self, setting: &Setting, kept: Kept) -> Self {
        self.secrets.insert(setting.flag, kept);
        self
    }

    /// The number that was set, or the default.
    pub fn number(&self, setting: &Setting) -> u64 {
        let default = match setting.takes {
            Takes::Number { default, .. } => default,
            Takes::Text | Takes::SecretFile { .. } => 0,
        };
        self.numbers.get(setting.flag).copied().unwrap_or(default)
    }

    /// A number of things that are kept in memory.
    pub fn count(&self, setting: &Setting) -> usize {
        usize::try_from(self.number(setting)).unwrap_or(usize::MAX)
    }

    /// A number of seconds.
    pub fn seconds(&self, setting: &Setting) -> Duration {
        Duration::from_secs(self.number(setting))
    }

    /// The text that was set.
    pub fn text(&self, setting: &Setting) -> Option<&Text> {
        self.texts.get(setting.flag)
    }

    /// The secret that was set.
    pub fn secret(&self, setting: &Setting) -> Option<&Kept> {
        self.secrets.get(setting.flag)
    }

    /// That the idle expiry can matter: it comes before the absolute one.
    pub fn check_expiry(&self) -> Result<(), Unfit> {
        let (idle, absolute) = (self.number(&IDLE), self.number(&ABSOLUTE));
        if idle <= absolute {
            return Ok(());
        }
        Err(Unfit(format!(
            "--{} {idle} is longer than --{} {absolute}, so it could never matter: lower the first or raise the second",
            IDLE.flag, ABSOLUTE.flag
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_its_default() {
        let values = Values::default();
        assert_eq!(values.seconds(&IDLE), Duration::from_mins(30));
        let values = values.with_number(&IDLE, 7);
        assert_eq!(values.number(&IDLE), 7);
        assert_eq!(values.count(&MAX_CART_LINES), 200);
    }

    #[test]
    fn an_idle_expiry_that_cannot_matter_is_told() {
        let values = Values::default()
            .with_number(&IDLE, 9)
            .with_number(&ABSOLUTE, 8);
        let why = values.check_expiry().unwrap_err().to_string();
        assert!(why.contains("--session-absolute-s"), "{why}");
        assert_eq!(Values::default().check_expiry(), Ok(()));
    }
}
