//! What becomes of a client's head. What a whole balancer makes of it is in `tests/hardening.rs`.

use proptest::prelude::*;

use super::*;
use crate::http1::scan::Scan;

fn rules() -> Rules {
    Rules {
        strategy: "sticky".to_owned(),
        is_https: false,
        affinity: None,
        our_cookies: OurCookies::default(),
        max_body: 100,
        request_ids: RequestIds::new(),
        private_paths: PrivatePaths::new(vec!["/metrics".to_owned()]),
        trusted_proxies: TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]),
    }
}

const PEER: Peer<'_> = Peer {
    address: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 4711),
    ip: "192.0.2.7",
    is_trusted: false,
};

fn rewrite(head: &str) -> Result<(Request, String), Problem> {
    rewrite_of(PEER, head)
}

fn rewrite_of(peer: Peer<'_>, head: &str) -> Result<(Request, String), Problem> {
    let mut output = Vec::new();
    let request = read(head.as_bytes(), &rules(), peer, &mut output)?;
    Ok((request, String::from_utf8(output).expect("text")))
}

#[test]
fn only_a_trusted_proxy_speaks_for_a_client() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.9\r\nX-Forwarded-Proto: https\r\n\r\n";
    let (request, seen) = rewrite(head).expect("fine");
    assert_eq!(request.client, None);
    assert!(
        seen.contains("x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\n"),
        "{seen}"
    );

    let proxy = Peer {
        ip: "10.0.0.1",
        is_trusted: true,
        ..PEER
    };
    let (request, seen) = rewrite_of(proxy, head).expect("fine");
    assert_eq!(request.client, Some([1, 2, 3, 4].into()));
    assert!(
        seen.contains("x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\n"),
        "{seen}"
    );
    assert_eq!(
        seen.to_lowercase().matches("x-forwarded-").count(),
        3,
        "{seen}"
    );

    let (_, seen) = rewrite_of(proxy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("fine");
    assert!(
        seen.contains("x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\n"),
        "{seen}"
    );
}

#[test]
fn the_host_of_an_absolute_target_takes_the_place_of_the_field() {
    let head = "GET http://Shop.example:80/a HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let (_, seen) = rewrite(head).expect("the same authority");
    assert!(
        seen.starts_with("GET /a HTTP/1.1\r\nHost: Shop.example:80\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains("x-forwarded-host: Shop.example:80\r\n"),
        "{seen}"
    );
    assert_eq!(seen.matches("shop.example").count(), 0, "{seen}");
}

#[test]
fn a_target_is_passed_on_as_a_server_of_its_own_would_get_it() {
    for (line, wanted) in [
        ("GET /a?b=c HTTP/1.1", "GET /a?b=c HTTP/1.1"),
        ("GET //a HTTP/1.1", "GET //a HTTP/1.1"),
        ("GET http://a HTTP/1.1", "GET / HTTP/1.1"),
        ("GET http://a?b HTTP/1.1", "GET /?b HTTP/1.1"),
        ("GET HTTPS://A/b HTTP/1.1", "GET /b HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("OPTIONS http://a HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ] {
        let (_, head) = rewrite(&format!("{line}\r\nHost: a\r\n\r\n")).expect("fine");
        assert_eq!(head.lines().next(), Some(wanted), "{line}");
    }
    assert_eq!(
        rewrite("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n").err(),
        Some(Problem::BadRequest)
    );
}

#[test]
fn the_framing_is_stated_anew() {
    for (field, framing, wanted) in [
        ("", Framing::Length(0), ""),
        (
            "Content-Length: 0\r\n",
            Framing::Length(0),
            "content-length: 0\r\n",
        ),
        (
            "Content-Length: 007\r\n",
            Framing::Length(7),
            "content-length: 7\r\n",
        ),
        (
            "Transfer-Encoding:\tCHUNKED \r\n",
            Framing::chunked(),
            "transfer-encoding: chunked\r\n",
        ),
    ] {
        let (request, head) =
            rewrite(&format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n")).expect("fine");
        assert_eq!(request.body, framing, "{field:?}");
        assert!(head.ends_with(&format!("{wanted}\r\n")), "{head}");
        assert_eq!(
            head.to_lowercase().matches("content-length").count(),
            usize::from(wanted.starts_with('c'))
        );
    }
}

#[test]
fn who_wants_to_keep_the_connection() {
    for (version, connection, wanted) in [
        (1, "", true),
        (1, "Connection: close\r\n", false),
        (
            1,
            "Connection: x, CLOSE\r\nConnection: keep-alive\r\n",
            false,
        ),
        (0, "", false),
        (0, "Connection: Keep-Alive\r\n", true),
        (0, "Connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / HTTP/1.{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(rewrite(&head).expect("fine").0.keep_alive, wanted, "{head}");
    }
}

#[test]
fn only_the_affinity_cookie_is_taken_out() {
    let cookies = |fields: &str| {
        let (_, head) =
            rewrite(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).expect("fine");
        head.lines()
            .filter(|line| line.starts_with("Cookie"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let all = cookies(
        "Cookie: a=1; affinity=x\r\nCookie: affinity=y\r\nCookie: b = 2; __Host-affinity=z\r\n",
    );
    assert_eq!(all, ["Cookie: a=1", "Cookie: b = 2"]);
    assert_eq!(cookies("Cookie: affinity=x\r\n"), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is let through is one head, with one framing, one `Host` and one of each of our fields.
    #[test]
    fn what_is_let_through_is_one_request(
        lines in prop::collection::vec(prop::sample::select(&[
            "Host: a", "Host: b", "Content-Length: 5", "Content-Length: 6", "Content-Length: 5, 5", "content-length : 5",
            "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "transfer_encoding: chunked", "Connection: close, host",
            "Connection: content-length, x-session-strategy", "X-Session-Strategy: jwt", "x_session_strategy: jwt",
            "X-Forwarded-For: 1.2.3.4", "X: y", " folded", "X: a\rb", "X: a\nHost: c", "X:", ": x", "Cookie: affinity=1", "Expect: 100-continue",
        ][..]), 0..6),
        version in 0..2_u8,
    ) {
        let head = format!("POST / HTTP/1.{version}\r\n{}\r\n\r\n", lines.join("\r\n"));
        let end = Scan::default().find_end(head.as_bytes());
        prop_assume!(end == Ok(Some(head.len())));
        if let Ok((request, output)) = rewrite(&head) {
            prop_assert_eq!(Scan::default().find_end(output.as_bytes()), Ok(Some(output.len())));
            let lower = output.to_lowercase();
            let count = |name: &str| lower.lines().filter(|line| line.split(':').next() == Some(name)).count();
            for name in ["host", "x-session-strategy", "x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
                prop_assert_eq!(count(name), 1, "{} in {}", name, output);
            }
            prop_assert!(count("content-length") + count("transfer-encoding") <= 1, "{}", output);
            prop_assert_eq!(count("transfer-encoding") == 1, matches!(request.body, Framing::Chunked(_)));
            prop_assert!(!lower.contains("jwt") && !lower.contains("1.2.3.4") && !lower.contains('_'), "{}", output);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), method in "[A-Z]{1,7}") {
        let mut output = Vec::new();
        let _ = read(&bytes, &rules(), PEER, &mut output);
        let head = [method.as_bytes(), b" / HTTP/1.1\r\nHost: a\r\nX: ", &bytes, b"\r\n\r\n"].concat();
        let _ = read(&head, &rules(), PEER, &mut output);
    }
}
