//! Which header fields concern a balancer, and what the words in them mean.

/// Tells a node that it drains: it must not start a session for somebody who has none there.
pub(crate) const DRAINS: &[u8] = b"x-balancer-drain";

/// Tells the client how many other nodes were asked before.
pub(crate) const RETRIES: &[u8] = b"x-balancer-retries";

/// Tells the client what a request that failed has done.
pub(crate) const OUTCOME: &[u8] = b"x-outcome";

/// What a node says of the session that a request came with, or has got (`x-session-event`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    Started,
    Ended,
}

impl SessionEvent {
    /// Reads the field; other words mean nothing.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        match value {
            b"started" => Some(Self::Started),
            b"ended" => Some(Self::Ended),
            _ => None,
        }
    }
}

/// What a request that failed has done (`x-outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    NothingDone,
    Unknown,
}

impl Outcome {
    /// Reads the field; other words are somebody else's.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        match value {
            b"nothing-done" => Some(Self::NothingDone),
            b"unknown" => Some(Self::Unknown),
            _ => None,
        }
    }

    /// The word of the field.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NothingDone => "nothing-done",
            Self::Unknown => "unknown",
        }
    }
}

/// A field that is more than something to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Means nothing to us.
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// Belongs to one connection and is not passed on (RFC 9110, section 7.6.1).
    HopByHop,
    /// Ours to set: what comes from outside is dropped.
    Ours,
    Cookie,
    SetCookie,
    Expect,
    RequestId,
    /// The client's word that the request may be repeated.
    IdempotencyKey,
    /// The node's word that a session started or ended: for us alone.
    SessionEvent,
    /// The node's word on what a failed request has done.
    Outcome,
}

/// What a field means to us, by its name.
pub(crate) fn field(name: &[u8]) -> Field {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    // Most names are told apart by their length and never compared.
    match name.len() {
        2 if is(b"te") => Field::HopByHop,
        4 if is(b"host") => Field::Host,
        6 if is(b"cookie") => Field::Cookie,
        6 if is(b"expect") => Field::Expect,
        7 if is(b"trailer") || is(b"upgrade") => Field::HopByHop,
        9 if is(OUTCOME) => Field::Outcome,
        9 if is(b"forwarded") || is(b"x-real-ip") => Field::Ours,
        10 if is(b"connection") => Field::Connection,
        10 if is(b"set-cookie") => Field::SetCookie,
        10 if is(b"keep-alive") => Field::HopByHop,
        12 if is(b"x-request-id") => Field::RequestId,
        14 if is(b"content-length") => Field::ContentLength,
        15 if is(b"idempotency-key") => Field::IdempotencyKey,
        15 if is(b"x-session-event") => Field::SessionEvent,
        16 if is(DRAINS) => Field::Ours,
        17 if is(b"transfer-encoding") => Field::TransferEncoding,
        18 if is(b"x-session-strategy") || is(RETRIES) => Field::Ours,
        18 if is(b"x-answer-within-ms") => Field::Ours,
        5.. if name[..5].eq_ignore_ascii_case(b"proxy")
            && matches!(name.get(5), None | Some(b'-')) =>
        {
            Field::HopByHop
        }
        11.. if name[..11].eq_ignore_ascii_case(b"x-forwarded") => Field::Ours,
        // Behind some nodes' gateways `_` and `-` are the same: `x_session_strategy` must not pass for ours,
        // nor `content_length` for the framing. Like nginx, we drop every such name.
        _ if name.contains(&b'_') => Field::Ours,
        _ => Field::Other,
    }
}

/// The tokens of a comma-separated field.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// What all `Connection` fields of a head say.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// Some field is named, and must not be passed on.
    pub(crate) names_fields: bool,
}

