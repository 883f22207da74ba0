//! Takes operations from users and brings them to the history, without making users wait for a disk.
//!
//! Users push into a bounded channel; one thread writes. The thread sleeps between two looks instead of being woken by
//! each operation: a wake-up would cost the users more CPU than everything else in the recorder. Should the channel be
//! full, users wait: a history with holes would be worth nothing, and the delay shows as the generator's lag.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evidence::history::file::{Appender, HistoryError};
use evidence::history::{Line, Operation};

/// Operations that wait; at 20,000 a second the writer may be late by 0.4 s, and the memory stays in the cache.
const CAPACITY: usize = 1 << 13;
/// Between two looks into the channel.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that go to the file at once.
const CHUNK_BYTES: usize = 1 << 18;

/// What the users' process ends with when the history takes no more lines: `EX_IOERR` of sysexits.h.
pub(crate) const NOT_RECORDED: i32 = 74;

/// The users' end.
#[derive(Clone)]
pub(super) struct Recorder {
    sender: SyncSender<Line>,
}

/// The file's end.
pub(super) struct Writer {
    thread: JoinHandle<()>,
}

/// Starts the writer thread on the history at `path`.
pub(super) fn start(path: &Path) -> Result<(Recorder, Writer), HistoryError> {
    let appender = Appender::open(path)?;
    let (sender, receiver) = sync_channel(CAPACITY);
    let thread = thread::spawn(move || {
        if let Err(error) = write_all(&receiver, appender) {
            // A run without its history is worth nothing, so it ends now and not after the last user. The message may find no
            // room either; the code says enough.
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{error}");
            std::process::exit(NOT_RECORDED);
        }
    });
    Ok((Recorder { sender }, Writer { thread }))
}

impl Recorder {
    /// Keeps `operation`.
    pub(super) fn record(&self, operation: Operation) {
        self.push(Line::Operation(operation));
    }

    /// Keeps any line.
    pub(super) fn push(&self, line: Line) {
        // Fails only after the writer failed, and then this process is about to end.
        let _ = self.sender.send(line);
    }
}

impl Writer {
    /// Waits until every operation is in the file. All recorders must be gone by then.
    pub(super) fn finish(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn write_all(receiver: &Receiver<Line>, mut appender: Appender) -> Result<(), HistoryError> {
    while let Ok(first) = receiver.recv() {
        appender.push(&first);
        for line in receiver.try_iter() {
            appender.push(&line);
            if appender.buffered() >= CHUNK_BYTES {
                appender.flush()?;
            }
        }
        appender.flush()?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
