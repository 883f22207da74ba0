//! Reads the bodies of answers: as much of each as the lab needs, and not a field more.

use std::borrow::Cow;

use serde::Deserialize;

use evidence::history::{Action, LineId};

/// What an answer said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// For whom the node takes us.
    pub(super) user: Option<String>,
    /// The token to present from now on.
    pub(super) token: Option<String>,
    /// The cart: each line as often as its quantity.
    pub(super) cart: Option<Cart>,
    /// How many logins were ended.
    pub(super) revoked: Option<u64>,
}

/// See [`Said::cart`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cart {
    pub(super) version: u64,
    pub(super) lines: Vec<LineId>,
}

/// The problems with which the load balancer answers when it has sent nothing to any node. With every other one a node may
/// have done what it was asked for.
const NOTHING_DONE: [&str; 4] = [
    "/problems/no-node",
    "/problems/pinned-node-dead",
    "/problems/pinned-node-full",
    "/problems/nodes-full",
];

#[derive(Deserialize)]
struct ProblemBody<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct IdentityBody<'a> {
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
}

/// The answer of a node that does not know the session: `{"ended": false, …}`.
#[derive(Deserialize)]
struct LoggedOutBody {
    ended: bool,
}

#[derive(Deserialize)]
struct RevokedBody {
    revoked: u64,
}

#[derive(Deserialize)]
struct CartBody<'a> {
    version: u64,
    #[serde(borrow)]
    lines: Vec<LineBody<'a>>,
}

#[derive(Deserialize)]
struct LineBody<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    quantity: u16,
}

/// Reads the body of a successful answer to `action`; `None` when it does not say what it should.
pub(super) fn understand(action: Action, body: &[u8]) -> Option<Said> {
    match action {
        Action::LogOut => {
            let says_nothing_ended =
                || serde_json::from_slice::<LoggedOutBody>(body).is_ok_and(|body| !body.ended);
            (body.is_empty() || says_nothing_ended()).then(Said::default)
        }
        Action::LogIn | Action::Browse | Action::Replay => {
            let body: IdentityBody<'_> = serde_json::from_slice(body).ok()?;
            let said = Said {
                user: body.user.map(Cow::into_owned),
                token: body.access_token.map(Cow::into_owned),
                ..Said::default()
            };
            (said.user.is_some() || said.token.is_some()).then_some(said)
        }
        Action::Revoke => {
            let body: RevokedBody = serde_json::from_slice(body).ok()?;
            Some(Said {
                revoked: Some(body.revoked),
                ..Said::default()
            })
        }
        Action::AddLine | Action::ReadCart | Action::RemoveLine => {
            let body: CartBody<'_> = serde_json::from_slice(body).ok()?;
            let mut lines = Vec::with_capacity(body.lines.len());
            for line in &body.lines {
                let copies = usize::from(line.quantity);
                lines.extend(std::iter::repeat_n(LineId::parse(&line.id), copies));
            }
            Some(Said {
                cart: Some(Cart {
                    version: body.version,
                    lines,
                }),
                ..Said::default()
            })
        }
    }
}

/// Whether `body` is a problem of the load balancer's that says: nothing was done.
pub(super) fn says_nothing_was_done(body: &[u8]) -> bool {
    serde_json::from_slice::<ProblemBody<'_>>(body)
        .is_ok_and(|problem| NOTHING_DONE.contains(&problem.kind.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_load_balancers_own_word_counts() {
        let body = |kind: &str| format!(r#"{{"type":"{kind}","title":"t","status":503}}"#);
        for kind in NOTHING_DONE {
            assert!(says_nothing_was_done(body(kind).as_bytes()), "{kind}");
        }
        for kind in [
            "/problems/node-broke-off",
            "/problems/node-timeout",
            "/problems/store-unavailable",
        ] {
            assert!(!says_nothing_was_done(body(kind).as_bytes()), "{kind}");
        }
        let haproxy = b"<html><body><h1>503 Service Unavailable</h1></body></html>";
        assert!(!says_nothing_was_done(haproxy));
        assert!(!says_nothing_was_done(b""));
    }

    #[test]
    fn a_cart_lists_each_line_as_often_as_its_quantity() {
        let body = br#"{"version":3,"lines":[{"id":"1-2","sku":"book","quantity":1},{"id":"1-5","sku":"pen","quantity":2}]}"#;
        let cart = understand(Action::ReadCart, body).unwrap().cart.unwrap();
        assert_eq!(cart.version, 3);
        let names: Vec<String> = cart.lines.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["1-2", "1-5", "1-5"]);
    }

    #[test]
    fn a_login_brings_a_token_or_a_user() {
        let token = br#"{"access_token":"t","token_type":"Bearer","expires_in":1800}"#;
        assert_eq!(
            understand(Action::LogIn, token).unwrap().token.unwrap(),
            "t"
        );
        let user = br#"{"user":"user-000001","strategy":"sticky","node":"node-1"}"#;
        let said = understand(Action::LogIn, user).unwrap();
        assert_eq!(said.user.unwrap(), "user-000001");
    }

    #[test]
    fn a_revocation_brings_the_number_of_logins() {
        let said = understand(Action::Revoke, br#"{"revoked":2}"#).unwrap();
        assert_eq!(said.revoked, Some(2));
    }

    #[test]
    fn what_is_not_an_answer_is_not_understood() {
        for body in [&b""[..], b"{}", b"<html>", b"{\"version\":1}", b"[]"] {
            assert_eq!(understand(Action::Browse, body), None);
            assert_eq!(understand(Action::ReadCart, body), None);
            assert_eq!(understand(Action::Revoke, body), None);
        }
        assert!(understand(Action::LogOut, b"").is_some());
        let nothing = br#"{"ended":false,"node":"node-1","detail":"unknown here"}"#;
        assert!(understand(Action::LogOut, nothing).is_some());
        assert_eq!(understand(Action::LogOut, b"<html>"), None);
    }
}
