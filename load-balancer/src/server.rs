//! Putting the pieces together: ports are tried, services are started in order. `lifecycle` ends them.
//!
//! ```text
//! discovery (nodes found and checked once) ──▶ a listener a strategy ──▶ "ready" is logged
//! admin port: at once
//! ```

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use async_trait::async_trait;
use pingora::{
    server::{RunArgs, Server, ShutdownWatch, configuration::ServerConf},
    services::{
        background::{BackgroundService, background_service},
        listening::Service,
    },
};
use tokio::{
    net::TcpStream,
    runtime::{self, Runtime},
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::{
    access_log::AccessLog,
    admin::Admin,
    affinity::OurCookies,
    config::{AccessLogTarget, Config},
    discovery::Discovery,
    forwarded::TrustedProxies,
    group::Group,
    http1::{request::Rules, target::PrivatePaths},
    lifecycle::Lifecycle,
    listener::{ListenerService, Shared},
    proxy::Proxy,
    request_id::RequestIds,
    route::Router,
    select::Selector,
    shutdown::{self, CloseListeners, EndError, Signals},
};

/// pingora's own end is never waited for: the process is gone before, by `lifecycle`. This is longer than any
/// grace that can be set.
const PINGORA_GRACE_S: u64 = 3600;
/// Ports were free a moment ago, so they open at once or something is wrong.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Why the balancer did not start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
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
    /// The access log cannot be opened.
    #[error(
        "cannot open the access log ({target:?}): {cause}; make its folder, or change access_log"
    )]
    AccessLog {
        target: AccessLogTarget,
        cause: io::Error,
    },
    /// No thread for the server.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// It ran, and ended otherwise than in order.
    #[error(transparent)]
    End(#[from] EndError),
}

/// Handlers for the signals that end the process, and the runtime of the main thread that they need.
pub(crate) fn signals() -> io::Result<(Runtime, Signals)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = runtime.block_on(async { Signals::install() })?;
    Ok((runtime, signals))
}

/// Runs until SIGTERM or SIGINT. Must be called on a plain thread, not inside an async runtime.
pub(crate) fn run(mut config: Config, runtime: &Runtime, signals: Signals) -> Result<(), RunError> {
    for listener in &mut config.listeners {
        listener.address = listen::possible(listener.address);
    }
    try_ports(&config)?;

    let access_log = access_log(config.access_log.as_ref())?;
    let lifecycle = Arc::new(Lifecycle::default());
    let groups: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| Arc::new(Group::new(listener, Arc::clone(&lifecycle), &config)))
        .collect();
    let times = config.shutdown;
    let server = server(config, &groups, &lifecycle, access_log.clone())?;

    let (close, closed) = CloseListeners::channel();
    thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            server.run(RunArgs {
                shutdown_signal: Box::new(closed),
            });
        })
        .map_err(RunError::Thread)?;
    let ended = runtime.block_on(shutdown::run(&lifecycle, signals, close, &groups, times));
    if let Some(log) = access_log {
        log.flush();
    }
    Ok(ended?)
}

fn access_log(target: Option<&AccessLogTarget>) -> Result<Option<Arc<AccessLog>>, RunError> {
    let Some(target) = target else {
        return Ok(None);
    };
    let log = AccessLog::open(target).map_err(|cause| RunError::AccessLog {
        target: target.clone(),
        cause,
    })?;
    Ok(Some(Arc::new(log)))
}

/// All services, ready to be started.
fn server(
    config: Config,
    groups: &[Arc<Group>],
    lifecycle: &Arc<Lifecycle>,
    access_log: Option<Arc<AccessLog>>,
) -> Result<Server, RunError> {
    let mut server = Server::new_with_opt_and_conf(None, settings());
    server.bootstrap();

    let unusable = |error: String| RunError::Request(error);
    let discovery =
        Discovery::new(config.nodes, groups).map_err(|error| unusable(error.to_string()))?;
    let discovery = server.add_service(background_service("nodes", discovery));

    let addresses = groups.iter().map(|group| group.address).collect();
    let announcement = server.add_service(background_service(
        "ready",
        Announcement {
            addresses,
            lifecycle: Arc::clone(lifecycle),
        },
    ));

    let pinning = config.listeners.iter().filter(|listener| listener.affinity);
    let our_cookies = OurCookies::new(pinning.map(|listener| &*listener.cookie.name));
    for (listener, group) in config.listeners.iter().zip(groups) {
        let rules = Rules {
            strategy: group.strategy.clone(),
            is_https: listener.is_https,
            affinity: group.affinity.clone(),
            our_cookies: our_cookies.clone(),
            max_body: config.clients.body_bytes,
            request_ids: RequestIds::new(),
            private_paths: PrivatePaths::new(config.private_paths.clone()),
            trusted_proxies: TrustedProxies::new(config.clients.trusted_proxies.clone()),
        };
        let selector = Selector::new(listener.balance);
        let router = Router::new(Arc::clone(group), selector, config.retries.attempts);
        let proxy = Proxy::new(
            Arc::clone(group),
            router,
            rules,
            config.clients.clone(),
            access_log.clone(),
        );
        let tls = listener.tls.clone().map(TlsAcceptor::from);
        let service = server.add_service(ListenerService {
            threads: config.threads,
            shared: Arc::new(Shared::new(
                proxy,
                tls,
                listener.proxy_protocol,
                config.clients.connections,
            )),
        });
        service.add_dependency(&discovery);
        announcement.add_dependency(&service);
    }
    if let Some(admin) = config.admin {
        let address = admin.address.to_string();
        let admin = Admin::new(
            admin.token,
            groups.to_vec(),
            Arc::clone(lifecycle),
            access_log,
            config.drain.deadline,
        );
        let mut service = Service::new("admin".to_owned(), admin);
        service.threads = Some(1);
        service.add_tcp(&address);
        server.add_service(service);
    }
    Ok(server)
}

fn settings() -> ServerConf {
    ServerConf {
        threads: 1,
        grace_period_seconds: Some(PINGORA_GRACE_S),
        ..ServerConf::default()
    }
}

/// Opens every port and closes it again. pingora itself would try for half a minute, then fail inside a
/// task and leave a process that serves nothing.
fn try_ports(config: &Config) -> Result<(), RunError> {
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
            listen::open(address).map_err(|cause| RunError::Port {
                address,
                setting,
                cause,
            })
        })
        .collect();
    opened.map(drop)
}

/// Says `ready` when every listener takes connections.
struct Announcement {
    addresses: Vec<SocketAddr>,
    lifecycle: Arc<Lifecycle>,
}

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let deadline = Instant::now() + OPEN_WITHIN;
        for address in &self.addresses {
            // The services signal that they start, not that they listen, so the ports are tried.
            let ways = listen::ways_to(*address);
            while TcpStream::connect(&*ways).await.is_err() {
                if self.lifecycle.is_ending() {
                    return;
                }
                if Instant::now() > deadline {
                    error!(%address, "the port did not open");
                    std::process::exit(1);
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
        self.lifecycle.opened();
        info!(addresses = ?self.addresses, "ready");
    }
}
