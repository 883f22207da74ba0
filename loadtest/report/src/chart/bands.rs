//! What a timeline is made of: slices with their real length, the nodes' shares stacked on each other, lines of latency.

use std::fmt::Write as _;

use super::{Scale, px, shortened};
use evidence::results::{Run, Slice};

/// A label needs this much room in height.
pub(super) const LABEL: f64 = 11.0;
/// Characters of a node's name that fit beside the drawing.
const NAME: usize = 10;
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
    /// Requests per second.
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

/// Good answers of all nodes together, and the outline of the failed requests on top of them.
pub(super) fn single(spans: &[Span<'_>], time: Scale, rate: Scale) -> (String, String) {
    let mut floors = vec![0.0; spans.len()];
    let mut outline = |value: fn(&Slice) -> u64| {
        let heights = spans.iter().map(|span| value(span.slice) as f64).collect();
        let (tint, label) = (String::new(), String::new());
        band(spans, &mut floors, heights, tint, label, time, rate).path
    };
    (outline(|slice| slice.ok), outline(|slice| slice.failed))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use evidence::sample;

    /// `ok`, `failed`, answers by node.
    type Second<'a> = (u64, u64, &'a [(&'a str, u64)]);

    /// A run with slices of one second.
    fn run(slices: &[Second<'_>]) -> Run {
        let mut run = sample::redis(1);
        run.measured_ms = 1_000 * slices.len() as u64;
        run.timeline = (0..)
            .zip(slices)
            .map(|(second, (ok, failed, per_node))| Slice {
                at_ms: 1_000 * second,
                ok: *ok,
                failed: *failed,
                p50_us: (*ok > 0).then_some(10),
                p99_us: None,
                per_node: per_node
                    .iter()
                    .map(|(node, n)| ((*node).to_owned(), *n))
                    .collect::<BTreeMap<_, _>>(),
            })
            .collect();
        run
    }

    /// One pixel is one second, and one request a second.
    fn scales() -> (Scale, Scale) {
        let time = Scale::linear((0.0, 10_000.0), (0.0, 10.0));
        let rate = Scale::linear((0.0, 100.0), (100.0, 0.0));
        (time, rate)
    }

    #[test]
    fn nodes_are_stacked_and_failures_stand_on_top() {
        let run = run(&[(30, 10, &[("a", 10), ("b", 20)]), (30, 0, &[("a", 30)])]);
        let (time, rate) = scales();
        let (bands, failed) = stack(&spans(&run), &["a".to_owned(), "b".to_owned()], time, rate);
        assert_eq!(bands.len(), 2);
        assert_eq!(
            bands[0].path, "M0.0 90.0V90.0H1.0V70.0H2.0V100.0H1.0V100.0H0.0Z",
            "a: from 0 to 10, then to 30"
        );
        assert_eq!(
            bands[1].path, "M0.0 70.0V70.0H1.0V90.0H0.0Z",
            "b: from 10 to 30, then gone"
        );
        assert_eq!(
            failed, "M0.0 60.0V60.0H1.0V70.0H0.0Z",
            "failed: from 30 to 40"
        );
    }

    #[test]
    fn the_bands_are_as_high_as_the_good_answers_even_when_failures_are_stamped() {
        let run = run(&[(20, 20, &[("a", 40)])]);
        let (time, rate) = scales();
        let (bands, failed) = stack(&spans(&run), &["a".to_owned()], time, rate);
        assert!(bands[0].path.starts_with("M0.0 80.0"), "{}", bands[0].path);
        assert!(failed.starts_with("M0.0 60.0"), "{failed}");
    }

    #[test]
    fn answers_without_a_stamp_are_a_band_of_their_own() {
        let run = run(&[(30, 0, &[("a", 10), ("none", 20)])]);
        let (time, rate) = scales();
        let (bands, _) = stack(&spans(&run), &["a".to_owned()], time, rate);
        assert_eq!(bands[1].tint, "unstamped");
        assert!(bands[1].path.starts_with("M0.0 70.0"), "{}", bands[1].path);
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured() {
        let run = run(&[(1, 0, &[]), (1, 0, &[]), (0, 1, &[]), (1, 0, &[])]);
        let (time, rate) = scales();
        let path = line(&spans(&run), time, rate, |slice| slice.p50_us);
        assert_eq!(path, "M0.5 90.0L0.5 90.0L1.5 90.0M3.5 90.0L3.5 90.0");
    }

    #[test]
    fn a_last_slice_that_was_cut_short_counts_for_its_length_or_not_at_all() {
        let mut run = run(&[(10, 0, &[]), (10, 0, &[]), (6, 0, &[])]);
        run.measured_ms = 2_600;
        let rates: Vec<f64> = spans(&run)
            .iter()
            .map(|span| span.rate(span.slice.ok).round())
            .collect();
        assert_eq!(
            rates
                .iter()
                .map(|rate| format!("{rate}"))
                .collect::<Vec<_>>(),
            ["10", "10", "10"]
        );
        run.measured_ms = 2_100;
        assert_eq!(spans(&run).len(), 2);
    }
}
