//! What happens to `redis` while its store is away, hangs, is full, forgets its scripts or turns read-only.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use session::redis::{Password, Redis, Settings};
use session::{Change, Clock, Error, Strategy};

use support::store::Store;
use support::{ABSOLUTE, Client, DEADLINE, IDLE, Lab, MAX_LINES, add, ready, redis_node, until};

fn settings(url: String) -> Settings {
    Settings {
        url,
        password: None,
        deadline: DEADLINE,
        idle: IDLE,
        absolute: ABSOLUTE,
        max_lines: MAX_LINES,
    }
}

/// A password that never changes.
fn said(password: &str) -> Password {
    let password = password.to_owned();
    Arc::new(move || Ok(password.clone()))
}

fn calls(node: &dyn Strategy) -> u64 {
    node.store_use().unwrap().calls
}

fn is_unavailable<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::StoreUnavailable { .. }))
}

#[tokio::test]
async fn a_node_that_starts_before_its_store_serves_when_the_store_comes() {
    let (address, url) = Store::announced();
    let node = Redis::connect(settings(url), Clock::system()).unwrap();
    assert!(is_unavailable(&node.ready().await));
    assert!(is_unavailable(&node.login("alice", None).await));
    let _store = Store::start_at(address);
    ready(&node).await;
    assert!(
        Client::login(&node, "alice")
            .await
            .is_logged_in(&node)
            .await
    );
}

#[tokio::test]
async fn learning_the_scripts_is_no_error() {
    let store = Store::start();
    let node = Redis::connect(settings(store.url()), Clock::system()).unwrap();
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    assert!(alice.is_logged_in(&node).await);
    let usage = node.store_use().unwrap();
    assert!(usage.calls > 2, "nothing had to be learned");
    assert_eq!(usage.errors, 0);
}

#[tokio::test]
async fn a_malformed_url_is_refused_at_once_and_not_repeated() {
    for url in [
        "",
        "redis",
        "http://:secret@127.0.0.1",
        "redis://:secret@:x",
    ] {
        let error = Redis::connect(settings(url.to_owned()), Clock::system()).err();
        assert!(!error.unwrap().to_string().contains("secret"), "{url}");
    }
}

#[tokio::test]
async fn a_wrong_password_makes_no_node_ready_and_is_not_repeated() {
    let store = Store::start();
    let url = store.url().replace("only-for-tests", "wrong-secret");
    let node = Redis::connect(settings(url), Clock::system()).unwrap();
    // The keeper has tried when the store has counted a refusal.
    until("the store has refused a password", async || {
        store
            .ask::<String>("INFO errorstats")
            .contains("errorstat_WRONGPASS")
    })
    .await;
    let Err(error) = node.ready().await else {
        panic!("ready without a password");
    };
    assert!(!error.to_string().contains("wrong-secret"));
}

#[tokio::test]
async fn a_password_beside_the_url_opens_the_store() {
    let store = Store::start();
    let url = store.url().replace(":only-for-tests@", "");
    let with = |password: &str| Settings {
        password: Some(said(password)),
        ..settings(url.clone())
    };
    let node = Redis::connect(with("only-for-tests"), Clock::system()).unwrap();
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    assert!(alice.is_logged_in(&node).await);
    let node = Redis::connect(with("wrong-secret"), Clock::system()).unwrap();
    until("the store has refused a password", async || {
        store
            .ask::<String>("INFO errorstats")
            .contains("errorstat_WRONGPASS")
    })
    .await;
    assert!(is_unavailable(&node.ready().await));
}

