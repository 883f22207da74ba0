//! The store: a real Redis on a private port, with a folder of its own and persistence on.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use agent::{Agent, ProcessSpec, Ready, resp};

use super::{ClusterError, Process, READY_WITHIN, files, secrets};

/// What the store says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// Memory of all its data, in its own count (`used_memory`).
    pub used_memory_bytes: u64,
    /// Commands since its start (`total_commands_processed`): it starts at 0 again after a restart.
    pub commands_processed: u64,
}

/// A Redis and how to reach it.
pub(super) struct Store {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    pub(super) password: String,
}

impl Store {
    /// Writes its configuration. The password is in there, for a command line can be read by everybody.
    pub(super) fn prepare(
        program: PathBuf,
        address: SocketAddr,
        dir: &Path,
    ) -> Result<Self, ClusterError> {
        let password = secrets::random(32)?;
        let data = dir.join("redis");
        fs::create_dir(&data).map_err(|source| ClusterError::File {
            path: data.clone(),
            source,
        })?;
        // What was acknowledged nearly always survives a kill: the log is written before the answer, unless an fsync is
        // under way; then up to two seconds later. A crash of the machine can cost as much. Snapshots on top would only add forks in the middle of a measurement.
        let config = format!(
            "bind {ip}\nport {port}\nrequirepass {password}\ndir \"{data}\"\n\
             appendonly yes\nappendfsync everysec\nsave \"\"\n",
            ip = address.ip(),
            port = address.port(),
            data = data.display(),
        );
        let config = files::write(dir.join("redis.conf"), &config)?;
        let agent = Agent::new(ProcessSpec {
            name: "redis".into(),
            program,
            args: vec![config.display().to_string()],
            env: vec![],
            log: Some(dir.join("redis.log")),
            ready: Ready::RedisPing {
                address,
                password: Some(password.clone()),
            },
            ready_within: READY_WITHIN,
            quota: None,
        });
        Ok(Self {
            process: Process::Here(agent),
            address,
            password,
        })
    }

    /// For the nodes that reach it at `address`; with the password in it.
    pub(super) fn url(&self, address: SocketAddr) -> String {
        format!("redis://:{}@{address}", self.password)
    }

    pub(super) async fn info(&self) -> Result<StoreInfo, ClusterError> {
        let info = resp::ask(self.address, Some(&self.password), &["INFO"])
            .await
            .map_err(ClusterError::Store)?;
        parse_info(&info).map_err(ClusterError::Store)
    }
}

fn parse_info(text: &str) -> io::Result<StoreInfo> {
    let figure = |key: &str| {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(':')?
                    .trim()
                    .parse()
                    .ok()
            })
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("there is no figure for {key}"),
                )
            })
    };
    Ok(StoreInfo {
        used_memory_bytes: figure("used_memory")?,
        commands_processed: figure("total_commands_processed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "# Memory\r\nused_memory_human:1M\r\nused_memory:1048576\r\n# Stats\r\ntotal_commands_processed:7\r\n";
        let info = parse_info(text).unwrap();
        assert_eq!(
            (info.used_memory_bytes, info.commands_processed),
            (1_048_576, 7)
        );
        assert!(parse_info("used_memory:1\r\n").is_err());
    }
}
