//! `jwt`: the session lives with the client, signed. No server keeps anything.
//!
//! **Where the state lives.** In two tokens that the client carries. The access token says who is logged in; the cart
//! token holds the cart. Every node that has the key can check both, and none needs to have seen them before.
//!
//! **What a request costs.** No round trip and no lock: one HMAC-SHA256 and some JSON, a few microseconds. The price is paid
//! on the wire: the access token, some 300 bytes, travels with every request, and the cart with every request about it.
//!
//! **What is lost when.** A node dies: nothing. But nothing can be taken back either. After a logout, a copy of the access
//! token works until it expires; a login cannot be listed, ended or revoked by anybody. And of two changes of the cart
//! that overlap, the one whose answer arrives last wins: each was made to the cart that the client sent.
//!
//! # How big a cart may be
//! Browsers may drop a cookie whose name and value together pass 4,096 bytes, and need not keep more than 4,096 bytes with
//! the attributes counted too (RFC 6265bis, sections 5.6 and 6.1). They drop it silently: the user would find an older
//! cart. So a change that would lead to a bigger cookie is refused, and the cart before it stays valid. A cart that travels
//! in a header obeys the same bound, because the client may choose the way anew at each login.

mod token;

use std::time::Duration;

use async_trait::async_trait;

use self::token::{Access, CartClaims, Keys};
use crate::{
    Cart, Change, Changed, Clock, Credential, Error, Granted, Listed, LoggedOut, Properties,
    Session, StateLives, Strategy, secret,
};

/// What `jwt` promises.
pub static PROPERTIES: Properties = Properties {
    name: "jwt",
    state_lives: StateLives::Client,
    needs_affinity: false,
    survives_node_death: true,
    revocable_at_once: false,
    store_round_trips: 0,
    logout: "The client is told to forget the token. No server can end it: a copy of it works until it expires.",
};

/// The most bytes of a cookie: name, value and attributes. No token is longer than this either.
pub const MAX_COOKIE_BYTES: usize = 4096;

/// What a cart's cookie has beside the token, with the prefix and every attribute that `shop` may set: where the public
/// URL is http there is less, but how much fits into a cart must not depend on it.
const AROUND_THE_CART: &str =
    "__Host-jwt-cart=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=4294967295";

/// The shortest key that is as strong as the signature (RFC 7518, section 3.2).
const MIN_KEY_BYTES: usize = 32;

/// How tokens are signed, and how long they live. Not `Debug`: it holds the key.
pub struct Settings {
    /// The key that all nodes share.
    pub key: Vec<u8>,
    /// An access token expires this long after the login, used or not.
    pub lifetime: Duration,
    /// The most lines in a cart.
    pub max_lines: usize,
}

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the key has {bytes} bytes, and HS256 needs at least {MIN_KEY_BYTES}")]
pub struct KeyError {
    /// Length of the key.
    pub bytes: usize,
}

/// Sessions that clients carry.
pub struct Jwt {
    keys: Keys,
    lifetime_s: u64,
    max_lines: usize,
    clock: Clock,
}

impl Jwt {
    /// Fails on a key that is too short: it could be guessed from any one token, offline.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, KeyError> {
        let Settings {
            key,
            lifetime,
            max_lines,
        } = settings;
        if key.len() < MIN_KEY_BYTES {
            return Err(KeyError { bytes: key.len() });
        }
        Ok(Self {
            keys: Keys::new(&key),
            lifetime_s: lifetime.as_secs(),
            max_lines,
            clock,
        })
    }

    fn verify(&self, credential: &Credential) -> Result<Access, Error> {
        self.keys.verify_access(&credential.token, self.clock.now())
    }

    /// The cart that came along. No cart token is an empty cart: nobody has added anything since the login.
    fn verify_cart(&self, credential: &Credential, login: &Access) -> Result<Cart, Error> {
        match &credential.cart {
            Some(token) => self.keys.verify_cart(token, login),
            None => Ok(Cart::default()),
        }
    }
}

#[async_trait]
impl Strategy for Jwt {
    fn properties(&self) -> &'static Properties {
        &PROPERTIES
    }

    async fn login(&self, user: &str, _presented: Option<&Credential>) -> Result<Granted, Error> {
        let now = self.clock.now();
        let access = Access::new(user, now, self.lifetime_s, secret::text(&secret::draw()));
        Ok(Granted {
            credential: Credential::new(self.keys.sign_access(&access)?),
            session: access.into_session(),
        })
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Session, Error> {
        Ok(self.verify(credential)?.into_session())
    }

    async fn cart(&self, credential: &Credential) -> Result<Cart, Error> {
        let login = self.verify(credential)?;
        self.verify_cart(credential, &login)
    }

    async fn change(&self, credential: &Credential, change: Change) -> Result<Changed, Error> {
        let login = self.verify(credential)?;
        let mut cart = self.verify_cart(credential, &login)?;
        cart.apply(change, self.max_lines)?;
        let token = self.keys.sign_cart(&CartClaims::new(&login, &cart))?;
        let bytes = AROUND_THE_CART.len() + token.len();
        if bytes > MAX_COOKIE_BYTES {
            return Err(Error::CartTooLarge {
                bytes,
                max_bytes: MAX_COOKIE_BYTES,
            });
        }
        Ok(Changed {
            cart,
            cart_token: Some(token),
        })
    }

    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error> {
        Ok(match self.verify(credential) {
            Ok(access) => LoggedOut::AliveUntil(access.expires_at()),
            Err(_) => LoggedOut::Dead,
        })
    }

    async fn sessions(&self, credential: &Credential) -> Result<Vec<Listed>, Error> {
        self.verify(credential)?;
        Err(unsupported(
            "no server remembers which tokens it has issued",
        ))
    }

    async fn end(&self, credential: &Credential, _id: &str) -> Result<(), Error> {
        self.verify(credential)?;
        Err(unsupported(
            "a token that was issued is valid until it expires",
        ))
    }

    async fn revoke(&self, _user: &str) -> Result<u64, Error> {
        Err(unsupported(
            "a token that was issued is valid until it expires; only a new key ends them, those of all users at once",
        ))
    }
}

fn unsupported(why: &'static str) -> Error {
    Error::Unsupported {
        strategy: PROPERTIES.name,
        why,
    }
}
