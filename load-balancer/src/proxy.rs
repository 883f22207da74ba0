//! The way of a request: which node is asked, what it gets to see, and what happens when it fails.
//!
//! ```text
//! choose ──▶ connect ──▶ send ──▶ answer ──▶ client
//!    ▲          │          │
//!    │          │          └─ broke off or too slow: another node, if the method is idempotent
//!    └──────────┴─ nothing was sent: another node, whatever the method
//! ```
//!
//! No node is asked twice for one request, and attempts and total time are bounded. Which node is next, how
//! long it may take and whether there is another attempt is decided by `route`; what headers look like is in
//! `headers`, answers of the balancer itself are in `problem`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::HeaderValue;
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
    group::Group,
    headers::{RequestIds, forget_spelling, forward},
    node::Attempt,
    problem::{self, Problem},
    progress::{Failure, Progress},
    route::{Router, is_idempotent, now_s},
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
    router: Router,
    strategy: HeaderValue,
    request_ids: RequestIds,
}

impl Proxy {
    /// A proxy for the listener of `group`.
    pub(crate) fn new(group: Arc<Group>, router: Router, strategy: HeaderValue) -> Self {
        Self {
            group,
            router,
            strategy,
            request_ids: RequestIds::new(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Progress;

    fn new_ctx(&self) -> Progress {
        Progress::start(&self.group)
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
        let request = session.req_header();
        let chosen = self
            .router
            .choose(&request.method, &request.headers, progress);
        let (Ok(patience), Some(attempt)) = (chosen, &progress.attempt) else {
            return Error::e_explain(NOWHERE_TO_GO, "no node left, or no time");
        };
        let mut peer = Box::new(attempt.node().peer());
        peer.options.connection_timeout = Some(patience.connect);
        peer.options.total_connection_timeout = Some(patience.connect);
        peer.options.read_timeout = Some(patience.read);
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
            // Anything else is our own trouble (no file descriptor, no port) and says nothing about the node.
            if matches!(
                error.etype(),
                ErrorType::ConnectRefused
                    | ErrorType::ConnectTimedout
                    | ErrorType::ConnectNoRoute
                    | ErrorType::ConnectError
            ) {
                self.group.unreachable(&node, error.reason_str());
            } else {
                node.not_sent();
            }
        }
        error.set_retry(self.router.may_retry(progress));
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
        progress: &mut Progress,
    ) -> Result<()> {
        if let Some(attempt) = &progress.attempt {
            attempt.node().connected(reused);
        }
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
        reused: bool,
    ) -> BError {
        if *error.etype() == CLOSED_BEFORE_SENDING {
            if let Some(node) = progress.fail(Failure::NotSent) {
                node.not_sent();
            }
            error.set_retry(self.router.may_retry(progress));
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
            self.group.attempt_failed(&node, failure, reused);
        }
        let answer_began = session
            .response_written()
            .is_some_and(|answer| !answer.status.is_informational());
        error.set_retry(
            connection_failed
                && is_idempotent(&session.req_header().method)
                && !session.as_ref().retry_buffer_truncated()
                && !answer_began
                && self.router.may_retry(progress),
        );
        error
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        progress: &mut Progress,
    ) -> Result<()> {
        if answer.status.is_informational() {
            return Ok(());
        }
        if self.group.lifecycle.is_ending() {
            session.set_keepalive(None);
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
        let problem = match (error.esource(), error.etype()) {
            // Nobody is there to read an answer.
            (
                ErrorSource::Downstream,
                ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ) => None,
            (ErrorSource::Downstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                Some(Problem::RequestTimeout)
            }
            (ErrorSource::Downstream, _) => Some(Problem::BadRequest),
            (ErrorSource::Internal, _) => Some(Problem::Internal),
            _ => Some(progress.problem()),
        };
        if let Some(problem) = problem
            && session
                .response_written()
                .is_none_or(|answer| answer.status.is_informational())
        {
            progress.own_answer = Some(problem);
            self.group.stats.answered_itself(problem);
            if let Err(error) =
                problem::answer(session, problem, &self.strategy, progress.retries()).await
            {
                debug!(%error, "the client did not take the answer");
            }
        }
        // An answer that stands in for a failed one closes the connection: what the client still sends
        // of its request's body must not be taken for the next request.
        FailToProxy {
            error_code: problem.map_or(0, Problem::status),
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
        let took = progress.started.elapsed();
        if let Some(answer) = session.response_written() {
            let status = answer.status.as_u16();
            self.group.stats.answered(status, took);
            if let Some(attempt) = &progress.attempt {
                attempt.node().answered(status, took);
            }
        } else {
            self.group.stats.unanswered.count();
        }
        if let Some(log) = &self.group.access_log {
            log.log(&self.group, session, progress, took);
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
