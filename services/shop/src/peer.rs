//! Who is at the other end of a connection, and whom that peer speaks for.
//!
//! Behind a load balancer every connection comes from the balancer, which says in `x-forwarded-for` who its client is
//! and in `x-forwarded-proto` how that client speaks. Anybody can write those headers, so they count only from the
//! addresses in `--trusted-balancers`. Other peers speak for themselves.

use std::net::IpAddr;
use std::str::FromStr;

use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::origin::Scheme;
use crate::problem::Problem;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address at the other end of the connection. `server` attaches it to requests that may change something; the
/// others pay nothing for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub IpAddr);

/// A network whose hosts may speak for their clients, `10.1.0.0/16`; or one host, `10.1.2.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrustedBalancers(IpNet);

impl FromStr for TrustedBalancers {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse()
            .or_else(|_| host())
            .map(|network| Self(canonical(network)))
            .map_err(|_| "must be an address such as 10.1.2.3 or a network such as 10.1.0.0/16")
    }
}

/// Peers are compared in their canonical form, so networks have to be, too: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn canonical(network: IpNet) -> IpNet {
    let bits = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), bits) {
        (IpAddr::V4(address), Some(bits)) if network.addr().is_ipv6() => {
            IpNet::new(address.into(), bits).unwrap_or(network)
        }
        _ => network,
    }
}

impl Peer {
    /// The peer of a request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Problem> {
        extensions.get().copied().ok_or_else(|| {
            tracing::error!("a request came without the address of its peer");
            Problem::Internal
        })
    }

    fn is_trusted(self, trusted: &[TrustedBalancers]) -> bool {
        let address = self.0.to_canonical();
        trusted.iter().any(|network| network.0.contains(&address))
    }

    /// Who asks: the peer, or the client that a trusted balancer names.
    ///
    /// Of several addresses the last counts: that one the balancer wrote, those before it somebody told the balancer. Where
    /// it wrote none, or nothing that is an address, all that it brings counts as its own: a mistake makes the
    /// throttle stricter and not weaker.
    pub(crate) fn client(self, headers: &HeaderMap, trusted: &[TrustedBalancers]) -> IpAddr {
        let named = || {
            let last = headers.get_all(X_FORWARDED_FOR).iter().next_back()?;
            let (_, last) = last
                .to_str()
                .ok()
                .map(|text| text.rsplit_once(',').unwrap_or(("", text)))?;
            last.trim().parse().ok()
        };
        let named = if self.is_trusted(trusted) {
            named()
        } else {
            None
        };
        named.unwrap_or(self.0).to_canonical()
    }

    /// How the client speaks: this node takes plain http only, but a trusted balancer may have taken https.
    pub(crate) fn scheme(self, headers: &HeaderMap, trusted: &[TrustedBalancers]) -> Scheme {
        let proto = headers.get(X_FORWARDED_PROTO);
        if proto.is_some_and(|proto| proto == "https") && self.is_trusted(trusted) {
            Scheme::Https
        } else {
            Scheme::Http
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> Vec<TrustedBalancers> {
        ["127.0.0.0/8", "::1", "10.1.0.0/16"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(
                X_FORWARDED_FOR,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let peer = Peer(peer.parse().unwrap());
        peer.client(&headers, &trusted()).to_string()
    }

    #[test]
    fn a_trusted_balancer_speaks_for_its_client() {
        for peer in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert_eq!(client(peer, &["192.0.2.7"]), "192.0.2.7", "{peer}");
        }
        assert_eq!(client("127.0.0.1", &["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("127.0.0.1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn nobody_else_does() {
        for peer in ["192.0.2.1", "10.2.0.1", "2001:db8::1"] {
            assert_eq!(client(peer, &["203.0.113.9"]), peer);
        }
    }

    #[test]
    fn of_several_the_one_counts_that_the_balancer_wrote() {
        assert_eq!(
            client("127.0.0.1", &["203.0.113.9, 192.0.2.7"]),
            "192.0.2.7"
        );
        assert_eq!(
            client("127.0.0.1", &["203.0.113.9", "192.0.2.7"]),
            "192.0.2.7"
        );
    }

    #[test]
    fn what_is_no_address_is_the_balancers_own() {
        for value in [
            "",
            "unknown",
            "192.0.2.7:80",
            "192.0.2.7,",
            "[::1]",
            "192.0.2",
            "\u{e9}",
        ] {
            assert_eq!(client("127.0.0.1", &[value]), "127.0.0.1", "{value}");
        }
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn only_a_trusted_balancer_has_taken_https() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        let scheme = |peer: &str| Peer(peer.parse().unwrap()).scheme(&headers, &trusted());
        assert_eq!(scheme("127.0.0.1"), Scheme::Https);
        assert_eq!(scheme("192.0.2.1"), Scheme::Http);
    }

    #[test]
    fn a_network_or_a_host_may_be_trusted_and_nothing_else() {
        for text in [
            "",
            "localhost",
            "10.1.0.0/33",
            "10.1.0.0/",
            "10.1.0.0/16,::1",
        ] {
            assert!(text.parse::<TrustedBalancers>().is_err(), "{text}");
        }
        for text in ["10.1.2.3", "2001:db8::/32"] {
            assert!(text.parse::<TrustedBalancers>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_network_is_the_same_in_both_spellings() {
        for (text, inside, outside) in [
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "11.0.0.1"),
            ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.0.0.1"),
            ("fd00::/8", "fd12:3456::1", "fc00::1"),
            ("fe80::/10", "fe80::1", "fd00::1"),
        ] {
            let network: TrustedBalancers = text.parse().unwrap();
            let is_trusted = |peer: &str| Peer(peer.parse().unwrap()).is_trusted(&[network]);
            assert!(is_trusted(inside) && !is_trusted(outside), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_header_an_untrusted_peer_is_itself(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, value)]);
            let peer: IpAddr = [192, 0, 2, 1].into();
            prop_assert_eq!(Peer(peer).client(&headers, &trusted()), peer);
            // A trusted one must not make us panic either.
            Peer([127, 0, 0, 1].into()).client(&headers, &trusted());
        }

        #[test]
        fn every_address_that_a_balancer_writes_is_read(six: u128, four: u32, forged in "[0-9a-f.:, ]{0,40}") {
            for address in [IpAddr::V6(six.into()), IpAddr::V4(four.into())] {
                let value = HeaderValue::try_from(format!("{forged},{address}")).unwrap();
                let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, value)]);
                let client = Peer([127, 0, 0, 1].into()).client(&headers, &trusted());
                prop_assert_eq!(client, address.to_canonical());
            }
        }
    }
}
