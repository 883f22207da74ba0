//! From what was measured to the page: the aims and what was reached, then the tables behind them. The words around the
//! figures are in `templates/benchmarks.md`; no figure is.

use askama::Template;

use crate::balancer::{self, BARE, FIXED_RATE, HAPROXY, NGINX, ONE_THREAD, OURS, TWO_THREADS};
use crate::machine::{Cores, Environment};
use crate::node::{self, CART, Kind, ME, PLAIN};
use crate::slice::{self, Measured, Slice};
use crate::statistics::{Spread, number, whole};
use crate::store;
use crate::{fixed_rate, wrk};

/// For a figure that was not measured.
const NONE: &str = "–";

/// Everything that a run found; a part that did not run is `None`.
pub(crate) struct Found {
    pub(crate) node: Option<Vec<Measured>>,
    pub(crate) balancer: Option<balancer::Report>,
    pub(crate) store: Option<store::Report>,
}

/// The page.
#[derive(Template)]
#[template(path = "benchmarks.md")]
pub(crate) struct Page<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) cores: &'a Cores,
    /// In UTC.
    pub(crate) date: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    /// What repeats the run.
    pub(crate) command: String,
    constants: Constants,
    aims: Vec<Aim>,
    node: Option<Vec<NodeRow>>,
    balancer: Option<Vec<BalancerRow>>,
    store: Option<StoreTables>,
    excluded: Vec<String>,
}

/// The settings that the words name.
struct Constants {
    connections: String,
    sessions: String,
    rate: String,
    idle: String,
    node_sessions: String,
    store_sessions: String,
    /// Per cent: a generator from here on is full, a station below this is not.
    generator_full: String,
    station_full: String,
}

/// One line of the first table.
struct Aim {
    figure: &'static str,
    reach: &'static str,
    reached: String,
    holds: &'static str,
    others: String,
}

struct NodeRow {
    name: &'static str,
    /// CPU µs a request of `/plain`, `/me` and the cart.
    costs: [String; 3],
    /// `/me` over its own `/plain`, over our `/plain`, over the `/plain` of axum alone.
    me: [String; 3],
    /// The cart over the same.
    cart: [String; 3],
    /// `/me` a second.
    per_second: String,
}

struct BalancerRow {
    name: &'static str,
    cost: String,
    over_bare: String,
    over_haproxy: String,
    per_second: String,
    cost_two: String,
    over_bare_two: String,
    p50: String,
    p99: String,
    idle: String,
}

struct StoreTables {
    traffic: Vec<TrafficRow>,
    in_node: Vec<(&'static str, String)>,
    in_store: Vec<(&'static str, String)>,
}

struct TrafficRow {
    name: &'static str,
    work: &'static str,
    commands: String,
    bytes_in: String,
    bytes_out: String,
    cpu: String,
}

impl<'a> Page<'a> {
    pub(crate) fn new(
        environment: &'a Environment,
        cores: &'a Cores,
        (rounds, seconds): (usize, u64),
        command: String,
        found: &Found,
    ) -> Self {
        Self {
            environment,
            cores,
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            rounds,
            seconds,
            command,
            constants: Constants {
                connections: whole(wrk::CONNECTIONS),
                sessions: whole(node::SESSIONS),
                rate: number(f64::from(fixed_rate::RATE)),
                idle: whole(balancer::IDLE),
                node_sessions: whole(store::NODE_SESSIONS),
                store_sessions: whole(store::STORE_SESSIONS),
                generator_full: format!("{:.0}", slice::GENERATOR_FULL * 100.0),
                station_full: format!("{:.0}", slice::STATION_FULL * 100.0),
            },
            aims: aims(found),
            node: found.node.as_deref().map(node_rows),
            balancer: found.balancer.as_ref().map(balancer_rows),
            store: found.store.as_ref().map(store_tables),
            excluded: excluded(found),
        }
    }

    /// `0 and 1`.
    fn others(&self) -> String {
        let cores: Vec<String> = self.cores.others.iter().map(usize::to_string).collect();
        cores.join(", ")
    }
}

/// A ratio of CPU µs a request, round by round.
fn ratio(
    all: &[Measured],
    (station, work): (&str, &str),
    (by_station, by_work): (&str, &str),
) -> Option<Spread> {
    let figures = |station: &str, work: &str| {
        let found = all
            .iter()
            .find(|measured| measured.station == station && measured.work == work);
        found.map(|measured| measured.figures(|slice| slice.cpu_us))
    };
    Spread::ratio(&figures(station, work)?, &figures(by_station, by_work)?)
}

/// A figure over the rounds of one station and one work.
fn spread(
    all: &[Measured],
    station: &str,
    work: &str,
    figure: impl Fn(&Slice) -> f64,
) -> Option<Spread> {
    let found = all
        .iter()
        .find(|measured| measured.station == station && measured.work == work)?;
    Spread::of(found.figures(figure).into_iter().flatten())
}

fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(|| NONE.into(), |spread| spread.to_string())
}

fn show_ratio(ratio: Option<Spread>) -> String {
    ratio.map_or_else(|| NONE.into(), |ratio| format!("{ratio} ×"))
}

fn median(ratio: Option<Spread>) -> String {
    ratio.map_or_else(
        || NONE.into(),
        |ratio| format!("{} ×", number(ratio.median)),
    )
}

/// Whether the median is within the aim.
fn holds(value: Option<f64>, most: f64) -> &'static str {
    match value {
        None => NONE,
        Some(value) if value <= most => "yes",
        Some(_) => "no",
    }
}

