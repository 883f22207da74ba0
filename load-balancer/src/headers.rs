//! What a node gets to see of a request: who asks, for which strategy, and nothing that is ours.
//!
//! Hop-by-hop headers are gone before (pingora removes them, and those that `Connection` names, from the
//! copy that it makes for each attempt). That is why ours are set here, on that copy: a client that names
//! one of them in `Connection` must not be able to remove it.

use std::{
    io::Write as _,
    mem,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::rand;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use pingora::{Result, http::RequestHeader};

use crate::affinity::strip;

/// Which strategy the node is to serve.
pub(crate) const SESSION_STRATEGY: HeaderName = HeaderName::from_static("x-session-strategy");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How many headers `forward` may add.
const ADDED: usize = 5;

/// Replaces what must not come from outside, and takes the affinity cookie out.
pub(crate) fn forward(
    request: &mut RequestHeader,
    strategy: &HeaderValue,
    client: Option<IpAddr>,
    request_id: impl FnOnce() -> HeaderValue,
) -> Result<()> {
    edit(request, |parts| {
        let headers = &mut parts.headers;
        headers.reserve(ADDED);
        headers.insert(SESSION_STRATEGY, strategy.clone());
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        set(headers, FORWARDED_FOR, client.and_then(address_value));
        let host = headers.get(header::HOST).cloned();
        set(headers, FORWARDED_HOST, host);
        headers.remove(header::FORWARDED);
        headers.remove(REAL_IP);
        headers.entry(REQUEST_ID).or_insert_with(request_id);
        strip_cookies(headers);
    })
}

/// Forgets how the client spelled the names of headers. They mean the same in any spelling, and pingora
/// keeps the spellings in a second map, which it would copy for each attempt.
pub(crate) fn forget_spelling(request: &mut RequestHeader) -> Result<()> {
    edit(request, |_| {})
}

/// Changes a request through the types of `http`. pingora's own setters look each name up in two maps and
/// parse it each time, which was most of what this module cost.
fn edit(request: &mut RequestHeader, change: impl FnOnce(&mut Parts)) -> Result<()> {
    // What the detour through `Parts` would lose: a target that is more than a path, or is not UTF-8.
    let is_plain = request.raw_path_is_utf8() && request.raw_path().starts_with(b"/");
    let target = (!is_plain).then(|| request.raw_path().to_vec());

    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = Parts::from(mem::replace(request, empty));
    change(&mut parts);
    *request = RequestHeader::from(parts);
    target.map_or(Ok(()), |target| request.set_raw_path(&target))
}

/// Sets a header to the one value given, or makes sure that it is not there.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// Takes the affinity cookie out. Nearly every request has one `Cookie` header or none; several are allowed.
fn strip_cookies(headers: &mut HeaderMap) {
    let header::Entry::Occupied(mut cookies) = headers.entry(header::COOKIE) else {
        return;
    };
    let mut emptied = false;
    for cookie in cookies.iter_mut() {
        if let Some(rest) = strip(cookie.as_bytes()) {
            emptied |= rest.is_empty();
            // Bytes of a value that came in may go out again; should that ever be wrong, they stay here.
            let rest = HeaderValue::from_maybe_shared(Bytes::from(rest));
            *cookie = rest.unwrap_or(HeaderValue::from_static(""));
        }
    }
    if emptied {
        let (_, values) = cookies.remove_entry_mult();
        let rest: Vec<_> = values.filter(|value| !value.is_empty()).collect();
        for value in rest {
            headers.append(header::COOKIE, value);
        }
    }
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
        forget_spelling(&mut request).expect("forgotten");
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
    fn the_target_survives_in_every_form() {
        for target in [
            &b"/a?b=c"[..],
            b"http://shop.example/a?b",
            b"*",
            b"/\xff\xfe",
        ] {
            let mut request = RequestHeader::build("OPTIONS", target, None).expect("a request");
            forget_spelling(&mut request).expect("forgotten");
            assert_eq!(request.raw_path(), target);
        }
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
