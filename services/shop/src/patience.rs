//! How long whoever is in front of the node will wait for an answer: `x-answer-within-ms`.
//!
//! Only the load balancer knows its own patience, so it sends it along, anew for each attempt. What may take long answers
//! before that is over, because an answer that says when to try again is better than a 504 that says nothing. A client
//! that asks without a load balancer may send it too: whoever wants a quick refusal gets one.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use crate::node::Served;

const X_ANSWER_WITHIN_MS: HeaderName = HeaderName::from_static("x-answer-within-ms");

/// When to answer at the latest; `None` where nobody has said.
pub(crate) struct AnswerBy(pub Option<Instant>);

impl FromRequestParts<Served> for AnswerBy {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Served) -> Result<Self, Infallible> {
        Ok(Self(of(&parts.headers).map(|time| Instant::now() + time)))
    }
}

/// Three quarters of the time that is left: the rest is for the way there and back, and for the store.
fn of(headers: &HeaderMap) -> Option<Duration> {
    let within_ms: u32 = headers
        .get(X_ANSWER_WITHIN_MS)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_millis(within_ms.into()) * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_well_before_the_end_and_nonsense_says_nothing() {
        for (text, expected_ms) in [
            ("5000", Some(3_750)),
            ("004000", Some(3_000)),
            ("0", Some(0)),
            ("4294967295", Some(3_221_225_471)),
            ("4294967296", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(X_ANSWER_WITHIN_MS, text.try_into().unwrap())]);
            let within = of(&headers).map(|within| within.as_millis());
            assert_eq!(within, expected_ms, "{text}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
