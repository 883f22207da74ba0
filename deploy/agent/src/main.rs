//! PID 1 of every container: runs one program, and lets those who have the token kill, stop, pause, resume and start it.
//!
//! # Layout
//! * this file: flags and exit codes.
//! * `supervise`: the program's life and ours: signals, orphans, exit status.
//! * `control`: the control port. `control_error`: what it answers when something goes wrong.
//! * `own_port`: which of this machine's addresses a port is opened at.
//!
//! What a process is and how faults are done is in the library.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic when the reader has gone"
)]

mod control;
mod control_error;
mod own_port;
mod supervise;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal as _, Write as _},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use agent::{Agent, ProcessSpec, Ready, link::Links, probe::ProbeUrl};
use clap::{Args, Parser, Subcommand};
use listen::{Secret, Token};
use rustix::process::{getgid, getuid};
use tracing_subscriber::EnvFilter;

use crate::{
    control::{Control, Proxies, Proxy},
    own_port::{LinkFlag, open_on_own_addresses},
    supervise::{Signals, Supervised},
};

/// A probe that got no answer.
const NOT_ALIVE: u8 = 1;
/// Wrong usage, or a token file that cannot be used.
const INVALID: u8 = 2;
/// The program, or the control port, could not be started.
const NOT_STARTED: u8 = 4;

/// For what still runs when everything is over; nothing that matters does.
const LAST_MOMENTS: Duration = Duration::from_millis(200);

/// Supervises one program, in a container as its PID 1.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program under control. Exits as the program does; 2 after wrong usage, 4 when it could not be started.
    Run(Run),
    /// Ask a server once: exit status 0 when it answers, 1 when not. For health checks without a shell.
    Probe {
        /// `http://HOST:PORT/PATH` must answer with 2xx, `redis://HOST:PORT` to PING; one that wants a password lives.
        url: ProbeUrl,
    },
}

#[derive(Args)]
struct Run {
    /// The process's name in errors and answers; the host's name unless given.
    #[arg(long)]
    name: Option<String>,

    /// Where the control port is: of the addresses behind HOST those that belong to this machine, so that a name that
    /// only one network knows keeps the port on that network. [::] is all addresses, of IPv4 and IPv6.
    #[arg(long, value_name = "HOST:PORT")]
    control: String,

    /// The file with the token that every call must bring; at least 16 characters.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,

    /// The program is ready when this URL answers, as `agent probe` asks it; at once unless given.
    #[arg(long, value_name = "URL")]
    ready: Option<ProbeUrl>,

    /// For the program to become ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    ready_within_s: u64,

    /// Between SIGTERM and SIGKILL, when we are told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=3600))]
    grace_s: u64,

    /// Run everything as the user that owns this file or folder, who is then the owner of what the program writes. Wants the
    /// right to become another user.
    #[arg(long, value_name = "PATH")]
    as_owner_of: Option<PathBuf>,

    /// A proxy that can be disturbed: listens like --control and carries everything to the target. Any number of times.
    #[arg(long, value_name = "NAME=HOST:PORT=TARGET:PORT")]
    link: Vec<LinkFlag>,

    /// The program and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "PROGRAM ARG")]
    program: Vec<String>,
}

/// What keeps the agent from its work, and the exit status for it.
struct Refusal(u8, String);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        // Standard output belongs to the program.
        .with_writer(io::stderr)
        // Telling a closed stderr that it is closed would be a panic. A line that cannot be written is lost, and nothing else.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    if let Err(error) = listen::files::raise_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    // One thread: the agent stands beside what is measured, and should cost next to nothing.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(format_args!("agent: cannot start: {error}"));
            return ExitCode::from(NOT_STARTED);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run(args).await,
            Command::Probe { url } => probe(&url).await,
        }
    });
    // A resolver that hangs would keep us.
    runtime.shutdown_timeout(LAST_MOMENTS);
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(Refusal(status, reason)) => {
            tell(format_args!("agent: {reason}"));
            ExitCode::from(status)
        }
    }
}

/// Says why we end. Not with `eprintln!`, which panics when nobody reads stderr any more.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

