//! Requests for the property tests: valid ones, odd ones, and both with some bytes changed.

use proptest::{collection::vec, prelude::*, sample::select};

/// A request without anything that a balancer may refuse, in bytes.
pub(crate) fn plain() -> impl Strategy<Value = Vec<u8>> {
    let target = (
        "(/[a-zA-Z0-9._~!$&'()*+,;=:@-]{0,6}){1,3}",
        "(\\?[a-z0-9/?=&%.]{0,9})?",
    );
    let target = target.prop_map(|(path, query)| format!("/p{path}{query}"));
    let field = ("x-[a-z]{1,6}", vec(value_byte(), 0..12));
    let field = field.prop_map(|(name, value)| [name.as_bytes(), b": ", &value, b"\r\n"].concat());
    let fields = vec(field, 0..6).prop_map(|fields| fields.concat());
    let host = select(&["a", "shop.example", "127.0.0.1:8081", "[::1]:80"][..]);
    (method(), target, host, fields, good_body()).prop_map(
        |(method, target, host, fields, (framing, body))| {
            let line = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
            [line.as_bytes(), &fields, framing.as_bytes(), b"\r\n", &body].concat()
        },
    )
}

/// Any request, with up to three changes that make it worse.
pub(crate) fn odd() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2")];
    let fields = vec(odd_field(), 0..7).prop_map(|fields| fields.concat());
    let host = prop_oneof![
        6 => Just("Host: shop.example\r\n".to_owned()),
        2 => select(&["Host: SHOP.example:80\r\n", "Host: a\r\nHost: a\r\n", "Host:\r\n", ""][..]).prop_map(str::to_owned),
        1 => (1_usize..16_300).prop_map(|count| format!("Host: {}\r\n", "h".repeat(count))),
    ];
    let body = prop_oneof![3 => good_body(), 1 => bad_body()];
    let request = (method(), odd_target(), version, host, fields, body).prop_map(
        |(method, target, version, host, fields, (framing, body))| {
            let line = format!("{method} {target} {version}\r\n");
            [
                line.as_bytes(),
                host.as_bytes(),
                &fields,
                framing.as_bytes(),
                b"\r\n",
                &body,
            ]
            .concat()
        },
    );
    let changes = prop_oneof![2 => Just(0_usize), 1 => 1..4_usize];
    let change = (any::<prop::sample::Index>(), 0..3_u8, select(SNIPPETS));
    (request, changes, vec(change, 3)).prop_map(|(mut bytes, count, changes)| {
        for (index, kind, snippet) in changes.into_iter().take(count) {
            let at = index.index(bytes.len());
            let (replaced, with) = match kind {
                0 => (at..at, snippet),
                1 => (at..at + 1, snippet),
                _ => (at..at + 1, &b""[..]),
            };
            bytes.splice(replaced, with.iter().copied());
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    })
}

/// What parsers disagree about.
const SNIPPETS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"=",
    b"#",
    b"%",
    b"\"",
    b"{",
    b"/",
    b"?",
    b"_",
    b"-",
    b"0",
    b"f",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b" HTTP/1.1\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
];

fn value_byte() -> impl Strategy<Value = u8> {
    prop_oneof![8 => 0x21..0x7f_u8, 1 => Just(b' '), 1 => 0x80..=0xff_u8]
}

fn method() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND",
        ][..],
    )
}

fn odd_target() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "/[!-~]{0,12}(\\?[!-~]{0,12})?",
        2 => "/plain\\?f=[{}\"a:1\\[\\]|^`<>\\\\]{0,9}",
        1 => "(http|https|HTTP|ws)://(shop\\.example|SHOP.EXAMPLE|a|u@a|)(:80|:443|:)?(/[!-~]{0,8})?(\\?[!-~]{0,8})?",
        1 => select(&["*", "a", "//a", "/../metrics", "/%2e%2e/metrics", "/;a", "http:/a", ""][..]).prop_map(str::to_owned),
        1 => "/[ -~]{0,9}",
    ]
}

fn odd_field() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: &[&str] = &[
        "Connection: close, X-Named",
        "Connection: keep-alive",
        "Connection: host, cookie, content-length",
        "Connection: x-a, x-forwarded-for",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Trailer: X",
        "Upgrade: h2c",
        "Proxy-Authorization: x",
        "Proxy: x",
        "Expect: 100-continue",
        "Expect: nope",
        "X-Session-Strategy: jwt",
        "x_session_strategy: jwt",
        "X-Forwarded-For: 1.2.3.4",
        "Forwarded: for=1.2.3.4",
        "X-Real-IP: 1.2.3.4",
        "X-Balancer-Retries: 7",
        "X-Named: 1",
        "X-A: 1",
        "x-a: 2",
        "X-Request-Id: Root=1-67891233-abcdef0123456789",
        "X-Request-Id: a b",
        "x-request-id: second",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Cookie: affinity=old; a=1",
        "Cookie: a=1; affinity=x; __Host-affinity=y; b=2",
        "Cookie: affinity=x",
        "Cookie: affinityx=1;; affinity",
        "Cookie: \"a;affinity=1\"",
        "cookie:a=b;affinity = c",
        "Set-Cookie: affinity=1",
        "Content-Length: 3",
        "Accept:",
        "X-Empty: ",
        "Idempotency-Key: \"a\"",
        "X-Folded: a\r\n b",
        " X: a",
        "X : a",
        ": a",
        "X",
    ];
    prop_oneof![
        6 => select(KNOWN).prop_map(|field| format!("{field}\r\n").into_bytes()),
        2 => ("[!-~]{1,9}", vec(any::<u8>(), 0..9)).prop_map(|(name, value)| [name.as_bytes(), b": ", &value, b"\r\n"].concat()),
        3 => ("[a-z-]{1,9}", vec(value_byte(), 0..20)).prop_map(|(name, value)| [name.as_bytes(), b":", &value, b"\r\n"].concat()),
        1 => (1_usize..70).prop_map(|count| "X-Many: 1\r\n".repeat(count).into_bytes()),
    ]
}

type Body = (String, Vec<u8>);

fn good_body() -> impl Strategy<Value = Body> {
    let chunk = (vec(any::<u8>(), 1..20), select(&["", ";a", ";a=\"b\""][..]));
    let chunks = (vec(chunk, 0..4), select(&["", "X-Trailer: 1\r\n"][..]));
    prop_oneof![
        Just((String::new(), Vec::new())),
        vec(any::<u8>(), 0..40)
            .prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        chunks.prop_map(|(chunks, trailer)| {
            let mut body = Vec::new();
            for (data, extension) in chunks {
                body.extend(format!("{:X}{extension}\r\n", data.len()).into_bytes());
                body.extend(data);
                body.extend(b"\r\n");
            }
            body.extend(format!("0\r\n{trailer}\r\n").into_bytes());
            ("Transfer-Encoding: chunked\r\n".to_owned(), body)
        }),
    ]
}

fn bad_body() -> impl Strategy<Value = Body> {
    let framing = select(
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 05\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 100001\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: CHUNKED \r\n",
            "Transfer-Encoding:\tchunked\r\n",
            "transfer_encoding: chunked\r\n",
            "Content-Length: 5\r\n",
        ][..],
    );
    let body = select(
        &[
            "hello",
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
            "5\r\nhel",
            "",
        ][..],
    );
    (framing, body).prop_map(|(framing, body)| (framing.to_owned(), body.as_bytes().to_vec()))
}
