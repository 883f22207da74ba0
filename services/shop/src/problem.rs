//! Everything that a client can be told went wrong, once, as `application/problem+json` (RFC 9457).
//!
//! `type` is stable and meant for programs; `detail` is for people and may change. A cause (what a store said, a panic)
//! is logged here and never sent. Only a success touches a cookie of ours: a store that is away for a moment must not
//! log anybody out. The refusal of several cookies of one name clears those that cannot be ours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::accounts::Refused;
use crate::affinity::{ENDED, X_SESSION_EVENT};

/// Says of a failed request whether it has certainly done nothing: then a balancer may ask another node.
const X_OUTCOME: HeaderName = HeaderName::from_static("x-outcome");

/// What went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Nobody is logged in under what was presented, or nothing was.
    NotLoggedIn {
        /// Something was: it is dead on this node, or was never alive.
        presented: bool,
    },
    /// The login named no account, or not its password.
    WrongUserOrPassword,
    /// Too many logins were tried, on this account or from this address.
    TooManyAttempts {
        /// Until the next one may be tried.
        wait: Duration,
    },
    /// More logins wait for their password check than the node will do in good time.
    TooManyLogins,
    /// Two credentials of the same name came along; guessing which one is meant would be a weakness.
    AmbiguousCredential {
        /// `Set-Cookie` lines that clear those which cannot be ours.
        forget: Vec<HeaderValue>,
    },
    /// The `Authorization` header and the cookie are valid for different users.
    TwoUsers,
    /// The node serves several strategies and the request named none, or one that the node does not serve.
    Misdirected {
        /// What to name in `x-session-strategy`.
        strategies: Vec<&'static str>,
    },
    /// A strategy cannot do this, by its nature.
    Unsupported {
        /// The strategy.
        strategy: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The cart has as many lines as it may.
    CartFull {
        /// The bound.
        max_lines: usize,
    },
    /// The cart would not fit into what a client carries.
    CartTooLarge {
        /// What the change would have led to.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The cart token is not one of ours for this user.
    CartNotValid,
    /// The user has no such login.
    NoSuchSession,
    /// This node holds as many sessions as it may.
    NodeFull,
    /// The store did not answer in time.
    StoreUnavailable {
        /// It certainly did not do what was asked for.
        nothing_done: bool,
    },
    /// The node is about to end.
    Draining,
    /// The node is to lose its clients, and this one has no session here yet.
    NoNewSessions,
    /// The operator's token is missing or wrong.
    NotTheOperator,
    /// The node was started without an operator's token.
    NoOperator,
    /// A page of another site asked for a change.
    CrossSite,
    /// The body is longer than any that makes sense.
    BodyTooLarge {
        /// The bound.
        max_bytes: usize,
    },
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body is not declared as JSON.
    NotJson,
    /// The body is not JSON.
    MalformedJson {
        /// What and where.
        why: String,
    },
    /// The body is JSON but not what this call takes, or an id in the path is not one.
    InvalidInput {
        /// The field and what is wrong about it.
        why: String,
    },
    /// There is nothing under this path.
    NotFound,
    /// The path takes other methods; `Allow` says which.
    MethodNotAllowed,
    /// Ours to mend.
    Internal,
}

/// The answer's body. Members as RFC 9457 names them; `strategies` is an extension of ours.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    strategies: &'a [&'static str],
}

impl Problem {
    /// Several credentials of one name, by a way on which nothing can be cleared.
    pub(crate) fn ambiguous() -> Self {
        Self::AmbiguousCredential { forget: Vec::new() }
    }

