//! Our programs beside those of another build: what a change costs or saves per request, from the same rounds.
//!
//! Kept apart from the page: nobody who compares us with the alternatives needs it, and everybody who changes the way of
//! a request does. The other build must understand the flags and settings that `node` and `balancer` use.

use std::io::Write as _;
use std::path::Path;

use crate::balancer::{self, ONE_THREAD};
use crate::error::BenchError;
use crate::machine::{own_program, program_in};
use crate::node::{self, CART, JWT, Kind, ME, PLAIN, REDIS, Rings, STICKY};
use crate::slice::{self, Bench, Load, Measured, Target};
use crate::statistics::Spread;

/// Each of our nodes, of this build and of the other.
const NODES: [[Kind; 2]; 3] = [
    pair(STICKY, "other shop, sticky"),
    pair(REDIS, "other shop, redis"),
    pair(JWT, "other shop, jwt"),
];
const OTHER_BALANCER: &str = "other load-balancer";

const fn pair(ours: Kind, name: &'static str) -> [Kind; 2] {
    [ours, Kind { name, ..ours }]
}

/// Measures both builds in turn, prints a line for each work, and returns whether every line has a figure.
pub(crate) async fn run(bench: &Bench, other: &Path) -> Result<bool, BenchError> {
    let mut all = nodes(bench, other).await?;
    let builds = [
        (balancer::OURS, own_program("load-balancer")?),
        (OTHER_BALANCER, program_in(other, "load-balancer")?),
    ];
    all.extend(balancer::builds(bench, builds).await?);

    say("CPU µs per request: this build, the other, this over the other");
    let mut lines = Vec::new();
    for [ours, theirs] in &NODES {
        lines.extend([PLAIN, ME, CART].map(|work| (ours.name, theirs.name, work)));
    }
    lines.push((balancer::OURS, OTHER_BALANCER, ONE_THREAD));
    let mut is_complete = true;
    for (ours, theirs, work) in lines {
        if let Some([ours_us, theirs_us, ratio]) = compare(&all, ours, theirs, work) {
            say(&format!(
                "{ours}, {work}: {ours_us}, {theirs_us}, {ratio} ×"
            ));
        } else {
            is_complete = false;
            say(&format!("{ours}, {work}: not measured"));
        }
    }
    all.iter()
        .flat_map(Measured::excluded)
        .for_each(|line| say(&format!("left out: {line}")));
    Ok(is_complete)
}

/// Writes a line to stdout, if anybody reads it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn nodes(bench: &Bench, other: &Path) -> Result<Vec<Measured>, BenchError> {
    let redis = node::redis(bench).await?;
    let mut stations = Vec::new();
    for [ours, theirs] in &NODES {
        let programs = [
            (ours, own_program(ours.program)?),
            (theirs, program_in(other, theirs.program)?),
        ];
        for (kind, program) in programs {
            let station = node::start_program(bench, kind, program, redis.address, 10_000).await?;
            let rings = Rings::prepare(bench, &station).await?;
            stations.push((station, rings));
        }
    }
    let mut targets = Vec::new();
    for work in [PLAIN, ME, CART] {
        targets.extend(stations.iter().map(|(station, rings)| Target {
            station,
            work,
            ring: rings.of(work),
            load: Load::Saturating,
        }));
    }
    slice::rounds(bench, &targets).await
}

/// Our figure, theirs, and ours over theirs within each round.
fn compare(all: &[Measured], ours: &str, theirs: &str, work: &str) -> Option<[Spread; 3]> {
    let figures = |station: &str| {
        let found = all
            .iter()
            .find(|measured| measured.station == station && measured.work == work)?;
        Some(found.figures(|slice| slice.cpu_us))
    };
    let (ours, theirs) = (figures(ours)?, figures(theirs)?);
    Some([
        Spread::of(ours.iter().copied().flatten())?,
        Spread::of(theirs.iter().copied().flatten())?,
        Spread::ratio(&ours, &theirs)?,
    ])
}
