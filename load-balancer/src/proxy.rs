//! The way of a request: which node is asked, what it gets to see, and what happens when it fails.
//!
//! ```text
//! head ──▶ choose ──▶ connect ──▶ ask ──▶ answer ──▶ next head
//!            ▲           │         │
//!            │           │         ├─ broke off or too slow: another node, if the request may be repeated
//!            │           │         └─ cannot serve it (503): another node, as `verdict` says
//!            └───────────┴─ nothing was sent: another node, whatever the method
//! ```
//!
//! No node is asked twice for one request, and attempts and total time are bounded. Which node is next, how
//! long it may take and whether there is another attempt is decided by `route`; what is read and written is
//! in `http1`, answers of the balancer itself are in `problem`.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};
use tracing::debug;

use crate::{
    access_log::{AccessLog, FinishedRequest},
    clock::now_s,
    config::{ClientLimits, PinRule},
    group::Group,
    http1::{
        answer::{self, Answer},
        client::{Client, Wire},
        fields::{DRAINS, OUTCOME, Outcome, RETRIES, put, put_number},
        glimpse::Glimpse,
        pool,
        relay::{Broken, Relay},
        request::{self, Peer, Request, Rules},
        upload::Upload,
    },
    node::Attempt,
    problem::Problem,
    progress::{Failure, Progress},
    request_id::RequestId,
    route::Router,
    verdict::{self, PinChange},
};

/// Interim answers of a node to one request, at most.
const MAX_INTERIM: usize = 16;

/// Serves one listener.
#[derive(Debug)]
pub(crate) struct Proxy {
    group: Arc<Group>,
    router: Router,
    rules: Rules,
    limits: ClientLimits,
    access_log: Option<Arc<AccessLog>>,
}

/// What becomes of a client's connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next request may come.
    Keep,
    /// It is closed once the client has read what was sent.
    Close,
    /// It is closed at once: the client is gone, or must notice that something is missing.
    Drop,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
struct End {
    then: Then,
    /// Of the answer, if one began.
    status: Option<u16>,
    /// Bytes of the answer's body.
    bytes_out: u64,
}

impl End {
    /// The client left before there was an answer.
    const ABANDONED: Self = Self {
        then: Then::Drop,
        status: None,
        bytes_out: 0,
    };
}

/// An answer in place of a node's.
#[derive(Clone, Copy, Debug)]
struct OwnAnswer<'a> {
    problem: Problem,
    /// Without its body.
    is_head: bool,
    id: &'a RequestId,
}

impl<'a> OwnAnswer<'a> {
    fn to(request: &'a Request, problem: Problem) -> Self {
        Self {
            problem,
            is_head: request.is_head,
            id: &request.id,
        }
    }
}

/// What becomes of a node's answer.
#[derive(Debug)]
enum Judged {
    /// The client gets it.
    PassOn(Answer),
    /// Another node is asked first.
    Hold(Held),
}

/// A node's 503 that is not passed on as long as another node may do better: the client's version of it.
#[derive(Debug)]
struct Held {
    /// Without the empty line at its end.
    head: Vec<u8>,
    body: Vec<u8>,
    answer: Answer,
    body_bytes: u64,
}

impl Proxy {
    /// A proxy for the listener of `group`.
    pub(crate) fn new(
        group: Arc<Group>,
        router: Router,
        rules: Rules,
        limits: ClientLimits,
        access_log: Option<Arc<AccessLog>>,
    ) -> Self {
        Self {
            group,
            router,
            rules,
            limits,
            access_log,
        }
    }

