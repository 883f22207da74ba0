//! Nodes that misbehave, on a running cluster: `lab run` must end with 1 and name what they did.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use evidence::results::{Anomaly, Results, Verdict};
use tempfile::TempDir;
use tests::binary;

/// Nothing is done to the cluster: whatever goes wrong is the strategy's doing.
const SCENARIO: &str = r#"
question = "Does the lab notice a strategy that misbehaves?"
[cluster]
nodes = 2
strategies = ["STRATEGY"]
accounts = 50
password = { memory_kib = 8, iterations = 1 }
[load]
users = 8
think_ms = [50, 250]
revocations_per_s = 4
journey = { browse = 1, add_line = 5, read_cart = 5, remove_line = 2, log_out = 1 }
warm_up_s = 1
measure_s = 3
"#;

/// On a machine that is busy with something else, a measurement is not believed, and proves nothing.
const TRIES: usize = 10;

/// The lab's programs, with a saboteur in the place of the node.
fn programs(deed: &str) -> TempDir {
    let lab = binary("lab");
    // On the file system of the programs, for the hard link: `lab` looks for the others beside itself.
    let folder = tempfile::tempdir_in(lab.parent().unwrap()).unwrap();
    fs::hard_link(&lab, folder.path().join("lab")).unwrap();
    symlink(binary("load-balancer"), folder.path().join("load-balancer")).unwrap();
    // Processes of a cluster do not inherit the environment.
    let script = format!(
        "#!/bin/sh\nSABOTAGE={deed} exec '{}' \"$@\"\n",
        binary("saboteur").display()
    );
    let shop = folder.path().join("shop");
    fs::write(&shop, script).unwrap();
    fs::set_permissions(&shop, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn lab(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(folder.join("lab"));
    command.args(args).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a strategy that does `deed`, and insists that the lab ends with 1 and proves `anomaly`.
fn is_noticed(deed: &str, strategy: &str, anomaly: Anomaly) {
    let folder = programs(deed);
    let folder = folder.path();
    fs::write(
        folder.join("deed.toml"),
        SCENARIO.replace("STRATEGY", strategy),
    )
    .unwrap();
    for _ in 0..TRIES {
        let output = lab(folder, &["run", "deed.toml", "--out", "out"]);
        let text = fs::read_to_string(folder.join("out/results.json"));
        let text = text.unwrap_or_else(|_| panic!("{}", said(&output)));
        let results: Results = serde_json::from_str(&text).unwrap();

        let run = &results.runs[0];
        assert!(run.anomalies.count(anomaly) > 0, "{:?}", run.anomalies);
        let witness = run.witnesses.iter().find(|witness| witness.kind == anomaly);
        assert!(witness.is_some_and(|witness| witness.operations.len() > 1));

        let history = format!("out/history-{strategy}-1.jsonl");
        let checked = lab(folder, &["check", &history]);
        assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
        let words = anomaly.words().1;
        let line = said(&checked)
            .lines()
            .find(|line| line.contains(words))
            .map(str::to_owned);
        assert!(
            line.is_some_and(|line| line.contains("forbidden")),
            "{}",
            said(&checked)
        );

        if results.verdict != Verdict::Invalid {
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            return;
        }
    }
    panic!("the machine was too busy for any of {TRIES} runs to be believed");
}

#[test]
fn an_acknowledged_write_that_is_dropped_makes_the_run_fail() {
    is_noticed("drop-writes", "redis", Anomaly::LineLost);
}

#[test]
fn a_logout_that_is_undone_makes_the_run_fail() {
    is_noticed("undo-logouts", "sticky", Anomaly::Resurrection);
}

#[test]
fn a_revocation_that_is_forgotten_makes_the_run_fail() {
    is_noticed("forget-revocations", "redis", Anomaly::Resurrection);
}

#[test]
fn users_that_are_swapped_make_the_run_fail() {
    is_noticed("swap-users", "jwt", Anomaly::Leak);
}
