//! The parsers of this crate as functions over bytes, for tests and fuzzers outside of it.
//!
//! Nothing is decided here: what runs is what serves a connection, with bytes in place of sockets. Bytes arrive
//! in pieces of a size that the caller chooses, because where a piece ends must make no difference.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use listen::Secret;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{
    affinity::{Affinity, OurCookies, Pins},
    config::{AffinityCookie, ClientLimits, SameSite},
    forwarded::TrustedProxies,
    http1::{
        answer,
        buffer::Buffer,
        client::{Client, Wire},
        framing::{Encoding, Framing},
        request::{self, Peer, Request, Rules},
        scan::Scan,
        target::PrivatePaths,
        upload::Upload,
    },
    proxy_protocol::{self, Parsed},
    request_id::RequestIds,
};

/// What nodes get to see as `x-session-strategy`.
pub const STRATEGY: &str = "sticky";
/// What nodes get to see as the client's address.
pub const CLIENT: &str = "192.0.2.7";
/// Paths that are not for clients: those of a balancer with no setting for them.
const PRIVATE_PATHS: [&str; 4] = ["/metrics", "/healthz", "/readyz", "/admin/"];
/// The affinity cookie's name.
pub const COOKIE: &str = "affinity";
/// How long a pin holds.
pub const LIFETIME_S: u32 = 12 * 60 * 60;
/// Bytes of a body, at most.
pub const MAX_BODY: u64 = 100_000;

/// Bytes never make anybody wait.
const LIMITS: ClientLimits = ClientLimits {
    connections: 1,
    body_bytes: MAX_BODY,
    keepalive: Duration::from_mins(1),
    head: Duration::from_mins(1),
    silence: Duration::from_mins(1),
    bytes_per_s: 1,
    linger: Duration::ZERO,
    linger_bytes: 0,
    aborts_on_close: false,
    trusted_proxies: Vec::new(),
};

/// What became of the bytes of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the other side got.
    pub sent: Vec<u8>,
    /// The status that the sender got instead of the other side's answer.
    pub refused: Option<u16>,
    /// The message came to its end.
    pub is_whole: bool,
    /// What came after it.
    pub rest: Vec<u8>,
}

/// A listener with affinity that nobody listens on.
#[derive(Debug)]
pub struct Listener {
    rules: Rules,
    affinity: Arc<Affinity>,
}

impl Listener {
    /// A listener over plain HTTP, whose affinity cookies are sealed with this key.
    pub fn new(key: &[u8]) -> Self {
        let cookie = AffinityCookie {
            name: COOKIE.to_owned(),
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            is_secure: false,
            lifetime_s: LIFETIME_S,
            is_persistent: false,
        };
        let affinity = Arc::new(Affinity::new(&Secret::new(key.to_vec()), &cookie));
        Self {
            rules: Rules {
                strategy: STRATEGY.to_owned(),
                is_https: false,
                affinity: Some(Arc::clone(&affinity)),
                our_cookies: OurCookies::default(),
                max_body: MAX_BODY,
                request_ids: RequestIds::new(),
                private_paths: PrivatePaths::new(PRIVATE_PATHS.map(str::to_owned).to_vec()),
                trusted_proxies: TrustedProxies::default(),
            },
            affinity,
        }
    }

    /// What a node gets of the request that a client begins its connection with. `None`: nothing came.
    pub async fn request(&self, bytes: &[u8], step: usize) -> Option<Outcome> {
        let mut client = Client::new(Pieces::new(bytes, step), Instant::now(), &LIMITS);
        let head = match client.read_head(&LIMITS, true).await? {
            Ok(head) => head,
            Err(problem) => return Some(Outcome::refused(problem.status(), Vec::new())),
        };
        let mut output = Vec::new();
        let bytes = &client.input.bytes()[..head];
        let request = match request::read(bytes, &self.rules, peer(), &mut output) {
            Ok(request) => request,
            Err(problem) => return Some(Outcome::refused(problem.status(), Vec::new())),
        };
        client.input.consume(head);
        let mut upload = Upload::new(output, &request, MAX_BODY);
        let mut sent = Vec::new();
        let passed = poll_fn(|cx| {
            loop {
                while let Poll::Ready(Ok(1..)) = upload.poll_send(&mut sent, cx) {}
                if upload.is_received() {
                    return Poll::Ready(Ok(true));
                }
                let has_more = !client.input.is_empty()
                    || matches!(client.poll_read(cx), Poll::Ready(Ok(1..)));
                if !has_more {
                    return Poll::Ready(Ok(false));
                }
                if upload.has_room()
                    && let Err(problem) = upload.take(&mut client.input)
                {
                    return Poll::Ready(Err(problem));
                }
            }
        })
        .await;
        Some(match passed {
            Ok(is_whole) => Outcome {
                sent,
                refused: None,
                is_whole,
                rest: client.input.bytes().to_vec(),
            },
            Err(problem) => Outcome::refused(problem.status(), sent),
        })
    }

