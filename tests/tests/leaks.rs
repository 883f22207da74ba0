//! What nobody may see: credentials in logs, metrics and histories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use cluster::Cluster;
use reqwest::Method;
use serde_json::{Value, json};
use tests::direct::{session_cookies, wish};
use tests::{STRATEGIES, User, client, cluster_with, send};

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
    assert!(log.contains("DEBUG") && log.contains("answered"), "{log}");
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

/// Words that look like a credential: drawn ids are 22 letters of every kind, and every token of JSON begins alike.
fn looks_like_a_credential(word: &str) -> bool {
    let has = |kind: fn(&char) -> bool| word.chars().any(|letter| kind(&letter));
    let is_mixed =
        has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit);
    word.starts_with("eyJ") || word.len() >= 22 && is_mixed
}

#[test]
fn no_credential_is_in_a_history() {
    assert!(looks_like_a_credential("N0cI__dxndWXnsh11WzSKG"));
    let folder = tempfile::tempdir().unwrap();
    let scenario = r#"
        question = "What does a history hold?"
        [cluster]
        nodes = 1
        strategies = ["sticky", "redis", "jwt"]
        accounts = 100
        password = { memory_kib = 8, iterations = 1 }
        [load]
        users = 10
        think_ms = [10, 50]
        journey = { browse = 1, add_line = 2, read_cart = 1, log_out = 1 }
        warm_up_s = 0
        measure_s = 1
    "#;
    std::fs::write(folder.path().join("short.toml"), scenario).unwrap();
    let run = std::process::Command::new(tests::binary("lab"))
        .args(["run", "short.toml", "--out", "out"])
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    for strategy in STRATEGIES {
        let history = folder
            .path()
            .join(format!("out/history-{strategy}-1.jsonl"));
        let history = std::fs::read_to_string(history);
        let history = history.unwrap_or_else(|error| panic!("{error}: {run:?}"));
        assert!(history.lines().count() > 20, "{history}");
        let words =
            history.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
        let shown: Vec<_> = words.filter(|word| looks_like_a_credential(word)).collect();
        assert!(shown.is_empty(), "{strategy}: {shown:?}");
    }
}
