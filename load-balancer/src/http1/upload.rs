//! What a node is to get: the head, then the body as it arrives. Kept as long as it is small enough to be
//! sent again to another node.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::AsyncWrite;

use crate::http1::{
    buffer::{Buffer, SIZE},
    framing::{Encoding, Framing},
    request::{PATIENCE_DIGITS, Request},
};
use crate::problem::Problem;

/// How much of a request is kept for another attempt.
const KEPT: usize = 64 * 1024;

/// A request on its way to a node.
#[derive(Debug)]
pub(crate) struct Upload {
    bytes: Vec<u8>,
    sent: usize,
    patience_at: Option<usize>,
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
        Self {
            bytes: head,
            sent: 0,
            patience_at: request.patience_at,
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

    /// Starts again from the beginning.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        self.is_broken = false;
    }

    /// Tells the node how long its answer may take: then one that cannot answer in time can say so, and when to try again.
    pub(crate) fn allow(&mut self, within: Duration) {
        let Some(at) = self.patience_at.filter(|_| !self.is_cut) else {
            return;
        };
        let mut digits = &mut self.bytes[at..at + PATIENCE_DIGITS];
        // Cannot fail: no `total_ms` has more digits.
        let _ = write!(digits, "{:0PATIENCE_DIGITS$}", within.as_millis());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::request::{self, Rules};
    use crate::request_id::RequestIds;

    #[test]
    fn a_node_is_told_anew_for_each_attempt_how_long_its_answer_may_take() {
        let rules = Rules {
            strategy: "sticky".to_owned(),
            is_https: false,
            affinity: None,
            max_body: 100,
            request_ids: RequestIds::new(),
        };
        let upload = |method: &str| {
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nX-Answer-Within-Ms: 9\r\n\r\n");
            let mut output = Vec::new();
            let request =
                request::read(head.as_bytes(), &rules, b"10.0.0.7", &mut output).expect("fine");
            Upload::new(output, &request, 100)
        };
        let told = |upload: &Upload| {
            let head = String::from_utf8(upload.bytes.clone()).expect("text");
            let lines = head
                .lines()
                .filter_map(|line| line.strip_prefix("x-answer-within-ms: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut post = upload("POST");
        let length = post.bytes.len();
        for (left_ms, digits) in [
            (5_000, "005000"),
            (600_000, "600000"),
            (7, "000007"),
            (0, "000000"),
        ] {
            post.allow(Duration::from_millis(left_ms));
            assert_eq!(told(&post), [digits]);
            assert_eq!(post.bytes.len(), length);
        }
        // Another node can answer these.
        let mut get = upload("GET");
        get.allow(Duration::from_secs(5));
        assert_eq!(told(&get), [""; 0]);
    }
}
