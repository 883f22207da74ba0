//! A client's connection: reading heads from it, and everything that is written to it.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Interval, interval},
};
use tokio_rustls::server::TlsStream;

use crate::{
    config::ClientLimits,
    http1::{
        buffer::{Buffer, SIZE},
        deadline::Deadline,
        scan::Scan,
    },
    problem::Problem,
};

/// How often a connection is looked at whose client sends no more: nothing else would tell that it was reset.
const LOOK: Duration = Duration::from_millis(250);

/// Any connection that can be read and written.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Did the other side reset the connection? Asked of the kernel.
    fn is_reset(&self) -> bool;
}

impl Wire for TcpStream {
    fn is_reset(&self) -> bool {
        !matches!(self.take_error(), Ok(None))
    }
}

impl Wire for TlsStream<TcpStream> {
    fn is_reset(&self) -> bool {
        self.get_ref().0.is_reset()
    }
}

/// When a body that began at `since` and moved `bytes` has to have moved again.
pub(crate) fn body_deadline(
    limits: &ClientLimits,
    since: Instant,
    bytes: u64,
    now: Instant,
) -> Instant {
    let earned = Duration::from_secs(bytes / limits.bytes_per_s.max(1));
    (now + limits.silence).min(since + limits.silence + earned)
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client<C> {
    io: C,
    /// What arrived and belongs to the request under way, or to the next one.
    pub(crate) input: Buffer,
    /// What the client is to get.
    pub(crate) output: Vec<u8>,
    sent: usize,
    is_flushed: bool,
    /// Bytes written so far.
    pub(crate) written: u64,
    pub(crate) deadline: Deadline,
    aborts_on_close: bool,
    /// Set when the client has ended its sending side and may still read: when to look for a reset.
    ended: Option<Interval>,
}

impl<C: Wire> Client<C> {
    /// A connection that was just accepted.
    pub(crate) fn new(io: C, now: Instant, limits: &ClientLimits) -> Self {
        Self {
            io,
            input: Buffer::default(),
            output: Vec::new(),
            sent: 0,
            is_flushed: true,
            written: 0,
            deadline: Deadline::new(now + limits.head),
            aborts_on_close: limits.aborts_on_close,
            ended: None,
        }
    }

    /// Has the client ended its sending side? Beyond `input` nothing will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Will no request follow those whose heads were read?
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended() && self.input.is_empty()
    }

    /// Waits for a head and returns its length; it stands at the beginning of `input`. `None` when there is
    /// nobody to answer: the client left, or sent nothing for long enough.
    pub(crate) async fn read_head(
        &mut self,
        limits: &ClientLimits,
        is_first: bool,
    ) -> Option<Result<usize, Problem>> {
        let mut began = None;
        let mut scan = Scan::default();
        if self.input.is_empty() {
            self.output = Vec::new();
            let wait = if is_first {
                limits.head
            } else {
                limits.keepalive
            };
            self.deadline.set(Instant::now() + wait);
        }
        poll_fn(|cx| {
            loop {
                if !self.input.is_empty() {
                    if began.is_none() {
                        let now = Instant::now();
                        began = Some(now);
                        self.deadline.set(now + limits.head);
                    }
                    match scan.find_end(self.input.bytes()) {
                        // An empty line before a request is skipped (RFC 9112, section 2.2).
                        Ok(Some(2)) => {
                            self.input.consume(2);
                            scan = Scan::default();
                            continue;
                        }
                        Ok(Some(end)) => return Poll::Ready(Some(Ok(end))),
                        Ok(None) if self.input.is_full() => {
                            let is_target = !self.input.bytes().contains(&b'\n');
                            return Poll::Ready(Some(Err(if is_target {
                                Problem::TargetTooLong
                            } else {
                                Problem::HeadTooLarge
                            })));
                        }
                        Ok(None) => {}
                        Err(_) => return Poll::Ready(Some(Err(Problem::BadRequest))),
                    }
                }
                match self.poll_read_unless_ended(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    // Half a head, and no more will come.
                    Poll::Ready(Ok(_)) if !self.input.is_empty() => {
                        return Poll::Ready(Some(Err(Problem::BadRequest)));
                    }
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => {
                        ready!(self.deadline.poll(cx));
                        return Poll::Ready(began.map(|_| Err(Problem::RequestTimeout)));
                    }
                }
            }
        })
        .await
    }

    /// Reads more, if there is room. Returns how many bytes came: 0 once, when the client has ended its sending
    /// side. An error means that it is gone.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(look) = &mut self.ended {
            while look.poll_tick(cx).is_ready() {
                if self.io.is_reset() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
            return Poll::Pending;
        }
        if self.input.is_full() {
            return Poll::Pending;
        }
        let count = ready!(self.input.poll_fill(&mut self.io, cx))?;
        if count == 0 {
            if self.aborts_on_close {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.ended = Some(interval(LOOK));
            if self.input.is_empty() {
                self.input.release();
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_read_unless_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.has_ended() {
            return Poll::Ready(Ok(0));
        }
        self.poll_read(cx)
    }

    /// Is something written that the client has not taken yet?
    pub(crate) fn is_behind(&self) -> bool {
        !self.is_flushed || !self.output.is_empty()
    }

    /// Is so much waiting for the client that no more should be added?
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() - self.sent >= SIZE
    }

    /// Sends what was written. Ready when the client took all of it.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            self.written += count as u64;
            self.is_flushed = false;
        }
        self.output.clear();
        self.sent = 0;
        if !self.is_flushed {
            // Only TLS keeps anything back.
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets what was written, if the client has got nothing of it.
    pub(crate) fn take_back(&mut self) -> bool {
        let is_unsent = self.sent == 0 && !self.output.is_empty();
        if is_unsent {
            self.output.clear();
        }
        is_unsent
    }

    /// Sends what was written, within the client's time.
    pub(crate) async fn send(&mut self, limits: &ClientLimits) -> io::Result<()> {
        self.deadline.set(Instant::now() + limits.silence);
        poll_fn(|cx| match self.poll_send(cx) {
            Poll::Pending => self
                .deadline
                .poll(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(sent) => Poll::Ready(sent),
        })
        .await
    }

    /// Ends the connection in a way that lets the client read what was sent, even if it is still sending.
    pub(crate) async fn close(mut self, limits: &ClientLimits) {
        self.input.release();
        self.deadline.set(Instant::now() + limits.linger);
        let mut left = limits.linger_bytes;
        let mut is_shut = false;
        poll_fn(|cx| {
            if !is_shut && let Poll::Ready(shut) = Pin::new(&mut self.io).poll_shutdown(cx) {
                if shut.is_err() {
                    return Poll::Ready(());
                }
                is_shut = true;
            }
            while left > 0 {
                match self.input.poll_fill(&mut self.io, cx) {
                    Poll::Ready(Ok(count @ 1..)) => {
                        self.input.consume(count);
                        left = left.saturating_sub(count as u64);
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}
