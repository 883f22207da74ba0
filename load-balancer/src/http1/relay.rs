//! One attempt: a request to a node and its answer to the client, both at once.
//!
//! An answer may begin, and end, before the request did. So there is one loop for both directions, which
//! moves whatever can be moved, and then waits for whatever comes first: a side that is ready again, or the
//! deadline of the side that keeps the others waiting. The client is watched all the time. Whoever is gone
//! needs no answer, and its node can stop.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use crate::{
    config::ClientLimits,
    http1::{
        answer::Answer,
        buffer::Buffer,
        client::{Client, Wire, body_deadline},
        framing::Framing,
        scan::Scan,
        upload::Upload,
    },
    problem::Problem,
};

/// How long one node may keep a request waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptTimeouts {
    /// Until it accepts a connection.
    pub(crate) connect: Duration,
    /// Until it takes the next bytes of the request.
    pub(crate) write: Duration,
    /// Until the whole head of its answer came, counted from the end of the request.
    pub(crate) answer: Duration,
    /// Until the next bytes of its answer's body come.
    pub(crate) body: Duration,
}

/// Why a relay ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client is gone, or as good as gone.
    ClientGone,
    /// The client sent something that nobody can go on with.
    Client(Problem),
    /// The node closed the connection.
    NodeClosed,
    /// The node let too much time pass.
    NodeSlow,
    /// The node sent something that is not HTTP.
    NodeInvalid,
}

/// For what the others have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Body,
    NodeToTake,
    Answer,
    NodeToSend,
    ClientToTake,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Relay<'a, C> {
    pub(crate) client: &'a mut Client<C>,
    client_limits: &'a ClientLimits,
    pub(crate) node: TcpStream,
    timeouts: AttemptTimeouts,
    pub(crate) upload: &'a mut Upload,
    /// What the node sent and the client has not got yet.
    pub(crate) input: Buffer,
    /// Bytes of the answer's body so far.
    pub(crate) body_bytes: u64,
    /// When the attempt, and later when the answer, began; and what the client had got by then.
    began: Instant,
    written: u64,
    /// Bytes moved so far, in any direction.
    moved: u64,
    /// What the deadline was set for, and how much had been moved by then.
    waiting: Option<(Waiting, u64)>,
}

impl<'a, C: Wire> Relay<'a, C> {
    /// An attempt that begins `now`.
    pub(crate) fn new(
        client: &'a mut Client<C>,
        client_limits: &'a ClientLimits,
        node: TcpStream,
        timeouts: AttemptTimeouts,
        upload: &'a mut Upload,
        now: Instant,
    ) -> Self {
        Self {
            written: client.written,
            client,
            client_limits,
            node,
            timeouts,
            upload,
            input: Buffer::default(),
            body_bytes: 0,
            began: now,
            moved: 0,
            waiting: None,
        }
    }

    /// Sends the request and waits for a head. Returns its length; it stands at the beginning of `input`.
    pub(crate) async fn ask(&mut self) -> Result<usize, Broken> {
        let mut scan = Scan::default();
        poll_fn(|cx| {
            loop {
                let moved = self.moved;
                self.move_request(cx)?;
                // An interim answer before this one.
                if self.client.is_behind() && is_error(&self.client.poll_send(cx)) {
                    return Poll::Ready(Err(Broken::ClientGone));
                }
                if !self.input.is_empty() {
                    match scan.find_end(self.input.bytes()) {
                        Ok(Some(end)) => return Poll::Ready(Ok(end)),
                        Ok(None) if !self.input.is_full() => {}
                        _ => return Poll::Ready(Err(Broken::NodeInvalid)),
                    }
                }
                match self.input.poll_fill(&mut self.node, cx) {
                    Poll::Ready(Ok(count @ 1..)) => self.moved += count as u64,
                    Poll::Ready(_) => return Poll::Ready(Err(Broken::NodeClosed)),
                    Poll::Pending => {}
                }
                if self.moved == moved {
                    let waiting = if self.upload.is_broken || self.upload.is_done() {
                        Waiting::Answer
                    } else if self.upload.is_sent() {
                        Waiting::Body
                    } else {
                        Waiting::NodeToTake
                    };
                    return self.poll_deadline(waiting, cx).map(Err);
                }
            }
        })
        .await
    }