#[tokio::test]
async fn a_password_that_was_changed_is_shown_at_the_next_connection() {
    let store = Store::start();
    let (address, now) = (
        store.address(),
        Arc::new(Mutex::new("only-for-tests".to_owned())),
    );
    let told = now.clone();
    let node = Redis::connect(
        Settings {
            password: Some(Arc::new(move || Ok(told.lock().unwrap().clone()))),
            ..settings(format!("redis://{address}"))
        },
        Clock::system(),
    )
    .unwrap();
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    // Two are valid for a while, then the old one is gone, and with it every connection.
    store.ask::<()>("ACL SETUSER default >changed");
    store.ask::<()>("ACL SETUSER default <only-for-tests");
    let client = redis::Client::open(format!("redis://:changed@{address}")).unwrap();
    let mut connection = client.get_connection().unwrap();
    let kill = || {
        redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal"])
            .clone()
    };
    kill().exec(&mut connection).unwrap();
    until("the node knows", async || node.ready().await.is_err()).await;
    assert!(is_unavailable(&node.authenticate(&alice.credential).await));
    *now.lock().unwrap() = "changed".to_owned();
    ready(&node).await;
    assert!(alice.is_logged_in(&node).await);
}

#[tokio::test]
async fn a_store_that_was_killed_costs_no_session_and_no_line() {
    let mut lab = Lab::redis().ready().await;
    let mut client = Client::login(&*lab.a, "alice").await;
    client.change(&*lab.a, add("a")).await.unwrap();

    let store = lab.store.as_mut().unwrap();
    store.kill();
    let refused = lab.a.authenticate(&client.credential).await;
    assert!(is_unavailable(&refused));
    until("the node knows", async || lab.a.ready().await.is_err()).await;
    let before = calls(&*lab.a);
    assert!(is_unavailable(&lab.a.cart(&client.credential).await));
    assert!(is_unavailable(&lab.a.revoke("alice").await));
    assert_eq!(calls(&*lab.a), before, "nothing is tried while it is down");

    // The scripts are gone with the process; the sessions are on its disk.
    store.start_again();
    ready(&*lab.a).await;
    let cart = lab.a.cart(&client.credential).await.unwrap().value;
    assert_eq!(cart.lines.len(), 1);
    client.change(&*lab.a, add("b")).await.unwrap();
}

#[tokio::test]
async fn a_store_that_restarts_while_nobody_asks_is_noticed() {
    let mut lab = Lab::redis().ready().await;
    let client = Client::login(&*lab.a, "alice").await;
    lab.store.as_mut().unwrap().kill();
    until("the node knows", async || lab.a.ready().await.is_err()).await;
    lab.store.as_mut().unwrap().start_again();
    ready(&*lab.a).await;
    assert!(client.is_logged_in(&*lab.a).await);
}

#[tokio::test]
async fn a_store_that_hangs_costs_one_deadline_and_not_one_each() {
    let lab = Lab::redis().ready().await;
    let client = Client::login(&*lab.a, "alice").await;
    let before = lab.a.store_use().unwrap();
    let store = lab.store.as_ref().unwrap();
    store.stop();

    let late = lab.a.authenticate(&client.credential).await;
    assert!(is_unavailable(&late));
    for _ in 0..100 {
        assert!(is_unavailable(&lab.a.cart(&client.credential).await));
    }
    let after = lab.a.store_use().unwrap();
    assert_eq!(after.calls - before.calls, 1);
    assert_eq!(after.errors - before.errors, 1);
    let waited_us = u128::from(after.wait_us - before.wait_us);
    assert!(waited_us >= DEADLINE.as_micros());
    assert!(lab.a.ready().await.is_err());

    store.go_on();
    ready(&*lab.a).await;
    assert!(client.is_logged_in(&*lab.a).await);
}

#[tokio::test]
async fn a_store_that_hangs_is_noticed_without_a_request() {
    let lab = Lab::redis().ready().await;
    lab.store.as_ref().unwrap().stop();
    until("the node knows", async || lab.a.ready().await.is_err()).await;
    lab.store.as_ref().unwrap().go_on();
    ready(&*lab.a).await;
}