fn aims(found: &Found) -> Vec<Aim> {
    let mut aims = Vec::new();
    if let Some(all) = &found.node {
        aims.extend(node_aims(all));
    }
    if let Some(report) = &found.balancer {
        aims.extend(balancer_aims(&report.slices));
    }
    if let Some(report) = &found.store {
        aims.extend(memory_aim(report));
    }
    aims
}

fn node_aims(all: &[Measured]) -> Vec<Aim> {
    let over_own = |kind: &Kind| ratio(all, (kind.name, ME), (kind.name, PLAIN));
    let others = |kinds: &[Kind]| {
        let texts: Vec<String> = kinds
            .iter()
            .map(|kind| format!("{} {}", kind.name, median(over_own(kind))))
            .collect();
        texts.join("; ")
    };
    let aim = |figure, kind: &Kind, reach, most, beside: &[Kind]| {
        let reached = over_own(kind);
        Aim {
            figure,
            reach,
            reached: show_ratio(reached),
            holds: holds(reached.map(|ratio| ratio.median), most),
            others: others(beside),
        }
    };
    vec![
        aim(
            "`GET /me` over the node's own bare handler: sticky",
            &node::STICKY,
            "≤ 1.1 ×",
            1.1,
            &[node::TOWER_MEMORY],
        ),
        aim(
            "the same: redis",
            &node::REDIS,
            "≤ 1.4 ×",
            1.4,
            &[node::TOWER_REDIS, node::ACTIX_REDIS],
        ),
        aim(
            "the same: jwt",
            &node::JWT,
            "≤ 1.4 ×",
            1.4,
            &[node::ACTIX_COOKIE],
        ),
    ]
}

fn balancer_aims(all: &[Measured]) -> [Aim; 2] {
    let over = |name, by| ratio(all, (name, ONE_THREAD), (by, ONE_THREAD));
    let over_bare = over(OURS, BARE);
    let over_haproxy = over(OURS, HAPROXY);
    [
        Aim {
            figure: "balancer, everything on, over a bare pingora",
            reach: "≤ 1.0 ×",
            reached: show_ratio(over_bare),
            holds: holds(over_bare.map(|ratio| ratio.median), 1.0),
            others: format!("HAProxy {}", median(over(HAPROXY, BARE))),
        },
        Aim {
            figure: "balancer, everything on, over HAProxy",
            reach: "as near to 1.25 × as it can come",
            reached: show_ratio(over_haproxy),
            holds: holds(over_haproxy.map(|ratio| ratio.median), 1.25),
            others: format!(
                "bare pingora {}; nginx {}",
                median(over(BARE, HAPROXY)),
                median(over(NGINX, HAPROXY))
            ),
        },
    ]
}

fn memory_aim(report: &store::Report) -> Option<Aim> {
    let (ours, others) = report.in_node.split_first()?;
    let others: Vec<String> = others
        .iter()
        .map(|memory| format!("{} {}", memory.what, bytes(memory)))
        .collect();
    Some(Aim {
        figure: "memory a session in a node",
        reach: "≤ 600 B at 1 M",
        reached: bytes(ours),
        holds: holds(ours.bytes.as_ref().ok().copied(), 600.0),
        others: others.join("; "),
    })
}

