//! Logging in and out, listing, revoking, and what other nodes know of it.

use session::about::Reach;
use session::{Credential, Error, LoggedOut, StateLives};

use crate::client::Client;
use crate::lab::{Lab, add};

pub(crate) async fn it_is_what_its_row_says(lab: Lab) {
    let about = lab.about;
    assert!(std::ptr::eq(lab.a.about(), about));
    let in_memory = about.state_lives == StateLives::Node;
    assert_eq!(lab.a.sessions_owned().is_some(), in_memory);
    assert_eq!(lab.a.store_use().is_some(), about.store.is_some());
}

pub(crate) async fn a_login_is_authenticated_and_has_an_empty_cart(lab: Lab) {
    let (before, user) = (lab.clock.now(), lab.user("mary ann"));
    let granted = lab.a.login(&user, None).await.unwrap();
    let credential = granted.reissued.unwrap();
    let session = lab.a.authenticate(&credential).await.unwrap().value;
    assert_eq!(session.user, user);
    assert!((before..=lab.clock.now()).contains(&session.issued_at));
    assert_eq!(granted.value.issued_at, session.issued_at);
    let life_s = granted.value.expires_at - granted.value.issued_at;
    assert_eq!(life_s, lab.unused_s());
    let cart = lab.a.cart(&credential).await.unwrap().value;
    assert_eq!((cart.version, cart.lines.len()), (0, 0));
}

pub(crate) async fn a_login_replaces_what_was_presented(lab: Lab) {
    // One's own session, and somebody else's: a shared computer.
    for second_user in ["alice", "bob"].map(|name| lab.user(name)) {
        let mut first = lab.login("alice").await;
        first.change(&*lab.a, add("a")).await.unwrap();
        let granted = lab.a.login(&second_user, Some(&first.credential)).await;
        let second = granted.unwrap().reissued.unwrap();
        assert_ne!(first.credential.token(), second.token());
        assert_eq!(first.is_logged_in(&*lab.a).await, lab.lives_at_the_client());
        let session = lab.a.authenticate(&second).await.unwrap().value;
        assert_eq!(session.user, second_user);
        assert!(lab.a.cart(&second).await.unwrap().value.lines.is_empty());
    }
    // What was presented need not be a credential at all.
    let nonsense = Credential::new("nonsense");
    lab.a
        .login(&lab.user("alice"), Some(&nonsense))
        .await
        .unwrap();
}

pub(crate) async fn a_logout_does_what_was_declared(lab: Lab) {
    let client = lab.login("alice").await;
    match lab.a.logout(&client.credential).await.unwrap() {
        LoggedOut::Dead => {
            assert!(!lab.lives_at_the_client());
            assert!(!client.is_logged_in(&*lab.a).await);
            assert!(!client.is_logged_in(&*lab.b).await);
        }
        LoggedOut::AliveUntil(end) => {
            assert!(lab.lives_at_the_client());
            assert!(client.is_logged_in(&*lab.b).await);
            lab.turn(end - lab.clock.now());
            assert!(!client.is_logged_in(&*lab.b).await);
            let again = lab.a.logout(&client.credential).await.unwrap();
            assert_eq!(again, LoggedOut::Dead);
        }
        LoggedOut::UnknownHere => panic!("the node that began the session knows it"),
    }
}

pub(crate) async fn a_logout_at_another_node_promises_what_it_knows(lab: Lab) {
    let client = lab.login("alice").await;
    let logged_out = lab.b.logout(&client.credential).await.unwrap();
    let expected = match lab.about.logout {
        Reach::AtOnce => logged_out == LoggedOut::Dead,
        Reach::ThisNode => logged_out == LoggedOut::UnknownHere,
        Reach::Never => matches!(logged_out, LoggedOut::AliveUntil(_)),
    };
    assert!(expected, "{logged_out:?}");
    let lives = client.is_logged_in(&*lab.a).await;
    assert_eq!(lives, logged_out != LoggedOut::Dead, "{logged_out:?}");
}

pub(crate) async fn a_logout_of_what_is_not_there_succeeds(lab: Lab) {
    let client = lab.login("alice").await;
    lab.a.logout(&client.credential).await.unwrap();
    lab.a.logout(&client.credential).await.unwrap();
    let nonsense = Credential::new("nonsense");
    assert_eq!(lab.a.logout(&nonsense).await.unwrap(), LoggedOut::Dead);
}

