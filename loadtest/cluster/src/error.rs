//! Why a cluster did not come up, or did not go down: what happened, what it probably means, what to do.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use agent::{AgentError, ports::Owner};

/// The error of everything in [`cluster`](crate).
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The spec asks for what cannot be.
    #[error("{0}")]
    Spec(String),
    /// One of our own programs is not built.
    #[error("the program `{program}` is not in {}: build it with `cargo build --workspace --bins`", beside.display())]
    NotBuilt {
        /// Its name.
        program: String,
        /// Where it should be.
        beside: PathBuf,
    },
    /// A program of somebody else is not on this machine.
    #[error(
        "`{program}` was not found in PATH, and {needed_by} needs it: install it with `apt-get install {package}`"
    )]
    NotInstalled {
        /// Its name.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
        /// Who needs it.
        needed_by: &'static str,
    },
    /// A public port belongs to somebody else.
    #[error("port {} for {strategy} cannot be used: {}", address.port(), taken(address, owner.as_ref(), source))]
    PortTaken {
        /// Whose listener it should have been.
        strategy: String,
        /// The address.
        address: SocketAddr,
        /// Who has it, if we may know.
        owner: Option<Owner>,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not one free port.
    #[error("no free port on {ip}: {source}")]
    NoPort {
        /// The address.
        ip: IpAddr,
        /// The reason.
        source: io::Error,
    },
    /// A file in the temporary folder, or the folder itself.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The operating system gave no random bytes for the secrets.
    #[error("no random bytes for the secrets: {0}")]
    Random(String),
    /// There are not as many nodes as a scenario wants.
    #[error(
        "the scenario wants {wanted} nodes, and the deployment has {there}: start more of them (`docker-compose up -d --scale app={wanted}`)"
    )]
    TooFewNodes {
        /// How many there are.
        there: usize,
        /// How many are wanted.
        wanted: usize,
    },
    /// A name of the deployment leads nowhere.
    #[error("{name} cannot be found: {why}; are the containers up, and is this one of them?")]
    NoAddress {
        /// The name.
        name: String,
        /// What the resolver said.
        why: String,
    },
    /// A process.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// All processes run, but the load balancer does not pass requests on.
    #[error("the load balancer does not serve {strategy}: {problem}")]
    NotServing {
        /// Its listener.
        strategy: String,
        /// What the last request got.
        problem: String,
    },
    /// The store does not answer, or not as it should.
    #[error("the store: {0}")]
    Store(io::Error),
    /// A store that may not be emptied.
    #[error(
        "the store at {address} is not marked as a lab's own, so it is left alone: it holds {foreign} keys that are not of a shop{}, \
         and {own} that are. A run needs an empty store: probably `store_address` names the wrong one. If this one may be \
         emptied, delete its keys (FLUSHALL) and run again",
        if examples.is_empty() { String::new() } else { format!(" ({examples} …)") }
    )]
    ForeignStore {
        /// Where it is.
        address: SocketAddr,
        /// Keys with a name that a shop gives.
        own: u64,
        /// All others.
        foreign: u64,
        /// How some of these begin.
        examples: String,
    },
    /// A cluster that was joined is not as it was.
    #[error("{0}")]
    NotPutBack(String),
    /// The node's program does not say which strategies it serves.
    #[error(
        "`{} describe` does not list the strategies of a node: {why}. Give a node's program with --shop: ours, or one that calls `shop::run`",
        program.display()
    )]
    NotDescribed {
        /// The program.
        program: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A proxy on a link could not be set up.
    #[error("no proxy on the link {link}: {source}")]
    Link {
        /// Which.
        link: String,
        /// The reason.
        source: io::Error,
    },
    /// The load balancer does not do what its admin port, or its socket, is asked for.
    #[error("the load balancer's admin port: {0}")]
    Admin(String),
}

fn taken(address: &SocketAddr, owner: Option<&Owner>, source: &io::Error) -> String {
    match owner {
        Some(owner) => format!("{address} is taken by {owner}"),
        None if source.kind() == io::ErrorKind::AddrInUse => {
            format!("{address} is taken by a process of another user (try `ss -ltnp` as root)")
        }
        None => format!("{address}: {source}"),
    }
}
