//! Who a request comes from, and over which protocol, by the word of the proxies in front of us.
//!
//! `X-Forwarded-For` and `Forwarded` (RFC 7239) are lists that each proxy adds to at the end, and a client
//! can write whatever it likes into their beginning. So they are believed from the end: the last address was
//! written by the proxy that is connected, the one before by the proxy that the last address names, and so
//! on, as long as these are trusted. The first address that is not trusted is the client. Where a list breaks
//! off (no address, a quote that never ends), the last hop that is certain counts.
//!
//! A proxy that writes one of the two lists may pass the other on as the client sent it. So where both are
//! there and disagree, neither is believed.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::http1::fields::tokens;

/// Networks of proxies that may speak for their clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into_iter().map(canonical).collect())
    }

    /// Is there a proxy at this address?
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Addresses are compared in their canonical form, so networks have to be, too: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn canonical(network: IpNet) -> IpNet {
    let bits = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), bits) {
        (IpAddr::V4(address), Some(bits)) if network.addr().is_ipv6() => {
            IpNet::new(address.into(), bits).unwrap_or(network)
        }
        _ => network,
    }
}

/// What the fields of one head say.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    x_forwarded_for: Chain,
    rfc_7239: Chain,
    x_forwarded_proto: Option<bool>,
}

/// A list of hops, read from its beginning.
#[derive(Debug, Default)]
struct Chain {
    is_there: bool,
    /// Whom the hops so far speak for, if all that follow are trusted.
    client: Option<IpAddr>,
    /// What the last hop says of the protocol.
    is_https: Option<bool>,
}

impl Chain {
    fn add(&mut self, hop: Option<IpAddr>, trusted: &TrustedProxies) {
        self.is_there = true;
        let is_trusted = hop.is_some_and(|hop| trusted.contains(hop));
        if !is_trusted || self.client.is_none() {
            self.client = hop;
        }
    }
}

impl Forwarded {
    /// Takes a field of a trusted proxy into account.
    pub(crate) fn read(&mut self, name: &[u8], value: &[u8], trusted: &TrustedProxies) {
        if name.eq_ignore_ascii_case(b"x-forwarded-for") {
            for hop in tokens(value) {
                self.x_forwarded_for.add(address(hop), trusted);
            }
        } else if name.eq_ignore_ascii_case(b"x-forwarded-proto") {
            let last = tokens(value).last();
            self.x_forwarded_proto = last.and_then(is_https);
        } else if name.eq_ignore_ascii_case(b"forwarded") {
            for element in split(value, b',') {
                let (hop, is_https) = read_element(element);
                self.rfc_7239.add(hop, trusted);
                self.rfc_7239.is_https = is_https;
            }
        }
    }

    /// The client, if that is certain.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        let (one, other) = (&self.x_forwarded_for, &self.rfc_7239);
        match (one.is_there, other.is_there) {
            (_, false) => one.client,
            (false, true) => other.client,
            (true, true) => one.client.filter(|_| one.client == other.client),
        }
    }

    /// Does the client speak https?
    pub(crate) fn is_https(&self) -> Option<bool> {
        match (self.x_forwarded_proto, self.rfc_7239.is_https) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => one.or(other),
        }
    }
}

fn is_https(proto: &[u8]) -> Option<bool> {
    let is = |scheme: &[u8]| proto.eq_ignore_ascii_case(scheme);
    is(b"https")
        .then_some(true)
        .or(is(b"http").then_some(false))
}

/// The client and the protocol in one element of `Forwarded`: `for=192.0.2.7;proto=https`.
fn read_element(element: &[u8]) -> (Option<IpAddr>, Option<bool>) {
    let (mut client, mut proto) = (None, None);
    let mut clients = 0;
    for pair in split(element, b';') {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let Some((name, value)) = equals.map(|at| (&pair[..at], &pair[at + 1..])) else {
            return (None, None);
        };
        let Some(value) = unquoted(value) else {
            return (None, None);
        };
        if name.eq_ignore_ascii_case(b"for") {
            clients += 1;
            client = address(value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            proto = is_https(value);
        }
    }
    (client.filter(|_| clients == 1), proto)
}

/// A value without its quotes. None where a quote stands anywhere else: a client's may have swallowed what the
/// proxy added.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let inner = match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    };
    (!inner.iter().any(|byte| b"\"\\".contains(byte))).then_some(inner)
}

