//! What clients send: JSON bodies and ids, read within bounds and refused with the name of what is wrong.
//!
//! * A body has at most 16 KiB (413) and arrives within 10 s (408); it is JSON (415, 400) with no unknown fields (422).
//! * An identifier (`user`, a line's `id`, `sku`) is 1 to 64 of `A-Z a-z 0-9 . _ -`: safe in paths, logs and Redis keys.
//! * A quantity is 1 to 999.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Bodies are small forms.
const MAX_BODY_BYTES: usize = 16 * 1024;
const TOO_LARGE: Problem = Problem::BodyTooLarge {
    max_bytes: MAX_BODY_BYTES,
};
/// Long enough for a UUID or a hash, short enough for a cookie that holds a cart.
pub(crate) const MAX_IDENTIFIER_BYTES: usize = 64;
/// Hashing a longer one would only cost.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;
/// A client that is still sending when the connection closes may see a reset in place of the answer,
/// so that much of a body that is too large is read and thrown away first.
const MAX_DISCARDED_BYTES: usize = 256 * 1024;
/// Whoever sends slower holds a connection for nothing.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// A JSON body.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !parts.headers.contains_key(CONTENT_TYPE) || !json_or_nothing(&parts.headers) {
            return Err(Problem::NotJson);
        }
        let bytes = tokio::time::timeout(BODY_WITHIN, read(body))
            .await
            .map_err(|_| Problem::BodyTooSlow)??;
        parse(&bytes).map(Self)
    }
}

/// Whether a body is declared as JSON, or not at all.
///
/// A form of a foreign page can post only the three types that forms know, so this also keeps those out.
pub(crate) fn json_or_nothing(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|value| {
        let value = value.as_bytes();
        let end = value
            .iter()
            .position(|&byte| byte == b';')
            .unwrap_or(value.len());
        value[..end]
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/json")
    })
}

async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let mut read = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| {
            tracing::debug!(%why, "the client broke off its body");
            Problem::MalformedJson {
                why: "The body broke off".into(),
            }
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total += data.len();
        if total > MAX_DISCARDED_BYTES {
            break;
        }
        if total <= MAX_BODY_BYTES {
            read.extend_from_slice(&data);
        }
    }
    if total > MAX_BODY_BYTES {
        return Err(TOO_LARGE);
    }
    Ok(read.freeze())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let why = error.inner().to_string();
        if !error.inner().is_data() {
            return Problem::MalformedJson { why };
        }
        match error.path().to_string().as_str() {
            "." => Problem::InvalidInput { why },
            field => Problem::InvalidInput {
                why: format!("{field}: {why}"),
            },
        }
    })?;
    deserializer.end().map_err(|error| Problem::MalformedJson {
        why: error.to_string(),
    })?;
    Ok(value)
}

/// Whether `text` may name a user, a line of a cart, a product or a node.
pub(crate) fn is_identifier(text: &str) -> bool {
    has_identifier_characters(text, MAX_IDENTIFIER_BYTES)
}

fn has_identifier_characters(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// A checked identifier.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Identifier(pub String);

impl TryFrom<String> for Identifier {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_identifier(&text) {
            Ok(Self(text))
        } else {
            Err("must be 1 to 64 letters, digits, '.', '_' or '-'")
        }
    }
}

/// How many of a product.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct Quantity(pub u16);

impl TryFrom<u16> for Quantity {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        if (1..=999).contains(&number) {
            Ok(Self(number))
        } else {
            Err("must be 1 to 999")
        }
    }
}

/// A password on its way to the check. Never printed.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Password(pub String);

