//! `lab run` as a user has it: the real programs, a killed node, results, and nothing left afterwards.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

mod place;

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use evidence::history::{Action, FaultStep, History};
use evidence::results::{Run, Verdict};
use place::{Place, results, text};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_mins(2);

/// Few users with long pauses: it must be believable on a machine that builds something else meanwhile.
const SCENARIO: &str = r#"
question = "Does a run work?"
[cluster]
nodes = 3
strategies = ["sticky", "redis", "jwt"]
accounts = 200
password = { memory_kib = 8, iterations = 1 }
[load]
users = 12
think_ms = [100, 900]
journey = { browse = 4, add_line = 4, read_cart = 2, remove_line = 1, log_out = 1 }
warm_up_s = 1
measure_s = 4
[[faults]]
kind = "kill"
target = "node-2"
at_s = 1
for_s = 1
[memory]
sessions = 100
"#;

#[test]
fn a_killed_node_costs_each_strategy_what_it_promises() {
    let place = Place::with(SCENARIO);
    let output = place.run(&[]);
    let latest = place.folder.path().join("reports/latest");
    assert!(latest.join("report.html").exists(), "{}", text(&output));
    let results = results(&latest);
    assert_eq!(results.runs.len(), 3);
    for run in &results.runs {
        has_figures(run);
        let fault = &run.faults[0];
        assert!(fault.sessions_live > 0);
        if run.strategy == "sticky" {
            assert_eq!(fault.sessions_lost, fault.sessions_on_target);
        } else {
            assert_eq!((fault.sessions_lost, fault.cart_lines_lost), (0, 0));
        }
        let name = format!("history-{}-1.jsonl", run.strategy);
        let history = History::read(&latest.join(name)).unwrap();
        assert!(history.operations.len() as u64 >= run.requests.total);
        let replayed = |operation: &&_| is(operation, Action::Replay);
        assert!(history.operations.iter().filter(replayed).count() > 0);
    }
    // A machine that is busy with something else makes the measurement invalid, and the lab must say so.
    let expected = match results.verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Invalid => 3,
    };
    assert_eq!(output.status.code(), Some(expected), "{}", text(&output));
    assert_ne!(results.verdict, Verdict::Fail, "{:?}", results.reasons);
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

fn is(operation: &evidence::history::Operation, action: Action) -> bool {
    operation.action == action
}

fn has_figures(run: &Run) {
    assert!(run.requests.total > 0, "{run:?}");
    assert!(run.latency_us.is_some());
    assert!(run.bytes_per_request.sent.is_some());
    assert!(run.cost_us_per_request.node.is_some());
    assert_eq!(
        run.store_operations_per_request.is_some(),
        run.strategy == "redis"
    );
    assert!(run.faults[0].effective_ms.is_some() && run.faults[0].undone_ms.is_some());
    assert_eq!(run.timeline.len(), 16);
}

