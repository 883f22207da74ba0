//! Every endpoint and every wrong input, through the balancer, the same for every strategy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, STRATEGIES, User, client, cluster, send};

#[track_caller]
fn problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let named = answer.body["type"].as_str().unwrap_or("");
    assert!(named.ends_with(kind), "{named} is not {kind}");
    assert_eq!(answer.body["status"], json!(status));
}

#[tokio::test]
async fn a_visit_from_login_to_logout() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let mut user = User::new(&cluster, strategy, 1);
        problem(&user.me().await, 401, "not-logged-in");

        let login = user.login().await.expect(200);
        assert_eq!(login.header("cache-control"), "no-store");
        assert_eq!(login.header("x-session-strategy"), strategy);
        assert!(login.node().starts_with("node-"), "{login:?}");

        let me = user.me().await.expect(200);
        assert_eq!(me.body["user"], "user-000001");
        assert_eq!(me.body["strategy"], strategy);
        assert_eq!(me.body["node"], me.node());
        assert!(me.body["expires_at"].as_u64() > me.body["issued_at"].as_u64());

        let empty = user.cart().await.expect(200);
        assert_eq!(empty.body, json!({"version": 0, "lines": []}), "{strategy}");
        user.add("a").await.expect(201);
        let two = user.add("b").await.expect(201);
        assert_eq!(two.lines(), ["a", "b"]);
        let again = user.add("a").await.expect(201);
        assert_eq!(again.body, two.body, "the same id twice changes nothing");
        user.remove("a").await.expect(200);
        user.remove("a").await.expect(200);
        let rest = user.cart().await.expect(200);
        assert_eq!(rest.body["version"], 3);
        assert_eq!(
            rest.body["lines"],
            json!([{"id": "b", "sku": "book-1", "quantity": 1}])
        );

        let bye = user.logout().await.expect(204);
        let alive = bye.header("x-credential-alive-until");
        assert_eq!(alive.is_empty(), strategy != "jwt", "{strategy}: {alive}");
    }
    cluster.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn wrong_logins_are_refused_alike() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let user = User::new(&cluster, strategy, 1);
        let mut bodies = Vec::new();
        for (name, password) in [
            ("user-000001", "wrong"),
            ("user-999999", cluster.password()),
            ("nobody", cluster.password()),
        ] {
            let wish = json!({"user": name, "password": password});
            let answer = send(user.request(Method::POST, "/login").json(&wish)).await;
            problem(&answer, 401, "wrong-user-or-password");
            assert_eq!(answer.set_cookies().count(), 0);
            bodies.push(answer.body["detail"].clone());
        }
        assert!(
            bodies.windows(2).all(|pair| pair[0] == pair[1]),
            "{bodies:?}"
        );
    }
}

