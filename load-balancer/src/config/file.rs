//! The shape of the TOML file: every table, every default, every range.
//!
//! A value is checked while it is read, so that serde and toml report the place of a mistake. What only
//! shows when two values are compared (duplicates, `list` and `dns` at once) is checked in the parent module.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) admin: Option<Spanned<SocketAddr>>,
    pub(super) affinity_key_file: Option<PathBuf>,
    pub(super) admin_token_file: Option<PathBuf>,
    pub(super) threads: Option<Number<1, 64>>,
    pub(super) access_log: Option<PathBuf>,
    #[serde(default = "private_paths")]
    pub(super) private_paths: Vec<PrivatePath>,
    pub(super) nodes: Spanned<Nodes>,
    pub(super) listeners: Spanned<Vec<Listener>>,
    #[serde(default)]
    pub(super) health: Health,
    pub(super) timeouts: Option<Spanned<Timeouts>>,
    #[serde(default)]
    pub(super) clients: Clients,
    #[serde(default)]
    pub(super) retries: Retries,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) ejection: Option<Spanned<Ejection>>,
    #[serde(default)]
    pub(super) drain: Drain,
    #[serde(default)]
    pub(super) shutdown: Shutdown,
}

/// What the nodes of the lab have for operators.
fn private_paths() -> Vec<PrivatePath> {
    let paths = ["/metrics", "/healthz", "/readyz", "/admin/"];
    paths.map(|path| PrivatePath(path.to_owned())).to_vec()
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
    pub(super) affinity: Option<bool>,
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

/// The affinity cookie of a listener.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cookie {
    pub(super) name: Option<Spanned<CookieName>>,
    pub(super) path: Spanned<CookiePath>,
    pub(super) same_site: Spanned<SameSite>,
    pub(super) lifetime_s: Number<1, 31_536_000>,
    pub(super) persistent: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: None,
            path: Spanned::new(0..0, CookiePath("/".to_owned())),
            same_site: Spanned::new(0..0, SameSite::Lax),
            // As long as the longest session.
            lifetime_s: Number(12 * 60 * 60),
            persistent: false,
        }
    }
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

/// How nodes are checked.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    pub(super) path: UrlPath,
    pub(super) interval_ms: Millis<10, 60_000>,
    pub(super) timeout_ms: Millis<10, 60_000>,
    pub(super) rise: Number<1, 100>,
    pub(super) fall: Number<1, 100>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: UrlPath("/readyz".to_owned()),
            // Twice the interval, once the timeout and the way of a request stay below the two seconds
            // in which a frozen node has to leave rotation.
            interval_ms: Millis::of(500),
            timeout_ms: Millis::of(500),
            rise: Number(1),
            fall: Number(2),
        }
    }
}

/// How long each step of a request may take.
#[expect(
    clippy::struct_field_names,
    reason = "settings carry their unit in their name"
)]
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Timeouts {
    pub(super) connect_ms: Millis<1, 60_000>,
    pub(super) read_ms: Millis<1, 600_000>,
    pub(super) write_ms: Millis<1, 600_000>,
    pub(super) idle_ms: Millis<1, 600_000>,
    pub(super) total_ms: Millis<1, 600_000>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: Millis::of(500),
            read_ms: Millis::of(2_000),
            write_ms: Millis::of(2_000),
            // Nodes keep an idle connection for at least 60 s. Ours end first, so that no request is
            // written into a connection that the node is just closing.
            idle_ms: Millis::of(30_000),
            total_ms: Millis::of(5_000),
        }
    }
}

/// What clients may take of us.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Clients {
    pub(super) connections: Number<1, 1_000_000>,
    pub(super) body_bytes: Number<0, 1_073_741_824>,
    pub(super) head_ms: Millis<10, 600_000>,
    pub(super) keepalive_ms: Millis<10, 3_600_000>,
    pub(super) silence_ms: Millis<10, 600_000>,
    pub(super) bytes_per_s: Number<1, 1_000_000>,
    pub(super) linger_ms: Millis<0, 600_000>,
    pub(super) linger_bytes: Number<0, 1_073_741_824>,
    pub(super) abort_on_close: bool,
    pub(super) trusted_proxies: Vec<Network>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            connections: Number(10_000),
            body_bytes: Number(1_048_576),
            head_ms: Millis::of(10_000),
            keepalive_ms: Millis::of(75_000),
            silence_ms: Millis::of(10_000),
            bytes_per_s: Number(1_024),
            // What a home connection sends within that time, and some more.
            linger_ms: Millis::of(5_000),
            linger_bytes: Number(16_777_216),
            abort_on_close: false,
            trusted_proxies: Vec::new(),
        }
    }
}

/// How often a request may be tried.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retries {
    pub(super) attempts: Number<1, 16>,
    pub(super) budget_percent: Number<0, 100>,
    pub(super) budget_floor: Number<0, 1000>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: Number(3),
            budget_percent: Number(20),
            budget_floor: Number(10),
        }
    }
}

