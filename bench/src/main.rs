//! `bench`: what a request costs, beside the alternatives that a user would pick instead. `./lab bench` builds
//! everything, runs this, and leaves `docs/benchmarks.md`.
//!
//! # Layout
//! * [`node`], [`balancer`], [`store`]: the three parts, each with its stations. The alternatives that need a program of
//!   their own are in `src/bin/`, one a file.
//! * [`beside`]: our programs beside those of another build.
//! * [`slice`]: one station under load, in rounds; [`wrk`] and [`fixed_rate`] are the two kinds of load.
//! * [`station`]: a process on its cores, its CPU time and memory. [`machine`]: cores, programs, versions.
//! * [`http`]: a small client. [`statistics`]: medians and ratios. [`report`]: the page.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

mod balancer;
mod beside;
mod error;
mod fixed_rate;
mod http;
mod machine;
mod node;
mod report;
mod slice;
mod station;
mod statistics;
mod store;
mod wrk;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use askama::Template;
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::BenchError;
use crate::machine::{Environment, Machine};
use crate::report::{Found, Page};
use crate::slice::Bench;

/// A figure has no round that can be believed.
const INVALID: u8 = 3;
/// Something could not be brought up.
const NOT_UP: u8 = 4;
/// Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Measures what a request costs in node, balancer and store, beside the alternatives, and writes docs/benchmarks.md.
#[derive(Parser)]
#[command(name = "bench", bin_name = "lab bench", version)]
struct Args {
    /// How often every station is measured, in turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,

    /// How long one station is under load before the next one's turn.
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,

    /// Only this part; its tables go to the terminal, and docs/benchmarks.md stays as it is.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,

    /// Compares our programs with those in this folder, another build of ours, and with nothing else: what a change costs
    /// per request goes to the terminal.
    #[arg(long, value_name = "FOLDER", conflicts_with = "only")]
    beside: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Node,
    Balancer,
    Store,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(format_args!("bench: {error}"));
            ExitCode::from(NOT_UP)
        }
    }
}

/// Writes a line to stderr, if anybody listens. `eprintln!` would panic when nobody does.
pub(crate) fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn run(args: &Args) -> Result<u8, BenchError> {
    let runtime = |error| BenchError::system("start the runtime", error);
    let machine = Machine::prepare()?;
    let folder = tempfile::Builder::new()
        .prefix("session-lab-bench-")
        .tempdir()
        .map_err(|error| BenchError::system("make a folder", error))?;
    let bench = Bench {
        machine,
        folder,
        rounds: usize::from(args.rounds),
        slice: Duration::from_secs(args.seconds),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(runtime)?
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(runtime)?;
            // Whoever loses is dropped, and with the work go all its processes.
            tokio::select! {
                code = perform(&bench, args) => code,
                _ = tokio::signal::ctrl_c() => Ok(INTERRUPTED),
                _ = terminate.recv() => Ok(INTERRUPTED),
            }
        })
}

/// What was asked for; the exit code.
async fn perform(bench: &Bench, args: &Args) -> Result<u8, BenchError> {
    match &args.beside {
        None => publish(bench, args, &measure(bench, args.only).await?),
        Some(other) if beside::run(bench, other).await? => Ok(0),
        Some(_) => {
            tell(format_args!(
                "bench: a figure has no round that can be believed: see the lines \"left out\""
            ));
            Ok(INVALID)
        }
    }
}

async fn measure(bench: &Bench, only: Option<Part>) -> Result<Found, BenchError> {
    let wanted = |part| only.is_none_or(|only| only == part);
    let mut found = Found {
        node: None,
        balancer: None,
        store: None,
    };
    if wanted(Part::Node) {
        found.node = Some(node::run(bench).await?);
    }
    if wanted(Part::Balancer) {
        found.balancer = Some(balancer::run(bench).await?);
    }
    if wanted(Part::Store) {
        found.store = Some(store::run(bench).await?);
    }
    Ok(found)
}

/// Writes the page, or prints it when it is not whole; the exit code.
fn publish(bench: &Bench, args: &Args, found: &Found) -> Result<u8, BenchError> {
    let (rounds, seconds) = (bench.rounds, args.seconds);
    let command = format!("./lab bench --rounds {rounds} --seconds {seconds}");
    let environment = Environment::read(&bench.machine);
    let page = Page::new(
        &environment,
        &bench.machine.cores,
        (rounds, seconds),
        command,
        found,
    );
    let page = page
        .render()
        .map_err(|error| BenchError::system("render the page", std::io::Error::other(error)))?;
    if args.only.is_some() {
        // That nobody reads it to its end is no failure.
        let _ = write!(std::io::stdout(), "{page}");
    } else {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        station::write(path, &page)?;
        tell(format_args!("written: docs/benchmarks.md"));
    }
    if report::has_gap(found) {
        tell(format_args!(
            "bench: a figure has no round that can be believed: see \"What was left out\""
        ));
        return Ok(INVALID);
    }
    Ok(0)
}
