//! Which address a port is opened at: the one behind a name that belongs to this machine.
//!
//! In a container the same name may stand for every replica, and the machine be in several networks. A name that only the
//! control network knows then leads to our address in that network, and to no other.

use std::{io, net::SocketAddr, str::FromStr, time::Duration};

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
        const FORM: &str =
            "a link is NAME=HOST:PORT=TARGET:PORT, its name of letters, digits, - and _";
        let mut parts = text.split('=');
        let (Some(name), Some(listen), Some(target), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FORM);
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let has_port = |place: &str| {
            place
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if name.is_empty() || !name.chars().all(is_plain) || !has_port(listen) || !has_port(target)
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

/// Opens a port at `HOST:PORT`. An address is taken as it is; of those behind a name, the first that is ours.
pub(crate) async fn on_our_address<T>(
    place: &str,
    mut open: impl FnMut(SocketAddr) -> io::Result<T>,
) -> Result<T, String> {
    if let Ok(address) = place.parse::<SocketAddr>() {
        return open(address).map_err(|error| format!("cannot listen on {address}: {error}"));
    }
    let deadline = Instant::now() + KNOWN_WITHIN;
    loop {
        let problem = match timeout(KNOWN_WITHIN, lookup_host(place)).await {
            Ok(Ok(addresses)) => match first_of_ours(addresses, &mut open)? {
                Ok(opened) => return Ok(opened),
                Err(foreign) => format!(
                    "none of the addresses behind the name belongs to this machine ({}); give a name or an address \
                     of this machine, or 0.0.0.0 for all of them",
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
fn first_of_ours<T>(
    addresses: impl Iterator<Item = SocketAddr>,
    open: &mut impl FnMut(SocketAddr) -> io::Result<T>,
) -> Result<Result<T, Vec<String>>, String> {
    let mut foreign = Vec::new();
    for address in addresses {
        match open(address) {
            Ok(opened) => return Ok(Ok(opened)),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                foreign.push(address.ip().to_string());
            }
            Err(error) => return Err(format!("cannot listen on {address}: {error}")),
        }
    }
    Ok(Err(foreign))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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
        ] {
            assert!(wrong.parse::<LinkFlag>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn of_several_addresses_ours_is_taken() {
        // 198.51.100.0/24 belongs to nobody: it is for documentation.
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let all = addresses(&["198.51.100.1:0", "127.0.0.1:0", "198.51.100.2:0"]);
        let listener = first_of_ours(all.into_iter(), &mut TcpListener::bind);
        let listener = listener.unwrap().unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());

        let foreign = addresses(&["198.51.100.1:0", "198.51.100.2:0"]);
        let refused = first_of_ours(foreign.into_iter(), &mut TcpListener::bind);
        assert_eq!(
            refused.unwrap().unwrap_err(),
            ["198.51.100.1", "198.51.100.2"]
        );
    }
}