#[tokio::test]
async fn a_full_store_refuses_writes_whole_and_goes_on_reading() {
    let lab = Lab::redis().ready().await;
    let store = lab.store.as_ref().unwrap();
    let mut client = Client::login(&*lab.a, "alice").await;
    client.change(&*lab.a, add("a")).await.unwrap();
    let cart = client.change(&*lab.a, add("b")).await.unwrap();

    store.ask::<()>("CONFIG SET maxmemory 1");
    let login = lab.a.login("alice", Some(&client.credential)).await;
    assert!(is_unavailable(&login));
    assert!(is_unavailable(&client.change(&*lab.a, add("c")).await));
    // The login that failed has not ended the session that was presented.
    assert!(client.is_logged_in(&*lab.a).await);
    // Now the read would slide the expiry. The store refuses that, and the read goes on.
    lab.clock.turn(Duration::from_mins(5));
    let session = lab.a.authenticate(&client.credential).await.unwrap().value;
    assert_eq!(session.expires_at, session.issued_at + IDLE.as_secs());
    assert_eq!(lab.a.cart(&client.credential).await.unwrap().value, cart);
    // What makes room is allowed.
    let remove = Change::Remove("a".to_owned());
    let smaller = client.change(&*lab.a, remove).await.unwrap();
    assert_eq!(smaller.lines.len(), 1);

    store.ask::<()>("CONFIG SET maxmemory 0");
    client.change(&*lab.a, add("c")).await.unwrap();
    let session = lab.a.authenticate(&client.credential).await.unwrap().value;
    assert!(session.expires_at > session.issued_at + IDLE.as_secs());
}

