//! What the node counts about itself; `endpoints::metrics` tells it.
//!
//! A request must not pay for being counted: every counter has its place in a table, found by index and not by looking up
//! label values, so that one request costs three relaxed additions. Label values come from fixed sets only (strategies,
//! endpoints, statuses): nothing that a client sends can make the table grow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

/// The statuses that this node gives; others are counted as `other`.
const STATUSES: [u16; 18] = [
    200, 201, 204, 400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 500, 501, 503,
];

/// Upper bounds of the latency histogram. In memory a request takes some microseconds, with a store some hundreds,
/// a password check tens of thousands.
const BOUNDS_US: [u64; 16] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000,
];

/// What a request can be for. The set of values that a metric's label can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Login,
    Logout,
    Refresh,
    Me,
    Cart,
    AddLine,
    RemoveLine,
    Sessions,
    EndSession,
    Revoke,
    Plain,
    Healthz,
    Readyz,
    Metrics,
    Clock,
    /// A path that leads nowhere.
    NotFound,
}

impl Endpoint {
    /// All of them, in the order in which they are declared.
    pub(crate) const ALL: [Self; 16] = [
        Self::Login,
        Self::Logout,
        Self::Refresh,
        Self::Me,
        Self::Cart,
        Self::AddLine,
        Self::RemoveLine,
        Self::Sessions,
        Self::EndSession,
        Self::Revoke,
        Self::Plain,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Clock,
        Self::NotFound,
    ];

    /// As metrics and logs call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Refresh => "refresh",
            Self::Me => "me",
            Self::Cart => "cart",
            Self::AddLine => "add-line",
            Self::RemoveLine => "remove-line",
            Self::Sessions => "sessions",
            Self::EndSession => "end-session",
            Self::Revoke => "revoke",
            Self::Plain => "plain",
            Self::Healthz => "healthz",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
            Self::Clock => "clock",
            Self::NotFound => "not-found",
        }
    }
}

/// The requests that went to one strategy, or to none.
pub(crate) struct Requests {
    endpoints: [Row; Endpoint::ALL.len()],
}

/// The requests to one endpoint. Every request that was answered is in exactly one status, so their sum is the count.
pub(crate) struct Row {
    statuses: [AtomicU64; STATUSES.len() + 1],
    buckets: [AtomicU64; BOUNDS_US.len()],
    sum_us: AtomicU64,
    abandoned: AtomicU64,
    abandoned_us: AtomicU64,
}

impl Requests {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            endpoints: std::array::from_fn(|_| Row {
                statuses: std::array::from_fn(|_| AtomicU64::new(0)),
                buckets: std::array::from_fn(|_| AtomicU64::new(0)),
                sum_us: AtomicU64::new(0),
                abandoned: AtomicU64::new(0),
                abandoned_us: AtomicU64::new(0),
            }),
        }
    }

    /// Counts one request.
    pub(crate) fn count(&self, endpoint: Endpoint, status: StatusCode, took: Duration) {
        let row = &self.endpoints[endpoint as usize];
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let status = STATUSES
            .iter()
            .position(|&known| known == status.as_u16())
            .unwrap_or(STATUSES.len());
        row.statuses[status].fetch_add(1, Ordering::Relaxed);
        // Each request is in one bucket here; the text format wants them cumulative, which is cheaper done there.
        if let Some(bucket) = BOUNDS_US.iter().position(|&bound| took_us <= bound) {
            row.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        row.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// Counts one request that was given up after this time, before there was an answer.
    pub(crate) fn count_abandoned(&self, endpoint: Endpoint, took: Duration) {
        let row = &self.endpoints[endpoint as usize];
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        row.abandoned.fetch_add(1, Ordering::Relaxed);
        row.abandoned_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// The endpoints that were asked for at all: a table of zeros for calls that nobody made helps nobody.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, &Row)> {
        let rows = Endpoint::ALL.iter().zip(&self.endpoints);
        rows.map(|(endpoint, row)| (endpoint.label(), row))
    }
}

impl Row {
    /// How many were answered with each status.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (String, u64)> {
        let names = STATUSES.iter().map(u16::to_string);
        let counts = self
            .statuses
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        names.chain(["other".to_owned()]).zip(counts)
    }

    /// How many were answered.
    pub(crate) fn count(&self) -> u64 {
        self.statuses().map(|(_, count)| count).sum()
    }

    /// Upper bounds in microseconds, and how many took at most that long.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        BOUNDS_US
            .iter()
            .zip(&self.buckets)
            .map(move |(&bound_us, count)| {
                below += count.load(Ordering::Relaxed);
                (bound_us, below)
            })
    }

    /// Time until the answers, all together.
    pub(crate) fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }

    /// How many were given up, and after how long, all together.
    pub(crate) fn abandoned(&self) -> (u64, u64) {
        let [count, us] =
            [&self.abandoned, &self.abandoned_us].map(|it| it.load(Ordering::Relaxed));
        (count, us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_declaration() {
        for (index, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, index, "{endpoint:?}");
        }
    }
}
