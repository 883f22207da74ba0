//! What the client presents to prove a login: a few named parts, and the table that says how each of them travels.

use std::fmt;

use serde::Serialize;

/// The name of the part that proves the login: a session id or an access token.
pub const TOKEN: &str = "token";

/// A credential as it came out of a request, or as it goes into an answer. Never printed: `Debug` shows lengths only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// As few as the strategy's table has ([`About::parts`](crate::About::parts)), each name once.
    parts: Vec<(&'static str, String)>,
}

impl Credential {
    /// A credential of nothing but a [`TOKEN`].
    pub fn new(token: impl Into<String>) -> Self {
        Self::default().with(TOKEN, token)
    }

    /// The same with another part, or with another value of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.parts.retain(|(known, _)| *known != name);
        self.parts.push((name, value.into()));
        self
    }

    /// The value of a part.
    pub fn part(&self, name: &str) -> Option<&str> {
        self.parts()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The [`TOKEN`]; empty, and so nobody's, where there is none.
    pub fn token(&self) -> &str {
        self.part(TOKEN).unwrap_or_default()
    }

    /// All parts, by name.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.parts.iter().map(|(name, value)| (*name, &**value))
    }

    /// What a client holds that is handed `reissued`: the parts in it count from now on, the others stay.
    pub fn take(&mut self, reissued: Self) {
        for (name, value) in reissued.parts {
            *self = std::mem::take(self).with(name, value);
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.parts().map(|(name, value)| (name, value.len()));
        f.write_str("Credential ")?;
        f.debug_map().entries(lengths).finish()
    }
}

/// How one part of a credential travels: always in a cookie, where the client is a browser; else as `header` and `field` say.
#[derive(Debug, Serialize)]
pub struct Part {
    /// As [`Credential::part`] knows it.
    pub name: &'static str,
    /// The name of its cookie, without any prefix.
    pub cookie: &'static str,
    /// The header in which a client without cookies presents it, `authorization` as a bearer token; `None` where only
    /// browsers have it.
    pub header: Option<&'static str>,
    /// The field of a JSON answer that hands it to such a client; `None` where `header` does.
    pub field: Option<&'static str>,
    /// How long it lasts.
    pub lasts: Lasts,
}

impl Part {
    /// A session id in a cookie.
    pub const fn session_id(cookie: &'static str) -> Self {
        Self {
            name: TOKEN,
            cookie,
            header: None,
            field: None,
            lasts: Lasts::Login,
        }
    }
}

/// How long a part of a credential lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// From the login on, as long as it does.
    Login,
    /// From one change of the cart to the next, which hands out its successor.
    Change,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reissued_replaces_its_predecessor_and_nothing_else() {
        let mut held = Credential::new("a").with("cart", "1");
        held.take(Credential::default().with("cart", "2"));
        assert_eq!((held.token(), held.part("cart")), ("a", Some("2")));
        assert_eq!(held.parts().count(), 2);
        assert_eq!(Credential::default().token(), "");
    }

    #[test]
    fn it_is_never_printed() {
        let shown = format!(
            "{:?}",
            Credential::new("secret").with("cart", "x".repeat(9000))
        );
        assert_eq!(shown, r#"Credential {"token": 6, "cart": 9000}"#);
    }
}
