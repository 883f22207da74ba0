//! `lab run`: performs scenarios. Each strategy gets a fresh cluster, the same users, the same faults at the same times;
//! what comes out is a folder with the histories, the results and the reports.
//!
//! # Layout
//! * `one`: one run, from the first process to the figures. It uses `memory` (what sessions take), [`faults`](crate::faults)
//!   (what is done to the cluster) and `samples` (CPU and store commands).
//! * `environment`, `folder`, `progress`: where it was measured, where it is kept, what the terminal shows meanwhile.

mod environment;
mod folder;
mod memory;
mod one;
mod progress;
mod samples;

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::results::{Expectation, Results, Run, SCHEMA, Verdict};
use crate::scenario::{Scenario, ScenarioError};
use crate::{expectations, report, scenarios, statistics};
use folder::Folder;
use progress::Progress;

/// Perform scenarios: the same users and faults for each strategy, then a report.
///
/// Ends with 0 when everything came out as the strategies promise, 1 when not, 2 for a wrong scenario, 3 when the
/// measurement cannot be believed, 4 when the cluster did not come up.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scenario files (TOML), or names of those that come with the lab (see `lab scenarios`).
    #[arg(required = true, value_name = "FILE")]
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

    /// Where to write results and reports [default: reports/<time>, with a link reports/latest].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `lab run`
pub async fn run(args: Args) -> Result<Exit, Failure> {
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

/// Performs one scenario with `options`; a signal ends it cleanly. `command` is what the report tells readers to type.
pub(crate) async fn perform(
    mut scenario: Scenario,
    options: &Options,
    out: Option<&Path>,
    command: String,
) -> Result<Exit, Failure> {
    options.apply(&mut scenario)?;
    let folder = Folder::create(out)?;
    let system = |error| Failure::new(Exit::NoCluster, format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let results = tokio::select! {
        biased;
        // Dropping the unfinished run kills its processes and removes what they wrote.
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        results = measure(&scenario, &folder, command) => Some(results?),
    };
    let Some(results) = results else {
        eprintln!(
            "Stopped; the cluster is gone. What was recorded until then is in {}",
            folder.path().display()
        );
        return Ok(Exit::Interrupted);
    };
    let written = |error: report::ReportError| Failure::new(Exit::NoCluster, error.to_string());
    report::write_all(&results, folder.path()).map_err(written)?;
    folder.point_latest_here()?;
    print!(
        "{}",
        report::terminal::table(&results, report::terminal::width())
    );
    println!(
        "\nReport: {}\n",
        folder.path().join("report.html").display()
    );
    print!(
        "{}",
        report::terminal::headline(&results, report::terminal::width())
    );
    Ok(match results.verdict {
        Verdict::Pass => Exit::Held,
        Verdict::Fail => Exit::ExpectationFailed,
        Verdict::Invalid => Exit::Invalid,
    })
}

/// All runs of a scenario, interleaved (ABC ABC, at each size of cluster): what changes on the machine over time changes for all strategies.
async fn measure(
    scenario: &Scenario,
    folder: &Folder,
    command: String,
) -> Result<Results, Failure> {
    let spec = &scenario.spec;
    let strategies = spec.cluster.strategy_names();
    let repeats = *spec.repeats.get_ref();
    let schedule = spec.schedule();
    let started_at = chrono::Utc::now();
    let environment = environment::read(&spec.cluster).await;
    let sizes = scenario.by_size();
    let several = sizes.len() > 1;
    let quota_cores = spec.cluster.quota_cores().filter(|_| several);
    let progress = Progress::new(strategies.len() * sizes.len() * repeats as usize);
    let mut runs = Vec::new();
    let (mut proxies_us, mut requests) = (0, 0);
    for repeat in 1..=repeats {
        for scenario in &sizes {
            let nodes = several.then(|| scenario.spec.cluster.node_count());
            for strategy in &strategies {
                let run = one::Setup {
                    scenario,
                    schedule: &schedule,
                    strategy,
                    repeat,
                    history: folder.history(strategy, nodes, repeat),
                    cores: environment.cores,
                };
                let mut performed = run.perform(&progress).await?;
                proxies_us += performed.proxies_us.unwrap_or(0);
                requests += performed.requests;
                if let Some(quota_cores) = quota_cores {
                    statistics::refuse(&mut performed.run, quota_cores, environment.cores);
                }
                runs.push(performed.run);
            }
        }
    }
    let mut caveats = environment::caveats(spec, &environment);
    caveats.extend(environment::proxies(&schedule, proxies_us, requests));
    progress.finish();
    let (expectations, matrix) = expectations::judge(&runs, &scenario.thresholds);
    let (verdict, reasons) = judge(&runs, &expectations);
    let scale_out = quota_cores.map_or_else(Vec::new, |quota_cores| {
        statistics::scale_out(&runs, quota_cores, environment.cores)
    });
    Ok(Results {
        schema: SCHEMA.into(),
        scenario: scenario.name.clone(),
        question: spec.question.clone(),
        seed: spec.seed,
        command,
        started_at: started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        settings: environment::settings(spec, &schedule),
        caveats,
        environment,
        verdict,
        reasons,
        expectations,
        matrix,
        summary: statistics::summaries(&runs, spec.seed),
        comparisons: statistics::comparisons(&runs, spec.seed),
        scale_out,
        runs,
    })
}

/// Invalid measurements prove nothing, not even failures; so they are judged first.
fn judge(runs: &[Run], expectations: &[Expectation]) -> (Verdict, Vec<String>) {
    let repeated = runs.iter().any(|run| run.repeat > 1);
    let several_sizes = runs.iter().any(|run| Some(run.nodes) != first_nodes(runs));
    let about = |run: &Run, reason: &str| {
        let nodes = several_sizes.then(|| format!(", nodes {}", run.nodes));
        let repeat = repeated.then(|| format!(", repeat {}", run.repeat));
        format!(
            "{}{}{}: {reason}",
            run.strategy,
            nodes.unwrap_or_default(),
            repeat.unwrap_or_default()
        )
    };
    let invalid: Vec<String> = runs
        .iter()
        .filter_map(|run| Some(about(run, run.generator.reason.as_deref()?)))
        .collect();
    if !invalid.is_empty() {
        return (Verdict::Invalid, invalid);
    }
    let failed: Vec<String> = expectations
        .iter()
        .filter(|expectation| !expectation.held)
        .map(|missed| {
            format!(
                "{}: expected “{}”, observed: {}",
                missed.strategy, missed.expectation, missed.observed
            )
        })
        .collect();
    let verdict = if failed.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Fail
    };
    (verdict, failed)
}

fn first_nodes(runs: &[Run]) -> Option<usize> {
    runs.first().map(|run| run.nodes)
}

impl Options {
    /// Where results go, if the command line says so.
    pub(crate) fn out(&self) -> Option<&Path> {
        self.out.as_deref()
    }

    /// As they were typed, for the command that a report shows.
    pub(crate) fn as_flags(&self) -> String {
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
            out: None,
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
