//! `lab up`: the whole cluster on this machine, to play with until Ctrl-C.
//!
//! Says how to reach everything, in lines that work when pasted, and watches the processes: one that dies is named with
//! its exit status and brought back after two seconds, so that a workshop can kill nodes by hand and see what
//! happens. Ctrl-C or SIGTERM ends all in order, a second one kills at once. Bringing the cluster up and down is the
//! work of [`cluster`](cluster), the text is in `guide`.

mod compose;
mod guide;

use std::{
    net::{IpAddr, TcpListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::builder::RangedU64ValueParser;
use cluster::{Cluster, ClusterError, ClusterSpec, Process, spec::MOST_NODES};
use evidence::strategy::Table;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{
    exit::{Exit, Failure},
    on::On,
    output,
    signals::Signals,
};

/// How long a process that died stays away: long enough to look at what its absence does.
const BACK_AFTER: Duration = Duration::from_secs(2);

/// A process that cannot be brought back in so many attempts is given up.
const ATTEMPTS: u32 = 5;

/// Bring the cluster up on this machine and keep it until Ctrl-C.
///
/// Nodes, load balancer and store run as processes of their own on loopback. A process that dies (try `kill -9`) is
/// brought back after 2 s. Ctrl-C ends all of them; a second Ctrl-C kills them at once.
#[derive(clap::Args)]
pub struct Args {
    /// Where: `loopback`, or `compose` for containers.
    #[arg(long, value_name = "PLACE", default_value_t)]
    on: On,

    /// How many identical app nodes.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_NODES as u64))]
    nodes: usize,

    /// The strategies, side by side on the same nodes, each on a port of its own; `all` that the node knows.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "all"
    )]
    strategies: Vec<String>,

    /// The first strategy's port; the others take the next ones [default: the port of each in the table of strategies].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Another program for the nodes than our `shop`: one that calls `shop::run` with strategies of its own.
    #[arg(long, value_name = "PROGRAM")]
    shop: Option<PathBuf>,

    /// How many demo accounts: user-000001 and so on.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    accounts: u32,

    /// The password of all demo accounts [default: a random one, shown on screen].
    #[arg(long, value_name = "TEXT")]
    password: Option<String>,

    /// Memory that argon2id takes for one password check.
    #[arg(long, value_name = "KIB", default_value_t = 19_456)]
    password_memory_kib: u32,

    /// Passes that argon2id makes over that memory.
    #[arg(long, value_name = "N", default_value_t = 2)]
    password_iterations: u32,

    /// CPU work that each request does beside its session work.
    #[arg(long, value_name = "US", default_value_t = 0)]
    work_us: u64,

    /// More flags for every node, after `--`: `lab up -- --access-token-s 60` (see `shop --help`).
    #[arg(last = true, value_name = "NODE FLAGS")]
    node_flags: Vec<String>,
}

impl Args {
    /// A port for each strategy. What the node does not know has none; the cluster refuses it.
    fn public_ports(&self, table: &Table) -> Result<Vec<u16>, Failure> {
        let Some(first) = self.port else {
            let rows = self.strategies.iter().map(|name| table.about(name));
            return Ok(rows
                .map(|about| about.map_or(0, |about| about.port))
                .collect());
        };
        consecutive(first, self.strategies.len()).ok_or_else(|| {
            let message = format!(
                "--port {first}: there is no room for {} ports",
                self.strategies.len()
            );
            Failure::new(Exit::Usage, message)
        })
    }

    /// A flag that containers cannot be given from here.
    fn beyond_compose(&self) -> Option<&'static str> {
        let default = ClusterSpec::default();
        [
            ("--shop", self.shop.is_some()),
            ("--accounts", self.accounts != default.accounts),
            ("--password", self.password.is_some()),
            (
                "--password-memory-kib",
                self.password_memory_kib != default.password_memory_kib,
            ),
            (
                "--password-iterations",
                self.password_iterations != default.password_iterations,
            ),
            ("--work-us", self.work_us != default.work_us),
            ("a flag for nodes", !self.node_flags.is_empty()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }

    fn spec(self, table: &Table) -> Result<ClusterSpec, Failure> {
        let public_ports = self.public_ports(table)?;
        Ok(ClusterSpec {
            shop: self.shop,
            nodes: self.nodes,
            strategies: self.strategies,
            public_ports,
            accounts: self.accounts,
            password: self.password,
            password_memory_kib: self.password_memory_kib,
            password_iterations: self.password_iterations,
            work_us: self.work_us,
            shop_args: self.node_flags,
            ..ClusterSpec::default()
        })
    }
}

/// Runs `lab up` until a signal ends it.
pub async fn run(mut args: Args) -> Result<Exit, Failure> {
    let table = cluster::describe(args.shop.as_deref()).await?;
    args.strategies = table.resolve(&args.strategies);
    match &args.on {
        On::Loopback => {}
        On::Compose => return compose::run(&args, &args.public_ports(&table)?).await,
        On::Deployed(file) => {
            let file = file.display();
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--on {file}: `lab up` knows loopback and compose; a cluster that is up already needs no `up`"
                ),
            ));
        }
    }
    let mut signals = Signals::listen()?;
    let (accounts, spec) = (args.accounts, args.spec(&table)?);
    let wanted = (spec.ip, spec.strategies.len());

    let begun = Instant::now();
    let cluster = tokio::select! {
        biased;
        () = signals.next() => return Ok(Exit::Held),
        started = Cluster::start(spec) => started.map_err(|error| explain(error, wanted))?,
    };
    say(&guide::text(&cluster, accounts, begun.elapsed()));

    tokio::select! {
        () = signals.next() => {}
        () = keep_up(&cluster) => {}
    }
    say("Ending load balancer, nodes and store; Ctrl-C again kills them at once.");
    tokio::select! {
        biased;
        () = signals.next() => {} // Dropping the unfinished shutdown kills what is left.
        ended = cluster.shutdown() => ended?,
    }
    Ok(Exit::Held)
}