fn node_rows(all: &[Measured]) -> Vec<NodeRow> {
    let cost = |name, work| show(spread(all, name, work, |slice| slice.cpu_us));
    let over = |name, work| {
        [name, node::STICKY.name, node::TOWER_MEMORY.name]
            .map(|by| show_ratio(ratio(all, (name, work), (by, PLAIN))))
    };
    let rows = node::ALL.iter().map(|kind| NodeRow {
        name: kind.name,
        costs: [PLAIN, ME, CART].map(|work| cost(kind.name, work)),
        me: over(kind.name, ME),
        cart: over(kind.name, CART),
        per_second: show(spread(all, kind.name, ME, |slice| slice.per_second)),
    });
    rows.collect()
}

fn balancer_rows(report: &balancer::Report) -> Vec<BalancerRow> {
    let all = &report.slices;
    let cost = |name, work| show(spread(all, name, work, |slice| slice.cpu_us));
    let over = |name, by, work| show_ratio(ratio(all, (name, work), (by, work)));
    let latency = |name, which: fn((u64, u64)) -> u64| {
        show(spread(all, name, FIXED_RATE, |slice| {
            slice.latency_us.map_or(f64::NAN, |pair| which(pair) as f64)
        }))
    };
    let rows = balancer::ALL.iter().map(|&name| {
        let idle = report.idle_bytes.iter().find(|(known, _)| *known == name);
        BalancerRow {
            name,
            cost: cost(name, ONE_THREAD),
            over_bare: over(name, BARE, ONE_THREAD),
            over_haproxy: over(name, HAPROXY, ONE_THREAD),
            per_second: show(spread(all, name, ONE_THREAD, |slice| slice.per_second)),
            cost_two: cost(name, TWO_THREADS),
            over_bare_two: over(name, BARE, TWO_THREADS),
            p50: latency(name, |(p50, _)| p50),
            p99: latency(name, |(_, p99)| p99),
            idle: idle
                .and_then(|(_, bytes)| bytes.as_ref().ok())
                .map_or_else(|| NONE.into(), |bytes| number(*bytes)),
        }
    });
    rows.collect()
}

fn store_tables(report: &store::Report) -> StoreTables {
    let traffic = report.traffic.iter().map(|traffic| {
        let commands: Vec<String> = traffic
            .commands
            .iter()
            .map(|(name, calls)| format!("{name} {}", number(*calls)))
            .collect();
        TrafficRow {
            name: traffic.station,
            work: traffic.work,
            commands: commands.join(", "),
            bytes_in: number(traffic.bytes_in),
            bytes_out: number(traffic.bytes_out),
            cpu: number(traffic.cpu_us),
        }
    });
    let lines = |memory: &[store::Memory]| {
        memory
            .iter()
            .map(|memory| (memory.what, bytes(memory)))
            .collect()
    };
    StoreTables {
        traffic: traffic.collect(),
        in_node: lines(&report.in_node),
        in_store: lines(&report.in_store),
    }
}

fn bytes(memory: &store::Memory) -> String {
    match &memory.bytes {
        Ok(bytes) => format!("{} B", number(*bytes)),
        Err(_) => NONE.into(),
    }
}

/// One line for each figure that is missing from a table.
fn excluded(found: &Found) -> Vec<String> {
    let mut lines = Vec::new();
    let slices = [
        found.node.as_ref(),
        found.balancer.as_ref().map(|report| &report.slices),
    ];
    for measured in slices.into_iter().flatten().flatten() {
        lines.extend(measured.excluded());
    }
    if let Some(report) = &found.balancer {
        for (name, bytes) in &report.idle_bytes {
            if let Err(reason) = bytes {
                lines.push(format!("{name}, idle connections: {reason}"));
            }
        }
    }
    if let Some(report) = &found.store {
        lines.extend(report.excluded.iter().cloned());
        for memory in report.in_node.iter().chain(&report.in_store) {
            if let Err(reason) = &memory.bytes {
                lines.push(format!("{}, memory a session: {reason}", memory.what));
            }
        }
    }
    lines
}

