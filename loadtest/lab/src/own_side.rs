//! What this side could not do for a request: no open file left, no port, no memory. Nothing of that says anything about the
//! cluster, and a connection that was not even begun must never count against it.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use evidence::history::Reason;

/// What the system refused to this process, if that is why a request failed. An error of the network, of the load balancer or
/// of a node is none.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> Option<Reason> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error.downcast_ref::<io::Error>();
        if let Some(code) = system.and_then(io::Error::raw_os_error) {
            return of(Errno::from_raw_os_error(code));
        }
        // An error within an I/O error is not its source, but hides in it.
        let inner = system.and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn of(code: Errno) -> Option<Reason> {
    match code {
        Errno::MFILE | Errno::NFILE => Some(Reason::NoOpenFile),
        // The system has no port left for the near end of a connection.
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN => Some(Reason::NoPort),
        Errno::NOMEM | Errno::NOBUFS => Some(Reason::NoMemory),
        Errno::PERM | Errno::ACCESS => Some(Reason::NotPermitted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_lack_is_found_however_deep_it_is_wrapped() {
        for (code, expected) in [
            (Errno::MFILE, Some(Reason::NoOpenFile)),
            (Errno::NFILE, Some(Reason::NoOpenFile)),
            (Errno::ADDRNOTAVAIL, Some(Reason::NoPort)),
            (Errno::NOBUFS, Some(Reason::NoMemory)),
            (Errno::PERM, Some(Reason::NotPermitted)),
            (Errno::CONNREFUSED, None),
            (Errno::HOSTUNREACH, None),
            (Errno::TIMEDOUT, None),
            (Errno::PIPE, None),
        ] {
            let system = || io::Error::from_raw_os_error(code.raw_os_error());
            assert_eq!(reason(&system()), expected, "{code:?}");
            assert_eq!(reason(&Wrapped(system())), expected);
            let hidden = io::Error::other(Wrapped(io::Error::other(system())));
            assert_eq!(reason(&hidden), expected);
            assert_eq!(
                expected.is_some(),
                expected.and_then(Reason::advice).is_some()
            );
        }
        assert_eq!(reason(&io::Error::other("else")), None);
    }
}
