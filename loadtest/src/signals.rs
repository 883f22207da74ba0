//! Ctrl-C and SIGTERM, heard from the first moment on. The first one ends a command in order; what a second one does, the
//! command says.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};

/// Both.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they do not end the process any more.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Exit::NoCluster,
                    format!("cannot listen for signals: {error}"),
                )
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next one of either.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The next one ends this process at once, whatever its threads do; `last_words` are for people. The kernel ends our
    /// children with us.
    pub(crate) fn end_at_once(mut self, last_words: impl FnOnce() -> String + Send + 'static) {
        tokio::spawn(async move {
            self.next().await;
            end(&last_words())
        });
    }
}

fn end(last_words: &str) -> ! {
    use std::io::Write as _;
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{last_words}");
    std::process::exit(Exit::Interrupted.code().into())
}
