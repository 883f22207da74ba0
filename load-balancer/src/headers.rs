//! What a node gets to see of a request: who asks, for which strategy, and nothing that is ours.
//!
//! Hop-by-hop headers are gone before (pingora removes them, and those that `Connection` names, from the
//! copy that it makes for each attempt). That is why ours are set here, on that copy: a client that names
//! one of them in `Connection` must not be able to remove it.

use std::{
    io::Write as _,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::rand;
use http::{HeaderValue, header};
use pingora::{Result, http::RequestHeader};

use crate::affinity::{Stripped, strip};

/// Replaces what must not come from outside, and takes the affinity cookie out.
pub(crate) fn forward(
    request: &mut RequestHeader,
    strategy: &HeaderValue,
    client: Option<IpAddr>,
    request_id: impl FnOnce() -> HeaderValue,
) -> Result<()> {
    request.insert_header("x-session-strategy", strategy.clone())?;
    request.insert_header("x-forwarded-proto", HeaderValue::from_static("http"))?;
    match client.and_then(address_value) {
        Some(address) => request.insert_header("x-forwarded-for", address)?,
        None => drop(request.remove_header("x-forwarded-for")),
    }
    match request.headers.get(header::HOST).cloned() {
        Some(host) => request.insert_header("x-forwarded-host", host)?,
        None => drop(request.remove_header("x-forwarded-host")),
    }
    request.remove_header("forwarded");
    request.remove_header("x-real-ip");
    if !request.headers.contains_key("x-request-id") {
        request.insert_header("x-request-id", request_id())?;
    }
    strip_cookies(request)
}

/// Nearly every request has one `Cookie` header or none, but several are allowed.
fn strip_cookies(request: &mut RequestHeader) -> Result<()> {
    let cookies = request.headers.get_all(header::COOKIE);
    let stripped: Vec<_> = cookies
        .iter()
        .map(|cookie| (cookie, strip(cookie.as_bytes())))
        .collect();
    if stripped
        .iter()
        .all(|(_, stripped)| *stripped == Stripped::Unchanged)
    {
        return Ok(());
    }
    let rest = stripped
        .into_iter()
        .filter_map(|(cookie, stripped)| match stripped {
            Stripped::Unchanged => Some(Ok(cookie.clone())),
            Stripped::Empty => None,
            Stripped::Rest(rest) => Some(HeaderValue::from_maybe_shared(bytes::Bytes::from(rest))),
        });
    // Bytes of a header value that came in are bytes of one that may go out; should that ever be wrong,
    // the cookie is left out.
    let rest: Vec<HeaderValue> = rest.flatten().collect();
    request.remove_header(&header::COOKIE);
    for cookie in rest {
        request.append_header("Cookie", cookie)?;
    }
    Ok(())
}

/// An address as a header value, formatted without an allocation of its own.
fn address_value(address: IpAddr) -> Option<HeaderValue> {
    /// The longest IPv6 address in text.
    const MAX_LETTERS: usize = 45;
    let mut text = [0; MAX_LETTERS];
    let mut room = &mut text[..];
    write!(room, "{address}").ok()?;
    let unused = room.len();
    HeaderValue::from_bytes(&text[..MAX_LETTERS - unused]).ok()
}

/// Makes ids for requests that come without one: unique, not secret.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Tells balancers, and their restarts, apart.
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that no other balancer makes.
    pub(crate) fn new() -> Self {
        let mut prefix = [0; 8];
        // Without randomness ids of two balancers could be the same, which only makes logs harder to read.
        let _ = rand::fill(&mut prefix);
        Self {
            prefix: u64::from_ne_bytes(prefix),
            next: AtomicU64::new(0),
        }
    }

    /// The next id: 32 hexadecimal digits.
    pub(crate) fn next(&self) -> HeaderValue {
        let number =
            (u128::from(self.prefix) << 64) | u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        let mut text = [0; 32];
        for (index, letter) in text.iter_mut().rev().enumerate() {
            *letter = b"0123456789abcdef"[(number >> (4 * index)) as usize & 0xf];
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| unreachable!("digits and letters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in headers {
            request.append_header(*name, *value).expect("a header");
        }
        let strategy = HeaderValue::from_static("sticky");
        let client = Some(IpAddr::from([10, 0, 0, 7]));
        forward(&mut request, &strategy, client, || {
            HeaderValue::from_static("made")
        })
        .expect("forwarded");
        request
    }

    fn all<'a>(request: &'a RequestHeader, name: &str) -> Vec<&'a str> {
        request
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect()
    }

    #[test]
    fn what_comes_from_outside_is_replaced() {
        let request = forwarded(&[
            ("Host", "shop.example"),
            ("X-Session-Strategy", "redis"),
            ("x-session-strategy", "jwt"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-request-id", "theirs"),
        ]);
        for (name, wanted) in [
            ("x-session-strategy", vec!["sticky"]),
            ("x-forwarded-for", vec!["10.0.0.7"]),
            ("x-forwarded-proto", vec!["http"]),
            ("x-forwarded-host", vec!["shop.example"]),
            ("forwarded", vec![]),
            ("x-real-ip", vec![]),
            ("x-request-id", vec!["theirs"]),
        ] {
            assert_eq!(all(&request, name), wanted, "{name}");
        }
    }

    #[test]
    fn a_request_without_an_id_gets_one() {
        assert_eq!(all(&forwarded(&[]), "x-request-id"), ["made"]);
        let ids = RequestIds::new();
        let (first, second) = (ids.next(), ids.next());
        assert_eq!(first.len(), 32);
        assert_ne!(first, second);
    }

    #[test]
    fn only_the_affinity_cookie_is_taken_out() {
        let request = forwarded(&[
            ("Cookie", "a=1; affinity=x"),
            ("Cookie", "affinity=y"),
            ("Cookie", " b = 2"),
        ]);
        assert_eq!(all(&request, "cookie"), ["a=1", " b = 2"]);
        assert_eq!(
            all(&forwarded(&[("Cookie", "affinity=x")]), "cookie"),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn addresses_of_both_families_fit() {
        for address in [
            "127.0.0.1",
            "::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(
                address_value(address).expect("a value"),
                address.to_string().as_str()
            );
        }
    }
}
