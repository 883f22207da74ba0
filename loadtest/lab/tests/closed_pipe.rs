//! Readers that have seen enough: `lab … | head -1`. Nothing may panic, hang or say a word about it, whatever is printed, and
//! the exit code stays what it would have been.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The writing end of a pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

fn lab(args: &[&str], folder: &TempDir) -> Command {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(args)
        .current_dir(folder.path())
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null());
    lab
}

/// What `lab` says on stderr while nobody reads stdout.
fn without_a_reader(args: &[&str], folder: &TempDir) -> Output {
    lab(args, folder)
        .stdout(unread())
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

const HISTORY: &str = concat!(
    r#"{"meta":{"schema":"sessionlab.history/1","scenario":"t","strategy":"redis","properties":{"state_lives":"store","#,
    r#""needs_affinity":false,"survives_node_death":true,"revocable_at_once":true,"store_round_trips":1,"logout":"x"},"#,
    r#""repeat":1,"seed":1,"nodes":["node-1"],"balancer":"pingora","users":1,"pace":{"closed":{"think_ms":[1,2]}},"cores":2,"#,
    r#""origin_unix_ms":0,"warm_up_from_us":0,"measured_until_us":1,"final_read_us":2}}"#,
    "\n"
);

#[test]
fn a_reader_that_has_gone_ends_nothing_in_a_panic() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("history.jsonl"), HISTORY).unwrap();
    for (args, code) in [
        (&["scenarios"][..], 0),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["secrets", "secrets"], 0),
        (&["check", "history.jsonl"], 0),
        (&["check", "--json", "history.jsonl"], 0),
    ] {
        let output = without_a_reader(args, &folder);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(code), ""), "{args:?}");
    }
}

#[test]
fn errors_that_nobody_reads_keep_their_exit_code() {
    let folder = TempDir::new().unwrap();
    for args in [
        &["run", "no-such-scenario"][..],
        &["run"],
        &["nonsense"],
        &["check", "nothing.jsonl"],
        &["report", "nothing.json"],
        &["plan", "nothing.json"],
        &["secrets", "/proc/nowhere"],
        &["up", "--strategies", "nonsense"],
    ] {
        let status = lab(args, &folder)
            .stdout(unread())
            .stderr(unread())
            .status()
            .unwrap();
        assert!(matches!(status.code(), Some(2 | 4)), "{args:?}: {status}");
    }
}

/// The run goes on to its end and its reports, though nobody watches.
#[test]
fn a_run_that_nobody_watches_leaves_its_reports() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("short.toml"), SCENARIO).unwrap();
    let status = lab(&["run", "short.toml", "--out", "out"], &folder)
        .stdout(unread())
        .stderr(unread())
        .status()
        .unwrap();
    // 3 where the machine is busy with something else.
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    assert!(folder.path().join("out/report.html").exists());
}

const SCENARIO: &str = r#"
question = "Does a run that nobody watches come to its end?"
[cluster]
nodes = 1
strategies = ["jwt"]
accounts = 10
password = { memory_kib = 8, iterations = 1 }
[load]
users = 2
think_ms = [100, 900]
journey = { browse = 1 }
warm_up_s = 0
measure_s = 1
"#;

#[test]
fn a_full_disk_is_told() {
    let folder = TempDir::new().unwrap();
    let output = lab(&["scenarios"], &folder)
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot write to standard output"), "{said}");
}
