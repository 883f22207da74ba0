//! What a failover costs: `cargo bench -p session --bench sentinel -- tuned 3` (or `defaults`, or `lagging`).
//!
//! A master, two replicas, three Sentinels, one node; 320 logins and 160 logouts a second are asked for, five seconds before
//! the master gets SIGKILL until five seconds after the node is served again. Then every login and every logout that was
//! acknowledged is looked up. `tuned` and `defaults` are the Sentinels' time limits; `lagging` is `tuned` with
//! replicas that are told everything 50 ms late.
//!
//! Caveats first. All processes share one machine, and what a killed process has given to the kernel still reaches the
//! replicas: with a machine that dies, or a network, replicas are behind, which `lagging` imitates. A process that
//! is killed is noticed by everybody at once; a machine that vanishes only by time limits.
#![allow(
    clippy::unwrap_used,
    reason = "a bench may stop on the spot, as a test may"
)]

#[path = "../tests/support/sentinel.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use session::redis::{Redis, Settings};
use session::{Clock, Credential, Error, Strategy};
use support::{Timing, Watched, patiently};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, sleep_until};

const USERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(25);
const BEFORE_AND_AFTER: Duration = Duration::from_secs(5);
const LAG: Duration = Duration::from_millis(50);
const WITH_LAG: Duration = Duration::from_secs(1);

const TUNED: Timing = Timing {
    down_after_ms: 1_000,
    failover_timeout_ms: 5_000,
};
const DEFAULTS: Timing = Timing {
    down_after_ms: 30_000,
    failover_timeout_ms: 180_000,
};

/// One login, and perhaps its logout.
struct Login {
    credential: Credential,
    asked: Instant,
    acknowledged: Instant,
    /// Whether it was acknowledged.
    logout: Option<bool>,
}

#[derive(Default)]
struct Seen {
    logins: Vec<Login>,
    /// When calls were asked that failed.
    failures: Vec<Instant>,
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words = words.iter().filter(|word| !word.starts_with("--"));
    let name = words.next().map_or("tuned", |word| &**word);
    let rounds = words.next().map_or(1, |word| word.parse().unwrap());
    let timing = match name {
        "tuned" | "lagging" => TUNED,
        "defaults" => DEFAULTS,
        _ => panic!("tuned, defaults or lagging, and how many rounds"),
    };
    println!(
        "cargo bench -p session --bench sentinel -- {name} {rounds}   (caveats: at the top of its source)"
    );
    println!(
        "down-after {} ms, failover-timeout {} ms, replicas {}",
        timing.down_after_ms,
        timing.failover_timeout_ms,
        if name == "lagging" {
            "50 ms late"
        } else {
            "at hand"
        }
    );
    println!(
        "{:>5}  {:>14} {:>13}  {:>16} {:>16}",
        "round", "unavailable, s", "failed calls", "logins lost", "logouts undone"
    );
    for round in 1..=rounds {
        one(round, timing, name == "lagging").await;
    }
}

