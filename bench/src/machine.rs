//! The machine: which cores do what, where the programs are, and what a reader must know to judge the figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::BenchError;

/// Programs that are not ours, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 5] = [
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("taskset", "util-linux"),
    ("wrk", "wrk"),
];

/// Libraries whose versions a reader wants to know.
const LIBRARIES: [&str; 9] = [
    "actix-session",
    "actix-web",
    "axum",
    "hyper",
    "pingora",
    "redis",
    "tokio",
    "tower-sessions",
    "tower-sessions-redis-store",
];

/// 10,000 idle connections have two ends, and each end is a file of its own process.
const OPEN_FILES: u64 = 20_000;

/// Which core does what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    /// The station under test has this one for itself.
    pub(crate) station: usize,
    /// Where a station with two threads runs.
    pub(crate) wide: [usize; 2],
    /// Load generator, back-ends, store.
    pub(crate) others: Vec<usize>,
}

impl Cores {
    /// Shares out what we may use. With fewer than four cores a station with two threads shares one with the others.
    fn plan(allowed: &[usize]) -> Option<Self> {
        let &[station, second, ..] = allowed else {
            return None;
        };
        let others = if allowed.len() < 4 {
            &allowed[1..]
        } else {
            &allowed[2..]
        };
        Some(Self {
            station,
            wide: [station, second],
            others: others.to_vec(),
        })
    }

    /// Threads of the load generator: half of the other cores, for back-ends and store need some, too.
    pub(crate) fn generator_threads(&self) -> usize {
        (self.others.len() / 2).clamp(1, 4)
    }

    /// Whether a station with two threads has its cores for itself.
    pub(crate) fn wide_is_alone(&self) -> bool {
        self.wide.iter().all(|core| !self.others.contains(core))
    }
}

/// The machine that the run happens on.
pub(crate) struct Machine {
    pub(crate) cores: Cores,
    programs: BTreeMap<&'static str, PathBuf>,
}

impl Machine {
    /// Looks for everything that a run needs, moves ourselves away from the stations' cores and raises the limit of
    /// open files; our children inherit both.
    pub(crate) fn prepare() -> Result<Self, BenchError> {
        let programs = PROGRAMS.iter().map(|(name, package)| {
            let path = find(name).ok_or(BenchError::Missing {
                program: name,
                package,
            })?;
            Ok((*name, path))
        });
        let programs = programs.collect::<Result<_, BenchError>>()?;
        let set = sched_getaffinity(None).map_err(|error| BenchError::system("CPU mask", error))?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&core| set.is_set(core))
            .collect();
        let cores = Cores::plan(&allowed).ok_or(BenchError::OneCore)?;
        let mut ours = CpuSet::new();
        cores.others.iter().for_each(|&core| ours.set(core));
        sched_setaffinity(None, &ours).map_err(|error| BenchError::system("CPU mask", error))?;
        raise_open_files()?;
        Ok(Self { cores, programs })
    }

    /// Where a program is.
    pub(crate) fn program(&self, name: &'static str) -> PathBuf {
        self.programs
            .get(name)
            .cloned()
            .unwrap_or_else(|| PathBuf::from(name))
    }
}

/// One of our own programs: they are built into the same folder.
pub(crate) fn own_program(name: &'static str) -> Result<PathBuf, BenchError> {
    let us = std::env::current_exe().map_err(|error| BenchError::system("own path", error))?;
    program_in(us.parent().unwrap_or(Path::new(".")), name)
}

/// One of our programs in the folder of a build.
pub(crate) fn program_in(folder: &Path, name: &'static str) -> Result<PathBuf, BenchError> {
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(BenchError::NotBuilt {
            name,
            folder: folder.to_owned(),
        })
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in folders that only root searches.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn raise_open_files() -> Result<(), BenchError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= OPEN_FILES) {
        return Ok(());
    }
    let wanted = Rlimit {
        current: Some(OPEN_FILES),
        maximum: maximum.map(|maximum| maximum.max(OPEN_FILES)),
    };
    setrlimit(Resource::Nofile, wanted)
        .map_err(|error| BenchError::system("raise the limit of open files to 20,000", error))
}

