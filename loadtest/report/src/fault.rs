//! Which faults the runs have in common, and how to speak of them.

use super::table::Column;
use evidence::part::Part;
use evidence::results::{Fault, Run};

/// The same fault in all runs: kind, target, and the how-manieth of that kind and target in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FaultKey {
    kind: String,
    target: String,
    nth: usize,
}

/// Every fault of any run, in the order in which they first appear.
pub(super) fn keys(columns: &[Column<'_>]) -> Vec<FaultKey> {
    let mut keys = Vec::new();
    for run in columns.iter().flat_map(|column| &column.runs) {
        for (index, fault) in run.faults.iter().enumerate() {
            let same = |other: &&Fault| other.kind == fault.kind && other.target == fault.target;
            let key = FaultKey {
                kind: fault.kind.clone(),
                target: fault.target.clone(),
                nth: run.faults[..index].iter().filter(same).count(),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

impl FaultKey {
    /// This fault in a run; `None` where it did not happen (no store to kill).
    pub(super) fn find<'a>(&self, run: &'a Run) -> Option<&'a Fault> {
        let mut same = run
            .faults
            .iter()
            .filter(|fault| fault.kind == self.kind && fault.target == self.target);
        same.nth(self.nth)
    }

    /// "Killing node-2", the subject of a sentence.
    pub(super) fn doing(&self) -> String {
        let target = self.target();
        let doing = match self.kind.as_str() {
            "kill" => format!("Killing {target}"),
            "pause" => format!("Pausing {target}"),
            "stop" => format!("Stopping {target}"),
            "restart" => format!("Restarting {target}"),
            "rolling-restart" => format!("Restarting {target} one by one"),
            "scale" => format!("Changing the number of {target}"),
            "slow" => format!("Slowing {target} down"),
            "drain" => format!("Draining {target}"),
            "maint" => format!("Taking {target} out of rotation"),
            "delay" => format!("Delaying {target}"),
            "bandwidth" => format!("Narrowing {target}"),
            "reset" => format!("Resetting {target}"),
            "blackhole" => format!("Cutting {target}"),
            other => format!("The fault “{other}” on {target}"),
        };
        if self.nth == 0 {
            doing
        } else {
            format!("{doing} (time {})", self.nth + 1)
        }
    }

    /// Who suffers it: "node-2", "the store".
    pub(super) fn target(&self) -> String {
        match Part::of(&self.target) {
            Part::Store => "the store".to_owned(),
            Part::LoadBalancer => "the load balancer".to_owned(),
            Part::Nodes => "the nodes".to_owned(),
            Part::Link { .. } => format!("the link {}", self.target),
            Part::Node(node) => node.to_owned(),
        }
    }

    /// Whether the victim keeps its memory, and nothing else happens in the runs: what is old afterwards is its doing.
    pub(super) fn is_the_only_pause(&self, columns: &[Column<'_>]) -> bool {
        let mut faults = columns
            .iter()
            .flat_map(|column| &column.runs)
            .flat_map(|run| &run.faults);
        self.hits_a_node()
            && self.kind == "pause"
            && self.nth == 0
            && faults.all(|fault| fault.kind == self.kind && fault.target == self.target)
    }

    /// Whether it hits one node itself.
    pub(super) fn hits_a_node(&self) -> bool {
        matches!(Part::of(&self.target), Part::Node(_))
    }
}

/// "killed": what was done to the target.
pub(super) fn done(fault: &Fault) -> &str {
    match fault.kind.as_str() {
        "kill" => "killed",
        "pause" => "paused",
        "stop" => "stopped",
        "restart" | "rolling-restart" => "restarted",
        "drain" => "drained",
        "scale" => "scaled",
        "slow" => "slowed",
        "maint" => "in maintenance",
        "delay" => "delayed",
        "bandwidth" => "narrowed",
        "blackhole" => "cut",
        other => other,
    }
}
