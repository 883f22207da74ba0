//! `lab plan`: what so many sessions would need, for each strategy, from measured figures: nodes, the load balancer's cores,
//! the store's memory and shards, traffic, and the logins after a lost node. Every input is printed with where it comes from,
//! every result with its arithmetic. What no file measured is named as missing, never guessed.

use std::path::PathBuf;

use crate::exit::{Exit, Failure};
use crate::output;
use evidence::results::Results;
use report;
use report::plan::{self, Targets};

/// Calculate what so many sessions need: nodes, load balancer, store, traffic, logins after a lost node.
///
/// Each figure comes from the first of the files that has it, so a scale-out run and one that measures memory go well
/// together: `lab plan reports/scale-out/results.json reports/memory/results.json`. Figures of refused runs are not used.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The results to calculate from.
    #[arg(required = true, value_name = "RESULTS.json")]
    results: Vec<PathBuf>,

    #[command(flatten)]
    targets: Targets,
}

/// `lab plan`
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    args.targets.check().map_err(usage)?;
    let mut files: Vec<(String, Results)> = Vec::new();
    for path in &args.results {
        let results = report::read(path).map_err(|error| usage(error.to_string()))?;
        files.push((path.display().to_string(), results));
    }
    let page = plan::page(&files, &args.targets);
    output::print(page)?;
    Ok(Exit::Held)
}
