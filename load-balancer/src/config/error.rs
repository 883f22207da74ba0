//! What is wrong with the configuration, where, and what to do about it.

use std::{
    collections::HashMap,
    fmt::Display,
    hash::Hash,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::Spanned;

/// Why the balancer does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}; name the file with --config", path.display())]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    /// The file's content is wrong.
    #[error("{}, line {line}, column {column}: {problem}", path.display())]
    Content {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
    /// A flag is wrong.
    #[error("{flag}: {problem}")]
    Flag {
        flag: &'static str,
        problem: &'static str,
    },
    /// A secret is missing or too short.
    #[error(
        "{setting}: {problem}; it needs at least {min_bytes} bytes in a file or in {variable}, \
         for example: head -c 48 /dev/urandom | base64 -w0 > FILE"
    )]
    Secret {
        setting: &'static str,
        problem: String,
        variable: &'static str,
        min_bytes: usize,
    },
}

/// The file's name and text, to turn a byte offset into a place that an editor can jump to.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error about this part of the text.
    pub(super) fn wrong(&self, span: &Range<usize>, problem: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Content {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: problem.into(),
        }
    }

    /// No value may stand twice; the second one is reported.
    pub(super) fn distinct<'v, T>(
        &self,
        field: &str,
        values: impl Iterator<Item = &'v Spanned<T>>,
    ) -> Result<(), ConfigError>
    where
        T: Eq + Hash + Display + 'v,
    {
        let mut seen: HashMap<&T, usize> = HashMap::new();
        for (index, value) in values.enumerate() {
            if let Some(first) = seen.insert(value.get_ref(), index) {
                let problem = format!(
                    "{field} {} stands twice, first in entry {}",
                    value.get_ref(),
                    first + 1
                );
                return Err(self.wrong(&value.span(), problem));
            }
        }
        Ok(())
    }
}
