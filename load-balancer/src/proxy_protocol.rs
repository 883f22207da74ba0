//! The PROXY protocol, versions 1 and 2: a few bytes at the beginning of a connection in which the proxy at
//! the other end says whose connection it passes on.
//!
//! `parse` is pure; `receive` reads exactly the header's bytes from a connection, so that TLS or HTTP finds
//! what follows. On a listener that expects it the header is required, as by HAProxy's `accept-proxy`;
//! whom it is believed is for the caller. Extensions (TLVs) are checked for their shape and skipped.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{io::AsyncReadExt as _, net::TcpStream};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const V2_HEAD: usize = 16;
/// The longest first line of version 1, with its end.
const V1_MAX: usize = 107;
/// The longest header. Two addresses take 216 bytes at most; the rest is for extensions.
const MAX: usize = 4096;

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The header goes on.
    Incomplete,
    /// The header is complete.
    Complete {
        /// Its bytes; what follows is not part of it.
        length: usize,
        /// Whose connection it is. None: the proxy's own, or one without such an address.
        source: Option<SocketAddr>,
    },
}

/// The bytes are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a header at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let begins = |with: &[u8]| {
        let common = bytes.len().min(with.len());
        bytes[..common] == with[..common]
    };
    if begins(SIGNATURE) {
        parse_v2(bytes)
    } else if begins(b"PROXY ") {
        parse_v1(bytes)
    } else {
        Err(Malformed)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let line = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() == V1_MAX {
            Err(Malformed)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    let line = str::from_utf8(&line[..end]).map_err(|_| Malformed)?;
    let line = line.strip_suffix('\r').ok_or(Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    let source = match family {
        Some("UNKNOWN") => None,
        Some("TCP4" | "TCP6") => {
            let mut address = || -> Option<IpAddr> { words.next()?.parse().ok() };
            let (source, target) = (address(), address());
            let mut port = || {
                let digits = words.next()?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse::<u16>().ok().filter(|_| is_number)
            };
            let (source_port, target_port) = (port(), port());
            let is_right = |address: IpAddr| address.is_ipv4() == (family == Some("TCP4"));
            match (source, target, source_port, target_port, words.next()) {
                (Some(source), Some(target), Some(port), Some(_), None)
                    if is_right(source) && is_right(target) =>
                {
                    Some(SocketAddr::new(source, port))
                }
                _ => return Err(Malformed),
            }
        }
        _ => return Err(Malformed),
    };
    Ok(Parsed::Complete {
        length: end + 1,
        source,
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, Malformed> {
    // Version and command, then family and protocol: unassigned values are refused.
    if bytes
        .get(12)
        .is_some_and(|byte| !matches!(byte, 0x20 | 0x21))
        || bytes
            .get(13)
            .is_some_and(|byte| byte >> 4 > 3 || byte & 0xf > 2)
    {
        return Err(Malformed);
    }
    let Some(head) = bytes.get(..V2_HEAD) else {
        return Ok(Parsed::Incomplete);
    };
    let length = V2_HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > MAX {
        return Err(Malformed);
    }
    let Some(body) = bytes.get(V2_HEAD..length) else {
        return Ok(Parsed::Incomplete);
    };
    let is_local = matches!(head[12] & 0x0f, 0x00);
    let source = if is_local {
        None
    } else {
        read_addresses(head[13], body)?
    };
    Ok(Parsed::Complete { length, source })
}

/// The source among the addresses, after which extensions may follow.
fn read_addresses(family: u8, body: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let size = match family >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        _ => 216,
    };
    if body.len() < size {
        return Err(Malformed);
    }
    let (addresses, extensions) = body.split_at(size);
    check_extensions(extensions)?;
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    Ok(match family {
        0x11 => {
            let mut source = [0; 4];
            source.copy_from_slice(&addresses[..4]);
            Some(SocketAddr::new(Ipv4Addr::from(source).into(), port(8)))
        }
        0x21 => {
            let mut source = [0; 16];
            source.copy_from_slice(&addresses[..16]);
            Some(SocketAddr::new(Ipv6Addr::from(source).into(), port(32)))
        }
        // Unix sockets, datagrams, unspecified: nothing that we have a use for.
        _ => None,
    })
}

fn check_extensions(mut rest: &[u8]) -> Result<(), Malformed> {
    while let [_kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or(Malformed)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// Why a connection brought no header.
#[derive(Debug)]
pub(crate) enum NoHeader {
    /// It ended, or broke, before the header did.
    Ended,
    /// It began with something else.
    Malformed,
}

impl From<io::Error> for NoHeader {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Reads the header, and no byte of what follows.
pub(crate) async fn receive(connection: &mut TcpStream) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = Vec::new();
    let mut next = [0; 256];
    loop {
        let count = connection.peek(&mut next).await?;
        if count == 0 {
            return Err(NoHeader::Ended);
        }
        let before = header.len();
        header.extend_from_slice(&next[..count]);
        let parsed = parse(&header).map_err(|Malformed| NoHeader::Malformed)?;
        let belongs = match parsed {
            Parsed::Incomplete => count,
            Parsed::Complete { length, .. } => length - before,
        };
        connection.read_exact(&mut next[..belongs]).await?;
        if let Parsed::Complete { source, .. } = parsed {
            return Ok(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn complete(bytes: &[u8], source: Option<&str>) -> Result<Parsed, Malformed> {
        Ok(Parsed::Complete {
            length: bytes.len(),
            source: source.map(|text| text.parse().expect("an address")),
        })
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];

    #[test]
    fn version_1_names_the_source() {
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n",
                Some("192.0.2.7:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n",
                Some("[2001:db8::7]:4711"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let bytes = line.as_bytes();
            assert_eq!(parse(bytes), complete(bytes, source), "{line}");
            let more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&more), complete(bytes, source), "{line}");
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(Parsed::Incomplete), "{line} {end}");
            }
        }
    }

    #[test]
    fn what_is_not_quite_version_1_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX));
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\n",
            "PROXY  TCP4 192.0.2.7 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 80 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +711 80\r\n",
            "PROXY TCP4 ::1 ::1 4711 80\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.256 10.0.0.1 4711 80\r\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 4711 80\r\n",
            "PROXY \r\n",
            &long,
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line}");
        }
    }

    #[test]
    fn version_2_names_the_source_and_extensions_are_skipped() {
        let six = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[0; 16],
            &[0x12, 0x67, 0, 80],
        ]
        .concat();
        let with_extension = [&FOUR[..], &[4, 0, 2, 1, 2]].concat();
        for (bytes, source) in [
            (v2(0x21, 0x11, &FOUR), Some("192.0.2.7:4711")),
            (v2(0x21, 0x21, &six), Some("[2001:db8::7]:4711")),
            (v2(0x21, 0x11, &with_extension), Some("192.0.2.7:4711")),
            (v2(0x20, 0x11, &FOUR), None),
            (v2(0x20, 0, &[]), None),
            (v2(0x20, 0, &[1, 2, 3]), None),
            (v2(0x21, 0, &[]), None),
            (v2(0x21, 0x12, &FOUR), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let shown = bytes.escape_ascii();
            assert_eq!(parse(&bytes), complete(&bytes, source), "{shown}");
            for end in 0..bytes.len() {
                assert_eq!(
                    parse(&bytes[..end]),
                    Ok(Parsed::Incomplete),
                    "{shown} {end}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_quite_version_2_is_refused() {
        let broken_extension = [&FOUR[..], &[4, 0, 3, 1, 2]].concat();
        let half_extension = [&FOUR[..], &[4, 0]].concat();
        let long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [
            v2(0x11, 0x11, &FOUR),
            v2(0x22, 0x11, &FOUR),
            v2(0x21, 0x41, &FOUR),
            v2(0x21, 0x13, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &FOUR),
            v2(0x21, 0x11, &broken_extension),
            v2(0x21, 0x11, &half_extension),
            long,
            b"\r\n\r\nGET".to_vec(),
        ] {
            assert_eq!(parse(&bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
    }

    const STARTS: &[&[u8]] = &[
        b"",
        b"PROXY ",
        b"PROXY TCP4 1.2.3.4 ",
        SIGNATURE,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10",
    ];

    proptest! {
        /// More bytes never change what was complete, and no header is longer than its bound.
        #[test]
        fn any_bytes_are_survived(
            start in prop::sample::select(STARTS),
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            more in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let bytes = [start, &bytes].concat();
            let parsed = parse(&bytes);
            if let Ok(Parsed::Complete { length, .. }) = parsed {
                prop_assert!(length <= bytes.len() && length <= MAX);
                prop_assert_eq!(parse(&[&bytes[..], &more].concat()), parsed);
            } else if parsed.is_ok() {
                prop_assert!(bytes.len() < MAX);
            }
        }
    }
}
