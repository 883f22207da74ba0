//! The balancer's part: ours with everything on, beside HAProxy, nginx and a bare pingora, in front of the same three
//! back-ends, with one thread and with two.

mod config;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::error::BenchError;
use crate::http::{Client, Connection};
use crate::slice::{self, Bench, Load, Measured, Target};
use crate::station::{self, Station};
use crate::tell;
use crate::wrk::Ring;

pub(crate) const ONE_THREAD: &str = "1 thread";
pub(crate) const TWO_THREADS: &str = "2 threads";
pub(crate) const FIXED_RATE: &str = "fixed rate";

pub(crate) const OURS: &str = "load-balancer";
pub(crate) const HAPROXY: &str = "HAProxy";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const BARE: &str = "bare pingora";
pub(crate) const ALL: [&str; 4] = [OURS, HAPROXY, NGINX, BARE];

/// Clients under load; each carries a cookie of its own.
const CLIENTS: usize = 960;
/// Connections that are open and do nothing.
pub(crate) const IDLE: usize = 10_000;
/// Idle connections are opened in bundles, so that the listener's queue holds.
const AT_ONCE: usize = 50;
/// Before the second look at the memory: what was freed has been given back, what is lazy has been done.
const SETTLE: Duration = Duration::from_secs(1);

/// What the balancer's part found.
pub(crate) struct Report {
    pub(crate) slices: Vec<Measured>,
    /// Bytes an idle connection, or why there is no such figure.
    pub(crate) idle_bytes: Vec<(&'static str, Result<f64, String>)>,
}

/// Runs the balancer's part.
pub(crate) async fn run(bench: &Bench) -> Result<Report, BenchError> {
    let backends = config::Backends::start(bench).await?;
    let mut stations = Vec::new();
    for name in ALL {
        for threads in [1, 2] {
            let start = config::balancer(bench, &backends, name, threads)?;
            let station = Station::start(&bench.machine, bench.folder.path(), start).await?;
            let ring = prepare(bench, &station).await?;
            stations.push((station, ring));
        }
    }
    let mut targets = Vec::new();
    for (work, threads, load) in [
        (ONE_THREAD, 1, Load::Saturating),
        (TWO_THREADS, 2, Load::Saturating),
        (FIXED_RATE, 1, Load::FixedRate),
    ] {
        let right = stations
            .iter()
            .filter(|(station, _)| station.threads == threads);
        targets.extend(right.map(|(station, ring)| Target {
            station,
            work,
            ring,
            load,
        }));
    }
    let slices = slice::rounds(bench, &targets).await?;
    let mut idle_bytes = Vec::new();
    for (station, ring) in &stations {
        if station.threads == 1 {
            tell(format_args!("{IDLE} idle connections  {}", station.name));
            idle_bytes.push((station.name, idle(station, ring).await));
        }
    }
    Ok(Report { slices, idle_bytes })
}

/// Our balancer with one thread, once of each of these builds; each has its name here and its program.
pub(crate) async fn builds(
    bench: &Bench,
    builds: [(&'static str, PathBuf); 2],
) -> Result<Vec<Measured>, BenchError> {
    let backends = config::Backends::start(bench).await?;
    let mut stations = Vec::new();
    for (name, program) in builds {
        let start = config::ours(bench, &backends, name, program, 1)?;
        let station = Station::start(&bench.machine, bench.folder.path(), start).await?;
        let ring = prepare(bench, &station).await?;
        stations.push((station, ring));
    }
    let targets: Vec<Target<'_>> = stations
        .iter()
        .map(|(station, ring)| Target {
            station,
            work: ONE_THREAD,
            ring,
            load: Load::Saturating,
        })
        .collect();
    slice::rounds(bench, &targets).await
}

/// Lets the balancer hand out its cookies, and looks whether clients stay where they are.
async fn prepare(bench: &Bench, station: &Station) -> Result<Ring, BenchError> {
    let failed = BenchError::of(station.name);
    let mut connection = Connection::open(station.address).await.map_err(&failed)?;
    let mut requests = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::default();
        // Every balancer reads a cookie of the same kind beside its own.
        client
            .cookies
            .insert("session".into(), station::random(16)?);
        let mut nodes = Vec::new();
        for path in ["/login", "/me"] {
            let request = client.request("GET", path, None);
            let answer = connection.exchange(&request).await.map_err(&failed)?;
            if answer.status != 200 {
                let what = format!("GET {path} was answered with {}", answer.status);
                return Err(BenchError::station(station.name, &what));
            }
            nodes.push(answer.json()["node"].clone());
            client.absorb(&answer);
        }
        if station.name != BARE && nodes[0] != nodes[1] {
            return Err(BenchError::station(
                station.name,
                &"a client did not stay at its node",
            ));
        }
        requests.push(client.request("GET", "/me", None));
    }
    let file = format!("{}.lua", station.address.port());
    Ring::write(bench.file(file), requests)
}

/// The growth of the process by [`IDLE`] connections that have asked once, divided by their number.
async fn idle(station: &Station, ring: &Ring) -> Result<f64, String> {
    let before = station.memory_bytes();
    let mut open = Vec::with_capacity(IDLE);
    let mut requests = ring.requests.iter().cycle();
    while open.len() < IDLE {
        let bundle = requests.by_ref().take(AT_ONCE).map(async |request| {
            let mut connection = Connection::open(station.address).await?;
            match connection.exchange(request).await?.status {
                200 => Ok(connection),
                status => Err(std::io::Error::other(format!("status {status}"))),
            }
        });
        let bundle = try_join_all(bundle).await;
        open.extend(bundle.map_err(|error| format!("after {} connections: {error}", open.len()))?);
    }
    tokio::time::sleep(SETTLE).await;
    Ok(station.memory_bytes().saturating_sub(before) as f64 / IDLE as f64)
}
