//! `lab demo`: the scenario that comes with the lab, built in, so that nothing has to be found or understood first.

use std::path::Path;

use crate::exit::{Exit, Failure};
use crate::run::{self, Options, perform};
use crate::scenario::Scenario;

const NAME: &str = "scenarios/demo.toml";
const TEXT: &str = include_str!("../../../scenarios/demo.toml");

/// See it happen: three strategies, real users, a killed and a frozen node, a report; about two minutes after the build.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
}

/// Performs it.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    if args.options.is_on_compose() {
        return run::run(run::Args::new("demo", args.options)).await;
    }
    let table = args.options.table().await?;
    let scenario = Scenario::parse(Path::new(NAME), TEXT, &table)?;
    let command = format!("./lab demo{}", args.options.as_flags());
    perform(scenario, &table, &args.options, args.options.out(), command).await
}
