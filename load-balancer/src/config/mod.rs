//! Configuration: one TOML file, a few flags, two secrets. All of it is checked before any port opens.
//!
//! `file` knows the tables and ranges, `secret` the secrets; this module puts them together and checks
//! what only shows when values are compared. Whether a port is free is the business of `server`.

mod cookie;
mod file;
mod secret;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::Hash,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use tokio_rustls::rustls::ServerConfig;
use toml::Spanned;

use crate::{
    forwarded::TrustedProxies,
    http1::{client::Patience, target::PrivatePaths},
    tls,
};

pub(crate) use cookie::AffinityCookie;
pub(crate) use file::{Balance, OnDeadNode, PinRule, SameSite};
pub(crate) use secret::Secret;

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

/// Everything the balancer needs to know, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) admin: Option<Admin>,
    pub(crate) affinity_key: Option<Secret>,
    pub(crate) threads: usize,
    pub(crate) nodes: NodeSource,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) health: Health,
    pub(crate) timeouts: Timeouts,
    pub(crate) clients: Clients,
    /// How many nodes one request may be offered to.
    pub(crate) attempts: usize,
    pub(crate) retry_budget: RetryBudget,
    /// Requests that a node works on at the same time, at most; for each listener.
    pub(crate) max_in_flight: u64,
    pub(crate) ejection: Ejection,
    /// How long pinned clients may stay on a node that drains, unless the operator says otherwise.
    pub(crate) drain: Duration,
    pub(crate) shutdown: Shutdown,
    pub(crate) access_log: Option<AccessLogTarget>,
    pub(crate) private_paths: PrivatePaths,
}

/// How many retries there may be, compared to requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryBudget {
    /// Of a hundred requests of the last seconds, so many may be retried.
    pub(crate) percent: u32,
    /// So many retries a second are always fine.
    pub(crate) floor: u32,
}

/// When a node that fails requests is left out for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ejection {
    /// Failures in a row; 0 is never.
    pub(crate) failures: u32,
    /// How long the first time.
    pub(crate) base: Duration,
    /// How long at most.
    pub(crate) max: Duration,
    /// Of a hundred nodes, so many may be out at the same time.
    pub(crate) max_percent: u32,
}

/// How the balancer ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shutdown {
    /// Not ready any more, but still taking connections.
    pub(crate) lame_duck: Duration,
    /// How long requests may go on after that.
    pub(crate) grace: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessLogTarget {
    Stderr,
    File(PathBuf),
}

/// The admin port.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    pub(crate) token: Secret,
}

/// Where the nodes come from.
#[derive(Debug)]
pub(crate) enum NodeSource {
    /// A fixed list.
    List(Vec<NodeAddress>),
    /// `host:port`, resolved again and again.
    Dns(String),
}

/// A node as the outside names it. The name is its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeAddress {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// One public port, serving one strategy.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) strategy: String,
    pub(crate) address: SocketAddr,
    pub(crate) affinity: bool,
    /// Who gets a pin, where there is affinity.
    pub(crate) pin: PinRule,
    /// The cookie that proves it.
    pub(crate) cookie: AffinityCookie,
    pub(crate) balance: Balance,
    /// Clients come over TLS, ended here or in front of us.
    pub(crate) is_https: bool,
    /// TLS ends here.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) on_dead_node: OnDeadNode,
    /// Every connection begins with the PROXY header of a trusted proxy.
    pub(crate) proxy_protocol: bool,
}

/// What clients may take of us.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// Connections of one listener.
    pub(crate) connections: usize,
    /// Bytes of a request's body.
    pub(crate) body_bytes: u64,
    pub(crate) patience: Patience,
    /// Proxies that may speak for clients of their own.
    pub(crate) trusted_proxies: TrustedProxies,
}

/// How nodes are checked.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) path: String,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) rise: u32,
    pub(crate) fall: u32,
}

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// To open a connection to a node.
    pub(crate) connect: Duration,
    /// For one read from a node, while the request may still be offered to another one.
    pub(crate) read: Duration,
    /// For one write to a node, or to a client.
    pub(crate) write: Duration,
    /// How long an unused connection to a node is kept.
    pub(crate) idle: Duration,
    /// From the request's arrival until the answer begins, all attempts together.
    pub(crate) total: Duration,
}

/// What is wrong with the configuration, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}; name the file with --config", path.display())]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    /// The file's content is wrong.
    #[error("{}, line {line}, column {column}: {problem}", path.display())]
    Content {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
    /// A flag is wrong.
    #[error("{flag}: {problem}")]
    Flag {
        flag: &'static str,
        problem: &'static str,
    },
    /// A secret is missing or too short.
    #[error(
        "{setting}: {problem}; it needs at least {min_bytes} bytes in a file or in {variable}, \
         for example: head -c 48 /dev/urandom | base64 -w0 > FILE"
    )]
    Secret {
        setting: &'static str,
        problem: String,
        variable: &'static str,
        min_bytes: usize,
    },
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

    let clients = clients(file.clients);
    let listeners = listeners(&source, &file.listeners, &clients)?;
    let nodes = nodes(&source, &file.nodes)?;
    let timeouts = timeouts(&source, file.timeouts)?;
    let ejection = ejection(&source, file.ejection)?;

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
        return Err(source.wrong(&address.span(), NOT_LOOPBACK.to_owned()));
    }
    let admin_address = args.admin.or(file.admin.map(Spanned::into_inner));
    let admin = match admin_address {
        Some(address) => {
            let path = args
                .admin_token_file
                .as_deref()
                .or(file.admin_token_file.as_deref());
            let token = secret::ADMIN_TOKEN.read(path, &variable)?;
            if !token.bytes().iter().all(u8::is_ascii_graphic) {
                let problem = "holds blanks or non-ASCII bytes, which no HTTP header can carry";
                return Err(secret::ADMIN_TOKEN.error(problem.to_owned()));
            }
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

    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Config {
        admin,
        affinity_key,
        threads: args
            .threads
            .or(file.threads.map(|n| n.0))
            .map_or_else(cores, |n| n as usize),
        nodes,
        listeners,
        health: Health {
            path: file.health.path.0,
            interval: file.health.interval_ms.0,
            timeout: file.health.timeout_ms.0,
            rise: file.health.rise.0,
            fall: file.health.fall.0,
        },
        timeouts,
        clients,
        attempts: file.retries.attempts.0 as usize,
        retry_budget: RetryBudget {
            percent: file.retries.budget_percent.0,
            floor: file.retries.budget_floor.0,
        },
        max_in_flight: file.limits.max_in_flight.0.into(),
        ejection,
        drain: Duration::from_secs(file.drain.deadline_s.0.into()),
        shutdown: Shutdown {
            lame_duck: file.shutdown.lame_duck_ms.0,
            grace: file.shutdown.grace_ms.0,
        },
        access_log: file.access_log.map(|path| {
            if path == Path::new("stderr") {
                AccessLogTarget::Stderr
            } else {
                AccessLogTarget::File(path)
            }
        }),
        private_paths: PrivatePaths::new(
            file.private_paths.into_iter().map(|path| path.0).collect(),
        ),
    })
}

