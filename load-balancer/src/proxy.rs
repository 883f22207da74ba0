//! The way of a request: which node is asked, what it gets to see, and what happens when it fails.
//!
//! ```text
//! head ──▶ choose ──▶ connect ──▶ ask ──▶ answer ──▶ next head
//!            ▲           │         │
//!            │           │         └─ broke off or too slow: another node, if the method is idempotent
//!            └───────────┴─ nothing was sent: another node, whatever the method
//! ```
//!
//! No node is asked twice for one request, and attempts and total time are bounded. Which node is up is
//! decided by `health`, which one is next by `select`, whether a cookie is genuine by `affinity`; what is
//! read and written is in `http1`, answers of the balancer itself are in `problem`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use tracing::debug;

use crate::{
    affinity::Refusal,
    group::Group,
    http1::{
        answer::{self, Answer},
        client::{Client, Patience, Wire},
        exchange::{Broken, Exchange, NodePatience},
        fields::{put, put_number},
        pool,
        request::{self, Refused, Request, Rules},
        upload::Upload,
    },
    metrics::Repin,
    node::{Attempt, Node},
    problem,
    progress::{Failure, Progress},
    select::{Selector, is_candidate},
};

/// Interim answers of a node to one request, at most.
const MAX_INTERIM: usize = 16;

/// Serves one listener.
#[derive(Debug)]
pub(crate) struct Proxy {
    group: Arc<Group>,
    selector: Selector,
    attempts: usize,
    rules: Rules,
    patience: Patience,
    /// No connection is kept for another request any more.
    is_draining: AtomicBool,
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

impl Proxy {
    /// A proxy for the listener of `group` that offers a request to at most `attempts` nodes.
    pub(crate) fn new(
        group: Arc<Group>,
        selector: Selector,
        attempts: usize,
        rules: Rules,
        patience: Patience,
    ) -> Self {
        Self {
            group,
            selector,
            attempts,
            rules,
            patience,
            is_draining: AtomicBool::new(false),
        }
    }

    /// From now on the connection of each request is closed after it.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// What clients make us wait for.
    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// How long an unused connection to a node is kept.
    pub(crate) fn idle(&self) -> Duration {
        self.group.timeouts.idle
    }

    /// Serves a connection until its end. `address` is the client's, as text; `is_busy` is set while a request
    /// is under way.
    pub(crate) async fn serve<C: Wire>(&self, io: C, address: &str, is_busy: &AtomicBool) {
        let mut client = Client::new(io, Instant::now(), &self.patience);
        let mut is_first = true;
        loop {
            let begins = || is_busy.store(true, Ordering::Relaxed);
            let then = match client.read_head(&self.patience, is_first, begins).await {
                None => Then::Drop,
                Some(Err(refused)) => self.answer_itself(&mut client, refused.0, false, 0).await,
                Some(Ok(length)) => self.handle(&mut client, length, address).await,
            };
            is_busy.store(false, Ordering::Relaxed);
            is_first = false;
            match then {
                Then::Keep => {}
                Then::Close => return Box::pin(client.close()).await,
                Then::Drop => return,
            }
        }
    }

