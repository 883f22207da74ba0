//! `lab run` with an open loop, as a user has it: arrivals keep coming while the store is away, and everything that was due
//! is accounted for.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use evidence::history::History;
use evidence::results::{Results, Verdict};
use tempfile::TempDir;

/// Few arrivals, many users: it must be believable on a machine that builds something else meanwhile.
const SCENARIO: &str = r#"
question = "Does an open loop work?"
[cluster]
nodes = 2
strategies = ["redis"]
accounts = 200
password = { memory_kib = 8, iterations = 1 }
[load]
profile = "open"
users = 100
arrivals_per_s = 100
arrivals = "poisson"
journey = { browse = 4, add_line = 4, read_cart = 2, remove_line = 1, log_out = 1 }
replays = 3
replay_for_s = 1
warm_up_s = 1
measure_s = 4
[[faults]]
kind = "kill"
target = "store"
at_s = 1
for_s = 1
"#;

#[test]
fn arrivals_go_on_while_the_store_is_away_and_are_all_accounted_for() {
    for program in ["shop", "load-balancer"] {
        let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(program);
        let hint = "run `cargo build --workspace --bins` first";
        assert!(path.exists(), "{} is missing: {hint}", path.display());
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("open.toml"), SCENARIO).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["run", "open.toml", "--out", "out"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(folder.path().join("out/results.json"));
    let text = text.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let results: Results = serde_json::from_str(&text).unwrap();
    let run = &results.runs[0];
    let history = History::read(&folder.path().join("out/history-redis-1.jsonl")).unwrap();

    let arrivals = run.generator.arrivals.unwrap();
    assert!((300..500).contains(&arrivals.due), "{arrivals:?}");
    assert_eq!(arrivals.due, arrivals.sent + arrivals.dropped);
    let measured = 0..history.meta.measured_until_us;
    let sent = history
        .operations
        .iter()
        .filter(|operation| measured.contains(&operation.intended_us));
    assert_eq!(arrivals.sent, sent.count() as u64);

    // The response begins before the request does, so it takes longer, however little.
    let (latency, response) = (run.latency_us.unwrap(), run.response_us.unwrap());
    assert!(
        response.p50 > latency.p50,
        "{} {}",
        response.p50,
        latency.p50
    );
    let lags: u64 = run.generator.lag_us.iter().map(|bin| bin.count).sum();
    assert!(lags >= arrivals.sent - 10, "{lags} {arrivals:?}");
    assert!(run.generator.in_flight.is_some());
    // A machine that is busy with something else makes the run invalid; but all counts agree on any machine.
    let reason = run.generator.reason.clone().unwrap_or_default();
    for untied in ["do not agree", "no arrival was due", "did not reach"] {
        assert!(!reason.contains(untied), "{reason}");
    }
    assert_ne!(results.verdict, Verdict::Fail, "{:?}", results.reasons);
}
