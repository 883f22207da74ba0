//! What theory says: strategy × fault → anomalies that must show, and anomalies that may. Whatever is in neither list must not
//! happen. Where a run has several faults, what any of them allows is allowed.

use crate::results::Anomaly::{
    self, Exposure, LineLost, Resurrection, Rollback, SessionLost, StaleRead,
};
use crate::target::Target;

/// One cell, or several that are alike.
#[derive(Debug)]
pub struct Cell {
    /// The strategy's name.
    pub strategy: &'static str,
    /// What is hit.
    pub hit: Hit,
    /// By which kinds of faults; none named = all.
    pub kinds: &'static [&'static str],
    /// Must show, if there is something to lose.
    pub predicted: &'static [Anomaly],
    /// May show.
    pub tolerated: &'static [Anomaly],
    /// Which sessions it may cost.
    pub extent: Extent,
    /// Why theory says so.
    pub why: &'static str,
}

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Any of these.
    Anything,
}

/// Which sessions a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that the victim had served, at once.
    AllPinned,
    /// Of those that the victim had served, the ones that were asked for while it was away.
    SomePinned,
    /// Whichever the lists allow.
    AsListed,
}

/// What may come out when a node that is away keeps its memory: users who were moved elsewhere lose their sessions, and what
/// comes back may be old. A user who logs out meanwhile reaches a node that has never heard of the session and says so
/// (`{"ended": false}`); the node that is away may accept the credential when it is back.
const AWAY: &[Anomaly] = &[
    SessionLost,
    LineLost,
    StaleRead,
    Rollback,
    Resurrection,
    Exposure,
];
/// What may come out when a node gets a request late that the load balancer has repeated elsewhere meanwhile: an added line comes
/// back after its removal.
const LATE: &[Anomaly] = &[StaleRead, Rollback];
/// What may come out when a store comes back as it was a moment before.
const SET_BACK: &[Anomaly] = &[SessionLost, LineLost, StaleRead, Rollback, Resurrection];
/// Who was led elsewhere has lost the login for sure, and its lines if there were any.
const LOGIN: &[Anomaly] = &[SessionLost];
const LOST: &[Anomaly] = &[SessionLost, LineLost];
const NONE: &[Anomaly] = &[];

