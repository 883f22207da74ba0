//! One timer a connection, moved as seldom as possible.
//!
//! Nearly every deadline of a request is replaced before it comes. Telling the runtime each time would cost
//! more than parsing the request, so the timer is left where it is as long as it is early enough: when it
//! goes off too early, it is set to the deadline that holds by then. A busy connection moves it every few
//! seconds.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A point in time that a task waits for, while it waits for something better.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A deadline at that time.
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            at,
            timer: Box::pin(sleep_until(at)),
        }
    }

    /// Replaces the deadline.
    pub(crate) fn set(&mut self, at: Instant) {
        self.at = at;
        if at < self.timer.deadline() {
            self.timer.as_mut().reset(at);
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.at <= self.timer.deadline() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_last_deadline_counts_whether_later_or_earlier() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start + 5 * SECOND);
        deadline.set(start + 60 * SECOND);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 60, "not at the fifth");

        deadline.set(start + 90 * SECOND);
        deadline.set(start + 61 * SECOND);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 61);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(
            start.elapsed().as_secs(),
            61,
            "what has passed is ready at once"
        );
    }
}
