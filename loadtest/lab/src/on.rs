//! `--on`: where the cluster of a run is.

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr};

use crate::exit::Failure;
use cluster::Deployment;

/// What may stand behind `--on`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum On {
    /// Processes of this machine, brought up for each run.
    #[default]
    Loopback,
    /// Containers of docker-compose; the lab goes in and runs there.
    Compose,
    /// A cluster that this file describes, reached from where the lab is.
    Deployed(PathBuf),
}

impl FromStr for On {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "loopback" => Self::Loopback,
            "compose" => Self::Compose,
            file => Self::Deployed(file.into()),
        })
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Compose => f.write_str("compose"),
            Self::Deployed(file) => file.display().fmt(f),
        }
    }
}

impl On {
    /// The deployment that runs join; `None` where each run brings up its own cluster.
    pub(crate) fn deployment(&self) -> Result<Option<Deployment>, Failure> {
        match self {
            Self::Loopback | Self::Compose => Ok(None),
            Self::Deployed(file) => Ok(Some(Deployment::read(file)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_as_it_was_typed() {
        for text in ["loopback", "compose", "deploy/compose/cluster.toml"] {
            assert_eq!(text.parse::<On>().unwrap().to_string(), text);
        }
    }
}
