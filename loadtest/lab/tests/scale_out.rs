//! `lab run` with several sizes of cluster and a CPU limit for each node, and `lab plan` on what comes out. Where this user may
//! not make cgroups, what is tested is the error that says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use evidence::results::{Results, Verdict};
use tempfile::TempDir;

/// Two sizes, tiny; a large quota, so that nodes are up soon on a machine that does something else meanwhile.
const SCENARIO: &str = r#"
question = "Does it grow?"
[cluster]
nodes = [1, 2]
quota = 0.2
strategies = ["jwt"]
accounts = 100
work_us = 2000
password = { memory_kib = 8, iterations = 1 }
[load]
users = 6
think_ms = [0, 0]
journey = { browse = 4, add_line = 1, log_out = 1 }
warm_up_s = 1
measure_s = 2
"#;

fn lab(folder: &Path, args: &[&str]) -> Output {
    for program in ["shop", "load-balancer"] {
        let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(program);
        let hint = "run `cargo build --workspace --bins` first";
        assert!(path.exists(), "{} is missing: {hint}", path.display());
    }
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Whether this user may limit a process.
fn quotas_work(folder: &Path) -> bool {
    let agent = agent::Agent::new(agent::ProcessSpec {
        name: "nothing".into(),
        program: "/bin/sleep".into(),
        args: vec!["60".into()],
        env: vec![],
        log: Some(folder.join("nothing.log")),
        ready: agent::Ready::Started,
        ready_within: std::time::Duration::from_secs(20),
        quota: Some(0.5),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(agent.start()).is_ok()
}

#[test]
fn each_size_runs_by_itself_and_the_plan_follows_from_it() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("two.toml"), SCENARIO).unwrap();
    let output = lab(folder.path(), &["run", "two.toml", "--out", "out"]);
    let said = text(&output);
    if !quotas_work(folder.path()) {
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("without a quota"), "{said}");
        return;
    }
    let out = folder.path().join("out");
    let written = fs::read_to_string(out.join("results.json"));
    let results: Results = serde_json::from_str(&written.expect(&said)).unwrap();

    let nodes: Vec<usize> = results.runs.iter().map(|run| run.nodes).collect();
    assert_eq!(nodes, [1, 2]);
    assert!(out.join("history-jwt-1-nodes-1.jsonl").exists());
    assert!(out.join("history-jwt-2-nodes-1.jsonl").exists());
    assert_eq!(results.settings["CPU limit of a node"], "0.2 cores");
    assert_eq!(results.summary[0].runs, 1, "sizes are not mixed");

    let [jwt] = &results.scale_out[..] else {
        panic!("{:?}", results.scale_out);
    };
    let sizes: Vec<usize> = jwt.points.iter().map(|point| point.nodes).collect();
    assert_eq!(sizes, [1, 2]);
    for point in &jwt.points {
        assert!(point.throughput_rps.unwrap() > 0.0);
        // A machine that is busy with something else is no proof of what a cluster can serve, and the lab must say so.
        assert_eq!(point.valid, point.reason.is_none());
        let nodes = point
            .stations
            .iter()
            .find(|station| station.name == "nodes");
        let nodes = nodes.unwrap();
        assert!((nodes.capacity_cores - 0.2 * point.nodes as f64).abs() < 1e-9);
        assert!(nodes.busy() < 1.3, "the limit holds: {nodes:?}");
    }
    assert!(jwt.fit.is_none());
    assert!(jwt.no_fit.as_ref().unwrap().contains("need at least 5"));
    let all_valid = jwt.points.iter().all(|point| point.valid);
    assert_eq!(results.verdict == Verdict::Invalid, !all_valid, "{said}");
    assert!(said.contains("Throughput by nodes"), "{said}");

    let flags = ["--sessions", "1000000", "--node-cores", "2"];
    let plan = lab(
        folder.path(),
        &[&["plan", "out/results.json"][..], &flags].concat(),
    );
    let said = text(&plan);
    assert_eq!(plan.status.code(), Some(0), "{said}");
    assert!(said.contains("1,000,000 sessions × 1 a minute"), "{said}");
    assert!(said.contains("given: --node-cores"), "{said}");
}

#[test]
fn a_plan_from_nothing_or_for_nobody_is_wrong_usage() {
    let folder = TempDir::new().unwrap();
    for (args, wanted) in [
        (&["plan"][..], "RESULTS.json"),
        (&["plan", "none.json"], "cannot read none.json"),
        (&["plan", "none.json", "--busy", "2"], "--busy is a share"),
    ] {
        let output = lab(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
}
