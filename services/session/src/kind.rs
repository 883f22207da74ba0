//! The table of strategies: what each says of itself, what it can be set to, and how it is made.
//!
//! Everything else follows from it: the flags, secrets and cookies of the node, the listeners of the load balancer, what
//! the lab starts and expects. So a strategy is its own file and one line in [`KINDS`].

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::theory::Expected;
use crate::{Host, Part, Setting, Strategy, Unfit, Values};

/// The strategies of this crate.
pub static KINDS: &[&dyn Kind] = &[&crate::sticky::Kind, &crate::redis::Kind, &crate::jwt::Kind];

/// A row of the table.
pub trait Kind: Send + Sync + 'static {
    /// What the strategy says of itself.
    fn about(&self) -> &'static About;

    /// Judges the values of [`About::settings`] together. Reads nothing, opens nothing.
    fn check(&self, values: &Values) -> Result<(), Unfit>;

    /// Makes the strategy from values that were checked. Needs a Tokio runtime. A store that is away is no error: the
    /// strategy is ready when the store is.
    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit>;
}

/// What the strategy of this name says of itself; `None` where there is none.
pub fn about(name: &str) -> Option<&'static About> {
    let mut all = KINDS.iter().map(|kind| kind.about());
    all.find(|about| about.name == name)
}

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

impl StateLives {
    /// The word in files and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Store => "store",
            Self::Client => "client",
        }
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::credential::TOKEN;
    use crate::theory::Hit;

    fn rows() -> impl Iterator<Item = &'static About> {
        KINDS.iter().map(|kind| kind.about())
    }

    #[test]
    fn names_and_ports_are_there_once_and_fit_into_flags_and_metrics() {
        let names: BTreeSet<_> = rows().map(|about| about.name).collect();
        let ports: BTreeSet<_> = rows().map(|about| about.port).collect();
        assert_eq!((names.len(), ports.len()), (KINDS.len(), KINDS.len()));
        let is_fit = |sign: u8| sign.is_ascii_lowercase() || sign == b'-';
        assert!(names.iter().all(|name| name.bytes().all(is_fit)));
    }

    #[test]
    fn what_a_row_says_of_its_credential_agrees() {
        let mut cookies = BTreeSet::new();
        for about in rows() {
            assert!(about.cookies().all(|cookie| cookies.insert(cookie)));
            let first = &about.parts[0];
            assert_eq!(first.name, TOKEN);
            let is_presented = first.header == Some("authorization") && first.field.is_some();
            assert_eq!(
                is_presented,
                about.carriage == Carriage::Tokens,
                "{}",
                about.name
            );
        }
    }

    #[test]
    fn what_a_row_says_of_its_store_agrees() {
        for about in rows() {
            let lives_there = about.state_lives == StateLives::Store;
            let is_asked = about.round_trips != RoundTrips::NONE;
            assert!(
                about.store.is_some() || !(lives_there || is_asked),
                "{}",
                about.name
            );
        }
    }

    #[test]
    fn how_sessions_end_can_be_set() {
        for about in rows() {
            let ends = match about.ends {
                Ends::Idle { idle, absolute } => vec![idle, absolute],
                Ends::Fixed { lifetime } => vec![lifetime],
            };
            for setting in ends {
                assert!(about.settings.iter().any(|one| std::ptr::eq(*one, setting)));
            }
        }
    }

    #[test]
    fn every_theory_speaks_of_everything_and_no_row_hides_another() {
        for about in rows() {
            let rows_for = |hit: Hit| about.theory.iter().filter(move |row| row.hit == hit);
            for hit in [Hit::Nothing, Hit::Revocation] {
                let one = rows_for(hit).map(|row| row.faults).collect::<Vec<_>>();
                assert_eq!(one, [&[""; 0]], "{}: {hit:?}", about.name);
            }
            assert!(rows_for(Hit::Anything).any(|row| row.faults.is_empty()));
            for (index, row) in about.theory.iter().enumerate() {
                let is_fault = !matches!(row.hit, Hit::Nothing | Hit::Revocation);
                let before = about.theory[..index].iter().filter(|other| {
                    other.hit == row.hit || (is_fault && other.hit == Hit::Anything)
                });
                let before: Vec<_> = before.map(|other| other.faults).collect();
                let hides = |fault| before.iter().any(|faults| faults.contains(&fault));
                let is_hidden = before.iter().any(|faults| faults.is_empty())
                    || (!row.faults.is_empty() && row.faults.iter().copied().all(hides));
                assert!(!is_hidden, "{}: row {index} is never used", about.name);
            }
        }
    }

    #[test]
    fn a_flag_means_one_setting() {
        let mut all: Vec<&Setting> = rows().flat_map(|about| about.settings).copied().collect();
        all.sort_by_key(|setting| (setting.flag, std::ptr::from_ref(*setting)));
        all.dedup_by(|one, other| std::ptr::eq(*one, *other));
        assert!(all.windows(2).all(|two| two[0].flag != two[1].flag));
    }
}
