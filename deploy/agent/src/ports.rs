//! Which TCP port is free, and who has one that is not.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::procfs::{self, Listener};

/// The lowest port that [`free`] gives: well-known services live below.
const LOWEST: u16 = 10_000;

/// The lowest ephemeral port where the kernel does not say.
const USUAL_EPHEMERAL: u16 = 32_768;

/// A port of `ip` on which nobody listens.
///
/// It lies below the range from which the kernel takes ports for outgoing connections: otherwise such a connection could
/// sit on a killed node's port while the node is away. Successive calls of one program give different ports, and two
/// programs start at different places, so ports that are asked for first and bound later seldom collide.
pub fn free(ip: IpAddr) -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let highest = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(USUAL_EPHEMERAL)
        .max(LOWEST + 1000);
    let count = u32::from(highest - LOWEST);

    // The first call chooses where this program starts; losing that race to another thread is fine.
    let _ = NEXT.compare_exchange(0, start(), Ordering::Relaxed, Ordering::Relaxed);
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = LOWEST + u16::try_from(step).unwrap_or(0);
        if TcpListener::bind((ip, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free port between {LOWEST} and {highest} on {ip}"),
    ))
}

/// A place to start that differs from program to program.
fn start() -> u32 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.subsec_nanos() ^ std::process::id().wrapping_mul(0x9E37_79B1) | 1
}

/// Who listens on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Its command line, cut after 120 characters.
    pub command: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command)
    }
}

/// The process that listens on `address`, or on its port for every address. `None` when nobody does, or when the process
/// belongs to a user whose files we may not see.
pub fn owner(address: SocketAddr) -> Option<Owner> {
    let listeners: Vec<Listener> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| procfs::parse_listeners(&text))
        .filter(|listener| covers(listener.address, address))
        .collect();
    if listeners.is_empty() {
        return None;
    }
    fs::read_dir("/proc").ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &listeners).then(|| Owner {
            pid,
            command: command(&entry.path()),
        })
    })
}

/// Whether a listener on `bound` stands in the way of `wanted`.
fn covers(bound: SocketAddr, wanted: SocketAddr) -> bool {
    bound.port() == wanted.port() && (bound.ip() == wanted.ip() || bound.ip().is_unspecified())
}

/// Whether the process in `/proc/PID` has one of the sockets open.
fn holds(process: &Path, listeners: &[Listener]) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .any(|target| {
            let target = target.to_string_lossy();
            listeners
                .iter()
                .any(|listener| target == format!("socket:[{}]", listener.inode))
        })
}

fn command(process: &Path) -> String {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    // A command line is another program's text: keep it to one line, without control characters, and short.
    words
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(120)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn free_ports_differ_and_lie_below_the_ephemeral_range() {
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let ports: Vec<u16> = (0..50).map(|_| free(ip).unwrap()).collect();
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ports.len());
        assert!(
            ports
                .iter()
                .all(|port| (LOWEST..USUAL_EPHEMERAL).contains(port))
        );
    }

    #[test]
    fn the_owner_of_a_port_is_found_by_address_and_by_wildcard() {
        let exact = TcpListener::bind("127.0.0.1:0").unwrap();
        let wildcard = TcpListener::bind("0.0.0.0:0").unwrap();
        for listener in [&exact, &wildcard] {
            let port = listener.local_addr().unwrap().port();
            let owner = owner(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            assert_eq!(owner.pid, std::process::id());
            assert!(!owner.command.is_empty());
        }
    }

    #[test]
    fn a_port_without_listener_has_no_owner() {
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let port = free(ip).unwrap();
        assert_eq!(owner(SocketAddr::new(ip, port)), None);
    }
}
