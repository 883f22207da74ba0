//! What a client's head means, and the head that the node gets.
//!
//! One pass over the fields does both: what is not understood is refused with a status, what must not come
//! from outside is dropped, the rest is copied. The framing is stated anew, from what was understood.

use std::{
    io::Write as _,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    affinity::{Affinity, OurCookies, Pins},
    clock::now_s,
    forwarded::{Forwarded, TrustedProxies},
    http1::{
        fields::{Connection, Field, Length, field, is_named, put, put_number},
        framing::{Encoding, Framing},
        idempotency_key,
        target::{Authority, PrivatePaths, is_host, write_target},
    },
    problem::Problem,
    request_id::{RequestId, RequestIds},
};

/// Fields of one head, at most.
const MAX_FIELDS: usize = 64;

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
    /// Paths that no client gets to see.
    pub(crate) private_paths: PrivatePaths,
    /// Who may speak for clients of its own.
    pub(crate) trusted_proxies: TrustedProxies,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) address: SocketAddr,
    /// As nodes get to see it.
    pub(crate) ip: &'a str,
    /// Is it a proxy that may say who its client is?
    pub(crate) is_trusted: bool,
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
    pub(crate) id: RequestId,
    /// Who sent it, where a trusted proxy says so.
    pub(crate) client: Option<IpAddr>,
}

/// The problem of everything that is not HTTP. What follows it cannot be trusted.
const BAD: Problem = Problem::BadRequest;

/// Reads a complete head of `peer` and appends the node's version of it to `output`.
pub(crate) fn read(
    head: &[u8],
    rules: &Rules,
    peer: Peer<'_>,
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
    let authority = write_target(method, target.as_bytes(), &rules.private_paths, output)?;
    output.extend_from_slice(b" HTTP/1.1\r\n");
    let seen = pass_on(fields, is_modern, authority, rules, peer, output)?;
    if seen.host.is_none() {
        if is_modern {
            return Err(BAD);
        }
        let host = authority.map_or(&b""[..], |authority| authority.text);
        put(output, b"host", host);
    }
    if seen
        .length
        .length
        .is_some_and(|length| length > rules.max_body)
    {
        return Err(Problem::BodyTooLarge);
    }
    let client = seen.forwarded.client();
    let id = seen.request_id.unwrap_or_else(|| rules.request_ids.next());
    add_ours(&seen, rules, peer, output);
    put(output, b"x-request-id", id.bytes());
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
        id,
        client,
    })
}

/// What the fields of a head said.
#[derive(Debug, Default)]
struct HeadFields<'a> {
    connection: Connection,
    host: Option<&'a [u8]>,
    length: Length,
    request_id: Option<RequestId>,
    has_cookies: bool,
    /// By a trusted proxy.
    forwarded: Forwarded,
    keys: idempotency_key::Keys,
}

/// Copies the fields that are for the node as they are, and notes the others. `Host` becomes the authority of an
/// absolute target (RFC 9112, section 3.2.2).
fn pass_on<'a>(
    fields: &[httparse::Header<'a>],
    is_modern: bool,
    authority: Option<Authority<'a>>,
    rules: &Rules,
    peer: Peer<'_>,
    output: &mut Vec<u8>,
) -> Result<HeadFields<'a>, Problem> {
    let mut seen = HeadFields {
        connection: Connection::of(fields),
        ..HeadFields::default()
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
                let is_right = authority.is_none_or(|authority| authority.is_same(value));
                if seen.host.is_some() || !is_host(value) || !is_right {
                    return Err(BAD);
                }
                let host = authority.map_or(value, |authority| authority.text);
                seen.host = Some(host);
                put(output, name, host);
            }
            Field::Cookie => {
                seen.has_cookies = true;
                put_cookie(&rules.our_cookies, output, name, value);
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
                if seen.request_id.is_none() {
                    seen.request_id = RequestId::of_client(value);
                }
            }
            Field::Ours => {
                if peer.is_trusted {
                    seen.forwarded.read(name, value, &rules.trusted_proxies);
                }
            }
            Field::Connection | Field::HopByHop | Field::Expect | Field::SessionEvent => {}
        }
    }
    Ok(seen)
}

/// Adds the fields that a node believes because they are ours.
fn add_ours(seen: &HeadFields<'_>, rules: &Rules, peer: Peer<'_>, output: &mut Vec<u8>) {
    let is_https = seen.forwarded.is_https().unwrap_or(rules.is_https);
    let scheme: &[u8] = if is_https { b"https" } else { b"http" };
    put(output, b"x-session-strategy", rules.strategy.as_bytes());
    match seen.forwarded.client() {
        None => put(output, b"x-forwarded-for", peer.ip.as_bytes()),
        Some(client) => {
            // Writing to a vector cannot fail.
            let _ = write!(output, "x-forwarded-for: {client}\r\n");
        }
    }
    put(output, b"x-forwarded-proto", scheme);
    if let Some(host) = seen.host {
        put(output, b"x-forwarded-host", host);
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
