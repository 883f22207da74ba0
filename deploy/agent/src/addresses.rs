//! The addresses of this machine, or container: how others on its networks call it.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr},
};

/// Every IPv4 address but loopback, each once. (No network of the lab hands out IPv6 addresses alone.)
pub fn own() -> io::Result<Vec<IpAddr>> {
    Ok(local(&fs::read_to_string("/proc/net/fib_trie")?))
}

/// In the kernel's routing trie, an address of the machine's own is a leaf with the line `/32 host LOCAL` below it.
fn local(trie: &str) -> Vec<IpAddr> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = BTreeSet::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.filter(|address| !address.is_loopback())
        {
            found.insert(address);
        }
    }
    found.into_iter().map(IpAddr::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_leaves_are_own_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/31 1 0 0\n\
                    \x20       |-- 127.0.0.0\n           /8 host LOCAL\n        |-- 127.0.0.1\n           /32 host LOCAL\n\
                    \x20    +-- 172.18.0.0/16 2 0 2\n        |-- 172.18.0.0\n           /16 link UNICAST\n\
                    \x20       |-- 172.18.0.5\n           /32 host LOCAL\n        |-- 172.18.255.255\n           /32 link BROADCAST\n\
                    Local:\n        |-- 172.18.0.5\n           /32 host LOCAL\n";
        assert_eq!(local(trie), [IpAddr::from([172, 18, 0, 5])]);
    }

    #[test]
    fn the_kernels_own_table_is_understood() {
        let own = own().unwrap();
        assert!(own.iter().all(|address| !address.is_loopback()), "{own:?}");
    }
}
