//! The cart, also under changes at the same time.

use session::Error;
use session::about::ConcurrentChanges;

use crate::lab::{Lab, add, remove};

pub(crate) async fn a_cart_keeps_the_order_of_adding(lab: Lab) {
    let mut client = lab.login("alice").await;
    for id in ["c", "a", "user", "b"] {
        client.change(&*lab.a, add(id)).await.unwrap();
    }
    client.change(&*lab.a, remove("a")).await.unwrap();
    let changed = client.change(&*lab.a, add("a")).await.unwrap();
    assert_eq!(changed.version, 6);
    let ids: Vec<_> = changed.lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, ["c", "user", "b", "a"]);
    assert_eq!(lab.a.cart(&client.credential).await.unwrap().value, changed);
    assert_eq!(changed.lines[0].sku, "tea-pot");
    assert_eq!(changed.lines[0].quantity, 2);
}

pub(crate) async fn the_same_line_twice_changes_nothing(lab: Lab) {
    let mut client = lab.login("alice").await;
    let once = client.change(&*lab.a, add("a")).await.unwrap();
    assert_eq!(client.change(&*lab.a, add("a")).await.unwrap(), once);
    let removed = client.change(&*lab.a, remove("b")).await;
    assert_eq!(removed.unwrap(), once);
}

pub(crate) async fn a_full_cart_is_refused_and_stays(lab: Lab) {
    let mut client = lab.login("alice").await;
    let most = lab.max_lines();
    let mut refused = None;
    for number in 0..=most {
        match client.change(&*lab.a, add(&number.to_string())).await {
            Ok(cart) => assert_eq!(cart.lines.len(), number + 1),
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let (lines, error) = refused.unwrap();
    match error {
        Error::CartFull { max_lines } => assert_eq!((lines, max_lines), (most, most)),
        // What the client carries may be full before the cart is.
        Error::CartTooLarge { bytes, max_bytes } => {
            assert!(lab.lives_at_the_client() && bytes > max_bytes);
        }
        other => panic!("{other}"),
    }
    let cart = lab.a.cart(&client.credential).await.unwrap().value;
    assert_eq!(cart.lines.len(), lines);
    // A line that is there needs no room.
    client.change(&*lab.a, add("0")).await.unwrap();
}

pub(crate) async fn parallel_adds_end_as_declared(lab: Lab) {
    if lab.about.concurrent_changes == ConcurrentChanges::LastAnswerWins {
        let client = lab.login("alice").await;
        // Both are made to the cart that the client has now: the first is not in the second.
        let (mut first, mut second) = (client.clone(), client);
        first.change(&*lab.a, add("a")).await.unwrap();
        let cart = second.change(&*lab.b, add("b")).await.unwrap();
        assert_eq!((cart.version, cart.lines.len()), (1, 1));
        return;
    }
    let client = lab.login("alice").await;
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let to_a = lab.about.needs_affinity || number % 2 == 0;
            let node = if to_a { &lab.a } else { &lab.b }.shared();
            let mut client = client.clone();
            tokio::spawn(async move {
                // On a busy machine a deadline may pass. The same line again does no harm, so a client would do this.
                for _ in 0..20 {
                    let changed = client.change(&*node, add(&number.to_string())).await;
                    if !matches!(changed, Err(Error::StoreUnavailable { .. })) {
                        return changed;
                    }
                }
                client.change(&*node, add(&number.to_string())).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let cart = lab.a.cart(&client.credential).await.unwrap().value;
    assert_eq!((cart.version, cart.lines.len()), (50, 50));
}

pub(crate) async fn a_session_that_was_logged_out_during_changes_stays_dead(lab: Lab) {
    if lab.lives_at_the_client() {
        return;
    }
    for round in 0..20 {
        let client = lab.login("alice").await;
        let tasks: Vec<_> = (0..10)
            .map(|number| {
                let (node, mut client) = (lab.a.shared(), client.clone());
                tokio::spawn(async move {
                    if number == round % 10 {
                        node.logout(&client.credential).await.unwrap();
                    } else {
                        let _ = client.change(&*node, add(&number.to_string())).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(!client.is_logged_in(&*lab.a).await);
    }
    let last = lab.login("alice").await;
    let listed = lab.a.sessions(&last.credential).await.unwrap().value;
    assert_eq!(listed.len(), 1);
}
