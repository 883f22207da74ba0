//! The life of a login, through the balancer: new ids, logout everywhere, forced logout, parallel changes, expiry.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use cluster::balancer::Order;
use reqwest::Method;
use tests::{STRATEGIES, User, cluster, revoke, send, turn_clocks, wait_for_rotation};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const WITH_SERVER_STATE: [&str; 2] = ["sticky", "redis"];

/// The statuses that every node gives to this user's credentials, asked past the balancer.
async fn at_every_node(cluster: &cluster::Cluster, strategy: &str, user: &User) -> Vec<u16> {
    let mut statuses = Vec::new();
    for node in NODES {
        statuses.push(user.at_node(cluster, strategy, node).me().await.status);
    }
    statuses
}

/// A copy of the user's cookies in a jar of its own, as a thief would have them.
fn thief(user: &User, cookies: &str) -> User {
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("cookie", cookies.parse().unwrap());
    User {
        client: reqwest::Client::builder()
            .default_headers(headers)
            .build()
            .unwrap(),
        ..user.clone()
    }
}

/// All cookies that an answer sets, as a request would carry them.
fn carried(answer: &tests::Answer) -> String {
    let pairs: Vec<_> = answer
        .set_cookies()
        .filter_map(|cookie| cookie.split(';').next())
        .collect();
    pairs.join("; ")
}

#[tokio::test]
async fn a_login_makes_a_new_id_and_the_old_one_is_dead() {
    let cluster = cluster(&WITH_SERVER_STATE).await;
    for strategy in WITH_SERVER_STATE {
        let mut user = User::new(&cluster, strategy, 1);
        let first = user.login().await.expect(200);
        let old = thief(&user, &carried(&first));
        old.me().await.expect(200);
        let name = format!("session-{strategy}");
        let second = user.login().await.expect(200);
        assert_ne!(first.cookie(&name), second.cookie(&name), "{strategy}");
        old.me().await.expect(401);
        user.me().await.expect(200);
    }
}

#[tokio::test]
async fn a_fixed_id_is_never_adopted() {
    let cluster = cluster(&WITH_SERVER_STATE).await;
    for strategy in WITH_SERVER_STATE {
        let name = format!("session-{strategy}");
        let planted = format!("{name}=AAAAAAAAAAAAAAAAAAAAAA");
        let victim = User::new(&cluster, strategy, 1);
        let mut victim = thief(&victim, &planted);
        let granted = victim.login().await.expect(200);
        assert_ne!(granted.cookie(&name).unwrap(), "AAAAAAAAAAAAAAAAAAAAAA");
        victim.me().await.expect(401);
    }
}

#[tokio::test]
async fn a_logout_is_seen_by_every_node() {
    let cluster = cluster(&WITH_SERVER_STATE).await;
    for strategy in WITH_SERVER_STATE {
        let mut user = User::new(&cluster, strategy, 1);
        let login = user.login().await.expect(200);
        // A jar of its own: the logout's answer clears the user's cookies, and a thief would keep them.
        let thief = thief(&user, &carried(&login));
        let before = at_every_node(&cluster, strategy, &thief).await;
        let accepted = before.iter().filter(|status| **status == 200).count();
        assert_eq!(
            accepted,
            if strategy == "sticky" { 1 } else { 3 },
            "{strategy}"
        );
        user.logout().await.expect(204);
        assert_eq!(
            at_every_node(&cluster, strategy, &thief).await,
            [401, 401, 401]
        );
        thief.me().await.expect(401);
    }
}

/// The load balancer sends users elsewhere while their node is in maintenance, and it keeps its sessions.
#[tokio::test]
async fn a_logout_at_another_node_ends_nothing_and_says_so() {
    let cluster = cluster(&["sticky"]).await;
    let mut user = User::new(&cluster, "sticky", 1);
    let login = user.login().await.expect(200);
    let (home, thief) = (login.node().to_owned(), thief(&user, &carried(&login)));
    cluster.order(&home, Order::Maint).await.unwrap();
    let bye = user.logout().await.expect(200);
    assert_ne!(bye.node(), home);
    assert_eq!(bye.body["ended"], false);
    assert_eq!(bye.cookie("session-sticky").as_deref(), Some(""));
    cluster.order(&home, Order::Ready).await.unwrap();
    // Nobody has checked it meanwhile, so it is not taken until a check has passed.
    wait_for_rotation(&cluster, "sticky", true).await;
    thief.me().await.expect(200);
    // Only there it can be ended.
    thief.logout().await.expect(204);
    thief.me().await.expect(401);
    thief
        .at_node(&cluster, "sticky", &home)
        .me()
        .await
        .expect(401);
}

