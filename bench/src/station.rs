//! A station: one process (with its children) that is measured, pinned to its cores, with an agent that ends it whatever
//! happens to us.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::{Agent, ProcessSpec, Ready, ports, procfs};

use crate::error::BenchError;
use crate::machine::Machine;

/// For a process to become ready. It only matters when something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What to start.
pub(crate) struct Start {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) address: SocketAddr,
    /// How it shows that it serves.
    pub(crate) ready: Ready,
    /// How many threads serve; 0 for a helper, which runs where we run.
    pub(crate) threads: usize,
}

/// A process that runs. Dropping it kills the process.
pub(crate) struct Station {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) threads: usize,
    agent: Agent,
}

impl Station {
    /// Starts the process on its cores and waits until it is ready. Its log goes into `folder`.
    pub(crate) async fn start(
        machine: &Machine,
        folder: &Path,
        start: Start,
    ) -> Result<Self, BenchError> {
        let cores = match start.threads {
            0 => join(&machine.cores.others),
            1 => machine.cores.station.to_string(),
            _ => join(&machine.cores.wide),
        };
        let mut args = vec![
            "--cpu-list".into(),
            cores,
            start.program.display().to_string(),
        ];
        args.extend(start.args);
        let agent = Agent::new(ProcessSpec {
            name: start.name.into(),
            program: machine.program("taskset"),
            args,
            env: start.env,
            log: Some(folder.join(format!("{}.log", start.address.port()))),
            ready: start.ready,
            ready_within: READY_WITHIN,
            quota: None,
        });
        agent.start().await?;
        Ok(Self {
            name: start.name,
            address: start.address,
            threads: start.threads,
            agent,
        })
    }

    /// CPU time of each thread of the process and its children. Compare two with [`CpuTimes::until`].
    pub(crate) fn cpu_times(&self) -> CpuTimes {
        let mut threads = HashMap::new();
        for process in self.processes() {
            for entry in folder_entries(&process.join("task")) {
                // CPU time in ns, waiting time in ns, time slices.
                let text = fs::read_to_string(entry.join("schedstat")).unwrap_or_default();
                if let Some(Ok(ns)) = text.split_whitespace().next().map(str::parse) {
                    threads.insert(entry, ns);
                }
            }
        }
        CpuTimes(threads)
    }

    /// Anonymous memory of the process and its children.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let status = self
            .processes()
            .map(|process| fs::read_to_string(process.join("status")));
        status
            .filter_map(Result::ok)
            .map(|text| procfs::parse_memory(&text).anon_bytes)
            .sum()
    }

    /// The folders in `/proc` of the process group, which is the process and all that it forked.
    fn processes(&self) -> impl Iterator<Item = PathBuf> {
        let group = self.agent.pid();
        folder_entries(Path::new("/proc")).filter(move |process| {
            let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
            // The fields after the name: state, parent, group.
            let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
            let field = after_name.and_then(|rest| rest.split(' ').nth(2));
            group.is_some() && field.and_then(|field| field.parse().ok()) == group
        })
    }
}

fn folder_entries(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

/// CPU time by thread, in ns: `/proc/PID/stat` counts in steps of 10 ms, which is coarse for a short slice.
pub(crate) struct CpuTimes(HashMap<PathBuf, u64>);

impl CpuTimes {
    /// The CPU time between two looks, in µs. A thread that ended in between counts for nothing.
    pub(crate) fn until(&self, later: &Self) -> f64 {
        let ns: u64 = later
            .0
            .iter()
            .map(|(thread, ns)| ns.saturating_sub(self.0.get(thread).copied().unwrap_or(0)))
            .sum();
        ns as f64 / 1000.0
    }
}

/// A free address on loopback.
pub(crate) fn free_address() -> Result<SocketAddr, BenchError> {
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let port = ports::free(ip).map_err(|error| BenchError::system("find a free port", error))?;
    Ok(SocketAddr::new(ip, port))
}

/// Ready when it answers `GET path` with 200.
pub(crate) fn answers(address: SocketAddr, path: &str) -> Ready {
    Ready::Http {
        address,
        path: path.into(),
    }
}

/// Writes a file into the run's folder.
pub(crate) fn write(path: PathBuf, text: &str) -> Result<PathBuf, BenchError> {
    match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(BenchError::File { path, source }),
    }
}

/// `bytes` random bytes in hexadecimal.
pub(crate) fn random(bytes: usize) -> Result<String, BenchError> {
    use std::fmt::Write;
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random)
        .map_err(|error| BenchError::system("get random bytes", std::io::Error::other(error)))?;
    Ok(random.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn join(cores: &[usize]) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_growth_of_each_thread_and_an_ended_one_takes_nothing_away() {
        let times = |pairs: &[(&str, u64)]| {
            let pairs = pairs.iter().map(|(path, ns)| (PathBuf::from(path), *ns));
            CpuTimes(pairs.collect())
        };
        let before = times(&[("1", 5_000), ("ended", 9_000_000)]);
        let after = times(&[("1", 8_000), ("new", 500)]);
        assert!((before.until(&after) - 3.5).abs() < 1e-9);
    }
}
