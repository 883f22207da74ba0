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
//!
//! # Clocks
//! Each node judges a token by its own clock, and no two clocks agree. So a token is taken a leeway before it begins
//! and after it ends: a node that is ahead signs what the others take, and does not end what they still take.
//!
//! # Keys
//! All nodes share the keys. They are changed while nodes run, without logging anybody out: `ring.rs` says how. How an
//! operator writes them down, and how a node notices: `keys.rs`.

mod keys;
mod ring;
mod token;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

pub use self::ring::{MAX_KEYS, MIN_KEY_BYTES, Ring, RingError, Use};
use self::token::Login;
pub use self::token::MAX_COOKIE_BYTES;
use crate::about::{Carriage, ConcurrentChanges, Ends, Reach, RoundTrips};
use crate::credential::{Lasts, TOKEN};
use crate::settings::{Kept, MAX_CART_LINES, Takes};
use crate::theory::Anomaly::Exposure;
use crate::theory::{Expected, Extent, Hit};
use crate::{
    About, Answer, Cart, Change, Clock, Credential, Error, Host, KeyInUse, Listed, LoggedOut, Part,
    Session, Setting, StateLives, Strategy, Unfit, Values, secret,
};

/// What `jwt` says of itself.
static ABOUT: About = About {
    name: "jwt",
    title: "Stateless tokens",
    sentence: "The session lives with the client, in signed tokens that every node can check and no node remembers.",
    state_lives: StateLives::Client,
    store: None,
    key_prefixes: &[],
    needs_affinity: false,
    carriage: Carriage::Tokens,
    parts: &[
        Part {
            name: TOKEN,
            cookie: "jwt-token",
            header: Some("authorization"),
            field: Some("access_token"),
            lasts: Lasts::Login,
        },
        CART,
    ],
    ends: Ends::Fixed {
        lifetime: &LIFETIME,
    },
    logout: Reach::Never,
    revocation: Reach::Never,
    lists_logins: false,
    concurrent_changes: ConcurrentChanges::LastAnswerWins,
    round_trips: RoundTrips::NONE,
    logout_means: "The client is told to forget the token. No server can end it: a copy of it works until it expires.",
    port: 8083,
    settings: &[&KEY_FILE, &LIFETIME, &LEEWAY, &MAX_CART_LINES],
    theory: THEORY,
};

#[rustfmt::skip]
const THEORY: &[Expected] = &[
    //            what is hit      by   predicted    tolerated  which sessions
    Expected::new(Hit::Nothing,    &[], &[Exposure], &[], Extent::AsListed,
        "A logout cannot reach copies of a token: whoever holds one is let in until it expires."),
    Expected::new(Hit::Revocation, &[], &[Exposure], &[], Extent::AsListed,
        "Nobody knows which tokens a user has, so the call is refused, and each of them works until it expires."),
    Expected::new(Hit::Anything,   &[], &[],         &[], Extent::AsListed,
        "The client carries login and cart. No node and no store has anything to lose."),
];

/// The second part of the credential.
const CART: Part = Part {
    name: "cart",
    cookie: "jwt-cart",
    header: Some("x-cart"),
    field: None,
    lasts: Lasts::Change,
};

static KEY_FILE: Setting = Setting {
    flag: "jwt-key-file",
    value_name: "PATH",
    doc: "The file that holds the key that signs tokens, at least 32 bytes, or several keys, one a line: `signs KEY`, \
          `verifies KEY [until TIME]` (or `SHOP_JWT_KEY` holds the same). All nodes of a cluster share it. \
          A change of the file is noticed within some seconds.",
    takes: Takes::SecretFile {
        what: "the key of the tokens",
    },
};

static LIFETIME: Setting = Setting {
    flag: "access-token-s",
    value_name: "S",
    doc: "How long an access token is valid. Nothing can end it earlier.",
    takes: Takes::Number {
        default: 1_800,
        least: 1,
        most: 86_400,
    },
};

static LEEWAY: Setting = Setting {
    flag: "token-leeway-s",
    value_name: "S",
    doc: "How far the clocks of two nodes may differ: an access token is taken so long before its beginning and after its end.",
    takes: Takes::Number {
        default: 60,
        least: 0,
        most: 600,
    },
};

/// The row of `jwt`.
pub struct Kind;

impl crate::Kind for Kind {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn check(&self, values: &Values) -> Result<(), Unfit> {
        first_ring(values).map(drop)
    }

    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit> {
        let (kept, ring) = first_ring(values)?;
        tracing::info!(keys = ?ring, "the keys of the tokens");
        let settings = Settings {
            ring,
            lifetime: values.seconds(&LIFETIME),
            leeway: values.seconds(&LEEWAY),
            max_lines: values.count(&MAX_CART_LINES),
        };
        let jwt = Arc::new(Jwt::new(settings, host.clock.clone()));
        if let Some(path) = &kept.path {
            keys::watch(path.clone(), kept.secret.clone(), &jwt.ring)
                .map_err(|why| Unfit(format!("the keys of the tokens cannot be watched: {why}")))?;
        }
        Ok(jwt)
    }
}

/// The keys that the node starts with.
fn first_ring(values: &Values) -> Result<(&Kept, Ring), Unfit> {
    let how = format!(
        "make one with `openssl rand -hex 32`, the same for all nodes, and set {} or --{}",
        KEY_FILE.content_variable(),
        KEY_FILE.flag
    );
    let kept = values.secret(&KEY_FILE).ok_or_else(|| {
        Unfit(format!(
            "strategy {} needs a key to sign tokens with: {how}",
            ABOUT.name
        ))
    })?;
    let ring = keys::ring(&kept.secret).map_err(|why| {
        Unfit(format!(
            "the keys of the tokens cannot be used: {why}: {how}"
        ))
    })?;
    Ok((kept, ring))
}

