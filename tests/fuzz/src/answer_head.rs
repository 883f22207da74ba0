//! Answers as nodes send them. The first byte says what was asked: bit 0 set, by `HEAD`; bit 1 set, by an HTTP/1.0 client.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use load_balancer::inspect;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{RUNTIME, step};

/// hyper's client reads from what was sent on what it reads from the answer itself.
pub fn check(input: &[u8]) {
    let Some((asked, input)) = input.split_first() else {
        return;
    };
    let (is_head, is_modern) = (asked & 1 != 0, asked & 2 == 0);
    let outcome = inspect::answer(input, is_head, is_modern, usize::MAX);
    let in_pieces = inspect::answer(input, is_head, is_modern, step(input));
    let meaning = |outcome: &Option<inspect::Outcome>| {
        outcome
            .as_ref()
            .map(|outcome| (outcome.refused, outcome.is_whole))
    };
    assert_eq!(meaning(&outcome), meaning(&in_pieces));
    let Some(outcome) = outcome.filter(|outcome| outcome.refused.is_none()) else {
        return;
    };
    // An announcement, which hyper keeps to itself.
    if outcome.sent.starts_with(b"HTTP/1.1 1") {
        return;
    }
    let used = &input[..input.len() - outcome.rest.len()];
    let node = RUNTIME
        .block_on(read(used, is_head))
        .expect("hyper takes the node's answer");
    let client = RUNTIME
        .block_on(read(&outcome.sent, is_head))
        .expect("hyper takes ours");
    assert_eq!(client.status, node.status);
    if outcome.is_whole {
        assert_eq!(client.body, node.body);
        assert!(client.body.is_some());
    } else {
        // To an old client, whose answers end with the connection, the balancer shows a break by a reset.
        assert!(client.body.is_none() || !is_modern);
    }
    let names: Vec<_> = client
        .fields
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    for dropped in [
        "x-balancer-retries",
        "keep-alive",
        "upgrade",
        "trailer",
        "te",
    ] {
        assert!(!names.contains(&dropped), "{dropped}");
    }
    let framings = ["content-length", "transfer-encoding"];
    assert!(names.iter().filter(|name| framings.contains(name)).count() <= 1);
}

/// An answer as hyper's client reads it.
struct Seen {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    /// `None`: it broke off.
    body: Option<Vec<u8>>,
}

async fn read(bytes: &[u8], is_head: bool) -> Option<Seen> {
    let io = Replay {
        bytes: bytes.to_vec(),
        at: 0,
        was_asked: false,
        reader: None,
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.ok()?;
    let method = if is_head { Method::HEAD } else { Method::GET };
    let request = Request::builder().method(method).uri("/");
    let request = request.body(Empty::<&[u8]>::new()).ok()?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
        let fields = parts.headers.iter();
        Some(Seen {
            status: parts.status.as_u16(),
            fields: fields
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            body: body
                .collect()
                .await
                .ok()
                .map(|body| body.to_bytes().to_vec()),
        })
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

/// A node that answers with these bytes as soon as it was asked, and closes.
struct Replay {
    bytes: Vec<u8>,
    at: usize,
    was_asked: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.was_asked {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.remaining().min(self.bytes.len() - self.at);
        room.put_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.was_asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
