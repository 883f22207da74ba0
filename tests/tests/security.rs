//! Sessions under attack, from outside: cookies that somebody planted, and pages of other sites.
//! `docs/security.md` says which rule each test shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use reqwest::Method;
use serde_json::json;
use tests::direct::{at_node, problem, session_cookies, wish};
use tests::{STRATEGIES, User, cluster_with, send};

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
    let cluster = cluster_with(&STRATEGIES, |spec| spec.nodes = 1).await;
    for strategy in STRATEGIES {
        let mut wish = wish(&cluster, "user-000001");
        if strategy == "jwt" {
            wish["transport"] = json!("cookie");
        }
        let login = at_node(&cluster, "node-1", strategy, Method::POST, "/login").json(&wish);
        let good = session_cookies(&send(login).await.expect(200)).swap_remove(0);
        let (name, _) = good.split_once('=').unwrap();
        for (method, path) in [(Method::GET, "/me"), (Method::GET, "/cart")] {
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
    let cluster = cluster_with(&STRATEGIES, |spec| spec.nodes = 1).await;
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
    let cluster = cluster_with(&STRATEGIES, |spec| spec.nodes = 1).await;
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
