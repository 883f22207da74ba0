//! Configuration: one TOML file, a few flags, secrets and certificates. All of it is checked before any port
//! opens, and nothing else of this crate is known here.
//!
//! | file | job |
//! | --- | --- |
//! | `settings` | what the rest of the balancer reads: tables, defaults, ranges |
//! | `file`, `value` | the shape of the file, and of single values in it |
//! | `cookie`, `secret`, `certificate` | what has rules of its own |
//! | `error` | what is wrong, and where |
//!
//! This module puts them together and checks what only shows when values are compared. Whether a port is free is
//! the business of `server`.

mod certificate;
mod cookie;
mod error;
mod file;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};
use listen::Token;
use toml::Spanned;

use error::{ConfigError, Source};

pub(crate) use settings::*;

/// A load balancer for the session lab: one listener a strategy, affinity, health checks, bounded retries.
#[derive(Debug, Parser)]
#[command(name = "load-balancer", version)]
pub(crate) struct Args {
    /// The TOML file with listeners, nodes, health checks, timeouts and retries
    #[arg(long, env = "LOAD_BALANCER_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Check the configuration and exit: 0 when it is fine, 2 when it is not
    #[arg(long)]
    pub(crate) check: bool,
    /// Address of the admin port, loopback only (instead of `admin` in the file)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    /// File with the key of the affinity cookie, at least 32 bytes (or env `LOAD_BALANCER_AFFINITY_KEY`)
    #[arg(long, value_name = "FILE")]
    pub(crate) affinity_key_file: Option<PathBuf>,
    /// File with the token of the admin port, at least 16 bytes (or env `LOAD_BALANCER_ADMIN_TOKEN`)
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
    /// Threads of each listener (instead of `threads` in the file; default: the number of cores)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: Option<u32>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

const NOT_LOOPBACK: &str = "the admin port shows and will change what the balancer does, \
     so it listens on loopback only, for example on 127.0.0.1:8090";

/// Reads and checks everything. `variable` looks up the environment; it is a parameter so that tests need none.
pub(crate) fn load(
    args: &Args,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let path = &args.config;
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        path: path.clone(),
        cause,
    })?;
    let source = Source { path, text: &text };

    let file: file::Document = toml::from_str(&text).map_err(|error| {
        source.wrong(
            &error.span().unwrap_or(0..0),
            error.message().trim_end().replace('\n', ", "),
        )
    })?;

    let listeners = listeners(&source, &file.listeners, &file.clients)?;
    let nodes = nodes(&source, &file.nodes)?;
    let (timeouts, at) = with_place(file.timeouts);
    if timeouts.total < timeouts.connect.max(timeouts.read) {
        let problem =
            "total_ms must not be less than connect_ms or read_ms, it bounds all attempts together";
        return Err(source.wrong(&at, problem));
    }
    let (ejection, at) = with_place(file.ejection);
    if ejection.max < ejection.base {
        let problem = "max_ms must not be less than base_ms, the time of the first ejection";
        return Err(source.wrong(&at, problem));
    }

    if args
        .admin
        .is_some_and(|address| !address.ip().is_loopback())
    {
        return Err(ConfigError::Flag {
            flag: "--admin",
            problem: NOT_LOOPBACK,
        });
    }
    if let Some(address) = file
        .admin
        .as_ref()
        .filter(|address| !address.get_ref().ip().is_loopback())
    {
        return Err(source.wrong(&address.span(), NOT_LOOPBACK));
    }
    let admin_address = args.admin.or(file.admin.map(Spanned::into_inner));
    let admin = match admin_address {
        Some(address) => {
            let path = args
                .admin_token_file
                .as_deref()
                .or(file.admin_token_file.as_deref());
            let token = secret::ADMIN_TOKEN.read(path, &variable)?;
            let token = Token::new(token).map_err(|problem| secret::ADMIN_TOKEN.error(problem))?;
            Some(Admin { address, token })
        }
        None => None,
    };
    let affinity_key = if listeners.iter().any(|listener| listener.affinity) {
        let path = args
            .affinity_key_file
            .as_deref()
            .or(file.affinity_key_file.as_deref());
        Some(secret::AFFINITY_KEY.read(path, &variable)?)
    } else {
        None
    };

    Ok(Config {
        admin,
        affinity_key,
        threads: args
            .threads
            .map_or(file.threads, |threads| threads as usize),
        nodes,
        listeners,
        health: file.health,
        timeouts,
        clients: file.clients,
        retries: file.retries,
        limits: file.limits,
        ejection,
        drain: file.drain,
        shutdown: file.shutdown,
        access_log: file.access_log,
        private_paths: file.private_paths,
    })
}