#[tokio::test]
async fn a_logged_out_jwt_still_works_and_the_answer_says_until_when() {
    let cluster = cluster(&["jwt"]).await;
    let user = User::logged_in(&cluster, "jwt", 1).await;
    let expires = user.me().await.body["expires_at"].as_u64().expect("a time");
    let bye = user.logout().await.expect(204);
    // A token is taken for a minute longer than it says, for clocks that differ.
    let until = (expires + 60).to_string();
    assert_eq!(bye.header("x-credential-alive-until"), until);
    assert_eq!(at_every_node(&cluster, "jwt", &user).await, [200, 200, 200]);
}

#[tokio::test]
async fn a_user_sees_own_logins_and_ends_one() {
    let cluster = cluster(&["redis"]).await;
    let here = User::logged_in(&cluster, "redis", 1).await;
    let there = User::logged_in(&cluster, "redis", 1).await;
    let stranger = User::logged_in(&cluster, "redis", 2).await;
    let list = here.get("/sessions").await.expect(200);
    let sessions = list.body.as_array().or(list.body["sessions"].as_array());
    let sessions = sessions.expect("a list").clone();
    assert_eq!(sessions.len(), 2);
    let other = sessions.iter().find(|one| one["current"] == false).unwrap();
    let path = format!("/sessions/{}", other["id"].as_str().unwrap());

    send(stranger.request(Method::DELETE, &path))
        .await
        .expect(404);
    there.me().await.expect(200);
    let ended = send(here.request(Method::DELETE, &path)).await;
    assert!(matches!(ended.status, 200 | 204), "{ended:?}");
    there.me().await.expect(401);
    here.me().await.expect(200);
    send(here.request(Method::DELETE, &path)).await.expect(404);
}

#[tokio::test]
async fn an_operator_ends_every_login_of_a_user() {
    let cluster = cluster(&WITH_SERVER_STATE).await;
    for strategy in WITH_SERVER_STATE {
        let mut victims = Vec::new();
        for _ in 0..6 {
            victims.push(User::logged_in(&cluster, strategy, 1).await);
        }
        let bystander = User::logged_in(&cluster, strategy, 2).await;
        if strategy == "sticky" {
            // Each node knows its own sessions only, so the operator has to ask each of them.
            for node in NODES {
                let base = cluster.node_url(node);
                revoke(&cluster, &base, strategy, "user-000001")
                    .await
                    .expect(200);
            }
        } else {
            let base = cluster.url(strategy);
            revoke(&cluster, &base, strategy, "user-000001")
                .await
                .expect(200);
        }
        for victim in &victims {
            assert_eq!(
                at_every_node(&cluster, strategy, victim).await,
                [401, 401, 401]
            );
            victim.me().await.expect(401);
        }
        bystander.me().await.expect(200);
    }
}

#[tokio::test]
async fn a_hundred_parallel_adds_give_a_hundred_lines() {
    let cluster = cluster(&WITH_SERVER_STATE).await;
    for strategy in WITH_SERVER_STATE {
        let user = User::logged_in(&cluster, strategy, 1).await;
        let adds = (0..100).map(|number| {
            let mut user = user.clone();
            tokio::spawn(async move { user.add(&format!("line-{number}")).await.status })
        });
        for add in adds.collect::<Vec<_>>() {
            assert_eq!(add.await.unwrap(), 201);
        }
        let cart = user.cart().await.expect(200);
        assert_eq!(cart.body["version"], 100, "{strategy}");
        assert_eq!(cart.lines().len(), 100, "{strategy}");
    }
}

#[tokio::test]
async fn an_idle_session_expires_and_a_used_one_does_not() {
    let cluster = cluster(&STRATEGIES).await;
    let mut users = Vec::new();
    for strategy in STRATEGIES {
        users.push((strategy, User::logged_in(&cluster, strategy, 1).await));
    }
    // 20 minutes twice: more than the 30 minutes of idleness together, but each visit slides the expiry.
    for _ in 0..2 {
        turn_clocks(&cluster, 20 * 60).await;
        for (strategy, user) in &users {
            let alive = user.me().await.status;
            let passed_30 = user.me().await.status;
            assert_eq!(alive, passed_30);
            assert!(alive == 200 || *strategy == "jwt", "{strategy}: {alive}");
        }
    }
    // A token does not slide: 40 minutes are more than its 30.
    let (_, jwt) = users
        .iter()
        .find(|(strategy, _)| *strategy == "jwt")
        .unwrap();
    jwt.me().await.expect(401);

    turn_clocks(&cluster, 31 * 60).await;
    for (_, user) in &users {
        user.me().await.expect(401);
    }
}

#[tokio::test]
async fn twelve_hours_end_even_a_busy_session() {
    let cluster = cluster(&WITH_SERVER_STATE).await;
    let mut users = Vec::new();
    for strategy in WITH_SERVER_STATE {
        users.push(User::logged_in(&cluster, strategy, 1).await);
    }
    for _ in 0..35 {
        turn_clocks(&cluster, 20 * 60).await;
        for user in &users {
            user.me().await.expect(200);
        }
    }
    turn_clocks(&cluster, 21 * 60).await;
    for user in &users {
        user.me().await.expect(401);
    }
}
