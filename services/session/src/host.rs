//! What a strategy is given by the program that serves it: the time of day, and a place for its background work.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::Clock;

/// The program that a strategy lives in. Its background work ends with this.
#[derive(Debug)]
pub struct Host {
    /// What expiry is judged by.
    pub clock: Clock,
    tasks: Mutex<JoinSet<()>>,
}

impl Host {
    /// A host without any work yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            tasks: Mutex::default(),
        }
    }

    /// Runs `task` beside the requests until the host is dropped. Needs a Tokio runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_work_ends_with_its_host() {
        let host = Host::new(Clock::system());
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        host.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(host);
        assert!(ended.await.is_err());
    }
}
