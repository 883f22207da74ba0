//! What a strategy says beforehand about faults: which anomalies must show, which may, which sessions they cost, and why.
//! Whatever is in neither list must not happen.
//!
//! Each strategy has its table in its own file ([`About::theory`](crate::About::theory)). The first row that fits a fault
//! counts, and where a run has several faults, what any of them allows is allowed.

use serde::Serialize;

/// One row of a theory.
#[derive(Debug, Serialize)]
pub struct Expected {
    /// What is hit.
    pub hit: Hit,
    /// By which kinds of faults; none named = all.
    pub faults: &'static [&'static str],
    /// Must show, if there is something to lose.
    pub predicted: &'static [Anomaly],
    /// May show.
    pub tolerated: &'static [Anomaly],
    /// Which sessions it may cost.
    pub extent: Extent,
    /// Why theory says so.
    pub why: &'static str,
}

impl Expected {
    /// A row, with its fields in the order of their declaration.
    pub const fn new(
        hit: Hit,
        faults: &'static [&'static str],
        predicted: &'static [Anomaly],
        tolerated: &'static [Anomaly],
        extent: Extent,
        why: &'static str,
    ) -> Self {
        Self {
            hit,
            faults,
            predicted,
            tolerated,
            extent,
            why,
        }
    }
}

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    /// Any fault: all of these but `Nothing` and `Revocation`.
    Anything,
}

/// Which sessions a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// All that the victim had served, at once.
    AllPinned,
    /// Of those that the victim had served, the ones that were asked for while it was away.
    SomePinned,
    /// Whichever the lists allow.
    AsListed,
}

/// What a run can prove to have gone wrong with a session; the lab's checker defines each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anomaly {
    /// A live session was refused.
    SessionLost,
    /// A line that was acknowledged, or seen, is gone for good though nobody removed it.
    LineLost,
    /// A cart was shown as it had been before an acknowledged change, which showed later.
    StaleRead,
    /// A cart was shown older than an earlier answer had shown it, or an acknowledged removal is undone for good.
    Rollback,
    /// A line is in a cart twice.
    Duplicate,
    /// A line that this session never put there.
    Phantom,
    /// An answer that showed what is somebody else's, or that was meant for somebody else.
    Leak,
    /// A credential was accepted after its acknowledged logout or revocation, or after its declared end.
    Resurrection,
    /// The same by a strategy that declares that it cannot revoke at once.
    Exposure,
}

/// What may come out when a node gets a request late that the load balancer has repeated elsewhere meanwhile: an added line comes
/// back after its removal.
pub const LATE: &[Anomaly] = &[Anomaly::StaleRead, Anomaly::Rollback];
