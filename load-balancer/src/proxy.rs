//! The way of a request: which node is asked, what it gets to see, and what happens when it fails.
//!
//! ```text
//! choose ──▶ connect ──▶ send ──▶ answer ──▶ client
//!    ▲          │          │
//!    │          │          └─ broke off or too slow: another node, if the method is idempotent
//!    └──────────┴─ nothing was sent: another node, whatever the method
//! ```
//!
//! No node is asked twice for one request, and attempts and total time are bounded. Which node is up is
//! decided by `health`, which one is next by `select`, whether a cookie is genuine by `affinity`; what
//! headers look like is in `headers`, answers of the balancer itself are in `problem`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use http::{HeaderValue, Method};
use pingora::{
    BError, Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};
use tracing::debug;

use crate::{
    affinity::Refusal,
    group::Group,
    headers::{RequestIds, forget_spelling, forward},
    metrics::Repin,
    node::{Attempt, Node},
    problem,
    progress::{Failure, Progress},
    select::{Selector, is_candidate},
};

/// How long a client may keep an unused connection.
const CLIENT_KEEPALIVE_S: u64 = 75;
/// How long a client may take for the next piece of its request's body.
const CLIENT_READ: Duration = Duration::from_secs(10);
/// `TCP_ESTABLISHED` of the kernel: open in both directions.
const TCP_ESTABLISHED: u8 = 1;
/// The error of a kept connection that the node closed before anything was sent on it.
const CLOSED_BEFORE_SENDING: ErrorType = ErrorType::Custom("closed before sending");
/// The error of a request for which there is no node, or no time, left.
const NOWHERE_TO_GO: ErrorType = ErrorType::Custom("nowhere to go");

/// Serves one listener.
pub(crate) struct Proxy {
    group: Arc<Group>,
    selector: Selector,
    attempts: usize,
    strategy: HeaderValue,
    request_ids: RequestIds,
}

impl Proxy {
    /// A proxy for the listener of `group` that offers a request to at most `attempts` nodes.
    pub(crate) fn new(
        group: Arc<Group>,
        selector: Selector,
        attempts: usize,
        strategy: HeaderValue,
    ) -> Self {
        Self {
            group,
            selector,
            attempts,
            strategy,
            request_ids: RequestIds::new(),
        }
    }

