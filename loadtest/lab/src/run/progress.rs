//! What the terminal shows while a scenario runs: a bar on a terminal, one line a phase elsewhere. On stderr, because
//! stdout is for results.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;
use cluster::Clock;
use evidence::history::Meta;

/// Between two movements of the bar.
const TICK: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct Progress {
    /// `None` where nobody watches.
    bar: Option<ProgressBar>,
    runs: usize,
    begun: AtomicUsize,
}

impl Progress {
    /// For so many runs.
    pub(super) fn new(runs: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {elapsed:>4} {msg}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar,
            runs,
            begun: AtomicUsize::new(0),
        }
    }

    /// A run begins.
    pub(super) fn begin(&self, strategy: &str, nodes: usize, repeat: u32) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let title = format!(
            "[{number}/{}] {strategy}, nodes {nodes}, repeat {repeat}",
            self.runs
        );
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_length(0);
                bar.set_prefix(title);
            }
            None => output::tell(title),
        }
    }

    /// Something else happens now.
    pub(super) fn phase(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_string()),
            None => output::tell(format_args!("      {what}")),
        }
    }

    /// Moves the bar along the run's clock, for as long as it is polled.
    pub(super) async fn follow(&self, clock: Clock, begin_us: i64, meta: &Meta) -> Infallible {
        let of = |us: i64| u64::try_from(us - begin_us).unwrap_or(0);
        if let Some(bar) = &self.bar {
            bar.set_length(of(meta.final_read_us));
        }
        self.phase("warm-up");
        let mut warm = true;
        loop {
            tokio::time::sleep(TICK).await;
            let now_us = clock.now_us();
            if warm && now_us >= 0 {
                warm = false;
                self.phase("users act");
            }
            if let Some(bar) = &self.bar {
                bar.set_position(of(now_us));
            }
        }
    }
}

/// The runs are over, all of them or those that somebody let come to their end.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
