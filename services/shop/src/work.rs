//! `--work-us`: the CPU time that a real handler would take, burnt in each application request.
//!
//! What counts is the thread's own CPU clock and not the time of day: a thread that waits for its core has done no work.
//! The work runs on the threads that serve requests, as the work of a real handler would, but in slices of at most half a
//! millisecond with a yield between them. So requests share a core as processes do, a long one does not keep the others
//! (and the health check) waiting until it is done, and no request pays for a hop to another thread.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const SLICE: Duration = Duration::from_micros(500);

/// Takes `work` of CPU time.
pub(crate) async fn burn(work: Duration) {
    let mut left = work;
    while !left.is_zero() {
        left = left.saturating_sub(burn_slice(left.min(SLICE)));
        if !left.is_zero() {
            tokio::task::yield_now().await;
        }
    }
}

/// Spins for at least `slice` of this thread's CPU time; how much it was.
fn burn_slice(slice: Duration) -> Duration {
    let start = thread_cpu();
    loop {
        // Reading the clock is a system call: about a microsecond of spinning between readings
        // keeps most of the work in user space, where the work of a handler is.
        for spin in 0..2_000 {
            std::hint::black_box(spin);
        }
        let burnt = thread_cpu().saturating_sub(start);
        if burnt >= slice {
            return burnt;
        }
    }
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // The kernel counts up from zero, so neither part is ever negative.
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_takes_the_cpu_time_that_was_asked_for() {
        for work in [
            Duration::ZERO,
            Duration::from_micros(300),
            Duration::from_millis(3),
        ] {
            let before = thread_cpu();
            burn(work).await;
            assert!(thread_cpu().saturating_sub(before) >= work);
        }
    }

    #[tokio::test]
    async fn others_get_their_turn_meanwhile() {
        let other = tokio::spawn(async {});
        burn(SLICE * 3).await;
        assert!(other.is_finished());
    }
}
