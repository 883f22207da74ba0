//! What a reader must know to judge figures: the machine, the versions, the settings, the caveats.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use agent::link::{Direction, Disturbance};
use tokio::process::Command;

use crate::scenario::{ClusterPart, Replays, Spec};
use cluster::BalancerKind;
use cluster::faults::{Fault, FaultAction, Target};
use evidence::pace::Pace;
use evidence::results::Environment;
use evidence::strategy::Table;

/// For `git` and `redis-server --version`.
const PATIENCE: Duration = Duration::from_secs(5);
/// What passwords cost in a real shop (OWASP): cheaper ones deserve a caveat.
const REAL_PASSWORD: (u32, u32) = (19_456, 2);

/// Looks around.
pub(super) async fn read(cluster: &ClusterPart, table: &Table) -> Environment {
    let mut versions = BTreeMap::from([("lab".to_string(), env!("CARGO_PKG_VERSION").to_string())]);
    let strategies = cluster.strategy_names();
    if table.any_needs_store(&strategies)
        && let Some(line) = output("redis-server", &["--version"]).await
    {
        // "Redis server v=7.0.15 sha=00000000:0 …"
        let version = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="));
        versions.insert("redis-server".into(), version.unwrap_or(&line).to_string());
    }
    if cluster.balancer == BalancerKind::Haproxy
        && let Some(text) = output("haproxy", &["-v"]).await
    {
        // "HAProxy version 2.6.12-1 2023/12/16 - …"
        let version = text.split_whitespace().nth(2);
        versions.insert("haproxy".into(), version.unwrap_or(&text).to_string());
    }
    Environment {
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        cpu: cpu().unwrap_or_else(|| "unknown".into()),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".into(), |release| release.trim().to_string()),
        versions,
        git: git().await,
    }
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

async fn git() -> Option<String> {
    let commit = output("git", &["rev-parse", "--short", "HEAD"]).await?;
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]).await;
    Some(match changes {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}+changes"),
    })
}

/// What a program prints; `None` when it is missing, fails or hangs.
async fn output(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    output.status.success().then_some(text)
}

