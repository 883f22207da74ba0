//! A node for tests: a few lines of HTTP by hand, because its job is to do what no HTTP library would.
//!
//! `POST …/login` starts a session and `POST …/logout` ends one, as far as answers say so; `…/gone` is asked with a session
//! that has ended. A node that is told that it drains starts none for a client without a cookie `session`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What the node does with a request that it has read. Checks of its health are answered all the same,
/// except in `Freeze`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers with this status, after this many milliseconds.
    Answer { status: u16, after_ms: u64 },
    /// Answers 503, and says with this word what was done; an empty one says nothing.
    Refuse { outcome: &'static str },
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
    /// Never answers anything, not even a health check; still accepts connections, like a stopped process.
    Freeze,
    /// Announces more than it sends, and closes.
    Truncate,
    /// Sends exactly this and goes on, or closes.
    Raw { text: &'static str, close: bool },
    /// Announces much and sends it byte by byte, this many milliseconds apart.
    Drip { every_ms: u64 },
}

/// An answer at once.
pub(crate) const OK: Mode = Mode::Answer {
    status: 200,
    after_ms: 0,
};

#[derive(Debug)]
struct State {
    name: String,
    mode: Mutex<Mode>,
    /// What is answered as soon as a head with a body has come; the rest is never read.
    early: Mutex<Option<&'static str>>,
    /// Strategies that `/readyz` says no for.
    unready: Mutex<Vec<String>>,
    requests: Mutex<Vec<String>>,
    /// Health checks read so far, answered or not.
    checks: AtomicUsize,
    /// Requests being answered now, and the most there ever were at once.
    busy: AtomicUsize,
    most_busy: AtomicUsize,
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Upstream {
    /// Starts a node that answers 200.
    pub(crate) async fn start(ip: Ipv4Addr, number: u16) -> Self {
        Self::start_at((ip, 9000 + number).into(), number).await
    }

    /// The same at an address of the caller's choice; port 0 is any.
    pub(crate) async fn start_at(address: SocketAddr, number: u16) -> Self {
        let name = format!("node-{number}");
        let state = Arc::new(State {
            name: name.clone(),
            mode: Mutex::new(OK),
            early: Mutex::default(),
            unready: Mutex::default(),
            requests: Mutex::default(),
            checks: AtomicUsize::default(),
            busy: AtomicUsize::default(),
            most_busy: AtomicUsize::default(),
        });
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let upstream = Self {
            name,
            address,
            state,
            server: Mutex::default(),
        };
        upstream.serve(listener);
        upstream
    }

    fn serve(&self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let server = tokio::spawn(async move {
            // Ends with this task, and so closes every connection, as the kernel does for a killed process.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve_connection(stream, Arc::clone(&state)));
                while connections.try_join_next().is_some() {}
            }
        });
        *self.server.lock().expect("a lock") = Some(server);
    }

    /// Goes away like a killed process: no listener, every connection closed. Returns when it is gone.
    pub(crate) async fn kill(&self) {
        let server = self.server.lock().expect("a lock").take().expect("running");
        server.abort();
        let _ = server.await;
    }

    /// Comes back after `kill`.
    pub(crate) async fn restart(&self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the same port");
        self.serve(listener);
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("a lock") = mode;
    }

    /// From now on requests with a body get this answer before the body is read.
    pub(crate) fn set_early(&self, answer: Option<&'static str>) {
        *self.state.early.lock().expect("a lock") = answer;
    }

    /// Not ready for this strategy from now on.
    pub(crate) fn set_unready_for(&self, strategy: &str) {
        self.state
            .unready
            .lock()
            .expect("a lock")
            .push(strategy.to_owned());
    }

    /// The most requests that were being answered at the same moment.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.most_busy.load(Ordering::Relaxed)
    }

    /// Health checks read so far.
    pub(crate) fn checks(&self) -> usize {
        self.state.checks.load(Ordering::Relaxed)
    }

    /// Every request read so far, head and body as they came; health checks left out.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().expect("a lock").clone()
    }
}

