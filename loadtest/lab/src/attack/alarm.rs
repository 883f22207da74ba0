//! Waits to the microsecond. Tokio's timer counts milliseconds and rounds up twice, so that a user would be woken up to
//! 2 ms late: several times what a request takes, and all of it would count as response time.

use std::fs::File;
use std::io;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// A timer of the kernel's, for one waiter at a time.
pub(super) struct Alarm {
    /// Not a pipe, but read like one: eight bytes, once the time has come.
    timer: Receiver,
}

impl Alarm {
    /// Must be called on a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: Receiver::from_file_unchecked(File::from(timer))?,
        })
    }

    /// Waits for so many microseconds, and never less; not at all for what is over.
    pub(super) async fn wait(&mut self, ahead_us: i64) -> io::Result<()> {
        if ahead_us <= 0 {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: ahead_us / 1_000_000,
                tv_nsec: ahead_us % 1_000_000 * 1_000,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        // More room than it fills tells tokio that there is no more to read, which saves a vain second attempt.
        let mut expirations = [0; 16];
        self.timer.read(&mut expirations).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::Clock;

    #[tokio::test]
    async fn never_rings_early_and_can_be_set_again() {
        let mut alarm = Alarm::new().unwrap();
        for ahead_us in [3_000, 500, 0, -1_000_000] {
            let clock = Clock::starting_in(ahead_us);
            alarm.wait(ahead_us).await.unwrap();
            assert!(clock.now_us() >= 0);
        }
    }
}
