//! Where a scenario's output goes: a folder named after the time, and a link to the latest one.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

const REPORTS: &str = "reports";
const LATEST: &str = "latest";

/// A folder for histories, results and reports.
pub(super) struct Folder {
    path: PathBuf,
    /// Only folders that the lab named itself get the link.
    linked: bool,
}

impl Folder {
    /// `out` as given, which may exist; or `reports/<time>`, which is new.
    pub(super) fn create(out: Option<&Path>) -> Result<Self, Failure> {
        let folder = match out {
            Some(out) => Self {
                path: out.to_path_buf(),
                linked: false,
            },
            None => Self {
                path: unused(Path::new(REPORTS)),
                linked: true,
            },
        };
        fs::create_dir_all(&folder.path).map_err(|error| folder.failed("create", &error))?;
        // Histories are appended to, and what an earlier run left would be taken for this one's.
        for entry in fs::read_dir(&folder.path).map_err(|error| folder.failed("read", &error))? {
            let path = entry.map_err(|error| folder.failed("read", &error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("history-") && name.contains(".jsonl") {
                fs::remove_file(&path).map_err(|error| folder.failed("clear", &error))?;
            }
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The history of one run; `nodes` where the scenario has several sizes of cluster.
    pub(super) fn history(&self, strategy: &str, nodes: Option<usize>, repeat: u32) -> PathBuf {
        let size = nodes.map_or_else(String::new, |nodes| format!("-{nodes}-nodes"));
        self.path
            .join(format!("history-{strategy}{size}-{repeat}.jsonl"))
    }

    /// Makes `reports/latest` point here. Readers see the old link or the new one, never none.
    pub(super) fn point_latest_here(&self) -> Result<(), Failure> {
        if self.linked {
            link(&self.path).map_err(|error| self.failed("link", &error))?;
        }
        Ok(())
    }

    fn failed(&self, doing: &str, error: &io::Error) -> Failure {
        let path = self.path.display();
        Failure::new(
            Exit::Usage,
            format!("cannot {doing} the folder {path}: {error}; --out takes another one"),
        )
    }
}

/// A name after the present second; with a number behind it, should the second be taken.
fn unused(parent: &Path) -> PathBuf {
    // No colons: they need quoting in shells and are not allowed everywhere.
    let time = chrono::Utc::now().format("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut path = parent.join(&time);
    for number in 2.. {
        if !path.exists() {
            break;
        }
        path = parent.join(format!("{time}-{number}"));
    }
    path
}

fn link(folder: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    let fresh = parent.join(format!(".{LATEST}-{}", std::process::id()));
    symlink(name, &fresh)?;
    fs::rename(&fresh, parent.join(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_points_at_the_last_folder() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["first", "second"] {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            link(&folder).unwrap();
            let latest = fs::read_link(parent.path().join(LATEST)).unwrap();
            assert_eq!(
                latest,
                Path::new(name),
                "relative, so that the folder can be moved"
            );
        }
        assert_eq!(
            fs::read_dir(parent.path()).unwrap().count(),
            3,
            "nothing else is left"
        );
    }

    #[test]
    fn two_folders_in_one_second_get_different_names() {
        let parent = tempfile::tempdir().unwrap();
        let first = unused(parent.path());
        fs::create_dir(&first).unwrap();
        assert_ne!(unused(parent.path()), first);
    }

    #[test]
    fn a_given_folder_is_cleared_of_old_histories_only() {
        let out = tempfile::tempdir().unwrap();
        for name in ["history-jwt-1.jsonl", "history-jwt-2.jsonl.zst", "notes.md"] {
            fs::write(out.path().join(name), "x").unwrap();
        }
        let folder = Folder::create(Some(out.path())).unwrap();
        assert!(!folder.history("jwt", None, 1).exists());
        assert!(!out.path().join("history-jwt-2.jsonl.zst").exists());
        assert!(out.path().join("notes.md").exists());
    }
}
