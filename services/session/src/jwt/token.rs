//! Signing and checking the two kinds of token.
//!
//! `jsonwebtoken` signs, checks signatures and reads headers. Everything else is checked here, because the library would
//! not, or not as strictly: the length, the whole header (`typ` above all, so that a cart never passes for a login;
//! `kid`; `crit`; keys or links to keys that a token brings along), the types and number of all claims, issuer and
//! audience, and the times, which it would judge by the system's clock instead of ours.
//!
//! # What it costs
//! The library's own `decode` parses the header twice and the claims twice: 3.1 µs for an access token. Our tokens have
//! one header for each key and kind, so its text is compared instead of parsed, and the claims are read once: 1.7 µs
//! (`cargo bench -p session --bench authenticate`). A header that is spelled in another way is still parsed, and judged
//! in full.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto, decode_header};
use serde::{Deserialize, Serialize};

use super::ring::{Key, Kind, Ring};
use crate::{Cart, Error, Line, Session};

/// The most bytes of a cookie: name, value and attributes. No token is longer than this either.
pub const MAX_COOKIE_BYTES: usize = 4096;

const ISSUER: &str = "session-lab";
const AUDIENCE: &str = "shop";

/// Not three parts of Base64, no JSON, or a claim that is missing, unknown or mistyped.
const MALFORMED: &str = "malformed token";

/// The claims of an access token (RFC 9068), all of them required and no others allowed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    exp: u64,
    nbf: u64,
    iat: u64,
    #[serde(borrow)]
    jti: Cow<'a, str>,
}

/// The claims of a cart token. It names the login that it belongs to and is good for no other: so it needs no times of its
/// own, and the cart of an older login is not found in the next one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CartClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    /// The `jti` of the access token.
    #[serde(borrow)]
    login: Cow<'a, str>,
    version: u64,
    /// Id, sku and quantity of each line, without names: room in a cookie is scarce.
    #[serde(borrow)]
    lines: Vec<(Cow<'a, str>, Cow<'a, str>, u16)>,
}

/// What an access token proves.
pub(super) struct Login<'r> {
    /// The key that it is signed with.
    key: &'r Key,
    /// The `jti`.
    id: String,
    session: Session,
}

impl Login<'_> {
    pub(super) fn expires_at(&self) -> u64 {
        self.session.expires_at
    }

    pub(super) fn into_session(self) -> Session {
        self.session
    }
}

/// An access token for `session`, which names itself `id`.
pub(super) fn sign_access(ring: &Ring, session: &Session, id: &str) -> Result<String, Error> {
    let claims = AccessClaims {
        iss: ISSUER,
        aud: AUDIENCE,
        sub: Cow::Borrowed(&session.user),
        exp: session.expires_at,
        nbf: session.issued_at,
        iat: session.issued_at,
        jti: Cow::Borrowed(id),
    };
    sign(ring.signing(), Kind::Access, &claims).map_err(|why| Error::NotLoggedIn { why })
}

/// A cart token, signed with the key of its login, whichever key signs logins by now: so both are refused from the same
/// moment on, and no login outlives its cart.
pub(super) fn sign_cart(login: &Login<'_>, cart: &Cart) -> Result<String, Error> {
    let lines = cart.lines.iter();
    let claims = CartClaims {
        iss: ISSUER,
        aud: AUDIENCE,
        sub: Cow::Borrowed(&login.session.user),
        login: Cow::Borrowed(&login.id),
        version: cart.version,
        lines: lines
            .map(|line| {
                let (id, sku) = (Cow::Borrowed(&*line.id), Cow::Borrowed(&*line.sku));
                (id, sku, line.quantity)
            })
            .collect(),
    };
    sign(login.key, Kind::Cart, &claims).map_err(|why| Error::CartNotValid { why })
}

/// Checks an access token at the time `now`, give or take `leeway_s`.
pub(super) fn verify_access<'r>(
    ring: &'r Ring,
    token: &str,
    now: u64,
    leeway_s: u64,
) -> Result<Login<'r>, Error> {
    access(ring, token, now, leeway_s).map_err(|why| Error::NotLoggedIn { why })
}

pub(super) fn verify_cart(token: &str, login: &Login<'_>) -> Result<Cart, Error> {
    cart(token, login).map_err(|why| Error::CartNotValid { why })
}

