//! Closing a connection without taking the last answer back.
//!
//! A request can be answered before it was read to its end: its body is too large, its sender is nobody. If the connection
//! were closed then, the kernel would tell the client so with a reset, and many clients, which read only when they have
//! written, would see a broken pipe in place of the answer. So the sending side is closed first, and what still comes is
//! read and dropped for a while: not for ever, and not without end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// As the load balancer does by default (`linger_ms`, `linger_bytes`).
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Read at once.
const PIECE: usize = 8 * 1024;

/// A connection that lingers when it is shut down.
#[derive(Debug)]
pub(crate) struct Lingering {
    stream: TcpStream,
    /// Set when the sending side is closed: until when, and how much more.
    left: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Lingering {
    /// A connection that was accepted.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, left: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, left } = &mut *self;
        if left.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let (until, bytes) = left.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        while *bytes > 0 {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut *stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    *bytes = bytes.saturating_sub(piece.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return until.as_mut().poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
