//! What a node's head means, and the head that the client gets.
//!
//! Nodes are ours, but an answer whose end is not certain would let one client read another one's answer, so
//! their framing is judged as strictly as a client's.

use std::mem::MaybeUninit;

use crate::{
    affinity::OurCookies,
    http1::{
        fields::{
            Connection, Field, Length, Outcome, SessionEvent, field, is_named, put, put_number,
        },
        framing::{Encoding, Framing},
        request::Request,
    },
};

/// Fields of one head, at most.
const MAX_FIELDS: usize = 100;

/// What is remembered about an answer once its head was rewritten.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body that follows, and how the client gets it.
    pub(crate) body: Framing,
    pub(crate) encoding: Encoding,
    /// The node keeps the connection for another request.
    pub(crate) node_keeps: bool,
    /// The client may send another request.
    pub(crate) client_keeps: bool,
    /// What the node says of the client's session.
    pub(crate) event: Option<SessionEvent>,
    /// What the node says it has done. Not yet in the client's version: what other nodes have done is part of it.
    pub(crate) outcome: Option<Outcome>,
}

impl Answer {
    /// More than an announcement of the real answer.
    pub(crate) fn is_final(&self) -> bool {
        self.status >= 200
    }
}

/// The node's answer is not valid HTTP, or its end is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadAnswer;

/// Reads a complete head and appends the client's version of it to `output`, without the empty line at its
/// end: the caller may add fields. `may_keep` says whether the client's connection can be used again.
pub(crate) fn read(
    head: &[u8],
    request: &Request,
    our_cookies: &OurCookies,
    may_keep: bool,
    output: &mut Vec<u8>,
) -> Result<Answer, BadAnswer> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut fields) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        _ => return Err(BadAnswer),
    }
    let (Some(status), Some(reason), Some(version)) = (parsed.code, parsed.reason, parsed.version)
    else {
        return Err(BadAnswer);
    };
    // Nobody was asked to switch protocols.
    if !(100..600).contains(&status) || status == 101 {
        return Err(BadAnswer);
    }
    let fields = &*parsed.headers;
    let connection = Connection::of(fields);

    output.extend_from_slice(b"HTTP/1.1 ");
    output.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    output.push(b' ');
    output.extend_from_slice(reason.as_bytes());
    output.extend_from_slice(b"\r\n");
    let mut length = Length::default();
    let (mut event, mut outcome) = (None, None);
    for header in fields {
        let (name, value) = (header.name.as_bytes(), header.value);
        match field(name) {
            Field::ContentLength => length.read_length(value).map_err(|_| BadAnswer)?,
            Field::TransferEncoding if version == 1 => {
                length.read_encoding(value).map_err(|_| BadAnswer)?;
            }
            Field::TransferEncoding => return Err(BadAnswer),
            // How often a request was tried, and where its client is pinned, is not for nodes to say.
            Field::SetCookie if our_cookies.contain(value) => {}
            Field::SessionEvent => event = SessionEvent::read(value),
            Field::Outcome if Outcome::read(value).is_some() => outcome = Outcome::read(value),
            // One id from the client's request to the answer, whatever the node makes of it.
            Field::Connection | Field::HopByHop | Field::RequestId => {}
            Field::Ours if begins_with(name, b"x-balancer-") => {}
            _ => {
                if !(connection.names_fields && is_named(name, fields)) {
                    put(output, name, value);
                }
            }
        }
    }

    if status >= 200 {
        put(output, b"x-request-id", request.id.bytes());
    }
    let has_body = !request.is_head && status >= 200 && !matches!(status, 204 | 304);
    let (body, encoding) = match (has_body, length.chunked, length.length) {
        (false, _, length) => {
            if let Some(length) = length.filter(|_| status >= 200 && status != 204) {
                put_number(output, b"content-length", length);
            }
            (Framing::Length(0), Encoding::Plain)
        }
        (true, true, _) if request.is_modern => {
            put(output, b"transfer-encoding", b"chunked");
            (Framing::chunked(), Encoding::Chunked)
        }
        (true, true, _) => (Framing::chunked(), Encoding::Plain),
        (true, false, Some(length)) => {
            put_number(output, b"content-length", length);
            (Framing::Length(length), Encoding::Plain)
        }
        (true, false, None) => (Framing::UntilClose, Encoding::Plain),
    };
    let ends_itself = match body {
        Framing::Length(_) => true,
        Framing::Chunked(_) => request.is_modern,
        Framing::UntilClose => false,
    };
    let client_keeps = may_keep && request.keep_alive && ends_itself;
    if status >= 200 {
        if !client_keeps {
            put(output, b"connection", b"close");
        } else if !request.is_modern {
            put(output, b"connection", b"keep-alive");
        }
    }
    Ok(Answer {
        status,
        node_keeps: version == 1 && !connection.close && body != Framing::UntilClose,
        body,
        encoding,
        client_keeps,
        event,
        outcome,
    })
}

fn begins_with(name: &[u8], start: &[u8]) -> bool {
    name.get(..start.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(start))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
