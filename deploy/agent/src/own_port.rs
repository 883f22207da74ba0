//! Which addresses a port is opened at: those behind a name that belong to this machine.
//!
//! In a container the same name may stand for every replica, and the machine be in several networks. A name that only the
//! control network knows then leads to our address in that network, and to no other. In a network with IPv4 and IPv6 it
//! leads to two of ours; both are opened, because nobody can tell which one others choose.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpListener},
    str::FromStr,
    time::Duration,
};

use rustix::io::Errno;
use tokio::{
    net::lookup_host,
    time::{Instant, sleep, timeout},
};

/// A name server may learn of us only a moment after we started.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// Between two questions to it.
const PAUSE: Duration = Duration::from_millis(200);

/// `NAME=HOST:PORT=TARGET:PORT`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkFlag {
    pub(crate) name: String,
    pub(crate) listen: String,
    pub(crate) target: String,
}

impl FromStr for LinkFlag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a link is NAME=HOST:PORT=TARGET:PORT, its name of letters, digits, - and _, an IPv6 address in brackets";
        let mut parts = text.split('=');
        let (Some(name), Some(listen), Some(target), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FORM);
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_place = |text: &str| listen::host_and_port(text).is_some();
        if name.is_empty() || !name.chars().all(is_plain) || !is_place(listen) || !is_place(target)
        {
            return Err(FORM);
        }
        Ok(Self {
            name: name.into(),
            listen: listen.into(),
            target: target.into(),
        })
    }
}

/// Opens a port at `HOST:PORT`. An address is taken as it is; of those behind a name, all that are ours.
pub(crate) async fn open_on_own_addresses(place: &str) -> Result<Vec<TcpListener>, String> {
    if let Ok(address) = place.parse::<SocketAddr>() {
        let listener =
            listen::open(address).map_err(|error| format!("cannot listen on {address}: {error}"));
        return Ok(vec![listener?]);
    }
    if listen::host_and_port(place).is_none() {
        return Err(
            "that is no HOST:PORT; an IPv6 address stands in brackets, [fd00::1]:7070".into(),
        );
    }
    let deadline = Instant::now() + KNOWN_WITHIN;
    loop {
        let problem = match timeout(KNOWN_WITHIN, lookup_host(place)).await {
            Ok(Ok(addresses)) => match open_own(addresses)? {
                Ok(opened) => return Ok(opened),
                Err(foreign) => format!(
                    "none of the addresses behind the name belongs to this machine ({}); give a name or an address \
                     of this machine, or [::] for all of them",
                    foreign.join(", ")
                ),
            },
            Ok(Err(error)) => format!("the name cannot be resolved: {error}"),
            Err(_) => "the name cannot be resolved: no answer in time".into(),
        };
        if Instant::now() + PAUSE > deadline {
            return Err(problem);
        }
        sleep(PAUSE).await;
    }
}

/// The inner error lists the addresses, all of them somebody else's; the outer one is trouble with one that is ours.
fn open_own(
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<Result<Vec<TcpListener>, Vec<String>>, String> {
    let (mut opened, mut foreign) = (Vec::new(), Vec::new());
    // A name server may say the same twice.
    for address in addresses.collect::<BTreeSet<_>>() {
        match listen::open(address) {
            Ok(listener) => opened.push(listener),
            Err(error) if is_foreign(&error) => foreign.push(address.ip().to_string()),
            Err(error) => return Err(format!("cannot listen on {address}: {error}")),
        }
    }
    Ok(if opened.is_empty() {
        Err(foreign)
    } else {
        Ok(opened)
    })
}

/// Somebody else's address, or one of a family that this machine does not have.
fn is_foreign(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_three_parts() {
        let link: LinkFlag = "admin=balancer-control:8090=127.0.0.1:8090"
            .parse()
            .unwrap();
        let parts = (
            link.name.as_str(),
            link.listen.as_str(),
            link.target.as_str(),
        );
        assert_eq!(parts, ("admin", "balancer-control:8090", "127.0.0.1:8090"));
        assert!("a=[fd00::1]:80=[::1]:2".parse::<LinkFlag>().is_ok());
        for wrong in [
            "",
            "a",
            "a=b:1",
            "a=b:1=c",
            "a=b:1=c:2=d",
            "a/b=b:1=c:2",
            "=b:1=c:2",
            "a=:1=c:2",
            "a=b:99999=c:2",
            "a=fd00::1=c:2",
            "a=fd00::1:80=c:2",
        ] {
            assert!(wrong.parse::<LinkFlag>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn of_several_addresses_open_own_are_taken() {
        // 198.51.100.0/24 belongs to nobody: it is for documentation.
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let all = addresses(&["198.51.100.1:0", "[::1]:0", "127.0.0.1:0", "198.51.100.2:0"]);
        let opened = open_own(all.into_iter()).unwrap().unwrap();
        let at = opened.iter().map(|one| one.local_addr().unwrap().ip());
        let at: Vec<String> = at.map(|ip| ip.to_string()).collect();
        assert_eq!(at, ["127.0.0.1", "::1"]);

        let foreign = addresses(&["198.51.100.1:0", "198.51.100.2:0"]);
        let refused = open_own(foreign.into_iter());
        assert_eq!(
            refused.unwrap().unwrap_err(),
            ["198.51.100.1", "198.51.100.2"]
        );
    }
}
