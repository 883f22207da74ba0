//! The same assertions against every strategy. Where strategies differ, what they declare about themselves says how:
//! a strategy that declares more than it keeps fails here, and so does one that keeps more than it declares.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use std::time::Duration;

use session::kind::{ConcurrentChanges, Ends, Reach, RoundTrips};
use session::{Change, Credential, Error, LoggedOut, StateLives};

use support::{ABSOLUTE, Client, IDLE, Lab, MAX_LINES, add};

macro_rules! for_every_strategy {
    ($($test:ident)*) => {
        for_every_strategy!(@ sticky $($test)*);
        for_every_strategy!(@ redis $($test)*);
        for_every_strategy!(@ jwt $($test)*);
    };
    (@ $strategy:ident $($test:ident)*) => {
        mod $strategy {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(super::Lab::$strategy().ready().await).await;
                }
            )*
        }
    };
}

for_every_strategy! {
    it_is_listed
    a_login_is_authenticated_and_has_an_empty_cart
    a_login_replaces_what_was_presented
    a_cart_keeps_the_order_of_adding
    the_same_line_twice_changes_nothing
    a_full_cart_is_refused_and_stays
    a_logout_does_what_was_declared
    a_logout_at_another_node_promises_what_it_knows
    a_logout_of_what_is_not_there_succeeds
    logins_are_listed_and_ended_by_their_user_alone
    a_revocation_reaches_as_far_as_declared
    the_death_of_a_node_costs_what_was_declared
    other_nodes_know_the_session_unless_affinity_is_declared
    an_unused_session_ends
    no_use_keeps_a_session_beyond_its_absolute_end
    a_request_makes_as_many_round_trips_as_declared
    parallel_adds_end_as_declared
    a_session_that_was_logged_out_during_changes_stays_dead
    what_is_no_credential_is_refused
}

fn lives_at_the_client(lab: &Lab) -> bool {
    lab.a.about().state_lives == StateLives::Client
}

async fn it_is_listed(lab: Lab) {
    let about = lab.a.about();
    assert!(std::ptr::eq(session::about(about.name).unwrap(), about));
    let in_memory = about.state_lives == StateLives::Node;
    assert_eq!(lab.a.sessions_owned().is_some(), in_memory);
    assert_eq!(lab.a.store_use().is_some(), about.store.is_some());
}

async fn a_login_is_authenticated_and_has_an_empty_cart(lab: Lab) {
    let before = lab.clock.now();
    let granted = lab.a.login("mary ann", None).await.unwrap();
    let session = lab.a.authenticate(&granted.credential).await.unwrap();
    assert_eq!(session.user, "mary ann");
    assert!((before..=lab.clock.now()).contains(&session.issued_at));
    assert_eq!(granted.session.issued_at, session.issued_at);
    let life_s = granted.session.expires_at - granted.session.issued_at;
    assert_eq!(life_s, IDLE.as_secs());
    let cart = lab.a.cart(&granted.credential).await.unwrap();
    assert_eq!((cart.version, cart.lines.len()), (0, 0));
}

async fn a_login_replaces_what_was_presented(lab: Lab) {
    // One's own session, and somebody else's: a shared computer.
    for second_user in ["alice", "bob"] {
        let mut first = Client::login(&*lab.a, "alice").await;
        first.change(&*lab.a, add("a")).await.unwrap();
        let granted = lab.a.login(second_user, Some(&first.credential)).await;
        let second = granted.unwrap().credential;
        assert_ne!(first.credential.token, second.token);
        assert_eq!(first.is_logged_in(&*lab.a).await, lives_at_the_client(&lab));
        let session = lab.a.authenticate(&second).await.unwrap();
        assert_eq!(session.user, second_user);
        assert!(lab.a.cart(&second).await.unwrap().lines.is_empty());
    }
    // What was presented need not be a credential at all.
    let nonsense = Credential::new("nonsense");
    lab.a.login("alice", Some(&nonsense)).await.unwrap();
}

async fn a_cart_keeps_the_order_of_adding(lab: Lab) {
    let mut client = Client::login(&*lab.a, "alice").await;
    for id in ["c", "a", "user", "b"] {
        client.change(&*lab.a, add(id)).await.unwrap();
    }
    let remove = Change::Remove("a".to_owned());
    client.change(&*lab.a, remove).await.unwrap();
    let changed = client.change(&*lab.a, add("a")).await.unwrap();
    assert_eq!(changed.version, 6);
    let ids: Vec<_> = changed.lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, ["c", "user", "b", "a"]);
    assert_eq!(lab.a.cart(&client.credential).await.unwrap(), changed);
    assert_eq!(changed.lines[0].sku, "tea-pot");
    assert_eq!(changed.lines[0].quantity, 2);
}

