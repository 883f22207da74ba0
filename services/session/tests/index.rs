//! The index of a user's logins: what depends on it, and what a user with very many logins costs everybody else.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use session::throttle::{Attempt, Limit, Limits, Verdict};
use session::{Clock, Strategy};
use tokio::runtime::Builder;

use support::store::Store;
use support::{Client, IDLE, Lab, ready, redis_node, redis_node_within, sticky_node};

/// A store that evicts takes any key it likes; each of a login's two is taken away in turn.
#[tokio::test]
async fn a_login_that_a_revocation_cannot_see_is_dead() {
    for lost in ["u:*", "s:*"] {
        let lab = Lab::redis().ready().await;
        let store = lab.store.as_ref().unwrap();
        let alice = Client::login(&*lab.a, "alice").await;
        let bob = Client::login(&*lab.a, "bob").await;
        let key = store.keys(lost).into_iter().find(|key| {
            let owner = alice.credential.token().split_once('.').unwrap().0;
            key.contains(owner)
        });
        store.ask::<()>(&format!("DEL {}", key.unwrap()));
        let ended = lab.b.revoke("alice").await.unwrap();
        let lives = alice.is_logged_in(&*lab.a).await;
        assert!(!lives, "{lost} is gone; revoked: {ended}");
        assert!(bob.is_logged_in(&*lab.a).await);

        // What begins now has nothing to do with what was before.
        let again = Client::login(&*lab.a, "alice").await;
        assert!(again.is_logged_in(&*lab.b).await);
        assert!(!alice.is_logged_in(&*lab.a).await);
        assert_eq!(lab.b.revoke("alice").await.unwrap(), 1);
        assert!(!again.is_logged_in(&*lab.a).await);
    }
}

#[tokio::test]
async fn no_request_brings_a_lost_index_back() {
    let lab = Lab::redis().ready().await;
    let store = lab.store.as_ref().unwrap();
    let mut alice = Client::login(&*lab.a, "alice").await;
    let index = store.keys("u:*").pop().unwrap();
    store.ask::<()>(&format!("DEL {index}"));
    // Late enough to be written down as a use.
    lab.clock.turn(Duration::from_mins(5));
    assert!(!alice.is_logged_in(&*lab.a).await);
    assert!(alice.change(&*lab.a, support::add("a")).await.is_err());
    assert!(lab.a.sessions(&alice.credential).await.is_err());
    assert!(store.keys("u:*").is_empty());
}

/// The work of a revocation in the store, by the commands that it takes there.
#[tokio::test]
async fn a_revocation_is_one_short_script_however_many_logins_there_are() {
    let store = Store::start();
    let node = redis_node_within(Duration::from_mins(1), &store, &Clock::system());
    ready(&node).await;
    // The script is learned here.
    node.revoke("nobody").await.unwrap();
    let mut taken = Vec::new();
    for logins in [10, 1_000] {
        for _ in 0..logins {
            node.login("alice", None).await.unwrap();
        }
        let (before, calls) = (store.commands(), node.store_use().unwrap().calls);
        assert_eq!(node.revoke("alice").await.unwrap(), logins);
        taken.push(store.commands() - before);
        assert_eq!(node.store_use().unwrap().calls - calls, 1);
    }
    assert_eq!(taken[0], taken[1]);
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// CPU time that it takes to end `logins` logins of one user, and how often others were let go first.
fn end_all(logins: u64, how: &impl AsyncFn(&session::sticky::Sticky, &Clock)) -> (Duration, u32) {
    let clock = Clock::system();
    let node = sticky_node(1_000_000, &clock);
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for _ in 0..logins {
            node.login("alice", None).await.unwrap();
        }
        let (mut turns, begun) = (0, cpu_time());
        let mut work = pin!(how(&node, &clock));
        poll_fn(|context| {
            turns += 1;
            work.as_mut().poll(context)
        })
        .await;
        assert_eq!(node.sessions_owned(), Some(0));
        (cpu_time().saturating_sub(begun), turns)
    })
}