    /// What belongs to the listener.
    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// What is made of every request.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What clients may take of us.
    pub(crate) fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// Serves a connection of a client until its end. `is_busy` is set while a request is under way.
    pub(crate) async fn serve<C: Wire>(&self, io: C, address: SocketAddr, is_busy: &AtomicBool) {
        let mut client = Client::new(io, Instant::now(), &self.limits);
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let ip = address.ip().to_canonical();
        let peer = Peer {
            address,
            ip: &ip.to_string(),
            is_trusted: self.rules.trusted_proxies.contains(ip),
        };
        let mut is_first = true;
        loop {
            let head = client.read_head(&self.limits, is_first).await;
            is_busy.store(true, Ordering::Relaxed);
            let then = match head {
                // Nothing is left to answer, and somebody may still be there to be told so.
                None if client.has_ended() => Then::Close,
                None => Then::Drop,
                Some(head) => self.handle(&mut client, head, peer).await,
            };
            is_busy.store(false, Ordering::Relaxed);
            is_first = false;
            match then {
                Then::Keep => {}
                Then::Close => return Box::pin(client.close(&self.limits)).await,
                Then::Drop => return,
            }
        }
    }

    /// Serves the request whose head, of that length, stands at the beginning of the client's input.
    async fn handle<C: Wire>(
        &self,
        client: &mut Client<C>,
        head: Result<usize, Problem>,
        peer: Peer<'_>,
    ) -> Then {
        let mut progress = Progress::start(&self.group);
        let mut output = Vec::new();
        let length = *head.as_ref().unwrap_or(&usize::MAX);
        let read = head.and_then(|head| {
            output.reserve(head + 512);
            let bytes = &client.input.bytes()[..head];
            let request = request::read(bytes, &self.rules, peer, &mut output)?;
            client.input.consume(head);
            Ok(request)
        });
        let log = self.access_log.as_deref();
        // The log is written when the head is long gone.
        let logged: Vec<u8>;
        let (id, sender);
        let (end, bytes_in) = match read {
            Ok(request) => {
                logged = log.map(|_| output.clone()).unwrap_or_default();
                (id, sender) = (request.id, request.client);
                let mut upload = Upload::new(output, &request, self.rules.max_body);
                (
                    self.try_nodes(client, &request, &mut upload, &mut progress)
                        .await,
                    upload.length,
                )
            }
            Err(problem) => {
                let head = client.input.bytes();
                let head = Glimpse::of(&head[..length.min(head.len())]);
                logged = log.map(|_| head.bytes().to_vec()).unwrap_or_default();
                (id, sender) = (self.id_of_refused(head), None);
                let is_head = head.is_head();
                let own = OwnAnswer {
                    problem,
                    is_head,
                    id: &id,
                };
                (self.respond_locally(client, own, &mut progress).await, 0)
            }
        };
        let took = progress.started.elapsed();
        if let Some(status) = end.status {
            self.group.stats.answered(status, took);
            if let Some(attempt) = &progress.attempt {
                attempt.node().answered(status, took);
            }
        } else {
            self.group.stats.unanswered.count();
        }
        if let Some(log) = log {
            let seen = FinishedRequest {
                client: sender.map_or_else(|| peer.address.to_string(), |ip| ip.to_string()),
                head: Glimpse::of(&logged),
                id: &id,
                status: end.status,
                bytes_in,
                bytes_out: end.bytes_out,
            };
            log.log(&self.group.strategy, &seen, &progress, took);
        }
        end.then
    }

    /// The id of a request whose head was refused: its own, as far as that can be told.
    fn id_of_refused(&self, head: Glimpse<'_>) -> RequestId {
        head.request_id()
            .unwrap_or_else(|| self.rules.request_ids.next())
    }

