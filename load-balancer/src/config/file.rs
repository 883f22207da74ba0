//! The shape of the TOML file. Tables that stand for themselves are those of `settings`; what only shows when
//! two values are compared (duplicates, `list` and `dns` at once) keeps its place in the file, for the checks in
//! the parent module.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{
    settings::{
        AccessLogTarget, Balance, ClientLimits, Drain, EjectionRule, Health, Limits, OnDeadNode,
        PinRule, Retries, SameSite, Shutdown, Timeouts,
    },
    value::{CookieName, CookiePath, Label, number, private_paths},
};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) admin: Option<Spanned<SocketAddr>>,
    pub(super) affinity_key_file: Option<PathBuf>,
    pub(super) admin_token_file: Option<PathBuf>,
    #[serde(default = "cores", deserialize_with = "number::<_, _, 1, 64>")]
    pub(super) threads: usize,
    pub(super) access_log: Option<AccessLogTarget>,
    #[serde(default = "private_by_default", deserialize_with = "private_paths")]
    pub(super) private_paths: Vec<String>,
    pub(super) nodes: Spanned<Nodes>,
    pub(super) listeners: Spanned<Vec<Listener>>,
    #[serde(default)]
    pub(super) health: Health,
    pub(super) timeouts: Option<Spanned<Timeouts>>,
    #[serde(default)]
    pub(super) clients: ClientLimits,
    #[serde(default)]
    pub(super) retries: Retries,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) ejection: Option<Spanned<EjectionRule>>,
    #[serde(default)]
    pub(super) drain: Drain,
    #[serde(default)]
    pub(super) shutdown: Shutdown,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What the nodes of the lab have for operators.
fn private_by_default() -> Vec<String> {
    ["/metrics", "/healthz", "/readyz", "/admin/"]
        .map(str::to_owned)
        .to_vec()
}

/// Where the nodes come from: exactly one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nodes {
    pub(super) list: Option<Vec<Node>>,
    pub(super) dns: Option<Spanned<String>>,
}

/// One node of a fixed list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) name: Spanned<Label>,
    pub(super) address: Spanned<SocketAddr>,
}

/// One public port, serving one strategy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) strategy: Spanned<Label>,
    pub(super) address: Spanned<SocketAddr>,
    #[serde(default)]
    pub(super) affinity: bool,
    #[serde(default)]
    pub(super) pin: PinRule,
    #[serde(default)]
    pub(super) cookie: Cookie,
    #[serde(default)]
    pub(super) balance: Balance,
    #[serde(default)]
    pub(super) on_dead_node: OnDeadNode,
    /// TLS ends here.
    pub(super) tls: Option<Spanned<Tls>>,
    /// TLS ends in front of us.
    #[serde(default)]
    pub(super) behind_https: bool,
    /// Connections begin with a PROXY header.
    pub(super) proxy_protocol: Option<Spanned<bool>>,
}

/// Where a listener's certificate is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The affinity cookie of a listener.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cookie {
    pub(super) name: Option<Spanned<CookieName>>,
    pub(super) path: Spanned<CookiePath>,
    pub(super) same_site: Spanned<SameSite>,
    #[serde(deserialize_with = "number::<_, _, 1, 31_536_000>")]
    pub(super) lifetime_s: u32,
    pub(super) persistent: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: None,
            path: Spanned::new(0..0, CookiePath("/".to_owned())),
            same_site: Spanned::new(0..0, SameSite::Lax),
            // As long as the longest session.
            lifetime_s: 12 * 60 * 60,
            persistent: false,
        }
    }
}
