//! The load balancer of the session lab: one listener a strategy in front of identical nodes. The program
//! `load-balancer` is [`run`] and nothing else; this is a library so that tests and fuzzers reach its parsers.
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
//! | `verdict` | what a node's answer means for that, and for the client's pin |
//! | `listener`, `tls` | a public port: threads, connections, certificates |
//! | `proxy`, `progress`, `problem` | the way of a request, and what happens when a node fails |
//! | `http1`, `request_id` | HTTP/1.1 on the wire |
//! | `admin`, `metrics`, `access_log` | what operators see and do |
//! | `inspect` | the parsers, for tests and fuzzers outside of this crate |

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
pub mod inspect;
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
mod verdict;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser;
use config::{Args, LogFormat};
use tracing_subscriber::EnvFilter;

/// Wrong usage or configuration.
const INVALID: u8 = 2;

/// Runs a balancer from the command line and the environment to its end.
pub fn run() -> ExitCode {
    let args = Args::parse();
    // Before anything else: a signal that comes while the balancer starts ends it in order, too.
    let (runtime, signals) = match server::signals() {
        Ok(both) => both,
        Err(error) => {
            eprintln!("load-balancer: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let config = match config::load(&args, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("Invalid configuration: {error}");
            return ExitCode::from(INVALID);
        }
    };
    if args.check {
        println!("{} is fine", args.config.display());
        return ExitCode::SUCCESS;
    }
    log_to_stderr(args.log_format);
    match server::run(config, &runtime, signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load-balancer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is logged unless `RUST_LOG` says otherwise. pingora has a line for nearly everything that can happen
/// to one request or one kept connection, which would bury the few lines that matter.
const LOGGED: &str =
    "info,pingora_core=error,pingora_core::connectors=off,pingora_proxy=off,pingora_pool=off";

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
