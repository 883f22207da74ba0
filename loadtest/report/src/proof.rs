//! A witness as a person reads it: the few operations that prove an anomaly, and the fault beside them, in the order of time.

use evidence::results::{Results, Witness, WitnessOperation};

/// A witness as a story: what happened, then the operations and the fault, in order.
pub fn told(witness: &Witness) -> String {
    let mut lines = Vec::new();
    let kind = witness.kind.words().0;
    lines.push(format!(
        "{kind}, session {} of user {}",
        witness.session, witness.user
    ));
    lines.push(format!("   {}", witness.sentence));
    let mut events: Vec<(i64, String)> = witness
        .operations
        .iter()
        .map(|operation| (operation.sent_us, operation_line(operation)))
        .collect();
    if let Some(fault) = &witness.fault {
        let steps = [
            ("commanded", Some(fault.commanded_us)),
            ("in effect", fault.effective_us),
            ("undone", fault.undone_us),
        ];
        for (step, at_us) in steps {
            let line = |at_us| {
                (
                    at_us,
                    format!(
                        "fault {}: {} of {} {step}",
                        fault.index, fault.kind, fault.target
                    ),
                )
            };
            events.extend(at_us.map(line));
        }
    }
    events.sort_by_key(|(at_us, _)| *at_us);
    for (at_us, line) in events {
        lines.push(format!("   {:>12}  {line}", seconds(at_us)));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn operation_line(operation: &WitnessOperation) -> String {
    let status = operation
        .status
        .map_or_else(|| "no answer".into(), |status| status.to_string());
    format!(
        "{:<11} #{:<6} {:<4} {status:<9} {:<14} until {}",
        operation.action,
        operation.id,
        operation.outcome,
        operation.node.as_deref().unwrap_or("no node"),
        seconds(operation.done_us)
    )
}

/// The first proof of each kind of anomaly for each run: which run, and the story.
pub(super) fn of(results: &Results) -> Vec<(String, String)> {
    let mut proofs = Vec::new();
    for run in &results.runs {
        let mut told_kinds = Vec::new();
        for witness in &run.witnesses {
            if !told_kinds.contains(&witness.kind) {
                told_kinds.push(witness.kind);
                let title = format!("{}, run {}", run.strategy, run.repeat);
                proofs.push((title, told(witness)));
            }
        }
    }
    proofs
}

fn seconds(us: i64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}
