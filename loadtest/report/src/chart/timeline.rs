//! One run over time: answers per second, stacked by node with the failed requests hatched on top, and below them the latency.
//! All timelines of a report share their scales, so that they can be compared by eye.

use askama::Template;

use super::bands::{Band, LABEL, Span, line, spans, stack, tint};
use super::marks::{self, Away, Mark, away, describe, marks};
use super::{Scale, Tick, WIDTH, axis_time, plain};
use evidence::results::{Run, Slice};

const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 74.0;
const RATE_HEIGHT: f64 = 150.0;
const LATENCY_HEIGHT: f64 = 84.0;

/// The scales that all timelines of a report share.
pub(crate) struct Frame {
    pub(super) end_ms: f64,
    pub(super) rate: f64,
    pub(super) latency_us: (f64, f64),
    mark_rows: usize,
    nodes: Vec<String>,
}

impl Frame {
    /// Wide enough for all of `runs`.
    pub(crate) fn over(runs: &[Run]) -> Self {
        let slices = || runs.iter().flat_map(|run| spans(run).into_iter());
        let rate = slices()
            .map(|span| span.rate(span.slice.ok + span.slice.failed))
            .fold(0.0, f64::max);
        let latencies = || {
            slices()
                .flat_map(|span| [span.slice.p50_us, span.slice.p99_us])
                .flatten()
                .map(|us| us.max(1) as f64)
        };
        let mut nodes: Vec<String> = slices()
            .flat_map(|span| {
                span.slice
                    .per_node
                    .keys()
                    .filter(|node| *node != "none")
                    .cloned()
            })
            .collect();
        nodes.sort();
        nodes.dedup();
        let mut frame = Self {
            end_ms: slices().map(|span| span.to_ms).fold(0.0, f64::max),
            rate,
            latency_us: (
                latencies().fold(f64::INFINITY, f64::min),
                latencies().fold(0.0, f64::max),
            ),
            mark_rows: 0,
            nodes,
        };
        frame.mark_rows = runs
            .iter()
            .map(|run| marks(run, &frame.time()).1)
            .max()
            .unwrap_or(0);
        frame
    }

    /// All nodes that answered anywhere, with the class of their tint: the legend.
    pub(crate) fn nodes(&self) -> Vec<(String, String)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.clone(), tint(index)))
            .collect()
    }

    fn time(&self) -> Scale {
        Scale::linear((0.0, self.end_ms), (LEFT, RIGHT))
    }
}

/// The drawing of one run.
#[derive(Template)]
#[template(path = "timeline.svg")]
pub(crate) struct Timeline {
    id: String,
    title: String,
    /// What the drawing shows, in words: its text alternative and its caption.
    pub(crate) description: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    rate_top: f64,
    rate_bottom: f64,
    latency_top: f64,
    latency_bottom: f64,
    time_ticks: Vec<Tick>,
    rate_ticks: Vec<Tick>,
    latency_ticks: Vec<Tick>,
    away: Vec<Away>,
    bands: Vec<Band>,
    failed: String,
    p50: String,
    p99: String,
    line_labels: Vec<Tick>,
    marks: Vec<Mark>,
}

impl Timeline {
    /// `None` when the run recorded no timeline. `id` must be unique in the page.
    pub(crate) fn of(run: &Run, frame: &Frame, id: String) -> Option<Self> {
        let spans = spans(run);
        if spans.is_empty() {
            return None;
        }
        let time = frame.time();
        let rate_top = 26.0 + marks::ROW * frame.mark_rows as f64;
        let rate_bottom = rate_top + RATE_HEIGHT;
        let latency_top = rate_bottom + 26.0;
        let latency_bottom = latency_top + LATENCY_HEIGHT;
        let rate = Scale::linear((0.0, frame.rate * 1.04), (rate_bottom, rate_top));
        let latency = Scale::logarithmic(
            (frame.latency_us.0 / 1.15, frame.latency_us.1 * 1.15),
            (latency_bottom, latency_top),
        );
        let (bands, failed) = stack(&spans, &frame.nodes, time, rate);
        let p50 = line(&spans, time, latency, |slice| slice.p50_us);
        let p99 = line(&spans, time, latency, |slice| slice.p99_us);
        let has_latency = frame.latency_us.1 > 0.0;
        let time_values = Scale::linear((0.0, frame.end_ms / 1e3), (0.0, 1.0)).round_values(8.0);
        Some(Self {
            title: format!(
                "{}, run {}: answers per second by node, failed requests and latency over time",
                run.strategy, run.repeat
            ),
            description: describe(run),
            id,
            width: WIDTH,
            height: latency_bottom + 38.0,
            left: LEFT,
            right: RIGHT,
            rate_top,
            rate_bottom,
            latency_top,
            latency_bottom,
            time_ticks: ticks(time_values, |s| time.at(s * 1e3), plain),
            rate_ticks: ticks(rate.round_values(5.0), |value| rate.at(value), plain),
            latency_ticks: if has_latency {
                ticks(latency.decades(), |us| latency.at(us), axis_time)
            } else {
                Vec::new()
            },
            away: away(run, frame.end_ms, time),
            bands,
            failed,
            line_labels: line_labels(&spans, latency),
            p50,
            p99,
            marks: marks(run, &time).0,
        })
    }
}

pub(super) fn ticks(
    values: Vec<f64>,
    at: impl Fn(f64) -> f64,
    label: impl Fn(f64) -> String,
) -> Vec<Tick> {
    values
        .into_iter()
        .map(|value| Tick {
            at: at(value),
            label: label(value),
        })
        .collect()
}

/// "p99" and "p50" where their lines end, kept apart.
fn line_labels(spans: &[Span<'_>], latency: Scale) -> Vec<Tick> {
    let last = |value: fn(&Slice) -> Option<u64>| {
        spans
            .iter()
            .rev()
            .find_map(|span| value(span.slice))
            .map(|us| latency.at(us as f64) + 4.0)
    };
    let p50 = last(|slice| slice.p50_us);
    let p99 = last(|slice| slice.p99_us).map(|at| p50.map_or(at, |p50| at.min(p50 - LABEL)));
    let labelled = [(p99, "p99"), (p50, "p50")];
    labelled
        .into_iter()
        .filter_map(|(at, label)| {
            Some(Tick {
                at: at?,
                label: label.to_owned(),
            })
        })
        .collect()
}
