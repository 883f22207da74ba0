//! hyper as the judge: what it reads from the bytes that a balancer sent on must be the request that the client
//! sent, less what belongs to one connection, plus what the balancer vouches for.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use load_balancer::inspect::{self, Listener, Outcome};
use tokio::io::{AsyncRead, AsyncWrite};

/// What the node gives hyper for a head and the beginning of its body (`services/shop/src/server.rs`).
const MAX_BUFFER_BYTES: usize = 32 * 1024;

/// Fields that are not passed on: of one connection, and of ours. The others that begin with `proxy-` or
/// `x-forwarded`, or have a `_`, are not passed on either.
const DROPPED: [&str; 13] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "transfer-encoding",
    "proxy",
    "forwarded",
    "x-real-ip",
    "x-session-strategy",
    "x-balancer-retries",
    "x-session-event",
    "x-answer-within-ms",
];

/// Fields whose new values are judged by themselves.
const RESTATED: [&str; 5] = ["host", "content-length", "cookie", "expect", "x-request-id"];

/// One request as hyper reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In order, with names in small letters.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// `None`: it broke off.
    pub(crate) body: Option<Vec<u8>>,
}

impl Seen {
    /// The values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let same = self.fields.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| &**value).collect()
    }
}

/// Serves a connection, and notes every request on it. Returns whether hyper found nothing wrong.
pub(crate) async fn serve<C: AsyncRead + AsyncWrite + Send + 'static>(
    io: C,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> bool {
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let fields = parts.headers.iter();
            let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            let fields = fields.collect();
            let body = body.collect().await.ok();
            let body = body.map(|body| body.to_bytes().to_vec());
            seen.lock().expect("a lock").push(Seen {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                fields,
                body,
            });
            Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
        }
    });
    let mut server = http1::Builder::new();
    server.half_close(true).max_buf_size(MAX_BUFFER_BYTES);
    server
        .serve_connection(TokioIo::new(pin!(io)), service)
        .await
        .is_ok()
}

/// Every request that hyper reads from these bytes, and whether it found nothing wrong.
pub(crate) async fn read(bytes: &[u8]) -> (Vec<Seen>, bool) {
    let seen = Arc::default();
    let io = tokio::io::join(std::io::Cursor::new(bytes.to_vec()), tokio::io::sink());
    let is_clean = serve(io, Arc::clone(&seen)).await;
    let seen = std::mem::take(&mut *seen.lock().expect("a lock"));
    (seen, is_clean)
}

/// Passes the bytes through the parsers of the balancer and judges what comes out. Panics where hyper does not
/// agree.
pub(crate) async fn judge(listener: &Listener, bytes: &[u8], step: usize) -> Option<Outcome> {
    let outcome = listener.request(bytes, step).await?;
    let (seen, is_clean) = read(&outcome.sent).await;
    let shown = || {
        format!(
            "{}\n→ {}",
            bytes.escape_ascii(),
            outcome.sent.escape_ascii()
        )
    };
    match &seen[..] {
        // Refused before anything was sent, or in the middle of a head, which cannot be.
        [] => assert!(
            outcome.sent.is_empty() && outcome.refused.is_some(),
            "hyper does not take it: {}",
            shown()
        ),
        [seen] if outcome.is_whole => {
            assert!(is_clean, "hyper complains: {}", shown());
            let used = bytes.len() - outcome.rest.len();
            assert_is_passed_on(&client_sent(&bytes[..used]).await, seen);
        }
        [seen] => assert_eq!(seen.body, None, "it looks whole: {}", shown()),
        _ => panic!("more than one request: {}", shown()),
    }
    if let Some(status) = outcome.refused {
        assert!((400..500).contains(&status), "{status}: {}", shown());
    }
    Some(outcome)
}

/// What the client sent, read in a simple way: what is passed on has none of the tricks that this would miss.
/// hyper takes the chunks apart.
pub(crate) async fn client_sent(bytes: &[u8]) -> Seen {
    // Empty lines before a request are skipped.
    let mut bytes = bytes;
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let end = find(bytes, b"\r\n\r\n").expect("the end of the head");
    let mut lines = lines(&bytes[..end]);
    let line = String::from_utf8(lines.next().expect("a line").to_vec()).expect("ASCII");
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().expect("a method"),
        words.next().expect("a target"),
    );
    let fields = lines.map(|line| {
        let colon = find(line, b":").expect("a colon");
        let name = String::from_utf8(line[..colon].to_ascii_lowercase()).expect("ASCII");
        (name, line[colon + 1..].trim_ascii().to_vec())
    });
    // Its target may be what hyper does not take.
    let plain = [b"POST / HTTP/1.1", &bytes[line.len()..]].concat();
    let (seen, _) = read(&plain).await;
    Seen {
        method: method.to_owned(),
        target: origin_form(method, target),
        fields: fields.collect(),
        body: seen.into_iter().next().and_then(|seen| seen.body),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|found| found == wanted)
}

