//! The ways in which a store can fail, each done to a real one: how it begins, and how it ends.

use std::path::PathBuf;
use std::time::Duration;

use agent::{Agent, Ready};
use cluster::Cluster;

use crate::detour::Detour;
use crate::eventually;
use crate::impostor::{Impostor, Says};
use crate::store::Store;
use crate::wait_for_rotation;

const NEW_PASSWORD: &str = "changed-by-an-operator";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// SIGKILL.
    Killed,
    /// SIGSTOP: connections stay and even new ones are accepted, and nobody answers.
    Paused,
    /// `maxmemory` is used up, and `noeviction` forbids to make room.
    OutOfMemory,
    /// It has become a replica, of a master that is not there.
    ReadOnly,
    /// It wants a replica for each write (`min-replicas-to-write`) and has none.
    WithoutReplica,
    /// It cannot write a snapshot to its disk.
    UnableToSave,
    /// A replica that has lost its master and would rather say nothing than something stale.
    Stale,
    /// It was started again and reads its data.
    Loading,
    /// Each round trip takes 200 ms.
    SlowBy200Ms,
    /// Each round trip takes 2 s, which is longer than the deadline.
    SlowBy2S,
    /// A web server has its port.
    NotARedis,
    /// Something answers `+OK` to everything.
    Nonsense,
    /// Its password was changed, and the connections were closed.
    WrongPassword,
}

impl Failure {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::Killed,
        Self::Paused,
        Self::OutOfMemory,
        Self::ReadOnly,
        Self::WithoutReplica,
        Self::UnableToSave,
        Self::Stale,
        Self::Loading,
        Self::SlowBy200Ms,
        Self::SlowBy2S,
        Self::NotARedis,
        Self::Nonsense,
        Self::WrongPassword,
    ];

    /// What the documentation calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Paused => "paused",
            Self::OutOfMemory => "out of memory",
            Self::ReadOnly => "read-only",
            Self::WithoutReplica => "without its replica",
            Self::UnableToSave => "unable to save",
            Self::Stale => "stale replica",
            Self::Loading => "loading",
            Self::SlowBy200Ms => "slow by 200 ms",
            Self::SlowBy2S => "slow by 2 s",
            Self::NotARedis => "not a Redis",
            Self::Nonsense => "nonsense",
            Self::WrongPassword => "wrong password",
        }
    }

    /// Whether the nodes must stop taking requests for the strategy that needs the store. A store that reads still does
    /// most of what users want.
    pub fn takes_nodes_out(self) -> bool {
        !matches!(
            self,
            Self::OutOfMemory
                | Self::ReadOnly
                | Self::WithoutReplica
                | Self::UnableToSave
                | Self::SlowBy200Ms
        )
    }

    /// Settings of the nodes without which the failure would be another one.
    pub fn node_settings(self) -> Vec<String> {
        match self {
            // On a busy machine 200 ms become many more. The row is not about a deadline that is missed.
            Self::SlowBy200Ms => vec!["--store-timeout-ms=10000".to_owned()],
            _ => vec![],
        }
    }

    /// Makes it happen to the store of `cluster`, and returns when it has taken effect.
    pub async fn begin(self, cluster: &Cluster) -> Outage<'_> {
        let store = Store::of(cluster);
        let mut outage = Outage {
            failure: self,
            cluster,
            store,
            detour: None,
            impostor: None,
            next_life: None,
        };
        let store = &outage.store;
        match self {
            Self::Killed => store.kill().await,
            Self::Paused => store.agent.pause().await.expect("paused"),
            Self::OutOfMemory => {
                store.ask("CONFIG SET maxmemory-policy noeviction").await;
                store.ask("CONFIG SET maxmemory 1").await;
            }
            Self::ReadOnly => {
                store.ask("REPLICAOF 127.0.0.1 1").await;
            }
            Self::WithoutReplica => {
                store.ask("CONFIG SET min-replicas-to-write 1").await;
            }
            Self::UnableToSave => {
                std::fs::create_dir(snapshot(cluster)).expect("something in the snapshot's place");
                save(store, "err").await;
            }
            Self::Stale => {
                store.ask("CONFIG SET replica-serve-stale-data no").await;
                store.ask("REPLICAOF 127.0.0.1 1").await;
            }
            Self::Loading => outage.next_life = Some(load_for_long(store).await),
            Self::SlowBy200Ms => outage.lengthen(Duration::from_millis(200)).await,
            Self::SlowBy2S => outage.lengthen(Duration::from_secs(2)).await,
            Self::NotARedis => outage.replace(Says::Http).await,
            Self::Nonsense => outage.replace(Says::Ok).await,
            Self::WrongPassword => {
                store
                    .ask(&format!("CONFIG SET requirepass {NEW_PASSWORD}"))
                    .await;
                // A connection that has shown a password stays good, so nobody would notice before the next one.
                let closed = store.try_ask(NEW_PASSWORD, "CLIENT KILL TYPE normal");
                closed.await.expect("the store closes connections");
            }
        }
        outage
    }
}

