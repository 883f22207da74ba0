//! Where a scenario's output goes: a folder named after the time, and a link to the latest one.
//!
//! A folder that is given with `--out` may hold the evidence of an earlier run. That stays until the new run has some: what is
//! new is written into a folder of its own within, and takes the place of the old when it is complete.
//!
//! ```text
//! out/                            out/                              out/
//!   results.json  (old)    ─▶       results.json  (old)      ─▶       results.json  (new)
//!   history-jwt-1.jsonl (old)       history-jwt-1.jsonl (old)         history-jwt-1.jsonl (new)
//!   notes.md                        notes.md                          notes.md
//!                                   unfinished-Xk2v9Q/
//!                                     history-jwt-1.jsonl (new)
//! ```
//! The change is a handful of renames. Whoever is killed in the middle of it leaves the old files in a folder `replaced-…`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use cluster::leftovers;

const REPORTS: &str = "reports";
const LATEST: &str = "latest";
/// Folders of what is being written begin with it.
const UNFINISHED: &str = "unfinished-";
/// Folders of what is being replaced.
const REPLACED: &str = "replaced-";

/// A folder for histories, results and reports.
pub(super) struct Folder {
    /// Where they are in the end.
    path: PathBuf,
    /// Where they are written: the same, or a folder in it.
    work: PathBuf,
    /// Only folders that the lab named itself get the link.
    linked: bool,
}

impl Folder {
    /// `out` as given, which may exist; or `reports/<time>`, which is new.
    pub(super) fn create(out: Option<&Path>) -> Result<Self, Failure> {
        let path = match out {
            Some(out) => out.to_path_buf(),
            None => unused(Path::new(REPORTS))
                .map_err(|error| failed("create", Path::new(REPORTS), &error))?,
        };
        let mut folder = Self {
            work: path.clone(),
            path,
            linked: out.is_none(),
        };
        folder
            .prepare()
            .map_err(|error| failed("use", &folder.path, &error))?;
        Ok(folder)
    }

    fn prepare(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        if evidence(&self.path)?.is_empty() {
            return Ok(());
        }
        self.work = self.within(UNFINISHED)?;
        Ok(())
    }

    /// Where the evidence is in the end.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is until [`publish`](Self::publish).
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// The history of one run; `nodes` where the scenario has several sizes of cluster.
    pub(super) fn history(&self, strategy: &str, nodes: Option<usize>, repeat: u32) -> PathBuf {
        let size = nodes.map_or_else(String::new, |nodes| format!("-{nodes}-nodes"));
        self.work
            .join(format!("history-{strategy}{size}-{repeat}.jsonl"))
    }

    /// Puts what was written in the place of what was there before, and makes `reports/latest` point here.
    pub(super) fn publish(&self) -> Result<(), Failure> {
        if self.work != self.path {
            self.replace().map_err(|error| {
                Failure::new(
                    Exit::Invalid,
                    format!(
                        "cannot put the new evidence in the place of the old in {}: {error}; the new is in {}",
                        self.path.display(),
                        self.work.display()
                    ),
                )
            })?;
        }
        if self.linked {
            link(&self.path).map_err(|error| failed("link", &self.path, &error))?;
        }
        Ok(())
    }

    fn replace(&self) -> io::Result<()> {
        let fresh = evidence(&self.work)?;
        for file in &fresh {
            // In the file before its name is: a machine that loses power has one of the two.
            File::open(file)?.sync_all()?;
        }
        let replaced = self.within(REPLACED)?;
        move_all(&evidence(&self.path)?, &replaced)?;
        move_all(&fresh, &self.path)?;
        fs::remove_dir_all(&self.work)?;
        fs::remove_dir_all(&replaced)?;
        for prefix in [UNFINISHED, REPLACED] {
            leftovers::sweep(&self.path, prefix);
        }
        Ok(())
    }

    /// The end, with reports or without. Removes what nothing was written into; where all that was recorded is. Evidence of an
    /// earlier run stays if nothing took its place.
    pub(super) fn close(self) -> Option<PathBuf> {
        let is_published = self.work != self.path && !self.work.exists();
        let place = if is_published { self.path } else { self.work };
        if evidence(&place).is_ok_and(|files| !files.is_empty()) {
            return Some(place);
        }
        let _ = fs::remove_file(place.join(leftovers::MARK));
        // Only an empty one goes.
        let _ = fs::remove_dir(&place);
        None
    }

    /// A new folder in ours, which the next lab may remove when this one is gone.
    fn within(&self, prefix: &str) -> io::Result<PathBuf> {
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&self.path)?;
        leftovers::mark(folder.path())?;
        Ok(folder.keep())
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::new(
        Exit::Usage,
        format!("cannot {doing} the folder {path}: {error}; --out takes another one"),
    )
}

/// The files that a run writes.
fn evidence(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_history = name.starts_with("history-") && name.contains(".jsonl");
        if is_history || report::FILES.iter().any(|(file, _)| *file == name) {
            files.push(path);
        }
    }
    Ok(files)
}

fn move_all(files: &[PathBuf], to: &Path) -> io::Result<()> {
    for file in files {
        fs::rename(file, to.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// A new folder, named after the present second; with a number behind it, should the second be taken.
fn unused(parent: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    // No colons: they need quoting in shells and are not allowed everywhere.
    let time = chrono::Utc::now().format("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut path = parent.join(&time);
    for number in 2.. {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = parent.join(format!("{time}-{number}"));
            }
            created => return created.map(|()| path),
        }
    }
    // Never reached: a folder has not that many entries.
    Err(io::ErrorKind::AlreadyExists.into())
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
        let first = unused(parent.path()).unwrap();
        let second = unused(parent.path()).unwrap();
        assert_ne!(first, second);
        assert!(first.is_dir() && second.is_dir());
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn old_evidence_stays_until_there_is_new() {
        let out = tempfile::tempdir().unwrap();
        let out = out.path();
        for name in [
            "history-jwt-1.jsonl",
            "history-jwt-2.jsonl.zst",
            "results.json",
            "notes.md",
        ] {
            fs::write(out.join(name), "old").unwrap();
        }
        let before = names(out);
        let folder = Folder::create(Some(out)).unwrap();
        assert!(folder.close().is_none());
        assert_eq!(names(out), before);

        let folder = Folder::create(Some(out)).unwrap();
        fs::write(folder.history("jwt", None, 1), "new").unwrap();
        fs::write(folder.work().join("report.md"), "new").unwrap();
        assert_eq!(fs::read(out.join("history-jwt-1.jsonl")).unwrap(), b"old");

        folder.publish().unwrap();
        assert_eq!(names(out), ["history-jwt-1.jsonl", "notes.md", "report.md"]);
        assert_eq!(fs::read(out.join("history-jwt-1.jsonl")).unwrap(), b"new");
        assert_eq!(folder.close().as_deref(), Some(out));
    }

    #[test]
    fn a_new_folder_is_written_into_and_goes_when_nothing_was() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("deep/out");
        let folder = Folder::create(Some(&out)).unwrap();
        assert_eq!(folder.work(), out);
        assert!(folder.close().is_none());
        assert!(!out.exists());

        let folder = Folder::create(Some(&out)).unwrap();
        fs::write(folder.history("jwt", None, 1), "new").unwrap();
        folder.publish().unwrap();
        assert_eq!(names(&out), ["history-jwt-1.jsonl"]);
    }
}
