//! The settings: every table of the file with its defaults and ranges, as the rest of the balancer reads them.
//! Nothing of this crate is known here. What needs more than one value to be checked comes through `file`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use listen::{Secret, Token};
use serde::Deserialize;
use tokio_rustls::rustls::ServerConfig;

use super::value::{millis, networks, number, seconds, url_path};

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
    pub(crate) clients: ClientLimits,
    pub(crate) retries: Retries,
    pub(crate) limits: Limits,
    pub(crate) ejection: EjectionRule,
    pub(crate) drain: Drain,
    pub(crate) shutdown: Shutdown,
    pub(crate) access_log: Option<AccessLogTarget>,
    pub(crate) private_paths: Vec<String>,
}

/// The admin port.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    pub(crate) token: Token,
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
    /// Clients are pinned to nodes.
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

/// Name and attributes of a listener's affinity cookie.
#[derive(Clone, Debug)]
pub(crate) struct AffinityCookie {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) same_site: SameSite,
    /// Clients come over TLS.
    pub(crate) is_secure: bool,
    /// How long a pin holds.
    pub(crate) lifetime_s: u32,
    /// Browsers keep it for as long, instead of until they are closed.
    pub(crate) is_persistent: bool,
}

/// What an affinity cookie is called without a name from the configuration: this, `-`, and the listener.
pub(crate) const COOKIE_FAMILY: &str = "affinity";
/// Browsers take a cookie of such a name only with `Secure` and, of the first, only with `Path=/`.
pub(crate) const HOST_PREFIX: &str = "__Host-";
pub(crate) const SECURE_PREFIX: &str = "__Secure-";

/// Who gets a pin, where there is affinity.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PinRule {
    /// A client whose session has just started, by the word of the node that started it.
    #[default]
    Session,
    /// Every client, with the first answer that it gets: for nodes that do not say when a session starts.
    Everybody,
}

/// Which requests that begin on other sites carry the cookie.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SameSite {
    /// Links that are followed.
    Lax,
    /// None.
    Strict,
    /// All, also from within frames of other sites.
    None,
}

impl SameSite {
    /// As `Set-Cookie` has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// How a listener chooses among the nodes that are up.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequests,
}

/// What happens to a client whose node is dead.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnDeadNode {
    /// It is pinned to another node, which costs it the session that lived in the dead one.
    #[default]
    Repin,
    /// It keeps its pin and gets 503 until the node is back.
    Strict,
}

/// Where the access log goes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "PathBuf")]
pub(crate) enum AccessLogTarget {
    Stderr,
    File(PathBuf),
}

impl From<PathBuf> for AccessLogTarget {
    fn from(path: PathBuf) -> Self {
        if path == Path::new("stderr") {
            Self::Stderr
        } else {
            Self::File(path)
        }
    }
}

/// How nodes are checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    #[serde(deserialize_with = "url_path")]
    pub(crate) path: String,
    #[serde(rename = "interval_ms", deserialize_with = "millis::<_, 10, 60_000>")]
    pub(crate) interval: Duration,
    #[serde(rename = "timeout_ms", deserialize_with = "millis::<_, 10, 60_000>")]
    pub(crate) timeout: Duration,
    #[serde(deserialize_with = "number::<_, _, 1, 100>")]
    pub(crate) rise: u32,
    #[serde(deserialize_with = "number::<_, _, 1, 100>")]
    pub(crate) fall: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/readyz".to_owned(),
            // Twice the interval, once the timeout and the way of a request stay below the two seconds
            // in which a frozen node has to leave rotation.
            interval: Duration::from_millis(500),
            timeout: Duration::from_millis(500),
            rise: 1,
            fall: 2,
        }
    }
}

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// To open a connection to a node.
    #[serde(rename = "connect_ms", deserialize_with = "millis::<_, 1, 60_000>")]
    pub(crate) connect: Duration,
    /// For one read from a node, while the request may still be offered to another one.
    #[serde(rename = "read_ms", deserialize_with = "millis::<_, 1, 600_000>")]
    pub(crate) read: Duration,
    /// For one write to a node, or to a client.
    #[serde(rename = "write_ms", deserialize_with = "millis::<_, 1, 600_000>")]
    pub(crate) write: Duration,
    /// How long an unused connection to a node is kept.
    #[serde(rename = "idle_ms", deserialize_with = "millis::<_, 1, 600_000>")]
    pub(crate) idle: Duration,
    /// From the request's arrival until the answer begins, all attempts together.
    #[serde(rename = "total_ms", deserialize_with = "millis::<_, 1, 600_000>")]
    pub(crate) total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(500),
            read: Duration::from_secs(2),
            write: Duration::from_secs(2),
            // Nodes keep an idle connection for at least 60 s. Ours end first, so that no request is
            // written into a connection that the node is just closing.
            idle: Duration::from_secs(30),
            total: Duration::from_secs(5),
        }
    }
}

