//! Two nodes at one folder: what one does, the other knows, and nothing is lost between them.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use file_strategy::FOLDER;
use session::settings::Text;
use session::{Change, Clock, Error, Host, Kind, Line, Secret, Strategy, Values};
use tempfile::TempDir;

struct Nodes {
    a: Arc<dyn Strategy>,
    b: Arc<dyn Strategy>,
    clock: Clock,
    folder: TempDir,
}

fn values(folder: &Path) -> Values {
    let text = Text {
        value: Secret::new(folder.to_str().unwrap()),
        on_command_line: true,
    };
    Values::default().with_text(&FOLDER, text)
}

fn nodes() -> Nodes {
    let (clock, folder) = (Clock::system(), tempfile::tempdir().unwrap());
    let values = values(folder.path());
    file_strategy::Kind.check(&values).unwrap();
    let node = || {
        let host = Host::new(clock.clone());
        file_strategy::Kind.build(&values, &host).unwrap()
    };
    let (a, b) = (node(), node());
    Nodes {
        a,
        b,
        clock,
        folder,
    }
}

fn add(id: &str) -> Change {
    Change::Add(Line {
        id: id.to_owned(),
        sku: "book".to_owned(),
        quantity: 1,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_two_nodes_at_the_same_time_are_all_kept() {
    let nodes = nodes();
    let login = nodes
        .a
        .login("alice", None)
        .await
        .unwrap()
        .reissued
        .unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let node = [&nodes.a, &nodes.b][number % 2].clone();
            let login = login.clone();
            tokio::spawn(async move { node.change(&login, add(&number.to_string())).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let cart = nodes.b.cart(&login).await.unwrap().value;
    assert_eq!((cart.version, cart.lines.len()), (100, 100));
}

#[tokio::test]
async fn the_death_of_a_node_costs_nothing_and_a_logout_counts_everywhere() {
    let Nodes {
        a,
        b,
        folder: _folder,
        ..
    } = nodes();
    let login = a.login("alice", None).await.unwrap().reissued.unwrap();
    a.change(&login, add("a")).await.unwrap();
    b.logout(&login).await.unwrap();
    assert!(a.authenticate(&login).await.is_err());
    assert!(
        a.change(&login, add("b")).await.is_err(),
        "not brought back"
    );

    let login = a.login("alice", None).await.unwrap().reissued.unwrap();
    drop(a);
    assert_eq!(b.authenticate(&login).await.unwrap().value.user, "alice");
    let again = b
        .login("alice", Some(&login))
        .await
        .unwrap()
        .reissued
        .unwrap();
    assert!(
        b.authenticate(&login).await.is_err(),
        "a new login, a new id"
    );
    assert!(b.authenticate(&again).await.is_ok());
}

#[tokio::test]
async fn logins_are_listed_ended_and_revoked_by_user() {
    let nodes = nodes();
    let one = nodes
        .a
        .login("alice", None)
        .await
        .unwrap()
        .reissued
        .unwrap();
    let two = nodes
        .b
        .login("alice", None)
        .await
        .unwrap()
        .reissued
        .unwrap();
    let bob = nodes.b.login("bob", None).await.unwrap().reissued.unwrap();
    let listed = nodes.b.sessions(&one).await.unwrap().value;
    assert_eq!(listed.len(), 2);
    let other = listed.iter().find(|entry| !entry.current).unwrap();
    nodes.a.end(&one, &other.id).await.unwrap();
    assert!(nodes.b.authenticate(&two).await.is_err());
    assert_eq!(nodes.b.revoke("alice").await.unwrap(), 1);
    assert!(nodes.a.authenticate(&one).await.is_err());
    assert!(nodes.a.authenticate(&bob).await.is_ok());
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_at_its_absolute_end() {
    let nodes = nodes();
    let login = nodes
        .a
        .login("alice", None)
        .await
        .unwrap()
        .reissued
        .unwrap();
    for _ in 0..40 {
        nodes.clock.turn(Duration::from_mins(18));
        if nodes.a.authenticate(&login).await.is_err() {
            break;
        }
    }
    let refused = nodes.a.authenticate(&login).await;
    assert!(refused.is_err(), "twelve hours are over");
    let login = nodes
        .a
        .login("alice", None)
        .await
        .unwrap()
        .reissued
        .unwrap();
    nodes.clock.turn(Duration::from_mins(31));
    assert!(nodes.b.authenticate(&login).await.is_err());
}

#[tokio::test]
async fn what_holds_a_lock_for_ever_costs_one_deadline() {
    let nodes = nodes();
    let login = nodes
        .a
        .login("alice", None)
        .await
        .unwrap()
        .reissued
        .unwrap();
    let name = format!("lock-{}", &login.token()[..1]);
    let lock = File::open(nodes.folder.path().join(name)).unwrap();
    lock.lock().unwrap();
    let refused = nodes.a.authenticate(&login).await;
    let nothing_done = matches!(
        refused,
        Err(Error::StoreUnavailable {
            nothing_done: true,
            ..
        })
    );
    assert!(nothing_done);
    lock.unlock().unwrap();
    assert!(nodes.a.authenticate(&login).await.is_ok());
}

#[tokio::test]
async fn no_credential_leads_out_of_the_folder() {
    let nodes = nodes();
    for token in ["", "../secret", "lock-0", "é", &"A".repeat(32)] {
        let credential = session::Credential::new(token);
        let refused = nodes.a.authenticate(&credential).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })), "{token}");
        nodes.a.logout(&credential).await.unwrap();
    }
}

#[test]
fn a_folder_must_be_named() {
    let why = file_strategy::Kind.check(&Values::default()).unwrap_err();
    assert!(why.to_string().contains("--session-folder"), "{why}");
}
