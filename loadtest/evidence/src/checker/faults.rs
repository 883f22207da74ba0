//! The faults of a history, and which of them is to blame for what went wrong.

use std::collections::BTreeMap;

use crate::history::{FaultEvent, FaultStep, Operation};
use crate::part::Part;

/// One fault from command to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault<'a> {
    /// Its place among the run's faults.
    pub(super) index: usize,
    /// `kill`
    pub(super) kind: &'a str,
    /// `node-2`, `store`, `node-2->store` …
    pub(super) target: &'a str,
    pub(super) commanded_us: i64,
    pub(super) effective_us: Option<i64>,
    pub(super) undone_us: Option<i64>,
}

/// All that were commanded, by their place.
pub(super) fn of(events: &[FaultEvent]) -> Vec<Fault<'_>> {
    let mut faults = BTreeMap::new();
    for event in events {
        if event.step == FaultStep::Commanded {
            faults.entry(event.fault).or_insert(Fault {
                index: event.fault,
                kind: &event.kind,
                target: &event.target,
                commanded_us: event.at_us,
                effective_us: None,
                undone_us: None,
            });
        } else if let Some(fault) = faults.get_mut(&event.fault) {
            match event.step {
                FaultStep::Effective => _ = fault.effective_us.get_or_insert(event.at_us),
                FaultStep::Undone => _ = fault.undone_us.get_or_insert(event.at_us),
                FaultStep::Commanded | FaultStep::UndoCommanded => {}
            }
        }
    }
    faults.into_values().collect()
}

impl Fault<'_> {
    /// Whether it was done to this node: to the node itself, to all nodes, or to a link that ends at it.
    pub(super) fn hits(&self, node: &str) -> bool {
        Part::of(self.target).hits(node)
    }

    /// From when on its effect is certain.
    pub(super) fn in_effect_us(&self) -> i64 {
        self.effective_us.unwrap_or(self.commanded_us)
    }
}

/// The fault that explains why what was fine when `fine` was sent was wrong when `wrong` was answered: the last one that
/// hit the node which `fine` was served by, or else the last one. Faults that had not begun by then or were undone before
/// explain nothing. (From its command on: a request that was on its way when the fault came may well be its victim.)
pub(super) fn to_blame<'a, 'f>(
    faults: &'f [Fault<'a>],
    fine: &Operation,
    wrong: &Operation,
) -> Option<&'f Fault<'a>> {
    let between = faults.iter().filter(|fault| {
        fault.commanded_us <= wrong.done_us
            && fault.undone_us.is_none_or(|undone| undone >= fine.sent_us)
    });
    let server = fine.node.as_deref().unwrap_or_default();
    between.max_by_key(|fault| (fault.hits(server), fault.commanded_us))
}
