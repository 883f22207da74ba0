//! Open-loop load at a fixed rate: every request has a time at which it is due, and its response time counts from then,
//! so that a station that stalls cannot hide behind a generator that waits for it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::http::Connection;
use crate::station::Station;
use crate::wrk::{CONNECTIONS, Ring};

/// Requests a second.
pub(crate) const RATE: u32 = 3_000;

/// What was seen at the fixed rate.
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// How late we ourselves were: the time between due and sent of requests that nothing held up. 99 of 100 were
    /// not later.
    pub(crate) lag_p99_us: u64,
}

/// One connection's share.
struct Share {
    latency_us: Histogram<u64>,
    lag_us: Histogram<u64>,
    refused: u64,
}

/// Asks `station` for `time`.
pub(crate) async fn run(station: &Station, ring: &Ring, time: Duration) -> io::Result<Seen> {
    let period = Duration::from_secs(1) * u32::try_from(CONNECTIONS).unwrap_or(1) / RATE;
    let start = Instant::now() + Duration::from_millis(100);
    let shares = (0..CONNECTIONS).map(|number| {
        let offset =
            period * u32::try_from(number).unwrap_or(0) / u32::try_from(CONNECTIONS).unwrap_or(1);
        let requests = ring.requests.iter().skip(number).step_by(CONNECTIONS);
        share(
            station,
            requests.cycle(),
            start + offset,
            period,
            start + time,
        )
    });
    let mut shares = try_join_all(shares).await?.into_iter();
    let mut all = shares.next().ok_or(io::ErrorKind::InvalidInput)?;
    for share in shares {
        let added = all.latency_us.add(share.latency_us);
        added
            .and_then(|()| all.lag_us.add(share.lag_us))
            .map_err(io::Error::other)?;
        all.refused += share.refused;
    }
    Ok(Seen {
        requests: all.latency_us.len(),
        refused: all.refused,
        p50_us: all.latency_us.value_at_quantile(0.5),
        p99_us: all.latency_us.value_at_quantile(0.99),
        lag_p99_us: all.lag_us.value_at_quantile(0.99),
    })
}

async fn share(
    station: &Station,
    mut requests: impl Iterator<Item = &Vec<u8>>,
    first: Instant,
    period: Duration,
    end: Instant,
) -> io::Result<Share> {
    let mut connection = Connection::open(station.address).await?;
    let mut share = Share {
        latency_us: histogram()?,
        lag_us: histogram()?,
        refused: 0,
    };
    let ticks = Ticks::start(first, period)?;
    let mut due = first;
    loop {
        let came = ticks.wait().await?;
        for _ in 0..came {
            if due >= end {
                return Ok(share);
            }
            if came == 1 {
                share.lag_us.saturating_record(micros_since(due));
            }
            let request = requests.next().ok_or(io::ErrorKind::InvalidInput)?;
            let answer = connection.exchange(request).await?;
            share.latency_us.saturating_record(micros_since(due));
            share.refused += u64::from(!(200..300).contains(&answer.status));
            due += period;
        }
    }
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)
}

fn micros_since(due: Instant) -> u64 {
    u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A timer of the kernel: tokio's own are exact to a millisecond only.
struct Ticks(AsyncFd<OwnedFd>);

impl Ticks {
    fn start(first: Instant, period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Zero would mean never.
        let wait = first
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let spec = Itimerspec {
            it_interval: timespec(period)?,
            it_value: timespec(wait)?,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a descriptor that we own and never replace is sound in both"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    /// Waits for the next tick; how many there were since the last look.
    async fn wait(&self) -> io::Result<u64> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            let read = ready
                .try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count).map(|_| ())?));
            match read {
                Ok(outcome) => return outcome.map(|()| u64::from_ne_bytes(count)),
                Err(_would_block) => {}
            }
        }
    }
}

fn timespec(duration: Duration) -> io::Result<Timespec> {
    Timespec::try_from(duration).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticks_that_were_missed_are_counted() {
        let period = Duration::from_millis(1);
        let ticks = Ticks::start(Instant::now(), period).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(ticks.wait().await.unwrap() >= 10);
        assert!(ticks.wait().await.unwrap() >= 1);
    }
}
