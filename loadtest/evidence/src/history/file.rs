//! The history's file: lines are appended whole, by two processes, and read back once the run is over.
//!
//! Both writers open the file for appending and hand over whole lines, so their lines never mix. A process that is
//! killed leaves at most one half line, at the end; the reader leaves that out. A large file can be compressed when its
//! run is over ([`compress_if_large`]); the reader takes both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{Action, History, Line};

/// The ending of a compressed history.
const ZSTD: &str = "zst";
/// What is read at once.
const READ_BYTES: usize = 1 << 16;

/// An operation takes at least about this much in a file that is not compressed.
const LINE_BYTES: u64 = 256;
/// Operations that get room at once, whatever size the file claims to have.
const MOST_ROOM: usize = 1 << 22;

/// Why a history could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file system said no.
    #[error("cannot {doing} the history {path}: {source}{}", advice(source))]
    Io {
        /// `read`, `write`, `compress`
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

/// What to do about it.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::ReadOnlyFilesystem => {
            "; without its history a run is worth nothing: make room on the disk, or choose another folder with --out"
        }
        _ => "",
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

/// Compresses the history at `path` if it is larger than `limit_bytes`; the path that it has afterwards. The plain file
/// goes when the compressed one is complete and not before.
pub fn compress_if_large(path: &Path, limit_bytes: u64) -> Result<PathBuf, HistoryError> {
    let io = |source| HistoryError::Io {
        doing: "compress",
        path: path.to_path_buf(),
        source,
    };
    let mut plain = File::open(path).map_err(io)?;
    if plain.metadata().map_err(io)?.len() <= limit_bytes {
        return Ok(path.to_path_buf());
    }
    let with_ending = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (unfinished, finished) = (with_ending(".zst.part"), with_ending(".zst"));
    let written = File::create(&unfinished).and_then(|compressed| {
        zstd::stream::copy_encode(&mut plain, &compressed, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        compressed.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&unfinished, &finished));
    if let Err(error) = renamed {
        // Half of it is of no use, and the disk may be full.
        let _ = fs::remove_file(&unfinished);
        return Err(io(error));
    }
    fs::remove_file(path).map_err(io)?;
    Ok(finished)
}

impl History {
    /// Reads a file, plain or compressed (`.zst`). Half a line at its end, left by a process that was killed, is left out.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let io = |source| HistoryError::Io {
            doing: "read",
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        let mut reader: Box<dyn BufRead> = if path.extension().is_some_and(|end| end == ZSTD) {
            let decoder = zstd::Decoder::new(file).map_err(io)?;
            Box::new(BufReader::with_capacity(READ_BYTES, decoder))
        } else {
            Box::new(BufReader::with_capacity(READ_BYTES, file))
        };
        let mut text = Vec::new();
        let mut history = None;
        for number in 1.. {
            text.clear();
            if reader.read_until(b'\n', &mut text).map_err(io)? == 0 {
                break;
            }
            // Text is checked once a line rather than once a string; what is none gets its error from the parser.
            let parsed = match std::str::from_utf8(&text) {
                Ok(text) => serde_json::from_str(text),
                Err(_) => serde_json::from_slice(&text),
            };
            let line = match parsed {
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
                        // Room that is not used costs nothing; moving to a larger one would, in time and memory.
                        operations: Vec::with_capacity(
                            usize::try_from(file_bytes / LINE_BYTES)
                                .map_or(MOST_ROOM, |room| room.min(MOST_ROOM)),
                        ),
                        revocations: Vec::new(),
                        unsent: Vec::new(),
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
        // In place: these are many, and nearly sorted already. Ties are broken as the users acted.
        for operations in [&mut history.operations, &mut history.revocations] {
            operations.sort_unstable_by_key(|operation| {
                (operation.sent_us, operation.user, operation.id)
            });
        }
        Ok(history)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Meta(_) => {}
            Line::Operation(operation) if operation.is_unsent() => self.unsent.push(operation),
            Line::Operation(operation) if operation.action == Action::Revoke => {
                self.revocations.push(operation);
            }
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
            evidence: None,
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
    fn a_large_history_is_compressed_and_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut writer = Appender::open(&path).unwrap();
        writer.append(&Line::Meta(Box::new(meta()))).unwrap();
        for id in 1..1_000 {
            writer.push(&Line::Operation(add(1, 1, id, 10 * i64::from(id))));
        }
        writer.flush().unwrap();
        let before = History::read(&path).unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        assert_eq!(
            compress_if_large(&path, bytes).unwrap(),
            path,
            "not above the limit"
        );

        let compressed = compress_if_large(&path, bytes - 1).unwrap();
        assert_eq!(compressed, folder.path().join("history.jsonl.zst"));
        assert!(fs::metadata(&compressed).unwrap().len() < bytes / 5);
        assert_eq!(
            History::read(&compressed).unwrap().operations,
            before.operations
        );
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(
            left.len(),
            1,
            "the plain file and the unfinished one are gone"
        );
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
