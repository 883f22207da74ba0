//! Sessions under attack, from outside: cookies that nobody can plant, pages of other sites, guessed passwords, and
//! what logs and metrics give away. `docs/security.md` says which rule each test shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use loadtest::cluster::Cluster;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{Answer, STRATEGIES, User, client, cluster, cluster_with, send, turn_clocks};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// A request to a node itself, past the balancer.
fn at_node(
    cluster: &Cluster,
    node: &str,
    strategy: &str,
    method: Method,
    path: &str,
) -> RequestBuilder {
    Client::new()
        .request(method, format!("{}{path}", cluster.node_url(node)))
        .header("x-session-strategy", strategy)
}

fn wish(cluster: &Cluster, user: &str) -> Value {
    json!({"user": user, "password": cluster.password()})
}

async fn guess_at(cluster: &Cluster, node: &str, strategy: &str, user: &str) -> Answer {
    let wish = json!({"user": user, "password": "wrong"});
    send(at_node(cluster, node, strategy, Method::POST, "/login").json(&wish)).await
}

fn problem(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["type"].as_str().unwrap_or(""))
}

/// `name=value` of each cookie of the session that an answer sets.
fn session_cookies(answer: &Answer) -> Vec<String> {
    let set = answer
        .set_cookies()
        .filter(|line| !line.contains("affinity="));
    set.map(|line| line.split(';').next().unwrap_or("").to_owned())
        .collect()
}

#[tokio::test]
async fn with_https_cookies_are_bound_to_the_host_and_plain_names_are_dead() {
    let cluster = cluster_with(&STRATEGIES, |spec| {
        spec.shop_args
            .push("--public-url=https://lab.example".into());
    })
    .await;
    for strategy in STRATEGIES {
        let mut wish = wish(&cluster, "user-000001");
        if strategy == "jwt" {
            wish["transport"] = json!("cookie");
        }
        let login = at_node(&cluster, "node-1", strategy, Method::POST, "/login").json(&wish);
        let login = send(login).await.expect(200);
        for line in login.set_cookies() {
            assert!(line.starts_with("__Host-"), "{line}");
            assert!(
                line.contains("; Secure") && line.contains("; HttpOnly"),
                "{line}"
            );
            assert!(
                line.contains("; SameSite=Lax") && line.contains("; Path=/"),
                "{line}"
            );
            assert!(!line.to_lowercase().contains("domain"), "{line}");
        }
        let good = &session_cookies(&login)[0];
        let plain = good.strip_prefix("__Host-").unwrap();
        let me = || at_node(&cluster, "node-1", strategy, Method::GET, "/me");
        send(me().header("cookie", good)).await.expect(200);
        send(me().header("cookie", plain)).await.expect(401);
        let planted = format!("{plain}x; {good}");
        send(me().header("cookie", planted)).await.expect(200);
    }
}

#[tokio::test]
async fn a_second_cookie_of_the_same_name_is_refused() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let mut wish = wish(&cluster, "user-000001");
        if strategy == "jwt" {
            wish["transport"] = json!("cookie");
        }
        let login = at_node(&cluster, "node-1", strategy, Method::POST, "/login").json(&wish);
        let good = session_cookies(&send(login).await.expect(200)).swap_remove(0);
        let (name, _) = good.split_once('=').unwrap();
        for (method, path) in [(Method::GET, "/me"), (Method::POST, "/logout")] {
            let ask = || at_node(&cluster, "node-1", strategy, method.clone(), path);
            for second in [good.clone(), format!("{name}=planted"), format!("{name}=")] {
                let one_line = ask().header("cookie", format!("{good}; {second}"));
                let two_lines = ask().header("cookie", &second).header("cookie", &good);
                for request in [one_line, two_lines] {
                    let answer = send(request).await;
                    let expected = (400, "/problems/ambiguous-credential");
                    assert_eq!(problem(&answer), expected, "{strategy} {path}");
                }
            }
        }
        let me = at_node(&cluster, "node-1", strategy, Method::GET, "/me");
        send(me.header("cookie", &good)).await.expect(200);
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let mut user = User::logged_in(&cluster, strategy, 1).await;
        user.add("kept").await.expect(201);
        let ours = cluster.url(strategy);
        let line = json!({"id": "planted", "sku": "s", "quantity": 1});
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            // The same host on another port is another origin, and SameSite does not tell them apart.
            ("origin", &ours.replace("http://", "https://")),
            ("origin", &cluster.admin_url()),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for request in [
                user.request(Method::POST, "/cart/lines").json(&line),
                user.request(Method::DELETE, "/cart/lines/kept"),
                user.request(Method::POST, "/logout"),
                user.request(Method::POST, "/login")
                    .json(&wish(&cluster, "user-000002")),
            ] {
                let answer = send(request.header(name, value)).await;
                let expected = (403, "/problems/cross-site-request");
                assert_eq!(problem(&answer), expected, "{strategy} {name}: {value}");
            }
        }
        let cart = user.cart().await.expect(200);
        assert_eq!(
            (cart.lines(), &cart.body["version"]),
            (vec!["kept".into()], &json!(1))
        );
        for (name, value) in [("origin", &*ours), ("sec-fetch-site", "same-origin")] {
            let remove = user.request(Method::DELETE, "/cart/lines/nothing");
            send(remove.header(name, value)).await.expect(200);
        }
    }
}