    /// Offers the request to one node after the other until one answers or nothing is left to try.
    async fn try_nodes<C: Wire>(
        &self,
        client: &mut Client<C>,
        request: &Request,
        upload: &mut Upload,
        progress: &mut Progress,
    ) -> End {
        let mut held = None;
        while let Ok(timeouts) = self.router.choose(request, progress) {
            let (node, is_reused) = match self.connect(request, timeouts.connect, progress).await {
                Some(connected) => connected,
                None if self.router.may_retry(progress) => continue,
                None => break,
            };
            upload.rewind();
            self.tell_drain(upload, progress);
            if !request.body.is_done() {
                // One that cannot answer in time can say so, and when to try again, before we do.
                let left_ms = timeouts.answer.as_millis().to_string();
                upload.tell(b"x-answer-within-ms", left_ms.as_bytes());
            }
            let mut relay =
                Relay::new(client, &self.limits, node, timeouts, upload, Instant::now());
            let judged = match self.ask(&mut relay, request).await {
                Ok((answer, at)) => self.judge(&mut relay, answer, at, request, progress).await,
                Err(broken) => Err(broken),
            };
            let broken = match judged {
                Ok(Judged::PassOn(answer)) => {
                    return self
                        .answer(relay, request, answer, is_reused, progress)
                        .await;
                }
                Ok(Judged::Hold(refused)) => {
                    Self::leave_node(relay, &refused, progress);
                    held = Some(refused);
                    continue;
                }
                Err(broken) => broken,
            };
            drop(relay);
            debug!(listener = self.group.strategy, ?broken, "attempt failed");
            match broken {
                Broken::ClientGone => return End::ABANDONED,
                Broken::Client(problem) => {
                    let own = OwnAnswer::to(request, problem);
                    return self.respond_locally(client, own, progress).await;
                }
                Broken::NodeSlow | Broken::NodeClosed | Broken::NodeInvalid => {
                    self.fail_attempt(progress, failure_of(broken), is_reused);
                }
            }
            let may_repeat =
                broken != Broken::NodeInvalid && request.is_idempotent && upload.can_repeat();
            if !may_repeat || !self.router.may_retry(progress) {
                break;
            }
        }
        match held {
            Some(held) if progress.ended_in_refusal() => {
                self.pass_on(client, held, request, progress).await
            }
            _ => {
                let own = OwnAnswer::to(request, progress.problem());
                self.respond_locally(client, own, progress).await
            }
        }
    }

    /// Tells a node that drains of it, with the requests of clients that are pinned to it: it is to start no session
    /// for one that has none there.
    fn tell_drain(&self, upload: &mut Upload, progress: &Progress) {
        let node = progress.attempt.as_ref().map(Attempt::node);
        if self.group.pin == PinRule::Session
            && progress.is_at_own_node()
            && node.is_some_and(|node| !node.takes_new())
        {
            upload.tell(DRAINS, b"1");
        }
    }

    /// A connection to the node that was chosen, and whether it was used before. `None` when that failed;
    /// nothing was sent then.
    async fn connect(
        &self,
        request: &Request,
        within: Duration,
        progress: &mut Progress,
    ) -> Option<(TcpStream, bool)> {
        let node = Arc::clone(progress.attempt.as_ref()?.node());
        // A client that is pinned has something to lose when its node seems to have failed.
        let is_careful = !request.is_idempotent || progress.pinned;
        if let Some(kept) = pool::take(&node, is_careful, Instant::now()) {
            node.connected(true);
            return Some((kept, true));
        }
        match Box::pin(pool::connect(&node, within)).await {
            Ok(connection) => {
                node.connected(false);
                return Some((connection, false));
            }
            Err(error) => {
                progress.fail(Failure::NotSent);
                if is_of_the_node(&error) {
                    self.group
                        .unreachable(&node, &format!("cannot connect: {error}"));
                } else {
                    node.not_sent();
                }
            }
        }
        None
    }

    /// Sends the request until the head of its final answer is there, and writes that for the client, without the empty line at
    /// its end. Returns where it begins in the client's output.
    async fn ask<C: Wire>(
        &self,
        relay: &mut Relay<'_, C>,
        request: &Request,
    ) -> Result<(Answer, usize), Broken> {
        for _ in 0..MAX_INTERIM {
            let head = relay.ask().await?;
            let may_keep = relay.upload.is_done()
                && !relay.client.is_over()
                && !self.group.lifecycle.is_ending();
            let output = &mut relay.client.output;
            let before = output.len();
            let bytes = &relay.input.bytes()[..head];
            let ours = &self.rules.our_cookies;
            let Ok(answer) = answer::read(bytes, request, ours, may_keep, output) else {
                output.truncate(before);
                return Err(Broken::NodeInvalid);
            };
            relay.input.consume(head);
            if answer.is_final() {
                return Ok((answer, before));
            }
            if request.is_modern {
                output.extend_from_slice(b"\r\n");
            } else {
                output.truncate(before);
            }
        }
        Err(Broken::NodeInvalid)
    }

