//! One process over all its lives.
//!
//! ```text
//!            start                    ready
//! not running ────▶ running, not ready ────▶ ready ◀──▶ paused
//!      ▲                  │                    │          │
//!      └──────────────────┴────────────────────┴──────────┘   kill, stop, an exit of its own, drop
//! ```
//! Every call returns only after its effect was seen: killed means reaped, paused means that each thread is in state `T`.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, getpgid, waitpid};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    cgroup::Throttled, error::AgentError, ports, process::Process, procfs, spec::ProcessSpec,
};

/// How long the effect of a signal is waited for. It shows within a millisecond unless the machine is in trouble.
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(5);

/// How much of the end of a log an error shows.
const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 8 * 1024;

/// What a process has used and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time over all its lives, killed ones included; the kernel counts in steps of 10 ms.
    pub cpu_us: u64,
    /// Anonymous memory now; 0 when it does not run.
    pub anon_bytes: u64,
    /// Resident memory now; 0 when it does not run.
    pub rss_bytes: u64,
    /// How often and for how long it waited for its quota, over all its lives; `None` without a quota.
    pub throttled: Option<Throttled>,
}

/// Supervises one process. Dropping the agent kills the process and waits until it is gone.
pub struct Agent {
    spec: ProcessSpec,
    /// A `std` mutex: it is never held across an `await`.
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    /// The present life, or the last one.
    process: Option<Arc<Process>>,
    /// CPU time of the lives before it.
    past_cpu_us: u64,
    /// Throttling in the lives before it.
    past_throttled: Throttled,
    /// Where this life's part of the log begins.
    log_start: u64,
    /// Arguments after those of the spec.
    more_args: Vec<String>,
}

impl Agent {
    /// An agent whose process does not run yet.
    pub fn new(spec: ProcessSpec) -> Self {
        Self {
            spec,
            life: Mutex::default(),
        }
    }

    /// Starts the process and waits until it is ready. If it does not become ready, it is killed.
    ///
    /// May be cancelled at any point: the process then belongs to the agent as ever.
    pub async fn start(&self) -> Result<(), AgentError> {
        self.start_life(None).await
    }

    /// The same, with these arguments after those of the spec, in the place of those that were given here before.
    /// [`start`](Self::start) keeps them.
    pub async fn start_with(&self, more_args: Vec<String>) -> Result<(), AgentError> {
        self.start_life(Some(more_args)).await
    }

    async fn start_life(&self, more_args: Option<Vec<String>>) -> Result<(), AgentError> {
        let process = self.spawn(more_args)?;
        let ready = self.spec.ready.wait(self.spec.ready_within);
        let outcome = tokio::select! {
            // Readiness first: a program that serves nobody may be done before we look, and that is no failure.
            biased;
            ready = ready => match ready {
                Ok(()) => self.really_ours(&process),
                Err(problem) => Err(self.not_ready(problem)),
            },
            ended = process.ended() => Err(self.early_exit(ended.status)),
        };
        if outcome.is_err() && process.has_ended().is_none() {
            self.kill().await?;
        }
        outcome
    }

