//! `lab run`: performs scenarios. Each strategy gets a fresh cluster, the same users, the same faults at the same times;
//! what comes out is a folder with the histories, the results and the reports.
//!
//! # Layout
//! * `series`: all runs of a scenario, and what they show together.
//! * `one`: one run, from the first process to the figures. It uses `memory` (what sessions take), [`faults`](crate::faults)
//!   (what is done to the cluster) and `samples` (CPU and store commands).
//! * `environment`, `folder`, `progress`: where it was measured, where it is kept, what the terminal shows meanwhile.

mod compose;
mod environment;
mod folder;
mod memory;
mod one;
mod progress;
mod samples;
mod series;

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::on::On;
use crate::results::Verdict;
use crate::scenario::{Scenario, ScenarioError};
use crate::{output, report, scenarios};
use folder::Folder;
use series::Series;

/// Perform scenarios: the same users and faults for each strategy, then a report.
///
/// Ends with 0 when everything came out as the strategies promise, 1 when not, 2 for a wrong scenario, 3 when the
/// measurement cannot be believed, 4 when the cluster did not come up.
#[derive(Debug, clap::Args)]
#[command(override_usage = "lab run [OPTIONS] <SCENARIO>...")]
pub struct Args {
    /// Names of scenarios that come with the lab (see `lab scenarios`), or paths of files (TOML).
    #[arg(value_name = "SCENARIO")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    options: Options,
}

/// What the command line may change about a scenario.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Only these strategies of the scenario.
    #[arg(long = "strategy", value_name = "NAMES", value_delimiter = ',')]
    strategies: Vec<String>,

    /// Another seed than the scenario's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Another number of repeats than the scenario's; they are interleaved.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: Option<u32>,

    /// Where the cluster is: `loopback`, `compose`, or a file that describes a cluster that is up.
    #[arg(long, value_name = "PLACE", default_value_t)]
    on: On,

    /// Where to write results and reports [default: reports/<time>, with a link reports/latest].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `lab run`
pub async fn run(args: Args) -> Result<Exit, Failure> {
    if args.files.is_empty() {
        return Err(scenarios::none_given());
    }
    if args.options.is_on_compose() {
        return compose::run(&args).await;
    }
    // All are read before the first is performed: a typing error in the last must not cost an hour.
    let scenarios = args
        .files
        .iter()
        .map(|file| scenarios::find(file))
        .collect::<Result<Vec<_>, _>>()?;
    let several = scenarios.len() > 1;
    let mut worst = Exit::Held;
    for (scenario, file) in scenarios.into_iter().zip(&args.files) {
        let out = args.options.out().map(|out| {
            if several {
                out.join(&scenario.name)
            } else {
                out.to_path_buf()
            }
        });
        let command = format!("./lab run {}{}", file.display(), args.options.as_flags());
        match perform(scenario, &args.options, out.as_deref(), command).await? {
            Exit::Interrupted => return Ok(Exit::Interrupted),
            // Ordered by gravity: an invalid measurement outweighs a failed expectation.
            exit => {
                worst = if exit as u8 > worst as u8 {
                    exit
                } else {
                    worst
                }
            }
        }
    }
    Ok(worst)
}