fn clients(given: file::Clients) -> Clients {
    Clients {
        connections: given.connections.0 as usize,
        body_bytes: given.body_bytes.0.into(),
        patience: Patience {
            keepalive: given.keepalive_ms.0,
            head: given.head_ms.0,
            silence: given.silence_ms.0,
            bytes_per_s: given.bytes_per_s.0,
            linger: given.linger_ms.0,
            linger_bytes: given.linger_bytes.0.into(),
            aborts_on_close: given.abort_on_close,
        },
        trusted_proxies: TrustedProxies::new(
            given
                .trusted_proxies
                .into_iter()
                .map(|network| network.0)
                .collect(),
        ),
    }
}

fn listeners(
    source: &Source<'_>,
    found: &Spanned<Vec<file::Listener>>,
    clients: &Clients,
) -> Result<Vec<Listener>, ConfigError> {
    if found.get_ref().is_empty() {
        return Err(source.wrong(
            &found.span(),
            "no listener: add a [[listeners]] table".to_owned(),
        ));
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
            tls::load(certificate, key)
                .map_err(|error| source.wrong(&tls.span(), error.to_string()))
        });
        let tls = tls.transpose()?;
        let proxy_protocol = listener.proxy_protocol.as_ref();
        if let Some(set) = proxy_protocol.filter(|set| *set.get_ref())
            && clients.trusted_proxies.is_empty()
        {
            let problem = "proxy_protocol believes proxies whose client a connection is, and there are none: \
                           name their networks in trusted_proxies of [clients], for example [\"10.0.0.0/8\"]";
            return Err(source.wrong(&set.span(), problem.to_owned()));
        }
        let is_https = tls.is_some() || listener.behind_https;
        Ok(Listener {
            // Only sticky sessions live in one node; every other strategy is served equally well by all.
            affinity: listener.affinity.unwrap_or(strategy == "sticky"),
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
    let wrong = |problem: &str| source.wrong(&found.span(), problem.to_owned());
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

fn timeouts(
    source: &Source<'_>,
    found: Option<Spanned<file::Timeouts>>,
) -> Result<Timeouts, ConfigError> {
    let span = found.as_ref().map_or(0..0, Spanned::span);
    let given = found.map(Spanned::into_inner).unwrap_or_default();
    let timeouts = Timeouts {
        connect: given.connect_ms.0,
        read: given.read_ms.0,
        write: given.write_ms.0,
        idle: given.idle_ms.0,
        total: given.total_ms.0,
    };
    if timeouts.total < timeouts.connect.max(timeouts.read) {
        let problem =
            "total_ms must not be less than connect_ms or read_ms, it bounds all attempts together";
        return Err(source.wrong(&span, problem.to_owned()));
    }
    Ok(timeouts)
}

fn ejection(
    source: &Source<'_>,
    found: Option<Spanned<file::Ejection>>,
) -> Result<Ejection, ConfigError> {
    let span = found.as_ref().map_or(0..0, Spanned::span);
    let given = found.map(Spanned::into_inner).unwrap_or_default();
    let ejection = Ejection {
        failures: given.failures.0,
        base: given.base_ms.0,
        max: given.max_ms.0,
        max_percent: given.max_percent.0,
    };
    if ejection.max < ejection.base {
        let problem = "max_ms must not be less than base_ms, the time of the first ejection";
        return Err(source.wrong(&span, problem.to_owned()));
    }
    Ok(ejection)
}

/// The file's name and text, to turn a byte offset into a place that an editor can jump to.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn wrong(&self, span: &Range<usize>, problem: String) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Content {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem,
        }
    }

    /// No value may stand twice; the second one is reported.
    fn distinct<'v, T>(
        &self,
        field: &str,
        values: impl Iterator<Item = &'v Spanned<T>>,
    ) -> Result<(), ConfigError>
    where
        T: Eq + Hash + std::fmt::Display + 'v,
    {
        let mut seen: HashMap<&T, usize> = HashMap::new();
        for (index, value) in values.enumerate() {
            if let Some(first) = seen.insert(value.get_ref(), index) {
                let problem = format!(
                    "{field} {} stands twice, first in entry {}",
                    value.get_ref(),
                    first + 1
                );
                return Err(self.wrong(&value.span(), problem));
            }
        }
        Ok(())
    }
}
