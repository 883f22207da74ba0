//! Where a page comes from: scheme, host and port, as the `Origin` header names them (RFC 6454), and `--public-url`.
//!
//! One strict parser for both and for `Host`: what two parsers read differently is where origin checks are got around.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The longest name that DNS knows.
const MAX_HOST_BYTES: usize = 253;

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An origin. Two are the same when all three parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// In lower case; an IPv6 address in brackets and in its one canonical spelling.
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]` and nothing else: no path, no user, no `null`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known.name()))?;
        Self::of_host(scheme, authority)
    }

    /// The origin that a `Host` header means, spoken to by `scheme`.
    pub(crate) fn of_host(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), port)
        } else {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            (is_name(host).then(|| host.to_ascii_lowercase())?, port)
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if port.is_empty() => scheme.default_port(),
            None => return None,
        };
        Some(Self { scheme, host, port })
    }

    /// The host as a cookie's `Domain` could name it: a name or an IPv4 address; else empty.
    pub(crate) fn name(&self) -> &str {
        if self.host.starts_with('[') {
            ""
        } else {
            &self.host
        }
    }

    /// Whether only this machine can mean it.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            // All below `localhost` is loopback too (RFC 6761, 6.3).
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }
}

/// Letters, digits and what names hold beside them. Other scripts come as Punycode.
fn is_name(host: &str) -> bool {
    (1..=MAX_HOST_BYTES).contains(&host.len())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn parse_port(digits: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port > 0)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        Origin::parse(text).map(|origin| origin.to_string())
    }

    #[test]
    fn each_origin_has_one_spelling() {
        for (text, same) in [
            ("https://Lab.Example", "https://lab.example"),
            ("HTTPS://lab.example:443", "https://lab.example"),
            ("http://lab.example:443", "http://lab.example:443"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[0:0::0:1]:8081", "http://[::1]:8081"),
        ] {
            assert_eq!(read(text).as_deref(), Some(same));
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_none() {
        for text in [
            "",
            "null",
            "lab.example",
            "//lab.example",
            "https://",
            "https://:443",
            "ftp://lab.example",
            "https://lab.example/",
            "https://lab.example?",
            "https://lab.example#",
            "https://lab.example:",
            "https://lab.example:0",
            "https://lab.example:+443",
            "https://lab.example:65536",
            "https://lab.example:443:443",
            "https://user@lab.example",
            "https://lab.example\\@evil.example",
            "https://lab.example https://evil.example",
            " https://lab.example",
            "https://lab.example\0",
            "https://lab%2eexample",
            "https://läb.example",
            "https://[::1",
            "https://[::1]8081",
            "https://[lab]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_known_by_every_name() {
        for (text, is_loopback) in [
            ("http://localhost:1", true),
            ("http://a.localhost", true),
            ("http://127.9.8.7", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.example", false),
            ("http://notlocalhost", false),
            ("http://127.0.0.1.example", false),
            ("http://128.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(
                Origin::parse(text).unwrap().is_loopback(),
                is_loopback,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_read_reads_the_same_again(text in "\\PC{0,60}|https?://[a-zA-Z0-9.:\\[\\]-]{0,40}") {
            if let Some(origin) = Origin::parse(&text) {
                let written = origin.to_string();
                prop_assert!(written.is_ascii() && written.len() <= text.len() + 40);
                prop_assert_eq!(Origin::parse(&written), Some(origin));
            }
        }

        #[test]
        fn another_scheme_host_or_port_is_another_origin(
            host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}",
            other in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}",
            port in 1_u16..,
            other_port in 1_u16..,
        ) {
            prop_assume!(host != other && port != other_port);
            let origin = Origin::parse(&format!("https://{host}:{port}")).unwrap();
            for text in [
                format!("https://{other}:{port}"),
                format!("https://{host}:{other_port}"),
                format!("http://{host}:{port}"),
                format!("https://{host}.{other}:{port}"),
                format!("https://{other}.{host}:{port}"),
            ] {
                prop_assert_ne!(Origin::parse(&text), Some(origin.clone()));
            }
        }
    }
}