/// What a cart's cookie has beside its own name and the token: the prefix and every attribute that `shop` may set. Where the
/// public URL is http there is less, but how much fits into a cart must not depend on it.
const AROUND_THE_CART: &str =
    "__Host-=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=4294967295";

/// How tokens are signed, and how long they live.
pub struct Settings {
    /// The keys that all nodes share.
    pub ring: Ring,
    /// An access token expires this long after the login, used or not.
    pub lifetime: Duration,
    /// How far the clocks of two nodes may differ: a token is taken so long before its beginning and after its end.
    pub leeway: Duration,
    /// The most lines in a cart.
    pub max_lines: usize,
}

/// Sessions that clients carry.
pub struct Jwt {
    /// Swapped as a whole: a request sees the old keys or the new ones.
    ring: Arc<ArcSwap<Ring>>,
    lifetime_s: u64,
    leeway_s: u64,
    max_lines: usize,
    clock: Clock,
}

impl Jwt {
    /// Ready at once: there is nothing to connect to.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            ring: Arc::new(ArcSwap::from_pointee(settings.ring)),
            lifetime_s: settings.lifetime.as_secs(),
            leeway_s: settings.leeway.as_secs(),
            max_lines: settings.max_lines,
            clock,
        }
    }

    /// Takes other keys from now on; requests that run finish with those before.
    pub fn change_keys(&self, ring: Ring) {
        self.ring.store(Arc::new(ring));
    }

    fn verify<'r>(&self, ring: &'r Ring, credential: &Credential) -> Result<Login<'r>, Error> {
        token::verify_access(ring, credential.token(), self.clock.now(), self.leeway_s)
    }
}

/// The cart that came along. No cart token is an empty cart: nobody has added anything since the login.
fn verify_cart(credential: &Credential, login: &Login<'_>) -> Result<Cart, Error> {
    match credential.part(CART.name) {
        Some(token) => token::verify_cart(token, login),
        None => Ok(Cart::default()),
    }
}

#[async_trait]
impl Strategy for Jwt {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn login(
        &self,
        user: &str,
        _presented: Option<&Credential>,
    ) -> Result<Answer<Session>, Error> {
        let now = self.clock.now();
        let session = Session {
            user: user.to_owned(),
            issued_at: now,
            expires_at: now.saturating_add(self.lifetime_s),
        };
        let id = secret::text(&secret::draw());
        let token = token::sign_access(&self.ring.load(), &session, &id)?;
        Ok(Answer::with(session, Credential::new(token)))
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Answer<Session>, Error> {
        let ring = self.ring.load();
        Ok(self.verify(&ring, credential)?.into_session().into())
    }

    async fn cart(&self, credential: &Credential) -> Result<Answer<Cart>, Error> {
        let ring = self.ring.load();
        let login = self.verify(&ring, credential)?;
        verify_cart(credential, &login).map(Answer::from)
    }

    async fn change(&self, credential: &Credential, change: Change) -> Result<Answer<Cart>, Error> {
        let ring = self.ring.load();
        let login = self.verify(&ring, credential)?;
        let mut cart = verify_cart(credential, &login)?;
        cart.apply(change, self.max_lines)?;
        let token = token::sign_cart(&login, &cart)?;
        let bytes = AROUND_THE_CART.len() + CART.cookie.len() + token.len();
        if bytes > MAX_COOKIE_BYTES {
            return Err(Error::CartTooLarge {
                bytes,
                max_bytes: MAX_COOKIE_BYTES,
            });
        }
        let reissued = Credential::default().with(CART.name, token);
        Ok(Answer::with(cart, reissued))
    }

    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error> {
        let ring = self.ring.load();
        Ok(match self.verify(&ring, credential) {
            // The last moment at which a node whose clock is right takes it.
            Ok(login) => LoggedOut::AliveUntil(login.expires_at().saturating_add(self.leeway_s)),
            Err(_) => LoggedOut::Dead,
        })
    }

    async fn sessions(&self, credential: &Credential) -> Result<Answer<Vec<Listed>>, Error> {
        self.verify(&self.ring.load(), credential)?;
        Err(unsupported(
            "no server remembers which tokens it has issued",
        ))
    }

    async fn end(&self, credential: &Credential, _id: &str) -> Result<Answer<()>, Error> {
        self.verify(&self.ring.load(), credential)?;
        Err(unsupported(
            "a token that was issued is valid until it expires",
        ))
    }

    async fn revoke(&self, _user: &str) -> Result<u64, Error> {
        Err(unsupported(
            "a token that was issued is valid until it expires; only retiring its key ends it earlier, with those of all users",
        ))
    }

    fn keys(&self) -> Vec<KeyInUse> {
        let (ring, now) = (self.ring.load(), self.clock.now());
        let keys = ring.ids().map(|(id, its_use)| KeyInUse {
            id: id.to_owned(),
            state: match its_use {
                Use::Signs => "signs",
                Use::Verifies { until: Some(until) } if until <= now => "retired",
                Use::Verifies { .. } => "verifies",
            },
        });
        keys.collect()
    }
}

fn unsupported(why: &'static str) -> Error {
    Error::Unsupported {
        strategy: ABOUT.name,
        why,
    }
}