/// The matrix. The first cell that fits counts.
#[rustfmt::skip]
pub static MATRIX: &[Cell] = &[
    // strategy  what is hit    by                                 predicted     tolerated  which sessions
    cell("sticky", Hit::Nothing,  &[],                             NONE,         NONE,  Extent::AsListed,
         "Affinity leads every user to the node that holds the session."),
    cell("sticky", Hit::Revocation, &[],                           &[Exposure],  NONE,  Extent::AsListed,
         "One call reaches one node. A login in the memory of another one lives on until it ends by itself."),
    cell("sticky", Hit::Node,     &["kill", "stop", "restart"],    LOST,         NONE,  Extent::AllPinned,
         "The session lives in the memory of one process and dies with it."),
    cell("sticky", Hit::Node,     &["rolling-restart"],            LOST,         AWAY,  Extent::AsListed,
         "Every node's memory goes once; who is led to a node before its turn loses the next session, too."),
    cell("sticky", Hit::Node,     &["pause", "maint"],             LOGIN,        AWAY,  Extent::SomePinned,
         "Requests during the outage go to another node, which does not know the session. The node keeps it meanwhile, so \
          whoever logged out elsewhere may be let in when it is back."),
    cell("sticky", Hit::Node,     &[],                             NONE,         AWAY,  Extent::AsListed,
         "A slow, draining or removed node may leave rotation, and takes its sessions with it: also those of users who then \
          log out elsewhere."),
    cell("sticky", Hit::Link,     &["blackhole", "reset"],         LOGIN,        AWAY,  Extent::SomePinned,
         "To the balancer a node that cannot be reached is away. It keeps its sessions meanwhile, so whoever logged out \
          elsewhere may be let in when it is back."),
    cell("sticky", Hit::Link,     &[],                             NONE,         AWAY,  Extent::AsListed,
         "A link that is slow enough looks like a node that is away, with all that follows from it."),
    cell("sticky", Hit::Balancer, &[],                             NONE,         AWAY,  Extent::AsListed,
         "Pins outlive the balancer, but one that has just started leads users of a node that it has not checked yet elsewhere."),
    cell("sticky", Hit::Anything, &[],                             NONE,         NONE,  Extent::AsListed,
         "There is no store to fail."),

    cell("redis",  Hit::Store,    &["kill"],                       NONE,     SET_BACK,  Extent::AsListed,
         "With `appendfsync everysec` Redis answers before it writes while an fsync is under way: a kill at that moment costs \
          what was acknowledged, logouts too. 3 of 80 kills did (docs/failure.md)."),
    cell("redis",  Hit::Node,     &["pause", "slow"],              NONE,         LATE,  Extent::AsListed,
         "The load balancer repeats what a node does not answer in time, and the node still gets to it when it goes on. An added \
          line may come back if its user has removed it meanwhile: repeating means at-least-once."),
    cell("redis",  Hit::Link,     &["blackhole", "delay", "bandwidth"], NONE,    LATE,  Extent::AsListed,
         "What a link holds back arrives in the end, also a request that was repeated elsewhere meanwhile: at-least-once."),
    cell("redis",  Hit::StoreLink, &["blackhole", "delay", "bandwidth"], NONE,   LATE,  Extent::AsListed,
         "What a link holds back reaches the store in the end, also for a request that was repeated elsewhere: at-least-once."),
    cell("redis",  Hit::Anything, &[],                             NONE,         NONE,  Extent::AsListed,
         "All state is in the store. Any node can serve any user; without the store there are errors, and no losses."),
    cell("redis",  Hit::Revocation, &[],                           NONE,         NONE,  Extent::AsListed,
         "The store knows all logins of a user, and every request asks it."),
    cell("redis",  Hit::Nothing,  &[],                             NONE,         NONE,  Extent::AsListed,
         "Every request asks the one place that knows."),

    cell("jwt",    Hit::Nothing,  &[],                             &[Exposure],  NONE,  Extent::AsListed,
         "A logout cannot reach copies of a token: whoever holds one is let in until it expires."),
    cell("jwt",    Hit::Revocation, &[],                           &[Exposure],  NONE,  Extent::AsListed,
         "Nobody knows which tokens a user has, so the call is refused, and each of them works until it expires."),
    cell("jwt",    Hit::Anything, &[],                             NONE,         NONE,  Extent::AsListed,
         "The client carries login and cart. No node and no store has anything to lose."),
];

const fn cell(
    strategy: &'static str,
    hit: Hit,
    kinds: &'static [&'static str],
    predicted: &'static [Anomaly],
    tolerated: &'static [Anomaly],
    extent: Extent,
    why: &'static str,
) -> Cell {
    Cell {
        strategy,
        hit,
        kinds,
        predicted,
        tolerated,
        extent,
        why,
    }
}

/// What holds for a strategy that nobody has written a row for.
static UNKNOWN: Cell = cell(
    "",
    Hit::Anything,
    &[],
    NONE,
    NONE,
    Extent::AsListed,
    "Nothing is known of this strategy, so nothing may go wrong.",
);

/// What belongs to the strategy, whatever happens.
pub fn at_any_time(strategy: &str) -> &'static Cell {
    find(strategy, |cell| cell.hit == Hit::Nothing)
}

/// What it means to a strategy that an operator ends logins.
pub fn under_revocation(strategy: &str) -> &'static Cell {
    find(strategy, |cell| cell.hit == Hit::Revocation)
}

/// What a fault of this kind on this target (as the results name it) does to a strategy.
pub fn under(strategy: &str, kind: &str, target: &str) -> &'static Cell {
    let hit = match Target::of(target) {
        Target::Node(_) | Target::Nodes => Hit::Node,
        Target::Store => Hit::Store,
        Target::LoadBalancer => Hit::Balancer,
        Target::ToNode(_) => Hit::Link,
        Target::FromNode { .. } => Hit::StoreLink,
    };
    find(strategy, |cell| {
        (cell.hit == hit || cell.hit == Hit::Anything)
            && (cell.kinds.is_empty() || cell.kinds.contains(&kind))
    })
}

