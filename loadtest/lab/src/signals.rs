//! Ctrl-C and SIGTERM, heard from the first moment on. The first one ends a command in order; what a second one does, the
//! command says.

use rustix::process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

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
        self.told().await;
    }

    /// The next one, and which it is.
    pub(crate) async fn told(&mut self) -> process::Signal {
        tokio::select! {
            _ = self.interrupt.recv() => process::Signal::INT,
            _ = self.terminate.recv() => process::Signal::TERM,
        }
    }

    /// One that has come before, and comes again, ends this process at once, whatever its threads do; `last_words` are for
    /// people. The kernel ends our children with us. (Ctrl-C and then SIGTERM is no impatience: whoever ends a terminal or a
    /// container sends both.)
    pub(crate) fn end_at_once(
        mut self,
        before: Option<process::Signal>,
        last_words: impl FnOnce() -> String + Send + 'static,
    ) -> EndsAtOnce {
        EndsAtOnce(tokio::spawn(async move {
            let mut heard: Vec<_> = before.into_iter().collect();
            loop {
                let told = self.told().await;
                if heard.contains(&told) {
                    end(&last_words());
                }
                heard.push(told);
            }
        }))
    }
}

/// For as long as it is kept, a signal ends this process.
pub(crate) struct EndsAtOnce(JoinHandle<()>);

impl Drop for EndsAtOnce {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn end(last_words: &str) -> ! {
    use std::io::Write as _;
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{last_words}");
    std::process::exit(Exit::Interrupted.code().into())
}
