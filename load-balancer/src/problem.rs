//! Answers of the balancer itself, as problem details (RFC 9457) with a stable `type`.
//!
//! They carry no `x-node`: that is how a client tells them from an answer of a node. They close the
//! connection: what a client still sends of a request that was not read to its end must not be taken for the
//! next one.

use crate::{
    http1::fields::{OUTCOME, Outcome, RETRIES, put, put_number},
    request_id::RequestId,
};

/// Methods that are passed on: all but CONNECT, of which these have a meaning.
const ALLOWED: &[u8] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// Everything that the balancer answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    BadRequest,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    TargetTooLong,
    ExpectationFailed,
    HeadTooLarge,
    NodeBrokeOff,
    NodeTimeout,
    /// No node takes requests, or none could be connected to.
    NoNode,
    /// The client is pinned to a node that is dead, and the listener is strict.
    PinnedNodeDead,
    /// The client is pinned to a node that is at its limit: it keeps its session and waits.
    PinnedNodeFull,
    /// Every node that takes requests is at its limit.
    NodesFull,
    /// The path is for operators alone.
    PrivatePath,
}

impl Problem {
    /// Every problem, with its status and the end of its `type`, in the order of the counters.
    pub(crate) const ALL: [(Self, u16, &str); 14] = [
        (Self::BadRequest, 400, "bad-request"),
        (Self::MethodNotAllowed, 405, "method-not-allowed"),
        (Self::RequestTimeout, 408, "request-timeout"),
        (Self::BodyTooLarge, 413, "body-too-large"),
        (Self::TargetTooLong, 414, "target-too-long"),
        (Self::ExpectationFailed, 417, "expectation-failed"),
        (Self::HeadTooLarge, 431, "head-too-large"),
        (Self::NodeBrokeOff, 502, "node-broke-off"),
        (Self::NodeTimeout, 504, "node-timeout"),
        (Self::NoNode, 503, "no-node"),
        (Self::PinnedNodeDead, 503, "pinned-node-dead"),
        (Self::PinnedNodeFull, 503, "pinned-node-full"),
        (Self::NodesFull, 503, "nodes-full"),
        (Self::PrivatePath, 404, "private-path"),
    ];

    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        Self::ALL[self as usize].1
    }

    /// The end of its `type`.
    pub(crate) fn kind(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    /// A `fail` is certain only with 503: with 502 and 504 the node may have done what it was asked for.
    pub(crate) fn body(self) -> &'static str {
        match self {
            Self::BadRequest => {
                r#"{"type":"/problems/bad-request","title":"The request is not valid HTTP","status":400}"#
            }
            Self::MethodNotAllowed => {
                r#"{"type":"/problems/method-not-allowed","title":"The balancer makes no tunnels","status":405}"#
            }
            Self::RequestTimeout => {
                r#"{"type":"/problems/request-timeout","title":"The request took too long to arrive","status":408}"#
            }
            Self::BodyTooLarge => {
                r#"{"type":"/problems/body-too-large","title":"The body of the request is too large","status":413}"#
            }
            Self::TargetTooLong => {
                r#"{"type":"/problems/target-too-long","title":"The target of the request is too long","status":414}"#
            }
            Self::ExpectationFailed => {
                r#"{"type":"/problems/expectation-failed","title":"The only expectation that can be met is 100-continue","status":417}"#
            }
            Self::HeadTooLarge => {
                r#"{"type":"/problems/head-too-large","title":"The request has too many header fields, or too large ones","status":431}"#
            }
            Self::NodeBrokeOff => {
                r#"{"type":"/problems/node-broke-off","title":"The node broke off; it may or may not have done what it was asked","status":502}"#
            }
            Self::NodeTimeout => {
                r#"{"type":"/problems/node-timeout","title":"The node did not answer in time; it may or may not have done what it was asked","status":504}"#
            }
            Self::NoNode => {
                r#"{"type":"/problems/no-node","title":"No node can serve this now; nothing was done","status":503}"#
            }
            Self::PinnedNodeDead => {
                r#"{"type":"/problems/pinned-node-dead","title":"The node that you are pinned to is not there, and this listener moves nobody; nothing was done","status":503}"#
            }
            Self::PinnedNodeFull => {
                r#"{"type":"/problems/pinned-node-full","title":"The node that you are pinned to is at its limit; nothing was done, try again","status":503}"#
            }
            Self::NodesFull => {
                r#"{"type":"/problems/nodes-full","title":"Every node is at its limit; nothing was done, try again","status":503}"#
            }
            Self::PrivatePath => {
                r#"{"type":"/problems/private-path","title":"This path is not for clients","status":404}"#
            }
        }
    }

    /// The words of the status line, which nobody reads but people.
    fn reason(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "",
        }
    }

    /// What was done, where that is the question.
    fn outcome(self) -> Option<Outcome> {
        match self.status() {
            503 => Some(Outcome::NothingDone),
            502 | 504 => Some(Outcome::Unknown),
            _ => None,
        }
    }

    /// Appends a whole answer.
    pub(crate) fn write(
        self,
        output: &mut Vec<u8>,
        is_head: bool,
        strategy: &str,
        id: &RequestId,
        retries: usize,
    ) {
        let body = self.body();
        output.extend_from_slice(
            format!("HTTP/1.1 {} {}\r\n", self.status(), self.reason()).as_bytes(),
        );
        put(output, b"content-type", b"application/problem+json");
        put_number(output, b"content-length", body.len() as u64);
        put(output, b"cache-control", b"no-store");
        put(output, b"connection", b"close");
        put(output, b"x-session-strategy", strategy.as_bytes());
        put(output, b"x-request-id", id.bytes());
        if self == Self::MethodNotAllowed {
            put(output, b"allow", ALLOWED);
        }
        if self.status() == 503 {
            put(output, b"retry-after", b"1");
        }
        if let Some(outcome) = self.outcome() {
            put(output, OUTCOME, outcome.word().as_bytes());
        }
        if retries > 0 {
            put_number(output, RETRIES, retries as u64);
        }
        output.extend_from_slice(b"\r\n");
        if !is_head {
            output.extend_from_slice(body.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_and_say_their_status_and_type() {
        for (index, (problem, status, kind)) in Problem::ALL.into_iter().enumerate() {
            assert_eq!(problem as usize, index);
            let body: serde_json::Value = serde_json::from_str(problem.body()).expect("JSON");
            assert_eq!(body["status"], status);
            assert_eq!(body["type"], format!("/problems/{kind}"));
            assert!(body["title"].is_string() && !problem.reason().is_empty());
        }
    }
}
