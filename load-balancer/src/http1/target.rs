//! The target of a request and its `Host`: which forms are taken, how they go on, which paths are private.
//!
//! | byte of a path or query | what happens |
//! | --- | --- |
//! | what RFC 3986 has a place for, and `[` and `]` | goes on as it is |
//! | `"`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `\|`, `}` | goes on percent-encoded: clients send them, not every node's parser takes them, and they mean the same |
//! | control bytes, blanks, `#`, bytes above 0x7e | 400: parsers disagree about them, and no client has to send them |

use std::net::Ipv6Addr;

use crate::problem::Problem;

/// Bytes of a target, at most, before and after encoding.
const MAX_TARGET: usize = 8 * 1024;
/// A name that DNS knows has 253 bytes, and a port five.
const MAX_HOST: usize = 260;
/// Decoding a path is repeated this often at most: what is still encoded then means nothing to any node.
const MAX_DECODED: usize = 3;

const PLAIN: u8 = 0;
const ENCODED: u8 = 1;
const REFUSED: u8 = 2;

/// What becomes of each byte of a path or query.
static BYTES: [u8; 256] = {
    let mut bytes = [REFUSED; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        bytes[byte as usize] = match byte {
            b'#' => REFUSED,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => ENCODED,
            _ => PLAIN,
        };
        byte += 1;
    }
    bytes
};

/// The authority of an absolute target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    /// As it was written.
    pub(crate) text: &'a [u8],
    /// The port that its scheme means when none is given.
    default_port: u16,
}

impl Authority<'_> {
    /// Does this `Host` mean the same? Case and the scheme's own port make no difference (RFC 9110, section
    /// 4.2.3), spellings of an IPv6 address neither. A dot at the end does: clients treat it as another name.
    pub(crate) fn is_same(&self, host: &[u8]) -> bool {
        if self.text.eq_ignore_ascii_case(host) {
            return true;
        }
        match (split_host(self.text), split_host(host)) {
            (Some((name, port)), Some((other, other_port))) => {
                let is_same_name = name.eq_ignore_ascii_case(other)
                    || ip_literal(name).is_some_and(|address| ip_literal(other) == Some(address));
                is_same_name
                    && port.unwrap_or(self.default_port) == other_port.unwrap_or(self.default_port)
            }
            _ => false,
        }
    }
}

/// Writes the target in the form that a server of its own would get it (RFC 9112, section 3.2). Returns the
/// authority of an absolute target.
pub(crate) fn write_target<'a>(
    method: &str,
    target: &'a [u8],
    private: &PrivatePaths,
    output: &mut Vec<u8>,
) -> Result<Option<Authority<'a>>, Problem> {
    if target.len() > MAX_TARGET {
        return Err(Problem::TargetTooLong);
    }
    let marks = target
        .iter()
        .fold(0, |marks, byte| marks | BYTES[usize::from(*byte)]);
    if marks & REFUSED != 0 {
        return Err(Problem::BadRequest);
    }
    if method == "CONNECT" {
        return Err(Problem::MethodNotAllowed);
    }
    let before = output.len();
    let (authority, path) = if target.starts_with(b"/") {
        (None, target)
    } else if target == b"*" && method == "OPTIONS" {
        output.push(b'*');
        return Ok(None);
    } else {
        let (authority, path) = split_absolute(target).ok_or(Problem::BadRequest)?;
        if path.is_empty() && method == "OPTIONS" {
            output.push(b'*');
        } else if !path.starts_with(b"/") {
            output.push(b'/');
        }
        (Some(authority), path)
    };
    if private.contains(path_of(path)) {
        return Err(Problem::PrivatePath);
    }
    if marks & ENCODED == 0 {
        output.extend_from_slice(path);
    } else {
        write_encoded(path, output);
        if output.len() - before > MAX_TARGET {
            return Err(Problem::TargetTooLong);
        }
    }
    Ok(authority)
}

fn path_of(target: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    &target[..end]
}

