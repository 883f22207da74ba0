//! Time as milliseconds since the process started: small enough for an atomic.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the start, never 0.
pub(crate) fn now_ms() -> u64 {
    at_ms(Instant::now())
}

/// The same for a moment that was read already: requests share one look at the clock.
pub(crate) fn at_ms(moment: Instant) -> u64 {
    as_ms(moment.saturating_duration_since(*START)) + 1
}

/// Whole milliseconds.
pub(crate) fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
