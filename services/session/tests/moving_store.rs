//! `redis` with a store whose address is a name that moves: what is connected stays connected to the old one.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use session::redis::{Redis, Settings};
use session::{Clock, Strategy};

use support::detour::Detour;
use support::store::{Store, url};
use support::{ABSOLUTE, Client, DEADLINE, IDLE, MAX_LINES, ready, until};

fn node(name: &Detour) -> Redis {
    let settings = Settings {
        url: url(name.address),
        password: None,
        deadline: DEADLINE,
        idle: IDLE,
        absolute: ABSOLUTE,
        max_lines: MAX_LINES,
    };
    Redis::connect(settings, Clock::system()).unwrap()
}

/// A master, its replica, and a name that leads to the master.
async fn replicated() -> (Store, Store, Detour) {
    let (old, new) = (Store::start(), Store::start());
    new.follow(&old);
    until("the replica follows", async || {
        let info: String = new.ask("INFO replication");
        info.contains("master_link_status:up")
    })
    .await;
    let name = Detour::to(old.address()).await;
    (old, new, name)
}

#[tokio::test]
async fn a_name_that_moves_to_the_new_master_is_followed_without_a_restart() {
    let (old, new, name) = replicated().await;
    let node = node(&name);
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    until("the replica has it", async || !new.keys("s:*").is_empty()).await;

    new.ask::<()>("REPLICAOF NO ONE");
    old.follow(&new);
    name.leads_to(new.address());
    until("the node writes to the new master", async || {
        node.login("bob", None).await.is_ok()
    })
    .await;
    assert!(alice.is_logged_in(&node).await);
}

#[tokio::test]
async fn a_name_that_moves_is_followed_without_a_write() {
    let (old, new, name) = replicated().await;
    let node = node(&name);
    ready(&node).await;
    new.ask::<()>("REPLICAOF NO ONE");
    old.follow(&new);
    name.leads_to(new.address());
    until("the node has left the old master", async || {
        let clients: String = old.ask("CLIENT LIST TYPE normal");
        // Who asks is one of them.
        clients.lines().count() == 1 && node.ready().await.is_ok()
    })
    .await;
    Client::login(&node, "alice").await;
    assert!(!new.keys("s:*").is_empty());
}

#[tokio::test]
async fn a_name_that_moves_late_costs_no_read_meanwhile() {
    let (old, new, name) = replicated().await;
    let node = node(&name);
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    old.ask::<()>("REPLICAOF 127.0.0.1 1");
    for _ in 0..300 {
        assert!(alice.is_logged_in(&node).await);
        assert!(node.login("bob", None).await.is_err());
        assert!(node.ready().await.is_ok());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    new.ask::<()>("REPLICAOF NO ONE");
    name.leads_to(new.address());
    until("the node writes to the new master", async || {
        node.login("bob", None).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_half_died_is_replaced() {
    let store = Store::start();
    let name = Detour::to(store.address()).await;
    let node = node(&name);
    ready(&node).await;
    let alice = Client::login(&node, "alice").await;
    name.swallow();
    until("the node is served again", async || {
        node.authenticate(&alice.credential).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_name_that_leads_nowhere_for_a_while_is_looked_up_again() {
    let (old, new) = (Store::start(), Store::start());
    let name = Detour::to(old.address()).await;
    let node = node(&name);
    ready(&node).await;
    let (nowhere, _) = Store::announced();
    name.leads_to(nowhere);
    name.swallow();
    until("the node knows", async || node.ready().await.is_err()).await;
    name.leads_to(new.address());
    ready(&node).await;
    Client::login(&node, "alice").await;
    assert!(!new.keys("s:*").is_empty());
}