/// Watches every process for as long as it is polled.
async fn keep_up(cluster: &Cluster) {
    let processes = [cluster.balancer()]
        .into_iter()
        .chain(cluster.nodes())
        .chain(cluster.store());
    join_all(processes.map(bring_back)).await;
    // Every single process had to be given up. The screen says so; the user decides when to end.
    std::future::pending::<()>().await;
}

/// Says when a process dies, and brings it back, again and again.
async fn bring_back(process: &Process) {
    let name = process.name();
    while let Ok(status) = process.ended().await {
        say(&format!(
            "{name} ended: {status}. It comes back in {BACK_AFTER:?}."
        ));
        for attempt in 1..=ATTEMPTS {
            sleep(BACK_AFTER).await;
            match process.start().await {
                Ok(()) => {
                    say(&format!(
                        "{name} is back. To kill it again: {}",
                        guide::kill(process)
                    ));
                    break;
                }
                Err(error) if attempt < ATTEMPTS => {
                    say(&format!("{error}\nTrying again in {BACK_AFTER:?}."));
                }
                Err(error) => {
                    say(&format!(
                        "{error}\n{name} stays away after {ATTEMPTS} attempts."
                    ));
                    return;
                }
            }
        }
    }
}

/// Adds to a taken port which flag helps, with a value that would work now.
fn explain(error: ClusterError, (ip, count): (IpAddr, usize)) -> Failure {
    let hint = match &error {
        ClusterError::PortTaken { address, .. } => {
            let works = |first: &u16| {
                consecutive(*first, count).is_some_and(|ports| {
                    ports
                        .iter()
                        .all(|port| TcpListener::bind((ip, *port)).is_ok())
                })
            };
            let nearby = (1..50).filter_map(|step| address.port().checked_add(step * 100));
            let example = nearby
                .into_iter()
                .find(works)
                .map(|port| format!(", for example --port {port}"));
            format!(
                ". End it, or choose other ports{}",
                example.unwrap_or_else(|| " with --port".into())
            )
        }
        _ => String::new(),
    };
    let mut failure = Failure::from(error);
    failure.message.push_str(&hint);
    failure
}

/// `count` ports from `first` on.
fn consecutive(first: u16, count: usize) -> Option<Vec<u16>> {
    let last = first.checked_add(u16::try_from(count).ok()?.checked_sub(1)?)?;
    Some((first..=last).collect())
}

/// Prints for people. What cannot be written is no reason to fall: the cluster has still to be ended in order.
fn say(text: &str) {
    let _ = output::print(format_args!("{text}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_consecutive_and_end_at_the_last_one() {
        assert_eq!(consecutive(8081, 3), Some(vec![8081, 8082, 8083]));
        assert_eq!(consecutive(65_535, 1), Some(vec![65_535]));
        assert_eq!(consecutive(65_535, 2), None);
    }

    #[test]
    fn a_taken_port_is_explained_with_a_flag_that_works() {
        let ip = IpAddr::from([127, 77, 1, 2]);
        let error = ClusterError::PortTaken {
            strategy: "sticky".into(),
            address: (ip, 8081).into(),
            owner: None,
            source: std::io::ErrorKind::AddrInUse.into(),
        };
        let blocked = TcpListener::bind((ip, 8183)).unwrap();
        let failure = explain(error, (ip, 3));
        drop(blocked);
        assert_eq!(failure.exit, Exit::NoCluster);
        assert!(
            failure
                .message
                .ends_with("or choose other ports, for example --port 8281"),
            "{}",
            failure.message
        );
    }
}
