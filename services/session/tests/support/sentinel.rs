//! A master, two replicas and three Sentinels of a test's own, on a loopback address that no other test uses.
//!
//! Two replicas, because the master takes no writes without one (`min-replicas-to-write 1`): after a failover the new
//! master still has the other one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

const PASSWORD: &str = "only-for-tests";
const MASTER: &str = "lab";

/// How soon Sentinels act.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) down_after_ms: u64,
    /// After how long another try is made, where one came to nothing.
    pub(crate) failover_timeout_ms: u64,
}

/// What tests use: no hiccup of a busy machine moves the master, only [`Watched::failed_over`] does.
pub(crate) const WHEN_ASKED: Timing = Timing {
    down_after_ms: 600_000,
    failover_timeout_ms: 2_000,
};
/// For how long a master may say nothing while a test waits for its failover.
const SOON_MS: u64 = 500;

/// One `redis-server`, as a store or as a Sentinel. Dies with its owner.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    config: std::path::PathBuf,
    is_sentinel: bool,
}

/// All of them.
pub(crate) struct Watched {
    /// The first one began as the master.
    pub(crate) stores: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
    _folder: TempDir,
}

impl Watched {
    /// Starts all and waits until the Sentinels know each other and both replicas.
    pub(crate) async fn start(timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addresses = free_addresses();
        let master = addresses[0];
        let stores: Vec<Server> = addresses[..3]
            .iter()
            .map(|at| Server::start(&folder, *at, &store_config(*at, master), false))
            .collect();
        for store in &stores {
            store.answers().await;
        }
        patiently("both replicas follow", async || {
            stores[0]
                .ask(&["INFO", "replication"])
                .matches("state=online")
                .count()
                == 2
        })
        .await;
        let sentinels: Vec<Server> = addresses[3..]
            .iter()
            .map(|at| Server::start(&folder, *at, &sentinel_config(*at, master, timing), true))
            .collect();
        for sentinel in &sentinels {
            sentinel.answers().await;
        }
        patiently(
            "the Sentinels know each other and the replicas",
            async || {
                sentinels.iter().all(|one| {
                    one.field("num-slaves") == "2" && one.field("num-other-sentinels") == "2"
                })
            },
        )
        .await;
        Self {
            stores,
            sentinels,
            _folder: folder,
        }
    }

    /// Waits until another than `old`, which is dead or about to go, is the master.
    pub(crate) async fn failed_over(&self, old: SocketAddr) {
        self.miss_a_master_after(SOON_MS);
        patiently("there is another master", async || {
            self.master().is_some_and(|new| new.address != old)
        })
        .await;
        self.miss_a_master_after(WHEN_ASKED.down_after_ms);
    }

    fn miss_a_master_after(&self, ms: u64) {
        for sentinel in &self.sentinels {
            let order = ["SENTINEL", "SET", MASTER, "down-after-milliseconds"];
            sentinel.ask(&[&order[..], &[&ms.to_string()]].concat());
        }
    }

    /// Where clients look for the master. Holds the password.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|one| one.address.to_string())
            .collect();
        format!("redis+sentinel://:{PASSWORD}@{}/{MASTER}", hosts.join(","))
    }

    /// The store that calls itself a master, and that most Sentinels call so.
    pub(crate) fn master(&self) -> Option<&Server> {
        let is_named = |store: &&Server| {
            let port = store.address.port().to_string();
            let named = self
                .sentinels
                .iter()
                .filter(|one| one.field("port") == port);
            named.count() * 2 > self.sentinels.len()
        };
        self.stores
            .iter()
            .find(is_named)
            .filter(|store| store.is("master"))
    }
}