    /// SIGKILL to the process and all that it forked; returns when it is gone.
    pub async fn kill(&self) -> Result<(), AgentError> {
        let process = self.running()?;
        process
            .signal_group(Signal::KILL)
            .map_err(|source| self.system("send SIGKILL", source))?;
        match timeout(EFFECTIVE_WITHIN, process.ended()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.not_effective("kill")),
        }
    }

    /// SIGTERM, and SIGKILL to what still runs after `grace`. A paused process is resumed, for else it could not obey.
    ///
    /// The status tells which it was: `signal: 9 (SIGKILL)` means that the process did not end by itself.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus, AgentError> {
        let process = self.running()?;
        process
            .signal(Signal::TERM)
            .and_then(|()| process.signal_group(Signal::CONT))
            .map_err(|source| self.system("send SIGTERM", source))?;
        if timeout(grace, process.ended()).await.is_err() {
            tracing::warn!(process = %self.spec.name, ?grace, "did not end after SIGTERM; killing it");
            match self.kill().await {
                // It ended in the last moment.
                Ok(()) | Err(AgentError::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(process.ended().await.status)
    }

    /// SIGTERM once more, to a process that is being stopped.
    pub fn insist(&self) -> Result<(), AgentError> {
        let process = self.running()?;
        process
            .signal(Signal::TERM)
            .map_err(|source| self.system("send SIGTERM", source))
    }

    /// SIGSTOP; returns when every thread stands still. Its sockets stay open and even accept connections.
    pub async fn pause(&self) -> Result<(), AgentError> {
        self.halt_or_go("pause", Signal::STOP, |states| {
            states.iter().all(|state| *state == 'T')
        })
        .await
    }

    /// SIGCONT; returns when no thread stands still any more.
    pub async fn resume(&self) -> Result<(), AgentError> {
        self.halt_or_go("resume", Signal::CONT, |states| !states.contains(&'T'))
            .await
    }

    /// [`stop`](Self::stop), then [`start`](Self::start).
    pub async fn restart(&self, grace: Duration) -> Result<(), AgentError> {
        self.stop(grace).await?;
        self.start().await
    }

    /// Waits until the process ends, for whatever reason, and says how. At once when it has ended already.
    pub async fn ended(&self) -> Result<ExitStatus, AgentError> {
        let process = self.life().process.clone();
        match process {
            Some(process) => Ok(process.ended().await.status),
            None => Err(self.not_running()),
        }
    }

    /// CPU time over all lives, and memory now.
    pub fn usage(&self) -> Result<Usage, AgentError> {
        let life = self.life();
        let Some(process) = &life.process else {
            return Ok(Usage::default());
        };
        let cpu_us = process
            .cpu_us()
            .map_err(|source| self.system("read CPU time", source))?;
        let memory = process
            .memory()
            .map_err(|source| self.system("read memory", source))?;
        let throttled = process
            .throttled()
            .map_err(|source| self.system("read throttling", source))?;
        Ok(Usage {
            cpu_us: life.past_cpu_us + cpu_us,
            anon_bytes: memory.anon_bytes,
            rss_bytes: memory.rss_bytes,
            throttled: throttled.map(|throttled| throttled.plus(life.past_throttled)),
        })
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running().ok().map(|process| process.pid())
    }

    /// Whether it runs; a paused process does.
    pub fn is_running(&self) -> bool {
        self.running().is_ok()
    }

    /// The state of each of its threads: `T` stands still.
    pub fn thread_states(&self) -> Result<Vec<char>, AgentError> {
        let process = self.running()?;
        procfs::thread_states(process.pid())
            .map_err(|source| self.system("read thread states", source))
    }

    /// How the present life ended; `None` while it runs, and before the first one.
    pub fn has_ended(&self) -> Option<ExitStatus> {
        let ended = self.life().process.as_ref()?.has_ended()?;
        Some(ended.status)
    }

    /// Reaps children of this whole program other than the agent's process: what the process left behind, where this
    /// program is PID 1 or a child subreaper. Only for a program that has no other children.
    ///
    /// True when the agent's process itself was among the dead: its own thread reaps it, and then it is time to look again.
    pub fn reap_orphans(&self) -> io::Result<bool> {
        // Held all along: nothing is forked meanwhile, so a child that is not the process is nobody's.
        let life = self.life();
        let ours = life.process.as_ref().filter(|p| p.has_ended().is_none());
        let mut ours_is_dead = false;
        for pid in procfs::dead_children(std::process::id())? {
            if ours.is_some_and(|process| process.pid() == pid) {
                ours_is_dead = true;
            } else if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                // It may be gone: then there is nothing to do.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
        Ok(ours_is_dead)
    }

    /// What it was told to run.
    pub fn spec(&self) -> &ProcessSpec {
        &self.spec
    }

    /// A thread that panicked cannot have left this half-written: each change is one assignment.
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Result<Arc<Process>, AgentError> {
        let life = self.life();
        let running = life
            .process
            .as_ref()
            .filter(|process| process.has_ended().is_none());
        running.cloned().ok_or_else(|| self.not_running())
    }

    fn spawn(&self, more_args: Option<Vec<String>>) -> Result<Arc<Process>, AgentError> {
        let mut life = self.life();
        if let Some(running) = life
            .process
            .as_ref()
            .filter(|process| process.has_ended().is_none())
        {
            return Err(AgentError::AlreadyRunning {
                name: self.spec.name.clone(),
                pid: running.pid(),
            });
        }
        let log = self.spec.log.as_ref();
        life.log_start = log
            .and_then(|log| log.metadata().ok())
            .map_or(0, |log| log.len());
        if let Some(more_args) = more_args {
            life.more_args = more_args;
        }
        let process = Arc::new(Process::spawn(&self.spec, &life.more_args)?);
        let before = life.process.replace(Arc::clone(&process));
        if let Some(ended) = before.and_then(|before| before.has_ended()) {
            life.past_cpu_us += ended.cpu_us;
            life.past_throttled = life
                .past_throttled
                .plus(ended.throttled.unwrap_or_default());
        }
        Ok(process)
    }

    /// Somebody else on the same port would answer in the process's place, and every figure would be theirs.
    fn really_ours(&self, process: &Process) -> Result<(), AgentError> {
        let Some(address) = self.spec.ready.address() else {
            return Ok(());
        };
        let group = |pid: u32| getpgid(Pid::from_raw(pid.cast_signed())).ok();
        match ports::owner(address) {
            Some(owner) if group(owner.pid) != group(process.pid()) => {
                Err(AgentError::ForeignPort {
                    name: self.spec.name.clone(),
                    address,
                    owner,
                })
            }
            _ => Ok(()),
        }
    }

    async fn halt_or_go(
        &self,
        fault: &'static str,
        signal: Signal,
        effective: impl Fn(&[char]) -> bool,
    ) -> Result<(), AgentError> {
        let process = self.running()?;
        process
            .signal_group(signal)
            .map_err(|source| self.system(fault, source))?;
        let deadline = Instant::now() + EFFECTIVE_WITHIN;
        loop {
            let states = procfs::thread_states(process.pid());
            if process.has_ended().is_some() {
                return Err(self.not_running());
            }
            if effective(&states.map_err(|source| self.system("read thread states", source))?) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.not_effective(fault));
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines that this life wrote.
    fn tail(&self) -> String {
        let start = self.life().log_start;
        let log = self.spec.log.as_ref();
        log.and_then(|log| read_tail(log, start).ok())
            .unwrap_or_default()
    }

    fn not_running(&self) -> AgentError {
        AgentError::NotRunning {
            name: self.spec.name.clone(),
        }
    }

    fn not_effective(&self, fault: &'static str) -> AgentError {
        AgentError::NotEffective {
            name: self.spec.name.clone(),
            fault,
            within: EFFECTIVE_WITHIN,
        }
    }

    fn system(&self, what: &'static str, source: io::Error) -> AgentError {
        AgentError::System {
            name: self.spec.name.clone(),
            what,
            source,
        }
    }

    fn early_exit(&self, status: ExitStatus) -> AgentError {
        AgentError::EarlyExit {
            name: self.spec.name.clone(),
            status,
            log: self.spec.log.clone(),
            tail: self.tail(),
        }
    }

    fn not_ready(&self, problem: String) -> AgentError {
        AgentError::NotReady {
            name: self.spec.name.clone(),
            within: self.spec.ready_within,
            problem,
            log: self.spec.log.clone(),
            tail: self.tail(),
        }
    }
}

fn read_tail(log: &std::path::Path, start: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}
