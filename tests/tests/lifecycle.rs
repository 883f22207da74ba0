//! How processes end: SIGTERM of each of them, Ctrl-C of the lab in each phase, and nothing left behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use tests::{User, cluster, eventually, try_send};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

#[tokio::test]
async fn each_process_ends_with_0_on_sigterm() {
    let cluster = cluster(&["sticky", "redis", "jwt"]).await;
    let grace = Duration::from_secs(20);
    let mut all: Vec<_> = vec![cluster.balancer()];
    all.extend(cluster.nodes());
    all.push(cluster.store().unwrap());
    for process in all {
        let status = process.stop(grace).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", process.name());
        assert!(!process.is_running().await.unwrap());
    }
}

#[tokio::test]
async fn a_node_that_is_told_to_end_finishes_what_runs() {
    let cluster = tests::cluster_with(&["jwt"], |spec| spec.work_us = 3_000).await;
    let mut workers = Vec::new();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for number in 1..=4 {
        let (user, stop) = (User::logged_in(&cluster, "jwt", number).await, stop.clone());
        workers.push(tokio::spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = try_send(user.request(Method::GET, "/me"))
                    .await
                    .expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }));
    }
    let status = cluster
        .node("node-1")
        .unwrap()
        .stop(Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
}

/// Starts `lab demo` in a folder of its own, sends SIGINT as soon as its output says `phase`, and looks what is left.
async fn interrupted_in(phase: &str) {
    let out = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut lab = Command::new(tests::binary("lab"))
        .args(["demo", "--out"])
        .arg(out.path())
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lab.stderr.take().unwrap()).lines();
    let mut heard = Vec::new();
    loop {
        let line = lines.next_line().await.unwrap();
        let Some(line) = line else {
            panic!("ended before {phase:?}: {heard:#?}")
        };
        let there = line.contains(phase);
        heard.push(line);
        if there {
            break;
        }
    }
    let pid = lab.id().unwrap();
    let children = descendants(pid);
    interrupt(pid).await;
    while let Ok(Some(line)) = lines.next_line().await {
        heard.push(line);
    }
    assert_eq!(exit_code(&mut lab).await, 130, "{heard:#?}");
    eventually("every process to be gone", async || {
        let left = children.iter().filter(|pid| is_alive(**pid)).count();
        (left == 0).then_some(())
    })
    .await;
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
}

#[tokio::test]
async fn ctrl_c_while_the_cluster_starts() {
    interrupted_in("start").await;
}

#[tokio::test]
async fn ctrl_c_in_the_warm_up() {
    interrupted_in("warm").await;
}

#[tokio::test]
async fn ctrl_c_under_load() {
    interrupted_in("kill").await;
}

async fn exit_code(child: &mut Child) -> i32 {
    child.wait().await.unwrap().code().unwrap_or(-1)
}

async fn interrupt(pid: u32) {
    let sent = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status();
    assert!(sent.await.unwrap().success());
}

/// All processes below `pid`, from /proc.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let tasks = format!("/proc/{}/task", found[next]);
        for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found.split_off(1)
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