/// The pieces of a list, without blanks and empty ones. A separator within quotes separates nothing.
fn split(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    list.split(move |byte| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' => is_escaped = is_quoted && !was_escaped,
            b'"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == separator && !is_quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|piece| !piece.is_empty())
}

/// An address, perhaps with brackets, perhaps with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address: Option<IpAddr> = text.parse().ok();
    let address = address.or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_is_the_same_in_both_spellings() {
        for (network, inside, outside) in [
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.0.0.1"),
            ("fd00::/8", "fd12:3456::1", "fc00::1"),
        ] {
            let trusted = TrustedProxies::new(vec![network.parse().expect("a network")]);
            let contains = |address: &str| trusted.contains(address.parse().expect("an address"));
            assert!(contains(inside) && !contains(outside), "{network}");
        }
    }

    fn trusted() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8"];
        TrustedProxies::new(
            networks
                .map(|text| text.parse().expect("a network"))
                .to_vec(),
        )
    }

    fn told(fields: &[(&str, &str)]) -> Forwarded {
        let mut told = Forwarded::default();
        for (name, value) in fields {
            told.read(name.as_bytes(), value.as_bytes(), &trusted());
        }
        told
    }

    fn client(fields: &[(&str, &str)]) -> Option<String> {
        told(fields).client().map(|client| client.to_string())
    }

    #[test]
    fn the_first_address_from_the_end_that_is_not_trusted_is_the_client() {
        for (value, wanted) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("203.0.113.9, 192.0.2.7", Some("192.0.2.7")),
            (
                "203.0.113.9, 192.0.2.7, 10.0.0.2,10.0.0.3",
                Some("192.0.2.7"),
            ),
            ("10.0.0.9, 10.0.0.2", Some("10.0.0.9")),
            ("192.0.2.7:4711", Some("192.0.2.7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[2001:db8::7]:80, fd00::1", Some("2001:db8::7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7, , ", Some("192.0.2.7")),
            ("203.0.113.9, unknown, 10.0.0.2", Some("10.0.0.2")),
            ("203.0.113.9, unknown", None),
            ("192.0.2", None),
            ("", None),
        ] {
            assert_eq!(
                client(&[("X-Forwarded-For", value)]).as_deref(),
                wanted,
                "{value}"
            );
        }
        let two = [
            ("x-forwarded-for", "203.0.113.9"),
            ("X-Forwarded-For", "192.0.2.7"),
        ];
        assert_eq!(
            client(&two).as_deref(),
            Some("192.0.2.7"),
            "one list in two fields"
        );
    }

    #[test]
    fn forwarded_says_the_same_in_its_own_words() {
        for (value, wanted) in [
            ("for=192.0.2.7", Some("192.0.2.7")),
            ("For=192.0.2.7;proto=https;by=10.0.0.2", Some("192.0.2.7")),
            ("for=\"[2001:db8::7]:4711\"", Some("2001:db8::7")),
            (
                "for=203.0.113.9, for=192.0.2.7, for=10.0.0.2",
                Some("192.0.2.7"),
            ),
            (
                "for=203.0.113.9, for=unknown, for=10.0.0.2",
                Some("10.0.0.2"),
            ),
            ("for=203.0.113.9, by=10.0.0.1", None),
            ("for=_hidden", None),
            ("for=203.0.113.9;for=192.0.2.7", None),
            ("for", None),
            // What a client opened, the proxy's own part is swallowed by.
            ("for=203.0.113.9;x=\", for=192.0.2.7", None),
            ("for=203.0.113.9;x=\"\\\", for=192.0.2.7", None),
            ("for=203.0.113.9;x=\", for=\"[2001:db8::7]\"", None),
            (
                "for=203.0.113.9;x=\"a, b\", for=192.0.2.7",
                Some("192.0.2.7"),
            ),
        ] {
            assert_eq!(
                client(&[("Forwarded", value)]).as_deref(),
                wanted,
                "{value}"
            );
        }
    }

    #[test]
    fn two_lists_that_disagree_are_both_dropped() {
        let both = |one, other| client(&[("X-Forwarded-For", one), ("Forwarded", other)]);
        assert_eq!(
            both("192.0.2.7", "for=192.0.2.7").as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(both("192.0.2.7", "for=203.0.113.9"), None);
        assert_eq!(both("192.0.2.7", "for=unknown"), None);
        assert_eq!(both("", "for=192.0.2.7").as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn the_protocol_is_what_the_last_proxy_says() {
        for (fields, wanted) in [
            (&[("X-Forwarded-Proto", "https")][..], Some(true)),
            (&[("X-Forwarded-Proto", "HTTP")], Some(false)),
            (&[("X-Forwarded-Proto", "http, https")], Some(true)),
            (&[("X-Forwarded-Proto", "ftp")], None),
            (&[("Forwarded", "for=192.0.2.7;proto=https")], Some(true)),
            (&[("Forwarded", "proto=https, for=192.0.2.7")], None),
            (
                &[("X-Forwarded-Proto", "http"), ("Forwarded", "proto=https")],
                None,
            ),
        ] {
            assert_eq!(told(fields).is_https(), wanted, "{fields:?}");
        }
    }

    proptest! {
        /// Whatever a client wrote before it, what the connected proxy adds counts, or nothing does.
        #[test]
        fn no_beginning_of_a_list_hides_its_end(forged in "[0-9a-z=;:,.\"\\\\ \\[\\]]{0,40}") {
            for (name, mine) in [
                ("x-forwarded-for", "192.0.2.7"),
                ("forwarded", "for=192.0.2.7;proto=https"),
                ("forwarded", "for=\"192.0.2.7\""),
                ("forwarded", "proto=https;for=\"192.0.2.7:80\";by=\"10.0.0.1\""),
            ] {
                let found = client(&[(name, &format!("{forged}, {mine}"))]);
                prop_assert!(found.as_deref().is_none_or(|found| found == "192.0.2.7"), "{:?}", found);
                let found = client(&[(name, &forged), (name, mine)]);
                prop_assert_eq!(found.as_deref(), Some("192.0.2.7"));
            }
        }

        #[test]
        fn any_bytes_are_survived(value in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut told = Forwarded::default();
            for name in ["forwarded", "x-forwarded-for", "x-forwarded-proto"] {
                told.read(name.as_bytes(), &value, &trusted());
            }
            told.client();
        }
    }
}
