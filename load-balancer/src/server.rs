//! Putting the pieces together: ports are tried, services are started in order, signals end them.
//!
//! ```text
//! discovery (nodes found and checked once) ──▶ a listener a strategy ──▶ "ready" is logged
//! admin port: at once
//! ```

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    server::{
        RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
        configuration::ServerConf,
    },
    services::{
        background::{BackgroundService, background_service},
        listening::Service,
    },
};
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::{
    admin::Admin,
    affinity::Affinity,
    config::Config,
    discovery::Discovery,
    group::Group,
    http1::request::Rules,
    listener::{Listener, Shared},
    proxy::Proxy,
    request_id::RequestIds,
    select::Selector,
};

/// How long requests may go on after SIGTERM; pingora always waits this long.
const GRACE_S: u64 = 1;
/// How long threads may take to end after that.
const SHUTDOWN_S: u64 = 5;
/// Ports were free a moment ago, so they open at once or something is wrong.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Why the balancer did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A port cannot be had.
    #[error(
        "cannot listen on {address} for {setting}: {cause}; stop what listens there, or change {setting}"
    )]
    Port {
        address: SocketAddr,
        setting: String,
        cause: io::Error,
    },
    /// Something that the configuration's checks should have kept out.
    #[error("cannot prepare requests to nodes: {0}")]
    Request(String),
}

/// Runs until SIGTERM or SIGINT. Must be called on a plain thread, not inside an async runtime.
pub(crate) fn run(config: Config) -> Result<(), StartError> {
    try_ports(&config)?;

    let groups: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| {
            let key = config.affinity_key.as_ref();
            let affinity = key.map(|key| Arc::new(Affinity::new(key, listener.is_https)));
            Arc::new(Group::new(listener, affinity, &config))
        })
        .collect();

    let mut server = Server::new_with_opt_and_conf(None, settings());
    server.bootstrap();

    let unusable = |error: String| StartError::Request(error);
    let discovery =
        Discovery::new(config.nodes, &groups).map_err(|error| unusable(error.to_string()))?;
    let discovery = server.add_service(background_service("nodes", discovery));

    let addresses = groups.iter().map(|group| group.address).collect();
    let announcement = server.add_service(background_service("ready", Announcement { addresses }));

    for (listener, group) in config.listeners.iter().zip(&groups) {
        let rules = Rules {
            strategy: group.strategy.clone(),
            is_https: listener.is_https,
            affinity: group.affinity.clone(),
            max_body: config.limits.body_bytes,
            request_ids: RequestIds::new(),
        };
        let selector = Selector::new(listener.balance);
        let patience = config.limits.patience;
        let proxy = Proxy::new(
            Arc::clone(group),
            selector,
            config.attempts,
            rules,
            patience,
        );
        let tls = listener.tls.clone().map(TlsAcceptor::from);
        let service = server.add_service(Listener {
            name: group.strategy.clone(),
            address: group.address,
            threads: config.threads,
            shared: Arc::new(Shared::new(proxy, tls, config.limits.connections)),
        });
        service.add_dependency(&discovery);
        announcement.add_dependency(&service);
    }
    if let Some(admin) = config.admin {
        let mut service = Service::new("admin".to_owned(), Admin::new(admin.token, groups));
        service.threads = Some(1);
        service.add_tcp(&admin.address.to_string());
        server.add_service(service);
    }

    server.run(RunArgs {
        shutdown_signal: Box::new(Signals),
    });
    Ok(())
}

fn settings() -> ServerConf {
    ServerConf {
        threads: 1,
        grace_period_seconds: Some(GRACE_S),
        graceful_shutdown_timeout_seconds: Some(SHUTDOWN_S),
        ..ServerConf::default()
    }
}

/// Opens every port and closes it again. pingora itself would try for half a minute, then fail inside a
/// task and leave a process that serves nothing.
fn try_ports(config: &Config) -> Result<(), StartError> {
    let listeners = config
        .listeners
        .iter()
        .map(|listener| (listener.address, format!("listener {}", listener.strategy)));
    let admin = config
        .admin
        .iter()
        .map(|admin| (admin.address, "admin".to_owned()));
    // All are held until the last one is open, so that one address given twice is found as well.
    let opened: Result<Vec<_>, _> = listeners
        .chain(admin)
        .map(|(address, setting)| {
            TcpListener::bind(address).map_err(|cause| StartError::Port {
                address,
                setting,
                cause,
            })
        })
        .collect();
    opened.map(drop)
}

/// SIGTERM and SIGINT both end the balancer in order.
struct Signals;

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        match (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                info!("stopping");
            }
            // A process that nobody can stop in order is worse than one that does not run.
            (Err(error), _) | (_, Err(error)) => {
                error!(%error, "cannot listen for signals, stopping");
            }
        }
        ShutdownSignal::GracefulTerminate
    }
}

/// Says `ready` when every listener takes connections.
struct Announcement {
    addresses: Vec<SocketAddr>,
}

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let deadline = Instant::now() + OPEN_WITHIN;
        for address in &self.addresses {
            // The services signal that they start, not that they listen, so the ports are tried.
            while TcpStream::connect(address).await.is_err() {
                if Instant::now() > deadline {
                    error!(%address, "the port did not open");
                    std::process::exit(1);
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
        info!(addresses = ?self.addresses, "ready");
    }
}
