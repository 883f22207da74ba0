//! A limit of CPU time for a process and all that it forks: a cgroup of its own for each life.
//!
//! Both generations of the kernel's interface, because both are out there:
//!
//! | | v1 | v2 |
//! | --- | --- | --- |
//! | limit | `cpu.cfs_period_us`, `cpu.cfs_quota_us` | `cpu.max` |
//! | throttling in `cpu.stat` | `throttled_time`, nanoseconds | `throttled_usec` |
//! | condition | the right to make a folder | that, and `cpu` in `cgroup.subtree_control` of the folder above |
//!
//! What `/proc` says about mounts and groups is read by pure functions. A supervisor that was killed cannot remove its
//! groups; the next one that makes a group beside them does.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Access, access},
    process::{Pid, Signal, kill_process},
};
use serde::{Deserialize, Serialize};

/// The start of the name of every group; the supervisor's process id and a number follow.
const PREFIX: &str = "session-lab-";

/// The kernel gives no less than this in one period.
const SMALLEST_SHARE_US: u64 = 1_000;

/// Short, so that a process that used up its share does not stand still for long …
const PERIOD_US: u64 = 20_000;

/// … and longer where the share of the short one would be less than the kernel gives.
const LONG_PERIOD_US: u64 = 50_000;

/// The kernel would accept far more; nobody means it.
const MOST_CORES: f64 = 1_024.0;

/// For killed processes to leave a group.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Why a process cannot be limited.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// Not a number of cores that the kernel can give.
    #[error("a quota is a number of cores from 0.02 to 1024")]
    OutOfRange,
    /// No mounted cgroup has it.
    #[error(
        "no cgroup with the cpu controller is mounted here; run it on a machine that has one, or without a quota"
    )]
    NoController,
    /// cgroup v2 hands a controller down only where it was told to.
    #[error(
        "no folder from {} upwards hands the cpu controller down; as root, `echo +cpu > {}/cgroup.subtree_control` \
         (with systemd: `systemctl set-property … CPUAccounting=yes`), or run it without a quota",
        folder.display(), top.display()
    )]
    NotHandedDown {
        /// Our own group.
        folder: PathBuf,
        /// The highest one that we can see.
        top: PathBuf,
    },
    /// A group could not be made, or not be set up.
    #[error(
        "{}: {source}; this needs root, or a cgroup that was delegated to this user and is not mounted read-only: \
         get one, or run it without a quota",
        path.display()
    )]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// How often and for how long a process had to wait because its share was used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    /// Periods in which that happened.
    pub periods: u64,
    /// The time that it waited; every core counts.
    pub time_us: u64,
}

impl Throttled {
    /// Both together: two lives of one process.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            periods: self.periods + other.periods,
            time_us: self.time_us + other.time_us,
        }
    }
}

/// The generation of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Where groups can be made.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    version: Version,
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// Our own group: `mount` or below it.
    own: PathBuf,
}

/// A group with a quota. It is removed, with whoever is still in it, when it is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    version: Version,
    folder: PathBuf,
}

