//! What a request costs, and what a session takes.
//!
//! Measured over the undisturbed part: from the first sample of the measured part to the last before the first fault.
//! A node that is away, or catching up, would make the figure a mixture that nobody could use.

use crate::history::{FaultStep, History, MemoryProbe, Operation, Usage};
use crate::results::{Bytes, Cost, Memory};

/// Figures over the undisturbed part.
#[derive(Default)]
pub(super) struct Costs {
    pub(super) window_ms: Option<(u64, u64)>,
    pub(super) cpu: Cost,
    pub(super) bytes: Bytes,
    pub(super) store_operations: Option<f64>,
}

/// Costs of one request.
pub(super) fn of(history: &History) -> Costs {
    let Some((first, last)) = window(history) else {
        return Costs::default();
    };
    let within: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|operation| (first.at_us..last.at_us).contains(&operation.done_us))
        .collect();
    if within.is_empty() {
        return Costs::default();
    }
    let count = within.len() as f64;
    let each = |from: u64, to: u64| to.checked_sub(from).map(|growth| growth as f64 / count);
    let both = |from: Option<u64>, to: Option<u64>| each(from?, to?);
    let mean = |bytes: fn(&Operation) -> u32| {
        let sum: u64 = within
            .iter()
            .map(|operation| u64::from(bytes(operation)))
            .sum();
        Some(sum as f64 / count)
    };
    Costs {
        window_ms: Some((super::ms(first.at_us), super::ms(last.at_us))),
        cpu: Cost {
            load_balancer: each(first.load_balancer_us, last.load_balancer_us),
            node: each(first.node_us, last.node_us),
            store: both(first.store_us, last.store_us),
            generator: each(first.generator_us, last.generator_us),
        },
        bytes: Bytes {
            sent: mean(|operation| operation.sent_bytes),
            received: mean(|operation| operation.received_bytes),
        },
        store_operations: both(first.store_commands, last.store_commands),
    }
}

/// The first and the last sample of the undisturbed part.
fn window(history: &History) -> Option<(&Usage, &Usage)> {
    let first_fault_us = history
        .faults
        .iter()
        .filter(|event| event.step == FaultStep::Commanded)
        .map(|event| event.at_us)
        .min()
        .unwrap_or(i64::MAX);
    let mut undisturbed = history
        .usage
        .iter()
        .filter(|usage| (0..first_fault_us).contains(&usage.at_us));
    Some((undisturbed.next()?, undisturbed.next_back()?))
}

/// Growth of all nodes together that says nothing: allocators take memory in blocks, in each node and each thread.
const NODE_FLOOR_BYTES: i64 = 512 * 1024;

/// Bytes a session; `None` when nothing was measured, or when the growth is not clearly more than what requests
/// without a session made memory grow by.
pub(super) fn memory(probe: Option<MemoryProbe>) -> Memory {
    let Some(probe) = probe else {
        return Memory::default();
    };
    let sessions = probe.sessions as f64;
    let noise = NODE_FLOOR_BYTES.max(2 * probe.node_noise_bytes);
    let signal = probe.node_growth_bytes > noise;
    let each = |growth: i64| (growth > 0 && sessions > 0.0).then(|| growth as f64 / sessions);
    Memory {
        node: each(probe.node_growth_bytes).filter(|_| signal),
        store: probe.store_growth_bytes.and_then(each),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::FaultEvent;
    use crate::history::testing::{browse, history};

    fn usage(at_ms: i64, node_us: u64, store: Option<u64>) -> Usage {
        Usage {
            at_us: at_ms * 1_000,
            load_balancer_us: 10,
            node_us,
            store_us: store,
            generator_us: node_us / 2,
            lab_us: 0,
            store_commands: store,
        }
    }

    #[test]
    fn cost_is_measured_before_the_first_fault() {
        let mut history = history([
            browse(1, 1, 1, 100),
            browse(1, 1, 2, 200),
            browse(1, 1, 3, 6_000), // after the fault
        ]);
        history.usage = vec![
            usage(-1_000, 0, None), // warm-up
            usage(0, 1_000, Some(5)),
            usage(4_990, 1_400, Some(11)),
            usage(10_000, 9_999, Some(99)),
        ];
        history.faults = vec![FaultEvent {
            fault: 0,
            kind: "kill".into(),
            target: "node-2".into(),
            step: FaultStep::Commanded,
            at_us: 5_000_000,
            evidence: None,
        }];
        let costs = of(&history);
        assert_eq!(costs.window_ms, Some((0, 4_990)));
        assert_eq!(costs.cpu.node, Some(200.0));
        assert_eq!(costs.cpu.generator, Some(100.0));
        assert_eq!(costs.cpu.load_balancer, Some(0.0));
        assert_eq!(costs.store_operations, Some(3.0));
        assert_eq!(costs.bytes.received, Some(300.0));
    }

    #[test]
    fn without_a_store_its_figures_are_missing() {
        let mut history = history([browse(1, 1, 1, 100)]);
        history.usage = vec![usage(0, 0, None), usage(9_000, 10, None)];
        let costs = of(&history);
        assert_eq!((costs.cpu.store, costs.store_operations), (None, None));
    }

    #[test]
    fn memory_is_told_only_where_it_rises_above_the_noise() {
        let probe = |growth, noise| {
            memory(Some(MemoryProbe {
                sessions: 100,
                node_growth_bytes: growth,
                node_noise_bytes: noise,
                store_growth_bytes: None,
            }))
            .node
        };
        assert_eq!(probe(6_000_000, 4_096), Some(60_000.0));
        assert_eq!(probe(6_000_000, -4_096), Some(60_000.0));
        assert_eq!(probe(6_000_000, 3_500_000), None);
        assert_eq!(probe(60_000, 0), None, "less than allocators take at once");
        assert_eq!(probe(-1, 0), None);
    }
}