async fn probe(url: &ProbeUrl) -> Result<u8, Refusal> {
    match url.look().await {
        Ok(()) => Ok(0),
        Err(error) => Err(Refusal(NOT_ALIVE, format!("{url}: {error}"))),
    }
}

async fn run(args: Run) -> Result<u8, Refusal> {
    if let Some(path) = &args.as_owner_of {
        become_owner(path).map_err(|error| {
            let what = format!("--as-owner-of {}: {error}", path.display());
            Refusal(NOT_STARTED, what)
        })?;
    }
    // Before anything else: PID 1 does not even die of a signal that it did not ask for.
    let signals = Signals::catch()
        .map_err(|error| Refusal(NOT_STARTED, format!("cannot catch signals: {error}")))?;
    let token = read_token(&args.token_file).map_err(|reason| Refusal(INVALID, reason))?;
    let grace = Duration::from_secs(args.grace_s);
    let not_started = |reason| Refusal(NOT_STARTED, reason);

    let proxies = open_proxies(&args.link).await?;
    let listeners = open_on_own_addresses(&args.control)
        .await
        .map_err(|reason| not_started(format!("--control {}: {reason}", args.control)))?;
    let supervised = Arc::new(Supervised::new(Agent::new(spec(args)?)));
    let control = Control::new(Arc::clone(&supervised), token, proxies);
    control
        .serve(listeners)
        .map_err(|error| not_started(format!("cannot serve the control port: {error}")))?;
    supervise::run(&supervised, signals, grace)
        .await
        .map_err(|error| not_started(error.to_string()))
}

/// Begins again as another user, in the same process: it is PID 1, and its number must stay. The group stays, too.
fn become_owner(path: &Path) -> io::Result<()> {
    let owner = fs::metadata(path)?.uid();
    if owner == getuid().as_raw() {
        return Ok(());
    }
    let error = std::process::Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .uid(owner)
        .gid(getgid().as_raw())
        .exec();
    Err(error)
}

fn spec(args: Run) -> Result<ProcessSpec, Refusal> {
    let mut words = args.program.into_iter();
    let program = words.next().unwrap_or_default();
    let program = find_program(&program).ok_or_else(|| {
        let reason =
            format!("there is no program {program:?}: give its path, or a name that PATH finds");
        Refusal(NOT_STARTED, reason)
    })?;
    Ok(ProcessSpec {
        name: args.name.unwrap_or_else(host_name),
        program,
        args: words.collect(),
        // In a container the environment is ours to hand on: it was set for the program.
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        log: None,
        ready: args.ready.map_or(Ready::Started, Ready::Url),
        ready_within: Duration::from_secs(args.ready_within_s),
        quota: None,
    })
}

/// As a shell finds it.
fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn read_token(file: &Path) -> Result<Token, String> {
    let secret = Secret::read(file)
        .map_err(|error| format!("cannot read the token file {}: {error}", file.display()))?;
    Token::new(secret).map_err(|problem| {
        format!(
            "the token file {} {problem}; make a new one",
            file.display()
        )
    })
}

async fn open_proxies(flags: &[LinkFlag]) -> Result<Option<Proxies>, Refusal> {
    if flags.is_empty() {
        return Ok(None);
    }
    let failed =
        |link: &str, reason: String| Refusal(NOT_STARTED, format!("--link {link}: {reason}"));
    let links = Links::start().map_err(|error| failed(&flags[0].name, error.to_string()))?;
    let mut open = BTreeMap::new();
    for flag in flags {
        let listeners = open_on_own_addresses(&flag.listen)
            .await
            .map_err(|reason| failed(&flag.name, reason))?;
        let link = links
            .open_to(listeners, flag.target.clone())
            .map_err(|error| failed(&flag.name, error.to_string()))?;
        let proxy = Proxy {
            link,
            target: flag.target.clone(),
        };
        if open.insert(flag.name.clone(), proxy).is_some() {
            return Err(Refusal(
                INVALID,
                format!("two links have the name {}", flag.name),
            ));
        }
    }
    Ok(Some(Proxies { open, links }))
}
