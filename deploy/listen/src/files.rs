//! How many files this process may have open at the same time.

use rustix::{
    io,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Raises the soft limit to the hard one, as servers and load generators do at their start.
///
/// The usual soft limit of 1,024 is for programs that still call `select`. A connection is a file too, so a server or a
/// generator would meet it long before the machine is at its end, and the failures would be taken for somebody else's.
/// Programs that are started from here inherit the raised limit.
pub fn raise_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
}
