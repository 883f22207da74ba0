//! The few figures that decide between strategies, in one small table. It opens every report, so that a reader has the
//! answer before the details; what stands here is not repeated below.
//!
//! In all of these figures less is better. The best and the worst of a row are marked only where every run of that strategy
//! lies beyond every run of all others: anything less could be noise. Equal figures and missing ones are not marked.

use super::table::{Cell, Column, Mark, Row, Table, group, largest};
use evidence::format::{self, TimeUnit, figure};
use evidence::results::{Fault, Latency, Results, Run, Verdict};
use evidence::statistics::median;

/// One row for each figure.
pub(super) fn table(columns: &[Column<'_>], results: &Results) -> Table {
    let mut rows = losses(columns);
    rows.extend(latencies(columns));
    rows.extend(costs(columns));
    rows.push(logout(columns));
    if results.verdict == Verdict::Invalid {
        // Figures that must not be used have no winner.
        for cell in rows.iter_mut().flat_map(|row| &mut row.cells) {
            cell.mark = None;
        }
    }
    Table {
        caption: "Less is better in every row.",
        words: false,
        spread: true,
        columns: columns
            .iter()
            .map(|column| column.strategy.to_owned())
            .collect(),
        groups: vec![group("", rows)],
    }
}

fn losses(columns: &[Column<'_>]) -> Vec<Row> {
    vec![
        parts("Logins lost, of live logins", columns, loss, |run| {
            let lost = run.anomalies.session_lost;
            let at_risk = at_risk(run, lost, |fault| {
                (fault.sessions_lost, fault.sessions_live)
            });
            (lost, at_risk)
        }),
        parts("Cart lines lost, of acknowledged", columns, loss, |run| {
            let lost = run.anomalies.line_lost;
            let at_risk = at_risk(run, lost, |fault| {
                (fault.cart_lines_lost, fault.cart_lines_acknowledged)
            });
            (lost, at_risk)
        }),
        parts("Failed requests", columns, format::with_share, |run| {
            (run.requests.failed, run.requests.total)
        }),
    ]
}

/// What could have been lost in the faults of a run; 0 where something was lost apart from any fault, for then there is no
/// such whole.
fn at_risk(run: &Run, lost: u64, of_fault: fn(&Fault) -> (u64, u64)) -> u64 {
    let (lost_in_faults, at_risk) = run
        .faults
        .iter()
        .map(of_fault)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if lost == lost_in_faults { at_risk } else { 0 }
}

/// `51 of 150`, or `51` without a whole.
fn loss(lost: u64, of: u64) -> String {
    match of {
        0 => format::count(lost),
        of => format!("{} of {}", format::count(lost), format::count(of)),
    }
}

/// One of the percentiles.
type Percentile = fn(&Latency) -> Option<u64>;

fn latencies(columns: &[Column<'_>]) -> Vec<Row> {
    // In an open loop a request that was sent late has been waiting for its answer since it was due.
    let is_open = |run: &Run| run.generator.arrivals.is_some();
    let from_schedule = columns
        .iter()
        .flat_map(|column| &column.runs)
        .any(|run| is_open(run));
    let at = move |run: &Run, percentile: Percentile| {
        let latency = if from_schedule {
            run.response_us.filter(|_| is_open(run))
        } else {
            run.latency_us
        };
        percentile(&latency?).map(|us| us as f64)
    };
    let name = if from_schedule {
        "response time from schedule"
    } else {
        "latency"
    };
    let percentiles: [(&str, Percentile); 2] = [
        ("p50", |latency| Some(latency.p50)),
        ("p99", |latency| latency.p99),
    ];
    let slowest = percentiles
        .iter()
        .map(|(_, percentile)| largest(columns, |run| at(run, *percentile)))
        .fold(0.0, f64::max);
    let unit = TimeUnit::for_largest(slowest);
    let row = |(label, percentile): (&str, Percentile)| {
        numbers(
            format!("{label} {name}"),
            unit.name(),
            columns,
            |run| at(run, percentile),
            |us| unit.show(us),
        )
    };
    percentiles.into_iter().map(row).collect()
}

fn costs(columns: &[Column<'_>]) -> Vec<Row> {
    let bytes = |run: &Run| Some(run.bytes_per_request.sent? + run.bytes_per_request.received?);
    vec![
        numbers(
            "CPU per request (cluster)",
            "µs",
            columns,
            Run::cluster_cpu_us,
            figure,
        ),
        numbers("Bytes per request", "", columns, bytes, figure),
        numbers(
            "Memory per session (empty cart)",
            "bytes",
            columns,
            Run::session_memory_bytes,
            figure,
        ),
    ]
}

fn logout(columns: &[Column<'_>]) -> Row {
    let longest = |run: &Run| run.revocation_ms.map(|alive| alive.max as f64 * 1e3);
    let unit = TimeUnit::for_largest(largest(columns, longest));
    numbers(
        "Time until a logout counts",
        unit.name(),
        columns,
        longest,
        |us| unit.show(us),
    )
}

/// What the runs of one strategy showed.
struct Measured {
    cell: Cell,
    /// The lowest and the highest run; `None` where none was measured.
    range: Option<(f64, f64)>,
    /// Whether every run has the figure: a missing one could be the best or the worst.
    complete: bool,
}

fn numbers(
    label: impl Into<String>,
    unit: &'static str,
    columns: &[Column<'_>],
    value: impl Fn(&Run) -> Option<f64>,
    show: impl Fn(f64) -> String,
) -> Row {
    let measured = columns.iter().map(|column| {
        let mut values: Vec<f64> = column.runs.iter().filter_map(|run| value(run)).collect();
        values.sort_by(f64::total_cmp);
        let text = median(&values).map(&show);
        let shown: Vec<String> = values.iter().map(|value| show(*value)).collect();
        measured(text, &values, &shown, column.runs.len())
    });
    let measured: Vec<Measured> = measured.collect();
    // What reads the same is the same.
    row(label, unit, measured, |a, b| a < b && show(a) != show(b))
}

fn parts(
    label: &str,
    columns: &[Column<'_>],
    show: fn(u64, u64) -> String,
    value: impl Fn(&Run) -> (u64, u64),
) -> Row {
    let all: Vec<Vec<(u64, u64)>> = columns
        .iter()
        .map(|column| column.runs.iter().map(|run| value(run)).collect())
        .collect();
    // Shares can only be compared with shares.
    let has_wholes = all.iter().flatten().all(|(_, whole)| *whole > 0);
    let size = |(part, whole): &(u64, u64)| {
        if has_wholes {
            *part as f64 / *whole as f64
        } else {
            *part as f64
        }
    };
    let measured = all.into_iter().map(|mut runs| {
        runs.sort_by(|a, b| size(a).total_cmp(&size(b)));
        // The run in the middle stands for all: parts and wholes of different runs do not mix.
        let middle = runs.get(runs.len().saturating_sub(1) / 2);
        let text = middle.map(|(part, whole)| show(*part, *whole));
        let sizes: Vec<f64> = runs.iter().map(size).collect();
        let shown: Vec<String> = runs.iter().map(|(part, _)| format::count(*part)).collect();
        measured(text, &sizes, &shown, runs.len())
    });
    let measured: Vec<Measured> = measured.collect();
    row(label, "", measured, |a, b| a < b)
}

/// `values` and how they are `shown`, from the lowest to the highest.
fn measured(text: Option<String>, values: &[f64], shown: &[String], runs: usize) -> Measured {
    let complete = values.len() == runs;
    let mut cell = text.map_or_else(Cell::gap, Cell::words);
    if let (Some(low), Some(high)) = (shown.first(), shown.last())
        && low != high
    {
        cell.runs.push(format!("{low}–{high}"));
    }
    if !complete && !values.is_empty() {
        cell.runs.push(format::NOT_MEASURED.to_owned());
    }
    Measured {
        cell,
        range: values.first().copied().zip(values.last().copied()),
        complete,
    }
}

fn row(
    label: impl Into<String>,
    unit: &'static str,
    mut measured: Vec<Measured>,
    is_less: impl Fn(f64, f64) -> bool,
) -> Row {
    let marks: Vec<Option<Mark>> = (0..measured.len())
        .map(|index| mark(&measured, index, &is_less))
        .collect();
    for (one, mark) in measured.iter_mut().zip(marks) {
        one.cell.mark = mark;
    }
    let cells = measured.into_iter().map(|one| one.cell).collect();
    Row::of(label, unit, cells)
}

fn mark(all: &[Measured], index: usize, is_less: impl Fn(f64, f64) -> bool) -> Option<Mark> {
    let own = all.get(index).filter(|own| own.complete)?;
    let (low, high) = own.range?;
    let others: Vec<(f64, f64)> = all
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .filter_map(|(_, other)| other.range)
        .collect();
    if others.is_empty() {
        return None;
    }
    if others.iter().all(|(lowest, _)| is_less(high, *lowest)) {
        Some(Mark::Best)
    } else if others.iter().all(|(_, highest)| is_less(*highest, low)) {
        Some(Mark::Worst)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;
    use evidence::results::Revocation;
    use evidence::sample;

    fn row_of(results: &Results, label: &str) -> Vec<(String, Option<Mark>)> {
        let table = super::table(&table::columns(results), results);
        let mut rows = table.groups.into_iter().flat_map(|group| group.rows);
        let row = rows.find(|row| row.label.starts_with(label)).unwrap();
        row.cells
            .into_iter()
            .map(|cell| (cell.text, cell.mark))
            .collect()
    }

    fn marks(results: &Results, label: &str) -> Vec<Option<Mark>> {
        let cells = row_of(results, label).into_iter();
        cells.map(|(_, mark)| mark).collect()
    }

    /// The sample with this p99 in sticky, redis and jwt.
    fn with_p99(p99: [Option<u64>; 3]) -> Results {
        let mut results = sample::results();
        for (run, p99) in results.runs.iter_mut().zip(p99) {
            run.generator.arrivals = None;
            run.latency_us.as_mut().unwrap().p99 = p99;
        }
        results
    }

    /// The sample with this CPU per request in the runs of sticky, redis and jwt.
    fn with_cpu(cpu: [[f64; 3]; 3]) -> Results {
        let mut results = sample::repeated();
        for (strategy, cpu) in ["sticky", "redis", "jwt"].into_iter().zip(cpu) {
            let runs = results
                .runs
                .iter_mut()
                .filter(|run| run.strategy == strategy);
            for (run, cpu) in runs.zip(cpu) {
                run.cost_us_per_request.load_balancer = Some(0.0);
                run.cost_us_per_request.store = Some(0.0);
                run.cost_us_per_request.node = Some(cpu);
            }
        }
        results
    }

    #[test]
    fn the_best_and_the_worst_are_marked() {
        let results = with_p99([Some(2_000), Some(3_000), Some(1_000)]);
        assert_eq!(
            row_of(&results, "p99"),
            [
                ("2.00".to_owned(), None),
                ("3.00".to_owned(), Some(Mark::Worst)),
                ("1.00".to_owned(), Some(Mark::Best)),
            ]
        );
    }

    #[test]
    fn equal_figures_are_not_marked() {
        let best_tied = with_p99([Some(1_000), Some(1_000), Some(2_000)]);
        assert_eq!(marks(&best_tied, "p99"), [None, None, Some(Mark::Worst)]);
        let worst_tied = with_p99([Some(2_000), Some(1_000), Some(2_000)]);
        assert_eq!(marks(&worst_tied, "p99"), [None, Some(Mark::Best), None]);
        let equal = with_p99([Some(1_000); 3]);
        assert_eq!(marks(&equal, "p99"), [None; 3]);
        let printed_alike = with_p99([Some(100_010), Some(100_020), Some(200_000)]);
        assert_eq!(
            marks(&printed_alike, "p99"),
            [None, None, Some(Mark::Worst)]
        );
    }

    #[test]
    fn missing_figures_are_not_marked() {
        let one_missing = with_p99([None, Some(3_000), Some(1_000)]);
        assert_eq!(
            row_of(&one_missing, "p99"),
            [
                ("–".to_owned(), None),
                ("3.00".to_owned(), Some(Mark::Worst)),
                ("1.00".to_owned(), Some(Mark::Best)),
            ]
        );
        let one_left = with_p99([None, Some(3_000), None]);
        assert_eq!(marks(&one_left, "p99"), [None; 3], "nothing to compare");
        assert_eq!(marks(&with_p99([None; 3]), "p99"), [None; 3]);
    }

    #[test]
    fn runs_that_overlap_are_not_marked() {
        let apart = with_cpu([[20.0, 21.0, 22.0], [30.0, 31.0, 35.0], [10.0, 19.0, 11.0]]);
        assert_eq!(
            marks(&apart, "CPU"),
            [None, Some(Mark::Worst), Some(Mark::Best)]
        );
        let overlap = with_cpu([[20.0, 21.0, 22.0], [30.0, 31.0, 35.0], [10.0, 20.5, 11.0]]);
        assert_eq!(marks(&overlap, "CPU"), [None, Some(Mark::Worst), None]);
    }

    #[test]
    fn a_strategy_with_a_run_that_lacks_the_figure_is_not_marked() {
        let mut results = with_cpu([[20.0, 21.0, 22.0], [30.0, 31.0, 35.0], [10.0, 12.0, 11.0]]);
        let mut jwt = results.runs.iter_mut().filter(|run| run.strategy == "jwt");
        jwt.next().unwrap().cost_us_per_request.node = None;
        assert_eq!(marks(&results, "CPU"), [None, Some(Mark::Worst), None]);
    }

    #[test]
    fn losses_are_compared_by_share_and_none_is_as_good_as_none() {
        let mut results = sample::results();
        results.runs[2].faults[0].sessions_live = 90;
        assert_eq!(
            row_of(&results, "Logins lost"),
            [
                ("51 of 150".to_owned(), Some(Mark::Worst)),
                ("0 of 150".to_owned(), None),
                ("0 of 90".to_owned(), None),
            ]
        );
        results.runs[2].anomalies.session_lost = 51;
        results.runs[2].faults[0].sessions_lost = 51;
        assert_eq!(
            marks(&results, "Logins lost"),
            [None, Some(Mark::Best), Some(Mark::Worst)]
        );
        results.runs[2].anomalies.session_lost = 52;
        assert_eq!(
            row_of(&results, "Logins lost")[2],
            ("52".to_owned(), Some(Mark::Worst)),
            "one was lost apart from any fault"
        );
    }

    #[test]
    fn a_logout_that_counts_at_once_is_a_measurement() {
        let mut results = sample::results();
        results.runs[0].revocation_ms = Some(Revocation { p50: 0, max: 0 });
        assert_eq!(
            row_of(&results, "Time until a logout counts"),
            [
                ("0".to_owned(), Some(Mark::Best)),
                ("–".to_owned(), None),
                ("1,800".to_owned(), Some(Mark::Worst)),
            ]
        );
    }

    #[test]
    fn an_invalid_measurement_has_no_best() {
        let mut results = with_p99([Some(2_000), Some(3_000), Some(1_000)]);
        results.verdict = Verdict::Invalid;
        assert_eq!(marks(&results, "p99"), [None; 3]);
    }

    #[test]
    fn several_runs_show_their_range() {
        let results = with_cpu([[20.0, 22.0, 21.0], [30.0; 3], [10.0, 12.0, 11.0]]);
        let table = super::table(&table::columns(&results), &results);
        let row = table.groups[0]
            .rows
            .iter()
            .find(|row| row.label.starts_with("CPU"))
            .unwrap();
        assert_eq!(row.cells[0].text, "21.0");
        assert_eq!(row.cells[0].runs, ["20.0–22.0"]);
        assert!(row.cells[1].runs.is_empty());
    }

    #[test]
    fn an_open_loop_is_compared_by_response_times_from_schedule() {
        let mut results = sample::results();
        for run in &mut results.runs {
            run.generator.arrivals = Some(evidence::results::Arrivals::default());
            run.latency_us.as_mut().unwrap().p50 = 11_100;
            run.response_us.as_mut().unwrap().p50 = 77_700;
        }
        let cells = row_of(&results, "p50 response time from schedule");
        assert!(cells.iter().all(|(text, _)| text == "77.7"), "{cells:?}");
        for run in &mut results.runs {
            run.generator.arrivals = None;
        }
        let cells = row_of(&results, "p50 latency");
        assert!(cells.iter().all(|(text, _)| text == "11.1"), "{cells:?}");
    }
}
