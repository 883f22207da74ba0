//! Forged credentials, through the balancer: each is refused, whatever is wrong with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use proptest::strategy::{Strategy as _, ValueTree as _};
use serde_json::{Value, json};
use tests::{User, client, cluster, send};

/// The parts of a JWT, decoded.
fn decode(token: &str) -> (Value, Value) {
    let parts: Vec<_> = token.split('.').collect();
    let json = |part: &str| serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap();
    (json(parts[0]), json(parts[1]))
}

/// Signs any header and claims with any key: what an attacker, or a careless issuer, could write.
fn sign(header: &Value, claims: &Value, key: &[u8]) -> String {
    let encode = |value: &Value| BASE64.encode(value.to_string());
    let text = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    format!("{text}.{}", BASE64.encode(tag))
}

/// `value` with `name` set to `new`, or taken away.
fn with(value: &Value, name: &str, new: Option<Value>) -> Value {
    let mut changed = value.clone();
    let fields = changed.as_object_mut().unwrap();
    match new {
        Some(new) => fields.insert(name.into(), new),
        None => fields.remove(name),
    };
    changed
}

#[tokio::test]
async fn only_our_own_tokens_are_accepted() {
    let cluster = cluster(&["jwt"]).await;
    let key = cluster.jwt_key().to_vec();
    let mut user = User::logged_in(&cluster, "jwt", 1).await;
    let good = user.token.clone().unwrap();
    let (header, claims) = decode(&good);
    assert_eq!(header["typ"], "at+jwt");
    // The forge works: what it signs without a change is accepted, so a refusal below has the named reason.
    user.token = Some(sign(&header, &claims, &key));
    user.me().await.expect(200);

    let now = claims["iat"].as_u64().unwrap();
    let unsigned = {
        let header = with(&header, "alg", Some(json!("none")));
        let whole = sign(&header, &claims, &key);
        whole
            .rsplit_once('.')
            .map(|(text, _)| format!("{text}."))
            .unwrap()
    };
    let mut forged = vec![
        ("alg none", unsigned),
        ("wrong key", sign(&header, &claims, &[7; 32])),
        (
            "alg HS384 in the header",
            sign(&with(&header, "alg", Some(json!("HS384"))), &claims, &key),
        ),
        (
            "typ JWT",
            sign(&with(&header, "typ", Some(json!("JWT"))), &claims, &key),
        ),
        (
            "typ of a cart",
            sign(
                &with(&header, "typ", Some(json!("cart+jwt"))),
                &claims,
                &key,
            ),
        ),
        ("no typ", sign(&with(&header, "typ", None), &claims, &key)),
        (
            "crit",
            sign(&with(&header, "crit", Some(json!(["b64"]))), &claims, &key),
        ),
        (
            "expired",
            sign(&header, &with(&claims, "exp", Some(json!(now - 60))), &key),
        ),
        (
            "not yet valid",
            sign(
                &header,
                &with(&claims, "nbf", Some(json!(now + 3600))),
                &key,
            ),
        ),
        (
            "other issuer",
            sign(&header, &with(&claims, "iss", Some(json!("other"))), &key),
        ),
        (
            "other audience",
            sign(&header, &with(&claims, "aud", Some(json!("other"))), &key),
        ),
        (
            "subject of the wrong type",
            sign(&header, &with(&claims, "sub", Some(json!(["x"]))), &key),
        ),
        (
            "expiry of the wrong type",
            sign(&header, &with(&claims, "exp", Some(json!("never"))), &key),
        ),
        (
            "longer than 4 KiB",
            sign(
                &header,
                &with(&claims, "jti", Some(json!("x".repeat(4096)))),
                &key,
            ),
        ),
        ("no signature", good.rsplit_once('.').unwrap().0.to_owned()),
        ("nothing", "..".to_owned()),
    ];
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"] {
        forged.push((claim, sign(&header, &with(&claims, claim, None), &key)));
    }
    for (what, token) in forged {
        user.token = Some(token);
        let answer = user.me().await;
        assert_eq!(answer.status, 401, "accepted although: {what}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    user.token = Some(good);
    user.me().await.expect(200);
}

#[tokio::test]
async fn a_cart_token_belongs_to_its_user_and_login() {
    let cluster = cluster(&["jwt"]).await;
    let mut rich = User::logged_in(&cluster, "jwt", 1).await;
    rich.add("mine").await.expect(201);
    let mut other = User::logged_in(&cluster, "jwt", 2).await;
    other.cart_token.clone_from(&rich.cart_token);
    let answer = other.cart().await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(answer.lines().is_empty());
    // The access token is not a cart, nor the cart an access token.
    other.cart_token.clone_from(&other.token);
    assert!((400..500).contains(&other.cart().await.status));
    other.token.clone_from(&rich.cart_token);
    other.cart_token = None;
    other.me().await.expect(401);
}

#[tokio::test]
async fn no_change_to_a_credential_survives() {
    let cluster = cluster(&["sticky", "redis", "jwt"]).await;
    let mut jwt = User::logged_in(&cluster, "jwt", 1).await;
    let good = jwt.token.clone().unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let position = 0..good.len();
    for _ in 0..40 {
        let at = position.clone().new_tree(&mut runner).unwrap().current();
        let mut bytes = good.clone().into_bytes();
        // Bit 1 of the last base64 digit may be padding that decoders ignore; bit 5 never is.
        bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
        let tampered = String::from_utf8(bytes).unwrap();
        jwt.token = Some(tampered);
        assert_eq!(jwt.me().await.status, 401, "byte {at}");
    }
    for strategy in ["sticky", "redis"] {
        let mut user = User::new(&cluster, strategy, 1);
        let login = user.login().await.expect(200);
        let name = format!("session-{strategy}");
        let id = login.cookie(&name).unwrap();
        let affinity = login.cookie("affinity-sticky").unwrap_or_default();
        let ask = |value: String| {
            reqwest::Client::new()
                .get(format!("{}/me", user.base))
                .header(
                    "cookie",
                    format!("affinity-sticky={affinity}; {name}={value}"),
                )
        };
        send(ask(id.clone())).await.expect(200);
        for at in 0..id.len() {
            let mut bytes = id.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
            send(ask(String::from_utf8(bytes).unwrap()))
                .await
                .expect(401);
        }
        for wrong in ["", "x", ".", "a.b.c", &"A".repeat(5000), "%00"] {
            let status = send(ask(wrong.to_owned())).await.status;
            assert!(
                matches!(status, 400 | 401 | 431),
                "{strategy} {wrong:?}: {status}"
            );
        }
    }
}

/// Turns one node's clock ahead, as a node without a time server drifts.
async fn turn_ahead(cluster: &cluster::Cluster, node: &str, seconds: u64) {
    let request = client()
        .post(format!("{}/admin/clock", cluster.node_url(node)))
        .bearer_auth(cluster.operator_token())
        .json(&json!({"advance_seconds": seconds}));
    send(request).await.expect(204);
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_signs_what_the_others_accept() {
    let cluster = cluster(&["jwt"]).await;
    let ahead = |number| User::new(&cluster, "jwt", number).at_node(&cluster, "jwt", "node-1");
    for (number, turn_s) in [(1, 20), (2, 30)] {
        turn_ahead(&cluster, "node-1", turn_s).await;
        let mut user = ahead(number);
        user.login().await.expect(200);
        for node in ["node-2", "node-3"] {
            let mut user = user.at_node(&cluster, "jwt", node);
            user.me().await.expect(200);
            user.add("a").await.expect(201);
        }
    }
    // Beyond the leeway somebody has to look after that clock.
    turn_ahead(&cluster, "node-1", 600).await;
    let mut user = ahead(3);
    user.login().await.expect(200);
    let elsewhere = user.at_node(&cluster, "jwt", "node-2");
    elsewhere.me().await.expect(401);
}

#[tokio::test]
async fn a_token_ends_after_the_leeway_and_the_logout_says_so() {
    let cluster = cluster(&["jwt"]).await;
    let user = User::logged_in(&cluster, "jwt", 1).await;
    let end = user.me().await.expect(200).body["expires_at"]
        .as_u64()
        .unwrap();
    let logout = user.logout().await;
    assert_eq!(
        logout.header("x-credential-alive-until"),
        (end + 60).to_string()
    );
    let at = |node| user.at_node(&cluster, "jwt", node);
    // A node 30 s ahead does not end what the others still take.
    for (turn_s, status) in [(1_830, 200), (60, 401)] {
        turn_ahead(&cluster, "node-1", turn_s).await;
        at("node-1").me().await.expect(status);
        at("node-2").me().await.expect(200);
    }
}