#[test]
fn a_wrong_scenario_ends_with_2_before_anything_starts() {
    let place = Place::with(&SCENARIO.replace("\"node-2\"", "\"node-9\""));
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output);
    assert!(
        said.contains("short.toml:16:10: the target `node-9` does not exist"),
        "{said}"
    );
    assert!(
        said.contains("allowed are node-1, node-2, node-3"),
        "{said}"
    );
    assert!(!place.folder.path().join("reports").exists());

    let unknown = Place::with(SCENARIO).run(&["--strategy", "memcached"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
}

/// Nobody told it what to run, or told it with a typing error.
#[test]
fn scenarios_are_taken_by_name_and_the_messages_say_so() {
    let lab = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    for args in [
        &["run"][..],
        &["run", "--seed", "7"],
        &["run", "--on", "compose"],
    ] {
        let said = lab(args);
        for needed in [
            "which scenario?",
            "kill-node",
            "chaos",
            "`lab scenarios`",
            "lab run kill-node",
        ] {
            assert!(said.contains(needed), "{args:?}: {said}");
        }
    }
    let said = lab(&["run", "kill-nod"]);
    assert!(said.contains("Did you mean `kill-node`?"), "{said}");
    let said = lab(&["run", "--sed", "7"]);
    assert!(
        said.contains("<SCENARIO>...") && !said.contains("FILE"),
        "{said}"
    );
    let said = lab(&["runn", "chaos"]);
    assert!(said.contains("'run'"), "{said}");
}

/// Links that are cut, orders to the balancer, and a store beside a strategy that needs none.
#[test]
fn every_fault_of_a_run_is_told_with_its_evidence() {
    let start = SCENARIO.find("[[faults]]").unwrap();
    let scenario = format!(
        "{}[[faults]]\nkind = \"blackhole\"\ntarget = \"node-1->store\"\nat_s = 1\nfor_s = 1\n\
         [[faults]]\nkind = \"drain\"\ntarget = \"node-2\"\nat_s = 1\nfor_s = 2\n",
        &SCENARIO[..start]
    );
    let place = Place::with(&scenario);
    let output = place.run(&["--strategy", "redis,jwt", "--out", "out"]);
    let out = place.folder.path().join("out");
    assert!(out.join("results.json").exists(), "{}", text(&output));
    let results = results(&out);
    let is_measured = |caveat: &String| caveat.contains("proxy stands on node-1->store");
    assert!(
        results.caveats.iter().any(is_measured),
        "{:?}",
        results.caveats
    );
    for strategy in ["redis", "jwt"] {
        let history = History::read(&out.join(format!("history-{strategy}-1.jsonl"))).unwrap();
        for (step, count) in [
            (FaultStep::Commanded, 0),
            (FaultStep::Effective, 2),
            (FaultStep::UndoCommanded, 0),
            (FaultStep::Undone, 2),
        ] {
            let of_step = history.faults.iter().filter(|event| event.step == step);
            let evidence = of_step.clone().filter(|event| event.evidence.is_some());
            assert_eq!((of_step.count(), evidence.count()), (2, count), "{step:?}");
        }
    }
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

/// Somebody else kills the node first: what the lab then does to it is no fault that could explain anything.
#[test]
fn a_fault_that_takes_no_effect_makes_the_run_invalid() {
    let place = Place::with(SCENARIO);
    let lab = place
        .command(&["--strategy", "jwt", "--out", "out"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = place.temporary().display().to_string();
    let deadline = Instant::now() + PATIENCE;
    let victim = loop {
        let found = fs::read_dir("/proc").unwrap().find_map(|entry| {
            let entry = entry.ok()?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            (command.contains("--node-name=node-2") && command.contains(&folder)).then_some(())?;
            entry.file_name().to_str()?.parse().ok()
        });
        if let Some(pid) = found
            && place.folder.path().join("out/history-jwt-1.jsonl").exists()
        {
            break pid;
        }
        assert!(Instant::now() < deadline, "node-2 never started");
        thread::sleep(Duration::from_millis(10));
    };
    kill_process(Pid::from_raw(victim).unwrap(), Signal::KILL).unwrap();
    let output = lab.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let reasons = results(&place.folder.path().join("out")).reasons.join(" ");
    assert!(
        reasons.contains("the kill of node-2 did not take effect"),
        "{reasons}"
    );
    assert!(reasons.contains("node-2 is not running"), "{reasons}");
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

#[test]
fn ctrl_c_in_the_middle_keeps_the_history_and_leaves_nothing_else() {
    let place = Place::with(SCENARIO);
    let mut lab = place
        .command(&["--strategy", "redis", "--out", "out"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = place.folder.path().join("out/history-redis-1.jsonl");
    let acting = || History::read(&path).is_ok_and(|history| !history.operations.is_empty());
    let deadline = Instant::now() + PATIENCE;
    while !acting() {
        assert!(Instant::now() < deadline && lab.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(50));
    }
    interrupt(&lab);
    let output = lab.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(text(&output).contains("What was recorded until then is in out"));
    assert!(acting(), "the history can still be read");
    let checked = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    let said = text(&checked);
    assert!(said.contains("The history ends in the middle"), "{said}");
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

#[test]
fn ctrl_c_after_a_finished_run_reports_on_that_one() {
    let place = Place::with(SCENARIO);
    let mut lab = place
        .command(&["--strategy", "sticky,jwt", "--out", "out"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = place.folder.path().join("out");
    let deadline = Instant::now() + PATIENCE;
    // The second run has begun.
    while !out.join("history-jwt-1.jsonl").exists() {
        assert!(Instant::now() < deadline && lab.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(50));
    }
    interrupt(&lab);
    let output = lab.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let results = results(&out);
    let strategies: Vec<&str> = results
        .runs
        .iter()
        .map(|run| run.strategy.as_str())
        .collect();
    assert_eq!(
        (strategies.as_slice(), results.runs_planned),
        (&["sticky"][..], 2)
    );
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("Stopped by hand after 1 of 2 runs"), "{page}");
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

/// `kill -9` leaves no time to clean up; the next lab does.
#[test]
fn what_a_killed_lab_left_is_removed_by_the_next() {
    let place = Place::with(SCENARIO);
    let mut lab = place
        .command(&["--strategy", "jwt", "--out", "out"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !place.folder.path().join("out/history-jwt-1.jsonl").exists() {
        assert!(Instant::now() < deadline && lab.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(50));
    }
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert_eq!(fs::read_dir(place.temporary()).unwrap().count(), 1);
    place.run(&["--strategy", "jwt", "--out", "out"]);
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

fn interrupt(process: &Child) {
    kill_process(Pid::from_child(process), Signal::INT).unwrap();
}
