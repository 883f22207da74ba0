//! Between HTTP and the strategies: how credentials come out of a request and go into an answer.
//!
//! | carriage | comes as | goes as |
//! | --- | --- | --- |
//! | cookie (`sticky`, `redis`) | cookie `session-<strategy>` | `Set-Cookie` |
//! | token (`jwt`), bearer | `Authorization: Bearer`, cart in `x-cart` | body of the login, `x-cart` |
//! | token (`jwt`), cookie | cookies `jwt-token` and `jwt-cart` | `Set-Cookie` |
//!
//! Cookies are told apart by name because they ignore ports: all strategies on one host share one jar.
//!
//! A 401 does not clear the cookie. The answer to an old request can arrive after a new login in another tab,
//! and clearing would then throw the new session away; a dead credential does no harm and the next login replaces it.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use session::{Credential, Properties, StateLives};

use crate::node::Served;
use crate::problem::Problem;

/// Carries the cart token of bearers, both ways.
pub(crate) const X_CART: HeaderName = HeaderName::from_static("x-cart");

/// No strategy has longer credentials, and a browser stores no longer cookies. What is longer proves nothing,
/// so it counts as not there.
const MAX_CREDENTIAL_BYTES: usize = 4096;

/// How the credential of a strategy travels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// As one opaque value in a cookie of this name.
    Cookie {
        /// The cookie's name.
        name: String,
    },
    /// As a signed token that the client can also present itself, and a cart token beside it.
    Token {
        /// The name of the token's cookie.
        token: String,
        /// The name of the cart's cookie.
        cart: String,
    },
}

impl Carriage {
    /// The carriage of the strategy with these properties: a client that holds the state is handed tokens.
    pub(crate) fn of(properties: &Properties) -> Self {
        let name = properties.name;
        match properties.state_lives {
            StateLives::Client => Self::Token {
                token: format!("{name}-token"),
                cart: format!("{name}-cart"),
            },
            StateLives::Node | StateLives::Store => Self::Cookie {
                name: format!("session-{name}"),
            },
        }
    }
}

/// By which way a credential came, and its successor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// In the `Authorization` header and `x-cart`.
    Bearer,
    /// In cookies.
    Cookie,
}

/// A credential that came along with a request. The strategy has not judged it yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    /// What was presented.
    pub credential: Credential,
    /// By which way.
    pub transport: Transport,
}

/// For endpoints that need a login: 401 without a credential.
impl FromRequestParts<Served> for Presented {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let found = Found::in_headers(&parts.headers, &served.lane().carriage)?;
        found.agreed(served).await?.ok_or(Problem::NotLoggedIn)
    }
}

/// For login and logout, which have something to do without a credential too.
impl OptionalFromRequestParts<Served> for Presented {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        served: &Served,
    ) -> Result<Option<Self>, Problem> {
        let found = Found::in_headers(&parts.headers, &served.lane().carriage)?;
        found.agreed(served).await
    }
}

/// What a request holds, by either way.
struct Found {
    bearer: Option<Credential>,
    cookie: Option<Credential>,
}

impl Found {
    fn in_headers(headers: &HeaderMap, carriage: &Carriage) -> Result<Self, Problem> {
        match carriage {
            Carriage::Cookie { name } => Ok(Self {
                bearer: None,
                cookie: cookie(headers, name)?.map(Credential::new),
            }),
            Carriage::Token { token, cart } => Ok(Self {
                bearer: match bearer(headers)? {
                    Some(token) => Some(Credential {
                        token,
                        cart: single(headers, &X_CART)?.map(text),
                    }),
                    None => None,
                },
                cookie: match cookie(headers, token)? {
                    Some(token) => Some(Credential {
                        token,
                        cart: cookie(headers, cart)?,
                    }),
                    None => None,
                },
            }),
        }
    }

