//! Guessed passwords: how many may be tried, by account and by address, and what the answers give away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::net::IpAddr;

use reqwest::{Client, Method};
use serde_json::json;
use tests::direct::{at_node, guess_at, problem};
use tests::{User, client, cluster_with, send, turn_clocks};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

#[tokio::test]
async fn guesses_are_counted_by_account_on_all_nodes_where_there_is_a_store() {
    let strategies = ["redis", "sticky"];
    let cluster = cluster_with(&strategies, |spec| {
        spec.shop_args.push("--login-attempts-per-account=3".into());
        spec.shop_args.push("--login-account-refill-s=3600".into());
    })
    .await;
    for node in NODES {
        guess_at(&cluster, node, "redis", "user-000001")
            .await
            .expect(401);
    }
    for node in NODES {
        let refused = guess_at(&cluster, node, "redis", "user-000001").await;
        assert_eq!(problem(&refused), (429, "/problems/too-many-attempts"));
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=3600).contains(&wait), "{wait}");
    }
    // The right password gets the same answer: else it would be told from a wrong one.
    let mut owner = User::new(&cluster, "redis", 1);
    owner.login().await.expect(429);
    User::logged_in(&cluster, "redis", 2).await;
    turn_clocks(&cluster, 3600).await;
    for _ in 0..5 {
        owner.login().await.expect(200);
    }

    for _ in 0..3 {
        guess_at(&cluster, "node-1", "sticky", "user-000003")
            .await
            .expect(401);
    }
    guess_at(&cluster, "node-1", "sticky", "user-000003")
        .await
        .expect(429);
    guess_at(&cluster, "node-2", "sticky", "user-000003")
        .await
        .expect(401);
}

/// A client whose connections come from another address. All of 127.0.0.0/8 is ours.
fn from(address: [u8; 4]) -> Client {
    let client = Client::builder().local_address(IpAddr::from(address));
    client.build().unwrap()
}

#[tokio::test]
async fn guesses_are_counted_by_the_address_that_the_balancer_saw() {
    let strategies = ["redis", "jwt"];
    let limits = [
        "--login-attempts-per-address=3",
        "--login-address-refill-s=3600",
    ];
    let cluster = cluster_with(&strategies, |spec| {
        spec.nodes = 1;
        spec.shop_args.extend(limits.map(Into::into));
    })
    .await;
    let [one, other] = [[127, 1, 1, 1], [127, 2, 2, 2]].map(from);
    for strategy in strategies {
        let guess = |client: &Client, number: u32| {
            let wish = json!({"user": format!("user-{number:06}"), "password": "wrong"});
            client
                .post(format!("{}/login", cluster.url(strategy)))
                .json(&wish)
        };
        for number in 1..=3 {
            send(guess(&one, number)).await.expect(401);
        }
        let refused = send(guess(&one, 4)).await;
        assert_eq!(problem(&refused), (429, "/problems/too-many-attempts"));
        // What a client says of itself, the balancer replaces.
        let forged = guess(&one, 4).header("x-forwarded-for", "203.0.113.9");
        send(forged).await.expect(429);
        send(guess(&other, 4)).await.expect(401);
    }
}