#[tokio::test]
async fn a_store_that_forgot_its_scripts_learns_them_again() {
    let lab = Lab::redis().ready().await;
    let mut client = Client::login(&*lab.a, "alice").await;
    let store = lab.store.as_ref().unwrap();
    store.ask::<()>("SCRIPT FLUSH");
    client.change(&*lab.a, add("a")).await.unwrap();
    store.ask::<()>("SCRIPT FLUSH");
    let next = lab.a.login("bob", Some(&client.credential)).await.unwrap();
    assert!(!client.is_logged_in(&*lab.a).await);
    store.ask::<()>("SCRIPT FLUSH");
    let next = next.reissued.unwrap();
    lab.a.authenticate(&next).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_read_only_reads_and_refuses_writes() {
    let lab = Lab::redis().ready().await;
    let mut client = Client::login(&*lab.a, "alice").await;
    let store = lab.store.as_ref().unwrap();
    // A replica of nobody: its data is stale, and it says so to those who write.
    store.ask::<()>("REPLICAOF 127.0.0.1 1");
    ready(&*lab.a).await;
    assert!(client.is_logged_in(&*lab.a).await);
    assert!(is_unavailable(&client.change(&*lab.a, add("a")).await));
    store.ask::<()>("REPLICAOF NO ONE");
    client.change(&*lab.a, add("a")).await.unwrap();
}

#[tokio::test]
async fn a_store_that_says_nothing_stale_takes_its_nodes_out() {
    let lab = Lab::redis().ready().await;
    let client = Client::login(&*lab.a, "alice").await;
    let store = lab.store.as_ref().unwrap();
    store.ask::<()>("CONFIG SET replica-serve-stale-data no");
    // From now on it refuses reads too, on a connection that is as good as ever.
    store.ask::<()>("REPLICAOF 127.0.0.1 1");
    assert!(is_unavailable(
        &lab.a.authenticate(&client.credential).await
    ));
    until("the node knows", async || lab.a.ready().await.is_err()).await;
    store.ask::<()>("REPLICAOF NO ONE");
    ready(&*lab.a).await;
    assert!(client.is_logged_in(&*lab.a).await);
}

#[tokio::test]
async fn a_store_that_cannot_write_to_its_disk_reads_and_refuses_writes() {
    let lab = Lab::redis().ready().await;
    let mut client = Client::login(&*lab.a, "alice").await;
    let store = lab.store.as_ref().unwrap();
    let snapshot = store.folder().join("dump.rdb");
    std::fs::create_dir(&snapshot).unwrap();
    redis::cmd("CONFIG")
        .arg(&["SET", "save", "3600 1"])
        .exec(&mut store.connection())
        .unwrap();
    store.ask::<()>("BGSAVE");
    until("the store has failed to save", async || {
        let info: String = store.ask("INFO persistence");
        info.contains("rdb_last_bgsave_status:err")
    })
    .await;
    assert!(client.is_logged_in(&*lab.a).await);
    assert!(is_unavailable(&client.change(&*lab.a, add("a")).await));
    // It refuses a PING as well, and that alone must not keep a node from becoming ready.
    let late = redis_node(store, &Clock::system());
    ready(&late).await;
    assert!(client.is_logged_in(&late).await);

    std::fs::remove_dir(&snapshot).unwrap();
    store.ask::<()>("BGSAVE");
    until("the store has saved", async || {
        let info: String = store.ask("INFO persistence");
        info.contains("rdb_last_bgsave_status:ok")
    })
    .await;
    client.change(&*lab.a, add("a")).await.unwrap();
}

#[tokio::test]
async fn a_value_of_somebody_else_is_an_error_and_not_a_login() {
    let lab = Lab::redis().ready().await;
    let client = Client::login(&*lab.a, "alice").await;
    let store = lab.store.as_ref().unwrap();
    let key = store.keys("s:*").pop().unwrap();
    store.ask::<()>(&format!("HSET {key} l:x nonsense"));
    assert!(is_unavailable(&lab.a.cart(&client.credential).await));
    store.ask::<()>(&format!("HSET {key} issued soon"));
    assert!(is_unavailable(
        &lab.a.authenticate(&client.credential).await
    ));
    store.ask::<()>(&format!("DEL {key}"));
    store.ask::<()>(&format!("SET {key} x"));
    assert!(is_unavailable(
        &lab.a.authenticate(&client.credential).await
    ));
    lab.a.logout(&client.credential).await.unwrap();
    assert!(store.keys("*").is_empty());
}

#[tokio::test]
async fn the_store_never_sees_a_secret() {
    let lab = Lab::redis().ready().await;
    let client = Client::login(&*lab.a, "alice").await;
    let (_, secret) = client.credential.token().split_once('.').unwrap();
    let store = lab.store.as_ref().unwrap();
    for key in store.keys("*") {
        assert!(!key.contains(secret));
        let dump: Vec<u8> = store.ask(&format!("DUMP {key}"));
        assert!(!String::from_utf8_lossy(&dump).contains(secret));
    }
}

#[tokio::test]
async fn every_key_ends_by_itself() {
    let lab = Lab::redis().ready().await;
    let store = lab.store.as_ref().unwrap();
    for _ in 0..5 {
        Client::login(&*lab.a, "alice").await;
    }
    let index = store.keys("u:*").pop().unwrap();
    assert_eq!(store.ask::<usize>(&format!("ZCARD {index}")), 5);
    let keys = store.keys("*");
    assert_eq!(keys.len(), 6);
    for key in keys {
        let left_s: u64 = store.ask(&format!("TTL {key}"));
        let most_s = if key == index { ABSOLUTE } else { IDLE }.as_secs();
        assert!((1..=most_s).contains(&left_s), "{key}: {left_s}");
    }
}

/// Nothing but the store's own clock removes what has expired.
#[tokio::test]
async fn what_has_expired_is_gone_from_the_store_by_itself() {
    let store = Store::start();
    let node = Redis::connect(
        Settings {
            idle: Duration::from_secs(1),
            deadline: Duration::from_mins(1),
            ..settings(store.url())
        },
        Clock::system(),
    )
    .unwrap();
    ready(&node).await;
    for _ in 0..250 {
        Client::login(&node, "alice").await;
    }
    until("the sessions are gone", async || {
        store.keys("s:*").is_empty()
    })
    .await;
    // Each login takes a hundred of those that expired out of the index.
    let index = store.keys("u:*").pop().unwrap();
    let mut left = Vec::new();
    for _ in 0..3 {
        node.login("alice", None).await.unwrap();
        left.push(store.ask::<usize>(&format!("ZCARD {index}")));
    }
    assert!(left[0] <= 151 && left[1] <= 52 && left[2] <= 3, "{left:?}");
}

#[tokio::test]
async fn dropping_the_strategy_ends_its_connection() {
    let store = Store::start();
    let clients = || {
        let list: String = store.ask("CLIENT LIST TYPE normal");
        list.lines().count()
    };
    let node = redis_node(&store, &Clock::system());
    ready(&node).await;
    // The node's, and the one that asks.
    assert_eq!(clients(), 2);
    drop(node);
    until("the connection is closed", async || clients() == 1).await;
}
