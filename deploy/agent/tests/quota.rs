//! A quota on real processes. Where this user may not make cgroups, what is tested is the error that says so.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use agent::{Agent, AgentError, ProcessSpec, Ready, Throttled};
use tempfile::TempDir;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(dir: &Path, script: &str, quota: Option<f64>) -> Agent {
    Agent::new(ProcessSpec {
        name: "script".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![],
        log: Some(dir.join("script.log")),
        ready: Ready::Started,
        ready_within: PATIENCE,
        quota,
    })
}

/// Starts it; no when this machine or this user cannot have quotas.
async fn started(agent: &Agent) -> bool {
    match agent.start().await {
        Ok(()) => true,
        Err(error @ AgentError::Quota { .. }) => {
            assert!(error.to_string().contains("without a quota"), "{error}");
            eprintln!("not tested here: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn throttled(agent: &Agent) -> Throttled {
    agent.usage().unwrap().throttled.unwrap()
}

/// The folder of the group with the cpu controller that a process is in.
fn group(pid: &str) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let name = groups.lines().find_map(|line| {
        let (_, path) = line.split_once(":/")?;
        path.contains("session-lab-").then(|| path.to_owned())
    });
    let name = name.unwrap_or_else(|| panic!("pid {pid} is in no group of ours: {groups}"));
    let mounts = [
        "/sys/fs/cgroup/cpu",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup",
    ];
    let mut folders = mounts.iter().map(|mount| Path::new(mount).join(&name));
    folders.find(|folder| folder.exists()).unwrap()
}

#[tokio::test]
async fn a_busy_loop_gets_its_share_and_no_more() {
    let dir = TempDir::new().unwrap();
    let busy = shell(dir.path(), "while :; do :; done", Some(0.1));
    let begin = Instant::now();
    if !started(&busy).await {
        return;
    }
    eventually("it was throttled twenty times", || {
        throttled(&busy).periods >= 20
    })
    .await;
    let cpu = Duration::from_micros(busy.usage().unwrap().cpu_us);
    let share = cpu.as_secs_f64() / begin.elapsed().as_secs_f64();
    // A machine that is busy with other things gives less; more than twice the quota cannot be.
    assert!(share < 0.2, "{share}");
    assert!(throttled(&busy).time_us > 0);

    let before = throttled(&busy);
    busy.restart(Duration::ZERO).await.unwrap();
    assert!(
        throttled(&busy).periods >= before.periods,
        "past lives count"
    );
}

#[tokio::test]
async fn the_process_is_limited_from_its_first_instruction_and_so_are_its_children() {
    let dir = TempDir::new().unwrap();
    let script = "cat /proc/self/cgroup; sleep 1000 & echo $!; wait";
    let agent = shell(dir.path(), script, Some(0.5));
    if !started(&agent).await {
        return;
    }
    let log = || fs::read_to_string(agent.spec().log.as_ref().unwrap()).unwrap();
    let child = || Some(log().strip_suffix('\n')?.lines().last()?.to_owned());
    eventually("the script wrote a process id", || {
        child().is_some_and(|line| !line.contains(':'))
    })
    .await;
    assert!(log().contains("session-lab-"), "{}", log());
    let child = child().unwrap();
    assert_eq!(group(&agent.pid().unwrap().to_string()), group(&child));

    let folder = group(&child);
    agent.kill().await.unwrap();
    assert!(agent.usage().unwrap().throttled.is_some(), "after its end");
    drop(agent);
    // The thread that waited for the process may be the last to let go of its group.
    eventually("its group is gone", || !folder.exists()).await;
}

#[tokio::test]
async fn what_was_left_behind_ends_with_the_agent_and_its_group_with_it() {
    let dir = TempDir::new().unwrap();
    let agent = shell(dir.path(), "setsid sleep 1000 & echo $!", Some(0.5));
    if !started(&agent).await {
        return;
    }
    agent.ended().await.unwrap();
    let child = fs::read_to_string(agent.spec().log.as_ref().unwrap()).unwrap();
    let folder = group(child.trim());
    assert!(folder.exists());
    drop(agent);
    // The thread that waited for the process may be the last to let go of its group.
    eventually("its group is gone", || !folder.exists()).await;
}

#[tokio::test]
async fn no_quota_means_no_figures_of_throttling() {
    let dir = TempDir::new().unwrap();
    let agent = shell(dir.path(), "sleep 1000", None);
    agent.start().await.unwrap();
    assert_eq!(agent.usage().unwrap().throttled, None);
}

#[tokio::test]
async fn a_quota_that_cannot_be_is_refused() {
    let dir = TempDir::new().unwrap();
    let error = shell(dir.path(), "", Some(0.0)).start().await.unwrap_err();
    assert!(matches!(error, AgentError::Quota { .. }), "{error}");
}
