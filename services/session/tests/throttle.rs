//! The throttle of logins: in a node's memory and in the store the same rule, in the store for all nodes together.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use std::net::IpAddr;
use std::time::Duration;

use session::throttle::{Attempt, Limit, Limits, Memory, Verdict};
use session::{Clock, Error, Throttle};

use support::{Lab, until};

const HOUR: Duration = Duration::from_hours(1);
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn limits(account: u32, address: u32) -> Limits {
    Limits {
        account: Limit::new(account, HOUR),
        address: Limit::new(address, HOUR),
    }
}

async fn verdict(throttle: &dyn Throttle, limits: &Limits, user: &str) -> Verdict {
    let attempt = Attempt {
        user,
        address: HERE,
    };
    throttle.reserve(limits, &attempt).await.unwrap()
}

async fn go(throttle: &dyn Throttle, limits: &Limits, user: &str) -> bool {
    verdict(throttle, limits, user).await == Verdict::Go
}

/// The same attempts at the same times lead to the same verdicts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_store_follow_the_same_rule() {
    let lab = Lab::redis().ready().await;
    let memory = Memory::new(lab.clock.clone());
    for throttle in [lab.a.throttle().unwrap(), &memory] {
        let limits = limits(2, 4);
        let allowed = [
            ("a", true),
            ("a", true),
            ("a", false),
            ("b", true),
            ("b", true),
            ("b", false),
            ("c", false),
        ];
        for (user, allowed) in allowed {
            assert_eq!(go(throttle, &limits, user).await, allowed, "{user}");
        }
        let Verdict::Wait(wait) = verdict(throttle, &limits, "a").await else {
            panic!("not refused");
        };
        // The turned clock decides; what real time passes meanwhile only makes it shorter.
        assert!(wait <= HOUR && wait > HOUR / 2);
        let attempt = Attempt {
            user: "a",
            address: HERE,
        };
        throttle.give_back(&limits, &attempt).await.unwrap();
        assert!(go(throttle, &limits, "a").await);
        assert!(!go(throttle, &limits, "a").await);
        lab.clock.turn(HOUR);
        assert!(go(throttle, &limits, "a").await);
        assert!(
            !go(throttle, &limits, "b").await,
            "one came back to the address, and a has it"
        );
        lab.clock.turn(HOUR * 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_the_attempts_where_there_is_a_store() {
    let lab = Lab::redis().ready().await;
    let (a, b) = (lab.a.throttle().unwrap(), lab.b.throttle().unwrap());
    let limits = limits(3, 0);
    assert!(go(a, &limits, "alice").await);
    assert!(go(b, &limits, "alice").await);
    assert!(go(a, &limits, "alice").await);
    assert!(!go(a, &limits, "alice").await);
    assert!(!go(b, &limits, "alice").await);
    assert!(go(b, &limits, "bob").await);
    for without_store in [Lab::sticky(), Lab::jwt()] {
        assert!(without_store.a.throttle().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_guesses_do_not_slip_through() {
    let lab = Lab::redis().ready().await;
    let (node, memory) = (
        lab.a.clone(),
        std::sync::Arc::new(Memory::new(Clock::system())),
    );
    for in_store in [true, false] {
        let guesses = (0..200).map(|_| {
            let (node, memory) = (node.clone(), memory.clone());
            tokio::spawn(async move {
                let throttle: &dyn Throttle = if in_store {
                    node.throttle().unwrap()
                } else {
                    &*memory
                };
                go(throttle, &limits(7, 0), "alice").await
            })
        });
        let mut allowed = 0;
        for guess in guesses.collect::<Vec<_>>() {
            allowed += usize::from(guess.await.unwrap());
        }
        assert_eq!(allowed, 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_holds_no_name_and_forgets_by_itself() {
    let lab = Lab::redis().ready().await;
    let store = lab.store.as_ref().unwrap();
    let throttle = lab.a.throttle().unwrap();
    let both = limits(10, 100);
    let calls = lab.a.store_use().unwrap().calls;
    assert!(go(throttle, &both, "user-000001").await);
    assert!(go(throttle, &both, "user-000001").await);
    let calls = lab.a.store_use().unwrap().calls - calls;
    assert_eq!(calls, 3, "two, and one more to learn the script");
    let keys = store.keys("*");
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        assert!(!key.contains("user") && !key.contains("127.0"), "{key}");
        let left_ms: u64 = store.ask(&format!("PTTL {key}"));
        assert!(left_ms <= 2 * 3_600_000, "{left_ms}");
    }
    let attempt = Attempt {
        user: "user-000001",
        address: HERE,
    };
    for _ in 0..2 {
        throttle.give_back(&both, &attempt).await.unwrap();
    }
    assert!(
        store.keys("*").is_empty(),
        "a right password leaves nothing"
    );

    let soon = Limits {
        account: Limit::new(1, Duration::from_millis(1)),
        address: None,
    };
    throttle.reserve(&soon, &attempt).await.unwrap();
    until("the key is gone", async || store.keys("*").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_lets_nobody_guess() {
    let mut lab = Lab::redis().ready().await;
    lab.store.as_mut().unwrap().kill();
    let attempt = Attempt {
        user: "alice",
        address: HERE,
    };
    let throttle = lab.a.throttle().unwrap();
    let refused = throttle.reserve(&limits(10, 100), &attempt).await;
    assert!(matches!(refused, Err(Error::StoreUnavailable { .. })));
}
