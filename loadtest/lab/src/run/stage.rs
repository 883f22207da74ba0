//! What happens around the users of a run while they act, and where it is written down.

use std::sync::Mutex;
use std::time::Duration;

use agent::Agent;
use cluster::{Clock, Cluster};
use evidence::history::Line;
use evidence::history::file::Appender;
use tokio::sync::watch;

use crate::exit::{Exit, Failure};

/// What happens around the users while they act, and where it is written down.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) users: &'a Agent,
    pub(super) clock: Clock,
    pub(super) history: &'a Mutex<Appender>,
    /// Why the history takes no more lines.
    pub(super) unwritable: watch::Sender<Option<Failure>>,
}

impl Stage<'_> {
    /// Writes down what happened. Where that fails, the run ends.
    pub(super) fn note(&self, line: &Line) -> Result<(), Failure> {
        // A thread that panicked while it wrote cannot have left half a line: a line is one write.
        let mut history = self
            .history
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let written = history.append(line).map_err(Failure::from);
        if let Err(failure) = &written {
            let failure = Failure::new(failure.exit, &failure.message);
            self.unwritable.send_replace(Some(failure));
        }
        written
    }

    /// Waits until a line could not be written.
    pub(super) async fn unwritable(&self) -> Failure {
        let mut unwritable = self.unwritable.subscribe();
        // The sender is ours, so this only waits.
        let failed = unwritable.wait_for(Option::is_some).await;
        let failure = failed.ok().and_then(|failure| {
            let failure = failure.as_ref()?;
            Some(Failure::new(failure.exit, &failure.message))
        });
        failure.unwrap_or_else(|| Failure::new(Exit::Invalid, "the history takes no more lines"))
    }

    /// Waits until a moment on the run's clock.
    pub(super) async fn wait_until(&self, at_us: i64) {
        tokio::time::sleep(self.until(at_us)).await;
    }

    pub(super) fn until(&self, at_us: i64) -> Duration {
        Duration::from_micros(u64::try_from(at_us - self.clock.now_us()).unwrap_or(0))
    }
}