    /// The one credential that counts. With both ways in use the header does, because a browser sends cookies unasked;
    /// but when both are valid and belong to different users, somebody is about to act for the wrong one.
    async fn agreed(self, served: &Served) -> Result<Option<Presented>, Problem> {
        if let (Some(bearer), Some(cookie)) = (&self.bearer, &self.cookie)
            && bearer.token != cookie.token
        {
            let strategy = served.strategy();
            let by_bearer = strategy.authenticate(bearer).await;
            let by_cookie = strategy.authenticate(cookie).await;
            if let (Ok(by_bearer), Ok(by_cookie)) = (by_bearer, by_cookie)
                && by_bearer.user != by_cookie.user
            {
                return Err(Problem::TwoUsers);
            }
        }
        let bearer = self.bearer.map(|credential| Presented {
            credential,
            transport: Transport::Bearer,
        });
        Ok(bearer.or_else(|| {
            self.cookie.map(|credential| Presented {
                credential,
                transport: Transport::Cookie,
            })
        }))
    }
}

/// The value of the one cookie of this name; an empty one is a cookie that was cleared.
fn cookie(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        for pair in header.as_bytes().split(|&byte| byte == b';') {
            let Some(value) = pair
                .trim_ascii()
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
            else {
                continue;
            };
            // Cookies of the same name come from different paths or hosts. One of them may be planted.
            if found.replace(value).is_some() {
                return Err(Problem::AmbiguousCredential);
            }
        }
    }
    Ok(found.and_then(bounded))
}

/// The token of the one `Authorization` header, where it is of the scheme `Bearer`.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = single(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    let Some((scheme, token)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Ok(None);
    }
    Ok(bounded(token.trim_ascii()))
}

/// The value of a header that may be there once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Problem::AmbiguousCredential),
        None => Ok(first),
    }
}

fn bounded(value: &[u8]) -> Option<String> {
    (1..=MAX_CREDENTIAL_BYTES)
        .contains(&value.len())
        .then(|| String::from_utf8_lossy(value).into_owned())
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Whether the `Authorization` header presents exactly this token, told in the same time whatever is different.
pub(crate) fn is_bearer_of(headers: &HeaderMap, token: &[u8]) -> bool {
    bearer(headers).ok().flatten().is_some_and(|presented| {
        aws_lc_rs::constant_time::verify_slices_are_equal(presented.as_bytes(), token).is_ok()
    })
}

/// Hands `value` to the client as the cookie `name`, for as long as its browser runs: how long a login lasts,
/// the strategy judges. `HttpOnly` keeps scripts away from it, `SameSite` keeps it out of what other sites ask for.
pub(crate) fn set_cookie(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Problem> {
    append(
        headers,
        &format!("{name}={value}; HttpOnly; SameSite=Lax; Path=/"),
    )
}

/// Makes the client forget each cookie of this strategy that came along with the request.
pub(crate) fn clear_cookies(
    answer: &mut HeaderMap,
    request: &HeaderMap,
    carriage: &Carriage,
) -> Result<(), Problem> {
    match carriage {
        Carriage::Cookie { name } => clear_cookie(answer, request, name),
        Carriage::Token { token, cart } => {
            clear_cookie(answer, request, token)?;
            clear_cookie(answer, request, cart)
        }
    }
}

/// Makes the client forget the cookie `name`, if it came along with the request.
pub(crate) fn clear_cookie(
    answer: &mut HeaderMap,
    request: &HeaderMap,
    name: &str,
) -> Result<(), Problem> {
    if cookie(request, name)?.is_some() {
        append(
            answer,
            &format!("{name}=; Max-Age=0; HttpOnly; SameSite=Lax; Path=/"),
        )?;
    }
    Ok(())
}

/// Hands a cart token to the client by the way that its credential came.
pub(crate) fn hand_cart(
    headers: &mut HeaderMap,
    carriage: &Carriage,
    transport: Transport,
    cart_token: &str,
) -> Result<(), Problem> {
    if let (Carriage::Token { cart, .. }, Transport::Cookie) = (carriage, transport) {
        return set_cookie(headers, cart, cart_token);
    }
    headers.insert(X_CART, HeaderValue::try_from(cart_token).map_err(unfit)?);
    Ok(())
}

fn append(headers: &mut HeaderMap, cookie: &str) -> Result<(), Problem> {
    headers.append(SET_COOKIE, HeaderValue::try_from(cookie).map_err(unfit)?);
    Ok(())
}

/// A strategy made a credential that no header can carry. The value itself must not be logged.
fn unfit(_: http::header::InvalidHeaderValue) -> Problem {
    tracing::error!("a strategy made a credential that no header can carry");
    Problem::Internal
}