async fn the_same_line_twice_changes_nothing(lab: Lab) {
    let mut client = Client::login(&*lab.a, "alice").await;
    let once = client.change(&*lab.a, add("a")).await.unwrap();
    assert_eq!(client.change(&*lab.a, add("a")).await.unwrap(), once);
    let remove = || Change::Remove("b".to_owned());
    assert_eq!(client.change(&*lab.a, remove()).await.unwrap(), once);
}

async fn a_full_cart_is_refused_and_stays(lab: Lab) {
    let mut client = Client::login(&*lab.a, "alice").await;
    let mut refused = None;
    for number in 0..=MAX_LINES {
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
        Error::CartFull { max_lines } => assert_eq!((lines, max_lines), (MAX_LINES, MAX_LINES)),
        // What the client carries may be full before the cart is.
        Error::CartTooLarge { bytes, max_bytes } => {
            assert!(lives_at_the_client(&lab) && bytes > max_bytes);
        }
        other => panic!("{other}"),
    }
    let cart = lab.a.cart(&client.credential).await.unwrap();
    assert_eq!(cart.lines.len(), lines);
    // A line that is there needs no room.
    client.change(&*lab.a, add("0")).await.unwrap();
}

async fn a_logout_does_what_was_declared(lab: Lab) {
    let client = Client::login(&*lab.a, "alice").await;
    match lab.a.logout(&client.credential).await.unwrap() {
        LoggedOut::Dead => {
            assert!(!lives_at_the_client(&lab));
            assert!(!client.is_logged_in(&*lab.a).await);
            assert!(!client.is_logged_in(&*lab.b).await);
        }
        LoggedOut::AliveUntil(end) => {
            assert!(lives_at_the_client(&lab));
            assert!(client.is_logged_in(&*lab.b).await);
            let left = end - lab.clock.now();
            lab.clock.turn(Duration::from_secs(left));
            assert!(!client.is_logged_in(&*lab.b).await);
            let again = lab.a.logout(&client.credential).await.unwrap();
            assert_eq!(again, LoggedOut::Dead);
        }
        LoggedOut::UnknownHere => panic!("the node that began the session knows it"),
    }
}

async fn a_logout_at_another_node_promises_what_it_knows(lab: Lab) {
    let client = Client::login(&*lab.a, "alice").await;
    let logged_out = lab.b.logout(&client.credential).await.unwrap();
    let expected = match lab.a.about().logout {
        Reach::AtOnce => logged_out == LoggedOut::Dead,
        Reach::ThisNode => logged_out == LoggedOut::UnknownHere,
        Reach::Never => matches!(logged_out, LoggedOut::AliveUntil(_)),
    };
    assert!(expected, "{logged_out:?}");
    let lives = client.is_logged_in(&*lab.a).await;
    assert_eq!(lives, logged_out != LoggedOut::Dead, "{logged_out:?}");
}

async fn a_logout_of_what_is_not_there_succeeds(lab: Lab) {
    let client = Client::login(&*lab.a, "alice").await;
    lab.a.logout(&client.credential).await.unwrap();
    lab.a.logout(&client.credential).await.unwrap();
    let nonsense = Credential::new("nonsense");
    assert_eq!(lab.a.logout(&nonsense).await.unwrap(), LoggedOut::Dead);
}

