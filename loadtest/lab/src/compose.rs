//! Docker Compose, driven from the host: `--on compose` of `lab run` and `lab up`.
//!
//! The agents' control ports are on a network that the host has no part in. So `lab run --on compose` goes in: it starts the
//! service `loadtest`, in which the same program performs the same scenario against the cluster that is up. This module
//! only puts command lines together; which of the two Compose tools there is makes no difference to anybody else.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::exit::{Exit, Failure};
use crate::signals::Signals;

/// The file that describes the cluster, inside the load test's container.
pub(crate) const DEPLOYMENT: &str = "/etc/session-lab/cluster.toml";

const FILE: &str = "docker-compose.yml";

/// The tool that is there.
pub(crate) struct Compose {
    program: &'static str,
    first: &'static [&'static str],
    /// The folder of the Compose file.
    root: PathBuf,
    /// Variables for it.
    variables: Vec<(String, String)>,
}

impl Compose {
    /// Looks for the tool, for the Compose file in this folder or one above, and for an engine that answers.
    pub(crate) async fn find() -> Result<Self, Failure> {
        let root = root().ok_or_else(|| {
            no_cluster(format!(
                "there is no {FILE} in this folder or above it: run this from the lab's own folder"
            ))
        })?;
        for (program, first) in [("docker", &["compose"] as &[_]), ("docker-compose", &[])] {
            let tool = Self {
                program,
                first,
                root: root.clone(),
                variables: vec![],
            };
            if tool.works(&["version"]).await {
                if tool.works(&["ps", "-q"]).await {
                    return Ok(tool);
                }
                return Err(no_cluster(
                    "Docker Compose is there, but no Docker Engine answers: start it (`systemctl start docker`), or ask for \
                     the right to use it"
                        .into(),
                ));
            }
        }
        Err(no_cluster(
            "neither `docker compose` nor `docker-compose` was found: install Docker Engine with its Compose plug-in, or the \
             packages docker.io and docker-compose"
                .into(),
        ))
    }

    /// Sets a variable that the Compose file has a default for.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.variables.push((name.to_owned(), value));
    }

    /// The folder of the Compose file.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs it with the terminal as its own, until it ends.
    pub(crate) async fn run(
        &self,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<ExitStatus, Failure> {
        let status = self.command().args(args).kill_on_drop(true).status().await;
        status.map_err(|error| self.failed(&error))
    }

    /// The same, for something that puts things right when it is told to end: one Ctrl-C leaves it alone, for the terminal has
    /// told it as well. `None` after a second one.
    pub(crate) async fn run_in_order(
        &self,
        args: impl IntoIterator<Item = OsString>,
        signals: &mut Signals,
    ) -> Result<Option<ExitStatus>, Failure> {
        let mut child = self
            .command()
            .args(args)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.failed(&error))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        for is_first in [true, false] {
            tokio::select! {
                status = child.wait() => {
                    return status.map(Some).map_err(|error| self.failed(&error));
                }
                told = signals.told() => {
                    // Not from a terminal, so it has come to nobody else.
                    if let (true, Signal::TERM, Some(pid)) = (is_first, told, pid) {
                        let _ = kill_process(pid, Signal::TERM);
                    }
                }
            }
        }
        Ok(None)
    }

    /// What it prints.
    pub(crate) async fn output(&self, args: &[&str]) -> Result<String, Failure> {
        let output = self
            .command()
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await;
        let output = output.map_err(|error| self.failed(&error))?;
        if !output.status.success() {
            return Err(no_cluster(format!(
                "{} {} failed: see its message above",
                self.program,
                args.join(" ")
            )));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn works(&self, args: &[&str]) -> bool {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(self.first).current_dir(&self.root);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn failed(&self, error: &io::Error) -> Failure {
        no_cluster(format!("cannot run {}: {error}", self.program))
    }
}

fn no_cluster(message: String) -> Failure {
    Failure::new(Exit::NoCluster, message)
}

/// The nearest folder with a Compose file, from here upwards.
fn root() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    let found = here.ancestors().find(|folder| folder.join(FILE).is_file());
    found.map(Path::to_path_buf)
}
