//! Throughput by nodes: a mark for each run, a curve for each strategy, both axes from 0, so that a straight line from the
//! corner is what perfect growth looks like.

use std::fmt::Write as _;

use askama::Template;

use super::{Scale, Tick, WIDTH, plain, px, shortened};
use evidence::format::figure;
use evidence::results::ScaleOut;

const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 300.0;
/// Characters of a strategy's name that fit into the legend.
const NAME: usize = 14;
/// Patterns of lines and colours in the style sheet.
const STYLES: usize = 6;
/// Pieces of a curve.
const PIECES: u32 = 60;

/// The drawing.
#[derive(Template)]
#[template(path = "scale_out.svg")]
pub(crate) struct Growth {
    /// What the drawing shows, in words.
    pub(crate) description: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    nodes_ticks: Vec<Tick>,
    rps_ticks: Vec<Tick>,
    /// Style and path.
    curves: Vec<(String, String)>,
    marks: Vec<Mark>,
    legend: Vec<Entry>,
}

/// One run.
struct Mark {
    style: String,
    x: f64,
    y: f64,
    /// A cross where the figure was refused.
    valid: bool,
}

/// One strategy.
struct Entry {
    style: String,
    label: String,
    y: f64,
}

impl Growth {
    /// `None` when no run has a throughput.
    pub(crate) fn of(all: &[ScaleOut]) -> Option<Self> {
        let points = || all.iter().flat_map(|scale| &scale.points);
        let most_nodes = points().map(|point| point.nodes).max()? as f64;
        let most_rps = points()
            .filter_map(|point| point.throughput_rps)
            .reduce(f64::max)?;
        let nodes = Scale::linear((0.0, most_nodes * 1.04), (LEFT, RIGHT));
        let rps = Scale::linear((0.0, most_rps * 1.08), (BOTTOM, TOP));
        let (mut curves, mut marks, mut legend) = (Vec::new(), Vec::new(), Vec::new());
        for (index, scale) in all.iter().enumerate() {
            let style = format!("line-{}", index % STYLES);
            let law = scale.fit.as_ref().map_or_else(String::new, |fit| {
                format!(", σ {}", figure(fit.sigma.value))
            });
            legend.push(Entry {
                style: style.clone(),
                label: shortened(&scale.strategy, NAME) + &law,
                y: TOP + 16.0 + 18.0 * legend.len() as f64,
            });
            if let Some(fit) = &scale.fit {
                let mut path = format!("M{} {}", px(nodes.at(0.0)), px(rps.at(0.0)));
                for piece in 1..=PIECES {
                    let at = most_nodes * f64::from(piece) / f64::from(PIECES);
                    let _ = write!(path, "L{} {}", px(nodes.at(at)), px(rps.at(fit.at(at))));
                }
                curves.push((style.clone(), path));
            }
            marks.extend(scale.points.iter().filter_map(|point| {
                Some(Mark {
                    style: style.clone(),
                    x: nodes.at(point.nodes as f64),
                    y: rps.at(point.throughput_rps?),
                    valid: point.valid,
                })
            }));
        }
        let mut sizes: Vec<usize> = points().map(|point| point.nodes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let tick = |scale: Scale, value: f64| Tick {
            at: scale.at(value),
            label: plain(value),
        };
        Some(Self {
            description: describe(all),
            width: WIDTH,
            height: BOTTOM + 40.0,
            left: LEFT,
            right: RIGHT,
            top: TOP,
            bottom: BOTTOM,
            nodes_ticks: sizes
                .into_iter()
                .map(|size| tick(nodes, size as f64))
                .collect(),
            rps_ticks: rps
                .round_values(5.0)
                .into_iter()
                .map(|value| tick(rps, value))
                .collect(),
            curves,
            marks,
            legend,
        })
    }
}

fn describe(all: &[ScaleOut]) -> String {
    let strategies = all.iter().map(|scale| {
        let points: Vec<String> = scale
            .points
            .iter()
            .filter_map(|point| {
                let refused = if point.valid { "" } else { " (refused)" };
                Some(format!(
                    "{} with {}{refused}",
                    figure(point.throughput_rps?),
                    point.nodes
                ))
            })
            .collect();
        format!("{}: {}.", scale.strategy, points.join(", "))
    });
    strategies.collect::<Vec<_>>().join(" ")
}
