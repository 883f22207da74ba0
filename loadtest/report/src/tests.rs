//! What the reports must keep to, whatever the results are.

use std::fs;

use super::*;
use evidence::results::{Latency, Memory, Revocation, Verdict};
use evidence::sample;

fn rendered(results: &Results) -> [String; 3] {
    let dir = tempfile::tempdir().unwrap();
    write_all(results, dir.path()).unwrap();
    let file = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["junit.xml", "report.html", "report.md", "results.json"],
        "nothing temporary is left behind"
    );
    [
        file("report.html").replace('\u{a0}', " "),
        file("report.md"),
        terminal::table(results, 100) + &terminal::headline(results, 100),
    ]
}

fn everywhere(results: &Results, wanted: &str) {
    for (format, text) in ["HTML", "Markdown", "terminal"]
        .iter()
        .zip(rendered(results))
    {
        assert!(
            text.contains(wanted),
            "“{wanted}” is missing in {format}:\n{text}"
        );
    }
}

/// Writes the samples where a person can look at them: `LAB_SAMPLE_DIR=/some/folder cargo test -p report look_at`.
#[test]
fn samples_to_look_at() {
    let Some(dir) = std::env::var_os("LAB_SAMPLE_DIR").map(PathBuf::from) else {
        return;
    };
    for (name, results) in [
        ("one", sample::results()),
        ("three", sample::repeated()),
        ("sizes", sample::scaled()),
        ("hostile", sample::empty_and_hostile()),
    ] {
        write_all(&results, &dir.join(name)).unwrap();
        fs::write(
            dir.join(name).join("terminal.txt"),
            terminal::table(&results, 100) + "\n" + &terminal::headline(&results, 100),
        )
        .unwrap();
    }
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    for results in [
        sample::results(),
        sample::repeated(),
        sample::scaled(),
        sample::empty_and_hostile(),
    ] {
        let [html, ..] = rendered(&results);
        // An XML namespace is a name that nothing loads.
        let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for forbidden in [
            "http:",
            "https:",
            "src=",
            "<script",
            "<link",
            "<img",
            "<iframe",
            "@import",
            "@font-face",
            "javascript:",
            " onload",
            "data:",
        ] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for (at, _) in html.match_indices("url(") {
            assert!(html[at..].starts_with("url(#"), "{}", &html[at..at + 40]);
        }
        for (at, _) in html.match_indices("href=") {
            assert!(html[at..].starts_with("href=\"#"), "{}", &html[at..at + 40]);
        }
    }
}

/// What a reader came for stands first: after the caveats and the verdict, before anything else.
#[test]
fn the_key_figures_and_the_small_timelines_open_the_report() {
    for results in [sample::results(), sample::repeated()] {
        let [html, markdown, terminal] = rendered(&results);
        let in_order = |text: &str, wanted: &[&str]| {
            let places: Vec<usize> = wanted
                .iter()
                .map(|words| {
                    text.find(words)
                        .unwrap_or_else(|| panic!("{words}: {text}"))
                })
                .collect();
            assert!(places.is_sorted(), "{wanted:?} are at {places:?}");
        };
        in_order(
            &html,
            &[
                "Every expectation held.",
                "Read this first",
                "Logins lost, of live logins",
                "id=\"multiple-0-title\"",
                "id=\"multiple-2-title\"",
                "What was run",
                "id=\"timeline-0-0-title\"",
            ],
        );
        in_order(
            &markdown,
            &["Verdict", "Read this first", "Logins lost", "What was run"],
        );
        in_order(&terminal, &["! The generator", "Logins lost", "Traffic"]);
        for text in [html, markdown, terminal] {
            assert_eq!(text.matches("CPU per request (cluster)").count(), 1);
            assert!(text.contains("★ best and ▼ worst of a row"), "{text}");
        }
    }
}

/// A mark is a sign and a word: colour alone would be lost in print and on many eyes.
#[test]
fn marks_are_more_than_a_colour() {
    let [html, markdown, terminal] = rendered(&sample::results());
    assert!(html.contains(
        "<td class=\"worst\"><span class=\"sign\" role=\"img\" aria-label=\"worst\">▼</span>&nbsp;51 of 150</td>"
    ));
    for text in [markdown, terminal] {
        assert!(text.contains("▼ 51 of 150"), "{text}");
    }
}

#[test]
fn sizes_of_cluster_have_a_part_of_their_own_and_nothing_else_mixes_them() {
    let results = sample::scaled();
    for wanted in [
        "From 1 node to 8 nodes throughput grew × ",
        "Refused figures: redis with 8 nodes.",
        "No law was fitted to redis: 4 sizes of cluster",
        "In jwt the nodes limit; with ",
        "σ, contention",
        "Demand per request",
        "refused",
    ] {
        everywhere(&results, wanted);
    }
    let columns = table::columns(&results);
    assert!(columns.iter().all(|column| column.runs.len() == 1));
    assert!(columns.iter().all(|column| column.runs[0].nodes == 8));
    assert_eq!(table::all_columns(&results)[0].runs.len(), 5);
    let [html, ..] = rendered(&results);
    assert!(html.contains("Throughput by nodes, all strategies"));
    let [html, ..] = rendered(&sample::results());
    assert!(!html.contains("Scale-out"), "one size has no such part");
}

