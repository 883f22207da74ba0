//! The history's file: lines are appended whole, by two processes, and read back once the run is over.
//!
//! Both writers open the file for appending and hand over whole lines, so their lines never mix. A process that is
//! killed leaves at most one half line, at the end; the reader leaves that out.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{History, Line};
use crate::exit::{Exit, Failure};

/// Why a history could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file system said no.
    #[error("cannot {doing} the history {path}: {source}")]
    Io {
        /// `read`, `write`
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what this version of the lab writes.
    #[error("{path}, line {line}: not a line of a history: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Nothing says which run this is.
    #[error(
        "{path}: the history does not begin with a `meta` line, so nothing says which run it is"
    )]
    NoMeta {
        /// The file.
        path: PathBuf,
    },
}

impl From<HistoryError> for Failure {
    /// Without its history a measurement is worth nothing.
    fn from(error: HistoryError) -> Self {
        Self::new(Exit::Invalid, error.to_string())
    }
}

/// Appends lines to a history.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Appender {
    /// Opens `path`, which need not exist.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| HistoryError::Io {
                doing: "write",
                path: path.to_path_buf(),
                source,
            })?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            buffer: Vec::new(),
        })
    }

    /// Adds a line to the buffer. [`Appender::flush`] brings it to the file.
    pub fn push(&mut self, line: &Line) {
        // Writing to memory cannot fail, and our types have no maps with keys that JSON lacks.
        if serde_json::to_writer(&mut self.buffer, line).is_ok() {
            self.buffer.push(b'\n');
        }
    }

    /// Bytes that wait to be flushed.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Brings all buffered lines to the file, in one write.
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|source| HistoryError::Io {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// Appends one line at once.
    pub fn append(&mut self, line: &Line) -> Result<(), HistoryError> {
        self.push(line);
        self.flush()
    }
}

impl History {
    /// Reads a file. Half a line at its end, left by a process that was killed, is left out.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let io = |source| HistoryError::Io {
            doing: "read",
            path: path.to_path_buf(),
            source,
        };
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?);
        let mut text = Vec::new();
        let mut history = None;
        for number in 1.. {
            text.clear();
            if reader.read_until(b'\n', &mut text).map_err(io)? == 0 {
                break;
            }
            let line = match serde_json::from_slice(&text) {
                Ok(line) => line,
                Err(_) if text.last() != Some(&b'\n') => break,
                Err(source) => {
                    return Err(HistoryError::Line {
                        path: path.to_path_buf(),
                        line: number,
                        source,
                    });
                }
            };
            match (&mut history, line) {
                (None, Line::Meta(meta)) => {
                    history = Some(Self {
                        meta: *meta,
                        operations: Vec::new(),
                        faults: Vec::new(),
                        usage: Vec::new(),
                        memory: None,
                        counts: None,
                    });
                }
                (None, _) => break,
                (Some(history), line) => history.take(line),
            }
        }
        let mut history = history.ok_or_else(|| HistoryError::NoMeta {
            path: path.to_path_buf(),
        })?;
        history
            .operations
            .sort_by_key(|operation| operation.sent_us);
        Ok(history)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Meta(_) => {}
            Line::Operation(operation) => self.operations.push(operation),
            Line::Fault(event) => self.faults.push(event),
            Line::Usage(usage) => self.usage.push(usage),
            Line::Memory(memory) => self.memory = Some(memory),
            Line::Counts(counts) => self.counts = Some(counts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::{add, meta};
    use crate::history::{FaultEvent, FaultStep};

    fn fault(at_us: i64) -> Line {
        Line::Fault(FaultEvent {
            fault: 0,
            kind: "kill".into(),
            target: "node-2".into(),
            step: FaultStep::Commanded,
            at_us,
        })
    }

    #[test]
    fn lines_of_two_writers_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut parent = Appender::open(&path).unwrap();
        parent.append(&Line::Meta(Box::new(meta()))).unwrap();
        let mut child = Appender::open(&path).unwrap();
        child.push(&Line::Operation(add(1, 1, 2, 20)));
        child.push(&Line::Operation(add(1, 1, 1, 10)));
        parent.append(&fault(15)).unwrap();
        child.flush().unwrap();

        let history = History::read(&path).unwrap();
        assert_eq!(history.faults[0].at_us, 15);
        assert_eq!(
            history.operations,
            [add(1, 1, 1, 10), add(1, 1, 2, 20)],
            "in the order of sending, with nothing changed by the way through the file"
        );
    }

    #[test]
    fn half_a_line_at_the_end_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut writer = Appender::open(&path).unwrap();
        writer.append(&Line::Meta(Box::new(meta()))).unwrap();
        writer.append(&fault(1)).unwrap();
        writer.file.write_all(b"{\"fault\":{\"fau").unwrap();
        assert_eq!(History::read(&path).unwrap().faults.len(), 1);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut writer = Appender::open(&path).unwrap();
        writer.append(&Line::Meta(Box::new(meta()))).unwrap();
        writer.file.write_all(b"{\"fault\":{\n").unwrap();
        writer.append(&fault(1)).unwrap();
        let error = History::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_file_without_meta_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        Appender::open(&path).unwrap().append(&fault(1)).unwrap();
        assert!(matches!(
            History::read(&path),
            Err(HistoryError::NoMeta { .. })
        ));
    }
}
