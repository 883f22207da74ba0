//! The plan as text: inputs with their origins, then for each number of sessions a table and the arithmetic.

use std::fmt::Write as _;

use super::arithmetic::{Needs, needs, traffic_bytes};
use super::inputs::{Inputs, STORE_BYTES, WANTED, read};
use super::targets::Targets;
use super::units::{bandwidth, bytes, number, plain};
use evidence::format::figure;
use evidence::results::Results;

/// The whole text, ending in a line break.
pub fn of(files: &[(String, Results)], targets: &Targets) -> String {
    let inputs = read(files);
    let mut out = String::from("What goes in\n\n");
    out += &measured(&inputs);
    out.push('\n');
    for (index, (path, results)) in files.iter().enumerate() {
        let _ = writeln!(
            out,
            "[{}] {path}: {}, {}, {} cores, {}; its verdict: {}",
            index + 1,
            results.scenario,
            results.started_at,
            results.environment.cores,
            work(results),
            verdict(results),
        );
    }
    out +=
        "–   such a figure does not exist there, or no file has a believable one (said below)\n\n";
    for target in targets.all() {
        let value = target.value.map_or_else(|| "missing".to_owned(), plain);
        let origin = match (target.given, target.value) {
            (true, _) => "given",
            (false, Some(_)) => "assumed",
            (false, None) => "give it",
        };
        let _ = writeln!(
            out,
            "{:<42}{value:>9}  {origin}: {}",
            target.meaning, target.flag
        );
    }
    out += "\nCalculated with all digits, printed with three.\n";
    let leanest = inputs.iter().filter_map(traffic_bytes).reduce(f64::min);
    for sessions in targets.sessions() {
        let all: Vec<(&Inputs, Needs)> = inputs
            .iter()
            .map(|inputs| (inputs, needs(inputs, targets, sessions, leanest)))
            .collect();
        let title = format!("{} sessions", number(sessions as f64));
        let _ = write!(out, "\n{title}\n{}\n\n", "═".repeat(title.chars().count()));
        out += &overview(&all);
        for (inputs, needs) in &all {
            let _ = write!(out, "\n{}\n", inputs.strategy);
            out += &arithmetic(needs);
        }
    }
    out
}

/// The work that the requests of a file did beside the session's.
fn work(results: &Results) -> String {
    let said = results.settings.get("work per request");
    said.map_or_else(|| "work unknown".to_owned(), |work| format!("work {work}"))
}

fn verdict(results: &Results) -> &'static str {
    match results.verdict {
        evidence::results::Verdict::Pass => "pass",
        evidence::results::Verdict::Fail => "fail",
        evidence::results::Verdict::Invalid => "invalid; refused runs are not used",
    }
}

fn measured(inputs: &[Inputs]) -> String {
    let mut rows = vec![header(inputs.iter())];
    for (name, label) in WANTED {
        let mut row = vec![label.to_owned()];
        row.extend(inputs.iter().map(|inputs| match inputs.get(name) {
            Some(found) if inputs.has(name) => {
                format!("{} [{}]", figure(found.value), found.file + 1)
            }
            _ => "–".to_owned(),
        }));
        rows.push(row);
    }
    grid(&rows)
}

fn header<'a>(inputs: impl Iterator<Item = &'a Inputs>) -> Vec<String> {
    let mut header = vec![String::new()];
    header.extend(inputs.map(|inputs| inputs.strategy.clone()));
    header
}

fn overview(all: &[(&Inputs, Needs)]) -> String {
    let row = |label: &str, needs_store: bool, cell: &dyn Fn(&Needs) -> Option<String>| {
        let mut row = vec![label.to_owned()];
        row.extend(all.iter().map(|(inputs, needs)| {
            if needs_store && !inputs.has(STORE_BYTES) {
                return "no store".to_owned();
            }
            cell(needs).unwrap_or_else(|| "missing".to_owned())
        }));
        row
    };
    grid(&[
        header(all.iter().map(|(inputs, _)| *inputs)),
        row("nodes", false, &|needs| needs.nodes.map(number)),
        row("load balancer, cores", false, &|needs| {
            needs.balancer_cores.map(figure)
        }),
        row("store, shards", true, &|needs| needs.shards.map(number)),
        row("store, memory with copies", true, &|needs| {
            needs.store_bytes.map(bytes)
        }),
        row("traffic with clients", false, &|needs| {
            needs.bits_a_second.map(bandwidth)
        }),
        row("logins/s after a lost node", false, &|needs| {
            needs.logins_a_second.map(figure)
        }),
    ])
}