async fn one(round: u32, timing: Timing, lagging: bool) {
    let mut watched = Watched::start(timing).await;
    let settings = Settings {
        url: watched.url(),
        password: None,
        deadline: Duration::from_millis(900),
        idle: Duration::from_mins(30),
        absolute: Duration::from_hours(12),
        max_lines: 200,
    };
    let node = Arc::new(Redis::connect(settings, Clock::system()).unwrap());
    patiently("the node is ready", async || node.ready().await.is_ok()).await;

    let goes_on = Arc::new(AtomicBool::new(true));
    let users: Vec<_> = (0..USERS)
        .map(|user| tokio::spawn(log_in_and_out(user, node.clone(), goes_on.clone())))
        .collect();
    sleep(BEFORE_AND_AFTER).await;
    if lagging {
        lag(&watched).await;
        sleep(WITH_LAG).await;
    }
    let old = watched.stores[0].address;
    let killed = Instant::now();
    watched.stores[0].kill();
    patiently("there is another master", async || {
        watched.master().is_some_and(|new| new.address != old)
    })
    .await;
    patiently("the node writes to it", async || {
        node.login("somebody", None).await.is_ok()
    })
    .await;
    sleep(BEFORE_AND_AFTER).await;
    goes_on.store(false, Ordering::Relaxed);
    let mut all = Seen::default();
    for user in users {
        let seen = user.await.unwrap();
        all.logins.extend(seen.logins);
        all.failures.extend(seen.failures);
    }

    let after = all.logins.iter().filter(|login| login.asked > killed);
    let first = after.map(|login| login.acknowledged).min().unwrap();
    let (mut kept, mut lost, mut dead, mut undone) = (0, 0, 0, 0);
    for login in &all.logins {
        let lives = match node.authenticate(&login.credential).await {
            Ok(_) => true,
            Err(Error::NotLoggedIn { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        match (login.logout, lives) {
            (None, true) => kept += 1,
            (None, false) => lost += 1,
            (Some(true), false) => dead += 1,
            (Some(true), true) => undone += 1,
            // Nobody was told anything.
            (Some(false), _) => {}
        }
    }
    let logins = format!("{lost} of {}", kept + lost);
    let logouts = format!("{undone} of {}", dead + undone);
    println!(
        "{round:>5}  {:>14.2} {:>13}  {logins:>16} {logouts:>16}",
        (first - killed).as_secs_f64(),
        all.failures.iter().filter(|asked| **asked > killed).count()
    );
}

/// Logs in at each tick, and out of every second of these sessions a tick later.
async fn log_in_and_out(user: usize, node: Arc<Redis>, goes_on: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0.. {
        ticks.tick().await;
        if !goes_on.load(Ordering::Relaxed) {
            break;
        }
        let previous = seen
            .logins
            .last_mut()
            .filter(|login| login.logout.is_none());
        if tick % 2 == 0
            && let Some(previous) = previous
        {
            let asked = Instant::now();
            let answer = node.logout(&previous.credential).await;
            previous.logout = Some(answer.is_ok());
            seen.failures.extend(answer.is_err().then_some(asked));
        }
        let asked = Instant::now();
        match node
            .login(&format!("user-{user}-{}", tick % 100), None)
            .await
        {
            Ok(granted) => seen.logins.push(Login {
                credential: granted.reissued.unwrap(),
                asked,
                acknowledged: Instant::now(),
                logout: None,
            }),
            Err(_) => seen.failures.push(asked),
        }
    }
    seen
}

/// Lets both replicas follow through a detour on which everything takes longer. Sentinels put that right after
/// `failover-timeout`, by when the master is dead.
async fn lag(watched: &Watched) {
    let (master, replicas) = watched.stores.split_first().unwrap();
    for replica in replicas {
        let listener = TcpListener::bind((master.address.ip(), 0)).await.unwrap();
        let detour = listener.local_addr().unwrap();
        tokio::spawn(delay(listener, master.address));
        let port = detour.port().to_string();
        replica.ask(&["REPLICAOF", &detour.ip().to_string(), &port]);
    }
    patiently("both replicas follow again", async || {
        let info = master.ask(&["INFO", "replication"]);
        info.matches("state=online").count() == 2
            && replicas.iter().all(|one| {
                let info = one.ask(&["INFO", "replication"]);
                info.contains("master_link_status:up")
            })
    })
    .await;
}

/// Hands connections on, what the master says 50 ms late. What is on its way when the master dies is lost.
async fn delay(listener: TcpListener, master: SocketAddr) {
    loop {
        let (replica, _) = listener.accept().await.unwrap();
        let Ok(master) = TcpStream::connect(master).await else {
            continue;
        };
        tokio::spawn(async move {
            let (mut from_replica, mut to_replica) = replica.into_split();
            let (mut from_master, mut to_master) = master.into_split();
            let (sender, mut late) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
            let deliver = async {
                while let Some((due, bytes)) = late.recv().await {
                    sleep_until(due).await;
                    to_replica.write_all(&bytes).await?;
                }
                std::io::Result::Ok(())
            };
            let collect = async {
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    match from_master.read(&mut buffer).await? {
                        0 => return std::io::Result::Ok(()),
                        read => {
                            let _ = sender.send((Instant::now() + LAG, buffer[..read].to_vec()));
                        }
                    }
                }
            };
            // The first that ends ends all.
            tokio::select! {
                _ = deliver => {}
                _ = collect => {}
                _ = tokio::io::copy(&mut from_replica, &mut to_master) => {}
            }
        });
    }
}