/// The outer proxy's connections come from one address; its users are told apart by what it says of them.
#[tokio::test]
async fn users_behind_an_outer_proxy_do_not_share_a_throttle() {
    let strategies = ["redis", "jwt"];
    let cluster = cluster_with(&strategies, |spec| {
        spec.nodes = 1;
        spec.shop_args.push("--login-attempts-per-address=3".into());
        spec.shop_args.push("--login-address-refill-s=3600".into());
        spec.balancer_toml = "[clients]\ntrusted_proxies = [\"127.1.1.1\"]\n".into();
    })
    .await;
    let [proxy, stranger] = [[127, 1, 1, 1], [127, 2, 2, 2]].map(from);
    for strategy in strategies {
        let login = |client: &Client, name: &str, value: &str, number: u32, password: &str| {
            let wish = json!({"user": format!("user-{number:06}"), "password": password});
            let request = client.post(format!("{}/login", cluster.url(strategy)));
            request.json(&wish).header(name, value)
        };
        for (name, one, other) in [
            ("x-forwarded-for", "192.0.2.7", "192.0.2.8"),
            (
                "x-forwarded-for",
                "9.9.9.9, 192.0.2.9",
                "9.9.9.9, 192.0.2.10",
            ),
            ("forwarded", "for=192.0.2.11", "for=\"192.0.2.12:80\""),
        ] {
            for number in 1..=3 {
                send(login(&proxy, name, one, number, "wrong"))
                    .await
                    .expect(401);
            }
            let refused = send(login(&proxy, name, one, 4, "wrong")).await;
            assert_eq!(problem(&refused), (429, "/problems/too-many-attempts"));
            let right = login(&proxy, name, other, 4, cluster.password());
            send(right).await.expect(200);
        }
        // Who is no proxy has one throttle, whatever it says.
        for number in 1..=3 {
            let value = format!("203.0.113.{number}");
            send(login(&stranger, "x-forwarded-for", &value, number, "wrong"))
                .await
                .expect(401);
        }
        send(login(
            &stranger,
            "x-forwarded-for",
            "203.0.113.9",
            4,
            "wrong",
        ))
        .await
        .expect(429);
    }
}

#[tokio::test]
async fn who_is_no_balancer_speaks_for_nobody() {
    let cluster = cluster_with(&["sticky"], |spec| {
        spec.nodes = 1;
        spec.shop_args.push("--login-attempts-per-address=2".into());
        spec.shop_args.push("--login-address-refill-s=3600".into());
        spec.shop_args.push("--trusted-balancers=192.0.2.1".into());
    })
    .await;
    let mut statuses = Vec::new();
    for number in 1..=4 {
        let wish = json!({"user": format!("user-{number:06}"), "password": "wrong"});
        let guess = at_node(&cluster, "node-1", "sticky", Method::POST, "/login").json(&wish);
        let guess = guess.header("x-forwarded-for", format!("203.0.113.{number}"));
        statuses.push(send(guess).await.status);
    }
    assert_eq!(statuses, [401, 401, 429, 429]);
}

#[tokio::test]
async fn unknown_users_are_throttled_and_answered_like_known_ones() {
    let cluster = cluster_with(&["redis", "jwt"], |spec| {
        spec.nodes = 1;
        spec.shop_args.push("--login-attempts-per-account=2".into());
        spec.shop_args.push("--login-account-refill-s=3600".into());
    })
    .await;
    for strategy in ["redis", "jwt"] {
        let mut seen = Vec::new();
        for user in ["user-000001", "user-999999", "nobody"] {
            let mut answers = Vec::new();
            for _ in 0..3 {
                let answer = guess_at(&cluster, "node-1", strategy, user).await;
                let names: Vec<_> = answer.headers.keys().cloned().collect();
                answers.push((answer.status, answer.body, names));
            }
            seen.push(answers);
        }
        assert_eq!(seen[0][2].0, 429);
        assert_eq!(seen[0], seen[1], "{strategy}");
        assert_eq!(seen[0], seen[2], "{strategy}");
    }
}

#[tokio::test]
async fn every_guess_costs_the_same_work() {
    let cluster = cluster_with(&["sticky"], |spec| spec.nodes = 1).await;
    let checks = async || {
        let page = client().get(format!("{}/metrics", cluster.node_url("node-1")));
        let page = page.send().await.unwrap().text().await.unwrap();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("shop_password_checks_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    for (user, password, status) in [
        ("user-000001", cluster.password(), 200),
        ("user-000001", "wrong", 401),
        ("user-999999", cluster.password(), 401),
        ("nobody", "wrong", 401),
        ("nobody", "", 401),
    ] {
        let before = checks().await;
        let wish = json!({"user": user, "password": password});
        let login = at_node(&cluster, "node-1", "sticky", Method::POST, "/login").json(&wish);
        send(login).await.expect(status);
        assert_eq!(checks().await, before + 1, "{user}");
    }
}