impl Server {
    fn start(folder: &TempDir, address: SocketAddr, config: &str, is_sentinel: bool) -> Self {
        let own = folder.path().join(address.port().to_string());
        std::fs::create_dir(&own).unwrap();
        let file = own.join("redis.conf");
        std::fs::write(&file, format!("{config}dir {}\n", own.display())).unwrap();
        let process = spawn(&file, is_sentinel);
        Self {
            process,
            address,
            config: file,
            is_sentinel,
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it with the configuration that it had (and, as Redis does, has rewritten).
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(&self.config, self.is_sentinel);
        self.answers().await;
    }

    /// SIGSTOP: connections stay, the kernel even accepts new ones, and nobody answers.
    pub(crate) fn stop(&self) {
        kill_process(Pid::from_child(&self.process), Signal::STOP).unwrap();
    }

    pub(crate) fn go_on(&self) {
        kill_process(Pid::from_child(&self.process), Signal::CONT).unwrap();
    }

    async fn answers(&self) {
        patiently("the server answers", async || {
            self.try_ask(&["PING"]).is_ok()
        })
        .await;
    }

    pub(crate) fn is(&self, role: &str) -> bool {
        let answer = self.query::<Vec<redis::Value>>(&["ROLE"]);
        let word = answer.ok().and_then(|answer| answer.into_iter().next());
        matches!(word, Some(redis::Value::BulkString(word)) if word == role.as_bytes())
    }

    /// How many scripts clients had run here. (What a master hands on to its replicas are their effects.)
    pub(crate) fn scripts(&self) -> u64 {
        let stats = self.ask(&["INFO", "commandstats"]);
        let calls = |line: &str| {
            let name = line.strip_prefix("cmdstat_eval")?;
            let (_, calls) = name.split_once(":calls=")?;
            calls.split(',').next()?.parse::<u64>().ok()
        };
        stats.lines().filter_map(calls).sum()
    }

    /// A field of what a Sentinel knows about the master; empty when it cannot be asked.
    pub(crate) fn field(&self, name: &str) -> String {
        let answer = self
            .query::<std::collections::HashMap<String, String>>(&["SENTINEL", "MASTER", MASTER]);
        answer
            .ok()
            .and_then(|mut fields| fields.remove(name))
            .unwrap_or_default()
    }

    /// Sends one command, and hands back the text of its answer.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap()
    }

    fn try_ask(&self, words: &[&str]) -> redis::RedisResult<String> {
        match self.query::<redis::Value>(words)? {
            redis::Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            redis::Value::VerbatimString { text, .. } => Ok(text),
            other => Ok(format!("{other:?}")),
        }
    }

    fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://:{PASSWORD}@{}", self.address))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query(&mut connection)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already; SIGKILL ends a stopped process too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As `until`, for what takes Sentinels a while: one that did not run for two seconds trusts nobody for thirty.
pub(crate) async fn patiently(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..6_000 {
        if condition().await {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("still not so: {what}");
}

/// Three for stores and three for Sentinels.
fn free_addresses() -> Vec<SocketAddr> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).unwrap();
    let ip = Ipv4Addr::new(127, random[0], random[1], random[2].clamp(1, 254));
    let held: Vec<TcpListener> = (0..6)
        .map(|_| TcpListener::bind((ip, 0)).unwrap())
        .collect();
    held.iter().map(|one| one.local_addr().unwrap()).collect()
}

/// Addresses are told, not guessed: within loopback all connections come from 127.0.0.1.
fn store_config(at: SocketAddr, master: SocketAddr) -> String {
    let (ip, port) = (at.ip(), at.port());
    // The first master is never chosen again: whatever runs there after a failover was sent to the wrong one.
    let follows = if at == master {
        "replica-priority 0\n".to_owned()
    } else {
        format!("replicaof {} {}\n", master.ip(), master.port())
    };
    format!(
        "bind {ip}\nport {port}\nreplica-announce-ip {ip}\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n{follows}\
         appendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\nrepl-diskless-sync-delay 0\n\
         min-replicas-to-write 1\nmin-replicas-max-lag 10\n"
    )
}

fn sentinel_config(at: SocketAddr, master: SocketAddr, timing: Timing) -> String {
    let Timing {
        down_after_ms,
        failover_timeout_ms,
    } = timing;
    format!(
        "bind {ip}\nport {port}\nsentinel announce-ip {ip}\nrequirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n\
         sentinel monitor {MASTER} {} {} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n\
         sentinel down-after-milliseconds {MASTER} {down_after_ms}\n\
         sentinel failover-timeout {MASTER} {failover_timeout_ms}\n",
        master.ip(),
        master.port(),
        ip = at.ip(),
        port = at.port(),
    )
}

fn spawn(config: &std::path::Path, is_sentinel: bool) -> Child {
    let mut server = Command::new("redis-server");
    server.arg(config);
    if is_sentinel {
        server.arg("--sentinel");
    }
    let log = std::fs::File::create(config.with_extension("log")).unwrap();
    server
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("redis-server cannot be started ({error}); these tests need it: apt install redis-server")
        })
}
