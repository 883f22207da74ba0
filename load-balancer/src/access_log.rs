//! The access log: one JSON line a request, with every attempt. Off by default.
//!
//! The request's thread makes the line and puts it into a bounded queue; a thread of its own writes. When the
//! disk is slower than the load, lines are dropped and counted, and no request waits. Lines hold no query
//! string, no cookie and no credential.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    thread,
    time::Duration,
};

use serde::Serialize;
use tracing::warn;

use crate::{
    clock::{as_ms, since_1970},
    config::AccessLogTarget,
    http1::glimpse::Glimpse,
    metrics::{Counter, Moved},
    problem::Problem,
    progress::Progress,
    request_id::RequestId,
};

/// Lines that wait to be written. At a few hundred bytes each this is about 2 MB.
const QUEUE: usize = 8192;
/// What a client chose is cut at this length.
const MAX_TEXT: usize = 1024;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct AccessLog {
    queue: SyncSender<Message>,
    /// Lines that were not written: the queue was full, or the writer failed.
    pub(crate) dropped: Counter,
}

enum Message {
    Line(Vec<u8>),
    /// Everything before has been written out when the other end hears of it.
    Flush(SyncSender<()>),
}

/// A finished request.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// When the line was made: milliseconds since 1970.
    at_ms: u64,
    listener: &'a str,
    client: &'a str,
    request_id: &'a str,
    /// The client's own (W3C Trace Context), as it was passed on.
    traceparent: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    /// Of the answer; null when the client was gone before.
    status: Option<u16>,
    /// The end of the problem's type, when the answer was our own.
    problem: Option<&'static str>,
    took_us: u64,
    bytes_in: u64,
    bytes_out: u64,
    pinned: bool,
    /// Why the client was served by another node than its own.
    moved: Option<&'static str>,
    /// The same, when the client belongs to that node from now on.
    repinned: Option<&'static str>,
    attempts: Vec<AttemptLine<'a>>,
}

/// What was seen of a request from outside.
#[derive(Clone, Debug)]
pub(crate) struct FinishedRequest<'a> {
    /// Its address, or the one that a trusted proxy told.
    pub(crate) client: String,
    /// The head that was made for the node; of a refused request what came.
    pub(crate) head: Glimpse<'a>,
    pub(crate) id: &'a RequestId,
    /// Of the answer, if the client got one.
    pub(crate) status: Option<u16>,
    /// Bytes of the bodies.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

#[derive(Debug, Serialize)]
struct AttemptLine<'a> {
    node: &'a str,
    outcome: &'static str,
    took_us: u64,
}

impl AccessLog {
    /// Opens the target and starts the writer.
    pub(crate) fn open(target: &AccessLogTarget) -> io::Result<Self> {
        let writer: Box<dyn Write + Send> = match target {
            AccessLogTarget::Stderr => Box::new(io::stderr()),
            // Appending, so that a file cut short by a log rotation goes on at its new end. It holds
            // addresses of people, so not everybody may read it.
            AccessLogTarget::File(path) => Box::new(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o640)
                    .open(path)?,
            ),
        };
        let (queue, lines) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&lines, io::BufWriter::new(writer)))?;
        Ok(Self {
            queue,
            dropped: Counter::default(),
        })
    }

    /// Logs a request that is over. Never waits.
    pub(crate) fn log(
        &self,
        listener: &str,
        seen: &FinishedRequest<'_>,
        progress: &Progress,
        took: Duration,
    ) {
        let moved = progress.moved.filter(|_| progress.own_answer.is_none());
        self.send(&Line {
            at_ms: as_ms(since_1970()),
            listener,
            client: &seen.client,
            request_id: str::from_utf8(seen.id.bytes()).unwrap_or_default(),
            traceparent: seen.head.value("traceparent").map(cut),
            method: seen.head.method(),
            path: cut(&seen.head.path()),
            status: seen.status,
            problem: progress.own_answer.map(Problem::kind),
            took_us: us(took),
            bytes_in: seen.bytes_in,
            bytes_out: seen.bytes_out,
            pinned: progress.pinned,
            moved: moved.map(Moved::word),
            repinned: moved.filter(|_| progress.repinned).map(Moved::word),
            attempts: attempts(progress, seen.status.is_some(), took),
        });
    }

    fn send(&self, line: &Line<'_>) {
        let sent = serde_json::to_vec(line).ok().and_then(|mut text| {
            text.push(b'\n');
            self.queue.try_send(Message::Line(text)).ok()
        });
        if sent.is_none() {
            self.dropped.count();
        }
    }

    /// Waits until every line so far is written, but not for long.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        // A full queue means that the writer is stuck, and then there is nothing to wait for.
        if self.queue.try_send(Message::Flush(done)).is_ok()
            && wait.recv_timeout(LAST_LINES) == Err(RecvTimeoutError::Timeout)
        {
            warn!("the last lines of the access log could not be written in time");
        }
    }
}

