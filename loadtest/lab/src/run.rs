//! `lab run`: performs scenarios. Each strategy gets a fresh cluster, the same users, the same faults at the same times;
//! what comes out is a folder with the histories, the results and the reports.
//!
//! # Layout
//! * `series`: all runs of a scenario, and what they show together.
//! * `one`: one run, from the first process to the figures. It uses `memory` (what sessions take), [`faults`](cluster::faults)
//!   (what is done to the cluster) and `samples` (CPU and store commands).
//! * `environment`, `folder`, `progress`: where it was measured, where it is kept, what the terminal shows meanwhile. `disk`:
//!   whether there is room.

mod compose;
mod disk;
mod environment;
mod folder;
mod memory;
mod one;
mod progress;
mod samples;
mod series;
mod stage;

use std::path::{Path, PathBuf};
use std::pin::pin;

use crate::exit::{Exit, Failure};
use crate::on::On;
use crate::scenario::{Scenario, ScenarioError};
use crate::signals::Signals;
use crate::{output, scenarios};
use cluster::{Deployment, Owed};
use evidence::results::{Results, Verdict};
use evidence::strategy::{ALL, Table};
use folder::Folder;
use series::Series;
use toml::Spanned;

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
    /// These strategies instead of the scenario's; `all` that the nodes serve.
    #[arg(long = "strategy", value_name = "NAMES", value_delimiter = ',')]
    strategies: Vec<String>,

    /// Another program for the nodes than our `shop`: one that calls `shop::run` with strategies of its own.
    #[arg(long, value_name = "PROGRAM")]
    shop: Option<PathBuf>,

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

    /// More flags for every node, after `--`: `lab run kill-node -- --max-cart-lines 50` (see `shop --help`).
    #[arg(last = true, value_name = "NODE FLAGS")]
    node_flags: Vec<String>,
}

/// `lab run`
pub async fn run(args: Args) -> Result<Exit, Failure> {
    if args.files.is_empty() {
        return Err(scenarios::none_given());
    }
    if args.options.is_on_compose() {
        return compose::run(&args).await;
    }
    let table = args.options.table().await?;
    // All are read before the first is performed: a typing error in the last must not cost an hour.
    let scenarios = args
        .files
        .iter()
        .map(|file| scenarios::find(file, &table))
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
        let exit = perform(scenario, &table, &args.options, out.as_deref(), command).await?;
        // Ordered by gravity: an invalid measurement outweighs a failed expectation.
        if exit as u8 > worst as u8 {
            worst = exit;
        }
    }
    Ok(worst)
}

/// Performs one scenario with `options`; a signal ends it cleanly, with a report of the runs that are finished. `command` is what the report tells readers to type.
pub(crate) async fn perform(
    mut scenario: Scenario,
    table: &Table,
    options: &Options,
    out: Option<&Path>,
    command: String,
) -> Result<Exit, Failure> {
    options.apply(&mut scenario, table)?;
    let deployment = options.on.deployment()?;
    let mut signals = Signals::listen()?;
    let folder = Folder::create(out)?;
    let mut series = Series::begin(&scenario, table, options, deployment.as_ref(), command).await;
    let owed = deployment.as_ref().map(Deployment::owed);
    let (mut ended, _at_once) = {
        let mut measuring = pin!(series.measure(&folder));
        let (ended, told) = tokio::select! {
            biased;
            told = signals.told() => (Err(interrupted(owed.is_some())), Some(told)),
            measured = &mut measuring => (measured, None),
        };
        // The end has begun: whoever does not want to wait for it need not.
        let owed = owed.clone();
        (
            ended,
            signals.end_at_once(told, move || last_words(owed.as_ref())),
        )
        // Here an unfinished run is dropped: its processes are killed, and what they wrote is removed.
    };
    if let Some(owed) = owed {
        let is_back = owed.paid().await.map_err(Failure::from);
        if let (Err(failure), true) = (&mut ended, is_back.is_ok())
            && failure.exit == Exit::Interrupted
        {
            failure.message.push_str(" The cluster is as it was.");
        }
        ended = and(ended, is_back);
    }
    let verdict = match series.results(ended.as_ref().err()) {
        Some(results) => {
            ended = and(ended, publish(&results, &folder));
            Some(results.verdict)
        }
        None => None,
    };
    let recorded = folder.close();
    if let (Err(failure), Some(folder)) = (&mut ended, recorded) {
        let what = format!("\nWhat was recorded until then is in {}", folder.display());
        failure.message.push_str(&what);
    }
    ended.map(|()| match verdict {
        None | Some(Verdict::Pass) => Exit::Held,
        Some(Verdict::Fail) => Exit::ExpectationFailed,
        Some(Verdict::Invalid) => Exit::Invalid,
    })
}

