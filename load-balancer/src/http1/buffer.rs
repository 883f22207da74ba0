//! What was read from a socket and not yet used.
//!
//! A connection that waits for its next request holds no memory: a buffer takes its bytes from a list of its
//! thread when a read is tried, and gives them back when nothing came.

use std::{
    cell::RefCell,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of one buffer. A head has to fit.
pub(crate) const SIZE: usize = 16 * 1024;
/// Unused pieces of memory that a thread keeps, 1 MiB in all.
const KEPT: usize = 64;

thread_local! {
    static UNUSED: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that arrived, in order. At most `SIZE`.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// `SIZE` bytes, or none while there is nothing to hold.
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What arrived and was not used yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Is there nothing to use?
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Is there no room for more?
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start == SIZE
    }

    /// The first `count` bytes were used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the memory back, and with it whatever was in it.
    pub(crate) fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        let memory = mem::take(&mut self.memory);
        if !memory.is_empty() {
            UNUSED.with_borrow_mut(|unused| {
                if unused.len() < KEPT {
                    unused.push(memory);
                }
            });
        }
    }

    /// Reads once. Returns how many bytes came: 0 at the end of the stream. Must not be full.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.memory.is_empty() {
            let kept = UNUSED.with_borrow_mut(Vec::pop);
            self.memory = kept.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        } else if self.end == SIZE {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(&mut self.memory[self.end..]);
        let read = Pin::new(io).poll_read(cx, &mut room);
        let count = room.filled().len();
        if read.is_pending() && self.is_empty() {
            self.release();
        }
        ready!(read)?;
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn bytes_stay_in_order_when_the_end_is_reached() {
        let mut cx = Context::from_waker(Waker::noop());
        let source: Vec<u8> = (0..=250).cycle().take(SIZE + 100).collect();
        let mut io = &source[..];
        let mut buffer = Buffer::default();
        assert!(matches!(
            buffer.poll_fill(&mut io, &mut cx),
            Poll::Ready(Ok(SIZE))
        ));
        assert!(buffer.is_full());
        buffer.consume(SIZE - 10);
        assert!(matches!(
            buffer.poll_fill(&mut io, &mut cx),
            Poll::Ready(Ok(100))
        ));
        assert_eq!(buffer.bytes(), &source[SIZE - 10..]);
        buffer.consume(110);
        assert!(buffer.is_empty());
        assert!(
            matches!(buffer.poll_fill(&mut io, &mut cx), Poll::Ready(Ok(0))),
            "the end"
        );
    }

    #[tokio::test]
    async fn waiting_holds_no_memory() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, _other_end) = tokio::io::duplex(64);
        let mut buffer = Buffer::default();
        assert!(buffer.poll_fill(&mut io, &mut cx).is_pending());
        assert!(buffer.memory.is_empty());
    }
}
