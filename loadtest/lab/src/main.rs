//! `lab`: the command line. Each subcommand's flags and work are in the module of its name; here is only what they
//! share: parsing, log lines for people, the runtime, the exit code.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use lab::{
    attack, check, demo,
    exit::{Exit, Failure},
    generate, output, plan, report, run, scenarios, secrets, up, wait,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where should the state of a login live when one server becomes many? A lab that answers with measurements.
#[derive(Parser)]
#[command(
    name = "lab",
    version,
    arg_required_else_help = true,
    after_help = "The script ./lab has two commands more: `./lab test` (all checks and tests) and `./lab bench` (what a request costs \
                  beside the alternatives)."
)]
struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Run(run::Args),
    Scenarios(scenarios::Args),
    Check(check::Args),
    Report(report::Args),
    Secrets(secrets::Args),
    Plan(plan::Args),
    Wait(wait::Args),
    Generate(generate::Args),
    /// The users of one run: started by `lab run`, never by hand.
    #[command(hide = true)]
    Attack(attack::Args),
}

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's message and code 2.
    let lab = Lab::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .without_time()
        // Telling stderr that stderr is gone would be a panic.
        .log_internal_errors(false)
        .init();
    if let Err(error) = agent::files::raise_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let outcome = match lab.command {
        Command::Demo(args) => on_a_runtime(demo::run(args)),
        Command::Up(args) => on_a_runtime(up::run(args)),
        Command::Run(args) => on_a_runtime(run::run(args)),
        Command::Scenarios(args) => scenarios::run(&args),
        Command::Check(args) => check::run(args),
        Command::Report(args) => report::run(args),
        Command::Secrets(args) => secrets::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Wait(args) => on_a_runtime(wait::run(args)),
        Command::Generate(args) => {
            let all = Lab::command();
            let shown = all
                .get_subcommands()
                .filter(|command| !command.is_hide_set());
            let names: Vec<&str> = shown.map(clap::Command::get_name).collect();
            on_a_runtime(generate::run(&args, &names))
        }
        Command::Attack(args) => attack::run(args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::tell(format_args!("lab: {failure}"));
            failure.exit.into()
        }
    }
}

/// Two threads: the lab itself waits most of the time, and the cores belong to the cluster.
fn on_a_runtime(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure::new(
            Exit::NoCluster,
            format!("cannot start threads: {error}"),
        )),
    }
}