#[tokio::test]
async fn wrong_bodies_get_the_status_that_names_the_mistake() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let user = User::logged_in(&cluster, strategy, 1).await;
        let post = |body: String| {
            user.request(Method::POST, "/cart/lines")
                .header("content-type", "application/json")
                .body(body)
        };
        let line = |id: Value, sku: Value, quantity: Value| {
            json!({"id": id, "sku": sku, "quantity": quantity}).to_string()
        };
        for (body, status) in [
            ("{".to_owned(), 400),
            (line(json!("a"), json!("s"), json!(0)), 422),
            (line(json!("a"), json!("s"), json!(1000)), 422),
            (line(json!("a"), json!("s"), json!(-1)), 422),
            (line(json!("a"), json!("s"), json!("1")), 422),
            (line(json!(""), json!("s"), json!(1)), 422),
            (line(json!("a b"), json!("s"), json!(1)), 422),
            (line(json!("a".repeat(65)), json!("s"), json!(1)), 422),
            (line(json!("a"), json!("<script>"), json!(1)), 422),
            (
                r#"{"id":"a","sku":"s","quantity":1,"price":0}"#.to_owned(),
                422,
            ),
            (r#"{"id":"a","sku":"s"}"#.to_owned(), 422),
            (format!(r#"{{"id":"{}"}}"#, "a".repeat(17 * 1024)), 413),
        ] {
            let start = body.chars().take(60).collect::<String>();
            let answer = send(post(body)).await;
            assert_eq!(answer.status, status, "{strategy}: {start}: {answer:?}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        let text = send(user.request(Method::POST, "/cart/lines").body("id=a")).await;
        problem(&text, 415, "not-json");
        assert_eq!(
            user.cart().await.body["version"],
            0,
            "no wrong body changed anything"
        );

        problem(&user.get("/nothing-here").await, 404, "not-found");
        problem(&user.get("/login").await, 405, "method-not-allowed");
        problem(&user.get("/logout").await, 405, "method-not-allowed");
        user.me().await.expect(200);
    }
}

#[tokio::test]
async fn a_cart_has_a_bound() {
    let cluster = tests::cluster_with(&STRATEGIES, |spec| {
        spec.shop_args
            .extend(["--max-cart-lines".into(), "3".into()]);
    })
    .await;
    for strategy in STRATEGIES {
        let mut user = User::logged_in(&cluster, strategy, 1).await;
        for id in ["a", "b", "c"] {
            user.add(id).await.expect(201);
        }
        problem(&user.add("d").await, 409, "cart-full");
        assert_eq!(user.cart().await.lines(), ["a", "b", "c"], "{strategy}");
    }
}

#[tokio::test]
async fn a_jwt_cart_too_large_for_a_client_is_refused_and_the_old_one_stays() {
    let cluster = cluster(&["jwt"]).await;
    let mut user = User::logged_in(&cluster, "jwt", 1).await;
    let mut kept = 0;
    let refused = loop {
        let answer = user.add(&format!("{kept:064}")).await;
        if answer.status != 201 {
            break answer;
        }
        kept += 1;
        assert!(kept < 200, "no bound was met");
    };
    problem(&refused, 413, "cart-too-large");
    assert!(
        user.cart_token
            .as_ref()
            .is_some_and(|token| token.len() <= 4096)
    );
    assert_eq!(user.cart().await.expect(200).lines().len(), kept);
}

#[tokio::test]
async fn a_browser_can_use_jwt_through_cookies() {
    let cluster = cluster(&["jwt"]).await;
    let mut user = User::new(&cluster, "jwt", 1);
    let wish = json!({"user": user.name, "password": user.password, "transport": "cookie"});
    let login = send(user.request(Method::POST, "/login").json(&wish))
        .await
        .expect(200);
    assert!(login.body["access_token"].is_null());
    let set: Vec<_> = login
        .set_cookies()
        .filter(|c| c.starts_with("jwt-token="))
        .collect();
    assert!(
        set[0].contains("HttpOnly") && set[0].contains("SameSite=Lax"),
        "{set:?}"
    );
    let added = user.add("a").await.expect(201);
    assert_eq!(
        added.header("x-cart"),
        "",
        "the cart goes into a cookie, too"
    );
    assert_eq!(user.cart().await.expect(200).lines(), ["a"]);

    // Both transports at once: fine for one user, refused for two.
    let own = User::logged_in(&cluster, "jwt", 1).await;
    user.token.clone_from(&own.token);
    user.me().await.expect(200);
    let other = User::logged_in(&cluster, "jwt", 2).await;
    user.token.clone_from(&other.token);
    assert_eq!(user.me().await.status, 400);
}

#[tokio::test]
async fn the_listener_decides_about_the_strategy_and_a_node_refuses_unknown_ones() {
    let cluster = cluster(&["sticky", "jwt"]).await;
    let asked = client()
        .get(format!("{}/plain", cluster.url("sticky")))
        .header("x-session-strategy", "jwt");
    let answer = send(asked).await.expect(200);
    assert_eq!(
        answer.header("x-session-strategy"),
        "sticky",
        "a client cannot choose"
    );

    for wrong in [None, Some("redis"), Some("nonsense")] {
        let mut request = client().get(format!("{}/plain", cluster.node_url("node-1")));
        if let Some(strategy) = wrong {
            request = request.header("x-session-strategy", strategy);
        }
        let answer = send(request).await;
        problem(&answer, 421, "unknown-strategy");
        let text = answer.body.to_string();
        assert!(text.contains("sticky") && text.contains("jwt"), "{text}");
    }
}

#[tokio::test]
async fn operators_need_their_token() {
    let cluster = cluster(&STRATEGIES).await;
    for strategy in STRATEGIES {
        let user = User::logged_in(&cluster, strategy, 1).await;
        for token in [None, Some("wrong"), Some(cluster.password())] {
            let mut request = client().post(format!(
                "{}/admin/users/user-000001/revoke",
                cluster.url(strategy)
            ));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            assert_eq!(send(request).await.status, 401, "{strategy} {token:?}");
        }
        user.me().await.expect(200);
    }
    let admin = send(client().get(format!("{}/nodes", cluster.admin_url()))).await;
    assert_eq!(admin.status, 401);
    let nodes = client()
        .get(format!("{}/nodes", cluster.admin_url()))
        .bearer_auth(cluster.admin_token());
    let nodes = send(nodes).await.expect(200);
    assert_eq!(nodes.body["listeners"].as_array().map(Vec::len), Some(3));
    assert_eq!(nodes.body["listeners"][0]["nodes"][0]["state"], "up");
}

#[tokio::test]
async fn what_a_node_cannot_do_it_says() {
    let cluster = cluster(&["jwt"]).await;
    let user = User::logged_in(&cluster, "jwt", 1).await;
    problem(&user.get("/sessions").await, 501, "unsupported-by-strategy");
    let end = send(user.request(Method::DELETE, "/sessions/x")).await;
    problem(&end, 501, "unsupported-by-strategy");
    let refresh = send(user.request(Method::POST, "/refresh")).await;
    problem(&refresh, 501, "unsupported-by-strategy");
    let base = cluster.url("jwt");
    let revoke = tests::revoke(&cluster, &base, "jwt", "user-000001").await;
    problem(&revoke, 501, "unsupported-by-strategy");
}

#[tokio::test]
async fn probes_and_metrics_tell_about_the_node() {
    let cluster = cluster(&STRATEGIES).await;
    let _user = User::logged_in(&cluster, "redis", 1).await;
    for node in cluster.nodes() {
        let base = cluster.node_url(node.name());
        send(client().get(format!("{base}/healthz")))
            .await
            .expect(200);
        send(client().get(format!("{base}/readyz")))
            .await
            .expect(200);
        let metrics = client()
            .get(format!("{base}/metrics"))
            .send()
            .await
            .unwrap();
        let text = metrics.text().await.unwrap();
        for name in ["requests", "sessions", "store"] {
            assert!(text.contains(name), "no {name} in {text}");
        }
        assert!(!text.contains("user-0"), "a metric names a user");
    }
}
