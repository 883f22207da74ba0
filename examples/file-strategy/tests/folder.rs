//! What only this strategy has: locks, and paths that are made of what a stranger sends. All else is in `conformance.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

use std::fs::File;
use std::sync::Arc;

use file_strategy::FOLDER;
use session::settings::Text;
use session::{Clock, Credential, Error, Host, Kind, Secret, Strategy, Values};
use tempfile::TempDir;

fn node() -> (Arc<dyn Strategy>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = Text {
        value: Secret::new(folder.path().to_str().unwrap()),
        on_command_line: true,
    };
    let values = Values::default().with_text(&FOLDER, path);
    let host = Host::new(Clock::system());
    (file_strategy::Kind.build(&values, &host).unwrap(), folder)
}

#[tokio::test]
async fn what_holds_a_lock_for_ever_costs_one_deadline() {
    let (node, folder) = node();
    let granted = node.login("alice", None).await.unwrap();
    let login = granted.reissued.unwrap();
    let name = format!("lock-{}", &login.token()[..1]);
    let lock = File::open(folder.path().join(name)).unwrap();
    lock.lock().unwrap();
    let refused = node.authenticate(&login).await;
    let nothing_done = matches!(
        refused,
        Err(Error::StoreUnavailable {
            nothing_done: true,
            ..
        })
    );
    assert!(nothing_done);
    lock.unlock().unwrap();
    assert!(node.authenticate(&login).await.is_ok());
}

#[tokio::test]
async fn no_credential_leads_out_of_the_folder() {
    let (node, _folder) = node();
    for token in ["", "../secret", "lock-0", "é", &"A".repeat(32)] {
        let credential = Credential::new(token);
        let refused = node.authenticate(&credential).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })), "{token}");
        node.logout(&credential).await.unwrap();
    }
}

#[test]
fn a_folder_must_be_named() {
    let why = file_strategy::Kind.check(&Values::default()).unwrap_err();
    assert!(why.to_string().contains("--session-folder"), "{why}");
}
