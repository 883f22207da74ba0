//! What `/proc` says about processes and sockets.
//!
//! Each parser is a pure function over the file's text; the functions that read files do nothing else. A line that does
//! not look as `proc(5)` describes it is `None` or left out, never a panic: processes come and go while we read.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The fields of `/proc/PID/stat` that the lab needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R` running, `S` sleeping, `T` stopped by a signal, `Z` zombie …
    pub state: char,
    /// The process that gets its exit status.
    pub parent: u32,
    /// CPU time in user and kernel mode of all threads, ended ones included, in clock ticks.
    pub cpu_ticks: u64,
}

/// Memory of a process, from `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Anonymous resident memory: heap and stacks, the part that sessions grow.
    pub anon_bytes: u64,
    /// All resident memory, mapped files included.
    pub rss_bytes: u64,
}

/// A socket on which somebody listens, from `/proc/net/tcp` or `tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The local address.
    pub address: SocketAddr,
    /// The socket's inode, as it shows in `/proc/PID/fd`.
    pub inode: u64,
}

/// Parses `/proc/PID/stat`.
///
/// The second field is the program's name in parentheses and may itself hold spaces and parentheses, so fields are
/// counted from the last closing one.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // `state` is field 3 of proc(5), `utime` 14 and `stime` 15.
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: ticks(14)? + ticks(15)?,
    })
}

/// Parses the memory lines of `/proc/PID/status`. A zombie has none: its memory is 0.
pub fn parse_memory(text: &str) -> Memory {
    let bytes = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    Memory {
        anon_bytes: bytes("RssAnon:").unwrap_or(0),
        rss_bytes: bytes("VmRSS:").unwrap_or(0),
    }
}

/// Parses the listening sockets out of `/proc/net/tcp` or `/proc/net/tcp6`.
pub fn parse_listeners(text: &str) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (fields.get(3) == Some(&LISTEN)).then_some(())?;
            Some(Listener {
                address: parse_address(fields.get(1)?)?,
                inode: fields.get(9)?.parse().ok()?,
            })
        })
        .collect()
}

/// Parses `0100007F:1F90`: the port in plain hexadecimal, the address as 32-bit words in the machine's byte order.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// CPU time that a process has used up to now. Works on a zombie too: that is where a killed process's total stands.
pub fn cpu_us(pid: u32) -> io::Result<u64> {
    let stat = read_stat(&format!("/proc/{pid}/stat"))?;
    Ok(stat.cpu_ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// Memory that a process holds.
pub fn memory(pid: u32) -> io::Result<Memory> {
    Ok(parse_memory(&fs::read_to_string(format!(
        "/proc/{pid}/status"
    ))?))
}

/// The state of each thread of a process.
pub fn thread_states(pid: u32) -> io::Result<Vec<char>> {
    let mut states = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = thread?.path().join("stat");
        match read_stat(&stat.to_string_lossy()) {
            Ok(stat) => states.push(stat.state),
            // The thread ended between the listing and the reading.
            Err(error) if vanished(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(states)
}

/// The zombies among the children of a process.
pub fn dead_children(parent: u32) -> io::Result<Vec<u32>> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.parse::<u32>().ok()
    });
    let dead = processes.filter(|pid| {
        read_stat(&format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.state == 'Z' && stat.parent == parent)
    });
    Ok(dead.collect())
}

fn read_stat(path: &str) -> io::Result<Stat> {
    parse_stat(&fs::read_to_string(path)?).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path}: not a stat line"),
        )
    })
}

/// Whether reading failed because the process or thread is gone: `ENOENT` at open, `ESRCH` at read.
fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_a_hostile_program_name() {
        let line = "4711 (a) R 1 (b) T 1 4711 4711 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 3 0 99 1 1";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                state: 'T',
                parent: 1,
                cpu_ticks: 300
            })
        );
    }

    #[test]
    fn a_cut_stat_line_is_none() {
        for line in ["", "12", "12 (sh", "12 (sh) S 1 2 3", "12 (sh) "] {
            assert_eq!(parse_stat(line), None, "{line:?}");
        }
    }

    #[test]
    fn memory_is_read_in_bytes_and_a_zombie_has_none() {
        let status =
            "Name:\tshop\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t    1024 kB\n";
        let expected = Memory {
            anon_bytes: 1024 * 1024,
            rss_bytes: 2048 * 1024,
        };
        assert_eq!(parse_memory(status), expected);
        assert_eq!(
            parse_memory("Name:\tshop\nState:\tZ (zombie)\n"),
            Memory::default()
        );
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_found_in_both_families() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0\n\
             1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0 100 0\n";
        let tcp6 = " 0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1\n\
             1: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 78 1\n";
        let found = |text| {
            parse_listeners(text)
                .iter()
                .map(|listener| (listener.address.to_string(), listener.inode))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(tcp), [("127.0.0.1:8080".to_owned(), 12345)]);
        let expected = [
            ("[::]:8081".to_owned(), 77),
            ("127.0.0.1:8082".to_owned(), 78),
        ];
        assert_eq!(found(tcp6), expected);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(memory(pid).unwrap().rss_bytes > 0);
        assert!(!thread_states(pid).unwrap().is_empty());
        cpu_us(pid).unwrap();
    }
}