/// What clients may take of us, and how long they may make us wait.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientLimits {
    /// Connections of one listener.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub(crate) connections: usize,
    /// Bytes of a request's body.
    #[serde(deserialize_with = "number::<_, _, 0, 1_073_741_824>")]
    pub(crate) body_bytes: u64,
    /// For a whole head, from its first byte; for a new connection, from its beginning.
    #[serde(rename = "head_ms", deserialize_with = "millis::<_, 10, 600_000>")]
    pub(crate) head: Duration,
    /// For the first byte of the next request.
    #[serde(
        rename = "keepalive_ms",
        deserialize_with = "millis::<_, 10, 3_600_000>"
    )]
    pub(crate) keepalive: Duration,
    /// For the next byte of a body to come or to be taken.
    #[serde(rename = "silence_ms", deserialize_with = "millis::<_, 10, 600_000>")]
    pub(crate) silence: Duration,
    /// Bytes a second that a body has to move at, once `silence` has passed.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub(crate) bytes_per_s: u64,
    /// For the end of a request that was answered before it was read: closed at once, the kernel would tell the
    /// client so before it has read why.
    #[serde(rename = "linger_ms", deserialize_with = "millis::<_, 0, 600_000>")]
    pub(crate) linger: Duration,
    /// Bytes of such a request that are read.
    #[serde(deserialize_with = "number::<_, _, 0, 1_073_741_824>")]
    pub(crate) linger_bytes: u64,
    /// Not for the answer: a client that ends its sending side is taken for gone.
    #[serde(rename = "abort_on_close")]
    pub(crate) aborts_on_close: bool,
    /// Networks of proxies that may speak for clients of their own.
    #[serde(deserialize_with = "networks")]
    pub(crate) trusted_proxies: Vec<IpNet>,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            body_bytes: 1_048_576,
            head: Duration::from_secs(10),
            keepalive: Duration::from_secs(75),
            silence: Duration::from_secs(10),
            bytes_per_s: 1_024,
            // What a home connection sends within that time, and some more.
            linger: Duration::from_secs(5),
            linger_bytes: 16_777_216,
            aborts_on_close: false,
            trusted_proxies: Vec::new(),
        }
    }
}

/// How often a request may be tried.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retries {
    /// How many nodes one request may be offered to.
    #[serde(deserialize_with = "number::<_, _, 1, 16>")]
    pub(crate) attempts: usize,
    /// Of a hundred requests of the last seconds, so many may be retried.
    #[serde(deserialize_with = "number::<_, _, 0, 100>")]
    pub(crate) budget_percent: u64,
    /// So many retries a second are always fine.
    #[serde(deserialize_with = "number::<_, _, 0, 1_000>")]
    pub(crate) budget_floor: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget_percent: 20,
            budget_floor: 10,
        }
    }
}

/// What a node may be given.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Requests that a node works on at the same time, at most; for each listener.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub(crate) max_in_flight: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Well above what a node that keeps up has at any moment, and a frozen one collects until it is
            // found out; far below what would fill the memory of either side.
            max_in_flight: 4096,
        }
    }
}

/// When a node that fails requests is left out for a while.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EjectionRule {
    /// Failures in a row; 0 is never.
    #[serde(deserialize_with = "number::<_, _, 0, 1_000>")]
    pub(crate) failures: u32,
    /// How long the first time.
    #[serde(rename = "base_ms", deserialize_with = "millis::<_, 1, 3_600_000>")]
    pub(crate) base: Duration,
    /// How long at most.
    #[serde(rename = "max_ms", deserialize_with = "millis::<_, 1, 3_600_000>")]
    pub(crate) max: Duration,
    /// Of a hundred nodes, so many may be out at the same time.
    #[serde(deserialize_with = "number::<_, _, 0, 100>")]
    pub(crate) max_percent: usize,
}

impl Default for EjectionRule {
    fn default() -> Self {
        Self {
            failures: 5,
            base: Duration::from_secs(5),
            max: Duration::from_mins(1),
            max_percent: 50,
        }
    }
}

/// How long pinned clients may stay on a node that drains, unless the operator says otherwise.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    #[serde(rename = "deadline_s", deserialize_with = "seconds::<_, 1, 86_400>")]
    pub(crate) deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            // Carts are rarely left alone for longer, and an operator who waits wants an end.
            deadline: Duration::from_mins(5),
        }
    }
}

/// How the balancer ends.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// Not ready any more, but still taking connections.
    #[serde(rename = "lame_duck_ms", deserialize_with = "millis::<_, 0, 600_000>")]
    pub(crate) lame_duck: Duration,
    /// How long requests may go on after that.
    #[serde(rename = "grace_ms", deserialize_with = "millis::<_, 0, 600_000>")]
    pub(crate) grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            lame_duck: Duration::from_millis(200),
            // Twice what a request may take until its answer begins.
            grace: Duration::from_secs(10),
        }
    }
}
