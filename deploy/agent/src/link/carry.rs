//! One direction of one connection: what comes in goes out later, slower, or not yet.

use std::{collections::VecDeque, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    time::{Instant, sleep_until},
};

use super::disturbance::{Direction, Disturbance, Disturbed};

/// What waits on the way, at most. When it is full we read no more, so the sender feels it as he would feel a slow
/// network.
pub(super) const QUEUE_BYTES: usize = 128 * 1024;

/// What is read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A limited bandwidth is shared out in pieces of this length of time.
const TURN: Duration = Duration::from_millis(20);

/// What a disturbance means for one direction.
#[derive(Clone, Copy, Default)]
pub(super) struct Flow {
    blocked: bool,
    delay: Duration,
    bytes_per_s: Option<u64>,
}

impl Flow {
    pub(super) fn there(disturbance: Option<Disturbance>) -> Self {
        Self::of(disturbance, Direction::means_there)
    }

    pub(super) fn back(disturbance: Option<Disturbance>) -> Self {
        Self::of(disturbance, Direction::means_back)
    }

    fn of(disturbance: Option<Disturbance>, is_meant: fn(Direction) -> bool) -> Self {
        let mut flow = Self::default();
        match disturbance {
            Some(Disturbance::Delay { by, direction }) if is_meant(direction) => flow.delay = by,
            Some(Disturbance::Bandwidth {
                bytes_per_s,
                direction,
            }) if is_meant(direction) => flow.bytes_per_s = Some(bytes_per_s.max(1)),
            Some(Disturbance::Blackhole { direction }) => flow.blocked = is_meant(direction),
            _ => {}
        }
        flow
    }
}

/// What is on its way in one direction.
struct Queue {
    /// In order, each with the time of its arrival here. An empty piece is the end.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the last byte had passed, with a limited bandwidth.
    free_at: Instant,
}

impl Queue {
    /// How many bytes go next, and when the last of them arrives.
    fn next(&self, flow: Flow) -> Option<(Instant, usize)> {
        let (arrived, piece) = self.pieces.front()?;
        let due = *arrived + flow.delay;
        let Some(bytes_per_s) = flow.bytes_per_s else {
            return Some((due, piece.len()));
        };
        let turn = u128::from(bytes_per_s) * TURN.as_millis() / 1_000;
        let length = piece
            .len()
            .min(usize::try_from(turn).unwrap_or(usize::MAX).max(1));
        let takes = Duration::from_secs_f64(length as f64 / bytes_per_s as f64);
        Some((due.max(self.free_at) + takes, length))
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        self.pieces.push_back((Instant::now(), piece.to_vec()));
    }

    /// So many bytes of the first piece have passed.
    fn passed(&mut self, length: usize, at: Instant) {
        self.free_at = at;
        self.bytes -= length;
        if let Some((_, piece)) = self.pieces.front_mut() {
            piece.drain(..length);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// Carries one direction to its end.
pub(super) async fn carry(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut disturbed: Disturbed,
    flow: fn(Option<Disturbance>) -> Flow,
) -> io::Result<()> {
    let mut queue = Queue {
        pieces: VecDeque::new(),
        bytes: 0,
        free_at: Instant::now(),
    };
    let mut buffer = vec![0; PIECE_BYTES];
    let mut has_ended = false;
    loop {
        let flow = flow(*disturbed.borrow_and_update());
        let next = queue.next(flow).filter(|_| !flow.blocked);
        let reads = !flow.blocked && !has_ended && queue.bytes < QUEUE_BYTES;
        // Each branch may be cancelled by another: none has done anything before it is done.
        tokio::select! {
            changed = disturbed.changed() => {
                if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            read = from.read(&mut buffer), if reads => {
                let length = read?;
                has_ended = length == 0;
                queue.push(&buffer[..length]);
            }
            sent = send(to, &queue, next), if next.is_some() => match sent? {
                Some((length, at)) => queue.passed(length, at),
                None => return to.shutdown().await,
            },
        }
    }
}

/// Waits until it is due and sends it. How many bytes went, and when they were due; `None` at the end.
async fn send(
    to: &mut WriteHalf<'_>,
    queue: &Queue,
    next: Option<(Instant, usize)>,
) -> io::Result<Option<(usize, Instant)>> {
    let (Some((at, length)), Some((_, piece))) = (next, queue.pieces.front()) else {
        return Ok(None);
    };
    sleep_until(at).await;
    if piece.is_empty() {
        return Ok(None);
    }
    Ok(Some((to.write(&piece[..length]).await?, at)))
}