    /// Completes the head of an answer, which begins `at` that place of the client's output; or takes the whole answer out
    /// again, because another node may do better.
    async fn judge<C: Wire>(
        &self,
        relay: &mut Relay<'_, C>,
        mut answer: Answer,
        at: usize,
        request: &Request,
        progress: &mut Progress,
    ) -> Result<Judged, Broken> {
        let may_leave = verdict::wants_another(&answer, request, progress)
            && relay.upload.can_repeat()
            && progress
                .attempt
                .as_ref()
                .is_some_and(|attempt| self.router.may_leave(attempt.node(), progress));
        if !may_leave {
            self.end_head(&answer, request, progress, &mut relay.client.output);
            return Ok(Judged::PassOn(answer));
        }
        let head = relay.client.output.split_off(at);
        let is_whole = Box::pin(relay.hold(&mut answer)).await;
        let output = &mut relay.client.output;
        let body = output.split_off(at);
        if is_whole? {
            let body_bytes = relay.body_bytes;
            return Ok(Judged::Hold(Held {
                head,
                body,
                answer,
                body_bytes,
            }));
        }
        // Too long to be kept: the client gets it.
        output.extend_from_slice(&head);
        self.end_head(&answer, request, progress, output);
        output.extend_from_slice(&body);
        Ok(Judged::PassOn(answer))
    }

    /// The node that answered cannot serve the request, and another one is asked.
    fn leave_node<C: Wire>(relay: Relay<'_, C>, held: &Held, progress: &mut Progress) {
        if let Some(attempt) = &progress.attempt {
            let node = attempt.node();
            node.answered(held.answer.status, progress.started.elapsed());
            if relay.upload.is_done() && held.answer.node_keeps && relay.input.is_empty() {
                pool::give(node, relay.node, Instant::now());
            }
        }
        progress.bound = false;
        progress.fail(Failure::Refused {
            nothing_done: held.answer.outcome == Some(Outcome::NothingDone),
        });
    }

    /// Nobody did better: the client gets the answer of the node that refused.
    async fn pass_on<C: Wire>(
        &self,
        client: &mut Client<C>,
        held: Held,
        request: &Request,
        progress: &mut Progress,
    ) -> End {
        client.output.extend_from_slice(&held.head);
        self.end_head(&held.answer, request, progress, &mut client.output);
        client.output.extend_from_slice(&held.body);
        let sent = Box::pin(client.send(&self.limits)).await;
        End {
            then: match sent {
                Ok(()) if held.answer.client_keeps => Then::Keep,
                Ok(()) => Then::Close,
                Err(_) => Then::Drop,
            },
            status: Some(held.answer.status),
            bytes_out: held.body_bytes,
        }
    }

    /// Adds what the client has to know about the way of its request, and the end of the head.
    fn end_head(
        &self,
        answer: &Answer,
        request: &Request,
        progress: &mut Progress,
        output: &mut Vec<u8>,
    ) {
        if progress.retries() > 0 {
            put_number(output, RETRIES, progress.retries() as u64);
        }
        if let Some(outcome) = answer.outcome {
            // That this node did nothing does not undo what another one did.
            let outcome = if progress.may_have_acted() {
                Outcome::Unknown
            } else {
                outcome
            };
            put(output, OUTCOME, outcome.word().as_bytes());
        }
        self.change_pin(answer, request, progress, output);
        output.extend_from_slice(b"\r\n");
    }