pub(crate) async fn logins_are_listed_and_ended_by_their_user_alone(lab: Lab) {
    let laptop = lab.login("alice").await;
    let listed = lab.a.sessions(&laptop.credential).await;
    if !lab.about.lists_logins {
        assert!(matches!(listed, Err(Error::Unsupported { .. })));
        let ended = lab.a.end(&laptop.credential, "any").await;
        assert!(matches!(ended, Err(Error::Unsupported { .. })));
        return;
    }
    let phone = lab.login("alice").await;
    let stranger = lab.login("bob").await;

    let listed = lab.a.sessions(&laptop.credential).await.unwrap().value;
    assert_eq!(listed.len(), 2);
    let current: Vec<_> = listed.iter().filter(|entry| entry.current).collect();
    assert_eq!(current.len(), 1);
    let other = listed.iter().find(|entry| !entry.current).unwrap();
    assert_eq!(other.expires_at - other.issued_at, lab.unused_s());
    // The name of a login is not a credential, whatever one does to it.
    let (tag, _) = phone.credential.token().split_once('.').unwrap_or_default();
    let secret = other.id.get(..22).unwrap_or(&other.id);
    for token in [other.id.clone(), format!("{tag}.{secret}")] {
        let forged = Client {
            credential: Credential::new(token),
        };
        assert!(!forged.is_logged_in(&*lab.a).await);
    }

    let by_stranger = lab.a.end(&stranger.credential, &other.id).await;
    assert!(matches!(by_stranger, Err(Error::NoSuchSession)));
    assert!(phone.is_logged_in(&*lab.a).await);
    lab.a.end(&laptop.credential, &other.id).await.unwrap();
    assert!(!phone.is_logged_in(&*lab.a).await);
    assert!(laptop.is_logged_in(&*lab.a).await);
    for gone in [&other.id, "", "nonsense", "*"] {
        let again = lab.a.end(&laptop.credential, gone).await;
        assert!(matches!(again, Err(Error::NoSuchSession)));
    }
    // One's own login can be ended like any other.
    lab.a.end(&laptop.credential, &current[0].id).await.unwrap();
    assert!(!laptop.is_logged_in(&*lab.a).await);
}

pub(crate) async fn a_revocation_reaches_as_far_as_declared(lab: Lab) {
    let here = lab.login("alice").await;
    let too = lab.login("alice").await;
    let other = lab.login("bob").await;

    let elsewhere = lab.b.revoke(&lab.user("alice")).await;
    let revoked = !here.is_logged_in(&*lab.a).await && !too.is_logged_in(&*lab.a).await;
    let reach = lab.about.revocation;
    assert_eq!(revoked, reach == Reach::AtOnce);
    assert!(other.is_logged_in(&*lab.a).await);
    match elsewhere {
        Ok(ended) => assert_eq!(ended, if revoked { 2 } else { 0 }),
        Err(Error::Unsupported { .. }) => assert_eq!(reach, Reach::Never),
        Err(error) => panic!("{error}"),
    }
    if reach == Reach::ThisNode {
        assert_eq!(lab.a.revoke(&lab.user("alice")).await.unwrap(), 2);
        assert!(!here.is_logged_in(&*lab.a).await);
    }
    // Revoking is not banning.
    let again = lab.login("alice").await;
    assert!(again.is_logged_in(&*lab.a).await);
}

pub(crate) async fn the_death_of_a_node_costs_what_was_declared(lab: Lab) {
    let mut client = lab.login("alice").await;
    client.change(&*lab.a, add("a")).await.unwrap();
    let survives = lab.about.survives_node_death();
    let Lab { a, b, .. } = lab;
    drop(a);
    assert_eq!(client.is_logged_in(&*b).await, survives);
    if survives {
        let cart = b.cart(&client.credential).await.unwrap().value;
        assert_eq!(cart.lines.len(), 1);
    }
}

pub(crate) async fn other_nodes_know_the_session_unless_affinity_is_declared(lab: Lab) {
    let mut client = lab.login("alice").await;
    client.change(&*lab.a, add("a")).await.unwrap();
    let known = client.is_logged_in(&*lab.b).await;
    assert_eq!(known, !lab.about.needs_affinity);
    if known {
        client.change(&*lab.b, add("b")).await.unwrap();
        let cart = lab.a.cart(&client.credential).await.unwrap().value;
        assert_eq!(cart.lines.len(), 2);
    }
}

pub(crate) async fn what_is_no_credential_is_refused(lab: Lab) {
    let token = lab.login("alice").await.credential.token().to_owned();
    let mut tampered: Vec<String> = (0..token.len())
        .map(|at| {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        })
        .collect();
    tampered.extend([
        String::new(),
        ".".into(),
        "..".into(),
        format!("{token}="),
        format!(" {token}"),
        token[1..].to_owned(),
        token.repeat(2),
        "A".repeat(100_000),
        "*".repeat(22),
        "\0é}{".into(),
    ]);
    let mut credentials = vec![Credential::default()];
    for token in tampered {
        credentials.push(Credential::new(token));
    }
    for credential in credentials {
        let client = Client { credential };
        assert!(!client.is_logged_in(&*lab.a).await);
        let refused = lab.a.refresh(&client.credential).await;
        assert!(matches!(
            refused,
            Err(Error::NotLoggedIn { .. } | Error::Unsupported { .. })
        ));
        let refused = lab.a.cart(&client.credential).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
        let refused = lab.a.change(&client.credential, add("a")).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
        let refused = lab.a.sessions(&client.credential).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
        let refused = lab.a.end(&client.credential, "any").await;
        assert!(matches!(
            refused,
            Err(Error::NotLoggedIn { .. } | Error::NoSuchSession)
        ));
    }
}
