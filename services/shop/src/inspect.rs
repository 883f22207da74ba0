//! The parser of cookies, for fuzzers outside of this crate.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::cookies::Cookie;

/// What a request holds of one cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieFound {
    /// A line cannot stand in a header at all.
    NotAField,
    /// It is not there, or too long to be ours.
    None,
    /// Its value.
    One(String),
    /// There are several of that name.
    Several,
}

/// Looks for the cookie `name` in the `Cookie` fields of a request; `secure` where browsers come over https.
pub fn find_cookie(fields: &[&[u8]], name: &str, secure: bool) -> CookieFound {
    let mut request = HeaderMap::new();
    for field in fields {
        let Ok(value) = HeaderValue::from_bytes(field) else {
            return CookieFound::NotAField;
        };
        request.append(COOKIE, value);
    }
    match Cookie::new(name, secure).find(&request) {
        Ok(Some(value)) => CookieFound::One(value),
        Ok(None) => CookieFound::None,
        Err(_) => CookieFound::Several,
    }
}