#[test]
fn text_from_outside_stays_text() {
    let results = sample::empty_and_hostile();
    let [html, markdown, _] = rendered(&results);
    assert!(html.contains("alert(1)"), "it is shown");
    assert!(!html.contains("<script"), "and not executed");
    let (markdown, _code) = markdown.split_once("```").unwrap();
    assert!(
        !markdown.contains("<script"),
        "nor on a page made from the Markdown, outside of its code"
    );
    assert!(
        !markdown
            .lines()
            .any(|line| line.starts_with('|') && line.contains("\" | `")),
        "a bar cannot open a cell"
    );
}

#[test]
fn results_without_figures_give_a_report_without_figures() {
    let mut none = sample::results();
    none.runs.clear();
    let none = none.judged();
    for results in [sample::empty_and_hostile(), none] {
        for text in rendered(&results) {
            let lower = text.to_lowercase();
            for nonsense in ["nan", "inf ", "infinity", "18,446,744"] {
                assert!(!lower.contains(nonsense), "{nonsense} in\n{text}");
            }
        }
    }
    let mut none = sample::results();
    none.runs.clear();
    everywhere(&none.judged(), "No run was completed");
}

#[test]
fn what_was_not_measured_is_a_dash_and_never_zero() {
    let mut results = sample::results();
    for run in &mut results.runs {
        run.latency_us = Some(Latency {
            p50: 7,
            p90: None,
            p99: None,
            p999: None,
            max: 9,
        });
        run.throughput_rps = None;
        run.cost_us_per_request.generator = None;
    }
    let columns = table::columns(&results);
    let table = comparison::figures(&columns, &results.summary);
    for label in ["p90", "p99", "p99.9", "Throughput", "Generator"] {
        let row = table
            .groups
            .iter()
            .flat_map(|group| &group.rows)
            .find(|row| row.label == label)
            .unwrap();
        assert!(
            row.cells.iter().all(|cell| cell.text == "–"),
            "{label}: {:?}",
            row.cells
        );
    }
    everywhere(&results, "– not measured");
}

#[test]
fn a_strategy_without_a_store_has_no_store_and_not_a_gap() {
    let results = sample::results();
    let table = comparison::figures(&table::columns(&results), &results.summary);
    let texts = |label: &str| -> Vec<String> {
        let row = table
            .groups
            .iter()
            .flat_map(|group| &group.rows)
            .find(|row| row.label == label)
            .unwrap();
        row.cells.iter().map(|cell| cell.text.clone()).collect()
    };
    assert_eq!(texts("Store operations"), ["no store", "1.04", "no store"]);
}

/// Each figure of the table is changed to a value that stands nowhere else, and must then stand in all formats.
#[test]
fn every_figure_is_computed_from_the_results() {
    type Change = fn(&mut evidence::results::Run);
    let changes: &[(Change, &str)] = &[
        (|run| run.requests.total = 7_654_321, "7,654,321"),
        (|run| run.throughput_rps = Some(6_543.2), "6,540"),
        (|run| run.goodput_rps = Some(5_432.1), "5,430"),
        (|run| run.requests.failed = 4_321, "4,321 ("),
        (|run| run.requests.failed_idempotent = 3_217, "3,217"),
        (|run| run.requests.retried_by_balancer = 9_871, "9,871"),
        (|run| run.logins_again = 8_713, "8,713"),
        (|run| run.latency_us.as_mut().unwrap().p50 = 2_347, "2.35"),
        (
            |run| run.latency_us.as_mut().unwrap().p90 = Some(3_457),
            "3.46",
        ),
        (
            |run| run.latency_us.as_mut().unwrap().p99 = Some(6_781),
            "6.78",
        ),
        (
            |run| run.latency_us.as_mut().unwrap().p999 = Some(7_890),
            "7.89",
        ),
        (|run| run.latency_us.as_mut().unwrap().max = 987_654, "988"),
        (
            |run| run.cost_us_per_request.load_balancer = Some(777.0),
            "777",
        ),
        (|run| run.cost_us_per_request.node = Some(666.0), "666"),
        (|run| run.cost_us_per_request.store = Some(555.0), "555"),
        (|run| run.cost_us_per_request.generator = Some(444.0), "444"),
        (|run| run.bytes_per_request.sent = Some(2_220.0), "2,220"),
        (
            |run| run.bytes_per_request.received = Some(3_330.0),
            "3,330",
        ),
        (|run| run.store_operations_per_request = Some(6.66), "6.66"),
        (
            |run| {
                run.memory_bytes_per_session = Memory {
                    node: Some(1_230.0),
                    store: Some(1.0),
                }
            },
            "1,230",
        ),
        (
            |run| run.memory_bytes_per_session.store = Some(4_560.0),
            "4,560",
        ),
        (|run| run.faults[0].sessions_lost = 37, "37 of 150 (25 %)"),
        (
            |run| run.faults[0].sessions_lost_on_target = 29,
            "29 of 51 (57 %)",
        ),
        (|run| run.faults[0].cart_lines_lost = 77, "77 of 402 (19 %)"),
        (|run| run.faults[0].failed_requests = 8_642, "8,642"),
        (|run| run.faults[0].unavailable_ms = 6_420, "6,420"),
        (|run| run.faults[0].detection_ms = Some(3_210), "3,210"),
        (|run| run.faults[0].recovery_ms = Some(7_530), "7,530"),
        (
            |run| run.faults[0].undone_ms = Some(10_012 + 9_510),
            "9,510",
        ),
        (|run| run.faults[0].error_seconds = Some(8.77), "8.77"),
        (
            |run| run.faults[0].relogin_amplification = Some(6.54),
            "6.54",
        ),
        (|run| run.faults[0].throughput_rps = Some(4_560.0), "4,560"),
        (|run| run.faults[0].goodput_rps = Some(4_440.0), "4,440"),
        (
            |run| {
                run.faults[0]
                    .failed_by_cause
                    .insert("timed_out".to_owned(), 7_531);
            },
            "7,531",
        ),
        (
            |run| run.failure_latency_us = run.latency_us.map(|l| Latency { max: 876_000, ..l }),
            "876",
        ),
        (
            |run| {
                run.revocation_ms = Some(Revocation {
                    p50: 2_460,
                    max: 2_470,
                });
            },
            "2,460",
        ),
    ];
    for (change, wanted) in changes {
        let mut results = sample::results();
        results.runs.truncate(2);
        change(&mut results.runs[1]);
        everywhere(&results, wanted);
    }
}

