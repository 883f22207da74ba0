//! Between HTTP and the strategies: how credentials come out of a request and go into an answer.
//!
//! | carriage | comes as | goes as |
//! | --- | --- | --- |
//! | cookie | cookie `session-<strategy>` | `Set-Cookie` |
//! | tokens, bearer | `Authorization: Bearer`, cart in `x-cart` | body of the login, `x-cart` |
//! | tokens, cookies | cookies `<strategy>-token` and `<strategy>-cart` | `Set-Cookie` |
//!
//! Which of them, a strategy says of itself (`session`, `kind.rs`).
//!
//! With an https URL in `--public-url` the names of cookies begin with `__Host-`, see `cookies`.
//! Cookies are told apart by name because they ignore ports: all strategies on one host share one jar.
//!
//! A 401 does not clear the cookie. The answer to an old request can arrive after a new login in another tab,
//! and clearing would then throw the new session away; a dead credential does no harm and the next login replaces it.
//! A 400 for several cookies of one name does clear: those that no login can have set, see `cookies`.

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use session::{About, Credential, kind};

use crate::cookies::{Cookie, Visit};
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
    /// As one opaque value in this cookie.
    Cookie(Cookie),
    /// As a signed token that the client can also present itself, and a cart token beside it.
    Token {
        /// The token's cookie.
        token: Cookie,
        /// The cart's cookie.
        cart: Cookie,
    },
}

impl Carriage {
    /// The carriage that the strategy names. `secure` where browsers come over https.
    pub(crate) fn of(about: &About, secure: bool) -> Self {
        let names = about.cookies();
        let cookie =
            |index: usize| Cookie::new(names.get(index).map_or("", String::as_str), secure);
        match about.carriage {
            kind::Carriage::Cookie => Self::Cookie(cookie(0)),
            kind::Carriage::Tokens => Self::Token {
                token: cookie(0),
                cart: cookie(1),
            },
        }
    }

    /// Makes the client forget each cookie of this carriage that came along with the request.
    pub(crate) fn clear(&self, answer: &mut HeaderMap, visit: &Visit) -> Result<(), Problem> {
        self.cookies()
            .try_for_each(|cookie| cookie.clear(answer, visit))
    }

    /// The refusal of several credentials of one name, which also clears the cookies that cannot be ours.
    fn ambiguous(&self, visit: &Visit) -> Problem {
        let foreign = self
            .cookies()
            .flat_map(|cookie| cookie.surely_foreign(visit));
        Problem::AmbiguousCredential {
            forget: foreign.collect(),
        }
    }

    fn cookies(&self) -> impl Iterator<Item = &Cookie> {
        let (first, second) = match self {
            Self::Cookie(cookie) => (cookie, None),
            Self::Token { token, cart } => (token, Some(cart)),
        };
        std::iter::once(first).chain(second)
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
        let carriage = &served.lane().carriage;
        let found =
            Found::in_headers(&parts.headers, carriage).map_err(|problem| match problem {
                Problem::AmbiguousCredential { .. } => carriage.ambiguous(&Visit::of(parts)),
                other => other,
            })?;
        found
            .agreed(served)
            .await?
            .ok_or(Problem::NotLoggedIn { presented: false })
    }
}

/// For login and logout, which end whatever was presented: each credential once, by either way and however often. Which one
/// the client means does not matter to them, and refusing them would lock it out.
pub(crate) struct Brought(pub Vec<Credential>);

impl FromRequestParts<Served> for Brought {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let mut tokens = match &served.lane().carriage {
            Carriage::Cookie(cookie) => cookie.all(headers),
            Carriage::Token { token, .. } => {
                let mut tokens = token.all(headers);
                tokens.extend(bearer(headers)?);
                tokens
            }
        };
        tokens.sort_unstable();
        tokens.dedup();
        Ok(Self(tokens.into_iter().map(Credential::new).collect()))
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
            Carriage::Cookie(cookie) => Ok(Self {
                bearer: None,
                cookie: cookie.find(headers)?.map(Credential::new),
            }),
            Carriage::Token { token, cart } => Ok(Self {
                bearer: match bearer(headers)? {
                    Some(token) => Some(Credential {
                        token,
                        cart: single(headers, &X_CART)?.map(text),
                    }),
                    None => None,
                },
                cookie: match token.find(headers)? {
                    Some(token) => Some(Credential {
                        token,
                        cart: cart.find(headers)?,
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
        Some(_) => Err(Problem::ambiguous()),
        None => Ok(first),
    }
}

/// A value of a length that a credential can have.
pub(crate) fn bounded(value: &[u8]) -> Option<String> {
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

/// Hands a cart token to the client by the way that its credential came.
pub(crate) fn hand_cart(
    headers: &mut HeaderMap,
    carriage: &Carriage,
    transport: Transport,
    cart_token: &str,
) -> Result<(), Problem> {
    if let (Carriage::Token { cart, .. }, Transport::Cookie) = (carriage, transport) {
        return cart.set(headers, cart_token);
    }
    headers.insert(X_CART, HeaderValue::try_from(cart_token).map_err(unfit)?);
    Ok(())
}

/// A strategy made a credential that no header can carry. The value itself must not be logged.
pub(crate) fn unfit(_: http::header::InvalidHeaderValue) -> Problem {
    tracing::error!("a strategy made a credential that no header can carry");
    Problem::Internal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn presented(lines: &[&[u8]]) -> Result<Option<String>, Problem> {
        let lines = lines
            .iter()
            .filter_map(|line| HeaderValue::from_bytes(line).ok());
        bearer(&lines.map(|line| (AUTHORIZATION, line)).collect())
    }

    #[test]
    fn a_bearer_is_read_in_any_spelling_of_the_scheme() {
        for line in ["Bearer a.b-c", "bearer a.b-c", "BEARER   a.b-c "] {
            assert_eq!(presented(&[line.as_bytes()]), Ok(Some("a.b-c".into())));
        }
        for line in [
            "",
            "Bearer",
            "Bearer ",
            "Basic a.b-c",
            "Bearera.b-c",
            "Bearer\ta",
        ] {
            assert_eq!(presented(&[line.as_bytes()]), Ok(None), "{line}");
        }
        let twice = presented(&[b"Bearer a", b"Basic b"]);
        assert_eq!(twice, Err(Problem::ambiguous()));
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_parser(line in prop::collection::vec(any::<u8>(), 0..5000)) {
            if let Ok(Some(token)) = presented(&[&line]) {
                prop_assert!(!token.is_empty() && line.len() > token.chars().count());
            }
        }

        #[test]
        fn a_token_comes_as_it_was_sent(token in "[!-~]{1,4096}") {
            let line = format!("Bearer {token}");
            prop_assert_eq!(presented(&[line.as_bytes()]), Ok(Some(token.clone())));
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(line).unwrap())]);
            prop_assert!(is_bearer_of(&headers, token.as_bytes()));
            prop_assert!(!is_bearer_of(&headers, &token.as_bytes()[1..]));
        }
    }
}