fn find(strategy: &str, fits: impl Fn(&Cell) -> bool) -> &'static Cell {
    MATRIX
        .iter()
        .find(|cell| cell.strategy == strategy && fits(cell))
        .unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 12] = [
        "kill",
        "stop",
        "pause",
        "restart",
        "slow",
        "drain",
        "maint",
        "delay",
        "bandwidth",
        "reset",
        "blackhole",
        "rolling-restart",
    ];
    const TARGETS: [&str; 6] = [
        "node-2",
        "nodes",
        "store",
        "load-balancer",
        "load-balancer->node-2",
        "node-2->store",
    ];

    #[test]
    fn every_strategy_has_a_cell_for_every_fault() {
        for strategy in session::KINDS.iter().map(|kind| kind.about()) {
            assert_eq!(at_any_time(strategy.name).strategy, strategy.name);
            assert_eq!(under_revocation(strategy.name).strategy, strategy.name);
            for (kind, target) in KINDS
                .iter()
                .flat_map(|kind| TARGETS.map(|target| (kind, target)))
            {
                let cell = under(strategy.name, kind, target);
                assert_eq!(cell.strategy, strategy.name, "{kind} of {target}");
            }
        }
        assert!(
            under("unknown", "kill", "node-2")
                .why
                .starts_with("Nothing is known")
        );
    }

    #[test]
    fn no_line_hides_another() {
        for (index, cell) in MATRIX.iter().enumerate() {
            let reached = cell.hit == Hit::Nothing
                && std::ptr::eq(at_any_time(cell.strategy), cell)
                || cell.hit == Hit::Revocation
                    && std::ptr::eq(under_revocation(cell.strategy), cell)
                || KINDS
                    .iter()
                    .flat_map(|kind| TARGETS.map(|target| (kind, target)))
                    .any(|(kind, target)| std::ptr::eq(under(cell.strategy, kind, target), cell));
            assert!(reached, "line {index} of {} is never used", cell.strategy);
        }
    }

    /// Only there a logout can miss the session, and only while its node keeps it.
    #[test]
    fn a_node_that_is_away_may_let_in_who_logged_out_elsewhere() {
        for (kind, target) in KINDS
            .iter()
            .flat_map(|kind| TARGETS.map(|target| (*kind, target)))
        {
            let forgets = matches!(kind, "kill" | "stop" | "restart");
            let expected = match target {
                "store" | "node-2->store" => false,
                "node-2" | "nodes" => !forgets,
                _ => true,
            };
            let tolerates = |strategy| under(strategy, kind, target).tolerated.contains(&Exposure);
            assert_eq!(tolerates("sticky"), expected, "{kind} of {target}");
            assert!(
                !tolerates("redis") && !tolerates("jwt"),
                "{kind} of {target}"
            );
        }
    }

    #[test]
    fn the_cells_that_the_lab_is_about() {
        assert_eq!(under("sticky", "kill", "node-2").predicted, LOST);
        assert_eq!(under("sticky", "kill", "node-2").extent, Extent::AllPinned);
        assert_eq!(
            under("sticky", "pause", "node-2").extent,
            Extent::SomePinned
        );
        assert_eq!(
            under("sticky", "blackhole", "load-balancer->node-1").predicted,
            [SessionLost]
        );
        assert_eq!(under("redis", "kill", "node-2").tolerated, NONE);
        assert_eq!(under("redis", "pause", "node-2").tolerated, LATE);
        assert_eq!(under("jwt", "pause", "node-2").tolerated, NONE);
        assert_eq!(under("redis", "pause", "store").tolerated, NONE);
        assert_eq!(under("redis", "kill", "store").tolerated, SET_BACK);
        assert_eq!(at_any_time("jwt").predicted, [Exposure]);
        assert_eq!(under_revocation("sticky").predicted, [Exposure]);
        assert_eq!(under_revocation("redis").tolerated, NONE);
    }
}