    /// Status, the last part of the type, and title. A type never changes its meaning; the title says the same for people.
    fn kind(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NotLoggedIn { .. } => (401, "not-logged-in", "Not logged in"),
            Self::WrongUserOrPassword => (401, "wrong-user-or-password", "Wrong user or password"),
            Self::TooManyAttempts { .. } => (429, "too-many-attempts", "Too many login attempts"),
            Self::TooManyLogins => (503, "too-many-logins", "Too many logins at the moment"),
            Self::AmbiguousCredential { .. } => {
                (400, "ambiguous-credential", "The same credential twice")
            }
            Self::TwoUsers => (400, "two-users", "Header and cookie are of different users"),
            Self::Misdirected { .. } => (421, "unknown-strategy", "Strategy not served here"),
            Self::Unsupported { .. } => (501, "unsupported-by-strategy", "Beyond the strategy"),
            Self::CartFull { .. } => (409, "cart-full", "The cart is full"),
            Self::CartTooLarge { .. } => (413, "cart-too-large", "The cart is too large to carry"),
            Self::CartNotValid => (400, "cart-not-valid", "The cart token is not valid"),
            Self::NoSuchSession => (404, "no-such-session", "No such session"),
            Self::NodeFull => (
                503,
                "node-full",
                "This node holds as many sessions as it may",
            ),
            Self::StoreUnavailable { .. } => {
                (503, "store-unavailable", "The store is not available")
            }
            Self::Draining => (503, "draining", "This node is about to end"),
            Self::NoNewSessions => (503, "no-new-sessions", "This node takes no new sessions"),
            Self::NotTheOperator => (401, "not-the-operator", "Not the operator's token"),
            Self::NoOperator => (403, "no-operator", "This node takes no operator calls"),
            Self::CrossSite => (403, "cross-site-request", "Another site may change nothing"),
            Self::BodyTooLarge { .. } => (413, "body-too-large", "The body is too large"),
            Self::BodyTooSlow => (408, "body-too-slow", "The body did not arrive in time"),
            Self::NotJson => (415, "not-json", "Bodies must be JSON"),
            Self::MalformedJson { .. } => (400, "malformed-json", "Malformed JSON"),
            Self::InvalidInput { .. } => (422, "invalid-input", "The input is not valid"),
            Self::NotFound => (404, "not-found", "Nothing is here"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "Another method is needed here"),
            Self::Internal => (500, "internal", "Something broke on this node"),
        }
    }

    /// This case of it, for people; empty where the title says it all.
    fn detail(&self) -> String {
        match self {
            Self::Misdirected { strategies } => {
                format!(
                    "Name one of these in x-session-strategy: {}",
                    strategies.join(", ")
                )
            }
            Self::Unsupported { strategy, why } => format!("{strategy}: {why}"),
            Self::CartFull { max_lines } => format!("A cart holds at most {max_lines} lines"),
            Self::CartTooLarge { bytes, max_bytes } => {
                format!(
                    "It would take {bytes} of {max_bytes} bytes; the cart before this change is still valid"
                )
            }
            // Not which of the two limits it is: that would tell an attacker whether others try the same account.
            Self::TooManyAttempts { .. } => "On this account or from this address".into(),
            Self::BodyTooLarge { max_bytes } => format!("At most {max_bytes} bytes"),
            Self::NotJson => "Send Content-Type: application/json".into(),
            Self::MalformedJson { why } | Self::InvalidInput { why } => why.clone(),
            Self::NoOperator => "It was started without an operator's token".into(),
            _ => String::new(),
        }
    }

    /// When to try again, seconds, where trying again can help.
    fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            Self::StoreUnavailable { .. }
            | Self::TooManyLogins
            | Self::Draining
            | Self::NoNewSessions => Some(HeaderValue::from_static("1")),
            // Room comes when sessions expire, which takes longer.
            Self::NodeFull => Some(HeaderValue::from_static("10")),
            // Whole seconds, and not one too early.
            Self::TooManyAttempts { wait } => {
                let begun = u64::from(wait.subsec_nanos() > 0);
                Some(HeaderValue::from(wait.as_secs().saturating_add(begun)))
            }
            _ => None,
        }
    }
}

impl Problem {
    /// What was done, where a client cannot tell: of a 4xx it can, for nothing is changed before a request is refused.
    fn outcome(&self) -> Option<HeaderValue> {
        let nothing_done = match self {
            Self::TooManyLogins
            | Self::NodeFull
            | Self::Draining
            | Self::NoNewSessions
            | Self::Unsupported { .. } => true,
            Self::StoreUnavailable { nothing_done } => *nothing_done,
            Self::Internal => false,
            _ => return None,
        };
        Some(HeaderValue::from_static(if nothing_done {
            "nothing-done"
        } else {
            "unknown"
        }))
    }

