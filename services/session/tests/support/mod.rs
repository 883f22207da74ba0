//! What the tests share: a real `redis-server` of their own, and labs of two nodes for each strategy.
#![allow(dead_code, reason = "each test binary uses another part of it")]

pub(crate) mod detour;
pub(crate) mod sentinel;
pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

#[allow(unused_imports, reason = "not every test has users")]
pub(crate) use conformance::Client;
use session::jwt::{self, Jwt, Ring};
use session::redis::{self, Redis};
use session::sticky::{self, Sticky};
use session::{Change, Clock, Credential, Line, Strategy};

use self::store::Store;

pub(crate) const IDLE: Duration = Duration::from_mins(30);
pub(crate) const ABSOLUTE: Duration = Duration::from_hours(12);
/// How far the clocks of two nodes may differ, to tokens.
pub(crate) const LEEWAY: Duration = Duration::from_mins(1);
pub(crate) const MAX_LINES: usize = 200;
pub(crate) const KEY: &[u8; 32] = b"thirty-two bytes, only for tests";
/// Short, because tests wait for it; long beside the 50 µs that a healthy store takes.
pub(crate) const DEADLINE: Duration = Duration::from_millis(500);

/// Two nodes of one cluster.
pub(crate) struct Lab {
    pub(crate) a: Arc<dyn Strategy>,
    pub(crate) b: Arc<dyn Strategy>,
    pub(crate) clock: Clock,
    pub(crate) store: Option<Store>,
}

impl Lab {
    pub(crate) fn sticky() -> Self {
        let clock = Clock::system();
        let node = || Arc::new(sticky_node(1_000_000, &clock));
        Self::of(node(), node(), &clock, None)
    }

    pub(crate) fn redis() -> Self {
        let (clock, store) = (Clock::system(), Store::start());
        let node = || Arc::new(redis_node(&store, &clock));
        Self::of(node(), node(), &clock, Some(store))
    }

    pub(crate) fn jwt() -> Self {
        let clock = Clock::system();
        let node = || Arc::new(jwt_node(KEY, &clock));
        Self::of(node(), node(), &clock, None)
    }

    fn of<S: Strategy>(a: Arc<S>, b: Arc<S>, clock: &Clock, store: Option<Store>) -> Self {
        let clock = clock.clone();
        Self { a, b, clock, store }
    }

    /// Waits until both nodes serve.
    pub(crate) async fn ready(self) -> Self {
        ready(&*self.a).await;
        ready(&*self.b).await;
        self
    }
}

pub(crate) fn sticky_node(max_sessions: usize, clock: &Clock) -> Sticky {
    let settings = sticky::Settings {
        idle: IDLE,
        absolute: ABSOLUTE,
        max_sessions,
        max_lines: MAX_LINES,
    };
    Sticky::new(settings, clock.clone())
}

pub(crate) fn redis_node(store: &Store, clock: &Clock) -> Redis {
    redis_node_within(DEADLINE, store, clock)
}

/// For tests that ask so much of a store that a busy machine would miss the usual deadline.
pub(crate) fn redis_node_within(deadline: Duration, store: &Store, clock: &Clock) -> Redis {
    let settings = redis::Settings {
        url: store.url(),
        password: None,
        deadline,
        idle: IDLE,
        absolute: ABSOLUTE,
        max_lines: MAX_LINES,
    };
    Redis::connect(settings, clock.clone()).unwrap()
}

pub(crate) fn jwt_node(key: &[u8], clock: &Clock) -> Jwt {
    jwt_node_with(Ring::of_one(key).unwrap(), clock)
}

pub(crate) fn jwt_node_with(ring: Ring, clock: &Clock) -> Jwt {
    let settings = jwt::Settings {
        ring,
        lifetime: IDLE,
        leeway: LEEWAY,
        max_lines: MAX_LINES,
    };
    Jwt::new(settings, clock.clone())
}

/// The name of the cart in the credential of `jwt`.
pub(crate) const CART: &str = "cart";

pub(crate) fn credential_of(token: &str, cart: Option<&str>) -> Credential {
    let credential = Credential::new(token);
    match cart {
        Some(cart) => credential.with(CART, cart),
        None => credential,
    }
}

pub(crate) fn add(id: &str) -> Change {
    Change::Add(Line {
        id: id.to_owned(),
        sku: "tea-pot".to_owned(),
        quantity: 2,
    })
}

/// Waits until the node serves.
pub(crate) async fn ready(node: &dyn Strategy) {
    until("the node is ready", async || node.ready().await.is_ok()).await;
}

/// Waits for a condition; the bound only keeps a broken test from running for ever.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..6000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still not so: {what}");
}
