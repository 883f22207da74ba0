//! What a command says on stdout and stderr. `println!` and `eprintln!` panic when the reader has gone (`lab scenarios | head -1`),
//! so nothing here uses them, and clippy sees to that (`clippy.toml`).
//!
//! A reader that has seen enough is no failure: the rest is not written, the command goes on without a word, and its exit code
//! says what it would have said anyway. Signals are left alone: `SIGPIPE` in its default state would end a run, cluster and
//! all, when any connection breaks.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::exit::{Exit, Failure};

/// Writes the result of a command to stdout. Fails where the text is lost to somebody who still reads, as on a full disk.
pub fn print(text: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    // Flushed here, where an error can still be told.
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Usage,
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes a line for people to stderr, if anybody listens.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