    /// Whether the session that the request came with is over, as far as this node is concerned.
    fn is_end_of_session(&self) -> bool {
        matches!(
            self,
            Self::NotLoggedIn { presented: true } | Self::NoNewSessions
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind();
        let body = Body {
            r#type: format!("/problems/{name}"),
            title,
            status,
            detail: &self.detail(),
            strategies: match &self {
                Self::Misdirected { strategies } => strategies,
                _ => &[],
            },
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Strings and a number always serialise; an empty body would be the worst that could come of it.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds);
        }
        if let Some(outcome) = self.outcome() {
            headers.insert(X_OUTCOME, outcome);
        }
        if self.is_end_of_session() {
            headers.insert(X_SESSION_EVENT, ENDED);
        }
        if self == Self::NotTheOperator {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::AmbiguousCredential { forget } = self {
            for line in forget {
                headers.append(SET_COOKIE, line);
            }
        }
        response
    }
}

impl From<session::Error> for Problem {
    fn from(error: session::Error) -> Self {
        use session::Error;
        match error {
            Error::NotLoggedIn { why } => {
                tracing::debug!(why, "not logged in");
                Self::NotLoggedIn { presented: true }
            }
            Error::Full { max_sessions } => {
                if once_a_second(&LAST_FULL) {
                    tracing::warn!(max_sessions, "this node is full, logins are refused");
                }
                Self::NodeFull
            }
            Error::StoreUnavailable { nothing_done, why } => {
                if once_a_second(&LAST_UNAVAILABLE) {
                    tracing::warn!(why, "the store is unavailable");
                }
                Self::StoreUnavailable { nothing_done }
            }
            Error::CartFull { max_lines } => Self::CartFull { max_lines },
            Error::CartTooLarge { bytes, max_bytes } => Self::CartTooLarge { bytes, max_bytes },
            Error::CartNotValid { why } => {
                tracing::debug!(why, "the cart token is not valid");
                Self::CartNotValid
            }
            Error::NoSuchSession => Self::NoSuchSession,
            Error::Unsupported { strategy, why } => Self::Unsupported { strategy, why },
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wrong => Self::WrongUserOrPassword,
            Refused::Busy => Self::TooManyLogins,
            Refused::Broken(why) => {
                tracing::error!(why, "the password check failed");
                Self::Internal
            }
        }
    }
}

/// When the last line of each kind was logged. A store that is away meets thousands of requests a second,
/// and a log that repeats itself for each of them hides everything else.
static LAST_UNAVAILABLE: AtomicU64 = AtomicU64::new(0);
static LAST_FULL: AtomicU64 = AtomicU64::new(0);

fn once_a_second(last: &AtomicU64) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    last.swap(now, Ordering::Relaxed) != now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_a_problem_document() {
        let response = Problem::CartFull { max_lines: 200 }.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "/problems/cart-full", "title": "The cart is full", "status": 409,
                "detail": "A cart holds at most 200 lines",
            })
        );
    }

    #[test]
    fn who_tries_too_often_is_told_in_whole_seconds_when_to_come_back() {
        for (wait_ms, told) in [(1, "1"), (1_000, "1"), (1_001, "2"), (30_000, "30")] {
            let wait = Duration::from_millis(wait_ms);
            let response = Problem::TooManyAttempts { wait }.into_response();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[RETRY_AFTER], told);
        }
    }

    #[test]
    fn what_certainly_did_nothing_says_so() {
        let unavailable = |nothing_done| Problem::StoreUnavailable { nothing_done };
        let unsupported = Problem::Unsupported {
            strategy: "s",
            why: "w",
        };
        for (problem, outcome) in [
            (unavailable(true), Some("nothing-done")),
            (unavailable(false), Some("unknown")),
            (Problem::TooManyLogins, Some("nothing-done")),
            (Problem::NodeFull, Some("nothing-done")),
            (Problem::Draining, Some("nothing-done")),
            (Problem::NoNewSessions, Some("nothing-done")),
            (unsupported, Some("nothing-done")),
            (Problem::Internal, Some("unknown")),
            (Problem::NotLoggedIn { presented: true }, None),
            (Problem::NoSuchSession, None),
        ] {
            let (status, ..) = problem.kind();
            assert_eq!(status >= 500, outcome.is_some(), "{problem:?}");
            let response = problem.into_response();
            let said = response.headers().get(X_OUTCOME);
            assert_eq!(said.map(|word| word.to_str().unwrap()), outcome);
        }
    }

    #[test]
    fn what_a_store_said_is_not_sent_and_no_cookie_is_touched() {
        let cause = session::Error::StoreUnavailable {
            nothing_done: true,
            why: "10.0.0.7 refused".into(),
        };
        let problem = Problem::from(cause);
        assert!(!problem.detail().contains("10.0.0.7"));
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert!(!response.headers().contains_key(http::header::SET_COOKIE));
    }
}
