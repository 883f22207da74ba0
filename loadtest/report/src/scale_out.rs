//! Throughput by nodes: what was measured, the law that fits it, and who limits; as tables and sentences. The drawing is in
//! `chart::scale_out`.

mod sentences;

use super::table::{Cell, Group, Row, Table, group, median};
use evidence::format::{NOT_MEASURED, figure, plural};
use evidence::results::{Fitted, Results, ScaleOut, ScalePoint, Station};

/// What a report says of several sizes of cluster.
pub(super) struct ScaleOutPart {
    /// Most important first.
    pub(super) sentences: Vec<String>,
    /// Each with its title.
    pub(super) tables: Vec<(&'static str, Table)>,
}

/// `None` where all runs had the same number of nodes.
pub(super) fn part(results: &Results) -> Option<ScaleOutPart> {
    let all = &results.scale_out;
    if all.is_empty() {
        return None;
    }
    Some(ScaleOutPart {
        sentences: sentences::all(all),
        tables: vec![
            ("Throughput by nodes", throughput(all)),
            ("The law that fits", law(all)),
            ("Stations", stations(all)),
        ],
    })
}

fn sizes(all: &[ScaleOut]) -> Vec<usize> {
    let mut sizes: Vec<usize> = all.iter().flat_map(ScaleOut::sizes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn of_size(scale: &ScaleOut, nodes: usize) -> impl Iterator<Item = &ScalePoint> {
    scale
        .points
        .iter()
        .filter(move |point| point.nodes == nodes)
}

fn label(nodes: usize) -> String {
    plural(nodes as u64, "node", "nodes")
}

fn table(caption: &'static str, words: bool, all: &[ScaleOut], groups: Vec<Group>) -> Table {
    Table {
        caption,
        words,
        spread: false,
        columns: all.iter().map(|scale| scale.strategy.clone()).collect(),
        groups,
    }
}

/// One row a size.
fn rows(all: &[ScaleOut], cell: impl Fn(&ScaleOut, usize) -> Cell) -> Vec<Row> {
    let row = |nodes: usize| {
        let cells = all.iter().map(|scale| cell(scale, nodes)).collect();
        Row::of(label(nodes), "", cells)
    };
    sizes(all).into_iter().map(row).collect()
}

fn throughput(all: &[ScaleOut]) -> Table {
    let groups = vec![
        group("Answers per second", rows(all, measured)),
        group("Speed-up over the smallest cluster", rows(all, factor_cell)),
        group(
            "CPU of the nodes, share of their limit",
            rows(all, |scale, nodes| {
                middle(scale, nodes, percent, |point| Some(of_nodes(point)?.busy()))
            }),
        ),
        group(
            "Node CPU per request, µs",
            rows(all, |scale, nodes| {
                middle(scale, nodes, figure, |point| {
                    Some(of_nodes(point)?.demand_us)
                })
            }),
        ),
        group(
            "CPU of the generator, cores",
            rows(all, |scale, nodes| {
                middle(scale, nodes, figure, |point| point.generator_cores)
            }),
        ),
        group(
            "CPU of all processes together, cores",
            rows(all, |scale, nodes| {
                middle(scale, nodes, figure, |point| point.machine_cores)
            }),
        ),
    ];
    table(
        "Each cluster size is a run of its own. Refused: the figure is not the capacity of a cluster of that size; the verdict gives the reason.",
        false,
        all,
        groups,
    )
}

/// All nodes of a run, as one station.
fn of_nodes(point: &ScalePoint) -> Option<&Station> {
    point
        .stations
        .iter()
        .find(|station| station.name == "nodes")
}

fn measured(scale: &ScaleOut, nodes: usize) -> Cell {
    let values = scale.valid_rps(nodes);
    match median(&values) {
        Some(rps) if values.len() > 1 => Cell {
            text: figure(rps),
            runs: values.into_iter().map(figure).collect(),
            mark: None,
        },
        Some(rps) => Cell::words(figure(rps)),
        None if of_size(scale, nodes).next().is_some() => Cell::words("refused"),
        None => Cell::gap(),
    }
}

fn factor_cell(scale: &ScaleOut, nodes: usize) -> Cell {
    factor(scale, nodes).map_or_else(Cell::gap, |factor| Cell::words(format!("× {factor:.2}")))
}

/// Throughput with so many nodes ÷ that of the smallest cluster.
fn factor(scale: &ScaleOut, nodes: usize) -> Option<f64> {
    let smallest = *scale.sizes().first()?;
    Some(median(&scale.valid_rps(nodes))? / median(&scale.valid_rps(smallest))?)
}

fn middle(
    scale: &ScaleOut,
    nodes: usize,
    show: fn(f64) -> String,
    value: impl Fn(&ScalePoint) -> Option<f64>,
) -> Cell {
    let values: Vec<f64> = of_size(scale, nodes).filter_map(value).collect();
    median(&values).map_or_else(Cell::gap, |value| Cell::words(show(value)))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn law(all: &[ScaleOut]) -> Table {
    let row = |label: &str, unit, text: &dyn Fn(&ScaleOut) -> Option<String>| {
        let cells = all
            .iter()
            .map(|scale| text(scale).map_or_else(Cell::gap, Cell::words));
        Row::of(label, unit, cells.collect())
    };
    let rows = vec![
        row("σ, contention", "", &|scale| {
            Some(fitted(scale.fit.as_ref()?.sigma))
        }),
        row("κ, coherency", "", &|scale| {
            Some(fitted(scale.fit.as_ref()?.kappa))
        }),
        row("λ, one node", "answers/s", &|scale| {
            Some(fitted(scale.fit.as_ref()?.lambda_rps))
        }),
        row("R²", "", &|scale| {
            Some(format!("{:.4}", scale.fit.as_ref()?.r_squared))
        }),
        row("Peak throughput with", "nodes", &|scale| {
            let fit = scale.fit.as_ref()?;
            Some(match fit.peak_nodes {
                Some(peak) if fit.kappa.low > 0.0 => figure(peak),
                Some(peak) => format!("{}, or no peak (κ may be 0)", figure(peak)),
                None => "no peak (κ = 0)".to_owned(),
            })
        }),
        row(
            "Measured growth, smallest to largest cluster",
            "",
            &|scale| Some(format!("× {:.2}", factor(scale, *scale.sizes().last()?)?)),
        ),
        row("Growth by the law", "", &|scale| {
            let (first, last) = (*scale.sizes().first()?, *scale.sizes().last()?);
            let fit = scale.fit.as_ref()?;
            Some(format!(
                "× {:.2}",
                fit.at(last as f64) / fit.at(first as f64)
            ))
        }),
    ];
    table(
        "X(N) = λN ÷ (1 + σ(N − 1) + κN(N − 1)), the Universal Scalability Law, by least squares with σ, κ ≥ 0; in parentheses 95 % intervals from the likelihood’s profile. It describes the measured sizes; anything beyond them is a guess.",
        false,
        all,
        vec![group("", rows)],
    )
}

/// `0.0277 (0.0190 to 0.0360)`
fn fitted(parameter: Fitted) -> String {
    let high = parameter.high.map_or_else(|| "no limit".to_owned(), figure);
    format!(
        "{} ({} to {high})",
        figure(parameter.value),
        figure(parameter.low)
    )
}

const STATIONS: [(&str, &str); 3] = [
    ("load_balancer", "Load balancer"),
    ("nodes", "Nodes"),
    ("store", "Store"),
];

fn stations(all: &[ScaleOut]) -> Table {
    let mut groups: Vec<Group> = STATIONS
        .iter()
        .filter(|(name, _)| all.iter().any(|scale| station(scale, name).is_some()))
        .map(|(name, title)| {
            let row = |label: &str, unit, show: fn(&Station) -> String| {
                let cells = all.iter().map(|scale| {
                    station(scale, name)
                        .map_or_else(Cell::gap, |station| Cell::words(show(station)))
                });
                Row::of(label, unit, cells.collect())
            };
            let rows = vec![
                row("Demand per request", "µs", |station| {
                    figure(station.demand_us)
                }),
                row("Cores in use, of those available", "cores", |station| {
                    format!(
                        "{} of {}",
                        figure(station.used_cores),
                        figure(station.capacity_cores)
                    )
                }),
                row("Upper bound", "answers/s", |station| {
                    figure(station.bound_rps)
                }),
            ];
            group(title, rows)
        })
        .collect();
    let words = |text: &dyn Fn(&ScaleOut) -> Option<String>| -> Vec<Cell> {
        let cells = all
            .iter()
            .map(|scale| text(scale).map_or_else(Cell::gap, Cell::words));
        cells.collect()
    };
    groups.push(group(
        "The limit",
        vec![
            Row::of(
                "Bottleneck",
                "",
                words(&|scale| Some(title(scale.limit.as_deref()?).to_lowercase())),
            ),
            Row::of(
                "Nodes at which the bottleneck moves",
                "",
                words(&|scale| {
                    let (other, nodes) = turn(scale)?;
                    Some(format!(
                        "{} ({})",
                        figure(nodes),
                        title(&other.name).to_lowercase()
                    ))
                }),
            ),
        ],
    ));
    table(
        "In the largest cluster, by the utilisation law: demand = CPU in use ÷ throughput, and no station serves more than its capacity ÷ demand. The nodes may use their limits, the store one core (it runs commands in one thread), the load balancer every core of this machine.",
        false,
        all,
        groups,
    )
}

fn station<'a>(scale: &'a ScaleOut, name: &str) -> Option<&'a Station> {
    scale.stations.iter().find(|station| station.name == name)
}

fn title(name: &str) -> &'static str {
    let known = STATIONS.iter().find(|(known, _)| *known == name);
    known.map_or(NOT_MEASURED, |(_, title)| title)
}

/// The station that would be the limit with more nodes, and with how many.
fn turn(scale: &ScaleOut) -> Option<(&Station, f64)> {
    let nodes = station(scale, "nodes")?;
    let others = scale.stations.iter().filter(|other| other.name != "nodes");
    let next = others.min_by(|a, b| a.bound_rps.total_cmp(&b.bound_rps))?;
    Some((
        next,
        next.bound_rps * nodes.demand_us / 1e6 / scale.quota_cores,
    ))
}
