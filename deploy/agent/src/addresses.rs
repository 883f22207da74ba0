//! The addresses of this machine, or container: how others on its networks call it.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Every address of both families, each once; but not those that name no place to others: loopback, and link-local ones of
/// IPv6, which mean another machine on each link and which no name server hands out.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let mut all = local(&fs::read_to_string("/proc/net/fib_trie")?);
    // Where the kernel has no IPv6, there is no such file.
    match fs::read_to_string("/proc/net/if_inet6") {
        Ok(text) => all.extend(local_ipv6(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(all)
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

/// A line an address: its 32 digits, and then the index, prefix length, scope, flags and name of the interface.
fn local_ipv6(text: &str) -> BTreeSet<IpAddr> {
    let address = |line: &str| {
        let digits = line.split_ascii_whitespace().next()?;
        let address = Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?);
        (!address.is_loopback() && !address.is_unicast_link_local()).then_some(address.into())
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ipv6_are_those_that_others_can_use() {
        let text = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
                    fd000000000000000000000000000002 04 40 00 82     eth0\n\
                    00000000000000000000000000000001 01 80 10 80       lo\n";
        let own: IpAddr = "fd00::2".parse().unwrap();
        assert_eq!(local_ipv6(text), BTreeSet::from([own]));
        assert_eq!(local_ipv6("no address\n\n"), BTreeSet::new());
    }

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