/// What is written above the figures.
pub(crate) struct Environment {
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) git: String,
    pub(crate) rustc: String,
    /// Name and version, in the order of the alphabet.
    pub(crate) programs: Vec<(&'static str, String)>,
    /// Name and version, in the order of the alphabet.
    pub(crate) libraries: Vec<(&'static str, String)>,
}

impl Environment {
    /// Looks around.
    pub(crate) fn read(machine: &Machine) -> Self {
        let unknown = || "unknown".to_owned();
        let version = |name, flag, after: &str| {
            let text = output(machine.program(name), &[flag]);
            (name, word_after(&text, after).unwrap_or_else(unknown))
        };
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find(|line| line.starts_with("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: cpu
                .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
                .unwrap_or_else(unknown),
            kernel: kernel.trim().to_owned(),
            git: git().unwrap_or_else(unknown),
            rustc: word_after(&output("rustc".into(), &["--version"]), "rustc ")
                .unwrap_or_else(unknown),
            programs: vec![
                version("haproxy", "-v", "version "),
                version("nginx", "-v", "nginx/"),
                version("redis-server", "--version", "v="),
                version("wrk", "-v", "wrk "),
            ],
            libraries: libraries(include_str!("../../Cargo.lock")),
        }
    }
}

fn git() -> Option<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let ask = |args: &[&str]| output("git".into(), &[&["-C", root], args].concat());
    let commit = word_after(&ask(&["rev-parse", "--short", "HEAD"]), "")?;
    // Anything else is a complaint: not a repository, no git.
    if !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let changes = ask(&["status", "--porcelain", "--untracked-files=no"]);
    Some(if changes.trim().is_empty() {
        commit
    } else {
        format!("{commit}, with changes")
    })
}

/// What a program prints. Several print their version on standard error, and wrk ends with 1 after it.
fn output(program: PathBuf, args: &[&str]) -> String {
    Command::new(program)
        .args(args)
        .output()
        .map(|output| {
            [output.stdout, output.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .concat()
        })
        .unwrap_or_default()
}

fn word_after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The versions of [`LIBRARIES`] in a `Cargo.lock`; of several, all.
fn libraries(lock: &str) -> Vec<(&'static str, String)> {
    LIBRARIES
        .iter()
        .map(|&name| {
            let head = format!("name = \"{name}\"\nversion = \"");
            let versions: Vec<&str> = lock
                .split(head.as_str())
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect();
            (name, versions.join(" and "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_station_is_always_alone_and_the_wide_one_from_four_cores_on() {
        assert_eq!(Cores::plan(&[0]), None);
        let two = Cores::plan(&[0, 1]).unwrap();
        assert_eq!((two.station, &two.others[..]), (0, &[1][..]));
        assert!(!two.wide_is_alone());
        assert_eq!(two.generator_threads(), 1);
        let four = Cores::plan(&[2, 3, 6, 7]).unwrap();
        assert_eq!((four.wide, &four.others[..]), ([2, 3], &[6, 7][..]));
        assert!(four.wide_is_alone());
        assert_eq!(
            Cores::plan(&[0, 1, 2, 3, 4, 5, 6, 7])
                .unwrap()
                .generator_threads(),
            3
        );
    }

    #[test]
    fn versions_are_found() {
        assert_eq!(
            word_after("HAProxy version 2.6.12-1 2023/12", "version ").unwrap(),
            "2.6.12-1"
        );
        let lock = "[[package]]\nname = \"redis\"\nversion = \"0.32.7\"\n\n[[package]]\nname = \"redis\"\nversion = \"1.8.1\"\n";
        assert!(libraries(lock).contains(&("redis", "0.32.7 and 1.8.1".to_owned())));
        for (name, version) in libraries(include_str!("../../Cargo.lock")) {
            assert!(!version.is_empty(), "{name}");
        }
    }
}
