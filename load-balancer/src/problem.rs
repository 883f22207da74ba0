//! Answers of the balancer itself, as problem details (RFC 9457) with a stable `type`.
//!
//! They carry no `x-node`: that is how a client tells them from an answer of a node.

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};

use crate::headers::SESSION_STRATEGY;

/// Tells the client how many other nodes were asked before.
pub(crate) const RETRIES: &str = "x-balancer-retries";

/// Answers with a problem and ends the connection.
pub(crate) async fn answer(
    session: &mut Session,
    status: u16,
    strategy: &HeaderValue,
    retries: usize,
) -> Result<()> {
    let body = body(status);
    let mut answer = ResponseHeader::build(status, Some(7))?;
    answer.insert_header(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    )?;
    answer.insert_header(header::CONTENT_LENGTH, body.len())?;
    answer.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    answer.insert_header(SESSION_STRATEGY, strategy.clone())?;
    if status == 503 {
        answer.insert_header("retry-after", HeaderValue::from_static("1"))?;
    }
    if retries > 0 {
        answer.insert_header(RETRIES, retries)?;
    }
    session.write_error_response(answer, body).await
}

/// A `fail` is certain only with 503: with 502 and 504 the node may have done what it was asked for.
fn body(status: u16) -> Bytes {
    Bytes::from_static(match status {
        400 => br#"{"type":"urn:session-lab:bad-request","title":"The request is not valid HTTP","status":400}"#,
        408 => br#"{"type":"urn:session-lab:request-timeout","title":"The request took too long to arrive","status":408}"#,
        502 => br#"{"type":"urn:session-lab:node-broke-off","title":"The node broke off; it may or may not have done what it was asked","status":502}"#,
        503 => br#"{"type":"urn:session-lab:no-node","title":"No node can serve this now; nothing was done","status":503}"#,
        504 => br#"{"type":"urn:session-lab:node-timeout","title":"The node did not answer in time; it may or may not have done what it was asked","status":504}"#,
        _ => br#"{"type":"about:blank","title":"The load balancer failed","status":500}"#,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_and_say_their_status() {
        for status in [400, 408, 500, 502, 503, 504] {
            let problem: serde_json::Value = serde_json::from_slice(&body(status)).expect("JSON");
            assert_eq!(problem["status"], status);
            assert!(problem["type"].is_string() && problem["title"].is_string());
        }
    }
}
