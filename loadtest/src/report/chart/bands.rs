//! What a timeline is made of: slices with their real length, the nodes' shares stacked on each other, lines of latency.

use std::fmt::Write as _;

use super::{Scale, px, shortened};
use crate::results::{Run, Slice};

/// A label needs this much room in height.
pub(super) const LABEL: f64 = 11.0;
/// Characters of a node's name that fit beside the drawing.
const NAME: usize = 11;
/// Tints in the style sheet; more nodes than that start over, and are told apart by place and label.
const TINTS: usize = 6;

/// One node's share of the answers.
pub(super) struct Band {
    pub(super) tint: String,
    pub(super) path: String,
    pub(super) label: String,
    /// Where its label goes, if its end is thick enough for one.
    pub(super) label_at: Option<f64>,
}

/// A slice with its real length.
pub(super) struct Span<'a> {
    pub(super) slice: &'a Slice,
    pub(super) from_ms: f64,
    pub(super) to_ms: f64,
}

impl Span<'_> {
    /// Requests a second.
    pub(super) fn rate(&self, requests: u64) -> f64 {
        1e3 * requests as f64 / (self.to_ms - self.from_ms)
    }
}

/// The slices of a run with their ends. A last slice that was cut to less than half is left out: a rate over a few
/// milliseconds would say nothing and stretch the scale for all.
pub(super) fn spans(run: &Run) -> Vec<Span<'_>> {
    let usual = match run.timeline.as_slice() {
        [first, second, ..] => second.at_ms.saturating_sub(first.at_ms),
        [only] => run.measured_ms.saturating_sub(only.at_ms),
        [] => 0,
    }
    .max(1);
    let mut spans = Vec::new();
    for (index, slice) in run.timeline.iter().enumerate() {
        let to_ms = match run.timeline.get(index + 1) {
            Some(next) => next.at_ms,
            None if run.measured_ms > slice.at_ms => run.measured_ms.min(slice.at_ms + usual),
            None => slice.at_ms + usual,
        };
        let length = to_ms.saturating_sub(slice.at_ms);
        if 2 * length >= usual {
            spans.push(Span {
                slice,
                from_ms: slice.at_ms as f64,
                to_ms: to_ms as f64,
            });
        }
    }
    spans
}

/// The nodes' bands from the bottom up, and the outline of the failed requests on top of them.
///
/// The height of all bands together is the number of good answers. A node's stamp is also on answers that failed (a 401 for a
/// lost session); so good answers are divided in the proportion of the stamps, and what no node stamped is a band of its own.
pub(super) fn stack(
    spans: &[Span<'_>],
    nodes: &[String],
    time: Scale,
    rate: Scale,
) -> (Vec<Band>, String) {
    let mut floors = vec![0.0; spans.len()];
    let mut bands = Vec::new();
    let stamped: Vec<u64> = spans
        .iter()
        .map(|span| {
            nodes
                .iter()
                .filter_map(|node| span.slice.per_node.get(node))
                .sum()
        })
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        let heights = spans.iter().zip(&stamped).map(|(span, stamped)| {
            let own = span.slice.per_node.get(node).copied().unwrap_or(0) as f64;
            own * (span.slice.ok as f64 / (*stamped).max(1) as f64).min(1.0)
        });
        bands.push(band(
            spans,
            &mut floors,
            heights.collect(),
            tint(index),
            shortened(node, NAME),
            time,
            rate,
        ));
    }
    let unstamped: Vec<f64> = spans
        .iter()
        .zip(&stamped)
        .map(|(span, stamped)| span.slice.ok.saturating_sub(*stamped) as f64)
        .collect();
    if unstamped.iter().any(|height| *height > 0.0) {
        bands.push(band(
            spans,
            &mut floors,
            unstamped,
            "unstamped".to_owned(),
            "unstamped".to_owned(),
            time,
            rate,
        ));
    }
    let failed = spans.iter().map(|span| span.slice.failed as f64).collect();
    let failed = band(
        spans,
        &mut floors,
        failed,
        String::new(),
        String::new(),
        time,
        rate,
    );
    (bands, failed.path)
}

/// A band of steps on top of `floors`, which it raises. Slices without height draw nothing.
fn band(
    spans: &[Span<'_>],
    floors: &mut [f64],
    heights: Vec<f64>,
    tint: String,
    label: String,
    time: Scale,
    rate: Scale,
) -> Band {
    let mut path = String::new();
    let mut outline: Option<(String, String)> = None;
    let mut label_at = None;
    let y = |span: &Span<'_>, requests: f64| rate.at(1e3 * requests / (span.to_ms - span.from_ms));
    for ((span, floor), height) in spans.iter().zip(floors.iter_mut()).zip(heights) {
        if height > 0.0 {
            let (left, right) = (time.at(span.from_ms), time.at(span.to_ms));
            let (bottom, top) = (y(span, *floor), y(span, *floor + height));
            let (above, below) = outline
                .get_or_insert_with(|| (format!("M{} {}", px(left), px(top)), String::new()));
            let _ = write!(above, "V{}H{}", px(top), px(right));
            below.insert_str(0, &format!("V{}H{}", px(bottom), px(left)));
            label_at = (bottom - top >= LABEL).then(|| f64::midpoint(bottom, top) + LABEL / 3.0);
        } else {
            path += &closed(outline.take());
            label_at = None;
        }
        *floor += height;
    }
    path += &closed(outline);
    Band {
        tint,
        path,
        label,
        label_at,
    }
}

fn closed(outline: Option<(String, String)>) -> String {
    outline.map_or_else(String::new, |(above, below)| format!("{above}{below}Z"))
}

/// A line through the middles of the slices, broken where nothing was measured.
pub(super) fn line(
    spans: &[Span<'_>],
    time: Scale,
    latency: Scale,
    value: impl Fn(&Slice) -> Option<u64>,
) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for span in spans {
        let Some(us) = value(span.slice) else {
            pen_down = false;
            continue;
        };
        let at = format!(
            "{} {}",
            px(time.at(f64::midpoint(span.from_ms, span.to_ms))),
            px(latency.at(us as f64))
        );
        // A single point between two gaps is a line of no length, which round ends make visible.
        let step = if pen_down {
            format!("L{at}")
        } else {
            format!("M{at}L{at}")
        };
        path += &step;
        pen_down = true;
    }
    path
}

/// The class of a node's tint.
pub(super) fn tint(index: usize) -> String {
    format!("node-tint-{}", index % TINTS)
}