async fn logins_are_listed_and_ended_by_their_user_alone(lab: Lab) {
    let laptop = Client::login(&*lab.a, "alice").await;
    let listed = lab.a.sessions(&laptop.credential).await;
    if !lab.a.about().lists_logins {
        assert!(matches!(listed, Err(Error::Unsupported { .. })));
        let ended = lab.a.end(&laptop.credential, "any").await;
        assert!(matches!(ended, Err(Error::Unsupported { .. })));
        return;
    }
    let phone = Client::login(&*lab.a, "alice").await;
    let stranger = Client::login(&*lab.a, "bob").await;

    let listed = lab.a.sessions(&laptop.credential).await.unwrap();
    assert_eq!(listed.len(), 2);
    let current: Vec<_> = listed.iter().filter(|entry| entry.current).collect();
    assert_eq!(current.len(), 1);
    let other = listed.iter().find(|entry| !entry.current).unwrap();
    assert_eq!(other.expires_at - other.issued_at, IDLE.as_secs());
    // The name of a login is not a credential, whatever one does to it.
    let (tag, _) = phone.credential.token.split_once('.').unwrap_or_default();
    for token in [other.id.clone(), format!("{tag}.{}", &other.id[..22])] {
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

async fn a_revocation_reaches_as_far_as_declared(lab: Lab) {
    let here = Client::login(&*lab.a, "alice").await;
    let too = Client::login(&*lab.a, "alice").await;
    let other = Client::login(&*lab.a, "bob").await;

    let elsewhere = lab.b.revoke("alice").await;
    let revoked = !here.is_logged_in(&*lab.a).await && !too.is_logged_in(&*lab.a).await;
    let reach = lab.a.about().revocation;
    assert_eq!(revoked, reach == Reach::AtOnce);
    assert!(other.is_logged_in(&*lab.a).await);
    match elsewhere {
        Ok(ended) => assert_eq!(ended, if revoked { 2 } else { 0 }),
        Err(Error::Unsupported { .. }) => assert_eq!(reach, Reach::Never),
        Err(error) => panic!("{error}"),
    }
    if reach == Reach::ThisNode {
        assert_eq!(lab.a.revoke("alice").await.unwrap(), 2);
        assert!(!here.is_logged_in(&*lab.a).await);
    }
    // Revoking is not banning.
    let again = Client::login(&*lab.a, "alice").await;
    assert!(again.is_logged_in(&*lab.a).await);
}

async fn the_death_of_a_node_costs_what_was_declared(lab: Lab) {
    let mut client = Client::login(&*lab.a, "alice").await;
    client.change(&*lab.a, add("a")).await.unwrap();
    let survives = lab.a.about().survives_node_death();
    let Lab { a, b, .. } = &lab;
    assert_eq!(std::sync::Arc::strong_count(a), 1, "or it would not die");
    let b = b.clone();
    let store = lab.store;
    drop(lab.a);
    assert_eq!(client.is_logged_in(&*b).await, survives);
    if survives {
        assert_eq!(b.cart(&client.credential).await.unwrap().lines.len(), 1);
    }
    drop(store);
}

async fn other_nodes_know_the_session_unless_affinity_is_declared(lab: Lab) {
    let mut client = Client::login(&*lab.a, "alice").await;
    client.change(&*lab.a, add("a")).await.unwrap();
    let known = client.is_logged_in(&*lab.b).await;
    assert_eq!(known, !lab.a.about().needs_affinity);
    if known {
        client.change(&*lab.b, add("b")).await.unwrap();
        let cart = lab.a.cart(&client.credential).await.unwrap();
        assert_eq!(cart.lines.len(), 2);
    }
}

async fn an_unused_session_ends(lab: Lab) {
    let used = Client::login(&*lab.a, "alice").await;
    let unused = Client::login(&*lab.a, "alice").await;
    lab.clock.turn(Duration::from_mins(28));
    let session = lab.a.authenticate(&used.credential).await.unwrap();
    let slides = session.expires_at > session.issued_at + IDLE.as_secs();
    assert_eq!(slides, matches!(lab.a.about().ends, Ends::Idle { .. }));
    lab.clock.turn(Duration::from_mins(3));
    assert!(!unused.is_logged_in(&*lab.a).await);
    assert_eq!(used.is_logged_in(&*lab.a).await, slides);
    if slides {
        let listed = lab.a.sessions(&used.credential).await.unwrap();
        assert_eq!(listed.len(), 1);
        lab.clock.turn(IDLE);
        let refused = lab.a.cart(&used.credential).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
        let refused = lab.a.change(&used.credential, add("a")).await;
        assert!(matches!(refused, Err(Error::NotLoggedIn { .. })));
    }
}

async fn no_use_keeps_a_session_beyond_its_absolute_end(lab: Lab) {
    let mut client = Client::login(&*lab.a, "alice").await;
    let session = lab.a.authenticate(&client.credential).await.unwrap();
    let end = session.issued_at + ABSOLUTE.as_secs();
    let step = Duration::from_mins(25);
    let mut last = session;
    while lab.clock.now() + step.as_secs() < end {
        lab.clock.turn(step);
        let Ok(session) = lab.a.authenticate(&client.credential).await else {
            assert!(matches!(lab.a.about().ends, Ends::Fixed { .. }));
            return;
        };
        last = session;
        client.change(&*lab.a, add("a")).await.unwrap();
        assert!(last.expires_at <= end);
    }
    assert_eq!(last.expires_at, end);
    lab.clock.turn(step);
    assert!(!client.is_logged_in(&*lab.a).await);
}

async fn a_request_makes_as_many_round_trips_as_declared(lab: Lab) {
    let calls = || lab.a.store_use().map_or(0, |usage| usage.calls);
    let RoundTrips {
        login,
        read,
        change,
    } = lab.a.about().round_trips;
    // A store learns a script at its first use, which takes a round trip more. So the second time counts.
    for is_measured in [false, true] {
        let mut client = Client::login(&*lab.a, "alice").await;
        let mut before = calls();
        let mut expect = |declared: u32, what: &str| {
            let made = calls() - before;
            assert!(
                !is_measured || made == u64::from(declared),
                "{what}: {made}"
            );
            before = calls();
        };
        lab.a.authenticate(&client.credential).await.unwrap();
        expect(read, "authenticate");
        client.change(&*lab.a, add("a")).await.unwrap();
        expect(change, "add");
        lab.a.cart(&client.credential).await.unwrap();
        expect(read, "cart");
        let remove = Change::Remove("a".to_owned());
        client.change(&*lab.a, remove).await.unwrap();
        expect(change, "remove");
        lab.clock.turn(Duration::from_mins(2));
        lab.a.authenticate(&client.credential).await.unwrap();
        expect(read, "authenticate and slide");
        let own = lab.a.login("alice", Some(&client.credential)).await;
        expect(login, "login, replacing one's own session");
        let other = lab.a.login("bob", Some(&own.unwrap().credential)).await;
        expect(login, "login, replacing another user's session");
        let _ = lab.a.sessions(&other.as_ref().unwrap().credential).await;
        expect(read, "sessions");
        lab.a.logout(&other.unwrap().credential).await.unwrap();
        expect(change, "logout");
        let _ = lab.a.revoke("alice").await;
        expect(change, "revoke");
        let malformed = Credential::new("nonsense");
        let refused = lab.a.authenticate(&malformed).await;
        assert!(refused.is_err());
        assert_eq!(calls(), before, "nonsense never reaches the store");
    }
}

async fn parallel_adds_end_as_declared(lab: Lab) {
    if lab.a.about().concurrent_changes == ConcurrentChanges::LastAnswerWins {
        let client = Client::login(&*lab.a, "alice").await;
        // Both are made to the cart that the client has now: the first is not in the second.
        let (mut first, mut second) = (client.clone(), client);
        first.change(&*lab.a, add("a")).await.unwrap();
        let cart = second.change(&*lab.b, add("b")).await.unwrap();
        assert_eq!((cart.version, cart.lines.len()), (1, 1));
        return;
    }
    let client = Client::login(&*lab.a, "alice").await;
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let to_a = lab.a.about().needs_affinity || number % 2 == 0;
            let node = if to_a { lab.a.clone() } else { lab.b.clone() };
            let mut client = client.clone();
            tokio::spawn(async move { client.change(&*node, add(&number.to_string())).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let cart = lab.a.cart(&client.credential).await.unwrap();
    assert_eq!((cart.version, cart.lines.len()), (100, 100));
}

async fn a_session_that_was_logged_out_during_changes_stays_dead(lab: Lab) {
    if lives_at_the_client(&lab) {
        return;
    }
    for round in 0..20 {
        let client = Client::login(&*lab.a, "alice").await;
        let tasks: Vec<_> = (0..10)
            .map(|number| {
                let (node, mut client) = (lab.a.clone(), client.clone());
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
    let last = Client::login(&*lab.a, "alice").await;
    let listed = lab.a.sessions(&last.credential).await.unwrap();
    assert_eq!(listed.len(), 1);
}

async fn what_is_no_credential_is_refused(lab: Lab) {
    let token = Client::login(&*lab.a, "alice").await.credential.token;
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
    for token in tampered {
        let client = Client {
            credential: Credential::new(token),
        };
        assert!(!client.is_logged_in(&*lab.a).await);
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