/// Sixteen times the logins take sixteen times the work, give or take what caches do; not 256 times.
fn is_linear(how: &impl AsyncFn(&session::sticky::Sticky, &Clock)) -> u32 {
    let (few, _) = end_all(4_000, how);
    let (many, turns) = end_all(64_000, how);
    assert!(many < few * 80, "{few:?} became {many:?}");
    turns
}

#[test]
fn a_revocation_on_a_node_is_linear_and_lets_others_go_first() {
    let turns = is_linear(&async |node, _| {
        node.revoke("alice").await.unwrap();
    });
    assert!(turns > 64, "{turns}");
}

#[test]
fn sweeping_the_logins_of_one_user_is_linear() {
    is_linear(&async |node, clock| {
        clock.turn(IDLE);
        while node.sessions_owned() != Some(0) {
            node.sweep_step();
        }
    });
}

/// An experiment's clock is not the others'.
#[tokio::test]
async fn a_node_that_is_ahead_ends_nothing_in_the_store() {
    let lab = Lab::redis().ready().await;
    let ahead = Clock::system();
    let wrong = redis_node(lab.store.as_ref().unwrap(), &ahead);
    ready(&wrong).await;
    ahead.turn(IDLE + Duration::from_mins(1));

    let phone = Client::login(&*lab.a, "alice").await;
    let laptop = Client::login(&*lab.a, "alice").await;
    let _ = wrong.authenticate(&phone.credential).await;
    let _ = wrong.cart(&laptop.credential).await;
    let _ = wrong.sessions(&laptop.credential).await;
    Client::login(&wrong, "alice").await;
    assert!(phone.is_logged_in(&*lab.a).await);
    assert!(laptop.is_logged_in(&*lab.b).await);
    let listed = lab.a.sessions(&phone.credential).await.unwrap().value;
    assert_eq!(listed.len(), 3);
    assert_eq!(wrong.revoke("alice").await.unwrap(), 3);
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_judges_as_all_others() {
    fn in_an_hour() -> SystemTime {
        SystemTime::now() + Duration::from_hours(1)
    }
    fn a_day_ago() -> SystemTime {
        SystemTime::now() - Duration::from_hours(24)
    }
    let lab = Lab::redis().ready().await;
    let limits = Limits {
        account: Limit::new(2, Duration::from_hours(1)),
        address: None,
    };
    let attempt = Attempt {
        user: "alice",
        address: [127, 0, 0, 1].into(),
    };
    for wrong in [in_an_hour, a_day_ago] {
        let wrong = redis_node(lab.store.as_ref().unwrap(), &Clock::of(wrong));
        ready(&wrong).await;
        let here = Client::login(&*lab.a, "alice").await;
        let granted = wrong.login("alice", None).await.unwrap();
        assert!(lab.clock.now().abs_diff(granted.value.issued_at) < 600);
        assert_eq!(
            granted.value.expires_at - granted.value.issued_at,
            IDLE.as_secs()
        );
        let there = Client {
            credential: granted.reissued.unwrap(),
        };
        for (client, node) in [
            (&here, &wrong as &dyn Strategy),
            (&there, &wrong),
            (&here, &*lab.b),
            (&there, &*lab.b),
        ] {
            let session = node.authenticate(&client.credential).await.unwrap().value;
            assert!(lab.clock.now().abs_diff(session.issued_at) < 600);
            let listed = node.sessions(&client.credential).await.unwrap().value;
            assert_eq!(listed.len(), 2);
        }
        assert_eq!(wrong.revoke("alice").await.unwrap(), 2);
        assert!(!here.is_logged_in(&*lab.b).await);

        // The same of login attempts: what one node counts, the other neither forgets nor counts twice.
        let throttles = [wrong.throttle().unwrap(), lab.a.throttle().unwrap()];
        for throttle in throttles {
            let verdict = throttle.reserve(&limits, &attempt).await.unwrap();
            assert_eq!(verdict, Verdict::Go);
        }
        for throttle in throttles {
            let verdict = throttle.reserve(&limits, &attempt).await.unwrap();
            let Verdict::Wait(wait) = verdict else {
                panic!("not refused");
            };
            assert!(wait <= Duration::from_hours(1));
        }
        for throttle in throttles {
            throttle.give_back(&limits, &attempt).await.unwrap();
        }
    }
}
