//! What the alternatives in `src/bin/` share: the shop's data as a session holds it, and the shapes of its answers.
//!
//! They are those of our own node, byte for byte where JSON allows, so that every station does the same work. The cart
//! and the rule by which it changes come from the crate `session` itself.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How long a login of the alternatives lasts, in seconds: the node's default.
const LIFETIME_S: u64 = 43_200;

/// More lines than a cart may hold: the node's default.
pub const MAX_LINES: usize = 200;

/// The body of `POST /login`. Its password is not looked at: the cost of a login is not measured.
#[derive(Deserialize)]
pub struct Credentials {
    /// Who wants to log in.
    pub user: String,
}

/// Who is logged in: what the alternatives keep in a session beside the cart.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// In seconds since 1970.
    pub issued_at: u64,
    /// In seconds since 1970.
    pub expires_at: u64,
}

impl Login {
    /// A login that begins now.
    pub fn new(user: String) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let issued_at = now.map_or(0, |now| now.as_secs());
        Self {
            user,
            issued_at,
            expires_at: issued_at + LIFETIME_S,
        }
    }
}

/// The answer of `GET /me`.
#[derive(Serialize)]
pub struct Me {
    user: String,
    strategy: &'static str,
    node: &'static str,
    issued_at: u64,
    expires_at: u64,
}

impl Me {
    /// The answer for a login.
    pub fn new(login: Login, strategy: &'static str) -> Self {
        Self {
            user: login.user,
            strategy,
            node: "node-1",
            issued_at: login.issued_at,
            expires_at: login.expires_at,
        }
    }
}

/// The answer of `GET /plain`.
#[derive(Serialize)]
pub struct Plain {
    node: &'static str,
}

impl Default for Plain {
    fn default() -> Self {
        Self { node: "node-1" }
    }
}
