//! What a lab that was killed (SIGKILL, power) could not clean up: its temporary folders, with secrets in them, and evidence
//! that it had not finished. Both fill disks, so the next lab removes them.
//!
//! Each folder carries a mark of its owner: the process, when it started, and in which PID namespace that number means
//! anything. A folder goes only if it is a real folder of this very user, bears such a mark of our own namespace, and the
//! process is gone. One without a mark is somebody else's, or just being made.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Names of temporary folders begin with it.
pub const PREFIX: &str = "session-lab-";
/// The file with the mark.
pub const MARK: &str = "lab.pid";

/// Writes down that `folder` is this process's.
pub fn mark(folder: &Path) -> io::Result<()> {
    let mark = Owner::this()?.to_string();
    fs::write(folder.join(MARK), mark)
}

/// Removes the folders that dead labs left in `folder` and whose names begin with `prefix`; what was removed. What cannot be removed stays: nobody waits for it.
pub fn sweep(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let (Ok(entries), Ok(this)) = (fs::read_dir(folder), Owner::this()) else {
        return Vec::new();
    };
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && is_left_over(path, &this)
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(ours)
        .filter(|path| fs::remove_dir_all(path).is_ok())
        .collect()
}

fn is_left_over(folder: &Path, this: &Owner) -> bool {
    // Not through links: the folder for temporary files is everybody's.
    let Ok(metadata) = fs::symlink_metadata(folder) else {
        return false;
    };
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || metadata.uid() != user {
        return false;
    }
    let owner = fs::read_to_string(folder.join(MARK));
    let owner = owner.ok().and_then(|mark| Owner::parse(&mark));
    owner.is_some_and(|owner| {
        owner.namespace == this.namespace && started(owner.pid) != Some(owner.started)
    })
}

/// Whose a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// In clock ticks since the machine started: numbers of processes are used again.
    started: u64,
    /// `pid:[4026531836]`
    namespace: String,
}

impl Owner {
    fn this() -> io::Result<Self> {
        let pid = std::process::id();
        let unreadable = || io::Error::other("/proc/self/stat cannot be read");
        Ok(Self {
            pid,
            started: started(pid).ok_or_else(unreadable)?,
            namespace: fs::read_link("/proc/self/ns/pid")?.display().to_string(),
        })
    }

    fn parse(mark: &str) -> Option<Self> {
        let mut words = mark.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
            namespace: words.next()?.to_owned(),
        })
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pid,
            started,
            namespace,
        } = self;
        writeln!(f, "{pid} {started} {namespace}")
    }
}

/// When a process started; `None` if there is none of this number.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold spaces and brackets, come the fields from the third on; the 22nd is the start.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn folder(parent: &Path, name: &str, owner: Option<&Owner>) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("jwt.key"), "secret").unwrap();
        if let Some(owner) = owner {
            fs::write(path.join(MARK), owner.to_string()).unwrap();
        }
        path
    }

    /// A process that has been and gone.
    fn dead() -> Owner {
        let mut child = Command::new("true").spawn().unwrap();
        let owner = Owner {
            pid: child.id(),
            started: started(child.id()).unwrap(),
            ..Owner::this().unwrap()
        };
        child.wait().unwrap();
        owner
    }

    #[test]
    fn only_folders_of_labs_that_are_gone_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        let this = Owner::this().unwrap();
        let dead = dead();
        let left = folder(parent, "session-lab-dead", Some(&dead));
        // Its number was given to somebody else: to us.
        let earlier = Owner {
            started: this.started - 1,
            ..this.clone()
        };
        let reused = folder(parent, "session-lab-reused", Some(&earlier));
        let elsewhere = Owner {
            namespace: "pid:[1]".into(),
            ..dead.clone()
        };
        folder(parent, "session-lab-elsewhere", Some(&elsewhere));
        folder(parent, "session-lab-unmarked", None);
        folder(parent, "another", Some(&dead));
        let target = tempfile::tempdir().unwrap();
        let linked = folder(target.path(), "session-lab-linked", Some(&dead));
        symlink(&linked, parent.join("session-lab-link")).unwrap();
        let alive = folder(parent, "session-lab-alive", None);
        mark(&alive).unwrap();

        let mut removed = sweep(parent, PREFIX);
        removed.sort();
        assert_eq!(removed, [left, reused]);
        assert!(alive.exists() && linked.exists());
        assert_eq!(fs::read_dir(parent).unwrap().count(), 5);
        assert_eq!(sweep(parent, PREFIX), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_mark_is_understood_again() {
        let this = Owner::this().unwrap();
        assert_eq!(Owner::parse(&this.to_string()), Some(this));
        for wrong in ["", "12", "12 x pid:[1]", "12 5"] {
            assert_eq!(Owner::parse(wrong), None, "{wrong}");
        }
    }
}