fn access<'r>(
    ring: &'r Ring,
    token: &str,
    now: u64,
    leeway_s: u64,
) -> Result<Login<'r>, &'static str> {
    let (key, claims) = open(ring.keys(), Kind::Access, token)?;
    // Exact, because an operator sets that time for every node and can leave room for their clocks.
    if key.is_retired(now) {
        return Err("token of a retired key");
    }
    let claims: AccessClaims<'_> = serde_json::from_slice(&claims).map_err(|_| MALFORMED)?;
    are_ours(claims.iss, claims.aud)?;
    if claims.exp.saturating_add(leeway_s) <= now {
        return Err("expired token");
    }
    if claims.nbf.max(claims.iat) > now.saturating_add(leeway_s) {
        return Err("token from the future");
    }
    Ok(Login {
        key,
        id: claims.jti.into_owned(),
        session: Session {
            user: claims.sub.into_owned(),
            issued_at: claims.iat,
            expires_at: claims.exp,
        },
    })
}

/// The key of the login is the only one that counts, and it has not retired: the login has been checked.
fn cart(token: &str, login: &Login<'_>) -> Result<Cart, &'static str> {
    let (_, claims) = open(std::slice::from_ref(login.key), Kind::Cart, token)?;
    let claims: CartClaims<'_> = serde_json::from_slice(&claims).map_err(|_| MALFORMED)?;
    are_ours(claims.iss, claims.aud)?;
    if claims.login != login.id || claims.sub != login.session.user {
        return Err("cart of another login");
    }
    let lines = claims.lines.into_iter().map(|(id, sku, quantity)| Line {
        id: id.into_owned(),
        sku: sku.into_owned(),
        quantity,
    });
    Ok(Cart {
        version: claims.version,
        lines: lines.collect(),
    })
}

fn are_ours(issuer: &str, audience: &str) -> Result<(), &'static str> {
    if issuer == ISSUER && audience == AUDIENCE {
        Ok(())
    } else {
        Err("token of or for somebody else")
    }
}

fn sign(key: &Key, kind: Kind, claims: &impl Serialize) -> Result<String, &'static str> {
    let failed = "cannot be signed";
    let claims = serde_json::to_vec(claims).map_err(|_| failed)?;
    let header = &key.known(kind).text;
    // Base64 makes four bytes of three; a signature takes 43.
    let mut token = String::with_capacity(header.len() + claims.len() / 3 * 4 + 4 + 45);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&claims, &mut token);
    let signature = crypto::sign(token.as_bytes(), &key.signing, Algorithm::HS256);
    token.push('.');
    token.push_str(&signature.map_err(|_| failed)?);
    Ok(token)
}

/// Checks length, header and signature; gives the key and the claims, which nobody has looked at yet.
fn open<'k>(keys: &'k [Key], kind: Kind, token: &str) -> Result<(&'k Key, Vec<u8>), &'static str> {
    if token.len() > MAX_COOKIE_BYTES {
        return Err("token too long");
    }
    let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
    let (header, claims) = message.split_once('.').ok_or(MALFORMED)?;
    let key = match keys.iter().find(|key| key.known(kind).text == header) {
        Some(key) => key,
        None => key_of_unusual_header(keys, kind, token)?,
    };
    let is_genuine = crypto::verify(
        signature,
        message.as_bytes(),
        &key.checking,
        Algorithm::HS256,
    );
    if !is_genuine.map_err(|_| MALFORMED)? {
        return Err("token with a wrong signature");
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| MALFORMED)?;
    Ok((key, claims))
}

/// A header that we would not have written so: it may still say the same, with blanks or in another order. If it says
/// anything else, this tells what.
#[cold]
fn key_of_unusual_header<'k>(
    keys: &'k [Key],
    kind: Kind,
    token: &str,
) -> Result<&'k Key, &'static str> {
    let header = decode_header(token).map_err(|_| MALFORMED)?;
    if header.alg != Algorithm::HS256 {
        return Err("token of another algorithm");
    }
    if header.crit.is_some() {
        return Err("token with critical extensions");
    }
    if header.typ.as_deref() != Some(kind.typ()) {
        return Err("token of another type");
    }
    let Some(id) = &header.kid else {
        return Err("token without a key id");
    };
    let Some(key) = keys.iter().find(|key| key.id == *id) else {
        return Err("token of an unknown key");
    };
    if key.known(kind).header == header {
        Ok(key)
    } else {
        Err("token with a foreign header")
    }
}