impl Connection {
    /// What these fields say.
    pub(crate) fn of(fields: &[httparse::Header<'_>]) -> Self {
        let mut connection = Self::default();
        for other in fields {
            if field(other.name.as_bytes()) == Field::Connection {
                connection.read(other.value);
            }
        }
        connection
    }

    fn read(&mut self, value: &[u8]) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.names_fields = true;
            }
        }
    }
}

/// Does any `Connection` field of the head name this one?
pub(crate) fn is_named(name: &[u8], fields: &[httparse::Header<'_>]) -> bool {
    fields
        .iter()
        .filter(|other| field(other.name.as_bytes()) == Field::Connection)
        .flat_map(|other| tokens(other.value))
        .any(|token| token.eq_ignore_ascii_case(name))
}

/// Why a head's framing cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadFraming;

/// What a head says about the length of its body. One statement or none: two are refused even if they agree,
/// because another parser may see only one of them.
#[derive(Debug, Default)]
pub(crate) struct Length {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
}

impl Length {
    /// Takes a `Content-Length` into account: digits and nothing else (RFC 9110, section 8.6).
    pub(crate) fn read_length(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !is_number || self.length.is_some() || self.chunked {
            return Err(BadFraming);
        }
        self.length = Some(
            value
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
        );
        Ok(())
    }

    /// Takes a `Transfer-Encoding` into account: `chunked` and nothing else is understood.
    pub(crate) fn read_encoding(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        if self.chunked || self.length.is_some() || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(BadFraming);
        }
        self.chunked = true;
        Ok(())
    }
}

/// Appends one field.
pub(crate) fn put(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    head.reserve(name.len() + value.len() + 4);
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Appends one field with a number.
pub(crate) fn put_number(head: &mut Vec<u8>, name: &[u8], number: u64) {
    put(head, name, itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_spelling() {
        for (name, wanted) in [
            ("Host", Field::Host),
            ("TE", Field::HopByHop),
            ("Proxy-Connection", Field::HopByHop),
            ("Proxy", Field::HopByHop),
            ("proxyfoo", Field::Other),
            ("X-Forwarded-For", Field::Ours),
            ("X-Answer-Within-Ms", Field::Ours),
            ("X-Forwarded-Anything", Field::Ours),
            ("x_session_strategy", Field::Ours),
            ("content_length", Field::Ours),
            ("Content-Length", Field::ContentLength),
            ("Idempotency-Key", Field::IdempotencyKey),
            ("X-Session-Event", Field::SessionEvent),
            ("X-Outcome", Field::Outcome),
            ("X-Balancer-Drain", Field::Ours),
            ("accept", Field::Other),
        ] {
            assert_eq!(field(name.as_bytes()), wanted, "{name}");
        }
    }

    #[test]
    fn a_length_is_digits_and_stands_once() {
        for bad in [
            "",
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "0x5",
            "5 5",
            "5.0",
            "9999999999999999999",
            "٥",
        ] {
            assert_eq!(
                Length::default().read_length(bad.as_bytes()),
                Err(BadFraming),
                "{bad:?}"
            );
        }
        let mut length = Length::default();
        length
            .read_length(b"0042")
            .expect("leading zeros are digits");
        assert_eq!(length.length, Some(42));
        assert_eq!(length.read_length(b"42"), Err(BadFraming));
        assert_eq!(length.read_encoding(b"chunked"), Err(BadFraming));
    }

    #[test]
    fn chunked_is_the_only_encoding() {
        for bad in [
            "",
            "xchunked",
            "chunked, identity",
            "identity",
            "chunked, chunked",
            "gzip, chunked",
            "chunked;q=1",
        ] {
            assert_eq!(
                Length::default().read_encoding(bad.as_bytes()),
                Err(BadFraming),
                "{bad:?}"
            );
        }
        let mut length = Length::default();
        length.read_encoding(b"Chunked").expect("in any spelling");
        assert_eq!(length.read_encoding(b"chunked"), Err(BadFraming));
        assert_eq!(length.read_length(b"5"), Err(BadFraming));
    }
}
