//! `lab check` on history files as `lab run` writes them: exit codes, what it says, and what it makes of a cut-off file.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The first line of a run with two nodes: measured until 10 s, final reads at 11 s.
fn meta(strategy: &str, survives: bool, revocable: bool) -> Value {
    json!({ "meta": {
        "schema": "sessionlab.history/1", "scenario": "test", "strategy": strategy,
        "properties": {
            "state_lives": "store", "needs_affinity": false, "survives_node_death": survives,
            "revocable_at_once": revocable, "store_round_trips": 1, "logout": "ends it",
            "theory": evidence::sample::theory(strategy),
        },
        "repeat": 1, "seed": 1, "nodes": ["node-1", "node-2"], "balancer": "pingora", "users": 1,
        "pace": { "closed": { "think_ms": [100, 200] } }, "cores": 2, "origin_unix_ms": 1_000_000,
        "warm_up_from_us": -1_000_000, "measured_until_us": 10_000_000, "final_read_us": 11_000_000,
    } })
}

/// An operation of user 1 in its first session that succeeded on node-1 within 2 ms, with more or other fields.
fn operation(id: u32, action: &str, at_ms: i64, more: &Value) -> Value {
    let mut operation = json!({
        "process": 1, "user": 1, "session": 1, "action": action, "id": id,
        "intended_us": at_ms * 1_000, "sent_us": at_ms * 1_000, "done_us": at_ms * 1_000 + 2_000,
        "outcome": "ok", "status": 200, "node": "node-1", "sent_bytes": 100, "received_bytes": 300,
    });
    let fields = operation.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    json!({ "operation": operation })
}

fn counts() -> Value {
    json!({ "counts": { "at_us": 12_000_000, "by_action": {} } })
}

/// A login, a line, and final reads that show this.
fn life(shown: &[&str]) -> Vec<Value> {
    vec![
        operation(1, "log_in", 0, &json!({})),
        operation(2, "add_line", 100, &json!({ "status": 201, "line": "1-2" })),
        operation(3, "read_cart", 11_000, &json!({ "read": shown })),
    ]
}

fn write(folder: &TempDir, lines: impl IntoIterator<Item = Value>) -> PathBuf {
    let path = folder.path().join("history.jsonl");
    let lines: Vec<String> = lines.into_iter().map(|line| line.to_string()).collect();
    let text = lines.join(
        "
",
    ) + "
";
    fs::write(&path, text).unwrap();
    path
}

fn check(path: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("check")
        .arg(path)
        .args(flags)
        .output()
        .unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code(), text)
}

#[test]
fn a_clean_history_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [meta("redis", true, true)]
        .into_iter()
        .chain(life(&["1-2"]))
        .chain([counts()]);
    let (code, text) = check(&write(&folder, lines), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("      0  sessions lost\n"), "{text}");
    assert!(
        !text.contains("forbidden") && !text.contains("in the middle"),
        "{text}"
    );
}

#[test]
fn an_anomaly_ends_with_1_and_its_proof_can_be_followed() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |step: &str, at_us: i64| json!({ "fault": { "fault": 0, "kind": "kill", "target": "node-1", "step": step, "at_us": at_us } });
    let lines = [
        meta("redis", true, true),
        fault("commanded", 5_000_000),
        fault("effective", 5_010_000),
    ];
    let lines = lines.into_iter().chain(life(&[])).chain([counts()]);
    let path = write(&folder, lines);
    let (code, text) = check(&path, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("      1  cart lines lost                   forbidden\n"),
        "{text}"
    );
    let story = "
1. cart line lost, session 1 of user 1
   User 1: read_cart 3 at 11.000 s on node-1 lacked line 1-2, which add_line 2 at 0.100 s on node-1 had added and nobody had removed; it never came back. Before that: kill of node-1 at 5.000 s.
        0.100 s  add_line    #2      ok   201       node-1         until 0.102 s
        5.000 s  fault 0: kill of node-1 commanded
        5.010 s  fault 0: kill of node-1 in effect
       11.000 s  read_cart   #3      ok   200       node-1         until 11.002 s
";
    assert!(text.contains(story), "{text}");

    let (code, json) = check(&path, &["--json"]);
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!(found["anomalies"]["line_lost"], 1);
    assert_eq!(found["forbidden"], json!(["line_lost"]));
    assert_eq!(found["witnesses"][0]["operations"][1]["id"], 3);
}

#[test]
fn what_a_strategy_declares_about_itself_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let exposed = [
        operation(
            4,
            "log_out",
            11_500,
            &json!({ "status": 204, "alive_until_unix_s": 1_060 }),
        ),
        operation(5, "replay", 11_600, &json!({})),
    ];
    let lines = |revocable| {
        let lines = [meta("jwt", true, revocable)]
            .into_iter()
            .chain(life(&["1-2"]));
        lines.chain(exposed.clone()).chain([counts()])
    };
    let (code, text) = check(&write(&folder, lines(false)), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("      1  exposures of dead credentials     as declared"),
        "{text}"
    );
    let (code, text) = check(&write(&folder, lines(true)), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("      1  resurrections of dead credentials forbidden"),
        "{text}"
    );
}

#[test]
fn a_history_that_ends_in_the_middle_is_judged_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [meta("redis", true, true)]
        .into_iter()
        .chain(life(&["1-2"]));
    let path = write(&folder, lines);
    let whole = fs::read(&path).unwrap();
    // Half of the last line, the final read, is missing.
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    let (code, text) = check(&path, &[]);
    assert!(text.contains("operations 2,"), "{text}");
    assert!(text.contains("The history ends in the middle"), "{text}");
    assert!(
        text.contains("      1  carts unknown                     NOT PROVEN"),
        "{text}"
    );
    assert_eq!(code, Some(1), "what is not proven does not hold");
}

#[test]
fn what_is_no_history_ends_with_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = check(&folder.path().join("none.jsonl"), &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("cannot read the history"), "{text}");

    let (code, text) = check(&write(&folder, life(&[])), &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("does not begin with a `meta` line"), "{text}");

    let broken = [
        meta("redis", true, true),
        json!({ "operation": {} }),
        counts(),
    ];
    let (code, text) = check(&write(&folder, broken), &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("line 2"), "{text}");
}
