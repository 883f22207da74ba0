//! A node's program of somebody else: the lab asks it which strategies it serves, and measures them like ours.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::process::{Command, Output};

use evidence::results::{Results, Verdict};
use tempfile::TempDir;
use tests::binary;

/// On a machine that is busy with something else, a measurement is not believed, and proves nothing.
const TRIES: usize = 10;

const SCENARIO: &str = r#"
question = "What does the death of a node cost a strategy from outside?"
expect = ["sessions_lost == 0", "lines_lost == 0"]
[cluster]
nodes = 3
strategies = ["file"]
accounts = 50
password = { memory_kib = 8, iterations = 1 }
[load]
users = 8
think_ms = [50, 250]
journey = { browse = 2, add_line = 5, read_cart = 5, remove_line = 2, log_out = 1 }
warm_up_s = 1
measure_s = 6
[[faults]]
kind = "kill"
target = "node-2"
at_s = 2
for_s = 2
"#;

fn run(folder: &TempDir) -> Output {
    let scenario = folder.path().join("kill.toml");
    fs::write(&scenario, SCENARIO).unwrap();
    let sessions = folder.path().join("sessions");
    fs::create_dir_all(&sessions).unwrap();
    Command::new(binary("lab"))
        .arg("run")
        .arg(scenario)
        .arg("--shop")
        .arg(binary("file-shop"))
        .arg("--out")
        .arg(folder.path().join("out"))
        .arg("--")
        .arg("--session-folder")
        .arg(sessions)
        .output()
        .unwrap()
}

#[test]
fn a_killed_node_of_another_program_is_judged_by_the_theory_that_it_brings() {
    for _ in 0..TRIES {
        let folder = TempDir::new().unwrap();
        let output = run(&folder);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let results = fs::read_to_string(folder.path().join("out/results.json"));
        let results: Results = serde_json::from_str(&results.expect(&text)).unwrap();
        if results.verdict == Verdict::Invalid {
            continue;
        }
        assert_eq!(results.verdict, Verdict::Pass, "{:?}", results.reasons);
        assert_eq!(output.status.code(), Some(0));
        let run = &results.runs[0];
        assert_eq!(
            (run.strategy.as_str(), run.faults[0].sessions_lost),
            ("file", 0)
        );
        assert!(run.faults[0].sessions_on_target > 0);
        let row = results
            .matrix
            .iter()
            .find(|row| row.fault.starts_with("kill"))
            .unwrap();
        assert!(row.why.contains("folder"), "{}", row.why);
        return;
    }
    panic!("no measurement could be believed in {TRIES} tries");
}

#[test]
fn a_program_that_describes_nothing_is_told_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let output = Command::new(binary("lab"))
        .args(["run", "kill-node", "--shop", "/bin/false", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("/bin/false describe") && text.contains("--shop"),
        "{text}"
    );
}
