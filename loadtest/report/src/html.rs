//! `report.html`: one file that needs no network, no script and no colour to be read. The markup is in `templates/`.

use askama::Template;

use super::chart::latency::Distribution;
use super::chart::multiple::Multiple;
use super::chart::scale_out::Growth;
use super::chart::timeline::{Frame, Timeline};
use super::document::{Document, GLOSSARY};
use super::table::columns;
use evidence::results::Results;

/// The whole page.
pub(super) fn render(document: &Document, results: &Results) -> Result<String, askama::Error> {
    let columns = columns(results);
    let frame = Frame::over(&results.runs);
    let mut panels = Vec::new();
    let mut multiples = Vec::new();
    for (position, column) in columns.iter().enumerate() {
        let first = column.runs.iter().enumerate().find_map(|(index, run)| {
            let id = format!("multiple-{position}");
            Some((index, Multiple::of(run, &frame, id)?))
        });
        if let Some((index, multiple)) = first {
            multiples.push(Beside {
                strategy: column.strategy.to_owned(),
                run: (column.runs.len() > 1)
                    .then(|| format!("run {} of {}", index + 1, column.runs.len())),
                svg: multiple.render()?,
            });
        }
        let mut drawn = Vec::new();
        for (index, run) in column.runs.iter().enumerate() {
            let id = format!("timeline-{position}-{index}");
            if let Some(timeline) = Timeline::of(run, &frame, id) {
                drawn.push(Drawn {
                    repeat: run.repeat,
                    svg: timeline.render()?,
                    caption: timeline.description,
                });
            }
        }
        let mut drawn = drawn.into_iter();
        panels.push(Panel {
            strategy: column.strategy.to_owned(),
            first: drawn.next(),
            others: drawn.collect(),
        });
    }
    let distribution = match Distribution::of(&columns) {
        Some(distribution) => Some((distribution.render()?, distribution.description)),
        None => None,
    };
    let growth = match Growth::of(&results.scale_out) {
        Some(growth) => Some((growth.render()?, growth.description)),
        None => None,
    };
    let page = Page {
        document,
        growth,
        multiples,
        panels,
        nodes: frame.nodes(),
        distribution,
        glossary: &GLOSSARY,
    };
    // A percent sign must not begin a line.
    Ok(page.render()?.replace(" %", "\u{a0}%"))
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    document: &'a Document,
    /// Drawing and description.
    growth: Option<(String, String)>,
    /// One for each strategy with a timeline.
    multiples: Vec<Beside>,
    panels: Vec<Panel>,
    /// Name and class of the tint.
    nodes: Vec<(String, String)>,
    /// Drawing and description.
    distribution: Option<(String, String)>,
    glossary: &'a [(&'static str, &'static str)],
}

/// The small timeline of one strategy, beside those of the others.
struct Beside {
    strategy: String,
    /// Which run it is, where there are several.
    run: Option<String>,
    svg: String,
}

/// The timelines of one strategy.
struct Panel {
    strategy: String,
    first: Option<Drawn>,
    /// Further repeats, folded away.
    others: Vec<Drawn>,
}

/// One run's timeline.
struct Drawn {
    repeat: u32,
    svg: String,
    caption: String,
}