fn attempts(progress: &Progress, answered: bool, took: Duration) -> Vec<AttemptLine<'_>> {
    let mut before = Duration::ZERO;
    let mut lines: Vec<_> = progress
        .tried
        .iter()
        .map(|tried| {
            before += tried.took;
            AttemptLine {
                node: &tried.node.name,
                outcome: tried.failure.word(),
                took_us: us(tried.took),
            }
        })
        .collect();
    if let Some(attempt) = &progress.attempt {
        lines.push(AttemptLine {
            node: &attempt.node().name,
            // Without an answer and without a failure of the node, it was the client who left.
            outcome: if answered { "answered" } else { "abandoned" },
            took_us: us(took.saturating_sub(before)),
        });
    }
    lines
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The beginning of a text that may be as long as a client likes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// Writes until nobody sends any more. A failure is reported once; later lines may work again.
fn write_all(lines: &Receiver<Message>, mut file: impl Write) {
    let mut failing = false;
    loop {
        // The buffer is written out whenever there is nothing else to do.
        let message = match lines.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                note(&file.flush(), &mut failing);
                let Ok(message) = lines.recv() else { return };
                message
            }
        };
        match message {
            Message::Line(line) => note(&file.write_all(&line), &mut failing),
            Message::Flush(done) => {
                note(&file.flush(), &mut failing);
                let _ = done.send(());
            }
        }
    }
}

fn note(written: &io::Result<()>, failing: &mut bool) {
    if let Err(error) = written
        && !*failing
    {
        warn!(%error, "cannot write the access log; is the disk full?");
    }
    *failing = written.is_err();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        group::tests::group,
        node::{Attempt, tests::up},
        progress::Failure,
    };

    #[test]
    fn every_attempt_has_its_outcome_and_its_time() {
        let mut progress = Progress::start(&group());
        let (first, second) = (up("a"), up("b"));
        progress.attempt = Attempt::at(&first);
        progress.fail(Failure::TimedOut);
        progress.attempt = Attempt::at(&second);
        let lines = attempts(&progress, true, Duration::from_secs(5));
        let words: Vec<_> = lines.iter().map(|line| (line.node, line.outcome)).collect();
        assert_eq!(words, [("a", "timed-out"), ("b", "answered")]);
        let sum: u64 = lines.iter().map(|line| line.took_us).sum();
        assert!(
            (4_999_998..=5_000_000).contains(&sum),
            "{sum}: cut to whole microseconds"
        );
        assert_eq!(
            attempts(&progress, false, Duration::ZERO)[1].outcome,
            "abandoned"
        );
    }

    #[test]
    fn what_a_client_chose_is_cut_between_letters() {
        assert_eq!(cut("short"), "short");
        let long = format!("{}é", "x".repeat(MAX_TEXT - 1));
        assert_eq!(cut(&long).len(), MAX_TEXT - 1);
    }

    /// Blocks in its first write until it is told to go on.
    struct Stuck(Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().expect("a lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_and_no_time() {
        let (go_on, stuck) = sync_channel(0);
        let written = Arc::default();
        let writer = Stuck(stuck, Arc::clone(&written));
        let (queue, lines) = sync_channel(4);
        let log = AccessLog {
            queue,
            dropped: Counter::default(),
        };
        let writing = thread::spawn(move || write_all(&lines, writer));
        let group = group();
        let progress = Progress::start(&group);
        let line = || Line {
            at_ms: 0,
            listener: &group.strategy,
            client: "",
            request_id: "",
            traceparent: None,
            method: "GET",
            path: "/a\nb",
            status: None,
            problem: None,
            took_us: 0,
            bytes_in: 0,
            bytes_out: 0,
            pinned: progress.pinned,
            moved: None,
            repinned: None,
            attempts: Vec::new(),
        };
        for _ in 0..20 {
            log.send(&line());
        }
        // Four wait in the queue, and the writer may hold a fifth.
        let dropped = log.dropped.get();
        assert!((15..=16).contains(&dropped), "{dropped}");
        drop(go_on);
        drop(log);
        writing.join().expect("an end");
        let text = written.lock().expect("a lock").clone();
        let text = String::from_utf8(text).expect("text");
        assert_eq!(text.lines().count() as u64, 20 - dropped);
        assert!(text.contains(r#""path":"/a\nb""#), "{text}");
    }
}