fn split_absolute(target: &[u8]) -> Option<(Authority<'_>, &[u8])> {
    let (scheme, default_port) =
        [("http://", 80), ("https://", 443)]
            .into_iter()
            .find(|(scheme, _)| {
                target
                    .get(..scheme.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
            })?;
    let rest = &target[scheme.len()..];
    let end = rest
        .iter()
        .position(|byte| b"/?".contains(byte))
        .unwrap_or(rest.len());
    let (text, path) = rest.split_at(end);
    let authority = Authority { text, default_port };
    is_host(text).then_some((authority, path))
}

fn write_encoded(path: &[u8], output: &mut Vec<u8>) {
    for byte in path {
        if BYTES[usize::from(*byte)] == ENCODED {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let digits = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
            output.push(b'%');
            output.extend_from_slice(&digits);
        } else {
            output.push(*byte);
        }
    }
}

/// May this stand in `Host`? A name, an IPv4 address or an IPv6 address in brackets; then perhaps a port.
pub(crate) fn is_host(value: &[u8]) -> bool {
    split_host(value).is_some()
}

/// The name and the port; an empty port is none.
fn split_host(value: &[u8]) -> Option<(&[u8], Option<u16>)> {
    if value.len() > MAX_HOST {
        return None;
    }
    let end = if value.starts_with(b"[") {
        memchr::memchr(b']', value)? + 1
    } else {
        memchr::memchr(b':', value).unwrap_or(value.len())
    };
    let (name, port) = value.split_at(end);
    let is_name = || {
        !name.is_empty()
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_~%".contains(byte))
    };
    if !is_name() && ip_literal(name).is_none() {
        return None;
    }
    match port {
        [] | [b':'] => Some((name, None)),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some((name, Some(str::from_utf8(digits).ok()?.parse().ok()?)))
        }
        _ => None,
    }
}

fn ip_literal(name: &[u8]) -> Option<Ipv6Addr> {
    let address = name.strip_prefix(b"[")?.strip_suffix(b"]")?;
    str::from_utf8(address).ok()?.parse().ok()
}

/// Paths that are not for clients. An entry that ends in `/` means everything below it as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrivatePaths(Vec<String>);

impl PrivatePaths {
    /// Paths in their normal form, with a `/` at their beginning.
    pub(crate) fn new(paths: Vec<String>) -> Self {
        Self(paths)
    }

    /// Is this path one of them, whatever a node might make of its spelling?
    fn contains(&self, path: &[u8]) -> bool {
        !self.0.is_empty()
            && if is_normal(path) {
                self.lists(path)
            } else {
                self.lists(&normal(path))
            }
    }

    fn lists(&self, path: &[u8]) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        self.0.iter().any(|entry| {
            let entry = entry.as_bytes();
            match entry.strip_suffix(b"/") {
                None => path.eq_ignore_ascii_case(entry),
                Some(folder) => {
                    path.get(..folder.len())
                        .is_some_and(|start| start.eq_ignore_ascii_case(folder))
                        && matches!(path.get(folder.len()), None | Some(b'/'))
                }
            }
        })
    }
}

/// Is there nothing about this path that different servers could read in different ways?
fn is_normal(path: &[u8]) -> bool {
    let mut before = b' ';
    path.iter().all(|byte| {
        let is_odd = matches!(byte, b'%' | b'\\' | b';') || before == b'/' && b"/.".contains(byte);
        before = *byte;
        !is_odd
    })
}

