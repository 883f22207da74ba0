//! What users of each strategy see while the store fails in one way or another, and after it: the rows of the table in
//! `docs/failure.md`. All strategies run side by side on the same nodes behind the load balancer.
//!
//! Each failure is seen twice. First by asking nodes themselves: that is what the load balancer passes on until it has
//! noticed. Then through the load balancer, when it has drawn its conclusions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use cluster::Cluster;
use reqwest::Method;
use tests::failure::Failure;
use tests::{
    Answer, STRATEGIES, User, cluster_with, eventually, send, states, table, wait_for_rotation,
};

/// For failures that must not take nodes out of rotation: two checks that fail within a second and a half would.
const WATCHED: Duration = Duration::from_secs(3);

/// Three users of one strategy, so that what one of them does changes nothing for the others.
struct Cast {
    strategy: &'static str,
    /// Is logged in, has a line in the cart, looks at it and adds one.
    shopper: User,
    /// Is logged in and wants to end that.
    leaver: User,
    /// Wants to log in.
    newcomer: User,
}

impl Cast {
    async fn meet(cluster: &Cluster, strategy: &'static str, number: u32, direct: bool) -> Self {
        let at = |user: User| {
            if direct {
                user.at_node(cluster, strategy, "node-1")
            } else {
                user
            }
        };
        let mut shopper = at(User::new(cluster, strategy, number));
        shopper.login().await.expect(200);
        shopper.add("kept").await.expect(201);
        let mut leaver = at(User::new(cluster, strategy, number + 1));
        leaver.login().await.expect(200);
        let newcomer = at(User::new(cluster, strategy, number + 2));
        Self {
            strategy,
            shopper,
            leaver,
            newcomer,
        }
    }

    /// Everybody does what they came for. An answer that does not come within ten seconds fails the test.
    async fn act(&mut self) -> Seen {
        let seen = Seen {
            calls: [
                self.shopper.me().await,
                self.shopper.cart().await,
                self.shopper.add("late").await,
                self.newcomer.login().await,
                self.leaver.logout().await,
            ],
        };
        for answer in &seen.calls {
            if answer.status >= 400 {
                assert_eq!(answer.status, 503, "{answer:?}");
                assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
            }
        }
        seen
    }

    /// When all is well again: what was theirs before is theirs now.
    async fn look_back(&mut self, seen: &Seen) {
        let [.., add, login, logout] = &seen.calls;
        let lines = self.shopper.cart().await.expect(200).lines();
        // What was refused may have been done all the same; what was acknowledged must have been.
        let acknowledged = if add.status == 201 { 2 } else { 1 };
        assert!(lines.len() >= acknowledged, "{lines:?}");
        assert_eq!(lines, ["kept", "late"][..lines.len()]);

        let after_logout = self.leaver.me().await.status;
        match (logout.status, self.strategy) {
            // As declared: nobody can take a token back.
            (204, "jwt") => assert_eq!(after_logout, 200),
            (204, _) => assert_eq!(after_logout, 401),
            // A logout that was refused may have been done all the same, but the user still has the cookie.
            _ => assert!(matches!(after_logout, 200 | 401), "{after_logout}"),
        }
        if login.status != 200 {
            self.newcomer.login().await.expect(200);
        }
        self.newcomer.me().await.expect(200);
    }
}

/// The answers to the calls of the table's columns, in their order.
struct Seen {
    calls: [Answer; 5],
}

/// Status, and for a problem the last part of its type.
fn word(answer: &Answer) -> String {
    match answer.body["type"].as_str() {
        Some(kind) => {
            let name = kind.rsplit(['/', ':']).next().unwrap();
            format!("{} `{name}`", answer.status)
        }
        None => answer.status.to_string(),
    }
}

/// What the node said, and what the load balancer said later where that is something else.
fn cell(first: &Answer, then: &Answer) -> String {
    let (node, later) = (word(first), word(then));
    let status = format!("{} ", first.status);
    match later.strip_prefix(&status) {
        _ if node == later => node,
        Some(kind) => format!("{node}, then {kind}"),
        None => format!("{node}, then {later}"),
    }
}

/// Between the failure and the moment at which the load balancer has drawn its conclusions, looks go on through it.
async fn settle(cluster: &Cluster, failure: Failure, watchers: &[(&str, User)]) {
    let began = Instant::now();
    eventually("the load balancer has drawn its conclusions", async || {
        for (strategy, user) in watchers {
            let answer = user.cart().await;
            assert_eq!(answer.set_cookies().count(), 0, "{strategy}: {answer:?}");
            match *strategy {
                "redis" => assert!(matches!(answer.status, 200 | 503), "{answer:?}"),
                _ => assert_eq!(answer.status, 200, "{strategy}: {answer:?}"),
            }
        }
        let states = states(cluster, "redis").await;
        if failure.takes_nodes_out() {
            return states.values().all(|state| state != "up").then_some(());
        }
        assert!(states.values().all(|state| state == "up"), "{states:?}");
        (began.elapsed() > WATCHED).then_some(())
    })
    .await;
}

