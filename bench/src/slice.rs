//! A slice: one station under load for some seconds, what a request cost it, and whether the figure may be believed.
//!
//! All stations stand ready all the time and are measured in turn (ABC ABC ABC), so that a machine that gets slower
//! half-way does so for all of them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::BenchError;
use crate::fixed_rate;
use crate::machine::Machine;
use crate::station::Station;
use crate::tell;
use crate::wrk::{self, Ring};

/// A generator that is busier than this is the bottleneck …
pub(crate) const GENERATOR_FULL: f64 = 0.97;
/// … unless the station is busier than this, too.
pub(crate) const STATION_FULL: f64 = 0.85;
/// At a fixed rate: more lateness of our own than this, in µs, would be measured instead of the station.
const LAG_LIMIT_US: u64 = 1_000;
/// Before the first round, every target is loaded for this long: connections, caches, allocators.
const WARM_UP: Duration = Duration::from_secs(1);

/// What a run consists of.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    /// Configurations and logs; gone after the run.
    pub(crate) folder: TempDir,
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
}

impl Bench {
    /// A file of the run.
    pub(crate) fn file(&self, name: impl AsRef<str>) -> PathBuf {
        self.folder.path().join(name.as_ref())
    }
}

/// How a station is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// As much as it can take.
    Saturating,
    /// The same, for figures that are counts: who waits for whom does not matter to them.
    Counting,
    /// [`fixed_rate::RATE`] requests a second, come what may.
    FixedRate,
}

/// A station and what it is asked.
pub(crate) struct Target<'a> {
    pub(crate) station: &'a Station,
    pub(crate) work: &'static str,
    pub(crate) ring: &'a Ring,
    pub(crate) load: Load,
}

/// What one slice showed.
pub(crate) struct Slice {
    pub(crate) requests: u64,
    /// CPU time of the station a request.
    pub(crate) cpu_us: f64,
    pub(crate) per_second: f64,
    /// From due to answered; only at a fixed rate.
    pub(crate) latency_us: Option<(u64, u64)>,
}

/// All rounds of one station and one work; an excluded slice has its reason.
pub(crate) struct Measured {
    pub(crate) station: &'static str,
    pub(crate) work: &'static str,
    pub(crate) rounds: Vec<Result<Slice, String>>,
}

impl Measured {
    /// A figure of each round; `None` where the slice was excluded.
    pub(crate) fn figures(&self, figure: impl Fn(&Slice) -> f64) -> Vec<Option<f64>> {
        let rounds = self.rounds.iter();
        rounds
            .map(|round| round.as_ref().ok().map(&figure))
            .collect()
    }

    /// One line for each excluded slice.
    pub(crate) fn excluded(&self) -> impl Iterator<Item = String> {
        let rounds = self.rounds.iter().enumerate();
        rounds.filter_map(|(number, round)| {
            let reason = round.as_ref().err()?;
            let (station, work) = (self.station, self.work);
            Some(format!("{station}, {work}, round {}: {reason}", number + 1))
        })
    }
}

