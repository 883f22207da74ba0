//! What a client's head means, and the head that the node gets.
//!
//! One pass over the fields does both: what is not understood is refused with a status, what must not come
//! from outside is dropped, the rest is copied. The framing is stated anew, from what was understood.

use std::{mem::MaybeUninit, sync::Arc};

use crate::{
    affinity::{Affinity, OurCookies, Pins},
    http1::{
        fields::{Connection, Field, Length, field, is_named, put, put_number},
        framing::{Encoding, Framing},
        idempotency_key,
    },
    problem::Problem,
    request_id::RequestIds,
    route::now_s,
};

/// Fields of one head, at most.
const MAX_FIELDS: usize = 64;
/// Bytes of a request's target, at most.
const MAX_TARGET: usize = 8 * 1024;
/// Bytes of a client's own `x-request-id`, at most.
const MAX_REQUEST_ID: usize = 128;

/// What one listener makes of every request.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What nodes get to see as `x-session-strategy`.
    pub(crate) strategy: String,
    /// Clients reach the listener over TLS, ended here or in front of us.
    pub(crate) is_https: bool,
    /// Set where clients are pinned to nodes.
    pub(crate) affinity: Option<Arc<Affinity>>,
    /// Cookies that nodes must not see, and not set.
    pub(crate) our_cookies: OurCookies,
    /// Bytes of a body, at most.
    pub(crate) max_body: u64,
    pub(crate) request_ids: RequestIds,
}

/// What is remembered about a request once its head was rewritten.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
#[derive(Debug)]
pub(crate) struct Request {
    /// Means the same when it arrives twice: by its method (RFC 9110, section 9.2.2), or because the client
    /// says so (`Idempotency-Key`).
    pub(crate) is_idempotent: bool,
    /// The answer has a length but no body.
    pub(crate) is_head: bool,
    /// The client speaks HTTP/1.1: understands chunks and interim answers.
    pub(crate) is_modern: bool,
    /// The client wants to keep its connection.
    pub(crate) keep_alive: bool,
    /// The body that follows, and how the node gets it.
    pub(crate) body: Framing,
    pub(crate) encoding: Encoding,
    /// What its affinity cookies say.
    pub(crate) pins: Pins,
}

/// The problem of everything that is not HTTP. What follows it cannot be trusted.
const BAD: Problem = Problem::BadRequest;

/// Reads a complete head and appends the node's version of it to `output`. `client` is the client's address
/// as text.
pub(crate) fn read(
    head: &[u8],
    rules: &Rules,
    client: &[u8],
    output: &mut Vec<u8>,
) -> Result<Request, Problem> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Problem::HeadTooLarge),
        _ => return Err(BAD),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(BAD);
    };
    let fields = &*parsed.headers;
    let is_modern = version == 1;

    output.extend_from_slice(method.as_bytes());
    output.push(b' ');
    let authority = write_target(method, target.as_bytes(), output)?;
    output.extend_from_slice(b" HTTP/1.1\r\n");
    let seen = pass_on(fields, is_modern, &rules.our_cookies, output)?;
    match (seen.host, authority) {
        (None, _) if is_modern => return Err(BAD),
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => return Err(BAD),
        (None, _) => put(output, b"host", authority.unwrap_or_default()),
        _ => {}
    }
    if seen
        .length
        .length
        .is_some_and(|length| length > rules.max_body)
    {
        return Err(Problem::BodyTooLarge);
    }
    add_ours(&seen, rules, client, output);
    let (body, encoding) = write_framing(&seen.length, output);
    output.extend_from_slice(b"\r\n");

    let cookies = fields
        .iter()
        .filter(|other| field(other.name.as_bytes()) == Field::Cookie);
    Ok(Request {
        is_idempotent: match method {
            "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" => true,
            "POST" | "PATCH" => seen.keys.is_one,
            _ => false,
        },
        is_head: method == "HEAD",
        is_modern,
        keep_alive: !seen.connection.close && (is_modern || seen.connection.keep_alive),
        body,
        encoding,
        pins: match &rules.affinity {
            Some(affinity) if seen.has_cookies => {
                affinity.read(cookies.map(|cookie| cookie.value), now_s())
            }
            _ => Pins::default(),
        },
    })
}

/// What the fields of a head said.
#[derive(Debug, Default)]
struct Seen<'a> {
    connection: Connection,
    host: Option<&'a [u8]>,
    length: Length,
    request_id: Option<&'a [u8]>,
    has_cookies: bool,
    keys: idempotency_key::Seen,
}

