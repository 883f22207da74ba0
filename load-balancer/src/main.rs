//! The load balancer of the session lab: one listener a strategy in front of identical nodes.
//!
//! # Layout
//!
//! | file | job |
//! | --- | --- |
//! | `config` | the TOML file, flags and secrets, checked before any port opens |
//! | `server`, `lifecycle` | ports and services; readiness, signals, the end |
//! | `group`, `discovery`, `node` | which nodes there are, and what is known about each |
//! | `health`, `admin_state`, `ejection` | which of them get requests: checks, the operator, failed requests |
//! | `route`, `select`, `affinity`, `budget` | which node a request goes to, and whether there is another try |
//! | `listener`, `tls` | a public port: threads, connections, certificates |
//! | `proxy`, `progress`, `problem` | the way of a request, and what happens when a node fails |
//! | `http1`, `request_id` | HTTP/1.1 on the wire |
//! | `admin`, `metrics`, `access_log` | what operators see and do |

mod access_log;
mod admin;
mod admin_state;
mod affinity;
mod budget;
mod clock;
mod config;
mod discovery;
mod ejection;
mod group;
mod health;
mod http1;
mod lifecycle;
mod listener;
mod metrics;
mod node;
mod problem;
mod progress;
mod proxy;
mod request_id;
mod route;
mod select;
mod server;
mod tls;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Parser;
use config::{Args, LogFormat};
use tracing_subscriber::EnvFilter;

/// A request is many small allocations that do not live long: what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage or configuration.
const INVALID: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    // Before anything else: a signal that comes while the balancer starts ends it in order, too.
    let (runtime, signals) = match server::signals() {
        Ok(both) => both,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "load-balancer: cannot listen for signals: {error}"
            );
            return ExitCode::FAILURE;
        }
    };
    let config = match config::load(&args, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Invalid configuration: {error}");
            return ExitCode::from(INVALID);
        }
    };
    if args.check {
        println!("{} is fine", args.config.display());
        return ExitCode::SUCCESS;
    }
    log_to_stderr(args.log_format);
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    match server::run(config, &runtime, signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "load-balancer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of open files to the hard one. The usual soft limit of 1,024 is for programs that still call
/// `select`; every client and every connection to a node is a file.
fn raise_open_files() -> rustix::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })
}

/// What is logged unless `RUST_LOG` says otherwise. pingora has a line for nearly everything that can happen
/// to one request or one kept connection, which would bury the few lines that matter.
const LOGGED: &str =
    "info,pingora_core=error,pingora_core::connectors=off,pingora_proxy=off,pingora_pool=off";

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // With a full disk behind it, a line that cannot be written is lost, and nothing else.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
