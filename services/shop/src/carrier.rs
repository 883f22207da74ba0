//! Between HTTP and the strategies: how credentials come out of a request and go into an answer.
//!
//! A strategy's table says how each part of its credential travels (`session`, `credential.rs`); of the built-in ones:
//!
//! | the client | presents | is handed |
//! | --- | --- | --- |
//! | has a session id | cookie `session-<strategy>` | `Set-Cookie` |
//! | has tokens and is a bearer | `Authorization: Bearer`, cart in `x-cart` | a field of the body, `x-cart` |
//! | has tokens and is a browser | cookies `<strategy>-token` and `<strategy>-cart` | `Set-Cookie` |
//!
//! With an https URL in `--public-url` the names of cookies begin with `__Host-`, see `cookies`.
//! Cookies are told apart by name because they ignore ports: all strategies on one host share one jar.
//!
//! A 401 does not clear the cookie. The answer to an old request can arrive after a new login in another tab,
//! and clearing would then throw the new session away; a dead credential does no harm and the next login replaces it.
//! A 400 for several cookies of one name does clear: those that no login can have set, see `cookies`.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use session::{About, Answer, Credential, Part};

use crate::cookies::{Cookie, Visit, bounded, unfit};
use crate::problem::Problem;

/// Carries the credential of one strategy to the client and back.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// The part that proves the login first.
    parts: Vec<Carried>,
}

/// One part of it.
#[derive(Debug)]
struct Carried {
    part: &'static Part,
    cookie: Cookie,
    header: Option<HeaderName>,
}

/// By which way a credential came, and its successor goes. A login may ask for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// In headers, and in fields of the body.
    #[default]
    Bearer,
    /// In cookies.
    Cookie,
}

/// What is answered, with the parts of the credential that a bearer finds in the body.
#[derive(Serialize)]
struct Body<T> {
    #[serde(flatten)]
    fields: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    value: Option<T>,
}

impl Carrier {
    /// The carrier for a strategy. `secure` where browsers come over https.
    pub(crate) fn of(about: &About, secure: bool) -> Self {
        let parts = about.parts.iter().map(|part| Carried {
            part,
            cookie: Cookie::new(part.cookie, secure),
            header: part.header.map(HeaderName::from_static),
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// Whether clients can present the credential without cookies.
    pub(crate) fn has_bearers(&self) -> bool {
        let first = self.parts.first();
        first.is_some_and(|first| first.header == Some(AUTHORIZATION))
    }

    /// Makes the client forget each cookie that came along with the request.
    pub(crate) fn clear(&self, answer: &mut HeaderMap, visit: &Visit) -> Result<(), Problem> {
        self.cookies()
            .try_for_each(|cookie| cookie.clear(answer, visit))
    }

    /// The answer to the client: 200 with a value or 204 without one, and what the strategy handed back goes by this way.
    /// With the visit of a login, what the client held before is cleared.
    pub(crate) fn respond<T: Serialize>(
        &self,
        answer: Answer<Option<T>>,
        transport: Transport,
        login: Option<&Visit>,
    ) -> Result<Response, Problem> {
        let handed = answer.reissued.unwrap_or_default();
        let by_cookie = transport == Transport::Cookie;
        let mut headers = HeaderMap::new();
        let mut fields = BTreeMap::new();
        for Carried {
            part,
            cookie,
            header,
        } in &self.parts
        {
            let value = handed.part(part.name);
            match (login, value) {
                (Some(visit), Some(_)) if by_cookie => cookie.clear_others(&mut headers, visit)?,
                // A cookie that stayed would be the part of another login, perhaps of another user.
                (Some(visit), _) => cookie.clear(&mut headers, visit)?,
                (None, _) => {}
            }
            let Some(value) = value else {
                continue;
            };
            if by_cookie {
                cookie.set(&mut headers, value)?;
            } else if let Some(field) = part.field {
                fields.insert(field, value.to_owned());
            } else if let Some(header) = header {
                headers.insert(header, HeaderValue::try_from(value).map_err(unfit)?);
            }
        }
        let value = answer.value;
        let mut response = if value.is_none() && fields.is_empty() {
            StatusCode::NO_CONTENT.into_response()
        } else {
            axum::Json(Body { fields, value }).into_response()
        };
        response.headers_mut().extend(headers);
        Ok(response)
    }

    /// The refusal of several credentials of one name, which also clears the cookies that cannot be ours.
    pub(crate) fn ambiguous(&self, visit: &Visit) -> Problem {
        let foreign = self
            .cookies()
            .flat_map(|cookie| cookie.surely_foreign(visit));
        Problem::AmbiguousCredential {
            forget: foreign.collect(),
        }
    }

    pub(crate) fn cookies(&self) -> impl Iterator<Item = &Cookie> {
        self.parts.iter().map(|carried| &carried.cookie)
    }

    /// What came by this way; `None` without the part that proves the login.
    pub(crate) fn find(
        &self,
        transport: Transport,
        headers: &HeaderMap,
    ) -> Result<Option<Credential>, Problem> {
        let mut credential = Credential::default();
        for (
            index,
            Carried {
                part,
                cookie,
                header,
            },
        ) in self.parts.iter().enumerate()
        {
            let value = match (transport, header) {
                (Transport::Cookie, _) => cookie.find(headers)?,
                (Transport::Bearer, Some(name)) if name == AUTHORIZATION => bearer(headers)?,
                (Transport::Bearer, Some(name)) => single(headers, name)?.map(text),
                (Transport::Bearer, None) => None,
            };
            match value {
                Some(value) => credential = credential.with(part.name, value),
                None if index == 0 => return Ok(None),
                None => {}
            }
        }
        Ok(Some(credential))
    }
}

/// The token of the one `Authorization` header, where it is of the scheme `Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<String>, Problem> {
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

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Whether the `Authorization` header presents exactly this token, told in the same time whatever is different.
pub(crate) fn is_bearer_of(headers: &HeaderMap, token: &[u8]) -> bool {
    bearer(headers).ok().flatten().is_some_and(|presented| {
        aws_lc_rs::constant_time::verify_slices_are_equal(presented.as_bytes(), token).is_ok()
    })
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

    /// Whichever call it is that hands a credential out: here one that answers with a value, and one that does not.
    #[tokio::test]
    async fn what_a_strategy_hands_back_goes_by_the_way_that_the_credential_came() {
        let about = session::about("jwt").unwrap();
        let carrier = Carrier::of(about, true);
        let reissued = || Credential::new("token-2").with("cart", "cart-2");
        for value in [Some(serde_json::json!({"version": 1})), None] {
            let answer = || Answer::with(value.clone(), reissued());
            let response = carrier.respond(answer(), Transport::Bearer, None).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["x-cart"], "cart-2");
            let body = axum::body::to_bytes(response.into_body(), 4096).await;
            let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
            let mut expected = value.clone().unwrap_or_else(|| serde_json::json!({}));
            expected["access_token"] = "token-2".into();
            assert_eq!(body, expected);

            let response = carrier.respond(answer(), Transport::Cookie, None).unwrap();
            assert!(!response.headers().contains_key("x-cart"));
            let cookies = response.headers().get_all(http::header::SET_COOKIE).iter();
            let cookies: Vec<_> = cookies.map(|line| line.to_str().unwrap()).collect();
            assert!(cookies[0].starts_with("__Host-jwt-token=token-2; "));
            assert!(cookies[1].starts_with("__Host-jwt-cart=cart-2; "));
            let status = if value.is_some() {
                StatusCode::OK
            } else {
                StatusCode::NO_CONTENT
            };
            assert_eq!(response.status(), status);
        }
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