/// The scenario in words.
pub(super) fn settings(
    spec: &Spec,
    schedule: &[Fault],
    in_containers: bool,
) -> BTreeMap<String, String> {
    let load = &spec.load;
    let pace = match load.pace() {
        Pace::Closed {
            think_ms: (shortest, longest),
        } => format!("closed loop, {shortest} to {longest} ms of thinking between requests"),
        Pace::Open {
            arrivals_per_s,
            arrivals,
        } => format!(
            "open loop, {arrivals_per_s} arrivals a second, {}",
            arrivals.name()
        ),
    };
    let journey = load.journey.get_ref();
    let password = spec.cluster.password;
    let mut settings = BTreeMap::from([
        (
            "cluster",
            if in_containers {
                "containers, through their agents".into()
            } else {
                "processes on loopback".into()
            },
        ),
        ("load", pace),
        (
            "journey",
            format!(
                "browse {}, add line {}, read cart {}, remove line {}, log out {}",
                journey.browse,
                journey.add_line,
                journey.read_cart,
                journey.remove_line,
                journey.log_out
            ),
        ),
        ("after logout", after_logout(load.replays())),
        ("warm-up", format!("{} s", load.warm_up_s.get_ref())),
        ("work per request", format!("{} µs", spec.cluster.work_us)),
        (
            "password",
            format!(
                "argon2id, {} KiB, {} iterations",
                password.memory_kib, password.iterations
            ),
        ),
    ]);
    if !schedule.is_empty() {
        let faults: Vec<String> = schedule.iter().map(fault).collect();
        settings.insert("faults", faults.join("; "));
    }
    if let Some(quota_cores) = spec.cluster.quota_cores() {
        settings.insert("CPU limit of a node", format!("{quota_cores} cores"));
    }
    if load.revocations_per_s() > 0 {
        settings.insert(
            "revocations",
            format!(
                "an operator ends all logins of {} random users a second, one call each through the load balancer",
                load.revocations_per_s()
            ),
        );
    }
    let spare = *spec.cluster.spare_nodes.get_ref();
    if spare > 0 {
        settings.insert("spare nodes", spare.to_string());
    }
    let expiry = spec.cluster.setting_flags();
    if !expiry.is_empty() {
        settings.insert("settings of strategies", expiry.join(" "));
    }
    if let Some(memory) = &spec.memory {
        let sessions = memory.sessions.get_ref();
        settings.insert(
            "memory",
            format!("growth while {sessions} sessions were opened"),
        );
    }
    settings
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// `slow node-2 (running 20 %) from second 8 to 18`
fn fault(planned: &Fault) -> String {
    let Fault {
        at_s,
        action,
        target,
        ..
    } = planned;
    let more = match action {
        FaultAction::Slow { running } => format!(" (running {:.0} %)", running * 100.0),
        FaultAction::Drain {
            deadline_s: Some(deadline_s),
        } => format!(" (deadline {deadline_s} s)"),
        FaultAction::Scale { nodes } => format!(" (to {nodes})"),
        FaultAction::Link(disturbance) => match disturbance {
            Disturbance::Delay { by, direction } => {
                format!(" ({} ms, {})", by.as_millis(), way(*direction))
            }
            Disturbance::Bandwidth {
                bytes_per_s,
                direction,
            } => format!(" ({} KiB/s, {})", bytes_per_s / 1024, way(*direction)),
            Disturbance::Blackhole { direction } => format!(" ({})", way(*direction)),
            Disturbance::Reset => String::new(),
        },
        _ => String::new(),
    };
    let kind = action.kind().name();
    match planned.for_s {
        Some(for_s) => format!(
            "{kind} {target}{more} from second {at_s} to {}",
            at_s + for_s
        ),
        None => format!("{kind} {target}{more} at second {at_s}"),
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Both => "both ways",
        Direction::There => "there",
        Direction::Back => "back",
    }
}

/// What the proxies on disturbed links cost; `None` where there are none.
pub(super) fn proxies(schedule: &[Fault], cpu_us: u64, requests: u64) -> Option<String> {
    let mut links: Vec<String> = schedule
        .iter()
        .filter(|planned| matches!(planned.target, Target::Link(_)))
        .map(|planned| planned.target.to_string())
        .collect();
    links.sort();
    links.dedup();
    (!links.is_empty() && requests > 0).then(|| {
        format!(
            "So that links can be disturbed, the lab's own proxy stands on {}, and what passes there takes a detour. Over \
             all requests of all runs that took {:.1} µs of CPU per request, which no other figure contains.",
            links.join(", "),
            cpu_us as f64 / requests as f64
        )
    })
}

fn after_logout(replays: Replays) -> String {
    match replays {
        Replays { times: 1, .. } => "the credential is tried once, at once".into(),
        Replays { times, for_s } => {
            format!("the credential is tried {times} times within {for_s} s")
        }
    }
}

/// What limits the figures, the gravest first.
pub(super) fn caveats(spec: &Spec, environment: &Environment, in_containers: bool) -> Vec<String> {
    let mut caveats = Vec::new();
    if cfg!(debug_assertions) {
        caveats.push("This is a debug build: every cost is many times too high.".into());
    }
    caveats.push(format!(
        "Users, load balancer, nodes and store {}: compare the strategies with each other, not with figures from elsewhere.",
        if in_containers {
            // How many cores the others may use is their containers' business.
            "share a machine and talk over the networks between their containers".into()
        } else {
            format!("share {} cores and talk over loopback", environment.cores)
        }
    ));
    if let Some(quota_cores) = spec.cluster.quota_cores() {
        caveats.push(format!(
            "Each node may use {quota_cores} cores. When it has used that up it stands still until its next turn some \
             hundredths of a second later, and latencies show these pauses."
        ));
    }
    if spec.load.pace().is_saturating() {
        let full = match spec.cluster.quota {
            Some(_) => "nodes are busy",
            None => "machine is saturated",
        };
        caveats.push(format!(
            "Users never pause, so the {full} on purpose: latencies show queues, and only throughput is meant to be \
             compared."
        ));
    } else {
        caveats.push(
            "The machine is far from busy, so nearly every request wakes threads that sleep: CPU per request is several \
             times what it is under full load."
                .into(),
        );
    }
    let password = spec.cluster.password;
    if (password.memory_kib, password.iterations) < REAL_PASSWORD {
        caveats.push(format!(
            "Checking a password costs far less here (argon2id with {} KiB) than it should in a real shop ({} KiB): \
             logins would dominate everything else.",
            password.memory_kib, REAL_PASSWORD.0
        ));
    }
    if *spec.repeats.get_ref() == 1 {
        caveats
            .push("One run per strategy: small differences may be noise (see --repeats).".into());
    }
    caveats
}
