//! What a user's browser does for it: keeps cookies and tokens, puts them on requests, and knows what a request and an
//! answer weigh on the wire.
//!
//! One browser serves all strategies, because it does what the answers tell it: cookies go into its jar, a token from a
//! login becomes `Authorization`, a cart token in `x-cart` goes back with the next request.
//!
//! It does not send anything; `exchange` does.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, Version};

use evidence::history::LineId;

/// The user's word that the request may be repeated: sent twice under one key, it is done once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that carries the cart of strategies whose client keeps it.
const CART: HeaderName = HeaderName::from_static("x-cart");

/// A request before it is sent.
pub(super) struct RequestSpec<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    /// JSON.
    pub(super) body: Option<String>,
    /// What makes a repetition the same request.
    pub(super) key: Option<LineId>,
}

/// What proves who the user is. Kept apart so that a dead one can be presented again.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    cookies: Vec<(String, String)>,
    cookie_header: Option<HeaderValue>,
    bearer: Option<HeaderValue>,
    cart: Option<HeaderValue>,
}

/// See the module.
pub(super) struct Browser {
    base: Url,
    host_bytes: usize,
    pub(super) credentials: Credentials,
}

impl Browser {
    pub(super) fn new(base: Url) -> Self {
        let host_bytes = base.authority().len();
        Self {
            base,
            host_bytes,
            credentials: Credentials::default(),
        }
    }

    /// Builds the request with `credentials`, and says how many bytes HTTP/1.1 makes of it: the request line, the
    /// headers that we set and those that the client adds (`host`, `accept`, `content-length`), the body.
    pub(super) fn request(
        &self,
        client: &Client,
        spec: RequestSpec<'_>,
        credentials: &Credentials,
    ) -> (RequestBuilder, usize) {
        let mut url = self.base.clone();
        url.set_path(spec.path);
        let mut headers = HeaderMap::with_capacity(7);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let ours = [
            (header::COOKIE, &credentials.cookie_header),
            (header::AUTHORIZATION, &credentials.bearer),
            (CART, &credentials.cart),
        ];
        for (name, value) in ours {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        // In quotes, as the draft of the header wants it.
        let key = spec
            .key
            .map(|key| HeaderValue::try_from(format!("\"{key}\"")));
        if let Some(Ok(key)) = key {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if spec.body.is_some() {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }

        let request_line = spec.method.as_str().len() + 1 + spec.path.len() + " HTTP/1.1\r\n".len();
        let host = "host: ".len() + self.host_bytes + "\r\n".len();
        let (length, body) = match &spec.body {
            Some(body) => {
                let digits = body.len().to_string().len();
                ("content-length: ".len() + digits + "\r\n".len(), body.len())
            }
            None => (0, 0),
        };
        let bytes = request_line + host + header_bytes(&headers) + length + "\r\n".len() + body;

        let mut builder = client.request(spec.method, url).headers(headers);
        if let Some(body) = spec.body {
            builder = builder.body(body);
        }
        (builder, bytes)
    }

    /// Takes cookies and the cart token from an answer.
    pub(super) fn absorb(&mut self, headers: &HeaderMap) {
        let mut changed = false;
        for cookie in headers.get_all(header::SET_COOKIE) {
            changed |= cookie
                .to_str()
                .is_ok_and(|text| self.credentials.set_cookie(text));
        }
        if changed {
            self.credentials.write_cookie_header();
        }
        if let Some(cart) = headers.get(CART) {
            self.credentials.cart = Some(cart.clone());
        }
    }

    /// Presents `token` from now on.
    pub(super) fn present(&mut self, token: &str) {
        self.credentials.bearer = HeaderValue::try_from(format!("Bearer {token}")).ok();
    }

    /// Forgets tokens, as an app does at logout. Cookies are the server's to clear.
    pub(super) fn forget_tokens(&mut self) {
        self.credentials.bearer = None;
        self.credentials.cart = None;
    }
}

impl Credentials {
    /// Obeys a `Set-Cookie`; whether anything changed. The lab talks to one site, so path and domain do not matter.
    fn set_cookie(&mut self, text: &str) -> bool {
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return false;
        };
        let ends = value.is_empty()
            || parts.any(|part| {
                part.eq_ignore_ascii_case("max-age=0")
                    || part.eq_ignore_ascii_case("expires=thu, 01 jan 1970 00:00:00 gmt")
            });
        let known = self.cookies.iter().position(|(known, _)| known == name);
        match (known, ends) {
            (Some(at), true) => {
                self.cookies.remove(at);
                true
            }
            (Some(at), false) => {
                self.cookies[at].1 = value.to_string();
                true
            }
            (None, true) => false,
            (None, false) => {
                self.cookies.push((name.to_string(), value.to_string()));
                true
            }
        }
    }

    fn write_cookie_header(&mut self) {
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.cookie_header = HeaderValue::try_from(pairs.join("; "))
            .ok()
            .filter(|header| !header.is_empty());
    }
}

/// Bytes of an answer's head as HTTP/1.1 writes it: status line, headers, empty line.
pub(super) fn answer_head_bytes(
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
) -> usize {
    let version = if version == Version::HTTP_10 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    let reason = status.canonical_reason().unwrap_or_default();
    version.len()
        + " 200 ".len()
        + reason.len()
        + "\r\n".len()
        + header_bytes(headers)
        + "\r\n".len()
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + ": ".len() + value.len() + "\r\n".len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browser() -> Browser {
        Browser::new(Url::parse("http://127.0.0.1:8081").unwrap())
    }

    fn answer(cookies: &[&str]) -> HeaderMap {
        cookies
            .iter()
            .map(|text| (header::SET_COOKIE, HeaderValue::from_str(text).unwrap()))
            .collect()
    }

    #[test]
    fn cookies_are_kept_replaced_and_dropped() {
        let mut browser = browser();
        browser.absorb(&answer(&[
            "session-sticky=a; HttpOnly; Path=/",
            "affinity=x",
        ]));
        let header = browser.credentials.cookie_header.clone().unwrap();
        assert_eq!(header, "session-sticky=a; affinity=x");
        browser.absorb(&answer(&["session-sticky=b; SameSite=Lax"]));
        let header = browser.credentials.cookie_header.clone().unwrap();
        assert_eq!(header, "session-sticky=b; affinity=x");
        browser.absorb(&answer(&["session-sticky=; Max-Age=0"]));
        assert_eq!(
            browser.credentials.cookie_header.clone().unwrap(),
            "affinity=x"
        );
    }

    #[test]
    fn a_line_is_the_key_of_its_own_adding() {
        let spec = RequestSpec {
            method: Method::POST,
            path: "/cart/lines",
            body: Some("{}".into()),
            key: Some(LineId {
                user: 3,
                operation: 7,
            }),
        };
        let (request, _) = browser().request(&Client::new(), spec, &Credentials::default());
        let request = request.build().unwrap();
        assert_eq!(request.headers()[IDEMPOTENCY_KEY], "\"3-7\"");
    }

    #[test]
    fn a_token_is_the_credential_until_it_is_forgotten() {
        let mut browser = browser();
        browser.present("abc");
        let mut headers = HeaderMap::new();
        headers.insert(CART, HeaderValue::from_static("cart-token"));
        browser.absorb(&headers);
        assert_eq!(browser.credentials.bearer.clone().unwrap(), "Bearer abc");
        let kept = browser.credentials.clone();
        browser.forget_tokens();
        assert!(browser.credentials.bearer.is_none());
        assert!(browser.credentials.cart.is_none());
        assert!(kept.bearer.is_some(), "a copy can be presented again");
    }
}
