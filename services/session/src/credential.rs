//! What the client presents to prove a login. Never printed: `Debug` shows lengths only.

use std::fmt;

/// A credential as it came out of a cookie or header.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The session id or the access token.
    pub token: String,
    /// The cart as its own signed token, for strategies that hand state back to the client; else `None`.
    pub cart: Option<String>,
}

impl Credential {
    /// A credential without a cart token.
    pub fn new(token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            cart: None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} bytes", self.token.len())?;
        if let Some(cart) = &self.cart {
            write!(f, ", cart {} bytes", cart.len())?;
        }
        f.write_str(")")
    }
}
