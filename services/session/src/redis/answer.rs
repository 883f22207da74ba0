//! What the scripts answer, read strictly: a value that no script of ours writes is an error, never a guess.

use redis::Value;

use crate::{Cart, Error, Line, Session};

/// Reads `user issued expires`.
pub(super) fn session(answer: Value) -> Option<Session> {
    let mut text = text(answer)?;
    // From the right, because a user's name may hold blanks.
    let mut parts = text.rsplitn(3, ' ');
    let expires_at = parts.next()?.parse().ok()?;
    let issued_at = parts.next()?.parse().ok()?;
    let user_length = parts.next()?.len();
    text.truncate(user_length);
    Some(Session {
        user: text,
        issued_at,
        expires_at,
    })
}

/// Reads all fields of a session, one after the other, and keeps those of the cart.
pub(super) fn cart(answer: Value) -> Option<Cart> {
    let Value::Array(fields) = answer else {
        return None;
    };
    let mut version = None;
    let mut lines = Vec::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let (name, value) = (text(name)?, text(value)?);
        if let Some(id) = name.strip_prefix("l:") {
            let mut parts = value.splitn(3, ' ');
            let added_at: u64 = parts.next()?.parse().ok()?;
            let quantity = parts.next()?.parse().ok()?;
            let sku = parts.next()?.to_owned();
            let id = id.to_owned();
            lines.push((added_at, Line { id, sku, quantity }));
        } else if name == "version" {
            version = value.parse().ok();
        }
    }
    lines.sort_unstable_by_key(|(added_at, _)| *added_at);
    Some(Cart {
        version: version?,
        lines: lines.into_iter().map(|(_, line)| line).collect(),
    })
}

pub(super) fn foreign_value() -> Error {
    Error::StoreUnavailable {
        nothing_done: false,
        why: "it holds a value that is not one of ours".to_owned(),
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_user_may_hold_blanks() {
        let session = session(bulk("mary ann 1 2")).unwrap();
        assert_eq!(session.user, "mary ann");
        assert_eq!((session.issued_at, session.expires_at), (1, 2));
    }

    #[test]
    fn lines_come_in_the_order_of_adding() {
        let fields = [
            "user",
            "u",
            "l:b",
            "10 1 tea pot",
            "version",
            "11",
            "l:a",
            "9 2 cup",
        ];
        let cart = cart(Value::Array(fields.map(bulk).into())).unwrap();
        assert_eq!(cart.version, 11);
        assert_eq!(cart.lines[0].id, "a");
        assert_eq!(cart.lines[1].sku, "tea pot");
    }

    #[test]
    fn what_no_script_writes_is_refused() {
        assert!(session(bulk("1 2")).is_none());
        assert!(session(Value::Int(1)).is_none());
        for fields in [
            vec![],
            vec!["version", "x"],
            vec!["version", "1", "l:a", "1 many cup"],
        ] {
            let fields = fields.into_iter().map(bulk).collect();
            assert!(cart(Value::Array(fields)).is_none());
        }
    }
}
