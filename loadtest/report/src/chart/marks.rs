//! The faults in a timeline: moments with their labels, the time for which they lasted, and the same in words.

use std::fmt::Write as _;

use super::{Scale, WIDTH};
use crate::fault;
use evidence::format::{count, moment, share};
use evidence::results::{Run, Slice};

/// Where the first row of labels stands, and the height of a row.
const FIRST_ROW: f64 = 12.0;
pub(super) const ROW: f64 = 15.0;

/// The time for which a fault lasted.
pub(super) struct Away {
    pub(super) from: f64,
    pub(super) width: f64,
}

/// A moment with a name.
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) label: String,
    pub(super) label_y: f64,
    /// `start` or `end`: on which side of the line the label is.
    pub(super) anchor: &'static str,
    pub(super) label_x: f64,
}

/// The times for which the faults of a run lasted.
pub(super) fn away(run: &Run, end_ms: f64, time: Scale) -> Vec<Away> {
    let lasted = run.faults.iter().filter_map(|fault| {
        let from = time.at(fault.effective_ms? as f64);
        let to = time.at(fault.undone_ms.map_or(end_ms, |ms| ms as f64));
        Some(Away {
            from,
            width: (to - from).max(0.0),
        })
    });
    lasted.collect()
}

/// The moments of the faults, and how many rows their labels need: a label that would touch one before it goes a row down.
pub(super) fn marks(run: &Run, time: &Scale) -> (Vec<Mark>, usize) {
    let mut moments: Vec<(u64, String, &'static str)> = Vec::new();
    for fault in &run.faults {
        let begun = format!("{} {}", fault.target, fault::done(fault));
        match fault.effective_ms {
            Some(ms) => moments.push((ms, begun, "end")),
            None => moments.push((
                fault.commanded_ms,
                format!("{begun}: not seen to take effect"),
                "end",
            )),
        }
        if let Some(ms) = fault.undone_ms {
            moments.push((ms, format!("{} back", fault.target), "start"));
        }
    }
    moments.sort_by_key(|(ms, ..)| *ms);
    let mut row_ends: Vec<f64> = Vec::new();
    let mut marks = Vec::new();
    for (ms, label, anchor) in moments {
        let at = time.at(ms as f64);
        let label = format!("{label}, {} s", moment(ms));
        let length = 6.6 * label.chars().count() as f64;
        // Towards the side that has the room, if the wanted one has not.
        let anchor = match anchor {
            "end" if at - length < 0.0 => "start",
            "start" if at + length > WIDTH => "end",
            anchor => anchor,
        };
        let (from, to) = if anchor == "end" {
            (at - length, at)
        } else {
            (at, at + length)
        };
        let row = row_ends
            .iter()
            .position(|end| *end + 8.0 <= from)
            .unwrap_or(row_ends.len());
        match row_ends.get_mut(row) {
            Some(end) => *end = to,
            None => row_ends.push(to),
        }
        marks.push(Mark {
            at,
            label,
            label_y: FIRST_ROW + ROW * row as f64,
            anchor,
            label_x: if anchor == "end" { at - 4.0 } else { at + 4.0 },
        });
    }
    (marks, row_ends.len())
}

/// The timeline in words.
pub(super) fn describe(run: &Run) -> String {
    let slices = &run.timeline;
    let failed: u64 = slices.iter().map(|slice| slice.failed).sum();
    let all: u64 = failed + slices.iter().map(|slice| slice.ok).sum::<u64>();
    let mut text = format!("{} requests, {} failed.", count(all), count(failed));
    for fault in &run.faults {
        let what = format!("{} was {}", fault.target, fault::done(fault));
        let Some(effective) = fault.effective_ms else {
            let _ = write!(
                text,
                " At {} s it was commanded that {what}, but it was not seen to take effect.",
                moment(fault.commanded_ms)
            );
            continue;
        };
        let _ = write!(text, " At {} s {what}; it was", moment(effective));
        let _ = match fault.undone_ms {
            Some(undone) => write!(text, " back at {} s.", moment(undone)),
            None => write!(text, " not back before the end."),
        };
        let before = served(slices, &fault.target, 0, effective);
        let end = fault.undone_ms.unwrap_or(run.measured_ms);
        let during = served(slices, &fault.target, effective, end);
        let after = served(slices, &fault.target, end, u64::MAX);
        let shares: Vec<String> = [
            ("before", before),
            ("while it was away", during),
            ("afterwards", after),
        ]
        .into_iter()
        .filter_map(|(when, served)| served.map(|(own, all)| format!("{} {when}", share(own, all))))
        .collect();
        if before.is_some_and(|(own, _)| own > 0) {
            let _ = write!(text, " Its share of the answers: {}.", shares.join(", "));
        }
        if let Some(recovered) = fault.recovered_ms {
            let _ = write!(
                text,
                " Goodput was back to 95 % of the base line at {} s.",
                moment(recovered)
            );
        }
    }
    text
}

/// Answers stamped by `node` of all stamped ones, in the slices that lie wholly between two moments.
fn served(slices: &[Slice], node: &str, from_ms: u64, to_ms: u64) -> Option<(u64, u64)> {
    let inside = slices.windows(2).filter_map(|pair| match pair {
        [slice, next] if slice.at_ms >= from_ms && next.at_ms <= to_ms => Some(slice),
        _ => None,
    });
    let (mut own, mut all) = (0, 0);
    for slice in inside {
        own += slice.per_node.get(node).copied().unwrap_or(0);
        all += slice
            .per_node
            .iter()
            .filter(|(name, _)| *name != "none")
            .map(|(_, n)| n)
            .sum::<u64>();
    }
    (all > 0).then_some((own, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample;

    #[test]
    fn labels_that_would_touch_go_to_rows_of_their_own() {
        let time = Scale::linear((0.0, 30_000.0), (0.0, 700.0));
        let mut run = sample::redis(1);
        let (apart, rows) = marks(&run, &time);
        assert_eq!(
            (apart.len(), rows),
            (2, 1),
            "to the left of the kill and to the right of the return"
        );
        let again = run.faults[0].clone();
        run.faults.push(again);
        assert_eq!(marks(&run, &time).1, 2, "the same place twice");
    }

    #[test]
    fn the_description_follows_the_share_of_the_victim() {
        let text = describe(&sample::sticky(1));
        assert!(
            text.contains("At 10.0 s node-2 was killed; it was back at 14.2 s."),
            "{text}"
        );
        assert!(
            text.contains("Its share of the answers: 33 % before, 0 % while it was away, 8"),
            "{text}"
        );
    }
}
