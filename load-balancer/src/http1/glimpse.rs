//! What can be said of a head that was refused, or never came to its end: enough for a log line and for the
//! form of the answer. Nothing here is passed on to a node.

use crate::request_id::RequestId;

/// A method of a refused request is shown up to this length.
const MAX_METHOD: usize = 32;

/// A look at the beginning of what a client sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glimpse<'a>(&'a [u8]);

impl<'a> Glimpse<'a> {
    /// A look at a head, or at what is there of it.
    pub(crate) fn of(head: &'a [u8]) -> Self {
        Self(head)
    }

    /// All of it.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn words(self) -> impl Iterator<Item = &'a [u8]> {
        let line = self.0.split(|byte| *byte == b'\n').next();
        line.unwrap_or_default().split(|byte| b" \r".contains(byte))
    }

    /// The method, if it can be one and came whole.
    pub(crate) fn method(self) -> &'a str {
        let mut words = self.words();
        let method = words.next().filter(|_| words.next().is_some());
        method
            .filter(|method| method.len() <= MAX_METHOD && method.iter().all(u8::is_ascii_graphic))
            .and_then(|method| str::from_utf8(method).ok())
            .unwrap_or("")
    }

    /// Must the answer have no content?
    pub(crate) fn is_head(self) -> bool {
        self.method() == "HEAD"
    }

    /// The path without its query. Only of a target that is a path: others may hold a password.
    pub(crate) fn path(self) -> String {
        let target = self.words().nth(1).unwrap_or_default();
        if !target.starts_with(b"/") && target != b"*" {
            return String::new();
        }
        let end = target.iter().position(|byte| b"?#".contains(byte));
        String::from_utf8_lossy(&target[..end.unwrap_or(target.len())]).into_owned()
    }

    /// The client's own id, if it is valid and came whole.
    pub(crate) fn request_id(self) -> Option<RequestId> {
        self.values("x-request-id").find_map(RequestId::of_client)
    }

    /// The value of the first field of that name.
    pub(crate) fn value(self, name: &str) -> Option<&'a str> {
        self.values(name)
            .next()
            .and_then(|value| str::from_utf8(value).ok())
    }

    fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.split_inclusive(|byte| *byte == b'\n').skip(1);
        lines.filter_map(move |line| {
            let line = line.strip_suffix(b"\n")?;
            let (start, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            start
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.trim_ascii())
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_much_is_read_as_there_is() {
        let whole = "HEAD /a?secret HTTP/1.1\r\nExpect: nope\r\nX-Request-ID: bad one\r\nX-Request-ID: mine\r\n\r\n";
        let glimpse = Glimpse::of(whole.as_bytes());
        assert_eq!(
            (glimpse.method(), glimpse.path()),
            ("HEAD", "/a".to_owned())
        );
        assert!(glimpse.is_head());
        assert_eq!(glimpse.request_id().expect("an id").bytes(), b"mine");
        assert_eq!(glimpse.value("expect"), Some("nope"));
        let half = &whole[..whole.len() - 5];
        assert!(
            Glimpse::of(half.as_bytes()).request_id().is_none(),
            "it may go on"
        );
        for (head, method, path) in [
            ("", "", ""),
            ("HEAD", "", ""),
            ("HEAD ", "HEAD", ""),
            ("HEAD /a", "HEAD", "/a"),
            ("HEADS /a", "HEADS", "/a"),
            ("GET http://user:secret@host/ HTTP/1.1\r\n", "GET", ""),
            ("\u{16}\u{3}\u{1} /\r\n", "", "/"),
            ("GET /a\n", "GET", "/a"),
        ] {
            let glimpse = Glimpse::of(head.as_bytes());
            assert_eq!(
                (glimpse.method(), &*glimpse.path()),
                (method, path),
                "{head:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let glimpse = Glimpse::of(&bytes);
            let _ = (glimpse.method(), glimpse.path(), glimpse.request_id(), glimpse.value("a"));
        }
    }
}
