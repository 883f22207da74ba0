//! What a strategy says of itself: the words of the table. Node, load balancer and lab go by them.

use serde::{Serialize, Serializer};

use crate::theory::Expected;
use crate::{Part, Setting};

/// What a strategy says of itself, in the terms in which architects argue. Reports print it, and the conformance suite
/// holds each strategy to it.
#[derive(Debug, Serialize)]
pub struct About {
    /// The name in flags, files, metrics and reports.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it does, a sentence.
    pub sentence: &'static str,
    /// Where the state lives.
    pub state_lives: StateLives,
    /// The kind of store that nodes must reach, if any.
    pub store: Option<StoreKind>,
    /// What its keys in the store begin with: so a store can be cleared of them, and of nothing else.
    pub key_prefixes: &'static [&'static str],
    /// Whether the load balancer must send a client to the same node.
    pub needs_affinity: bool,
    /// How the credential travels.
    pub carriage: Carriage,
    /// The parts of the credential. The first one proves the login; without it the others mean nothing.
    pub parts: &'static [Part],
    /// How a session ends by itself.
    pub ends: Ends,
    /// How far a logout reaches.
    pub logout: Reach,
    /// How far the revocation of a user reaches.
    pub revocation: Reach,
    /// Whether a user can list their own logins and end one of them.
    pub lists_logins: bool,
    /// What becomes of changes of one cart at the same time.
    pub concurrent_changes: ConcurrentChanges,
    /// What a request costs in round trips to the store.
    pub round_trips: RoundTrips,
    /// What logging out really does, a sentence for answers and reports.
    pub logout_means: &'static str,
    /// Where the load balancer offers it by default.
    pub port: u16,
    /// What an operator may set.
    pub settings: &'static [&'static Setting],
    /// Which fault costs what, and why. The first row that fits counts.
    pub theory: &'static [Expected],
}

impl About {
    /// Whether logins and carts survive the death of a node.
    pub fn survives_node_death(&self) -> bool {
        self.state_lives != StateLives::Node
    }

    /// The names of its cookies, without any prefix, that of the part that proves the login first.
    pub fn cookies(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|part| part.cookie)
    }
}

/// Where the state of a login lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateLives {
    /// In the memory of one node.
    Node,
    /// In a store that all nodes share.
    Store,
    /// With the client, signed.
    Client,
}

/// A kind of server that nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// Redis, 7 or newer.
    Redis,
}

/// How a credential travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carriage {
    /// As one opaque value in a cookie.
    Cookie,
    /// As a token that the client can present itself, and the cart as another one beside it.
    Tokens,
}

/// How a session ends by itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// When nothing was heard of the client for a while, and at the latest some time after the login.
    Idle {
        /// The while.
        #[serde(serialize_with = "flag")]
        idle: &'static Setting,
        /// The latest time.
        #[serde(serialize_with = "flag")]
        absolute: &'static Setting,
    },
    /// A fixed time after the login, used or not.
    Fixed {
        /// The time.
        #[serde(serialize_with = "flag")]
        lifetime: &'static Setting,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn flag<S: Serializer>(setting: &&'static Setting, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(setting.flag)
}

/// How far the end of a session reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Every node refuses the credential as soon as the answer is there.
    AtOnce,
    /// The node that was asked ends what it holds, and no other.
    ThisNode,
    /// Nothing is ended: the credential works until it expires.
    Never,
}

/// What becomes of changes of one cart at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConcurrentChanges {
    /// All of them are kept.
    Kept,
    /// Each was made to the cart that the client sent, and the answer that arrives last is the cart from then on.
    LastAnswerWins,
}

/// Round trips to the store, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RoundTrips {
    /// Of a login.
    pub login: u32,
    /// Of a request that asks who is logged in, or reads the cart.
    pub read: u32,
    /// Of a change of the cart.
    pub change: u32,
}

impl RoundTrips {
    /// Where there is no store.
    pub const NONE: Self = Self {
        login: 0,
        read: 0,
        change: 0,
    };
}
