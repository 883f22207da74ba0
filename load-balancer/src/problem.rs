//! Answers of the balancer itself, as problem details (RFC 9457) with a stable `type`.
//!
//! They carry no `x-node`: that is how a client tells them from an answer of a node.

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};

use crate::headers::SESSION_STRATEGY;

/// Tells the client how many other nodes were asked before.
pub(crate) const RETRIES: &str = "x-balancer-retries";

/// Everything that the balancer answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    BadRequest,
    RequestTimeout,
    Internal,
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
}

impl Problem {
    /// Every problem, with its status and the end of its `type`, in the order of the counters.
    pub(crate) const ALL: [(Self, u16, &str); 9] = [
        (Self::BadRequest, 400, "bad-request"),
        (Self::RequestTimeout, 408, "request-timeout"),
        (Self::Internal, 500, "internal"),
        (Self::NodeBrokeOff, 502, "node-broke-off"),
        (Self::NodeTimeout, 504, "node-timeout"),
        (Self::NoNode, 503, "no-node"),
        (Self::PinnedNodeDead, 503, "pinned-node-dead"),
        (Self::PinnedNodeFull, 503, "pinned-node-full"),
        (Self::NodesFull, 503, "nodes-full"),
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
    fn body(self) -> Bytes {
        Bytes::from_static(match self {
            Self::BadRequest => br#"{"type":"urn:session-lab:bad-request","title":"The request is not valid HTTP","status":400}"#,
            Self::RequestTimeout => br#"{"type":"urn:session-lab:request-timeout","title":"The request took too long to arrive","status":408}"#,
            Self::Internal => br#"{"type":"urn:session-lab:internal","title":"The load balancer failed","status":500}"#,
            Self::NodeBrokeOff => br#"{"type":"urn:session-lab:node-broke-off","title":"The node broke off; it may or may not have done what it was asked","status":502}"#,
            Self::NodeTimeout => br#"{"type":"urn:session-lab:node-timeout","title":"The node did not answer in time; it may or may not have done what it was asked","status":504}"#,
            Self::NoNode => br#"{"type":"urn:session-lab:no-node","title":"No node can serve this now; nothing was done","status":503}"#,
            Self::PinnedNodeDead => br#"{"type":"urn:session-lab:pinned-node-dead","title":"The node that you are pinned to is not there, and this listener moves nobody; nothing was done","status":503}"#,
            Self::PinnedNodeFull => br#"{"type":"urn:session-lab:pinned-node-full","title":"The node that you are pinned to is at its limit; nothing was done, try again","status":503}"#,
            Self::NodesFull => br#"{"type":"urn:session-lab:nodes-full","title":"Every node is at its limit; nothing was done, try again","status":503}"#,
        })
    }
}

/// Answers with a problem and ends the connection.
pub(crate) async fn answer(
    session: &mut Session,
    problem: Problem,
    strategy: &HeaderValue,
    retries: usize,
) -> Result<()> {
    let (status, body) = (problem.status(), problem.body());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_and_say_their_status_and_type() {
        for (index, (problem, status, kind)) in Problem::ALL.into_iter().enumerate() {
            assert_eq!(problem as usize, index);
            let body: serde_json::Value = serde_json::from_slice(&problem.body()).expect("JSON");
            assert_eq!(body["status"], status);
            assert_eq!(body["type"], format!("urn:session-lab:{kind}"));
            assert!(body["title"].is_string());
        }
    }
}
