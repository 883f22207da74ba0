//! Answers of the balancer itself, as problem details (RFC 9457) with a stable `type`.
//!
//! They carry no `x-node`: that is how a client tells them from an answer of a node. They close the
//! connection: what a client still sends of a request that was not read to its end must not be taken for the
//! next one.

use crate::http1::fields::{put, put_number};

/// Tells the client how many other nodes were asked before.
pub(crate) const RETRIES: &str = "x-balancer-retries";

/// Appends a whole answer.
pub(crate) fn write(
    output: &mut Vec<u8>,
    status: u16,
    is_head: bool,
    strategy: &str,
    retries: usize,
) {
    let (reason, body) = text(status);
    output.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    put(output, b"content-type", b"application/problem+json");
    put_number(output, b"content-length", body.len() as u64);
    put(output, b"cache-control", b"no-store");
    put(output, b"connection", b"close");
    put(output, b"x-session-strategy", strategy.as_bytes());
    if status == 503 {
        put(output, b"retry-after", b"1");
    }
    if retries > 0 {
        put_number(output, RETRIES.as_bytes(), retries as u64);
    }
    output.extend_from_slice(b"\r\n");
    if !is_head {
        output.extend_from_slice(body.as_bytes());
    }
}

/// A `fail` is certain only with 503: with 502 and 504 the node may have done what it was asked for.
fn text(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => (
            "Bad Request",
            r#"{"type":"urn:session-lab:bad-request","title":"The request is not valid HTTP","status":400}"#,
        ),
        405 => (
            "Method Not Allowed",
            r#"{"type":"urn:session-lab:method-not-allowed","title":"The balancer makes no tunnels","status":405}"#,
        ),
        408 => (
            "Request Timeout",
            r#"{"type":"urn:session-lab:request-timeout","title":"The request took too long to arrive","status":408}"#,
        ),
        413 => (
            "Content Too Large",
            r#"{"type":"urn:session-lab:body-too-large","title":"The request's body is too large","status":413}"#,
        ),
        414 => (
            "URI Too Long",
            r#"{"type":"urn:session-lab:target-too-long","title":"The request's target is too long","status":414}"#,
        ),
        417 => (
            "Expectation Failed",
            r#"{"type":"urn:session-lab:expectation-failed","title":"The only expectation that can be met is 100-continue","status":417}"#,
        ),
        431 => (
            "Request Header Fields Too Large",
            r#"{"type":"urn:session-lab:head-too-large","title":"The request has too many header fields, or too large ones","status":431}"#,
        ),
        502 => (
            "Bad Gateway",
            r#"{"type":"urn:session-lab:node-broke-off","title":"The node broke off; it may or may not have done what it was asked","status":502}"#,
        ),
        503 => (
            "Service Unavailable",
            r#"{"type":"urn:session-lab:no-node","title":"No node can serve this now; nothing was done","status":503}"#,
        ),
        504 => (
            "Gateway Timeout",
            r#"{"type":"urn:session-lab:node-timeout","title":"The node did not answer in time; it may or may not have done what it was asked","status":504}"#,
        ),
        _ => (
            "Internal Server Error",
            r#"{"type":"about:blank","title":"The load balancer failed","status":500}"#,
        ),
    }
}
