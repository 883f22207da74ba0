//! The load balancer of the session lab: one listener a strategy in front of identical nodes. The program
//! `load-balancer` is [`run`] and nothing else; this is a library so that tests and fuzzers reach its parsers.
//!
//! # Layout
//!
//! | file | job |
//! | --- | --- |
//! | `config` | the TOML file, flags, secrets and certificates, checked before any port opens |
//! | `server`, `lifecycle`, `shutdown` | ports and services; readiness; signals and the end |
//! | `group`, `node_set`, `node`, `discovery` | what belongs to a listener; which nodes there are, and what is known about each |
//! | `health`, `judge`, `ejection`, `admin_state`, `orders` | which of them get requests: checks, failed requests, the operator |
//! | `route`, `select`, `affinity`, `budget` | which node a request goes to, and whether there is another try |
//! | `verdict` | what a node's answer means for that, and for the client's pin |
//! | `listener`, `proxy_protocol` | a public port: threads, connections, proxies in front |
//! | `proxy`, `progress`, `problem` | the way of a request, and what happens when a node fails |
//! | `http1`, `request_id`, `forwarded` | HTTP/1.1 on the wire; whose request it is |
//! | `admin`, `metrics`, `access_log` | what operators see and do |
//! | `inspect` | the parsers, for tests and fuzzers outside of this crate |
//!
//! Imports go one way: no file imports one that imports it, be it by way of others. `config` imports nothing of the
//! crate, and `clock`, `http1::fields` and `lifecycle` neither.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "The lab needs Linux: its cluster is a set of processes on loopback. Elsewhere, run the same cluster in containers (docs/containers.md)."
);

mod access_log;
mod admin;
mod admin_state;
mod affinity;
mod budget;
mod clock;
mod config;
mod discovery;
mod ejection;
mod forwarded;
mod group;
mod health;
mod http1;
pub mod inspect;
mod judge;
mod lifecycle;
mod listener;
mod metrics;
mod node;
mod node_set;
mod orders;
mod problem;
mod progress;
mod proxy;
mod proxy_protocol;
mod request_id;
mod route;
mod select;
mod server;
mod shutdown;
mod verdict;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

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
            tell(format_args!(
                "load-balancer: cannot listen for signals: {error}"
            ));
            return ExitCode::FAILURE;
        }
    };
    let config = match config::load(&args, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            tell(format_args!("Invalid configuration: {error}"));
            return ExitCode::from(INVALID);
        }
    };
    if args.check {
        let _ = writeln!(io::stdout(), "{} is fine", args.config.display());
        return ExitCode::SUCCESS;
    }
    log_to_stderr(args.log_format);
    if let Err(error) = listen::files::raise_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    match server::run(config, &runtime, signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("load-balancer: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says why we end. Not with `eprintln!`, which panics when nobody reads stderr any more.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What is logged unless `RUST_LOG` says otherwise. pingora has a line for nearly everything that can happen
/// to one request or one kept connection, which would bury the few lines that matter.
const LOGGED: &str =
    "info,pingora_core=error,pingora_core::connectors=off,pingora_proxy=off,pingora_pool=off";

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // Telling a closed stderr that it is closed would be a panic, in the middle of a request. A line that cannot be
        // written is lost, and nothing else.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