/// Copies the fields that are for the node as they are, and notes the others.
fn pass_on<'a>(
    fields: &[httparse::Header<'a>],
    is_modern: bool,
    our_cookies: &OurCookies,
    output: &mut Vec<u8>,
) -> Result<Seen<'a>, Problem> {
    let mut seen = Seen {
        connection: Connection::of(fields),
        ..Seen::default()
    };
    for header in fields {
        let (name, value) = (header.name.as_bytes(), header.value);
        match field(name) {
            Field::Other | Field::SetCookie | Field::Outcome => {
                if !(seen.connection.names_fields && is_named(name, fields)) {
                    put(output, name, value);
                }
            }
            Field::IdempotencyKey => {
                // What the node does not get to see binds nobody.
                if !(seen.connection.names_fields && is_named(name, fields)) {
                    seen.keys.note(value);
                    put(output, name, value);
                }
            }
            Field::Host => {
                if seen.host.is_some() || !is_host(value) {
                    return Err(BAD);
                }
                seen.host = Some(value);
                put(output, name, value);
            }
            Field::Cookie => {
                seen.has_cookies = true;
                put_cookie(our_cookies, output, name, value);
            }
            Field::ContentLength => seen.length.read_length(value).map_err(|_| BAD)?,
            Field::TransferEncoding if is_modern => {
                seen.length.read_encoding(value).map_err(|_| BAD)?;
            }
            Field::TransferEncoding => return Err(BAD),
            Field::Expect if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Problem::ExpectationFailed);
            }
            Field::Expect if is_modern => put(output, name, value),
            Field::RequestId => {
                if seen.request_id.is_none() && is_request_id(value) {
                    seen.request_id = Some(value);
                }
            }
            Field::Connection
            | Field::HopByHop
            | Field::Ours
            | Field::Expect
            | Field::SessionEvent => {}
        }
    }
    Ok(seen)
}

/// Adds the fields that a node believes because they are ours.
fn add_ours(seen: &Seen<'_>, rules: &Rules, client: &[u8], output: &mut Vec<u8>) {
    let scheme: &[u8] = if rules.is_https { b"https" } else { b"http" };
    put(output, b"x-session-strategy", rules.strategy.as_bytes());
    put(output, b"x-forwarded-for", client);
    put(output, b"x-forwarded-proto", scheme);
    if let Some(host) = seen.host {
        put(output, b"x-forwarded-host", host);
    }
    match seen.request_id {
        Some(id) => put(output, b"x-request-id", id),
        None => put(output, b"x-request-id", &rules.request_ids.next()),
    }
}

/// States the length of the body as it was understood.
fn write_framing(length: &Length, output: &mut Vec<u8>) -> (Framing, Encoding) {
    if length.chunked {
        put(output, b"transfer-encoding", b"chunked");
        return (Framing::chunked(), Encoding::Chunked);
    }
    if let Some(length) = length.length {
        put_number(output, b"content-length", length);
    }
    (Framing::Length(length.length.unwrap_or(0)), Encoding::Plain)
}

/// Can a client's own id go into logs as it is?
fn is_request_id(value: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// Writes the target in the form that a server of its own would get it (RFC 9112, section 3.2). Returns the
/// authority of an absolute target.
fn write_target<'a>(
    method: &str,
    target: &'a [u8],
    output: &mut Vec<u8>,
) -> Result<Option<&'a [u8]>, Problem> {
    if target.len() > MAX_TARGET {
        return Err(Problem::TargetTooLong);
    }
    // No blanks, no control bytes, no bytes that decoders disagree about, and no fragment: a client keeps
    // that for itself, so one that arrives is a trick.
    if !target
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'#')
    {
        return Err(BAD);
    }
    if method == "CONNECT" {
        return Err(Problem::MethodNotAllowed);
    }
    if target.starts_with(b"/") || (target == b"*" && method == "OPTIONS") {
        output.extend_from_slice(target);
        return Ok(None);
    }
    let scheme_end = ["http://", "https://"]
        .iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
        })
        .ok_or(BAD)?
        .len();
    let rest = &target[scheme_end..];
    let authority_end = rest
        .iter()
        .position(|byte| b"/?".contains(byte))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if !is_host(authority) {
        return Err(BAD);
    }
    if path.is_empty() && method == "OPTIONS" {
        output.push(b'*');
    } else if !path.starts_with(b"/") {
        output.push(b'/');
    }
    output.extend_from_slice(path);
    Ok(Some(authority))
}

/// May this stand in `Host`? Names, addresses and ports are made of these letters.
fn is_host(value: &[u8]) -> bool {
    !value.is_empty()
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_~%:[]".contains(byte))
}

/// Passes a `Cookie` field on without affinity cookies; an empty one not at all.
fn put_cookie(ours: &OurCookies, output: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    match ours.strip(value) {
        None => put(output, name, value),
        Some(rest) if rest.is_empty() => {}
        Some(rest) => put(output, name, &rest),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