#[tokio::test]
async fn get_changes_nothing() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let mut user = User::logged_in(&cluster, strategy, 1).await;
        user.add("a").await.expect(201);
        for path in [
            "/login",
            "/logout",
            "/refresh",
            "/cart/lines",
            "/cart/lines/a",
            "/sessions/a",
            "/admin/users/user-000001/revoke",
            "/admin/clock",
        ] {
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                let answer = send(user.request(method.clone(), path)).await;
                assert_eq!(answer.status, 405, "{strategy} {method} {path}");
            }
        }
        // What is read stays as it is, however often it is read.
        let before = user.cart().await.expect(200).body;
        for path in ["/me", "/cart", "/sessions", "/plain"] {
            user.get(path).await;
        }
        assert_eq!(user.cart().await.expect(200).body, before);
    }
}

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

/// Everything of a credential that must not be seen: itself, its parts, and what a token says about itself.
fn secrets_of(credential: &str) -> Vec<String> {
    let mut secrets = vec![credential.to_owned()];
    secrets.extend(credential.split('.').map(str::to_owned));
    for part in credential.split('.') {
        let decoded = BASE64.decode(part).unwrap_or_default();
        if let Ok(claims) = serde_json::from_slice::<Value>(&decoded) {
            let ids = ["jti", "login"].map(|name| claims[name].as_str().map(str::to_owned));
            secrets.extend(ids.into_iter().flatten());
        }
    }
    // The header of a token is the same in all of them, and no secret.
    secrets.retain(|secret| !secret.starts_with("eyJ0eXAi"));
    secrets
}

/// One visit in which everything happens that could be worth a line in a log; the secrets that it brought to light.
async fn visit(cluster: &Cluster, strategy: &str, transport: &str) -> Vec<String> {
    let mut user = User::new(cluster, strategy, 1);
    let mut wish = wish(cluster, "user-000001");
    if strategy == "jwt" {
        wish["transport"] = json!(transport);
    }
    let login = send(user.request(Method::POST, "/login").json(&wish))
        .await
        .expect(200);
    user.token = login.body["access_token"].as_str().map(ToOwned::to_owned);
    let mut credentials: Vec<String> = session_cookies(&login);
    credentials.extend(user.token.clone());
    let added = user.add("a").await.expect(201);
    credentials.extend(session_cookies(&added));
    credentials.extend(user.cart_token.clone());
    let values = credentials
        .iter()
        .map(|cookie| cookie.rsplit_once('=').map_or(&**cookie, |pair| pair.1));
    let values: Vec<String> = values.map(ToOwned::to_owned).collect();

    user.me().await.expect(200);
    user.cart().await.expect(200);
    let sessions = user.get("/sessions").await;
    let tampered = format!("{}x", values[0]);
    let cookies =
        ["session-sticky", "session-redis", "jwt-token"].map(|name| format!("{name}={tampered}"));
    for request in [
        client()
            .get(format!("{}/me", user.base))
            .bearer_auth(&tampered),
        client()
            .get(format!("{}/me", user.base))
            .header("cookie", cookies.join("; ")),
        client()
            .post(format!("{}/login", user.base))
            .json(&json!({"user": "user-000001", "password": "my-wrong-password"})),
        client()
            .post(format!("{}/login", user.base))
            .body(wish.to_string()),
    ] {
        send(request).await;
    }
    user.logout().await.expect(204);
    user.me().await;

    let mut secrets: Vec<_> = values.iter().flat_map(|value| secrets_of(value)).collect();
    secrets.retain(|secret| !secret.is_empty());
    assert!(!secrets.is_empty());
    let listed = sessions.body.to_string();
    assert!(
        secrets.iter().all(|secret| !listed.contains(secret)),
        "{listed}"
    );
    secrets
}

#[tokio::test]
async fn no_credential_is_ever_logged_or_counted() {
    let cluster = cluster_with(&STRATEGIES, |spec| {
        spec.nodes = 1;
        spec.env.push(("RUST_LOG".into(), "trace".into()));
    })
    .await;
    let mut secrets = vec![cluster.password().to_owned(), "my-wrong-password".into()];
    secrets.push(cluster.operator_token().to_owned());
    secrets.push(String::from_utf8(cluster.jwt_key().to_vec()).unwrap());
    for (strategy, transport) in [
        ("sticky", "cookie"),
        ("redis", "cookie"),
        ("jwt", "bearer"),
        ("jwt", "cookie"),
    ] {
        secrets.extend(visit(&cluster, strategy, transport).await);
    }
    tests::revoke(&cluster, &cluster.url("redis"), "redis", "user-000001")
        .await
        .expect(200);

    let metrics = [
        client().get(format!("{}/metrics", cluster.node_url("node-1"))),
        client()
            .get(format!("{}/metrics", cluster.admin_url()))
            .bearer_auth(cluster.admin_token()),
    ];
    let mut seen = Vec::new();
    for request in metrics {
        let page = request.send().await.unwrap().text().await.unwrap();
        assert!(page.contains("_total"), "{page}");
        seen.push(("metrics".to_owned(), page));
    }
    let log = cluster.dir().join("node-1.log");
    let log = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    // Else nothing is in it because nothing is logged.
    assert!(log.contains("TRACE") && log.contains("answered"), "{log}");
    seen.push(("node-1.log".into(), log));
    let log = cluster.dir().join("load-balancer.log");
    seen.push((
        "load-balancer.log".into(),
        std::fs::read_to_string(log).unwrap(),
    ));
    for (place, text) in &seen {
        for secret in &secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{place} shows {secret}");
        }
    }
}
