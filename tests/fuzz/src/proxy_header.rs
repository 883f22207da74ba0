//! The PROXY header that a proxy in front of the balancer begins a connection with.

use std::net::{IpAddr, SocketAddr};

use load_balancer::inspect::{ProxyHeader, proxy_header};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header ends where it ends, whatever follows and however it arrives, and names the source that stands in it.
pub fn check(input: &[u8]) {
    match proxy_header(input) {
        ProxyHeader::Complete { length, source } => {
            assert!((8..=4096).contains(&length) && length <= input.len());
            let (header, _) = input.split_at(length);
            assert_eq!(
                proxy_header(header),
                ProxyHeader::Complete { length, source }
            );
            for end in 0..length {
                assert_eq!(
                    proxy_header(&header[..end]),
                    ProxyHeader::Incomplete,
                    "{end}"
                );
            }
            match header.strip_prefix(SIGNATURE) {
                Some(rest) => assert_is_in_version_2(rest, source),
                None => assert_is_in_version_1(header, source),
            }
        }
        ProxyHeader::Incomplete => {
            assert!(input.len() < 4096);
            for end in 0..input.len() {
                assert_eq!(
                    proxy_header(&input[..end]),
                    ProxyHeader::Incomplete,
                    "{end}"
                );
            }
        }
        // Nothing that follows can mend it.
        ProxyHeader::Malformed => {
            let longer = [input, b" TCP4 1.2.3.4 1.2.3.4 1 1\r\n"].concat();
            assert_eq!(proxy_header(&longer), ProxyHeader::Malformed);
        }
    }
}

fn assert_is_in_version_1(header: &[u8], source: Option<SocketAddr>) {
    assert!(header.len() <= 107);
    let line = std::str::from_utf8(header).expect("ASCII");
    let words: Vec<_> = line
        .strip_suffix("\r\n")
        .expect("a line")
        .split(' ')
        .collect();
    assert_eq!(words[0], "PROXY");
    match source {
        None => assert_eq!(words[1], "UNKNOWN"),
        Some(source) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            assert_eq!((words.len(), words[1]), (6, family));
            assert_eq!(words[2].parse(), Ok(source.ip()));
            assert_eq!(words[4].parse(), Ok(source.port()));
        }
    }
}

/// Behind the signature: version and command, family and protocol, length, addresses.
fn assert_is_in_version_2(rest: &[u8], source: Option<SocketAddr>) {
    let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    let addresses = &rest[4..];
    assert_eq!(addresses.len(), length);
    let Some(source) = source else {
        return;
    };
    assert_eq!(rest[0], 0x21, "only a proxied connection has a source");
    let (address, port): (IpAddr, _) = match rest[1] {
        0x11 => (
            <[u8; 4]>::try_from(&addresses[..4]).expect("four").into(),
            &addresses[8..10],
        ),
        0x21 => (
            <[u8; 16]>::try_from(&addresses[..16])
                .expect("sixteen")
                .into(),
            &addresses[32..34],
        ),
        other => panic!("no source over TCP: {other:x}"),
    };
    assert_eq!(source.ip(), address);
    assert_eq!(source.port().to_be_bytes(), port);
}
