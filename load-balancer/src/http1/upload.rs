//! What a node is to get: the head, then the body as it arrives. Kept as long as it is small enough to be
//! sent again to another node.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

use crate::http1::{
    buffer::{Buffer, SIZE},
    fields::put,
    framing::{Encoding, Framing},
    request::Request,
};
use crate::problem::Problem;

/// How much of a request is kept for another attempt.
const KEPT: usize = 64 * 1024;

/// The empty line at the end of every head.
const END_OF_HEAD: &[u8] = b"\r\n";

/// A request on its way to a node.
#[derive(Debug)]
pub(crate) struct Upload {
    bytes: Vec<u8>,
    sent: usize,
    /// Where the head ends, and what stands there for one node only.
    head_end: usize,
    told: Range<usize>,
    body: Framing,
    encoding: Encoding,
    /// Bytes of the body so far, and at most.
    pub(crate) length: u64,
    max_length: u64,
    /// Some of it was sent and is no longer here.
    is_cut: bool,
    /// The node takes no more.
    pub(crate) is_broken: bool,
}

impl Upload {
    /// An upload of `head` and the body that follows it.
    pub(crate) fn new(head: Vec<u8>, request: &Request, max_length: u64) -> Self {
        let head_end = head.len() - END_OF_HEAD.len();
        Self {
            bytes: head,
            sent: 0,
            head_end,
            told: head_end..head_end,
            body: request.body.clone(),
            encoding: request.encoding,
            length: 0,
            max_length,
            is_cut: false,
            is_broken: false,
        }
    }

    /// Can it be sent from its beginning again?
    pub(crate) fn can_repeat(&self) -> bool {
        !self.is_cut
    }

    /// Starts again from the beginning, for another node.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        self.is_broken = false;
        self.bytes.drain(self.told.clone());
        self.told = self.head_end..self.head_end;
    }

    /// Adds a field to the head for the node that gets it next, and no other.
    pub(crate) fn tell(&mut self, name: &[u8], value: &[u8]) {
        let mut field = Vec::new();
        put(&mut field, name, value);
        self.told = self.head_end..self.told.end + field.len();
        self.bytes.splice(self.head_end..self.head_end, field);
    }

    /// Has the client sent everything?
    pub(crate) fn is_received(&self) -> bool {
        self.body.is_done()
    }

    /// Has the node taken everything that is here?
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Has the node taken everything?
    pub(crate) fn is_done(&self) -> bool {
        self.is_received() && self.is_sent()
    }

    /// Can more of the body be taken in now?
    pub(crate) fn has_room(&mut self) -> bool {
        let waiting = self.bytes.len() - self.sent;
        if waiting == 0 && self.bytes.len() >= KEPT {
            self.bytes.clear();
            self.sent = 0;
            self.is_cut = true;
        }
        waiting < SIZE && self.bytes.len() < KEPT
    }

    /// Takes the body's next bytes from what the client sent.
    pub(crate) fn take(&mut self, input: &mut Buffer) -> Result<(), Problem> {
        let passed = self
            .body
            .pass(input.bytes(), &mut self.bytes, self.encoding)
            .map_err(|_| Problem::BadRequest)?;
        input.consume(passed.used);
        self.length += passed.data as u64;
        if self.length > self.max_length {
            return Err(Problem::BodyTooLarge);
        }
        Ok(())
    }

    /// Sends once. Pending also when there is nothing to send.
    pub(crate) fn poll_send<W: AsyncWrite + Unpin>(
        &mut self,
        node: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let waiting = &self.bytes[self.sent..];
        if waiting.is_empty() || self.is_broken {
            return Poll::Pending;
        }
        let sent = Pin::new(node).poll_write(cx, waiting);
        if let Poll::Ready(Ok(count)) = sent {
            self.sent += count;
        }
        sent
    }
}