/// A table, and where it stands.
fn with_place<T: Default>(table: Option<Spanned<T>>) -> (T, std::ops::Range<usize>) {
    let place = table.as_ref().map_or(0..0, Spanned::span);
    (table.map(Spanned::into_inner).unwrap_or_default(), place)
}

fn listeners(
    source: &Source<'_>,
    found: &Spanned<Vec<file::Listener>>,
    clients: &ClientLimits,
) -> Result<Vec<Listener>, ConfigError> {
    if found.get_ref().is_empty() {
        let problem = "no listener: add a [[listeners]] table";
        return Err(source.wrong(&found.span(), problem));
    }
    source.distinct(
        "strategy",
        found.get_ref().iter().map(|listener| &listener.strategy),
    )?;
    source.distinct(
        "address",
        found.get_ref().iter().map(|listener| &listener.address),
    )?;
    let checked = found.get_ref().iter().map(|listener| {
        let strategy = listener.strategy.get_ref().0.clone();
        let tls = listener.tls.as_ref().map(|tls| {
            let file::Tls { certificate, key } = tls.get_ref();
            certificate::load(certificate, key)
                .map_err(|error| source.wrong(&tls.span(), error.to_string()))
        });
        let tls = tls.transpose()?;
        let proxy_protocol = listener.proxy_protocol.as_ref();
        if let Some(set) = proxy_protocol.filter(|set| *set.get_ref())
            && clients.trusted_proxies.is_empty()
        {
            let problem = "proxy_protocol believes proxies whose client a connection is, and there are none: \
                           name their networks in trusted_proxies of [clients], for example [\"10.0.0.0/8\"]";
            return Err(source.wrong(&set.span(), problem));
        }
        let is_https = tls.is_some() || listener.behind_https;
        Ok(Listener {
            affinity: listener.affinity,
            pin: listener.pin,
            cookie: cookie::check(source, &listener.cookie, &strategy, is_https)?,
            strategy,
            address: *listener.address.get_ref(),
            balance: listener.balance,
            is_https,
            tls,
            on_dead_node: listener.on_dead_node,
            proxy_protocol: proxy_protocol.is_some_and(|set| *set.get_ref()),
        })
    });
    let checked: Vec<Listener> = checked.collect::<Result<_, _>>()?;
    cookie::distinct(source, found.get_ref(), &checked)?;
    Ok(checked)
}

fn nodes(source: &Source<'_>, found: &Spanned<file::Nodes>) -> Result<NodeSource, ConfigError> {
    let wrong = |problem: &str| source.wrong(&found.span(), problem);
    match found.get_ref() {
        file::Nodes {
            list: Some(list),
            dns: None,
        } => {
            if list.is_empty() {
                return Err(wrong("list is empty: name at least one node"));
            }
            source.distinct("name", list.iter().map(|node| &node.name))?;
            source.distinct("address", list.iter().map(|node| &node.address))?;
            let checked = list.iter().map(|node| NodeAddress {
                name: node.name.get_ref().0.clone(),
                address: *node.address.get_ref(),
            });
            Ok(NodeSource::List(checked.collect()))
        }
        file::Nodes {
            list: None,
            dns: Some(dns),
        } => match listen::host_and_port(dns.get_ref()) {
            Some((_, port)) if port > 0 => Ok(NodeSource::Dns(dns.get_ref().clone())),
            _ => Err(source.wrong(
                &dns.span(),
                format!("{:?} is no HOST:PORT, for example app:8080", dns.get_ref()),
            )),
        },
        _ => Err(wrong("give exactly one of list and dns")),
    }
}
