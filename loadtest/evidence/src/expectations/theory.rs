//! What a strategy said beforehand: fault → anomalies that must show, and anomalies that may. Whatever is in neither list must
//! not happen. Where a run has several faults, what any of them allows is allowed.

use std::sync::LazyLock;

use crate::part::{LOAD_BALANCER, Part, STORE};
use crate::results::{Expected, Extent, Hit};

/// What holds where a strategy says nothing.
static UNKNOWN: LazyLock<Expected> = LazyLock::new(|| Expected {
    hit: Hit::Anything,
    faults: Vec::new(),
    predicted: Vec::new(),
    tolerated: Vec::new(),
    extent: Extent::AsListed,
    why: "Nothing is known of this strategy, so nothing may go wrong.".to_owned(),
});

/// What belongs to the strategy, whatever happens.
pub fn at_any_time(theory: &[Expected]) -> &Expected {
    find(theory, |row| row.hit == Hit::Nothing)
}

/// What it means to a strategy that an operator ends logins.
pub fn under_revocation(theory: &[Expected]) -> &Expected {
    find(theory, |row| row.hit == Hit::Revocation)
}

/// What a fault of this kind on this target (as the results name it) does to a strategy.
pub fn under<'a>(theory: &'a [Expected], kind: &str, target: &str) -> &'a Expected {
    let hit = match Part::of(target) {
        Part::Node(_) | Part::Nodes => Hit::Node,
        Part::Store => Hit::Store,
        Part::LoadBalancer => Hit::Balancer,
        Part::Link {
            from: LOAD_BALANCER,
            ..
        } => Hit::Link,
        Part::Link { to: STORE, .. } => Hit::StoreLink,
        Part::Link { .. } => Hit::PeerLink,
    };
    find(theory, |row| {
        (row.hit == hit || row.hit == Hit::Anything)
            && (row.faults.is_empty() || row.faults.iter().any(|fault| fault == kind))
    })
}

fn find(theory: &[Expected], fits: impl Fn(&Expected) -> bool) -> &Expected {
    theory.iter().find(|row| fits(row)).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Anomaly::{
        Exposure, LineLost, Resurrection, Rollback, SessionLost, StaleRead,
    };
    use crate::sample::theory;

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
    const TARGETS: [&str; 7] = [
        "node-2",
        "nodes",
        "store",
        "load-balancer",
        "load-balancer->node-2",
        "node-2->store",
        "node-2->node-3",
    ];

    #[test]
    fn every_strategy_says_something_about_every_fault() {
        for about in crate::sample::table().all() {
            let theory = &about.theory;
            assert_ne!(at_any_time(theory), &*UNKNOWN);
            assert_ne!(under_revocation(theory), &*UNKNOWN);
            for (kind, target) in KINDS
                .iter()
                .flat_map(|kind| TARGETS.map(|target| (kind, target)))
            {
                let row = under(theory, kind, target);
                assert_ne!(row, &*UNKNOWN, "{}: {kind} of {target}", about.name);
            }
        }
        let nothing = under(&[], "kill", "node-2");
        assert!(nothing.why.starts_with("Nothing is known"));
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
                "store" | "node-2->store" | "node-2->node-3" => false,
                "node-2" | "nodes" => !forgets,
                _ => true,
            };
            let tolerates = |strategy| {
                under(&theory(strategy), kind, target)
                    .tolerated
                    .contains(&Exposure)
            };
            assert_eq!(tolerates("sticky"), expected, "{kind} of {target}");
            assert!(
                !tolerates("redis") && !tolerates("jwt"),
                "{kind} of {target}"
            );
        }
    }

    #[test]
    fn the_cells_that_the_lab_is_about() {
        assert_eq!(
            under(&theory("sticky"), "kill", "node-2").predicted,
            [SessionLost, LineLost]
        );
        assert_eq!(
            under(&theory("sticky"), "kill", "node-2").extent,
            Extent::AllPinned
        );
        assert_eq!(
            under(&theory("sticky"), "pause", "node-2").extent,
            Extent::SomePinned
        );
        assert_eq!(
            under(&theory("sticky"), "blackhole", "load-balancer->node-1").predicted,
            [SessionLost]
        );
        assert_eq!(under(&theory("redis"), "kill", "node-2").tolerated, []);
        assert_eq!(
            under(&theory("redis"), "pause", "node-2").tolerated,
            [StaleRead, Rollback]
        );
        assert_eq!(under(&theory("jwt"), "pause", "node-2").tolerated, []);
        assert_eq!(under(&theory("redis"), "pause", "store").tolerated, []);
        assert_eq!(
            under(&theory("redis"), "kill", "store").tolerated,
            [SessionLost, LineLost, StaleRead, Rollback, Resurrection]
        );
        assert_eq!(at_any_time(&theory("jwt")).predicted, [Exposure]);
        assert_eq!(under_revocation(&theory("sticky")).predicted, [Exposure]);
        assert_eq!(under_revocation(&theory("redis")).tolerated, []);
    }
}