    /// The node that the client is pinned to, or one by the listener's rule.
    fn first_node<'a>(
        &self,
        request: &RequestHeader,
        nodes: &'a [Arc<Node>],
        progress: &mut Progress,
    ) -> Option<&'a Arc<Node>> {
        let Some(affinity) = &self.group.affinity else {
            return self.selector.choose(nodes, &[]);
        };
        match affinity.read(&request.headers, now_s()) {
            Ok(Some(pin)) => match nodes.iter().find(|node| node.tag == Some(pin.tag)) {
                Some(node) if node.is_up() => {
                    progress.pinned = true;
                    progress.set_cookie = pin.ageing;
                    return Some(node);
                }
                Some(_) => progress.repin = Some(Repin::Down),
                None => {
                    self.group.stats.refused(Refusal::Unknown);
                    progress.repin = Some(Repin::Removed);
                }
            },
            Ok(None) => {}
            Err(reason) => self.group.stats.refused(reason),
        }
        progress.set_cookie = true;
        self.selector.choose(nodes, &[])
    }

    fn next_node<'a>(
        &self,
        nodes: &'a [Arc<Node>],
        progress: &mut Progress,
    ) -> Option<&'a Arc<Node>> {
        progress.set_cookie = self.group.affinity.is_some();
        self.selector.choose(nodes, &progress.tried)
    }

    /// How long to wait for this node. As long as the request could still be offered to another one, no
    /// longer than `read`; else, and that is every request that must not be repeated, until time is up.
    fn patience(
        &self,
        node: &Arc<Node>,
        nodes: &[Arc<Node>],
        method: &Method,
        progress: &Progress,
        left: Duration,
    ) -> Duration {
        let has_alternative = is_idempotent(method)
            && progress.attempts + 1 < self.attempts
            && nodes
                .iter()
                .any(|other| !Arc::ptr_eq(other, node) && is_candidate(other, &progress.tried));
        if has_alternative {
            left.min(self.group.timeouts.read)
        } else {
            left
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Progress;

    fn new_ctx(&self) -> Progress {
        Progress::start()
    }

    /// The default is a compression module, which the comparison of strategies does not need.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        _progress: &mut Progress,
    ) -> Result<bool> {
        session.set_keepalive(Some(CLIENT_KEEPALIVE_S));
        session.set_read_timeout(Some(CLIENT_READ));
        session.set_write_timeout(Some(self.group.timeouts.write));
        forget_spelling(session.req_header_mut())?;
        Ok(false)
    }

    /// Called for each attempt, with the same progress.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        progress: &mut Progress,
    ) -> Result<Box<HttpPeer>> {
        let left = self
            .group
            .timeouts
            .total
            .saturating_sub(progress.started.elapsed());
        if left.is_zero() {
            return Error::e_explain(NOWHERE_TO_GO, "time is up");
        }
        let nodes = self.group.nodes.load();
        let request = session.req_header();
        let node = if progress.attempts == 0 {
            self.first_node(request, &nodes, progress)
        } else {
            self.next_node(&nodes, progress)
        };
        let Some(node) = node else {
            return Error::e_explain(NOWHERE_TO_GO, "no node left");
        };

        let mut peer = Box::new(node.peer());
        let connect = left.min(self.group.timeouts.connect);
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.read_timeout =
            Some(self.patience(node, &nodes, &request.method, progress, left));

        if progress.attempts > 0 {
            self.group.stats.retries.count();
        }
        progress.attempts += 1;
        progress.attempt = Some(Attempt::at(Arc::clone(node)));
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        progress: &mut Progress,
        mut error: BError,
    ) -> BError {
        if let Some(node) = progress.fail(Failure::NotSent) {
            node.stats.connect_failures.count();
            // Anything else is our own trouble (no file descriptor, no port) and says nothing about the node.
            if matches!(
                error.etype(),
                ErrorType::ConnectRefused
                    | ErrorType::ConnectTimedout
                    | ErrorType::ConnectNoRoute
                    | ErrorType::ConnectError
            ) {
                self.group.failed(&node, error.reason_str());
                node.check_soon();
            }
        }
        error.set_retry(true);
        error
    }

    /// A kept connection may have been closed without pingora having noticed yet. For requests that can
    /// be repeated that is found out by trying. The others must not be sent into it, because afterwards
    /// nobody could tell whether the node had seen them; so the kernel is asked first.
    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        _progress: &mut Progress,
    ) -> Result<()> {
        if reused && !is_idempotent(&session.req_header().method) {
            let socket = digest.and_then(|digest| digest.socket_digest.as_ref());
            if socket
                .and_then(|socket| socket.tcp_info())
                .is_some_and(|tcp| tcp.tcpi_state != TCP_ESTABLISHED)
            {
                return Err(Error::new(CLOSED_BEFORE_SENDING));
            }
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        progress: &mut Progress,
    ) -> Result<()> {
        let client = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map(std::net::SocketAddr::ip);
        let id = &mut progress.request_id;
        forward(request, &self.strategy, client, || {
            id.get_or_insert_with(|| self.request_ids.next()).clone()
        })
    }

    /// Decides about a retry after the connection was made. Everything that is not known to be safe to
    /// repeat is not repeated.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: BError,
        progress: &mut Progress,
        _reused: bool,
    ) -> BError {
        if *error.etype() == CLOSED_BEFORE_SENDING {
            if let Some(node) = progress.fail(Failure::NotSent) {
                node.stats.connect_failures.count();
                node.check_soon();
            }
            error.set_retry(true);
            return error;
        }
        if *error.esource() != ErrorSource::Upstream {
            // The client's fault or ours. Setting it decides pingora's `ReusedOnly`, which panics undecided.
            error.set_retry(false);
            return error;
        }
        let (failure, connection_failed) = match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => (Failure::TimedOut, true),
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
                (Failure::BrokeOff, true)
            }
            _ => (Failure::BrokeOff, false),
        };
        if let Some(node) = progress.fail(failure) {
            node.stats.broken.count();
            node.check_soon();
        }
        let answer_began = session
            .response_written()
            .is_some_and(|answer| !answer.status.is_informational());
        error.set_retry(
            connection_failed
                && is_idempotent(&session.req_header().method)
                && !session.as_ref().retry_buffer_truncated()
                && !answer_began,
        );
        error
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        answer: &mut ResponseHeader,
        progress: &mut Progress,
    ) -> Result<()> {
        if answer.status.is_informational() {
            return Ok(());
        }
        if progress.retries() > 0 {
            answer.insert_header(problem::RETRIES, progress.retries())?;
        }
        if !progress.set_cookie {
            return Ok(());
        }
        let node = progress.attempt.as_ref().map(Attempt::node);
        if let (Some(affinity), Some(tag)) = (&self.group.affinity, node.and_then(|node| node.tag))
        {
            answer.append_header(http::header::SET_COOKIE, affinity.issue(tag, now_s()))?;
            if let Some(reason) = progress.repin {
                self.group.stats.repinned(reason);
            }
        }
        Ok(())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        progress: &mut Progress,
    ) -> FailToProxy {
        debug!(listener = self.group.strategy, %error, "request failed");
        let status = match (error.esource(), error.etype()) {
            (_, ErrorType::HTTPStatus(status)) => *status,
            // Nobody is there to read an answer.
            (
                ErrorSource::Downstream,
                ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ) => 0,
            (ErrorSource::Downstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => 408,
            (ErrorSource::Downstream, _) => 400,
            (ErrorSource::Internal, _) => 500,
            _ => progress.failure.unwrap_or(Failure::NotSent).status(),
        };
        if status > 0
            && session
                .response_written()
                .is_none_or(|answer| answer.status.is_informational())
        {
            self.group.stats.answered_itself(status);
            if let Err(error) =
                problem::answer(session, status, &self.strategy, progress.retries()).await
            {
                debug!(%error, "the client did not take the answer");
            }
        }
        // An answer that stands in for a failed one closes the connection: what the client still sends
        // of its request's body must not be taken for the next request.
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    /// Called last, whatever happened.
    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&Error>,
        progress: &mut Progress,
    ) {
        if let (Some(attempt), Some(answer)) = (progress.attempt.take(), session.response_written())
        {
            attempt
                .node()
                .stats
                .answered(answer.status.as_u16(), progress.started.elapsed());
        }
    }

    fn suppress_error_log(&self, _session: &Session, _progress: &Progress, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _progress: &Progress,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Methods that mean the same when they arrive twice (RFC 9110, section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
    )
}

/// Unix seconds. A clock before 1970 or after 2106 makes cookies expire, no more.
fn now_s() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