    /// Takes the whole body of an answer in without sending any of it, if it is short. Then it stands in the client's
    /// output, and nothing of it is left to do.
    pub(crate) async fn hold(&mut self, answer: &mut Answer) -> Result<bool, Broken> {
        self.began = Instant::now();
        self.waiting = None;
        poll_fn(|cx| {
            loop {
                let output = &mut self.client.output;
                let passed = answer
                    .body
                    .pass(self.input.bytes(), output, answer.encoding);
                let passed = passed.map_err(|_| Broken::NodeInvalid)?;
                self.input.consume(passed.used);
                self.body_bytes += passed.data as u64;
                if answer.body.is_done() {
                    return Poll::Ready(Ok(true));
                }
                if self.client.is_full() {
                    return Poll::Ready(Ok(false));
                }
                match self.input.poll_fill(&mut self.node, cx) {
                    Poll::Ready(Ok(count @ 1..)) => self.moved += count as u64,
                    Poll::Ready(Ok(_)) if answer.body == Framing::UntilClose => {
                        return Poll::Ready(Ok(true));
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Broken::NodeClosed)),
                    Poll::Pending => {
                        self.move_request(cx)?;
                        return self.poll_deadline(Waiting::NodeToSend, cx).map(Err);
                    }
                }
            }
        })
        .await
    }

    /// Moves the answer's body to the client. Its head was written before, and taken out of `input`.
    /// `node_is_done` is called when all of it came, which may be long before the client has taken it.
    pub(crate) async fn answer(
        &mut self,
        answer: &mut Answer,
        mut node_is_done: impl FnMut(),
    ) -> Result<(), Broken> {
        self.began = Instant::now();
        self.written = self.client.written;
        self.waiting = None;
        let mut has_ended = answer.body.is_done();
        poll_fn(|cx| {
            loop {
                let moved = self.moved;
                if !answer.body.is_done() && !self.input.is_empty() && !self.client.is_full() {
                    let output = &mut self.client.output;
                    let passed = answer
                        .body
                        .pass(self.input.bytes(), output, answer.encoding);
                    let passed = passed.map_err(|_| Broken::NodeInvalid)?;
                    self.input.consume(passed.used);
                    self.body_bytes += passed.data as u64;
                    has_ended |= answer.body.is_done();
                }
                if has_ended {
                    node_is_done();
                }
                if self.client.is_behind() {
                    let before = self.client.written;
                    let sent = self.client.poll_send(cx);
                    self.moved += self.client.written - before;
                    if is_error(&sent) {
                        return Poll::Ready(Err(Broken::ClientGone));
                    }
                }
                if has_ended && !self.client.is_behind() {
                    return Poll::Ready(Ok(()));
                }
                match self.move_request(cx) {
                    // The answer is on its way already; what is wrong with the request no longer matters.
                    Err(Broken::Client(_)) => self.upload.is_broken = true,
                    moved => moved?,
                }
                if !has_ended && !self.input.is_full() && !self.client.is_full() {
                    match self.input.poll_fill(&mut self.node, cx) {
                        Poll::Ready(Ok(count @ 1..)) => self.moved += count as u64,
                        Poll::Ready(Ok(_)) if answer.body == Framing::UntilClose => {
                            has_ended = true;
                            continue;
                        }
                        Poll::Ready(_) => return Poll::Ready(Err(Broken::NodeClosed)),
                        Poll::Pending => {}
                    }
                }
                if self.moved == moved {
                    let waiting = if self.client.is_behind() {
                        Waiting::ClientToTake
                    } else {
                        Waiting::NodeToSend
                    };
                    return self.poll_deadline(waiting, cx).map(Err);
                }
            }
        })
        .await
    }

    /// Moves what can be moved from the client to the node, and notices when the client is gone.
    fn move_request(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.upload.is_received() {
            // What comes now is the next request, or the end.
            match self.client.poll_read(cx) {
                // The end itself counts as something that came, so that the connection is looked at again.
                Poll::Ready(Ok(count)) => self.moved += count.max(1) as u64,
                Poll::Ready(Err(_)) => return Err(Broken::ClientGone),
                Poll::Pending => {}
            }
        } else if !self.upload.is_broken && self.upload.has_room() {
            if self.client.input.is_empty()
                && !self.client.has_ended()
                && let Poll::Ready(Err(_)) = self.client.poll_read(cx)
            {
                return Err(Broken::ClientGone);
            }
            if self.client.is_over() {
                return Err(Broken::Client(Problem::BadRequest));
            }
            if !self.client.input.is_empty() {
                self.upload
                    .take(&mut self.client.input)
                    .map_err(Broken::Client)?;
                self.moved += 1;
            }
        }
        match self.upload.poll_send(&mut self.node, cx) {
            Poll::Ready(Ok(count @ 1..)) => self.moved += count as u64,
            // It may have answered before it closed, so the answer is still waited for.
            Poll::Ready(_) => self.upload.is_broken = true,
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Waits for the deadline of the side that keeps the others waiting.
    fn poll_deadline(&mut self, waiting: Waiting, cx: &mut Context<'_>) -> Poll<Broken> {
        // The head of an answer has one deadline, however many pieces it comes in.
        let moved = if waiting == Waiting::Answer {
            0
        } else {
            self.moved
        };
        if self.waiting != Some((waiting, moved)) {
            let now = if self.waiting.is_none() {
                self.began
            } else {
                Instant::now()
            };
            let client = |bytes| body_deadline(self.client_limits, self.began, bytes, now);
            let answered = self.client.written - self.written;
            self.client.deadline.set(match waiting {
                Waiting::Body => client(self.upload.length),
                Waiting::NodeToTake => now + self.timeouts.write,
                Waiting::Answer => now + self.timeouts.answer,
                Waiting::NodeToSend => client(answered).min(now + self.timeouts.body),
                Waiting::ClientToTake => client(answered),
            });
            self.waiting = Some((waiting, moved));
        }
        ready!(self.client.deadline.poll(cx));
        Poll::Ready(match waiting {
            Waiting::Body => Broken::Client(Problem::RequestTimeout),
            Waiting::NodeToTake | Waiting::Answer | Waiting::NodeToSend => Broken::NodeSlow,
            Waiting::ClientToTake => Broken::ClientGone,
        })
    }
}

fn is_error(sent: &Poll<io::Result<()>>) -> bool {
    matches!(sent, Poll::Ready(Err(_)))
}