/// Whether something was measured and no round of it can be believed.
pub(crate) fn has_gap(found: &Found) -> bool {
    let slices = [
        found.node.as_ref(),
        found.balancer.as_ref().map(|report| &report.slices),
    ];
    let mut slices = slices.into_iter().flatten().flatten();
    let store = found.store.as_ref();
    slices.any(|measured| measured.rounds.iter().all(Result::is_err))
        || store.is_some_and(|report| !report.excluded.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(station: &'static str, work: &'static str, cpu_us: &[f64]) -> Measured {
        let slices = cpu_us.iter().map(|&cpu_us| {
            Ok(Slice {
                requests: 1000,
                cpu_us,
                per_second: 1e6 / cpu_us,
                latency_us: (work == FIXED_RATE).then_some((200, 900)),
            })
        });
        Measured {
            station,
            work,
            rounds: slices.collect(),
        }
    }

    fn found() -> Found {
        let mut node = vec![
            measured(node::STICKY.name, PLAIN, &[8.0, 16.0]),
            measured(node::STICKY.name, ME, &[8.8, 17.6]),
            measured(node::TOWER_MEMORY.name, PLAIN, &[6.0, 12.0]),
            measured(node::TOWER_MEMORY.name, ME, &[9.0, 18.0]),
        ];
        node[1].rounds.push(Err("no answers".into()));
        let slices = [ONE_THREAD, TWO_THREADS, FIXED_RATE]
            .into_iter()
            .flat_map(|work| {
                [(OURS, 30.0), (BARE, 25.0), (HAPROXY, 20.0)]
                    .map(|(name, cost)| measured(name, work, &[cost]))
            });
        let memory = |what, bytes| store::Memory { what, bytes };
        Found {
            node: Some(node),
            balancer: Some(balancer::Report {
                slices: slices.collect(),
                idle_bytes: vec![(OURS, Ok(5_000.0)), (BARE, Err("reset".into()))],
            }),
            store: Some(store::Report {
                traffic: vec![store::Traffic {
                    station: node::REDIS.name,
                    work: ME,
                    cpu_us: 1.1,
                    commands: vec![("evalsha".into(), 1.0)],
                    bytes_in: 150.0,
                    bytes_out: 60.0,
                }],
                in_node: vec![memory(node::STICKY.name, Ok(512.0))],
                in_store: vec![memory(node::REDIS.name, Err("full".into()))],
                excluded: vec![],
            }),
        }
    }

    fn render(found: &Found) -> String {
        let environment = Environment {
            cpu: "a CPU".into(),
            kernel: "6.1".into(),
            git: "abc".into(),
            rustc: "1.95.0".into(),
            programs: vec![("nginx", "1.22.1".into())],
            libraries: vec![("axum", "0.8.9".into())],
        };
        let cores = Cores {
            station: 0,
            wide: [0, 1],
            others: vec![1],
        };
        let command = "./lab bench --rounds 2".to_owned();
        Page::new(&environment, &cores, (2, 4), command, found)
            .render()
            .unwrap()
    }

    #[test]
    fn caveats_come_first_and_the_command_last() {
        let page = render(&found());
        let caveats = page.find("## Before you read").unwrap();
        assert!(caveats < page.find("## What was to be reached").unwrap());
        assert!(page.trim_end().ends_with("./lab bench --rounds 2\n```"));
    }

    #[test]
    fn every_figure_of_the_run_is_on_the_page() {
        let page = render(&found());
        for text in [
            "| ≤ 1.1 × | 1.10 (1.10–1.10) × | yes | tower-sessions, memory 1.50 × |",
            "| ≤ 1.0 × | 1.20 (1.20–1.20) × | no | HAProxy 0.800 × |",
            "| ≤ 600 B at 1 M | 512 B | yes |",
            "evalsha 1.00",
            "shop, sticky, GET /me, round 3: no answers",
            "bare pingora, idle connections: reset",
            "900 (900–900)",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }

    #[test]
    fn tables_have_as_many_cells_as_columns() {
        let page = render(&found());
        let mut columns = 0;
        for line in page.lines() {
            let cells = line.matches('|').count();
            if cells == 0 {
                columns = 0;
            } else if columns == 0 {
                columns = cells;
            }
            assert_eq!(cells, columns, "{line}");
        }
    }

    #[test]
    fn a_part_that_did_not_run_is_not_there() {
        let node_only = Found {
            balancer: None,
            store: None,
            ..found()
        };
        let page = render(&node_only);
        assert!(page.contains("## Node") && !page.contains("## Balancer"));
    }

    #[test]
    fn a_figure_without_any_valid_round_is_a_gap() {
        assert!(!has_gap(&found()));
        let mut found = found();
        let all = found.node.as_mut().unwrap();
        all[0].rounds = vec![Err("no answers".into())];
        assert!(has_gap(&found));
    }
}
