//! `redis` with a master that moves: real Sentinels and real failovers, and Sentinels that lie.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use session::redis::{Redis, Settings};
use session::{Clock, Credential, Error, Strategy};
use tokio::task::JoinHandle;

use support::sentinel::{Server, WHEN_ASKED, Watched, patiently};
use support::store::Store;
use support::{ABSOLUTE, Client, DEADLINE, IDLE, MAX_LINES, ready};

fn node(url: &str) -> Redis {
    let settings = Settings {
        url: url.to_owned(),
        password: None,
        deadline: DEADLINE,
        idle: IDLE,
        absolute: ABSOLUTE,
        max_lines: MAX_LINES,
    };
    Redis::connect(settings, Clock::system()).unwrap()
}

async fn why_not_ready(node: &Redis) -> String {
    match node.ready().await {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// Users who log in all the time, and what they were told.
struct Load {
    acknowledged: Arc<Mutex<Vec<Credential>>>,
    goes_on: Arc<AtomicBool>,
    users: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(node: &Arc<Redis>) -> Self {
        let acknowledged = Arc::default();
        let goes_on = Arc::new(AtomicBool::new(true));
        let users = (0..4).map(|user| {
            let (node, goes_on) = (node.clone(), goes_on.clone());
            let acknowledged: Arc<Mutex<Vec<_>>> = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                while goes_on.load(Ordering::Relaxed) {
                    if let Ok(granted) = node.login(&format!("user-{user}"), None).await {
                        acknowledged.lock().unwrap().push(granted.reissued.unwrap());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        Self {
            users: users.collect(),
            acknowledged,
            goes_on,
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits for twenty more that are acknowledged, and tells how many there were before.
    async fn is_served(&self) -> usize {
        let before = self.count();
        patiently("logins are acknowledged", async || {
            self.count() >= before + 20
        })
        .await;
        before
    }

    async fn end(self) -> Vec<Credential> {
        self.goes_on.store(false, Ordering::Relaxed);
        for user in self.users {
            user.await.unwrap();
        }
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

async fn all_are_logged_in(node: &Redis, logins: &[Credential]) {
    for credential in logins {
        node.authenticate(credential).await.unwrap();
    }
}

fn first(watched: &Watched) -> &Server {
    &watched.stores[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_replaced_and_never_asked_again() {
    let mut watched = Watched::start(WHEN_ASKED).await;
    let node = Arc::new(node(&watched.url()));
    ready(&*node).await;
    let load = Load::start(&node);
    load.is_served().await;

    let old = first(&watched).address;
    watched.stores[0].kill();
    watched.failed_over(old).await;
    let first_on_the_new = load.is_served().await;
    node.ready().await.unwrap();

    // It comes back as the master that it was, until a Sentinel tells it what it is now.
    watched.stores[0].start_again().await;
    patiently("the old master follows the new one", async || {
        first(&watched).is("slave")
    })
    .await;
    load.is_served().await;
    assert_eq!(first(&watched).scripts(), 0);
    let logins = load.end().await;
    all_are_logged_in(&node, &logins[first_on_the_new..]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_master_is_replaced_and_takes_nothing_when_it_goes_on() {
    let watched = Watched::start(WHEN_ASKED).await;
    let node = Arc::new(node(&watched.url()));
    ready(&*node).await;
    let load = Load::start(&node);
    load.is_served().await;

    let old = first(&watched);
    old.stop();
    watched.failed_over(old.address).await;
    let first_on_the_new = load.is_served().await;

    old.go_on();
    patiently("the old master answers", async || {
        old.is("master") || old.is("slave")
    })
    .await;
    // What had been sent before is answered by now, to nobody.
    let scripts = old.scripts();
    load.is_served().await;
    patiently("the old master follows the new one", async || {
        old.is("slave")
    })
    .await;
    load.is_served().await;
    assert_eq!(old.scripts(), scripts);
    let logins = load.end().await;
    all_are_logged_in(&node, &logins[first_on_the_new..]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_an_operator_moves_is_followed() {
    let watched = Watched::start(WHEN_ASKED).await;
    let node = node(&watched.url());
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    let old = first(&watched).address;
    watched.sentinels[0].ask(&["SENTINEL", "FAILOVER", "lab"]);
    watched.failed_over(old).await;
    patiently("the node writes to the new master", async || {
        node.login("bob", None).await.is_ok()
    })
    .await;
    assert!(alice.is_logged_in(&node).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sentinels_the_master_that_works_is_kept() {
    let mut watched = Watched::start(WHEN_ASKED).await;
    let node = node(&watched.url());
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    for sentinel in &mut watched.sentinels {
        sentinel.kill();
    }
    // In the place of one of them stands somebody who says nothing: three times the node has asked in vain.
    let nobody = TcpListener::bind(watched.sentinels[0].address).unwrap();
    tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            nobody.accept().unwrap();
        }
    })
    .await
    .unwrap();
    node.ready().await.unwrap();
    assert!(alice.is_logged_in(&node).await);
    Client::login(&node, "bob").await;
}

#[tokio::test]
async fn without_any_sentinel_a_node_says_why_it_is_not_ready() {
    let [one, two, three] = [Store::announced(), Store::announced(), Store::announced()];
    let url = format!(
        "redis+sentinel://:secret@{},{},{}/lab",
        one.0, two.0, three.0
    );
    let node = node(&url);
    patiently("the node says why", async || {
        why_not_ready(&node)
            .await
            .contains("none of 3 Sentinels said where the master lab is")
    })
    .await;
    let why = why_not_ready(&node).await;
    assert!(
        why.contains(&one.0.to_string()) && !why.contains("secret"),
        "{why}"
    );
    assert!(matches!(
        node.login("alice", None).await,
        Err(Error::StoreUnavailable { .. })
    ));
}

/// A Sentinel without a password that says what the test wants.
struct Liar {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

/// What a Sentinel answers: the master, and the epoch of that configuration, after a while; or nothing at all.
#[derive(Clone, Copy)]
struct Says {
    master: Option<(SocketAddr, u64)>,
    after: Duration,
}

impl Liar {
    fn start(master: SocketAddr, epoch: u64) -> Self {
        let (address, _) = Store::announced();
        let listener = TcpListener::bind(address).unwrap();
        let says = Arc::new(Mutex::new(Says {
            master: Some((master, epoch)),
            after: Duration::ZERO,
        }));
        let told = says.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    let Says { master, after } = *told.lock().unwrap();
                    let Some((master, epoch)) = master else {
                        break;
                    };
                    let words = match &*line {
                        "MASTER" => ["config-epoch".to_owned(), epoch.to_string()],
                        "GET-MASTER-ADDR-BY-NAME" => {
                            [master.ip().to_string(), master.port().to_string()]
                        }
                        _ => continue,
                    };
                    std::thread::sleep(after);
                    let items = words.map(|word| format!("${}\r\n{word}\r\n", word.len()));
                    let _ = (&stream).write_all(format!("*2\r\n{}", items.concat()).as_bytes());
                }
            }
        });
        Self { address, says }
    }

    fn says(&self, master: &Store, epoch: u64) {
        self.says.lock().unwrap().master = Some((master.address(), epoch));
    }

    fn says_nothing(&self) {
        self.says.lock().unwrap().master = None;
    }

    fn is_slow(&self, after: Duration) {
        self.says.lock().unwrap().after = after;
    }
}

fn url(liars: &[&Liar]) -> String {
    let hosts: Vec<String> = liars.iter().map(|one| one.address.to_string()).collect();
    format!("redis+sentinel://:only-for-tests@{}/lab", hosts.join(","))
}

#[tokio::test]
async fn the_newest_configuration_is_followed_although_the_old_master_works() {
    let (old, new) = (Store::start(), Store::start());
    let [a, b, c] = [(); 3].map(|()| Liar::start(old.address(), 1));
    let node = node(&url(&[&a, &b, &c]));
    ready(&node).await;
    Client::login(&node, "alice").await;
    assert!(!old.keys("*").is_empty() && new.keys("*").is_empty());

    // Two know of the failover; whichever two answer first, one of them does. The third was asleep.
    a.says(&new, 2);
    b.says(&new, 2);
    patiently("the node writes to the new master", async || {
        node.login("bob", None).await.is_ok() && !new.keys("*").is_empty()
    })
    .await;
    let before = old.keys("*");
    for _ in 0..20 {
        let _ = node.login("carol", None).await;
    }
    assert_eq!(old.keys("*").len(), before.len());
}

#[tokio::test]
async fn a_sentinel_that_knows_more_is_waited_for() {
    let (old, new) = (Store::start(), Store::start());
    let [a, b, c] = [(); 3].map(|()| Liar::start(old.address(), 1));
    c.says(&new, 2);
    c.is_slow(DEADLINE / 10);
    let node = node(&url(&[&a, &b, &c]));
    ready(&node).await;
    Client::login(&node, "alice").await;
    assert!(old.keys("*").is_empty() && !new.keys("*").is_empty());
}

/// Three Sentinels, two stores that both call themselves a master, and a node that has followed the second one.
async fn moved_on() -> (Store, Store, [Liar; 3], Redis) {
    let (old, new) = (Store::start(), Store::start());
    let liars = [(); 3].map(|()| Liar::start(old.address(), 1));
    let node = node(&url(&[&liars[0], &liars[1], &liars[2]]));
    ready(&node).await;
    liars[2].says(&new, 2);
    patiently("the node writes to the new master", async || {
        node.login("alice", None).await.is_ok() && !new.keys("*").is_empty()
    })
    .await;
    (old, new, liars, node)
}

#[tokio::test]
async fn a_node_never_goes_back_to_an_older_configuration() {
    let (old, new, [_, _, c], node) = moved_on().await;
    let before = old.commands();
    // The only Sentinel that knows of the failover is away, and the connection to the new master breaks.
    c.says_nothing();
    for _ in 0..5 {
        new.ask::<()>("CLIENT KILL TYPE normal");
        patiently("logins are acknowledged", async || {
            node.login("bob", None).await.is_ok()
        })
        .await;
    }
    assert_eq!(old.commands(), before);
    // One that says the same of another master, in a configuration that is no newer, is not believed either.
    c.says(&old, 2);
    new.ask::<()>("CLIENT KILL TYPE normal");
    patiently("logins are acknowledged", async || {
        node.login("bob", None).await.is_ok()
    })
    .await;
    assert_eq!(old.commands(), before);
}

#[tokio::test]
async fn sentinels_that_begin_anew_are_followed_once_all_of_them_have_agreed_for_a_while() {
    let (old, new, [_, b, c], node) = moved_on().await;
    // An operator has set all of them up again: their count begins at 0.
    c.says(&old, 1);
    let before = new.commands();
    node.login("bob", None).await.unwrap();
    assert!(new.commands() > before, "not at the first word of it");
    let before = old.commands();
    b.says_nothing();
    new.ask::<()>("CLIENT KILL TYPE normal");
    ready(&node).await;
    assert_eq!(old.commands(), before, "not while one of them is away");
    b.says(&old, 1);
    patiently("the node writes to where all of them point", async || {
        node.login("bob", None).await.is_ok() && old.commands() > before
    })
    .await;
}

#[tokio::test]
async fn what_calls_itself_a_replica_is_no_master_whoever_says_so() {
    let store = Store::start();
    let only = Liar::start(store.address(), 1);
    let node = node(&url(&[&only]));
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;

    // Reads would still be answered; a refused write tells that the master is elsewhere.
    store.ask::<()>("REPLICAOF 127.0.0.1 1");
    assert!(node.login("bob", None).await.is_err());
    patiently("the node says why", async || {
        why_not_ready(&node).await.contains("calls itself slave")
    })
    .await;
    assert!(node.authenticate(&alice.credential).await.is_err());
    store.ask::<()>("REPLICAOF NO ONE");
    ready(&node).await;
    assert!(alice.is_logged_in(&node).await);
}

#[tokio::test]
async fn a_replica_is_noticed_without_a_write() {
    let store = Store::start();
    let only = Liar::start(store.address(), 1);
    let node = node(&url(&[&only]));
    ready(&node).await;
    store.ask::<()>("REPLICAOF 127.0.0.1 1");
    patiently("the node says why", async || {
        why_not_ready(&node).await.contains("calls itself slave")
    })
    .await;
}