/// The first signal.
fn interrupted(is_joined: bool) -> Failure {
    let (doing, done) = if is_joined {
        ("Putting the cluster back", "Stopped.")
    } else {
        ("Ending the cluster", "Stopped; the cluster is gone.")
    };
    output::tell(format_args!("{doing}; Ctrl-C again ends the lab at once."));
    Failure::new(Exit::Interrupted, done)
}

/// The second one.
fn last_words(owed: Option<&Owed>) -> String {
    match owed.and_then(Owed::list) {
        Some(list) => format!("Ended at once. {list}"),
        None => "Ended at once.".into(),
    }
}

/// Writes the reports, puts them in place, and shows them. What cannot be written is shown all the same.
fn publish(results: &Results, folder: &Folder) -> Result<(), Failure> {
    let published = report::write_all(results, folder.work())
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))
        .and_then(|()| folder.publish());
    let width = report::terminal::width();
    let place = match &published {
        Ok(()) => format!(
            "\nReport: {}\n",
            folder.path().join("report.html").display()
        ),
        Err(_) => String::new(),
    };
    let shown = output::print(format_args!(
        "{}{place}\n{}",
        report::terminal::table(results, width),
        report::terminal::headline(results, width)
    ));
    and(published, shown)
}

/// The first failure decides how the command ends; the second is told with it.
fn and(first: Result<(), Failure>, second: Result<(), Failure>) -> Result<(), Failure> {
    match (first, second) {
        (Err(first), Err(second)) => Err(Failure::new(first.exit, format!("{first}\n{second}"))),
        (first, second) => first.and(second),
    }
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
        let node_flags: String = match self.node_flags.as_slice() {
            [] => String::new(),
            flags => format!(" -- {}", flags.join(" ")),
        };
        let shop = self.shop.as_ref();
        let shop = shop.map(|shop| format!(" --shop {}", shop.display()));
        on.unwrap_or_default() + &shop.unwrap_or_default() + &self.changes() + &node_flags
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

    /// What the nodes' program serves.
    pub(crate) async fn table(&self) -> Result<Table, Failure> {
        Ok(cluster::describe(self.shop.as_deref()).await?)
    }

    fn apply(&self, scenario: &mut Scenario, table: &Table) -> Result<(), Failure> {
        let spec = &mut scenario.spec;
        let known = table.names();
        if let Some(unknown) = self
            .strategies
            .iter()
            .find(|name| *name != ALL && !known.contains(&name.as_str()))
        {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--strategy {unknown}: the nodes serve no such strategy; they serve {}",
                    table.list()
                ),
            ));
        }
        if !self.strategies.is_empty() {
            let chosen = table.resolve(&self.strategies);
            // In the order of the table, whatever the order in which they were typed.
            let chosen = known
                .into_iter()
                .filter(|name| chosen.iter().any(|one| one == name));
            spec.cluster.strategies = chosen
                .map(|name| Spanned::new(0..0, name.to_owned()))
                .collect();
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
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/demo.toml");
        Scenario::read(&path, &evidence::sample::table()).unwrap()
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
        options
            .apply(&mut scenario, &evidence::sample::table())
            .unwrap();
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
    fn a_strategy_that_nodes_do_not_serve_is_wrong_usage() {
        let options = Options {
            strategies: vec!["memcached".into()],
            ..Options::default()
        };
        let failure = options
            .apply(&mut demo(), &evidence::sample::table())
            .unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.contains("they serve sticky, redis, jwt"),
            "{failure}"
        );
    }
}
