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

/// Makes the enum and its tables from one row for each problem: status, end of the `type`, title. Bodies are put together
/// by the compiler, so that an answer allocates none.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $kind:literal, $title:literal;)+) => {
        /// Everything that the balancer answers itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Problem {
            $($(#[$doc])* $name,)+
        }

        impl Problem {
            /// Every problem, with its status and the end of its `type`, in the order of the counters.
            pub(crate) const ALL: [(Self, u16, &str); [$($status),+].len()] =
                [$((Self::$name, $status, $kind)),+];

            /// The problem as JSON.
            pub(crate) fn body(self) -> &'static str {
                match self {
                    $(Self::$name => concat!(
                        r#"{"type":"/problems/"#, $kind, r#"","title":""#, $title,
                        r#"","status":"#, $status, "}"
                    ),)+
                }
            }
        }
    };
}

// That nothing was done is certain only with 503: with 502 and 504 the node may have done what it was asked for.
problems! {
    BadRequest = 400, "bad-request", "The request is not valid HTTP";
    MethodNotAllowed = 405, "method-not-allowed", "The balancer makes no tunnels";
    RequestTimeout = 408, "request-timeout", "The request took too long to arrive";
    BodyTooLarge = 413, "body-too-large", "The body of the request is too large";
    TargetTooLong = 414, "target-too-long", "The target of the request is too long";
    ExpectationFailed = 417, "expectation-failed", "The only expectation that can be met is 100-continue";
    HeadTooLarge = 431, "head-too-large", "The request has too many header fields, or too large ones";
    NodeBrokeOff = 502, "node-broke-off", "The node broke off; it may or may not have done what it was asked";
    NodeTimeout = 504, "node-timeout", "The node did not answer in time; it may or may not have done what it was asked";
    /// No node takes requests, or none could be connected to.
    NoNode = 503, "no-node", "No node can serve this now; nothing was done";
    /// The client is pinned to a node that is dead, and the listener is strict.
    PinnedNodeDead = 503, "pinned-node-dead", "The node that you are pinned to is not there, and this listener moves nobody; nothing was done";
    /// The client is pinned to a node that is at its limit: it keeps its session and waits.
    PinnedNodeFull = 503, "pinned-node-full", "The node that you are pinned to is at its limit; nothing was done, try again";
    /// Every node that takes requests is at its limit.
    NodesFull = 503, "nodes-full", "Every node is at its limit; nothing was done, try again";
    /// The path is for operators alone.
    PrivatePath = 404, "private-path", "This path is not for clients";
}

impl Problem {
    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        Self::ALL[self as usize].1
    }

    /// The end of its `type`.
    pub(crate) fn kind(self) -> &'static str {
        Self::ALL[self as usize].2
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