fn arithmetic(needs: &Needs) -> String {
    let mut out = String::new();
    for line in &needs.lines {
        let result = match line.result.as_str() {
            "" => String::new(),
            result => format!(" = {result}"),
        };
        let _ = writeln!(out, "  {:<20}{}{result}", line.what, line.how);
    }
    for name in &needs.missing {
        let _ = writeln!(out, "  {:<20}{}", "missing", missing(name));
    }
    out
}

/// What is missing, and where to get it.
fn missing(name: &str) -> String {
    if name.starts_with("--") {
        return format!("{name}: no file can know it, and nothing is guessed");
    }
    let label = WANTED
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(name, |(_, label)| label);
    let source = if name.starts_with("memory") {
        "`lab run memory` measures it"
    } else {
        "a valid run of any scenario measures it"
    };
    format!("{label}: in none of the files; {source}; give its results, too")
}

/// Columns as wide as their widest cell, numbers to the right.
fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            if index == 0 {
                line += cell;
                line += &pad;
            } else {
                line += "   ";
                line += &pad;
                line += cell;
            }
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use evidence::sample;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        targets: Targets,
    }

    fn targets(flags: &str) -> Targets {
        let words = std::iter::once("lab").chain(flags.split_whitespace());
        Flags::parse_from(words).targets
    }

    fn page(flags: &str) -> String {
        of(
            &[("results.json".into(), sample::results())],
            &targets(flags),
        )
    }

    #[test]
    fn every_input_has_its_origin_and_every_result_its_arithmetic() {
        let page = page("--sessions 1000000 --node-cores 2 --login-ms 20");
        for wanted in [
            "[1] results.json: demo, 2026-01-15T09:30:00Z, 2 cores",
            "given: --node-cores",
            "assumed: --busy",
            "1,000,000 sessions × 1 a minute ÷ 60 = 16,700",
            // 16,667/s × 119 µs ÷ 0.6 = 3.30 cores = 2 nodes of 2, and one more.
            "16,700/s × 119 µs ÷ 0.6 busy = 3.30 cores",
            "3.30 ÷ 2 cores = 2 and 564 MB ÷ 4 GiB = 1; and one that may be lost = 3 nodes",
            "1,000,000 sessions ÷ 3 nodes = 333,334 are lost; ÷ 60 s = 5,560 logins/s",
            "5,560 logins/s × 20 ms = 111 cores",
            "1,000,000 sessions × 872 bytes × 2 copies = 1.74 GB",
            "sessions survive it (declared)",
            "no store",
        ] {
            assert!(page.contains(wanted), "“{wanted}” is missing in\n{page}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_made_of_it() {
        let mut results = sample::results();
        for run in &mut results.runs {
            run.memory_bytes_per_session.node = None;
            run.memory_bytes_per_session.store = None;
        }
        let page = of(&[("a.json".into(), results)], &targets("--sessions 1000"));
        assert!(page.contains(
            "nodes, bytes per session: in none of the files; `lab run memory` measures it"
        ));
        assert!(page.contains("store, bytes per session: in none of the files"));
        let nodes = page
            .lines()
            .find(|line| line.starts_with("nodes  "))
            .unwrap();
        assert_eq!(nodes.split_whitespace().nth(1), Some("missing"), "{page}");
        // Without memory in the store there are no shards, but its cores are known.
        assert!(page.contains("store, CPU"));
        assert!(!page.contains("store, memory       "));
    }

    #[test]
    fn the_cost_of_a_login_is_never_guessed() {
        let page = page("--sessions 1000");
        assert!(page.contains("missing  give it: --login-ms"));
        assert!(page.contains("--login-ms: no file can know it"));
        assert!(!page.contains("their passwords"));
    }

    #[test]
    fn a_peak_below_the_plan_is_said() {
        let mut results = sample::scaled();
        for scale in &mut results.scale_out {
            if let Some(fit) = &mut scale.fit {
                fit.peak_nodes = Some(96.5);
                fit.kappa.low = 1e-5;
            }
        }
        let files = [("a.json".into(), results)];
        let small = of(&files, &targets("--sessions 1000000"));
        assert!(!small.contains("has its maximum"));
        let large = of(&files, &targets("--sessions 1000000000"));
        assert!(
            large.contains("that fits 8 nodes and fewer has its maximum at 96.5:"),
            "{large}"
        );
    }
}
