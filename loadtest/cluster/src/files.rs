//! The load balancer's configuration, in one temporary folder with everything else that the processes of a cluster read and
//! only we may.

use std::{
    fs::{OpenOptions, Permissions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::TempDir;

use super::{
    ClusterError,
    secrets::{ADMIN_TOKEN, AFFINITY_KEY},
    spec::PinRule,
};
use crate::leftovers;

/// The temporary folder.
pub(super) fn folder() -> Result<TempDir, ClusterError> {
    let parent = std::env::temp_dir();
    leftovers::sweep(&parent, leftovers::PREFIX);
    tempfile::Builder::new()
        .prefix(leftovers::PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .and_then(|folder| leftovers::mark(folder.path()).map(|()| folder))
        .map_err(|source| ClusterError::File {
            path: parent,
            source,
        })
}

/// Writes a file that only we may read.
pub(super) fn write(path: PathBuf, text: &str) -> Result<PathBuf, ClusterError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(ClusterError::File { path, source }),
    }
}

/// A node as the load balancer knows it.
#[derive(Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

/// A strategy's public address.
#[derive(Serialize)]
pub(super) struct Listener {
    pub(super) strategy: String,
    pub(super) address: SocketAddr,
    /// Whether clients are pinned to a node here.
    pub(super) affinity: bool,
    /// Who gets a pin; left out where it is `None`, for TOML knows no null.
    pub(super) pin: Option<PinRule>,
}

/// What no user of the lab gets to see of a node. `/admin/users/` is not among it, as it is by default: the lab's
/// operator revokes through the load balancer, as one user does after the other.
pub(super) const PRIVATE_PATHS: [&str; 4] = ["/metrics", "/healthz", "/readyz", "/admin/clock"];

/// The load balancer's configuration.
pub(super) struct BalancerConfig<'a> {
    pub(super) admin: SocketAddr,
    pub(super) nodes: &'a [Node],
    pub(super) listeners: &'a [Listener],
    /// More tables.
    pub(super) more: &'a str,
}

impl BalancerConfig<'_> {
    /// Writes it; the path.
    pub(super) fn write(&self, dir: &Path) -> Result<PathBuf, ClusterError> {
        #[derive(Serialize)]
        struct Settings<'a> {
            admin: SocketAddr,
            affinity_key_file: PathBuf,
            admin_token_file: PathBuf,
            private_paths: [&'static str; 4],
            nodes: List<'a>,
            listeners: &'a [Listener],
        }
        #[derive(Serialize)]
        struct List<'a> {
            list: &'a [Node],
        }
        let settings = Settings {
            admin: self.admin,
            affinity_key_file: dir.join(AFFINITY_KEY),
            admin_token_file: dir.join(ADMIN_TOKEN),
            private_paths: PRIVATE_PATHS,
            nodes: List { list: self.nodes },
            listeners: self.listeners,
        };
        let path = dir.join("load-balancer.toml");
        match toml::to_string(&settings) {
            Ok(text) => write(path, &format!("{text}\n{}", self.more)),
            // Only a path that is not UTF-8 cannot be written down.
            Err(error) => Err(ClusterError::File {
                path,
                source: std::io::Error::other(error),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn more_tables_follow_the_configuration() {
        let dir = folder().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 9001));
        let config = BalancerConfig {
            admin: address,
            nodes: &[Node {
                name: "node-1".into(),
                address,
            }],
            listeners: &[Listener {
                strategy: "sticky".into(),
                address,
                affinity: false,
                pin: Some(PinRule::Everybody),
            }],
            more: "[health]\nrise = 2\n",
        };
        let text = fs::read_to_string(config.write(dir.path()).unwrap()).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["admin"].as_str(), Some("127.0.0.1:9001"));
        assert_eq!(table["nodes"]["list"][0]["name"].as_str(), Some("node-1"));
        assert_eq!(table["listeners"][0]["strategy"].as_str(), Some("sticky"));
        assert_eq!(table["listeners"][0]["affinity"].as_bool(), Some(false));
        assert_eq!(table["private_paths"][0].as_str(), Some("/metrics"));
        assert_eq!(table["listeners"][0]["pin"].as_str(), Some("everybody"));
        assert_eq!(table["health"]["rise"].as_integer(), Some(2));
    }
}
