//! Access tokens and cart tokens of `jwt`. The first letter of the input says what the rest is:
//!
//! | letter | the rest |
//! | --- | --- |
//! | `t` | a token; behind a blank a cart token |
//! | `c` | claims, which are signed with the right key under the right header |
//! | `h` | a header, for valid claims that are signed with the right key |
//! | `l` | claims of a cart, signed like the cart of a valid login |

use std::{sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, crypto, decode};
use serde_json::Value;
use session::{
    Answer, Clock, Credential, Session, Strategy as _,
    jwt::{Jwt, Ring, Settings},
};

use crate::RUNTIME;

/// The second part of the credential.
const CART: &str = "cart";

/// Signs the tokens of the seeds.
pub const KEY: &[u8] = b"a-token-key-of-at-least-32-bytes";

/// The claims of a login that is valid until 2096.
const CLAIMS: &str = r#"{"iss":"session-lab","aud":"shop","sub":"alice","exp":4000000000,"nbf":1700000000,"iat":1700000000,"jti":"login-1"}"#;

struct Lab {
    jwt: Jwt,
    /// As they stand in tokens of ours.
    header: String,
    cart_header: String,
    claims: String,
}

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let ring = Ring::of_one(KEY).expect("a ring");
    let id = ring.ids().next().expect("a key").0.to_owned();
    let header = |kind| {
        let json = format!(r#"{{"typ":"{kind}+jwt","alg":"HS256","kid":"{id}"}}"#);
        URL_SAFE_NO_PAD.encode(json)
    };
    Lab {
        header: header("at"),
        cart_header: header("cart"),
        claims: URL_SAFE_NO_PAD.encode(CLAIMS),
        jwt: Jwt::new(
            Settings {
                ring,
                lifetime: Duration::from_hours(1),
                leeway: Duration::from_secs(5),
                max_lines: 50,
            },
            Clock::system(),
        ),
    }
});

/// What is accepted, jsonwebtoken accepts, too, and reads the same claims from it.
pub fn check(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let lab = &*LAB;
    let credential = match kind {
        b't' => {
            let text = String::from_utf8_lossy(rest);
            let (token, cart) = text
                .split_once(' ')
                .map_or((&*text, None), |(token, cart)| (token, Some(cart)));
            let credential = Credential::new(token);
            cart.map_or(credential.clone(), |cart| credential.with(CART, cart))
        }
        b'c' => Credential::new(signed(&lab.header, &URL_SAFE_NO_PAD.encode(rest))),
        b'h' => Credential::new(signed(&URL_SAFE_NO_PAD.encode(rest), &lab.claims)),
        b'l' => Credential::new(signed(&lab.header, &lab.claims)).with(
            CART,
            signed(&lab.cart_header, &URL_SAFE_NO_PAD.encode(rest)),
        ),
        _ => return,
    };
    let session = RUNTIME.block_on(lab.jwt.authenticate(&credential));
    let cart = RUNTIME.block_on(lab.jwt.cart(&credential));
    let Ok(session) = session else {
        assert!(cart.is_err(), "a cart without a login");
        return;
    };
    let session = session.value;
    assert_is_genuine(credential.token(), &session);
    let Ok(Answer { value: cart, .. }) = cart else {
        return;
    };
    if let Some(token) = credential.part(CART) {
        let claims = claims(token);
        assert_eq!(claims["sub"], session.user.as_str());
        assert_eq!(claims["login"], self::claims(credential.token())["jti"]);
        assert_eq!(claims["version"], cart.version);
        let lines: Vec<_> = cart
            .lines
            .iter()
            .map(|line| (&*line.id, &*line.sku, line.quantity))
            .collect();
        assert_eq!(claims["lines"], serde_json::json!(lines));
    } else {
        assert!(cart.lines.is_empty());
    }
}

/// The claims of a token that jsonwebtoken accepts, too.
fn claims(token: &str) -> Value {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_audience(&["shop"]);
    rules.set_issuer(&["session-lab"]);
    rules.required_spec_claims.clear();
    // More than ours, so that a second that passes between the two makes no difference.
    rules.leeway = 60;
    rules.validate_nbf = true;
    decode(token, &DecodingKey::from_secret(KEY), &rules)
        .expect("jsonwebtoken accepts it, too")
        .claims
}

fn assert_is_genuine(token: &str, session: &Session) {
    assert!(token.len() <= 4096);
    let claims = claims(token);
    let mut names: Vec<_> = claims
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
    assert_eq!(claims["sub"], session.user.as_str());
    assert_eq!(claims["exp"], session.expires_at);
    assert_eq!(claims["iat"], session.issued_at);
}

fn signed(header: &str, claims: &str) -> String {
    let message = format!("{header}.{claims}");
    let key = EncodingKey::from_secret(KEY);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}
