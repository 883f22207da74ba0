//! What a reader must know to judge figures: the machine, the versions, the settings, the caveats.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tokio::process::Command;

use crate::results::{Environment, StrategyProperties};
use crate::scenario::Spec;

/// For `git` and `redis-server --version`.
const PATIENCE: Duration = Duration::from_secs(5);
/// What passwords cost in a real shop (OWASP): cheaper ones deserve a caveat.
const REAL_PASSWORD: (u32, u32) = (19_456, 2);

/// Looks around.
pub(super) async fn read(strategies: &[String]) -> Environment {
    let mut versions = BTreeMap::from([("lab".to_string(), env!("CARGO_PKG_VERSION").to_string())]);
    if strategies.iter().any(|strategy| strategy == "redis")
        && let Some(line) = output("redis-server", &["--version"]).await
    {
        // "Redis server v=7.0.15 sha=00000000:0 …"
        let version = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="));
        versions.insert("redis-server".into(), version.unwrap_or(&line).to_string());
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

/// What a strategy declares; `None` for a name that there is not.
pub(super) fn properties(strategy: &str) -> Option<StrategyProperties> {
    let declared = session::STRATEGIES
        .iter()
        .find(|known| known.name == strategy)?;
    Some(StrategyProperties {
        state_lives: match declared.state_lives {
            session::StateLives::Node => "node".into(),
            session::StateLives::Store => "store".into(),
            session::StateLives::Client => "client".into(),
        },
        needs_affinity: declared.needs_affinity,
        survives_node_death: declared.survives_node_death,
        revocable_at_once: declared.revocable_at_once,
        store_round_trips: declared.store_round_trips,
        logout: declared.logout.into(),
    })
}

/// The scenario in words.
pub(super) fn settings(spec: &Spec) -> BTreeMap<String, String> {
    let load = &spec.load;
    let (shortest, longest) = load.think();
    let journey = load.journey.get_ref();
    let password = spec.cluster.password;
    let mut settings = BTreeMap::from([
        (
            "load",
            format!("closed loop, {shortest} to {longest} ms of thinking between requests"),
        ),
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
        ("warm-up", format!("{} s", load.warm_up_s.get_ref())),
        ("work a request", format!("{} µs", spec.cluster.work_us)),
        (
            "password",
            format!(
                "argon2id, {} KiB, {} iterations",
                password.memory_kib, password.iterations
            ),
        ),
    ]);
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

/// What limits the figures, the gravest first.
pub(super) fn caveats(spec: &Spec, environment: &Environment) -> Vec<String> {
    let mut caveats = Vec::new();
    if cfg!(debug_assertions) {
        caveats.push("This is a debug build: every cost is many times too high.".into());
    }
    caveats.push(format!(
        "Users, load balancer, nodes and store share {} cores and talk over loopback: compare the strategies with each \
         other, not with figures from elsewhere.",
        environment.cores
    ));
    if spec.load.is_saturating() {
        caveats.push(
            "Users never pause, so the machine is saturated on purpose: latencies show queues, and only throughput is \
             meant to be compared."
                .into(),
        );
    } else {
        caveats.push(
            "The machine is far from busy, so nearly every request wakes threads that sleep: CPU a request is several \
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
        caveats.push("One run a strategy: small differences may be chance (see --repeats).".into());
    }
    caveats
}
