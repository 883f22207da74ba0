//! One life of a process, from fork to reaping.
//!
//! Each life has an operating system thread of its own, for two reasons. The kernel ties the parent-death signal to the
//! *thread* that forked, not to the process, so that thread must live as long as the child. And waiting for a child to
//! become a zombie, reading its final CPU time and only then reaping it are blocking calls that belong together.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process, kill_process_group,
    set_parent_process_death_signal, waitid,
};
use tokio::sync::watch;

use crate::{
    cgroup::{Cgroup, Throttled},
    error::AgentError,
    procfs,
    spec::ProcessSpec,
};

/// How long a drop waits for a killed process to be gone. Only one that hangs inside the kernel takes longer than
/// milliseconds, and waiting longer would not help.
const DROP_WAIT: Duration = Duration::from_secs(5);

/// How a life ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// Exit code or signal.
    pub(crate) status: ExitStatus,
    /// CPU time of the whole life.
    pub(crate) cpu_us: u64,
    /// Throttling in the whole life, with a quota.
    pub(crate) throttled: Option<Throttled>,
}

/// A process that was started, and perhaps has ended. Dropping it kills it.
pub(crate) struct Process {
    pid: Pid,
    /// Set by the thread when the process is reaped. The channel's lock also guards the process id: it is held for
    /// writing while the zombie is reaped and for reading while the id is used, so a signal never goes to a stranger
    /// that was given the same id.
    ended: watch::Receiver<Option<Ended>>,
    /// With a quota. Dropping it ends what the process may have left behind in it.
    group: Option<Arc<Cgroup>>,
}

impl Process {
    /// Starts it; returns when the program has been executed.
    pub(crate) fn spawn(spec: &ProcessSpec, more_args: &[String]) -> Result<Self, AgentError> {
        let not_limited = |problem| AgentError::Quota {
            name: spec.name.clone(),
            problem,
        };
        let not_started = |source| AgentError::Spawn {
            name: spec.name.clone(),
            program: spec.program.clone(),
            source,
        };
        let group = spec.quota.map(Cgroup::create).transpose();
        let group = group.map_err(not_limited)?.map(Arc::new);
        let door = group.as_ref().map(|group| group.door()).transpose();
        let mut command = command(spec, door.map_err(not_limited)?).map_err(not_started)?;
        command.args(more_args);
        Self::run(&spec.name, command, group).map_err(not_started)
    }

    fn run(name: &str, mut command: Command, group: Option<Arc<Cgroup>>) -> io::Result<Self> {
        let its_group = group.clone();
        let (report, started) = mpsc::channel();
        let (ending, ended) = watch::channel(None);
        thread::Builder::new()
            .name(format!("agent {name}"))
            .spawn(move || match command.spawn() {
                Ok(child) => {
                    let _ = report.send(Ok(Pid::from_child(&child)));
                    drop(command);
                    reap(child, its_group.as_deref(), &ending);
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                }
            })?;
        let pid = started.recv().map_err(io::Error::other)??;
        Ok(Self { pid, ended, group })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await;
        // The thread sends before it drops the channel, so this never falls back.
        ended.ok().and_then(|ended| *ended).unwrap_or_default()
    }

    /// Sends a signal to the process alone. Does nothing to one that has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let ended = self.ended.borrow();
        match *ended {
            Some(_) => Ok(()),
            None => Ok(kill_process(self.pid, signal)?),
        }
    }

    /// Sends a signal to the process and all that it forked: Redis rewrites its file in a child.
    pub(crate) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        let ended = self.ended.borrow();
        match *ended {
            Some(_) => Ok(()),
            None => Ok(kill_process_group(self.pid, signal)?),
        }
    }

    /// CPU time up to now, or of the whole life.
    pub(crate) fn cpu_us(&self) -> io::Result<u64> {
        let ended = self.ended.borrow();
        match *ended {
            Some(ended) => Ok(ended.cpu_us),
            None => procfs::cpu_us(self.pid()),
        }
    }

    /// Throttling up to now, or in the whole life; none without a quota.
    pub(crate) fn throttled(&self) -> io::Result<Option<Throttled>> {
        let ended = self.ended.borrow();
        match (*ended, &self.group) {
            (Some(ended), _) => Ok(ended.throttled),
            (None, group) => group.as_ref().map(|group| group.throttled()).transpose(),
        }
    }

    /// Memory now; none after the end.
    pub(crate) fn memory(&self) -> io::Result<procfs::Memory> {
        let ended = self.ended.borrow();
        match *ended {
            Some(_) => Ok(procfs::Memory::default()),
            None => procfs::memory(self.pid()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal_group(Signal::KILL);
        let deadline = Instant::now() + DROP_WAIT;
        while self.has_ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn command(spec: &ProcessSpec, door: Option<File>) -> io::Result<Command> {
    let (stdout, stderr) = match &spec.log {
        Some(log) => {
            let log = OpenOptions::new().create(true).append(true).open(log)?;
            (Stdio::from(log.try_clone()?), Stdio::from(log))
        }
        None => (Stdio::inherit(), Stdio::inherit()),
    };
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        // Nothing of our own environment: an exported `SHOP_…` would silently change an experiment.
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        // A group of its own: Ctrl-C at the terminal reaches only us, and we end our processes in order.
        .process_group(0);
    before_exec(&mut command, door);
    Ok(command)
}

/// Makes the kernel kill the process when we die, even when we die by SIGKILL; and puts it into its cgroup before it
/// runs a single instruction of its own.
fn before_exec(command: &mut Command, door: Option<File>) {
    let us = getpid();
    let in_the_child = move || {
        if let Some(door) = &door {
            rustix::io::write(door, b"0")?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the line above; then nobody would ever kill it.
        if getppid() == Some(us) {
            Ok(())
        } else {
            Err(rustix::io::Errno::SRCH.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, because another thread may have held a
    // lock at the moment of the fork. The closure makes three system calls and allocates nothing.
    #[allow(unsafe_code)]
    // There is no safe way to set a parent-death signal; this is the only unsafe code of the lab.
    unsafe {
        command.pre_exec(in_the_child);
    }
}

/// Waits until the process is a zombie, reads its final CPU time, and only then reaps it.
fn reap(mut child: Child, group: Option<&Cgroup>, ending: &watch::Sender<Option<Ended>>) {
    let pid = Pid::from_child(&child);
    let dead_but_not_reaped = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), dead_but_not_reaped) {}
    ending.send_modify(|ended| {
        // In this order: reaping takes `/proc/PID` away.
        *ended = Some(Ended {
            cpu_us: procfs::cpu_us(child.id()).unwrap_or_default(),
            throttled: group.map(|group| group.throttled().unwrap_or_default()),
            status: child.wait().unwrap_or_default(),
        });
        // What it forked may live on; then the group stays until the next life, or the agent's end.
        group.map(Cgroup::remove_if_empty);
    });
}