/// A failure that goes on. Dropping it leaves the store as it is.
pub struct Outage<'a> {
    failure: Failure,
    cluster: &'a Cluster,
    store: Store<'a>,
    detour: Option<Detour>,
    impostor: Option<Impostor>,
    /// The store's process, where it is another one than the cluster's own.
    next_life: Option<Agent>,
}

impl Outage<'_> {
    /// Mends the store. It returns when the store is there again; the nodes may need a moment more.
    pub async fn end(&mut self) {
        let store = &self.store;
        match self.failure {
            Failure::Killed => store.agent.start().await.expect("started"),
            Failure::Paused => store.agent.resume().await.expect("resumed"),
            Failure::OutOfMemory => {
                store.ask("CONFIG SET maxmemory 0").await;
            }
            Failure::ReadOnly | Failure::Stale => {
                store.ask("REPLICAOF NO ONE").await;
            }
            Failure::WithoutReplica => {
                store.ask("CONFIG SET min-replicas-to-write 0").await;
            }
            Failure::UnableToSave => {
                std::fs::remove_dir(snapshot(self.cluster)).expect("room for the snapshot");
                save(store, "ok").await;
            }
            Failure::Loading => {
                store.ask("CONFIG SET key-load-delay 0").await;
            }
            Failure::SlowBy200Ms | Failure::SlowBy2S => {
                let detour = self.detour.as_ref();
                detour.expect("a detour").delay(Duration::ZERO);
            }
            Failure::NotARedis | Failure::Nonsense => {
                self.impostor = None;
                // The impostor's port is free a moment after it was dropped.
                eventually("the store has its port again", async || {
                    store.agent.start().await.ok()
                })
                .await;
            }
            Failure::WrongPassword => {
                let back = format!("CONFIG SET requirepass {}", store.password);
                let back = store.try_ask(NEW_PASSWORD, &back).await;
                back.expect("the store takes its old password back");
            }
        }
    }

    /// Puts a longer way before the store. To make room for it, the store moves to another port first.
    async fn lengthen(&mut self, round_trip: Duration) {
        let store = &self.store;
        store.kill().await;
        wait_for_rotation(self.cluster, "redis", false).await;
        let (moved, address) = store.elsewhere();
        moved.start().await.expect("the store starts elsewhere");
        let detour = Detour::start(store.address, address).await;
        let detour = detour.expect("the store's port");
        wait_for_rotation(self.cluster, "redis", true).await;
        detour.delay(round_trip);
        self.detour = Some(detour);
        self.next_life = Some(moved);
    }

    /// Puts something else in the store's place.
    async fn replace(&mut self, says: Says) {
        self.store.kill().await;
        let impostor = Impostor::start(self.store.address, says).await;
        self.impostor = Some(impostor.expect("the store's port"));
    }
}

/// Starts the store again in such a way that it needs a minute to read its data, and answers meanwhile.
async fn load_for_long(store: &Store<'_>) -> Agent {
    // Redis sleeps `key-load-delay` µs after each key, and looks at its connections once in so many bytes.
    store.ask("CONFIG SET rdbcompression no").await;
    let many = "for i=1,1000 do redis.call('SET','padding:'..i,string.rep('x',2048)) end return 1";
    let fill = ["EVAL", many, "0"];
    let filled = agent::resp::ask(store.address, Some(&store.password), &fill).await;
    filled.expect("the store is filled");
    store.ask("BGREWRITEAOF").await;
    eventually("the store has written its data down", async || {
        let info = store.ask("INFO persistence").await;
        let idle = ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
        idle.iter().all(|line| info.contains(line)).then_some(())
    })
    .await;
    store.kill().await;
    let slowly = [
        "--key-load-delay",
        "60000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let next = store.next_life(&slowly, Ready::Started);
    next.start().await.expect("started");
    eventually("the store says that it is loading", async || {
        let refused = store.try_ask(&store.password, "PING").await.err()?;
        refused.to_string().starts_with("LOADING").then_some(())
    })
    .await;
    next
}

fn snapshot(cluster: &Cluster) -> PathBuf {
    cluster.dir().join("redis").join("dump.rdb")
}

/// Makes the store write a snapshot, and waits for the outcome. It refuses writes after one that failed.
async fn save(store: &Store<'_>, outcome: &str) {
    // Only a store that is to save from time to time cares.
    let rule = ["CONFIG", "SET", "save", "3600 1"];
    let set = agent::resp::ask(store.address, Some(&store.password), &rule).await;
    set.expect("the store does as it is told");
    store.ask("BGSAVE").await;
    let line = format!("rdb_last_bgsave_status:{outcome}");
    eventually("the store has tried to save", async || {
        let info = store.ask("INFO persistence").await;
        (info.contains(&line) && info.contains("rdb_bgsave_in_progress:0")).then_some(())
    })
    .await;
}
