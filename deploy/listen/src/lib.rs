//! Opens TCP ports, alike in every program of the lab, and says how they are written and reached.
//!
//! `[::]` is every address of the machine, of both families. So one configuration serves hosts with IPv4, with IPv6 and
//! with both. Three kinds of host make that more than a call of `bind`:
//!
//! | host | without this crate | with it |
//! | --- | --- | --- |
//! | `net.ipv6.bindv6only=1` | `[::]` is IPv6 alone | both: `IPV6_V6ONLY` is set to 0 on each socket |
//! | `ipv6.disable=1`, or a filter of system calls: no IPv6 sockets | `[::]` cannot be opened | `0.0.0.0`, which are all addresses that there are, and a warning |
//! | `net.ipv6.conf.all.disable_ipv6=1`, as in Docker's networks of IPv4 | open, but connecting to `[::]` fails, because there is no `::1` | [`ways_to`] names both loopback addresses |
//!
//! [`Listeners`] accepts connections, alike for every port; [`Token`] says who may use one that is for operators. Who may
//! listen where is left to the programs. [`files`] makes room for many connections.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "The lab needs Linux: its cluster is a set of processes on loopback. Elsewhere, run the same cluster in containers (docs/containers.md)."
);

pub mod files;
mod listeners;
mod secret;

pub use listeners::Listeners;
pub use secret::{Secret, Token};

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
};

/// Connections that the kernel keeps for a program that is busy, unless it wants more.
const BACKLOG: i32 = 1024;

/// Opens a port that nobody else has. The socket does not block, as Tokio wants it.
pub fn open(address: SocketAddr) -> io::Result<TcpListener> {
    Ok(socket_at(possible(address), BACKLOG, false)?)
}

/// Opens one of several sockets of the same port; the kernel deals connections to them.
pub fn open_shared(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    Ok(socket_at(possible(address), backlog, true)?)
}

/// The address itself; in place of `[::]`, `0.0.0.0` where the kernel has no IPv6 sockets.
pub fn possible(address: SocketAddr) -> SocketAddr {
    possible_if(address, has_ipv6_sockets)
}

fn possible_if(address: SocketAddr, has_ipv6: impl Fn() -> bool) -> SocketAddr {
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) || has_ipv6() {
        return address;
    }
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    tracing::warn!(%address, instead = %ipv4, "this machine has no IPv6: listening on all IPv4 addresses");
    ipv4
}

/// Every other trouble shows when the port is opened.
fn has_ipv6_sockets() -> bool {
    stream(AddressFamily::INET6).err() != Some(Errno::AFNOSUPPORT)
}

/// Where to connect to reach a port that listens at `address` on this machine: for "all addresses", either loopback.
pub fn ways_to(address: SocketAddr) -> Vec<SocketAddr> {
    let loopback = |ip: IpAddr| SocketAddr::new(ip, address.port());
    match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => vec![
            loopback(Ipv4Addr::LOCALHOST.into()),
            loopback(Ipv6Addr::LOCALHOST.into()),
        ],
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![loopback(Ipv4Addr::LOCALHOST.into())],
        _ => vec![address],
    }
}

/// Reads `HOST:PORT`, where HOST is a name, an address of IPv4, or one of IPv6 in brackets. Without brackets, the end of
/// `fd00::1` would be port 1.
pub fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let is_host = if host.contains([':', '[', ']']) {
        place.parse::<SocketAddrV6>().is_ok()
    } else {
        !host.is_empty()
    };
    is_host.then_some((host, port))
}

fn stream(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
}

fn socket_at(address: SocketAddr, backlog: i32, is_shared: bool) -> Result<TcpListener, Errno> {
    let socket = if address.is_ipv4() {
        stream(AddressFamily::INET)?
    } else {
        let socket = stream(AddressFamily::INET6)?;
        sockopt::set_ipv6_v6only(&socket, false)?;
        socket
    };
    // A port whose last connections are still ending can be opened again at once.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if is_shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn all_addresses_are_those_of_both_families() {
        let listener = open(address("[::]:0")).unwrap();
        let at = listener.local_addr().unwrap();
        for way in ways_to(at) {
            TcpStream::connect(way).unwrap();
        }
        let taken = open(SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn one_address_is_one_address() {
        let listener = open(address("[::1]:0")).unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(ways_to(at), [at]);
        TcpStream::connect(at).unwrap();
        let ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, at.port()));
        TcpStream::connect(ipv4).unwrap_err();
    }

    #[test]
    fn a_shared_port_has_several_sockets_and_no_other_owner() {
        let first = open_shared(address("[::]:0"), 16).unwrap();
        let at = first.local_addr().unwrap();
        open_shared(at, 16).unwrap();
        open(at).unwrap_err();
    }

    #[test]
    fn without_ipv6_all_addresses_are_those_of_ipv4() {
        let without = |text| possible_if(address(text), || false).to_string();
        assert_eq!(without("[::]:80"), "0.0.0.0:80");
        // Asked for by its number, an address of IPv6 is a mistake there.
        for same in ["[::1]:80", "0.0.0.0:80", "127.0.0.1:80"] {
            assert_eq!(without(same), same);
        }
        assert_eq!(possible_if(address("[::]:80"), || true), address("[::]:80"));
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        for (place, host, port) in [
            ("app:8080", "app", 8080),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00::1]:80", "[fd00::1]", 80),
            ("[fe80::1%2]:80", "[fe80::1%2]", 80),
        ] {
            assert_eq!(host_and_port(place), Some((host, port)));
        }
        for wrong in [
            "",
            "app",
            ":80",
            "app:",
            "app:x",
            "app:65536",
            "fd00::1",
            "fd00::1:80",
            "[fd00::1]",
            "[fd00::1]80",
            "[app]:80",
            "[10.0.0.1]:80",
            "a:b:80",
        ] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn both_loopbacks_lead_to_all_addresses() {
        let ways = ways_to(address("[::]:80"));
        assert_eq!(ways, [address("127.0.0.1:80"), address("[::1]:80")]);
        assert_eq!(ways_to(address("0.0.0.0:80")), [address("127.0.0.1:80")]);
    }
}