/// What a node says of its readiness for a strategy.
async fn readiness(cluster: &Cluster, strategy: &str) -> Answer {
    let node = User::new(cluster, strategy, 1).at_node(cluster, strategy, "node-1");
    send(node.request(Method::GET, "/readyz")).await
}

/// Does it all for one failure.
async fn observe(failure: Failure) {
    let cluster = cluster_with(&STRATEGIES, |spec| {
        spec.nodes = 2;
        spec.shop_args.extend(failure.node_settings());
    })
    .await;
    let (mut at_node, mut behind, mut watchers) = (Vec::new(), Vec::new(), Vec::new());
    for (strategy, number) in STRATEGIES.into_iter().zip([100, 200, 300]) {
        at_node.push(Cast::meet(&cluster, strategy, number, true).await);
        behind.push(Cast::meet(&cluster, strategy, number + 10, false).await);
        let watcher = User::logged_in(&cluster, strategy, number + 20).await;
        watchers.push((strategy, watcher));
    }

    let mut outage = failure.begin(&cluster).await;
    let mut first = Vec::new();
    for cast in &mut at_node {
        first.push(cast.act().await);
    }
    settle(&cluster, failure, &watchers).await;
    let mut then = Vec::new();
    for cast in &mut behind {
        then.push(cast.act().await);
    }

    let mut observed: Vec<(&str, Vec<String>)> = Vec::new();
    for (place, strategy) in STRATEGIES.into_iter().enumerate() {
        let (first, then) = (&first[place], &then[place]);
        let mut cells: Vec<_> = first
            .calls
            .iter()
            .zip(&then.calls)
            .map(|(first, then)| cell(first, then))
            .collect();
        cells.push(word(&readiness(&cluster, strategy).await));
        cells.push(rotation(&cluster, strategy).await);
        cells.push(credential(first, then));
        observed.push((strategy, cells));
    }

    outage.end().await;
    wait_for_rotation(&cluster, "redis", true).await;
    for (casts, seen) in [(&mut at_node, &first), (&mut behind, &then)] {
        for (cast, seen) in casts.iter_mut().zip(seen) {
            // A node may be back in rotation for one user and not yet there for another who asks it directly.
            eventually(&format!("{} serves again", cast.strategy), async || {
                let answer = cast.shopper.me().await;
                assert!(matches!(answer.status, 200 | 503), "{answer:?}");
                (answer.status == 200).then_some(())
            })
            .await;
            cast.look_back(seen).await;
        }
    }
    for (_, cells) in &mut observed {
        // `look_back` would not have come back otherwise.
        cells.push("all there".to_owned());
    }
    table::check(failure, &rows(failure, observed));
}

/// How many nodes get requests of a strategy.
async fn rotation(cluster: &Cluster, strategy: &str) -> String {
    let states = states(cluster, strategy).await;
    let up = states.values().filter(|state| *state == "up").count();
    match up {
        0 => "none".to_owned(),
        _ if up == states.len() => "all".to_owned(),
        _ => format!("{up} of {}", states.len()),
    }
}

/// Whether any answer that refused something touched a cookie.
fn credential(first: &Seen, then: &Seen) -> String {
    let mut refusals = first.calls.iter().chain(&then.calls);
    let touched = refusals.any(|answer| answer.status >= 400 && answer.set_cookies().count() > 0);
    if touched { "changed" } else { "kept" }.to_owned()
}

/// One row for the strategies that saw the same.
fn rows(failure: Failure, observed: Vec<(&str, Vec<String>)>) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (strategy, cells) in observed {
        match groups.iter_mut().find(|(_, known)| *known == cells) {
            Some((names, _)) => *names = format!("{names}, {strategy}"),
            None => groups.push((strategy.to_owned(), cells)),
        }
    }
    groups
        .into_iter()
        .map(|(names, cells)| format!("| {} | {names} | {} |", failure.name(), cells.join(" | ")))
        .collect()
}

#[tokio::test]
async fn killed() {
    observe(Failure::Killed).await;
}

#[tokio::test]
async fn paused() {
    observe(Failure::Paused).await;
}

#[tokio::test]
async fn out_of_memory() {
    observe(Failure::OutOfMemory).await;
}

#[tokio::test]
async fn read_only() {
    observe(Failure::ReadOnly).await;
}

#[tokio::test]
async fn without_its_replica() {
    observe(Failure::WithoutReplica).await;
}

#[tokio::test]
async fn unable_to_save() {
    observe(Failure::UnableToSave).await;
}

#[tokio::test]
async fn stale_replica() {
    observe(Failure::Stale).await;
}

#[tokio::test]
async fn loading() {
    observe(Failure::Loading).await;
}

#[tokio::test]
async fn slow_by_200_ms() {
    observe(Failure::SlowBy200Ms).await;
}

#[tokio::test]
async fn slow_by_2_s() {
    observe(Failure::SlowBy2S).await;
}

#[tokio::test]
async fn not_a_redis() {
    observe(Failure::NotARedis).await;
}

#[tokio::test]
async fn nonsense() {
    observe(Failure::Nonsense).await;
}

#[tokio::test]
async fn wrong_password() {
    observe(Failure::WrongPassword).await;
}

#[test]
fn the_table_is_whole() {
    table::check_whole();
}
