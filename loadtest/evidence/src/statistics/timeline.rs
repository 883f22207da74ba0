//! The run in slices of time, by the moment at which an answer was complete.

use super::latency;
use crate::checker::Ends;
use crate::history::{Meta, Operation};
use crate::results::Slice;

/// Length of a slice: short enough to see a failover, long enough to hold some hundred requests.
const SLICE_US: i64 = 250_000;

/// Answers without a node's stamp are counted under this name.
const NO_NODE: &str = "none";

/// One slice after the other over the whole measured part, without gaps. The last may be shorter.
pub(super) fn of(measured: &[&Operation], ends: &Ends, meta: &Meta) -> Vec<Slice> {
    let mut done: Vec<&Operation> = measured.to_vec();
    done.sort_by_key(|operation| operation.done_us);
    let mut rest = done.as_slice();
    let mut slices = Vec::new();
    let mut from_us = 0;
    while from_us < meta.measured_until_us {
        let until_us = from_us + SLICE_US;
        let (now, later) =
            rest.split_at(rest.partition_point(|operation| operation.done_us < until_us));
        slices.push(slice(from_us, now, ends, &meta.nodes));
        rest = later;
        from_us = until_us;
    }
    slices
}

fn slice(from_us: i64, operations: &[&Operation], ends: &Ends, nodes: &[String]) -> Slice {
    let mut latencies: Vec<u64> = operations
        .iter()
        .filter_map(|operation| latency::of(operation))
        .collect();
    latencies.sort_unstable();
    let mut slice = Slice {
        at_ms: super::ms(from_us),
        ok: latencies.len() as u64,
        failed: 0,
        p50_us: latency::nearest_rank(&latencies, 0.5),
        p99_us: latency::nearest_rank(&latencies, 0.99),
        // Every node in every slice, so that a silent node is seen to be silent.
        per_node: nodes.iter().map(|node| (node.clone(), 0)).collect(),
    };
    for operation in operations {
        slice.failed += u64::from(ends.is_failure(operation));
        let node = operation.node.as_deref().unwrap_or(NO_NODE);
        if let Some(count) = slice.per_node.get_mut(node) {
            *count += 1;
        } else {
            slice.per_node.insert(node.to_string(), 1);
        }
    }
    slice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::{browse, meta};

    #[test]
    fn slices_follow_each_other_without_gaps_and_count_by_node() {
        let operations = [
            browse(1, 1, 1, 0),
            browse(1, 1, 2, 247).on("node-2"), // complete at 249 ms
            browse(1, 1, 3, 248),              // complete at 250 ms
            browse(1, 1, 4, 900).failed(),
        ];
        let meta = Meta {
            measured_until_us: 1_100_000,
            ..meta()
        };
        let slices = of(
            &operations.iter().collect::<Vec<_>>(),
            &Ends::default(),
            &meta,
        );
        let starts: Vec<u64> = slices.iter().map(|slice| slice.at_ms).collect();
        assert_eq!(starts, [0, 250, 500, 750, 1_000]);
        assert_eq!((slices[0].ok, slices[1].ok), (2, 1));
        assert_eq!(slices[0].p50_us, Some(2_000));
        assert_eq!(
            (slices[0].per_node["node-1"], slices[0].per_node["node-2"]),
            (1, 1)
        );
        assert_eq!(slices[2].p99_us, None);
        assert_eq!((slices[3].failed, slices[3].per_node["none"]), (1, 1));
    }
}
