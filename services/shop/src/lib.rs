//! The app node: an axum server around one or several session strategies. The program `shop` is [`run`] with the strategies
//! of `session` and nothing else; whoever has a strategy of their own calls it with that.
//!
//! # Layout
//! * [`flags`]: every setting. [`config`]: all of them, checked. [`describe`]: the table of strategies, for other programs.
//! * [`server`]: from the port to the router, and the orderly end. [`linger`]: that of a connection.
//! * [`node`]: what a node is.
//! * [`exchange`]: what is the same for every request. [`endpoints`]: what is not, one a file.
//! * [`input`], [`credentials`], [`operator`]: what a request brings. [`carrier`] and its [`cookies`]: how a credential travels.
//!   [`affinity`]: what node and load balancer tell each other. [`problem`]: all that can be wrong.
//! * [`peer`]: who sends it. [`same_origin`] and [`origin`]: whether a page of ours made the browser send it.
//! * [`inspect`]: what fuzzers reach of it.
//! * [`accounts`]: who may log in. [`attempts`]: how often that may be tried. [`patience`]: how long the answer may take. [`work`]: the declared work of a handler. [`metrics`]: what is counted.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

mod accounts;
mod affinity;
mod attempts;
mod carrier;
mod config;
mod cookies;
mod credentials;
mod describe;
mod endpoints;
mod exchange;
mod flags;
mod input;
pub mod inspect;
mod linger;
mod metrics;
mod node;
mod operator;
mod origin;
mod patience;
mod peer;
mod problem;
mod same_origin;
mod server;
#[cfg(test)]
mod testing;
mod work;

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::FromArgMatches as _;
use session::{Clock, Host, Kind, Unfit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::accounts::{Accounts, Refused};
use crate::config::{Config, Secrets};
use crate::flags::{Flags, LogFormat};
use crate::node::{Node, Parts};
use crate::origin::Scheme;
use crate::server::CannotListen;

const SPARE_BLOCKING_THREADS: usize = 2;

/// Why the node did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("Invalid configuration: {0}.")]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    CannotListen(#[from] CannotListen),
    #[error("cannot prepare the accounts: {0}")]
    Accounts(#[from] Refused),
    #[error("the system refused what the node needs: {0}")]
    System(#[from] io::Error),
    #[error("the server broke: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

/// Runs a node from the command line and the environment to its end. It serves those of `kinds` that are asked for, and has
/// the flags that they need; `describe` prints what they say of themselves.
///
/// Exit code: 0 after an orderly end, 2 for what was asked wrongly, 1 for everything else.
pub fn run(kinds: &[&'static dyn Kind]) -> ExitCode {
    match try_run(kinds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not with `eprintln!`, which panics when nobody reads stderr any more.
            let _ = writeln!(io::stderr(), "shop: {failure}");
            ExitCode::from(match failure {
                Failure::Unfit(_) => 2,
                _ => 1,
            })
        }
    }
}

fn try_run(kinds: &[&'static dyn Kind]) -> Result<(), Failure> {
    let mut command = flags::command(kinds);
    let matches = command.get_matches_mut();
    if matches.subcommand_name() == Some(flags::DESCRIBE) {
        return match describe::print(kinds, &mut io::stdout()) {
            // Who reads no further has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => Ok(printed?),
        };
    }
    let flags =
        Flags::from_arg_matches(&matches).unwrap_or_else(|why| why.format(&mut command).exit());
    let environment = |name: &str| std::env::var_os(name);
    let secrets = Secrets::load(&flags, environment)?;
    let values = flags::values(&matches, kinds, environment)?;
    let config = Config::check(flags, secrets, values, kinds)?;
    start_logging(config.flags.log_format)?;
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }

    let cores = available_parallelism()?.get();
    let password_workers = config.flags.password_workers.unwrap_or(cores);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.flags.threads.unwrap_or(cores))
        // Beside password checks only reading the password of a store, which must not wait behind them.
        .max_blocking_threads(password_workers + SPARE_BLOCKING_THREADS)
        .enable_all()
        .build()?;
    // Spawned, so that accepting happens on a worker beside the connections and not on this thread.
    let served = runtime.block_on(async { tokio::spawn(serve(config, password_workers)).await });
    // A password check that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    served?
}

/// Raises the soft limit of open files to the hard one. The usual soft limit of 1,024 is for programs that still call
/// `select`; every connection is a file.
fn raise_open_files() -> rustix::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })
}

async fn serve(config: Config, password_workers: usize) -> Result<(), Failure> {
    let flags = &config.flags;
    let clock = Clock::system();
    if flags.turnable_clock {
        tracing::warn!(
            "operators can turn this node's clock (--turnable-clock): for tests and experiments only"
        );
    }
    if config.public.scheme == Scheme::Http {
        tracing::warn!(
            public_url = %config.public,
            "cookies are not Secure, because the public URL is plain http: on loopback only; see --public-url"
        );
    }
    let host = Host::new(clock.clone());
    let strategies = config.kinds.iter();
    let strategies = strategies.map(|kind| kind.build(&config.values, &host));
    let strategies = strategies.collect::<Result<_, _>>()?;
    let cost = config.password_cost.clone();
    let accounts = Accounts::new(
        flags.accounts,
        &config.password,
        cost,
        password_workers,
        Duration::from_millis(flags.password_wait_ms),
    )?;
    let node = Node::new(Parts {
        name: flags.node_name.clone(),
        strategies,
        accounts,
        login_limits: config.login_limits,
        public: config.public,
        trusted_balancers: flags.trusted_balancers.clone(),
        clock,
        turnable_clock: flags.turnable_clock,
        work: Duration::from_micros(flags.work_us),
        operator_token: config.operator_token,
    })?;
    let node = Arc::new(node);
    let listener = server::listen(flags.listen)?;
    let router = endpoints::router(Arc::clone(&node));
    let drain = Duration::from_secs(flags.drain_s);
    Ok(server::serve(listener, router, node, drain).await?)
}

fn start_logging(format: LogFormat) -> Result<(), Unfit> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default())
        .map_err(|why| {
            Unfit(format!(
                "RUST_LOG is not a log filter ({why}): try `info` or `shop=debug`"
            ))
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Telling a closed stderr that it is closed would be a panic, in the middle of a request.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match format {
        // Colours are for people at a terminal; in a file they are noise.
        LogFormat::Human => lines
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