    /// Adds what becomes of the client's pin.
    fn change_pin(
        &self,
        answer: &Answer,
        request: &Request,
        progress: &mut Progress,
        output: &mut Vec<u8>,
    ) {
        let node = progress.attempt.as_ref().map(|attempt| &**attempt.node());
        let (Some(affinity), Some(node)) = (&self.group.affinity, node) else {
            return;
        };
        if let Some(reason) = progress.moved {
            self.group.stats.moved(reason);
        }
        let change = verdict::pin_change(self.group.pin, answer, request, progress, node);
        let cookie = match (change, node.tag) {
            (PinChange::Give | PinChange::Renew, Some(tag)) => affinity.issue(tag, now_s()),
            (PinChange::Take, _) => affinity.clear(),
            _ => return,
        };
        put(output, b"set-cookie", cookie.as_bytes());
        if let Some(reason) = progress.moved.filter(|_| change == PinChange::Give) {
            self.group.stats.repinned(reason);
            progress.repinned = true;
        }
    }

    /// Passes the answer's body on, and keeps what can be used again.
    async fn answer<C: Wire>(
        &self,
        mut relay: Relay<'_, C>,
        request: &Request,
        mut answer: Answer,
        is_reused: bool,
        progress: &mut Progress,
    ) -> End {
        let attempt = &mut progress.attempt;
        let node_is_done = || attempt.iter_mut().for_each(Attempt::node_is_done);
        let moved = relay.answer(&mut answer, node_is_done).await;
        let bytes_out = relay.body_bytes;
        let is_whole = moved.is_ok() && relay.upload.is_done();
        let then = match moved {
            Ok(()) if answer.client_keeps && is_whole => Then::Keep,
            Ok(()) => Then::Close,
            Err(Broken::ClientGone | Broken::Client(_)) => Then::Drop,
            Err(broken) => {
                self.fail_attempt(progress, failure_of(broken), is_reused);
                let Relay { client, .. } = relay;
                if client.take_back() {
                    let own = OwnAnswer::to(request, progress.problem());
                    return self.respond_locally(client, own, progress).await;
                }
                return End {
                    then: Then::Drop,
                    status: Some(answer.status),
                    bytes_out,
                };
            }
        };
        if let Some(attempt) = &progress.attempt
            && is_whole
            && answer.node_keeps
            && relay.input.is_empty()
        {
            pool::give(attempt.node(), relay.node, Instant::now());
        }
        End {
            then,
            status: Some(answer.status),
            bytes_out,
        }
    }

    /// The node failed after something may have been sent.
    fn fail_attempt(&self, progress: &mut Progress, failure: Failure, is_reused: bool) {
        if let Some(node) = progress.fail(failure) {
            self.group.attempt_failed(&node, failure, is_reused);
        }
    }

    /// Answers in place of a node.
    async fn respond_locally<C: Wire>(
        &self,
        client: &mut Client<C>,
        own: OwnAnswer<'_>,
        progress: &mut Progress,
    ) -> End {
        let OwnAnswer {
            problem,
            is_head,
            id,
        } = own;
        progress.attempt = None;
        progress.own_answer = Some(problem);
        self.group.stats.responded_locally(problem);
        problem.write(
            &mut client.output,
            is_head,
            &self.rules.strategy,
            id,
            progress.retries(),
        );
        let then = match Box::pin(client.send(&self.limits)).await {
            Ok(()) => Then::Close,
            Err(_) => Then::Drop,
        };
        let bytes_out = if is_head {
            0
        } else {
            problem.body().len() as u64
        };
        End {
            then,
            status: Some(problem.status()),
            bytes_out,
        }
    }
}

fn failure_of(broken: Broken) -> Failure {
    if broken == Broken::NodeSlow {
        Failure::TimedOut
    } else {
        Failure::BrokeOff
    }
}

/// Does the error say something about the node? Anything else is our own trouble (no file descriptor, no
/// port).
fn is_of_the_node(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