/// Performs one scenario with `options`; a signal ends it cleanly, with a report of the runs that are finished. `command` is what the report tells readers to type.
pub(crate) async fn perform(
    mut scenario: Scenario,
    options: &Options,
    out: Option<&Path>,
    command: String,
) -> Result<Exit, Failure> {
    options.apply(&mut scenario)?;
    let deployment = options.on.deployment()?;
    let folder = Folder::create(out)?;
    let system = |error| Failure::new(Exit::NoCluster, format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut series = Series::begin(&scenario, deployment.as_ref(), command).await;
    let is_complete = tokio::select! {
        biased;
        // Dropping the unfinished run kills its processes and removes what they wrote.
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
        measured = series.measure(&folder) => measured.map(|()| true)?,
    };
    let results = series.results();
    if !is_complete {
        output::tell(format_args!(
            "Stopped; the cluster is {}. What was recorded until then is in {}",
            if deployment.is_some() {
                "as it was"
            } else {
                "gone"
            },
            folder.path().display()
        ));
    }
    let Some(results) = results else {
        return Ok(Exit::Interrupted);
    };
    let written = |error: report::ReportError| Failure::new(Exit::NoCluster, error.to_string());
    report::write_all(&results, folder.path()).map_err(written)?;
    folder.point_latest_here()?;
    let width = report::terminal::width();
    output::print(format_args!(
        "{}\nReport: {}\n\n{}",
        report::terminal::table(&results, width),
        folder.path().join("report.html").display(),
        report::terminal::headline(&results, width)
    ))?;
    Ok(match results.verdict {
        _ if !is_complete => Exit::Interrupted,
        Verdict::Pass => Exit::Held,
        Verdict::Fail => Exit::ExpectationFailed,
        Verdict::Invalid => Exit::Invalid,
    })
}

impl Args {
    /// As if this had been typed.
    pub(crate) fn new(scenario: &str, options: Options) -> Self {
        Self {
            files: vec![scenario.into()],
            options,
        }
    }
}

impl Options {
    /// Whether the work is done inside a container.
    pub(crate) fn is_on_compose(&self) -> bool {
        self.on == On::Compose
    }

    /// Where results go, if the command line says so.
    pub(crate) fn out(&self) -> Option<&Path> {
        self.out.as_deref()
    }

    /// As they were typed, for the command that a report shows.
    pub(crate) fn as_flags(&self) -> String {
        let on = (self.on != On::Loopback).then(|| format!(" --on {}", self.on));
        on.unwrap_or_default() + &self.changes()
    }

    /// What they change about a scenario.
    fn changes(&self) -> String {
        let strategies = (!self.strategies.is_empty()).then(|| self.strategies.join(","));
        let seed = self.seed.map(|seed| seed.to_string());
        let repeats = self.repeats.map(|repeats| repeats.to_string());
        [
            ("strategy", strategies),
            ("seed", seed),
            ("repeats", repeats),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(format!(" --{name} {}", value?)))
        .collect()
    }

    fn apply(&self, scenario: &mut Scenario) -> Result<(), Failure> {
        let spec = &mut scenario.spec;
        let known = spec.cluster.strategy_names();
        for strategy in &self.strategies {
            if !known.contains(strategy) {
                return Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "--strategy {strategy}: the scenario `{}` does not have it; it has {}",
                        scenario.name,
                        known.join(", ")
                    ),
                ));
            }
        }
        if !self.strategies.is_empty() {
            spec.cluster
                .strategies
                .retain(|name| self.strategies.contains(name.get_ref()));
        }
        spec.seed = self.seed.unwrap_or(spec.seed);
        if let Some(repeats) = self.repeats {
            *spec.repeats.get_mut() = repeats;
        }
        Ok(())
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Scenario {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/demo.toml");
        Scenario::read(&path).unwrap()
    }

    #[test]
    fn options_change_the_scenario_and_are_told_again() {
        let options = Options {
            strategies: vec!["jwt".into(), "sticky".into()],
            seed: Some(7),
            repeats: Some(3),
            ..Options::default()
        };
        let mut scenario = demo();
        options.apply(&mut scenario).unwrap();
        assert_eq!(scenario.spec.cluster.strategy_names(), ["sticky", "jwt"]);
        assert_eq!(
            (scenario.spec.seed, *scenario.spec.repeats.get_ref()),
            (7, 3)
        );
        assert_eq!(
            options.as_flags(),
            " --strategy jwt,sticky --seed 7 --repeats 3"
        );
    }

    #[test]
    fn a_strategy_that_the_scenario_does_not_have_is_wrong_usage() {
        let options = Options {
            strategies: vec!["memcached".into()],
            ..Options::default()
        };
        let failure = options.apply(&mut demo()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.contains("it has sticky, redis, jwt"),
            "{failure}"
        );
    }
}
