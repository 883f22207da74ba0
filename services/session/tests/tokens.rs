//! Tokens of `jwt` that somebody else made, or made something else of.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers too"
)]

mod support;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::proptest;
use serde_json::{Value, json};
use session::jwt::{Jwt, MAX_COOKIE_BYTES, Ring, Use};
use session::{Clock, Credential, Error, LoggedOut, Strategy};

use support::{CART, Client, IDLE, KEY, LEEWAY, add, jwt_node, jwt_node_with};

const NEW_KEY: &[u8] = b"the key that comes after the first";

fn parts(token: &str) -> Vec<&str> {
    token.split('.').collect()
}

fn claims(token: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(parts(token)[1]).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn header(typ: &str) -> Header {
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(typ.to_owned());
    header.kid = Some(id(KEY));
    header
}

/// The id of a key.
fn id(key: &[u8]) -> String {
    let ring = Ring::of_one(key).unwrap();
    let (id, _) = ring.ids().next().unwrap();
    id.to_owned()
}

fn sign(header: &Header, claims: &Value, key: &[u8]) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(key)).unwrap()
}

/// A node, and the claims of a login at it.
async fn lab() -> (Jwt, Clock, Value) {
    let clock = Clock::system();
    let node = jwt_node(KEY, &clock);
    let client = Client::login(&node, "alice").await;
    let claims = claims(client.credential.token());
    (node, clock, claims)
}

