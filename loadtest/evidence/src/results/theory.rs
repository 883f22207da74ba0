//! What a strategy said beforehand, row by row. [`crate::expectations::theory`] looks things up in it.

use serde::{Deserialize, Serialize};

use super::Anomaly;

/// One row of a theory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// What is hit.
    pub hit: Hit,
    /// By which kinds of faults; none named = all.
    pub faults: Vec<String>,
    /// Must show, if there is something to lose.
    pub predicted: Vec<Anomaly>,
    /// May show.
    pub tolerated: Vec<Anomaly>,
    /// Which sessions it may cost.
    pub extent: Extent,
    /// Why theory says so.
    pub why: String,
}

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hit {
    /// Nothing: these anomalies belong to the strategy itself.
    Nothing,
    /// Nothing either, but an operator ends all logins of users, one call each through the load balancer.
    Revocation,
    /// A node, or all of them.
    Node,
    /// The store.
    Store,
    /// The load balancer.
    Balancer,
    /// The link between balancer and node.
    Link,
    /// The link between a node and the store.
    StoreLink,
    /// The link between two nodes.
    PeerLink,
    /// Any fault.
    Anything,
}

impl Hit {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Revocation => "revocation by an operator",
            Self::Node => "a node",
            Self::Store => "the store",
            Self::Balancer => "the load balancer",
            Self::Link => "the link to a node",
            Self::StoreLink => "the link to the store",
            Self::PeerLink => "the link between nodes",
            Self::Anything => "anything else",
        }
    }
}

/// Which sessions a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// All that the victim had served, at once.
    AllPinned,
    /// Of those that the victim had served, the ones that were asked for while it was away.
    SomePinned,
    /// Whichever the lists allow.
    AsListed,
}