/// What the most obliging server could make of a path: decoded, without parameters, empty segments and dots.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    for _ in 0..MAX_DECODED {
        path = decoded(&path);
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| b"/\\".contains(byte)) {
        let name = segment
            .split(|byte| b";\0".contains(byte))
            .next()
            .unwrap_or_default();
        match name {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(name),
        }
    }
    segments.iter().fold(Vec::new(), |mut whole, segment| {
        whole.push(b'/');
        whole.extend_from_slice(segment);
        whole
    })
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| {
            u8::from_str_radix(str::from_utf8(digits).ok()?, 16)
                .ok()
                .filter(|_| digits.iter().all(u8::is_ascii_hexdigit))
        });
        output.push(byte.unwrap_or(*first));
        rest = &after[if byte.is_some() { 2 } else { 0 }..];
    }
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn private() -> PrivatePaths {
        let paths = ["/metrics", "/healthz", "/readyz", "/admin/"];
        PrivatePaths::new(paths.map(str::to_owned).to_vec())
    }

    fn rewrite(target: &[u8]) -> Result<String, Problem> {
        let mut output = Vec::new();
        write_target("GET", target, &private(), &mut output)?;
        Ok(String::from_utf8(output).expect("ASCII"))
    }

    /// The node's own parser is the judge: hyper reads targets with `http`.
    #[test]
    fn every_byte_goes_on_in_a_form_that_a_node_takes_or_is_refused() {
        for byte in 0..=255_u8 {
            for (before, after) in [("/a", "b?c=d"), ("/a?b", "c"), ("/", ""), ("/a?", "")] {
                for origin in ["", "http://shop.example", "HTTPS://shop.example:443"] {
                    let target = [
                        origin.as_bytes(),
                        before.as_bytes(),
                        &[byte],
                        after.as_bytes(),
                    ]
                    .concat();
                    let shown = target.escape_ascii();
                    match rewrite(&target) {
                        Ok(written) => {
                            let uri: http::Uri = written.parse().expect("a target");
                            assert_eq!(uri.to_string(), written, "{shown}");
                            let wanted = [before.as_bytes(), &[byte], after.as_bytes()].concat();
                            assert_eq!(decoded(written.as_bytes()), decoded(&wanted), "{shown}");
                        }
                        Err(problem) => {
                            assert_eq!(problem, Problem::BadRequest, "{shown}");
                            let is_fine = (0x21..0x7f).contains(&byte) && byte != b'#';
                            assert!(!is_fine, "{shown}");
                        }
                    }
                }
            }
        }
        assert_eq!(
            rewrite(br#"/plain?f={"a":1}"#).as_deref(),
            Ok("/plain?f=%7B%22a%22:1%7D")
        );
        assert_eq!(rewrite(b"/a?b[]=1&c='").as_deref(), Ok("/a?b[]=1&c='"));
    }

    #[test]
    fn encoding_makes_no_target_longer_than_any_other() {
        let target = |bytes| [b"/", &[b'"'; 8192][..bytes]].concat();
        assert_eq!(
            rewrite(&target(2730)).map(|written| written.len()),
            Ok(8191)
        );
        assert_eq!(rewrite(&target(2731)), Err(Problem::TargetTooLong));
    }

    #[test]
    fn a_private_path_is_known_in_every_spelling() {
        for target in [
            "/metrics",
            "/metrics/",
            "/metrics?x=/",
            "/METRICS",
            "//metrics",
            "/./metrics",
            "/x/../metrics",
            "/../metrics",
            "/%6detrics",
            "/%6Detrics",
            "/%256detrics",
            "/%2e/metrics",
            "/x/%2E%2e/metrics",
            "/%2Fmetrics",
            "/metrics%2f",
            "/metrics%00",
            "/metrics;v=1",
            r"/x\..\metrics",
            "http://a/metrics",
            "http://a//metrics",
            "/healthz",
            "/readyz",
            "/admin",
            "/admin/",
            "/admin/clock",
            "/admin/users/user-000001/revoke",
            "/admin//x",
            "/%61dmin/clock",
        ] {
            assert_eq!(
                rewrite(target.as_bytes()),
                Err(Problem::PrivatePath),
                "{target}"
            );
        }
        for target in [
            "/",
            "/metric",
            "/metricsx",
            "/metrics/x",
            "/x/metrics",
            "/administrator",
            "/metrics/../x",
            "/?/metrics",
            "http://metrics/",
            "http://a",
        ] {
            assert!(rewrite(target.as_bytes()).is_ok(), "{target}");
        }
    }

    #[test]
    fn nothing_is_private_where_nothing_is_listed() {
        let mut output = Vec::new();
        let none = PrivatePaths::default();
        assert!(write_target("GET", b"/metrics", &none, &mut output).is_ok());
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in [
            "a",
            "A.b-c_d~e",
            "a:80",
            "a:",
            "127.0.0.1:8081",
            "[::1]",
            "[::1]:80",
            "a%20b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let long = "a".repeat(MAX_HOST + 1);
        for host in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "::1",
            "[]",
            "[::1",
            "[::1]x",
            "[a]",
            "[::1%25eth0]",
            "a:65536",
            "a:-1",
            "a b",
            "a/b",
            "u@a",
            "a,b",
            "ä",
            &long,
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn one_authority_has_several_spellings() {
        let authority = |target: &'static str| {
            let mut output = Vec::new();
            write_target("GET", target.as_bytes(), &private(), &mut output)
                .expect("fine")
                .expect("absolute")
        };
        for (target, host, is_same) in [
            ("http://shop.example:80/", "shop.example", true),
            ("http://shop.example/", "shop.example:80", true),
            ("http://shop.example/", "shop.example:", true),
            ("http://Shop.Example/", "sHOP.eXAMPLE:80", true),
            ("https://shop.example:443/", "shop.example", true),
            ("https://shop.example:80/", "shop.example", false),
            ("http://shop.example:443/", "shop.example", false),
            ("http://shop.example:81/", "shop.example", false),
            ("http://shop.example./", "shop.example", false),
            ("http://[::1]:80/", "[0:0:0:0:0:0:0:1]", true),
            ("http://[::1]/", "[::2]", false),
            ("http://127.0.0.1/", "localhost", false),
        ] {
            assert_eq!(
                authority(target).is_same(host.as_bytes()),
                is_same,
                "{target} {host}"
            );
        }
    }

    proptest! {
        /// What is passed on has no spelling left that would make it private.
        #[test]
        fn no_spelling_gets_around_a_private_path(
            pieces in prop::collection::vec(prop::sample::select(&[
                "/", "\\", ".", "..", "metrics", "%6d", "%2f", "%25", "%2e", "etrics", "admin", "x", ";", "?", "%",
            ][..]), 0..8),
        ) {
            let target = format!("/{}", pieces.concat());
            if let Ok(written) = rewrite(target.as_bytes()) {
                let path = normal(path_of(written.as_bytes()));
                prop_assert!(!private().lists(&path), "{}", written);
                prop_assert!(written.parse::<http::Uri>().is_ok(), "{}", written);
            }
        }
    }
}