async fn why_refused(node: &Jwt, token: impl Into<String>) -> &'static str {
    match node.authenticate(&Credential::new(token)).await {
        Err(Error::NotLoggedIn { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_says_what_rfc_9068_asks_for_and_no_more() {
    let (node, _, claims) = lab().await;
    let names: Vec<_> = claims.as_object().unwrap().keys().collect();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
    // The same claims signed again are accepted, so the refusals below are about what they change.
    let again = sign(&header("at+jwt"), &claims, KEY);
    assert!(node.authenticate(&Credential::new(again)).await.is_ok());
}

#[tokio::test]
async fn a_foreign_key_is_refused() {
    let (node, _, claims) = lab().await;
    let other_key = b"another key that has 32 bytes too";
    let forged = sign(&header("at+jwt"), &claims, other_key);
    assert_eq!(
        why_refused(&node, forged).await,
        "token with a wrong signature"
    );
}

#[tokio::test]
async fn claims_that_were_changed_are_refused() {
    let (node, _, mut claims) = lab().await;
    let honest = sign(&header("at+jwt"), &claims, KEY);
    claims["sub"] = json!("admin");
    let changed = URL_SAFE_NO_PAD.encode(claims.to_string());
    let [header, _, signature] = parts(&honest)[..] else {
        panic!("three parts");
    };
    let forged = format!("{header}.{changed}.{signature}");
    assert_eq!(
        why_refused(&node, forged).await,
        "token with a wrong signature"
    );
}

#[tokio::test]
async fn no_algorithm_and_other_algorithms_are_refused() {
    let (node, _, claims) = lab().await;
    let honest = sign(&header("at+jwt"), &claims, KEY);
    for alg in ["none", "None", "HS512", "RS256", "ES256", "x", ""] {
        let forged_header = json!({ "typ": "at+jwt", "alg": alg }).to_string();
        let forged_header = URL_SAFE_NO_PAD.encode(forged_header);
        for signature in ["", parts(&honest)[2]] {
            let forged = format!("{forged_header}.{}.{signature}", parts(&honest)[1]);
            why_refused(&node, forged).await;
        }
    }
    let mut other = header("at+jwt");
    other.alg = Algorithm::HS384;
    let other = sign(&other, &claims, KEY);
    assert_eq!(
        why_refused(&node, other).await,
        "token of another algorithm"
    );
}

#[tokio::test]
async fn another_type_is_refused() {
    let (node, _, claims) = lab().await;
    for typ in ["JWT", "cart+jwt", "AT+JWT ", ""] {
        let token = sign(&header(typ), &claims, KEY);
        assert_eq!(why_refused(&node, token).await, "token of another type");
    }
    let mut without = header("");
    without.typ = None;
    let token = sign(&without, &claims, KEY);
    assert_eq!(why_refused(&node, token).await, "token of another type");
}

#[tokio::test]
async fn extensions_and_keys_that_a_token_brings_along_are_refused() {
    let (node, _, claims) = lab().await;
    let mut critical = header("at+jwt");
    critical.crit = Some(vec!["exp".to_owned()]);
    let token = sign(&critical, &claims, KEY);
    assert_eq!(
        why_refused(&node, token).await,
        "token with critical extensions"
    );
    let mut linked = header("at+jwt");
    linked.jku = Some("https://attacker.example/keys".to_owned());
    let token = sign(&linked, &claims, KEY);
    assert_eq!(
        why_refused(&node, token).await,
        "token with a foreign header"
    );
}

#[tokio::test]
async fn a_key_id_is_required_and_only_compared() {
    let (node, _, claims) = lab().await;
    let mut without = header("at+jwt");
    without.kid = None;
    assert_eq!(
        why_refused(&node, sign(&without, &claims, KEY)).await,
        "token without a key id"
    );
    for foreign in [
        String::new(),
        id(KEY).to_lowercase() + "x",
        id(NEW_KEY),
        "../../dev/null".to_owned(),
        "' OR 1=1 --".to_owned(),
        "https://attacker.example/key".to_owned(),
        "k".repeat(2000),
    ] {
        let mut named = header("at+jwt");
        named.kid = Some(foreign);
        let token = sign(&named, &claims, KEY);
        assert_eq!(why_refused(&node, token).await, "token of an unknown key");
    }
}

#[tokio::test]
async fn the_same_header_in_another_spelling_is_accepted() {
    let (node, _, claims) = lab().await;
    let spelled = json!({ "typ": "at+jwt", "kid": id(KEY), "alg": "HS256" });
    for spelled in [spelled.to_string(), format!("{spelled:#}")] {
        let message = [spelled, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = message.join(".");
        let key = EncodingKey::from_secret(KEY);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
        let token = format!("{message}.{}", signature.unwrap());
        let answer = node.authenticate(&Credential::new(token)).await;
        assert_eq!(answer.unwrap().value.user, "alice");
    }
}

#[tokio::test]
async fn every_claim_is_required_and_typed_and_none_is_unknown() {
    let (node, _, claims) = lab().await;
    for name in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"] {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(name);
        why_refused(&node, sign(&header("at+jwt"), &without, KEY)).await;
        for value in [json!(null), json!(true), json!([]), json!({}), json!(-1)] {
            let mut mistyped = claims.clone();
            mistyped[name] = value;
            why_refused(&node, sign(&header("at+jwt"), &mistyped, KEY)).await;
        }
    }
    let mut more = claims.clone();
    more["admin"] = json!(true);
    why_refused(&node, sign(&header("at+jwt"), &more, KEY)).await;
    for name in ["iss", "aud"] {
        let mut foreign = claims.clone();
        foreign[name] = json!("somebody else");
        assert_eq!(
            why_refused(&node, sign(&header("at+jwt"), &foreign, KEY)).await,
            "token of or for somebody else"
        );
    }
}

#[tokio::test]
async fn times_are_judged_by_the_turned_clock() {
    let (node, clock, claims) = lab().await;
    let now = clock.now();
    for name in ["nbf", "iat"] {
        let mut early = claims.clone();
        early[name] = json!(now + LEEWAY.as_secs() + 60);
        let token = sign(&header("at+jwt"), &early, KEY);
        assert_eq!(
            why_refused(&node, token.clone()).await,
            "token from the future"
        );
        // The clock of the node that signed it may be ahead of ours.
        early[name] = json!(now + LEEWAY.as_secs());
        let token = sign(&header("at+jwt"), &early, KEY);
        assert!(node.authenticate(&Credential::new(token)).await.is_ok());
    }
    // Or ours ahead of that of a node that still takes it.
    let token = sign(&header("at+jwt"), &claims, KEY);
    let left = claims["exp"].as_u64().unwrap() - clock.now();
    clock.turn(Duration::from_secs(left));
    let credential = Credential::new(token.clone());
    assert!(node.authenticate(&credential).await.is_ok());
    let Ok(LoggedOut::AliveUntil(end)) = node.logout(&credential).await else {
        panic!("it is still taken");
    };
    clock.turn(Duration::from_secs(end - clock.now()));
    assert_eq!(end, claims["exp"].as_u64().unwrap() + LEEWAY.as_secs());
    assert_eq!(why_refused(&node, token).await, "expired token");
}

proptest! {
    /// Whatever the two clocks show: within the leeway of the token's own times it is taken, outside it is not.
    #[test]
    fn a_token_is_taken_within_the_leeway_of_its_times_and_never_outside(
        signed_ahead_s in 0_u64..200,
        judged_after_s in 0_u64..4_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (signs, judges) = (Clock::system(), Clock::system());
            signs.turn(Duration::from_secs(signed_ahead_s));
            let client = Client::login(&jwt_node(KEY, &signs), "alice").await;
            judges.turn(Duration::from_secs(judged_after_s));
            let taken = client.is_logged_in(&jwt_node(KEY, &judges)).await;
            let (begin, end) = (signed_ahead_s, signed_ahead_s + IDLE.as_secs() + LEEWAY.as_secs());
            // The seconds that the test itself takes decide nothing.
            if judged_after_s + LEEWAY.as_secs() >= begin && judged_after_s + 30 < end {
                assert!(taken);
            } else if judged_after_s + LEEWAY.as_secs() + 30 < begin || judged_after_s >= end {
                assert!(!taken);
            }
        });
    }
}

#[tokio::test]
async fn a_token_longer_than_a_cookie_is_not_even_looked_at() {
    let (node, _, mut claims) = lab().await;
    claims["sub"] = json!("x".repeat(MAX_COOKIE_BYTES));
    let token = sign(&header("at+jwt"), &claims, KEY);
    assert_eq!(why_refused(&node, token).await, "token too long");
}

#[tokio::test]
async fn a_cart_belongs_to_one_login_of_one_user() {
    let (node, _, _) = lab().await;
    let mut alice = Client::login(&node, "alice").await;
    alice.change(&node, add("a")).await.unwrap();
    let cart_token = alice.credential.part(CART).unwrap().to_owned();
    for other in ["alice", "bob"] {
        let mut later = Client::login(&node, other).await;
        later.credential = later.credential.with(CART, &cart_token);
        let refused = node.cart(&later.credential).await;
        assert!(matches!(
            refused,
            Err(Error::CartNotValid {
                why: "cart of another login"
            })
        ));
        let refused = later.change(&node, add("b")).await;
        assert!(matches!(refused, Err(Error::CartNotValid { .. })));
    }
    // An access token is no cart, a cart is no access token, and what is neither is neither.
    for cart in [alice.credential.token(), "", "a.b.c"] {
        let credential = alice.credential.clone().with(CART, cart);
        let refused = node.cart(&credential).await;
        assert!(matches!(refused, Err(Error::CartNotValid { .. })));
    }
    why_refused(&node, cart_token).await;
}

#[tokio::test]
async fn a_cart_that_a_browser_would_drop_is_refused_and_the_old_one_stays() {
    let (node, _, _) = lab().await;
    let mut client = Client::login(&node, "alice").await;
    for number in 0.. {
        let cookie = node.about().cookies().nth(1).unwrap();
        let cookie_bytes = |cart: &str| {
            format!("__Host-{cookie}={cart}; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=1800")
                .len()
        };
        match client.change(&node, add(&number.to_string())).await {
            Ok(_) => {
                let token = client.credential.part(CART).unwrap();
                assert!(cookie_bytes(token) <= MAX_COOKIE_BYTES);
            }
            Err(Error::CartTooLarge { bytes, max_bytes }) => {
                assert!(bytes > max_bytes);
                assert_eq!(max_bytes, MAX_COOKIE_BYTES);
                let cart = node.cart(&client.credential).await.unwrap().value;
                assert_eq!(cart.lines.len(), number);
                assert!(number > 50, "room for a real cart");
                return;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn no_error_carries_a_token() {
    let (node, _, _) = lab().await;
    let other = jwt_node(b"another key that has 32 bytes too", &Clock::system());
    let client = Client::login(&other, "alice").await;
    let error = node.authenticate(&client.credential).await.unwrap_err();
    let [_, _, signature] = parts(client.credential.token())[..] else {
        panic!("three parts");
    };
    assert!(!format!("{error} {error:?}").contains(signature));
    assert!(!format!("{:?}", client.credential).contains(signature));
}

/// The rings of a change of the key, step by step: announced, switched (the old key retires at `until`), cleared up.
fn change_of_key(until: u64) -> [Ring; 3] {
    let ring = |keys: &[(&[u8], Use)]| {
        Ring::new(keys.iter().map(|(key, its_use)| (key.to_vec(), *its_use))).unwrap()
    };
    let verifies = |until| Use::Verifies { until };
    [
        ring(&[(KEY, Use::Signs), (NEW_KEY, verifies(None))]),
        ring(&[(NEW_KEY, Use::Signs), (KEY, verifies(Some(until)))]),
        ring(&[(NEW_KEY, Use::Signs)]),
    ]
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn a_change_of_the_key_logs_nobody_out_whichever_node_goes_first() {
    let clock = Clock::system();
    let (a, b) = (jwt_node(KEY, &clock), jwt_node(KEY, &clock));
    let until = clock.now() + IDLE.as_secs();
    let mut clients = vec![Client::login(&a, "alice").await];
    for (step_of_a, step_of_b) in change_of_key(until).into_iter().zip(change_of_key(until)) {
        for (node, ring) in [(&a, step_of_a), (&b, step_of_b)] {
            node.change_keys(ring);
            // In between the nodes are at different steps. Each serves the logins of the other, carts and all.
            for (logged_in_at, other) in [(&a, &b), (&b, &a)] {
                let mut client = Client::login(logged_in_at, "alice").await;
                client.change(other, add("tea")).await.unwrap();
                client.change(logged_in_at, add("pot")).await.unwrap();
                clients.push(client);
            }
            let cleared_up = a.keys().len().min(b.keys().len()) == 1;
            for client in clients.iter().filter(|_| !cleared_up) {
                assert!(client.is_logged_in(&a).await && client.is_logged_in(&b).await);
                assert!(a.cart(&client.credential).await.is_ok());
                assert!(b.cart(&client.credential).await.is_ok());
            }
        }
    }
    let ids: Vec<_> = clients
        .iter()
        .map(|it| kid(it.credential.token()))
        .collect();
    assert_eq!(ids.first(), Some(&id(KEY)));
    assert_eq!(ids.last(), Some(&id(NEW_KEY)));
}

#[tokio::test]
async fn a_retired_key_is_refused_at_its_time_though_its_tokens_have_not_expired() {
    let clock = Clock::system();
    let node = jwt_node(KEY, &clock);
    let mut old = Client::login(&node, "alice").await;
    old.change(&node, add("tea")).await.unwrap();
    let [_, switched, cleared_up] = change_of_key(clock.now() + 600);
    node.change_keys(switched);
    let new = Client::login(&node, "alice").await;
    let state = |id: &str| {
        let keys = node.keys();
        keys.iter().find(|key| key.id == id).unwrap().state
    };
    assert_eq!(
        (state(&id(KEY)), state(&id(NEW_KEY))),
        ("verifies", "signs")
    );
    clock.turn(Duration::from_secs(590));
    assert!(old.is_logged_in(&node).await);
    clock.turn(Duration::from_secs(10));
    assert_eq!(state(&id(KEY)), "retired");
    let token = old.credential.token().to_owned();
    assert_eq!(why_refused(&node, &token).await, "token of a retired key");
    assert!(node.cart(&old.credential).await.is_err());
    assert!(old.change(&node, add("pot")).await.is_err());
    assert!(new.is_logged_in(&node).await);

    node.change_keys(cleared_up);
    assert_eq!(why_refused(&node, token).await, "token of an unknown key");
    assert!(new.is_logged_in(&node).await);
}

#[tokio::test]
async fn a_cart_retires_with_its_login_and_not_before() {
    let clock = Clock::system();
    let node = jwt_node(KEY, &clock);
    let mut old = Client::login(&node, "alice").await;
    let [announced, switched, _] = change_of_key(clock.now() + 600);
    let ahead = jwt_node_with(switched, &clock);
    let mut new = Client::login(&ahead, "bob").await;
    node.change_keys(announced);
    // Each cart is changed by the node that signs logins with the other key.
    old.change(&ahead, add("tea")).await.unwrap();
    new.change(&node, add("tea")).await.unwrap();
    for client in [&old, &new] {
        let cart = client.credential.part(CART).unwrap();
        assert_eq!(kid(cart), kid(client.credential.token()));
    }
    clock.turn(Duration::from_mins(10));
    assert_eq!(
        ahead.cart(&new.credential).await.unwrap().value.lines.len(),
        1
    );
}
