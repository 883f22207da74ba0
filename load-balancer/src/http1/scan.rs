//! Where a head ends, before anything in it is believed.
//!
//! Parsers disagree about lines that end in a bare LF and about a CR in the middle of one, and such
//! disagreements are what request smuggling is made of (RFC 9112, sections 2.2 and 11.2). So both are
//! refused here, byte by byte, before the parser sees anything. Each byte is looked at once, however slowly
//! the head arrives.

use memchr::memchr2;

/// The search for the end of one head, which may arrive in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Bytes known to be fine.
    seen: usize,
    /// Where the current line began.
    line: usize,
}

/// A line ended in something other than CRLF, or held a CR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLine;

impl Scan {
    /// The head's length with its empty line, or `None` while it is incomplete. `bytes` begins with the head,
    /// and with the bytes of the last call.
    pub(crate) fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadLine> {
        while let Some(offset) = memchr2(b'\r', b'\n', &bytes[self.seen..]) {
            let at = self.seen + offset;
            match bytes.get(at..at + 2) {
                Some(b"\r\n") => {}
                None if bytes[at] == b'\r' => {
                    self.seen = at;
                    return Ok(None);
                }
                _ => return Err(BadLine),
            }
            self.seen = at + 2;
            if at == self.line {
                return Ok(Some(self.seen));
            }
            self.line = self.seen;
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(bytes: &[u8]) -> Result<Option<usize>, BadLine> {
        Scan::default().find_end(bytes)
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(end(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest"), Ok(Some(27)));
        assert_eq!(end(b"GET / HTTP/1.1\r\nHost: a\r\n\r"), Ok(None));
        for bad in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\r\n\r\n",
            b"\n",
        ] {
            assert_eq!(end(bad), Err(BadLine), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        /// However a head is cut into pieces, the outcome is the same as for the whole.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop::sample::select(&b"ab:\r\n\r\n"[..]), 0..40),
            step in 1..7_usize,
        ) {
            let mut scan = Scan::default();
            let mut outcome = Ok(None);
            for cut in (step..bytes.len()).step_by(step).chain([bytes.len()]) {
                outcome = scan.find_end(&bytes[..cut]);
                if outcome != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(outcome, end(&bytes));
        }

        /// What is taken for a head has no CR and no LF but in its line ends, and no empty line but its last.
        #[test]
        fn a_head_is_nothing_but_lines(
            bytes in prop::collection::vec(prop::sample::select(&b"a:\r\n\r\n"[..]), 0..24),
        ) {
            if let Ok(Some(end)) = end(&bytes) {
                let text = std::str::from_utf8(&bytes[..end]).expect("ASCII");
                let lines: Vec<_> = text.split("\r\n").collect();
                prop_assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])));
                prop_assert!(lines[..lines.len() - 2].iter().all(|line| !line.is_empty()));
                prop_assert!(lines[lines.len() - 2..].iter().all(|line| line.is_empty()));
            }
        }
    }
}