async fn serve_connection(mut stream: TcpStream, state: Arc<State>) {
    while let Some(request) = read_request(&mut stream, &state).await {
        let mode = *state.mode.lock().expect("a lock");
        if request.starts_with("GET /readyz ") {
            state.checks.fetch_add(1, Ordering::Relaxed);
        }
        if mode == Mode::Freeze {
            return std::future::pending().await;
        }
        if request.starts_with("GET /readyz ") {
            let unready = state.unready.lock().expect("a lock").clone();
            let ready = !unready
                .iter()
                .any(|s| request.contains(&format!("x-session-strategy: {s}\r\n")));
            answer(
                &mut stream,
                &state.name,
                if ready { 200 } else { 503 },
                "readiness",
            )
            .await;
            continue;
        }
        state.requests.lock().expect("a lock").push(request.clone());
        match mode {
            Mode::Answer { status, after_ms } => {
                let busy = state.busy.fetch_add(1, Ordering::Relaxed) + 1;
                state.most_busy.fetch_max(busy, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                state.busy.fetch_sub(1, Ordering::Relaxed);
                let body = if request.starts_with("HEAD ") {
                    ""
                } else {
                    "hello"
                };
                let (status, fields) = session_work(&request, status);
                answer_with(&mut stream, &state.name, status, fields, body).await;
            }
            Mode::Refuse { outcome } => {
                let outcome = match outcome {
                    "" => String::new(),
                    word => format!("x-outcome: {word}\r\n"),
                };
                let fields = format!("retry-after: 7\r\n{outcome}");
                answer_with(&mut stream, &state.name, 503, &fields, "refused").await;
            }
            Mode::Close => return,
            Mode::Hang | Mode::Freeze => return std::future::pending().await,
            Mode::Raw { text, close } => {
                let _ = stream.write_all(text.as_bytes()).await;
                if close {
                    return;
                }
            }
            Mode::Drip { every_ms } => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n")
                    .await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(every_ms)).await;
                }
                return;
            }
            Mode::Truncate => {
                let text = format!(
                    "HTTP/1.1 200 OK\r\nx-node: {}\r\ncontent-length: 99\r\n\r\nhel",
                    state.name
                );
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
        }
    }
}

/// Status and fields of the answer to a request that has to do with sessions.
fn session_work(request: &str, status: u16) -> (u16, &'static str) {
    let path = request.split(' ').nth(1).unwrap_or("");
    let drains = request.contains("x-balancer-drain: 1\r\n");
    if path.ends_with("/login") && drains && !request.contains("session=") {
        (503, "x-session-event: ended\r\nx-outcome: nothing-done\r\n")
    } else if path.ends_with("/login") {
        (status, "x-session-event: started\r\n")
    } else if path.ends_with("/logout") {
        (status, "x-session-event: ended\r\n")
    } else if path.ends_with("/gone") {
        (401, "x-session-event: ended\r\n")
    } else {
        (status, "")
    }
}

async fn answer(stream: &mut TcpStream, node: &str, status: u16, body: &str) {
    answer_with(stream, node, status, "", body).await;
}

async fn answer_with(stream: &mut TcpStream, node: &str, status: u16, fields: &str, body: &str) {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nx-node: {node}\r\n{fields}content-length: {length}\r\n\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await;
}

/// One request, or `None` when the connection ended.
async fn read_request(stream: &mut TcpStream, state: &State) -> Option<String> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(position) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break position + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let early = *state.early.lock().expect("a lock");
    if let Some(answer) = early.filter(|_| length.is_some_and(|length| length > 0)) {
        let _ = stream.write_all(answer.as_bytes()).await;
        return None;
    }
    let is_chunked = head.contains("\r\ntransfer-encoding: chunked\r\n");
    let end = head_end + length.unwrap_or(0);
    while bytes.len() < end || (is_chunked && !bytes[head_end..].ends_with(b"0\r\n\r\n")) {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
