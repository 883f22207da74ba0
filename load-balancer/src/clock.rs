//! Time as numbers that are small enough for an atomic: milliseconds since the process started, and Unix seconds.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

/// Unix seconds. A clock before 1970 or after 2106 makes cookies expire, no more.
pub(crate) fn now_s() -> u32 {
    u32::try_from(since_1970().as_secs()).unwrap_or(u32::MAX)
}

/// The time since 1970.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Whole milliseconds.
pub(crate) fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