    /// Serves the request whose head stands at the beginning of the client's input.
    async fn handle<C: Wire>(&self, client: &mut Client<C>, head: usize, address: &str) -> Then {
        let mut output = Vec::with_capacity(head + 512);
        let request = request::read(
            &client.input.bytes()[..head],
            &self.rules,
            address.as_bytes(),
            now_s(),
            &mut output,
        );
        let request = match request {
            Ok(request) => request,
            Err(Refused(status)) => return self.answer_itself(client, status, false, 0).await,
        };
        client.input.consume(head);
        let mut upload = Upload::new(output, &request, self.rules.max_body);
        let mut progress = Progress::start();
        loop {
            let Some(node_patience) = self.choose(&request, &mut progress) else {
                let status = progress.failure.unwrap_or(Failure::NotSent).status();
                return self
                    .answer_itself(client, status, request.is_head, progress.retries())
                    .await;
            };
            let Some(node) = self.connect(&request, &mut progress).await else {
                continue;
            };
            upload.rewind();
            let mut exchange = Exchange::new(
                client,
                &self.patience,
                node,
                node_patience,
                &mut upload,
                Instant::now(),
            );
            let broken = match self.ask(&mut exchange, &request, &mut progress).await {
                Ok(answer) => return self.answer(exchange, answer, progress).await,
                Err(broken) => broken,
            };
            drop(exchange);
            debug!(listener = self.group.strategy, ?broken, "attempt failed");
            let failure = match broken {
                Broken::ClientGone => return Then::Drop,
                Broken::Client(Refused(status)) => {
                    return self
                        .answer_itself(client, status, request.is_head, progress.retries())
                        .await;
                }
                Broken::NodeSlow => Failure::TimedOut,
                Broken::NodeClosed | Broken::NodeInvalid => Failure::BrokeOff,
            };
            self.failed(&mut progress, failure);
            if broken == Broken::NodeInvalid || !request.is_idempotent || !upload.can_repeat() {
                return self
                    .answer_itself(
                        client,
                        failure.status(),
                        request.is_head,
                        progress.retries(),
                    )
                    .await;
            }
        }
    }

    /// A connection to the node that was chosen, or `None` when that failed. Nothing was sent then.
    async fn connect(
        &self,
        request: &Request,
        progress: &mut Progress,
    ) -> Option<tokio::net::TcpStream> {
        let node = Arc::clone(progress.attempt.as_ref()?.node());
        if let Some(kept) = pool::take(
            &node,
            !request.is_idempotent || progress.pinned,
            Instant::now(),
        ) {
            return Some(kept);
        }
        let left = self
            .group
            .timeouts
            .total
            .saturating_sub(progress.started.elapsed());
        let error =
            match Box::pin(pool::connect(&node, left.min(self.group.timeouts.connect))).await {
                Ok(connection) => return Some(connection),
                Err(error) => error,
            };
        progress.fail(Failure::NotSent);
        node.stats.connect_failures.count();
        if is_of_the_node(&error) {
            self.group
                .failed(&node, &format!("cannot connect: {error}"));
            node.check_soon();
        }
        None
    }

    /// Sends the request until the head of its final answer is there, and writes that for the client.
    async fn ask<C: Wire>(
        &self,
        exchange: &mut Exchange<'_, C>,
        request: &Request,
        progress: &mut Progress,
    ) -> Result<Answer, Broken> {
        for _ in 0..MAX_INTERIM {
            let head = exchange.ask().await?;
            let may_keep = exchange.upload.is_done() && !self.is_draining.load(Ordering::Relaxed);
            let output = &mut exchange.client.output;
            let before = output.len();
            let answer = answer::read(&exchange.input.bytes()[..head], request, may_keep, output);
            let Ok(answer) = answer else {
                output.truncate(before);
                return Err(Broken::NodeInvalid);
            };
            exchange.input.consume(head);
            if answer.is_final() {
                self.add_fields(progress, output);
                output.extend_from_slice(b"\r\n");
                return Ok(answer);
            }
            if request.is_modern {
                output.extend_from_slice(b"\r\n");
            } else {
                output.truncate(before);
            }
        }
        Err(Broken::NodeInvalid)
    }

    /// Adds what the client has to know about the way of its request.
    fn add_fields(&self, progress: &Progress, output: &mut Vec<u8>) {
        if progress.retries() > 0 {
            put_number(
                output,
                problem::RETRIES.as_bytes(),
                progress.retries() as u64,
            );
        }
        if !progress.set_cookie {
            return;
        }
        let node = progress.attempt.as_ref().map(Attempt::node);
        if let (Some(affinity), Some(tag)) = (&self.group.affinity, node.and_then(|node| node.tag))
        {
            put(
                output,
                b"set-cookie",
                affinity.issue(tag, now_s()).as_bytes(),
            );
            if let Some(reason) = progress.repin {
                self.group.stats.repinned(reason);
            }
        }
    }