/// What a node may be given.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) max_in_flight: Number<1, 1_000_000>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Well above what a node that keeps up has at any moment, and a frozen one collects until it is
            // found out; far below what would fill the memory of either side.
            max_in_flight: Number(4096),
        }
    }
}

/// When a node that fails requests is left out for a while.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ejection {
    pub(super) failures: Number<0, 1000>,
    pub(super) base_ms: Millis<1, 3_600_000>,
    pub(super) max_ms: Millis<1, 3_600_000>,
    pub(super) max_percent: Number<0, 100>,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: Number(5),
            base_ms: Millis::of(5_000),
            max_ms: Millis::of(60_000),
            max_percent: Number(50),
        }
    }
}

/// How long pinned clients may stay on a node that drains.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Drain {
    pub(super) deadline_s: Number<1, 86_400>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            // Carts are rarely left alone for longer, and an operator who waits wants an end.
            deadline_s: Number(300),
        }
    }
}

/// How the balancer ends.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Shutdown {
    pub(super) lame_duck_ms: Millis<0, 600_000>,
    pub(super) grace_ms: Millis<0, 600_000>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            lame_duck_ms: Millis::of(200),
            // Twice what a request may take until its answer begins.
            grace_ms: Millis::of(10_000),
        }
    }
}

/// A duration given in whole milliseconds, from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Millis<const MIN: u64, const MAX: u64>(pub(super) Duration);

impl<const MIN: u64, const MAX: u64> Millis<MIN, MAX> {
    const fn of(ms: u64) -> Self {
        assert!(MIN <= ms && ms <= MAX, "a default must be in its own range");
        Self(Duration::from_millis(ms))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Millis<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let ms = in_range(i64::deserialize(input)?, MIN, MAX, " ms")?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<const MIN: u64, const MAX: u64>(pub(super) u32);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = in_range(i64::deserialize(input)?, MIN, MAX, "")?;
        u32::try_from(number).map(Self).map_err(D::Error::custom)
    }
}

fn in_range<E: serde::de::Error>(number: i64, min: u64, max: u64, unit: &str) -> Result<u64, E> {
    u64::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| {
            E::custom(format!(
                "{number} is out of range, allowed are {min} to {max}{unit}"
            ))
        })
}

/// A name that may stand in a header, in a metric and in a cookie's hash: `a–z 0–9 - _ .`, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(pub(super) String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(D::Error::custom(format!(
                "{name:?} is no name, allowed are 1 to 64 of a-z 0-9 - _ ."
            )))
        }
    }
}

impl Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A network `10.1.0.0/16`, or one host `10.1.2.3`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network(pub(super) IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let host = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| host()).map(Self).map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is neither a network such as 10.1.0.0/16 nor an address such as 10.1.2.3"
            ))
        })
    }
}

/// A path that is not for clients, in its normal form.
#[derive(Clone, Debug)]
pub(super) struct PrivatePath(pub(super) String);

impl<'de> Deserialize<'de> for PrivatePath {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let path = String::deserialize(input)?;
        let is_odd = |text| path.contains(text);
        if path.len() > 1
            && path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic())
            && !["//", "/.", "%", "?", "#", ";", "\\"]
                .into_iter()
                .any(is_odd)
        {
            Ok(Self(path))
        } else {
            Err(D::Error::custom(format!(
                "{path:?} is no path, write it as /metrics, or as /admin/ for everything below it"
            )))
        }
    }
}

/// The name of a cookie: a token (RFC 6265, section 4.1.1), at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CookieName(pub(super) String);

impl<'de> Deserialize<'de> for CookieName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(D::Error::custom(format!(
                "{name:?} is no name of a cookie, allowed are 1 to 64 letters, digits and ! # $ % & ' * + - . ^ _ ` | ~"
            )))
        }
    }
}

/// The `Path` of a cookie.
#[derive(Clone, Debug)]
pub(super) struct CookiePath(pub(super) String);

impl<'de> Deserialize<'de> for CookiePath {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let path = String::deserialize(input)?;
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        if path.starts_with('/') && path.len() <= 256 && path.bytes().all(allowed) {
            Ok(Self(path))
        } else {
            Err(D::Error::custom(format!(
                "{path:?} is no path of a cookie, it must start with / and hold no blanks and no ; (at most 256 bytes)"
            )))
        }
    }
}

/// The path of a URL, ready for a request line.
#[derive(Clone, Debug)]
pub(super) struct UrlPath(pub(super) String);

impl<'de> Deserialize<'de> for UrlPath {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let path = String::deserialize(input)?;
        if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(path))
        } else {
            Err(D::Error::custom(format!(
                "{path:?} is no path, it must start with / and hold no blanks"
            )))
        }
    }
}
