//! The one clock of a run: `CLOCK_MONOTONIC`, which all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The one clock of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Clock {
    /// `CLOCK_MONOTONIC` at the first measured moment.
    origin_us: i64,
}

impl Clock {
    /// A clock that reads 0 in `delay_us` from now.
    pub fn starting_in(delay_us: i64) -> Self {
        Self {
            origin_us: monotonic_us() + delay_us,
        }
    }

    /// Microseconds since the first measured moment; negative before it.
    pub fn now_us(&self) -> i64 {
        monotonic_us() - self.origin_us
    }
}

fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}
