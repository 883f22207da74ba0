//! A folder to run `lab` in, for the tests of `lab run`.

#![allow(dead_code)] // Each test binary uses what it needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use evidence::results::Results;
use tempfile::TempDir;

/// A folder with a scenario, for the temporary files, and for the output.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn with(scenario: &str) -> Self {
        for program in ["shop", "load-balancer"] {
            let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(program);
            let hint = "run `cargo build --workspace --bins` first";
            assert!(path.exists(), "{} is missing: {hint}", path.display());
        }
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("short.toml"), scenario).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { folder }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .args(["run", "short.toml"])
            .args(args)
            .current_dir(self.folder.path())
            .env("TMPDIR", self.temporary())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// Processes and files that a run left.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let marker = self.temporary().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let command = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            command.contains(&marker).then_some(command)
        });
        let files = fs::read_dir(self.temporary())
            .unwrap()
            .map(|entry| entry.unwrap().path().display().to_string());
        processes.chain(files).collect()
    }
}

pub(crate) fn results(folder: &Path) -> Results {
    let text = fs::read_to_string(folder.join("results.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// All that it said.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