/// Measures every target in every round.
pub(crate) async fn rounds(
    bench: &Bench,
    targets: &[Target<'_>],
) -> Result<Vec<Measured>, BenchError> {
    let mut all: Vec<Measured> = targets
        .iter()
        .map(|target| Measured {
            station: target.station.name,
            work: target.work,
            rounds: Vec::new(),
        })
        .collect();
    for target in targets {
        let _ = one(bench, target, WARM_UP).await?;
    }
    for round in 1..=bench.rounds {
        for (target, measured) in targets.iter().zip(&mut all) {
            let slice = one(bench, target, bench.slice).await?;
            let shown = match &slice {
                Ok(slice) => format!("{:.2} µs", slice.cpu_us),
                Err(reason) => format!("excluded: {reason}"),
            };
            tell(format_args!(
                "round {round}/{}  {}, {}: {shown}",
                bench.rounds, target.station.name, target.work
            ));
            measured.rounds.push(slice);
        }
    }
    Ok(all)
}

/// One slice. The outer error ends the run, the inner one excludes the slice.
pub(crate) async fn one(
    bench: &Bench,
    target: &Target<'_>,
    time: Duration,
) -> Result<Result<Slice, String>, BenchError> {
    let cores = Busy::read();
    let began = Instant::now();
    let before = target.station.cpu_times();
    let seen = match target.load {
        Load::Saturating | Load::Counting => saturate(bench, target, time).await?,
        Load::FixedRate => match fixed_rate::run(target.station, target.ring, time).await {
            Ok(seen) => Seen::at_fixed_rate(&seen, time),
            Err(error) => return Ok(Err(format!("a connection broke: {error}"))),
        },
    };
    let cpu_us = before.until(&target.station.cpu_times());
    let took = began.elapsed().min(seen.duration);
    let others = cores.until(&Busy::read(), &bench.machine.cores.others);
    if let Some(reason) = seen.wrong {
        return Ok(Err(reason));
    }
    let alone = target.station.threads < 2 || bench.machine.cores.wide_is_alone();
    let available_us = took.as_secs_f64() * 1e6 * target.station.threads as f64;
    if target.load == Load::Saturating
        && alone
        && let Some(reason) = bottleneck(cpu_us / available_us, seen.generator.max(others))
    {
        return Ok(Err(reason));
    }
    Ok(Ok(Slice {
        requests: seen.requests,
        cpu_us: cpu_us / seen.requests as f64,
        per_second: seen.requests as f64 / seen.duration.as_secs_f64(),
        latency_us: seen.latency_us,
    }))
}

/// What either generator saw.
struct Seen {
    requests: u64,
    duration: Duration,
    /// How busy the generator's threads were, from 0 to 1.
    generator: f64,
    latency_us: Option<(u64, u64)>,
    /// Why the slice says nothing.
    wrong: Option<String>,
}

async fn saturate(bench: &Bench, target: &Target<'_>, time: Duration) -> Result<Seen, BenchError> {
    let folder = bench.folder.path();
    let seen = wrk::run(&bench.machine, folder, target.station, target.ring, time).await?;
    let available =
        seen.duration * u32::try_from(bench.machine.cores.generator_threads()).unwrap_or(1);
    let wrong = match (seen.requests, seen.errors, seen.refused) {
        (0, _, _) => Some("no answers".into()),
        (_, 0, 0) => None,
        (_, errors, refused) => Some(format!(
            "{errors} broken connections or missing answers, {refused} answers with an error status"
        )),
    };
    Ok(Seen {
        requests: seen.requests,
        duration: seen.duration,
        generator: seen.cpu.as_secs_f64() / available.as_secs_f64(),
        latency_us: None,
        wrong,
    })
}

impl Seen {
    fn at_fixed_rate(seen: &fixed_rate::Seen, time: Duration) -> Self {
        let wrong = match (seen.requests, seen.refused, seen.lag_p99_us) {
            (0, _, _) => Some("no answers".into()),
            (_, 1.., _) => Some(format!("{} answers with an error status", seen.refused)),
            (_, 0, lag) if lag > LAG_LIMIT_US => Some(format!(
                "the generator was late itself: 1 of 100 requests more than {lag} µs"
            )),
            _ => None,
        };
        Self {
            requests: seen.requests,
            duration: time,
            generator: 0.0,
            latency_us: Some((seen.p50_us, seen.p99_us)),
            wrong,
        }
    }
}

/// A station that waits for its generator is not what was measured.
fn bottleneck(station: f64, generator: f64) -> Option<String> {
    (station < STATION_FULL && generator >= GENERATOR_FULL).then(|| {
        format!(
            "the generator's cores were the bottleneck ({:.0} % busy, the station {:.0} %)",
            generator * 100.0,
            station * 100.0
        )
    })
}

/// Busy and all time of each core, in ticks, from `/proc/stat`.
struct Busy(Vec<(u64, u64)>);

impl Busy {
    fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let cores = text.lines().filter_map(|line| {
            let (name, times) = line.split_once(' ')?;
            name.strip_prefix("cpu")?.parse::<usize>().ok()?;
            let times: Vec<u64> = times
                .split_whitespace()
                .map_while(|time| time.parse().ok())
                .take(8)
                .collect();
            // user, nice, system, idle, waiting for input and output, …
            let idle: u64 = times.iter().skip(3).take(2).sum();
            let all: u64 = times.iter().sum();
            Some((all - idle, all))
        });
        Self(cores.collect())
    }

    /// How busy the cores were on average between two looks, from 0 to 1.
    fn until(&self, later: &Self, cores: &[usize]) -> f64 {
        let (mut busy, mut all) = (0, 0);
        for &core in cores {
            if let (Some(before), Some(after)) = (self.0.get(core), later.0.get(core)) {
                busy += after.0.saturating_sub(before.0);
                all += after.1.saturating_sub(before.1);
            }
        }
        busy as f64 / all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_generator_beside_a_waiting_station_is_a_bottleneck() {
        assert!(bottleneck(0.5, 0.99).is_some());
        assert!(bottleneck(0.95, 0.99).is_none());
        assert!(bottleneck(0.5, 0.6).is_none());
    }

    #[test]
    fn cores_are_told_apart() {
        let before = Busy::parse(
            "cpu  9 9 9 9\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0 0 0\nintr 5\n",
        );
        let after = Busy::parse(
            "cpu  9 9 9 9\ncpu0 20 0 10 90 0 0 0 0 0 0\ncpu1 30 0 0 170 0 0 0 0 0 0\nintr 5\n",
        );
        assert!((before.until(&after, &[0]) - 0.5).abs() < 1e-9);
        assert!((before.until(&after, &[1]) - 0.3).abs() < 1e-9);
        assert_eq!(before.0.len(), 2);
    }

    #[test]
    fn an_excluded_round_leaves_a_gap_and_a_line() {
        let slice = Slice {
            requests: 1,
            cpu_us: 8.0,
            per_second: 1.0,
            latency_us: None,
        };
        let measured = Measured {
            station: "nginx",
            work: "GET /me",
            rounds: vec![Ok(slice), Err("no answers".into())],
        };
        assert_eq!(measured.figures(|slice| slice.cpu_us), [Some(8.0), None]);
        let lines: Vec<String> = measured.excluded().collect();
        assert_eq!(lines, ["nginx, GET /me, round 2: no answers"]);
    }
}
