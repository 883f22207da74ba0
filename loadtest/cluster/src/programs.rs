//! Where the programs are: ours beside the running one, Redis and HAProxy in PATH.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use evidence::strategy::Table;
use tokio::{process::Command, time::timeout};

use super::{BalancerKind, ClusterError, ClusterSpec};

/// For a node's program to say what it serves.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(10);

/// The programs that a cluster consists of.
pub(super) struct Programs {
    pub(super) shop: PathBuf,
    pub(super) balancer: PathBuf,
    /// Where a strategy needs it.
    pub(super) redis: Option<PathBuf>,
}

impl Programs {
    /// Finds all, or names the first that is missing and how to get it.
    pub(super) fn find(
        spec: &ClusterSpec,
        shop: PathBuf,
        table: &Table,
    ) -> Result<Self, ClusterError> {
        let path = env::var_os("PATH").unwrap_or_default();
        let installed = |program, needed_by| {
            in_path(program, &path).ok_or(ClusterError::NotInstalled {
                program,
                package: program,
                needed_by,
            })
        };
        Ok(Self {
            shop,
            balancer: match spec.balancer {
                BalancerKind::Pingora => ours("load-balancer")?,
                BalancerKind::Haproxy => installed("haproxy", "`balancer = \"haproxy\"`")?,
            },
            redis: spec
                .has_store(table)
                .then(|| installed("redis-server", "a strategy with a store"))
                .transpose()?,
        })
    }
}

/// The node's program: the one that was given, or ours.
pub(super) fn shop(given: Option<&Path>) -> Result<PathBuf, ClusterError> {
    given.map_or_else(|| ours("shop"), |path| Ok(path.to_owned()))
}

/// Asks the node's program (ours where none is given) which strategies it serves: `shop describe`.
pub async fn describe(given: Option<&Path>) -> Result<Table, ClusterError> {
    let program = shop(given)?;
    let failed = |why: String| ClusterError::NotDescribed {
        program: program.clone(),
        why,
    };
    let mut command = Command::new(&program);
    command
        .arg("describe")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let answer = timeout(DESCRIBED_WITHIN, command.output())
        .await
        .map_err(|_| failed(format!("it did not end within {DESCRIBED_WITHIN:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr);
        let last = said.lines().last().unwrap_or("it said nothing");
        return Err(failed(format!("{}: {last}", answer.status)));
    }
    Table::parse(&String::from_utf8_lossy(&answer.stdout))
        .map_err(|error| failed(error.to_string()))
}

/// One of our programs. Cargo puts all binaries of a workspace into one folder, and test programs into `deps` below it.
pub fn ours(program: &str) -> Result<PathBuf, ClusterError> {
    let running = env::current_exe().unwrap_or_default();
    let mut folder = running.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") {
        folder = folder.parent().unwrap_or(folder);
    }
    let path = folder.join(program);
    if path.is_file() {
        Ok(path)
    } else {
        Err(ClusterError::NotBuilt {
            program: program.to_owned(),
            beside: folder.to_owned(),
        })
    }
}

fn in_path(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir_all(&first).unwrap();
        std::fs::create_dir_all(&second).unwrap();
        let path = env::join_paths([&first, &second]).unwrap();
        assert_eq!(in_path("redis-server", &path), None);
        std::fs::write(second.join("redis-server"), "").unwrap();
        assert_eq!(
            in_path("redis-server", &path),
            Some(second.join("redis-server"))
        );
    }
}