    /// The value of `Set-Cookie` that pins a client to a node.
    pub fn pin(&self, node: &str, now_s: u32) -> String {
        self.affinity.issue(self.affinity.tag(node), now_s)
    }

    /// Whom the `Cookie` fields of a request pin their client to: each genuine cookie's node, by its place among
    /// `nodes`.
    pub fn pins(&self, cookies: &[&[u8]], nodes: &[&str], now_s: u32) -> Vec<Option<usize>> {
        let tags: Vec<_> = nodes.iter().map(|node| self.affinity.tag(node)).collect();
        let pins = self.affinity.read(cookies.iter().copied(), now_s);
        let places = pins
            .genuine()
            .map(|pin| tags.iter().position(|tag| *tag == pin.tag));
        places.collect()
    }
}

/// A `Cookie` field without affinity cookies; `None` when it holds none.
pub fn without_affinity(cookie: &[u8]) -> Option<Vec<u8>> {
    OurCookies::default().strip(cookie)
}

/// What a client gets of a node's answer, behind which the node closes its connection. `None`: no whole head came.
pub fn answer(bytes: &[u8], is_head: bool, is_modern: bool, step: usize) -> Option<Outcome> {
    let request = Request {
        is_idempotent: true,
        is_head,
        is_modern,
        keep_alive: true,
        body: Framing::Length(0),
        encoding: Encoding::Plain,
        pins: Pins::default(),
        id: RequestIds::new().next(),
        client: None,
    };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let (mut node, mut input) = (Pieces::new(bytes, step), Buffer::default());
    let mut fill = |input: &mut Buffer| {
        !input.is_full() && matches!(input.poll_fill(&mut node, &mut cx), Poll::Ready(Ok(1..)))
    };
    let bad = |sent| Some(Outcome::refused(502, sent));
    let mut scan = Scan::default();
    let head = loop {
        match scan.find_end(input.bytes()) {
            Ok(Some(end)) => break end,
            Ok(None) if fill(&mut input) => {}
            Ok(None) if !input.is_full() => return None,
            _ => return bad(Vec::new()),
        }
    };
    let mut sent = Vec::new();
    let Ok(mut answer) = answer::read(
        &input.bytes()[..head],
        &request,
        &OurCookies::default(),
        true,
        &mut sent,
    ) else {
        return bad(Vec::new());
    };
    sent.extend_from_slice(b"\r\n");
    input.consume(head);
    while !answer.body.is_done() && (!input.is_empty() || fill(&mut input)) {
        match answer.body.pass(input.bytes(), &mut sent, answer.encoding) {
            Ok(passed) => input.consume(passed.used),
            Err(_) => return bad(sent),
        }
    }
    Some(Outcome {
        sent,
        refused: None,
        is_whole: answer.body.is_done() || answer.body == Framing::UntilClose,
        rest: input.bytes().to_vec(),
    })
}

/// The data of a chunked body, what came after it, and whether it ended; `None` when its framing is broken.
pub fn chunks(bytes: &[u8], step: usize) -> Option<(Vec<u8>, Vec<u8>, bool)> {
    let (mut data, mut used) = (Vec::new(), 0);
    let mut framing = Framing::chunked();
    let step = step.max(1);
    while used < bytes.len() && !framing.is_done() {
        let piece = &bytes[used..bytes.len().min(used + step)];
        used += framing.pass(piece, &mut data, Encoding::Plain).ok()?.used;
    }
    Some((data, bytes[used..].to_vec(), framing.is_done()))
}

/// A client that nobody speaks for.
fn peer() -> Peer<'static> {
    Peer {
        address: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 4711)),
        ip: CLIENT,
        is_trusted: false,
    }
}

/// What the beginning of a connection says, where a PROXY header is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The header goes on.
    Incomplete,
    /// The header is complete.
    Complete {
        /// Its bytes.
        length: usize,
        /// Whose connection it is, if it says so.
        source: Option<SocketAddr>,
    },
    /// It is no PROXY header.
    Malformed,
}

/// Reads a PROXY header.
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    match proxy_protocol::parse(bytes) {
        Ok(Parsed::Incomplete) => ProxyHeader::Incomplete,
        Ok(Parsed::Complete { length, source }) => ProxyHeader::Complete { length, source },
        Err(_) => ProxyHeader::Malformed,
    }
}

impl Outcome {
    fn refused(status: u16, sent: Vec<u8>) -> Self {
        Self {
            sent,
            refused: Some(status),
            ..Self::default()
        }
    }
}

/// Bytes that arrive in pieces; what is written goes nowhere.
#[derive(Debug)]
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl Pieces {
    fn new(bytes: &[u8], step: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            step: step.max(1),
        }
    }
}

impl Wire for Pieces {
    fn is_reset(&self) -> bool {
        false
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self
            .step
            .min(room.remaining())
            .min(self.bytes.len() - self.at);
        room.put_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
