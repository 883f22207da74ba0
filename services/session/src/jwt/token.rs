//! Signing and checking the two kinds of token.
//!
//! `jsonwebtoken` checks the signature, the algorithm, the issuer, the audience and that the required claims are there. It
//! looks at nothing else by itself, so the rest is checked here: the length, the whole header (`typ` above all, so that
//! a cart never passes for a login; `crit`; keys or links to keys that a token brings along), the types of all claims,
//! and the times, which it would judge by the system's clock instead of ours.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::MAX_COOKIE_BYTES;
use crate::{Cart, Error, Line, Session};

const ISSUER: &str = "session-lab";
const AUDIENCE: &str = "shop";

/// How far the clock of the node that issued a token may be ahead of ours. Not granted to `exp`: what a logout or an
/// answer says about the end of a token is exact.
const LEEWAY_S: u64 = 5;

/// The claims of an access token (RFC 9068), all of them required and no others allowed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
}

impl Access {
    pub(super) fn new(user: &str, now: u64, lifetime_s: u64, jti: String) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.to_owned(),
            exp: now.saturating_add(lifetime_s),
            nbf: now,
            iat: now,
            jti,
        }
    }

    pub(super) fn expires_at(&self) -> u64 {
        self.exp
    }

    pub(super) fn into_session(self) -> Session {
        Session {
            user: self.sub,
            issued_at: self.iat,
            expires_at: self.exp,
        }
    }
}

/// The claims of a cart token. It names the login that it belongs to and is good for no other: so it needs no times of its
/// own, and the cart of an older login is not found in the next one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CartClaims {
    iss: String,
    aud: String,
    sub: String,
    /// The `jti` of the access token.
    login: String,
    version: u64,
    /// Id, sku and quantity of each line, without names: room in a cookie is scarce.
    lines: Vec<(String, String, u16)>,
}

impl CartClaims {
    pub(super) fn new(login: &Access, cart: &Cart) -> Self {
        let lines = cart.lines.iter().cloned();
        Self {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: login.sub.clone(),
            login: login.jti.clone(),
            version: cart.version,
            lines: lines
                .map(|line| (line.id, line.sku, line.quantity))
                .collect(),
        }
    }

    fn into_cart(self) -> Cart {
        let lines = self.lines.into_iter();
        Cart {
            version: self.version,
            lines: lines
                .map(|(id, sku, quantity)| Line { id, sku, quantity })
                .collect(),
        }
    }
}

/// A kind of token: the header that every token of the kind has, and what is required of it.
struct Kind {
    header: Header,
    validation: Validation,
}

impl Kind {
    fn new(typ: &str, required: &[&str]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(required);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        // By the system's clock; see `verify_access`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(typ.to_owned());
        Self { header, validation }
    }
}

/// The key, ready for signing and checking both kinds.
pub(super) struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
    access: Kind,
    cart: Kind,
}

impl Keys {
    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            signing: EncodingKey::from_secret(key),
            checking: DecodingKey::from_secret(key),
            access: Kind::new("at+jwt", &["iss", "aud", "sub", "exp", "nbf"]),
            cart: Kind::new("cart+jwt", &["iss", "aud", "sub"]),
        }
    }

    pub(super) fn sign_access(&self, claims: &Access) -> Result<String, Error> {
        self.sign(&self.access, claims)
            .map_err(|why| Error::NotLoggedIn { why })
    }

    pub(super) fn sign_cart(&self, claims: &CartClaims) -> Result<String, Error> {
        self.sign(&self.cart, claims)
            .map_err(|why| Error::CartNotValid { why })
    }

    pub(super) fn verify_access(&self, token: &str, now: u64) -> Result<Access, Error> {
        let access: Access = self
            .verify(&self.access, token)
            .map_err(|why| Error::NotLoggedIn { why })?;
        if access.exp <= now {
            return Err(Error::NotLoggedIn {
                why: "expired token",
            });
        }
        if access.nbf.max(access.iat) > now.saturating_add(LEEWAY_S) {
            return Err(Error::NotLoggedIn {
                why: "token from the future",
            });
        }
        Ok(access)
    }

    pub(super) fn verify_cart(&self, token: &str, login: &Access) -> Result<Cart, Error> {
        let claims: CartClaims = self
            .verify(&self.cart, token)
            .map_err(|why| Error::CartNotValid { why })?;
        if claims.login != login.jti || claims.sub != login.sub {
            return Err(Error::CartNotValid {
                why: "cart of another login",
            });
        }
        Ok(claims.into_cart())
    }

    fn sign(&self, kind: &Kind, claims: &impl Serialize) -> Result<String, &'static str> {
        jsonwebtoken::encode(&kind.header, claims, &self.signing).map_err(|_| "cannot be signed")
    }

    fn verify<T: DeserializeOwned>(&self, kind: &Kind, token: &str) -> Result<T, &'static str> {
        if token.len() > MAX_COOKIE_BYTES {
            return Err("token too long");
        }
        let decoded = jsonwebtoken::decode::<T>(token, &self.checking, &kind.validation)
            .map_err(|error| phrase(error.kind()))?;
        if decoded.header == kind.header {
            Ok(decoded.claims)
        } else if decoded.header.crit.is_some() {
            Err("token with critical extensions")
        } else if decoded.header.typ != kind.header.typ {
            Err("token of another type")
        } else {
            Err("token with a foreign header")
        }
    }
}

/// A fixed phrase for each cause, fit for a metric label.
fn phrase(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "token with a wrong signature",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "token of another algorithm"
        }
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => "token of or for somebody else",
        // Not three parts of Base64, no JSON, or a claim that is missing, unknown or mistyped.
        _ => "malformed token",
    }
}