impl TryFrom<String> for Password {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() <= MAX_PASSWORD_BYTES {
            Ok(Self(text))
        } else {
            Err("must have at most 1024 bytes")
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The one id in a path such as `/cart/lines/{id}`: of the characters of an identifier, at most `MAX` of them.
pub(crate) struct PathId<const MAX: usize>(pub String);

impl<S: Send + Sync, const MAX: usize> FromRequestParts<S> for PathId<MAX> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::BAD_REQUEST {
                    Problem::InvalidInput {
                        why: "the id in the path is not UTF-8".into(),
                    }
                } else {
                    tracing::error!(%rejection, "a route has no id in its path");
                    Problem::Internal
                }
            })?;
        if has_identifier_characters(&text, MAX) {
            Ok(Self(text))
        } else {
            Err(Problem::InvalidInput {
                why: format!(
                    "the id in the path must be 1 to {MAX} letters, digits, '.', '_' or '-'"
                ),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use proptest::prelude::*;

    use super::*;

    /// The body of a client that sends its head and then nothing.
    struct Silent;

    impl axum::body::HttpBody for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        sku: Identifier,
        quantity: Quantity,
    }

    async fn send(content_type: &str, body: impl Into<Body>) -> Result<Form, Problem> {
        let request = Request::builder()
            .header(CONTENT_TYPE, content_type)
            .body(body.into())
            .unwrap();
        Json::from_request(request, &())
            .await
            .map(|Json(form)| form)
    }

    #[tokio::test]
    async fn a_good_body_is_read() {
        let body = r#"{"sku": "book-1.b_c", "quantity": 999}"#;
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            let form = send(content_type, body).await.unwrap();
            assert_eq!((form.sku.0.as_str(), form.quantity.0), ("book-1.b_c", 999));
        }
    }

    #[tokio::test]
    async fn only_json_is_taken() {
        for content_type in [
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "",
        ] {
            assert_eq!(
                send(content_type, "{}").await.unwrap_err(),
                Problem::NotJson
            );
        }
        let bare = Request::new(Body::from("{}"));
        let answer = Json::<Form>::from_request(bare, &()).await;
        assert_eq!(answer.err(), Some(Problem::NotJson));
    }

    #[tokio::test]
    async fn a_wrong_field_is_named() {
        for (body, field, why) in [
            (r#"{"sku": "b", "quantity": 0}"#, "quantity", "1 to 999"),
            (r#"{"sku": "b", "quantity": 1000}"#, "quantity", "1 to 999"),
            (r#"{"sku": "b", "quantity": 70000}"#, "quantity", "70000"),
            (r#"{"sku": "b", "quantity": -1}"#, "quantity", "-1"),
            (r#"{"sku": "b", "quantity": 1.5}"#, "quantity", "1.5"),
            (r#"{"sku": "", "quantity": 1}"#, "sku", "1 to 64"),
            (r#"{"sku": "a b", "quantity": 1}"#, "sku", "letters"),
            (
                r#"{"sku": "b", "quantity": 1, "price": 2}"#,
                "price",
                "unknown field",
            ),
            (r#"{"sku": "b"}"#, "quantity", "missing field"),
            (
                r#"{"sku": "a", "sku": "b", "quantity": 1}"#,
                "sku",
                "duplicate",
            ),
            ("[]", "", "invalid"),
        ] {
            let answer = send("application/json", body).await;
            let Err(Problem::InvalidInput { why: told }) = answer else {
                panic!("{body}: {answer:?}")
            };
            assert!(told.contains(field) && told.contains(why), "{body}: {told}");
        }
    }

    #[tokio::test]
    async fn what_is_not_json_is_told_apart_from_wrong_fields() {
        for body in ["", "{", "sku=b", r#"{"sku": "b", "quantity": 1} and more"#] {
            let answer = send("application/json", body).await;
            assert!(
                matches!(answer, Err(Problem::MalformedJson { .. })),
                "{body}: {answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused() {
        let body =
            |bytes: usize| format!(r#"{{"sku":"b","quantity":1{}}}"#, " ".repeat(bytes - 24));
        assert_eq!(body(MAX_BODY_BYTES).len(), MAX_BODY_BYTES);
        assert!(send("application/json", body(MAX_BODY_BYTES)).await.is_ok());
        for bytes in [MAX_BODY_BYTES + 1, MAX_DISCARDED_BYTES + 1] {
            let answer = send("application/json", body(bytes)).await;
            assert_eq!(answer.unwrap_err(), TOO_LARGE);
        }
    }

    #[tokio::test(start_paused = true)] // the clock runs ahead while nothing else does
    async fn a_body_that_never_ends_is_given_up() {
        let answer = send("application/json", Body::new(Silent)).await;
        assert_eq!(answer.unwrap_err(), Problem::BodyTooSlow);
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_parser(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = parse::<Form>(&body);
        }

        /// Depth is what a recursive parser can be killed with.
        #[test]
        fn no_depth_breaks_the_parser(open in "(\\[|\\{\"a\":){1,4}", times in 1_usize..3_000) {
            let mut body = open.repeat(times);
            body.truncate(MAX_BODY_BYTES);
            prop_assert!(parse::<Form>(body.as_bytes()).is_err());
            prop_assert!(parse::<serde_json::Value>(body.as_bytes()).is_err());
        }

        #[test]
        fn a_form_is_read_as_it_was_written(sku in "[A-Za-z0-9._-]{1,64}", quantity in 1_u16..=999) {
            let body = serde_json::json!({"sku": sku, "quantity": quantity}).to_string();
            let form = parse::<Form>(body.as_bytes()).unwrap();
            prop_assert_eq!((form.sku.0, form.quantity.0), (sku, quantity));
            for end in 0..body.len() {
                prop_assert!(parse::<Form>(&body.as_bytes()[..end]).is_err());
            }
        }

        #[test]
        fn an_identifier_is_safe_wherever_it_is_put(text in "\\PC{0,70}|[A-Za-z0-9._-]{1,70}") {
            let is_safe = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            prop_assert_eq!(is_identifier(&text), is_safe && (1..=64).contains(&text.len()));
        }
    }
}