    /// Passes the answer's body on, and keeps what can be used again.
    async fn answer<C: Wire>(
        &self,
        mut exchange: Exchange<'_, C>,
        mut answer: Answer,
        mut progress: Progress,
    ) -> Then {
        let moved = exchange.answer(&mut answer).await;
        if matches!(
            moved,
            Err(Broken::NodeClosed | Broken::NodeSlow | Broken::NodeInvalid)
        ) {
            self.failed(&mut progress, Failure::BrokeOff);
            return Then::Drop;
        }
        let Some(attempt) = progress.attempt.take() else {
            return Then::Drop;
        };
        let node = attempt.node();
        node.stats
            .answered(answer.status, progress.started.elapsed());
        if moved.is_err() {
            return Then::Drop;
        }
        let is_whole = exchange.upload.is_done();
        if answer.node_keeps && is_whole && exchange.input.is_empty() {
            pool::give(node, exchange.node, Instant::now());
        }
        if answer.client_keeps && is_whole {
            Then::Keep
        } else {
            Then::Close
        }
    }

    /// The node failed after something may have been sent.
    fn failed(&self, progress: &mut Progress, failure: Failure) {
        if let Some(node) = progress.fail(failure) {
            node.stats.broken.count();
            node.check_soon();
        }
    }

    /// Answers in place of a node.
    async fn answer_itself<C: Wire>(
        &self,
        client: &mut Client<C>,
        status: u16,
        is_head: bool,
        retries: usize,
    ) -> Then {
        self.group.stats.answered_itself(status);
        problem::write(
            &mut client.output,
            status,
            is_head,
            &self.rules.strategy,
            retries,
        );
        match Box::pin(client.send(&self.patience)).await {
            Ok(()) => Then::Close,
            Err(_) => Then::Drop,
        }
    }

    /// Chooses the node for the next attempt, which is `progress.attempt` afterwards. `None` when no node, no
    /// time or no attempt is left.
    fn choose(&self, request: &Request, progress: &mut Progress) -> Option<NodePatience> {
        let total = self.group.timeouts.total;
        let left = if progress.attempts == 0 {
            total
        } else {
            total.saturating_sub(progress.started.elapsed())
        };
        if left.is_zero() || progress.attempts == self.attempts {
            return None;
        }
        let nodes = self.group.nodes.load();
        let node = if progress.attempts == 0 {
            self.first_node(request, &nodes, progress)
        } else {
            progress.set_cookie = self.group.affinity.is_some();
            self.selector.choose(&nodes, &progress.tried)
        }?;
        if progress.attempts > 0 {
            self.group.stats.retries.count();
        }
        let answer = self.patience_for(node, &nodes, request, progress, left);
        progress.attempts += 1;
        progress.attempt = Some(Attempt::at(Arc::clone(node)));
        Some(NodePatience {
            write: self.group.timeouts.write,
            answer,
            body: self.group.timeouts.read,
        })
    }

    /// The node that the client is pinned to, or one by the listener's rule.
    fn first_node<'a>(
        &self,
        request: &Request,
        nodes: &'a [Arc<Node>],
        progress: &mut Progress,
    ) -> Option<&'a Arc<Node>> {
        if self.group.affinity.is_none() {
            return self.selector.choose(nodes, &[]);
        }
        match request.pin {
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

    /// How long to wait for this node. As long as the request could still be offered to another one, no
    /// longer than `read`; else, and that is every request that must not be repeated, until time is up.
    fn patience_for(
        &self,
        node: &Arc<Node>,
        nodes: &[Arc<Node>],
        request: &Request,
        progress: &Progress,
        left: Duration,
    ) -> Duration {
        let has_alternative = request.is_idempotent
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

/// Unix seconds. A clock before 1970 or after 2106 makes cookies expire, no more.
fn now_s() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