fn lines(mut head: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = find(head, b"\r\n").unwrap_or(head.len());
        let line = &head[..end];
        head = head.get(end + 2..).unwrap_or_default();
        (!line.is_empty()).then_some(line)
    })
}

/// The target without scheme and authority (RFC 9112, section 3.2).
fn origin_form(method: &str, target: &str) -> String {
    let Some((_, rest)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    else {
        return target.to_owned();
    };
    match rest.find(['/', '?']) {
        None if method == "OPTIONS" => "*".to_owned(),
        None => "/".to_owned(),
        Some(start) if rest[start..].starts_with('?') => format!("/{}", &rest[start..]),
        Some(start) => rest[start..].to_owned(),
    }
}

/// Asserts that the node sees what the client sent.
pub(crate) fn assert_is_passed_on(client: &Seen, node: &Seen) {
    let shown = format!("client: {client:?}\nnode: {node:?}");
    assert_eq!(node.method, client.method, "{shown}");
    assert_eq!(decoded(&node.target), decoded(&client.target), "{shown}");
    assert_eq!(node.body, client.body, "{shown}");
    let connection = client
        .values("connection")
        .join(&b","[..])
        .to_ascii_lowercase();
    let named: Vec<_> = connection
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .collect();
    let is_passed = |name: &str| {
        !DROPPED.contains(&name)
            && !RESTATED.contains(&name)
            && !name.starts_with("proxy-")
            && !name.starts_with("x-forwarded")
            && !name.contains('_')
            && !named.contains(&name.as_bytes())
    };
    let sorted = |seen: &Seen| {
        let mut fields = seen.fields.clone();
        fields.retain(|(name, _)| is_passed(name));
        // hyper does not keep the order of different names.
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        fields
    };
    assert_eq!(sorted(node), sorted(client), "{shown}");

    for (name, value) in [
        ("x-session-strategy", inspect::STRATEGY),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(node.values(name), [value.as_bytes()], "{name}: {shown}");
    }
    for name in [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "forwarded",
        "x-real-ip",
    ] {
        assert!(node.values(name).is_empty(), "{name}: {shown}");
    }
    assert_eq!(node.values("x-forwarded-for").len(), 1, "{shown}");
    assert_eq!(node.values("host").len(), 1, "{shown}");
    if let [host] = client.values("host")[..] {
        // An absolute target may have spelled it in another way.
        assert_eq!(
            authority(node.values("host")[0]),
            authority(host),
            "{shown}"
        );
    }
    assert_eq!(cookies(node), cookies(client), "{shown}");
    assert!(node.values("content-length").len() + node.values("transfer-encoding").len() <= 1);
    let [id] = node.values("x-request-id")[..] else {
        panic!("not one x-request-id: {shown}");
    };
    let ids = client.values("x-request-id");
    match ids
        .iter()
        .find(|id| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic))
    {
        Some(first) => assert_eq!(id, *first, "{shown}"),
        None => assert!(!id.is_empty(), "{shown}"),
    }
}

/// An authority in one spelling: in small letters, without a default port.
fn authority(host: &[u8]) -> String {
    let host = String::from_utf8_lossy(host).to_lowercase();
    let bare = [":80", ":443", ":"]
        .iter()
        .find_map(|port| host.strip_suffix(port));
    bare.unwrap_or(&host).to_owned()
}

/// Bytes that may be written as they are or as `%22` are the same target.
fn decoded(target: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = target.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match rest {
            [b'%', high, low, ..] => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                // What could not be meant otherwise stays apart from its code.
                .filter(|code| b"\"<>\\^`{|}".contains(code)),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[3..] } else { tail };
    }
    bytes
}

/// The cookies without the balancer's own.
fn cookies(seen: &Seen) -> Vec<Vec<u8>> {
    let pieces = seen.values("cookie").into_iter();
    let pieces = pieces.flat_map(|value| value.split(|byte| *byte == b';'));
    pieces
        .map(<[u8]>::trim_ascii)
        .filter(|piece| !piece.is_empty() && !is_affinity(piece))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Is it a cookie that any listener of any balancer of ours may have set?
fn is_affinity(cookie: &[u8]) -> bool {
    let Some(equals) = find(cookie, b"=") else {
        return false;
    };
    let name = cookie[..equals].trim_ascii();
    let guards: [&[u8]; 2] = [b"__Host-", b"__Secure-"];
    let bare = guards.iter().find_map(|guard| name.strip_prefix(*guard));
    let rest = bare.unwrap_or(name).strip_prefix(b"affinity");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}
