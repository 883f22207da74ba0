//! What a run owes to a cluster that it has joined: every process that it changed has to be put back, and whoever waits for that,
//! or does not want to wait, is told what is still missing and which command does it.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent::{Remote, wire::Status};
use tokio::task::JoinHandle;

use super::{ClusterError, GRACE};

/// Shared by the run that changes things, the work that puts them back, and whoever waits for it.
#[derive(Clone, Debug, Default)]
pub struct Owed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A `std` mutex: it is never held across an `await`.
    debts: Mutex<Vec<Debt>>,
    /// The work that puts everything back, once it has begun. Waiting for it can be broken off and begun again.
    work: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// One process that is not as it was.
#[derive(Debug)]
pub(super) struct Debt {
    name: String,
    /// What was met when it was to be put back.
    problem: Option<String>,
    /// What a person can type.
    commands: Vec<String>,
}

impl Debt {
    /// A process that has to be started anew, with nothing in the way of its links.
    pub(super) fn fresh_start(agent: &Remote, status: Option<&Status>, token_file: &Path) -> Self {
        let grace = format!("-X POST -d '{{\"grace_ms\":{}}}'", GRACE.as_millis());
        let mut commands = vec![
            call(agent, token_file, &grace, "process/stop"),
            call(
                agent,
                token_file,
                "-X POST -d '{\"more_args\":[]}'",
                "process/start",
            ),
        ];
        let links = status.into_iter().flat_map(|status| &status.links.open);
        commands.extend(links.map(|link| {
            let path = format!("links/{}", link.name);
            call(agent, token_file, "-X DELETE", &path)
        }));
        Self {
            name: agent.name().to_owned(),
            problem: None,
            commands,
        }
    }

    /// A process that has to run, as it was.
    pub(super) fn running(agent: &Remote, token_file: &Path) -> Self {
        let post = |path| call(agent, token_file, "-X POST -d '{}'", path);
        Self {
            name: agent.name().to_owned(),
            problem: None,
            commands: vec![post("process/resume"), post("process/start")],
        }
    }
}

/// A call of an agent's control port. The token stays in its file.
fn call(agent: &Remote, token_file: &Path, how: &str, path: &str) -> String {
    format!(
        "curl -sS {how} -H \"Authorization: Bearer $(cat {})\" {}/{path}",
        token_file.display(),
        agent.url()
    )
}

impl Owed {
    pub(super) fn owe(&self, debts: Vec<Debt>) {
        *self.debts() = debts;
    }

    /// How it went with one of them.
    pub(super) fn settle<E: std::fmt::Display>(&self, name: &str, outcome: Result<(), E>) {
        let mut debts = self.debts();
        match outcome {
            Ok(()) => debts.retain(|debt| debt.name != name),
            Err(error) => {
                for debt in debts.iter_mut().filter(|debt| debt.name == name) {
                    debt.problem = Some(error.to_string());
                }
            }
        }
    }

    /// Puts back from now on, whoever waits for it.
    pub(super) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return; // Nobody could do it; the list says what is missing.
        };
        // Only somebody who waits for work that has begun holds it, and that happens once for each run.
        if let Ok(mut begun) = self.0.work.try_lock() {
            *begun = Some(runtime.spawn(work));
        }
    }

    /// Waits until everything was tried. The error lists what could not be put back.
    pub async fn paid(&self) -> Result<(), ClusterError> {
        let mut work = self.0.work.lock().await;
        if let Some(begun) = work.as_mut() {
            // A panic in there leaves its debts in the list.
            let _ = begun.await;
            *work = None;
        }
        match self.list() {
            Some(list) => {
                self.debts().clear();
                Err(ClusterError::NotPutBack(list))
            }
            None => Ok(()),
        }
    }

    /// What is not put back, with the commands that do it; `None` when all is.
    pub fn list(&self) -> Option<String> {
        let debts = self.debts();
        if debts.is_empty() {
            return None;
        }
        let mut text = "Not put back; restart these, or type:".to_owned();
        for debt in debts.iter() {
            // A problem names its process.
            let _ = match &debt.problem {
                Some(problem) => write!(text, "\n  {problem}"),
                None => write!(text, "\n  {}: not done yet", debt.name),
            };
            for command in &debt.commands {
                let _ = write!(text, "\n    {command}");
            }
        }
        Some(text)
    }

    /// A thread that panicked cannot have left it half-written: each change is one call.
    fn debts(&self) -> MutexGuard<'_, Vec<Debt>> {
        self.0.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