impl Cgroup {
    /// Makes an empty group that may use so many cores.
    pub(crate) fn create(cores: f64) -> Result<Self, QuotaError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| QuotaError::Refused {
                path: path.into(),
                source,
            })
        };
        let place = find(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
            .ok_or(QuotaError::NoController)?;
        place.create(cores)
    }

    /// The file that a process writes `0` to in order to join; opened here, for a child between fork and exec may not
    /// do much more than write.
    pub(crate) fn door(&self) -> Result<File, QuotaError> {
        let path = self.folder.join("cgroup.procs");
        let door = OpenOptions::new().append(true).create(true).open(&path);
        door.map_err(|source| QuotaError::Refused { path, source })
    }

    /// Throttling up to now.
    pub(crate) fn throttled(&self) -> io::Result<Throttled> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        Ok(parse_stat(self.version, &text))
    }

    /// Removes the group if nobody is in it.
    pub(crate) fn remove_if_empty(&self) -> bool {
        match fs::remove_dir(&self.folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn kill_all(&self) {
        let members = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTY_WITHIN;
        while !self.remove_if_empty() {
            if Instant::now() > deadline {
                tracing::warn!(folder = %self.folder.display(), "cannot remove this cgroup");
                return;
            }
            self.kill_all();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Place {
    fn create(&self, cores: f64) -> Result<Cgroup, QuotaError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let settings = settings(self.version, cores)?;
        let parent = self.parent()?;
        remove_leftovers(&parent);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        let refused = |path: &Path| {
            let path = path.to_owned();
            |source| QuotaError::Refused { path, source }
        };
        fs::create_dir(&folder).map_err(refused(&folder))?;
        // From here on it is removed when something goes wrong.
        let group = Cgroup {
            version: self.version,
            folder,
        };
        for (file, value) in settings {
            let path = group.folder.join(file);
            fs::write(&path, value).map_err(refused(&path))?;
        }
        Ok(group)
    }

    /// The folder to make the group in: v1 knows no conditions. In v2 the nearest one upwards that hands the controller
    /// down, for a group that processes live in, as we do in ours, mostly cannot. Moving a process there needs the right
    /// to write its list of processes, too.
    fn parent(&self) -> Result<PathBuf, QuotaError> {
        if self.version == Version::V1 {
            return Ok(self.own.clone());
        }
        let upwards = || {
            let ours = |folder: &&Path| folder.starts_with(&self.mount);
            self.own.ancestors().take_while(ours)
        };
        let hands_down = |folder: &Path| {
            fs::read_to_string(folder.join("cgroup.subtree_control"))
                .is_ok_and(|text| text.split_ascii_whitespace().any(|word| word == "cpu"))
        };
        let writable = |folder: &Path| {
            access(folder.join("cgroup.procs"), Access::WRITE_OK)
                .and_then(|()| access(folder, Access::WRITE_OK))
                .map_err(io::Error::from)
        };
        let mut refused = None;
        for folder in upwards().filter(|folder| hands_down(folder)) {
            match writable(folder) {
                Ok(()) => return Ok(folder.to_owned()),
                Err(source) => {
                    refused.get_or_insert(QuotaError::Refused {
                        path: folder.to_owned(),
                        source,
                    });
                }
            }
        }
        Err(refused.unwrap_or_else(|| QuotaError::NotHandedDown {
            folder: self.own.clone(),
            top: self.mount.clone(),
        }))
    }
}

/// Finds the hierarchy with the cpu controller in `/proc/self/mountinfo`, and our place in it in `/proc/self/cgroup`.
/// One of v1 goes first: where it has the controller, v2 has not.
fn find(mountinfo: &str, cgroups: &str) -> Option<Place> {
    // `36 35 0:30 /root /mount/point options … - type source super-options`
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, mount) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let has_cpu = options.split(',').any(|option| option == "cpu");
        let version = match kind {
            "cgroup" if has_cpu => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        Some((version, root, mount))
    });
    let (version, root, mount) = mounts.min_by_key(|(version, ..)| *version == Version::V2)?;
    // `4:cpu,cpuacct:/path`, and `0::/path` for v2.
    let path = cgroups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let meant = match version {
            Version::V1 => controllers.split(',').any(|controller| controller == "cpu"),
            Version::V2 => number == "0" && controllers.is_empty(),
        };
        meant.then_some(path)
    })?;
    // Inside a container the mount may show only a part of the hierarchy, and the path be told from its top.
    let below = Path::new(path).strip_prefix(root).ok();
    let mount = PathBuf::from(mount);
    let own = below.map_or_else(|| mount.clone(), |below| mount.join(below));
    // `join("")` would leave a slash at the end.
    let own = own.components().collect();
    Some(Place {
        version,
        mount,
        own,
    })
}

/// What to write into which file.
fn settings(version: Version, cores: f64) -> Result<Vec<(&'static str, String)>, QuotaError> {
    // Whole microseconds of a number that was just checked.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = |period: u64| (cores * period as f64).round() as u64;
    if !(0.0..=MOST_CORES).contains(&cores) || share(LONG_PERIOD_US) < SMALLEST_SHARE_US {
        return Err(QuotaError::OutOfRange);
    }
    let period = if share(PERIOD_US) < SMALLEST_SHARE_US {
        LONG_PERIOD_US
    } else {
        PERIOD_US
    };
    Ok(match version {
        Version::V1 => vec![
            ("cpu.cfs_period_us", period.to_string()),
            ("cpu.cfs_quota_us", share(period).to_string()),
        ],
        Version::V2 => vec![("cpu.max", format!("{} {period}", share(period)))],
    })
}

fn parse_stat(version: Version, text: &str) -> Throttled {
    let value = |key: &str| {
        let mut words = text.lines().filter_map(|line| line.split_once(' '));
        words.find_map(|(name, value)| (name == key).then(|| value.parse::<u64>().ok())?)
    };
    Throttled {
        periods: value("nr_throttled").unwrap_or(0),
        time_us: match version {
            Version::V1 => value("throttled_time").unwrap_or(0) / 1_000,
            Version::V2 => value("throttled_usec").unwrap_or(0),
        },
    }
}

/// Removes groups whose supervisor is gone. Only empty ones can be removed, so this does no harm to anybody.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let supervisor = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if supervisor.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
