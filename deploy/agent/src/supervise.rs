//! The program's life and ours, tied together.
//!
//! ```text
//! program ends by itself ───────────▶ we end with its status
//! program ended by a control call ──▶ we stay, and wait for a start
//! SIGTERM or SIGINT to us ──────────▶ SIGTERM to the program, SIGKILL after the grace, then we end with its status
//! the same again, meanwhile ────────▶ SIGTERM to the program again: it may know what a second Ctrl-C means
//! a child of a child ends ──────────▶ reaped, for we are its PID 1 (or child subreaper)
//! ```

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use agent::{Agent, AgentError};
use rustix::process::{getpid, set_child_subreaper};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::sleep,
};

/// Between two looks at the dead, while the agent's own thread reaps the program.
const REAP_AGAIN: Duration = Duration::from_millis(5);

/// The signals that we act on.
pub(crate) struct Signals {
    ending: Ending,
    child: Signal,
}

/// Those that tell us to end.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

impl Signals {
    /// Catches them from now on, and makes us the parent of what the program leaves behind.
    pub(crate) fn catch() -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        Ok(Self {
            ending: Ending {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            child: signal(SignalKind::child())?,
        })
    }
}

/// The program, and what was last wanted of it.
pub(crate) struct Supervised {
    agent: Agent,
    wanted: watch::Sender<Wanted>,
}

#[derive(Clone, Copy, Default)]
struct Wanted {
    /// Whether it is to run: then an end is its own.
    running: bool,
    /// Ends that were commanded. A start that is overtaken by one does not make it wanted again.
    ends: u64,
}

impl Supervised {
    /// A program that does not run yet.
    pub(crate) fn new(agent: Agent) -> Self {
        Self {
            agent,
            wanted: watch::Sender::default(),
        }
    }

    /// What is asked and changes nothing about its end.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(crate) async fn start(&self, more_args: Option<Vec<String>>) -> Result<(), AgentError> {
        let before = self.wanted.borrow().ends;
        match more_args {
            Some(more_args) => self.agent.start_with(more_args).await?,
            None => self.agent.start().await?,
        }
        self.wanted.send_modify(|wanted| {
            wanted.running = wanted.ends == before;
        });
        Ok(())
    }

    pub(crate) async fn kill(&self) -> Result<(), AgentError> {
        self.to_end();
        self.agent.kill().await
    }

    pub(crate) async fn stop(&self, grace: Duration) -> Result<ExitStatus, AgentError> {
        self.to_end();
        self.agent.stop(grace).await
    }

    fn to_end(&self) {
        self.wanted.send_modify(|wanted| {
            wanted.running = false;
            wanted.ends += 1;
        });
    }

    /// Waits until the program ends and nobody told it to.
    async fn own_end(&self) -> ExitStatus {
        let mut wanted = self.wanted.subscribe();
        loop {
            // The sender is ours, so this only waits.
            let _ = wanted.wait_for(|wanted| wanted.running).await;
            let ended = self.agent.ended().await;
            // After a fast stop and start it may be the next life that is wanted.
            if let (Ok(status), true, false) =
                (ended, wanted.borrow().running, self.agent.is_running())
            {
                return status;
            }
        }
    }

    /// Tells it to end again, for as long as it is polled and signals come.
    async fn insist(&self, ending: &mut Ending, first: SignalKind) -> std::convert::Infallible {
        let mut heard = vec![first];
        loop {
            let told = ending.next().await;
            if !heard.contains(&told) {
                // Ctrl-C and then SIGTERM is no impatience: whoever ends a terminal sends both.
                heard.push(told);
                continue;
            }
            if let Err(error) = self.agent.insist() {
                tracing::debug!(%error, "it has ended meanwhile");
            }
        }
    }

    /// Ends it for good; the status that we end with.
    async fn end(&self, grace: Duration) -> Result<u8, AgentError> {
        match self.stop(grace).await {
            Ok(status) => Ok(code(status)),
            // It was ended before, by a call: that is no failure.
            Err(AgentError::NotRunning { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Starts the program and stays until one of us ends; the status to end with.
pub(crate) async fn run(
    supervised: &Supervised,
    signals: Signals,
    grace: Duration,
) -> Result<u8, AgentError> {
    let Signals {
        mut ending,
        mut child,
    } = signals;
    let life = async {
        let first = tokio::select! {
            told = ending.next() => told,
            status = first_start_and_end(supervised) => return status,
        };
        tokio::select! {
            status = supervised.end(grace) => status,
            never = supervised.insist(&mut ending, first) => match never {},
        }
    };
    tokio::select! {
        status = life => status,
        never = reap(supervised, &mut child) => match never {},
    }
}

async fn first_start_and_end(supervised: &Supervised) -> Result<u8, AgentError> {
    match supervised.start(None).await {
        Ok(()) => {}
        // Overtaken by a call.
        Err(_) if supervised.wanted.borrow().ends > 0 => {}
        Err(AgentError::EarlyExit { status, .. }) if !status.success() => {
            tracing::error!(%status, "the program ended before it was ready");
            return Ok(code(status));
        }
        Err(error) => return Err(error),
    }
    let status = supervised.own_end().await;
    tracing::info!(%status, "the program ended");
    Ok(code(status))
}

/// Reaps what the program left behind, for as long as it is polled.
async fn reap(supervised: &Supervised, child: &mut Signal) -> std::convert::Infallible {
    loop {
        child.recv().await;
        loop {
            match supervised.agent.reap_orphans() {
                Ok(true) => sleep(REAP_AGAIN).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for the dead");
                    break;
                }
            }
        }
    }
}

/// As a shell tells it: 128 and the signal's number for what a signal ended.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