#[test]
fn repeats_show_each_run_and_the_median() {
    let mut results = sample::repeated();
    for (run, rps) in results
        .runs
        .iter_mut()
        .filter(|run| run.strategy == "redis")
        .zip([701.0, 907.0, 803.0])
    {
        run.throughput_rps = Some(rps);
    }
    for text in rendered(&results) {
        let each = ["701", "907", "803"].map(|rps| text.matches(rps).count());
        assert!(
            each[0] >= 1 && each[1] >= 1 && each[2] >= 2,
            "{each:?} in\n{text}"
        );
    }
}

#[test]
fn the_verdict_and_its_reasons_are_shown() {
    let mut results = sample::results();
    results.verdict = Verdict::Invalid;
    results.reasons = vec!["The generator used more CPU than the cluster.".to_owned()];
    everywhere(&results, "do not use these figures");
    everywhere(&results, "The generator used more CPU than the cluster.");
    results.verdict = Verdict::Fail;
    everywhere(&results, "An expectation failed.");
}

#[test]
fn expectations_and_theory_stand_beside_what_was_observed() {
    let mut results = sample::results();
    results.runs[1].anomalies.leak = 4_321;
    let results = results.judged();
    everywhere(&results, "4321 leak");
    everywhere(&results, "unavailable");
    let [html, markdown, _] = rendered(&results);
    for text in [&html, &markdown] {
        assert!(
            text.contains(
                "Predicted: session lost, line lost. Seen: 137 line lost, 51 session lost."
            ),
            "{text}"
        );
        assert!(
            text.contains("4,321 leak"),
            "the matrix shows what it does not predict"
        );
        assert!(text.contains("The session lives in the memory of one process and dies with it."));
    }
}

#[test]
fn repeats_are_compared_and_single_runs_are_not() {
    assert!(Document::of(&sample::results()).pairs.is_none());
    let mut results = sample::repeated();
    // The terminal breaks lines wherever it must.
    let said = |results: &Results, words: &str| {
        let [html, markdown, _] = rendered(results);
        assert!(
            html.contains(words) && markdown.contains(words),
            "{markdown}"
        );
    };
    said(&results, "too few runs to say");
    results.runs.extend(sample::repeated().runs);
    said(&results.judged(), "no difference shown");
}

#[test]
fn that_somebody_stopped_it_stands_before_everything_else() {
    let mut results = sample::results();
    let first = |results: &Results| Document::of(results).caveats[0].clone();
    assert!(!first(&results).contains("Stopped"));
    results.runs_planned = 9;
    assert_eq!(
        first(&results),
        "Stopped by hand after 3 of 9 runs; the rest was not measured."
    );
    results.stopped_because = Some("run 4 (redis) failed: no store".to_owned());
    assert_eq!(
        first(&results),
        "Only 3 of 9 runs finished: run 4 (redis) failed: no store. The rest was not measured."
    );
}

#[test]
fn an_invalid_generator_is_the_first_caveat() {
    let mut results = sample::results();
    results.runs[1].generator.valid = false;
    results.runs[1].generator.reason = Some("it was saturated".to_owned());
    let document = Document::of(&results);
    assert_eq!(
        document.caveats[0],
        "Do not use the figures of redis, run 1: it was saturated"
    );
}

#[test]
fn the_terminal_table_keeps_to_its_width() {
    for results in [sample::results(), sample::repeated()] {
        for width in [72, 80, 100] {
            let text = terminal::table(&results, width);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(
                widest <= usize::from(width),
                "{widest} columns of {width}:\n{text}"
            );
        }
    }
}
