//! The latency distribution of all runs in one drawing: the share of requests that took longer than a time, both axes
//! logarithmic, so that the slow tail has as much room as the middle.

use std::fmt::Write as _;

use askama::Template;

use super::{Scale, Tick, WIDTH, axis_time, px, shortened};
use crate::table::{Column, median};
use evidence::format::{list, time};
use evidence::results::{Bin, Latency, Run};

const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 288.0;
/// Beyond 1 in 10,000 a run of this length has too few requests to draw a line through.
const RAREST: f64 = 1e-4;
/// Characters of a strategy's name that fit into the legend.
const NAME: usize = 14;
/// Patterns of lines and colours in the style sheet.
const STYLES: usize = 6;

/// The drawing.
#[derive(Template)]
#[template(path = "latency.svg")]
pub(crate) struct Distribution {
    /// What the drawing shows, in words.
    pub(crate) description: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    latency_ticks: Vec<Tick>,
    share_ticks: Vec<Tick>,
    curves: Vec<Curve>,
    legend: Vec<Entry>,
}

/// One run.
struct Curve {
    style: String,
    path: String,
}

/// One strategy.
struct Entry {
    style: String,
    label: String,
    y: f64,
}

impl Distribution {
    /// `None` when no run has a histogram.
    pub(crate) fn of(columns: &[Column<'_>]) -> Option<Self> {
        let runs = || {
            columns
                .iter()
                .flat_map(|column| &column.runs)
                .filter(|run| total(run) > 0)
        };
        let fastest = runs()
            .filter_map(|run| run.latency_histogram.iter().find(|bin| bin.count > 0))
            .map(|bin| bin.le_us);
        let slowest = runs()
            .filter_map(|run| run.latency_histogram.iter().rfind(|bin| bin.count > 0))
            .map(|bin| bin.le_us);
        let range = (fastest.min()?.max(1) as f64, slowest.max()?.max(1) as f64);
        let latency = Scale::logarithmic((range.0 / 1.1, range.1 * 1.1), (LEFT, RIGHT));
        let share = Scale::logarithmic((RAREST, 1.0), (BOTTOM, TOP));
        let mut curves = Vec::new();
        let mut legend = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            let style = format!("line-{}", index % STYLES);
            let drawn: Vec<&&Run> = column.runs.iter().filter(|run| total(run) > 0).collect();
            if drawn.is_empty() {
                continue;
            }
            let repeats = if drawn.len() == 1 {
                String::new()
            } else {
                format!(" ({} runs)", drawn.len())
            };
            legend.push(Entry {
                label: shortened(column.strategy, NAME) + &repeats,
                y: TOP + 16.0 + 18.0 * legend.len() as f64,
                style: style.clone(),
            });
            curves.extend(drawn.into_iter().map(|run| Curve {
                style: style.clone(),
                path: curve(&run.latency_histogram, latency, share),
            }));
        }
        let shares = [
            (1.0, "100 %"),
            (0.5, "50 % (p50)"),
            (0.1, "10 % (p90)"),
            (0.01, "1 % (p99)"),
            (1e-3, "0.1 % (p99.9)"),
            (1e-4, "0.01 %"),
        ];
        Some(Self {
            description: describe(columns),
            width: WIDTH,
            height: BOTTOM + 40.0,
            left: LEFT,
            right: RIGHT,
            top: TOP,
            bottom: BOTTOM,
            latency_ticks: latency
                .decades()
                .into_iter()
                .map(|us| Tick {
                    at: latency.at(us),
                    label: axis_time(us),
                })
                .collect(),
            share_ticks: shares
                .map(|(value, label)| Tick {
                    at: share.at(value),
                    label: label.to_owned(),
                })
                .into(),
            curves,
            legend,
        })
    }
}

fn total(run: &Run) -> u64 {
    run.latency_histogram.iter().map(|bin| bin.count).sum()
}

/// Through the upper bound of each bin, at the share of requests above it; after the slowest request it is on the floor.
fn curve(bins: &[Bin], latency: Scale, share: Scale) -> String {
    let total: u64 = bins.iter().map(|bin| bin.count).sum();
    let mut path = format!("M{} {}", px(latency.start), px(share.at(1.0)));
    let mut above = total;
    for bin in bins.iter().filter(|bin| bin.count > 0) {
        above -= bin.count;
        let part = above as f64 / total as f64;
        let _ = write!(
            path,
            "L{} {}",
            px(latency.at(bin.le_us as f64)),
            px(share.at(part))
        );
        if part <= RAREST {
            break;
        }
    }
    path
}

/// The percentiles of each strategy, of several runs the medians.
fn describe(columns: &[Column<'_>]) -> String {
    let percentiles = columns.iter().filter_map(|column| {
        let latencies: Vec<_> = column
            .runs
            .iter()
            .filter_map(|run| run.latency_us.as_ref())
            .collect();
        let middle = |value: fn(&Latency) -> Option<u64>| {
            let values: Vec<f64> = latencies
                .iter()
                .filter_map(|latency| value(latency))
                .map(|us| us as f64)
                .collect();
            median(&values).map(time)
        };
        let parts = [
            middle(|latency| Some(latency.p50))
                .map(|us| format!("half of the requests took at most {us}")),
            middle(|latency| latency.p99).map(|us| format!("99 of 100 at most {us}")),
            middle(|latency| Some(latency.max)).map(|us| format!("the slowest {us}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("In {} {}.", column.strategy, list(&parts)))
    });
    percentiles.collect::<Vec<_>>().join(" ")
}
