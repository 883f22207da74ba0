//! `scenarios/chaos-short.toml` seed by seed, with all strategies side by side on one cluster: the same fault hits all of them at the
//! same moment, and what each loses must be what theory says of it. One seed is part of the tests; for more:
//!
//! ```console
//! $ CHAOS_SEEDS=1..=100 cargo nextest run -p lab --test chaos --no-capture
//! ```
//!
//! As in `lab run`, an invalid measurement proves nothing, not even a failure: a fault did not take effect, or the machine was so busy
//! that users acted late, and nodes missed their checks without any fault. Such a seed is tried again, and has no verdict in the
//! end. `CHAOS_KEEP=DIR` keeps the histories of seeds that failed, for `lab check`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test reports, in its helper functions too.

mod cheap;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use cluster::Clock;
use cluster::faults::{self, Scene};
use cluster::faults::{Fault, Target};
use cluster::{Cluster, ClusterSpec};
use evidence::history::file::Appender;
use evidence::history::{History, Line, Meta, SCHEMA};
use evidence::pace::REQUEST_TIMEOUT;
use evidence::{checker, expectations, statistics};
use lab::attack::Plan;
use lab::scenario::Scenario;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A seed with a fault that leads users elsewhere while their node keeps its sessions.
const USUAL_SEED: u64 = 7;
/// How often a seed is tried that proves nothing.
const ATTEMPTS: u32 = 3;
/// For three processes to start before the first user is due.
const LEAD_US: i64 = 1_500_000;
/// For the load balancer to notice every node that came back.
const SETTLE_US: i64 = 1_500_000;
/// For the last reads of users whose last request took its time.
const USERS_END: Duration = Duration::from_mins(1);

/// A busy machine lets requests run out of time. What is lost does not depend on that.
const ON_A_QUIET_MACHINE: &str = "no request fails that the balancer may repeat";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_seed_comes_up_with_is_explained() {
    let mut found = Vec::new();
    for seed in seeds() {
        for _ in 0..ATTEMPTS {
            match play(seed).await {
                Err(NoVerdict(why)) => println!("seed {seed}: no verdict: {why}"),
                Ok(surprises) => {
                    println!("seed {seed}: surprises: {}", surprises.len());
                    found.extend(surprises.iter().map(|one| format!("seed {seed}: {one}")));
                    break;
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// `CHAOS_SEEDS`: `7`, or `1..=100`.
fn seeds() -> RangeInclusive<u64> {
    let Ok(text) = std::env::var("CHAOS_SEEDS") else {
        return USUAL_SEED..=USUAL_SEED;
    };
    let (first, last) = text.split_once("..=").unwrap_or((&text, &text));
    first.parse().unwrap()..=last.parse().unwrap()
}

/// Why a game proves nothing.
struct NoVerdict(String);

/// What one seed showed that no theory explains.
async fn play(seed: u64) -> Result<Vec<String>, NoVerdict> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/chaos-short.toml");
    let mut scenario = Scenario::read(&path, &evidence::sample::table()).unwrap();
    scenario.spec.seed = seed;
    let folder = TempDir::new().unwrap();
    let surprises = Game::begin(&scenario, &folder).await.play().await?;
    if !surprises.is_empty()
        && let Ok(kept) = std::env::var("CHAOS_KEEP")
    {
        let kept = Path::new(&kept).join(format!("seed-{seed}"));
        fs::create_dir_all(&kept).unwrap();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
        }
    }
    Ok(surprises)
}

/// One strategy: what is written down about it, and its users.
struct Lane {
    path: PathBuf,
    history: Mutex<Appender>,
    users: Child,
}

struct Game<'a> {
    scenario: &'a Scenario,
    schedule: Vec<Fault>,
    cluster: Cluster,
    clock: Clock,
    lanes: Vec<Lane>,
}

impl<'a> Game<'a> {
    async fn begin(scenario: &'a Scenario, folder: &TempDir) -> Self {
        let schedule = scenario.spec.schedule();
        let cluster = Cluster::start(cluster_spec(scenario, &schedule))
            .await
            .unwrap();
        let warm_up_s = *scenario.spec.load.warm_up_s.get_ref();
        let clock = Clock::starting_in(LEAD_US + seconds(warm_up_s));
        let mut game = Self {
            scenario,
            schedule,
            cluster,
            clock,
            lanes: Vec::new(),
        };
        for strategy in scenario.spec.cluster.strategy_names() {
            let lane = game.lane(&strategy, folder);
            game.lanes.push(lane);
        }
        game
    }

    fn lane(&self, strategy: &str, folder: &TempDir) -> Lane {
        let meta = self.meta(strategy);
        let path = folder.path().join(format!("history-{strategy}.jsonl"));
        let mut history = Appender::open(&path).unwrap();
        let load = &self.scenario.spec.load;
        let plan = Plan {
            url: self.cluster.url(strategy),
            history: path.clone(),
            clock: self.clock,
            warm_up_from_us: meta.warm_up_from_us,
            measured_until_us: meta.measured_until_us,
            final_read_us: meta.final_read_us,
            users: meta.users,
            password: self.cluster.password().to_string(),
            pace: meta.pace,
            journey: *load.journey.get_ref(),
            replays: load.replays(),
            revocations: None,
            request_timeout: REQUEST_TIMEOUT,
            seed: meta.seed,
        };
        history.append(&Line::Meta(Box::new(meta))).unwrap();
        let file = self.cluster.dir().join(format!("plan-{strategy}.json"));
        fs::write(&file, serde_json::to_string(&plan).unwrap()).unwrap();
        let users = Command::new(env!("CARGO_BIN_EXE_lab"))
            .arg("attack")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Lane {
            path,
            history: Mutex::new(history),
            users,
        }
    }

    fn meta(&self, strategy: &str) -> Meta {
        let spec = &self.scenario.spec;
        let measured_until_us = seconds(*spec.load.measure_s.get_ref());
        let about = self.cluster.about(strategy).unwrap();
        let lifetime = about.lifetime(&spec.cluster.settings());
        Meta {
            schema: SCHEMA.into(),
            scenario: self.scenario.name.clone(),
            strategy: strategy.into(),
            properties: about.properties(),
            repeat: 1,
            seed: spec.seed,
            nodes: spec.cluster.node_names(),
            balancer: spec.cluster.balancer.name().into(),
            users: *spec.load.users.get_ref(),
            pace: spec.load.pace(),
            cores: 1,
            origin_unix_ms: unix_ms() - self.clock.now_us() / 1_000,
            warm_up_from_us: -seconds(*spec.load.warm_up_s.get_ref()),
            measured_until_us,
            final_read_us: measured_until_us + SETTLE_US,
            lifetime: Some(lifetime),
        }
    }

    async fn play(mut self) -> Result<Vec<String>, NoVerdict> {
        let note = |event: evidence::history::FaultEvent| {
            let line = Line::Fault(event);
            for lane in &self.lanes {
                lane.history.lock().unwrap().append(&line).unwrap();
            }
            Ok(())
        };
        let scene = Scene {
            cluster: &self.cluster,
            clock: self.clock,
            note: &note,
            tell: &|_| (),
        };
        let problems = faults::inject(&scene, &self.schedule).await;
        let late = |_| NoVerdict("the users did not come to their end in time".into());
        for lane in &mut self.lanes {
            let ended = tokio::time::timeout(USERS_END, lane.users.wait()).await;
            let status = ended.map_err(late)?.unwrap();
            assert!(status.success(), "{status}");
        }
        self.cluster.shutdown().await.unwrap();
        if !problems.is_empty() {
            return Err(NoVerdict(problems.join("; ")));
        }
        let mut surprises = Vec::new();
        for lane in &self.lanes {
            surprises.extend(judge(&lane.path, self.scenario)?);
        }
        Ok(surprises)
    }
}

fn cluster_spec(scenario: &Scenario, schedule: &[Fault]) -> ClusterSpec {
    let cluster = &scenario.spec.cluster;
    let names = cluster.strategy_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let links = schedule.iter().filter_map(|planned| match &planned.target {
        Target::Link(link) => Some(link.clone()),
        _ => None,
    });
    ClusterSpec {
        accounts: *cluster.accounts.get_ref(),
        password_memory_kib: cluster.password.memory_kib,
        password_iterations: cluster.password.iterations,
        links: links.collect(),
        ..cheap::spec(cluster.node_count(), &names)
    }
}

fn judge(path: &Path, scenario: &Scenario) -> Result<Vec<String>, NoVerdict> {
    let history = History::read(path).unwrap();
    assert!(history.counts.is_some(), "users came to their end");
    let verdict = checker::check(&history);
    let run = statistics::summarise(&history, &verdict);
    let (expectations, _) = expectations::judge(std::slice::from_ref(&run), &scenario.thresholds);
    let missed = expectations
        .into_iter()
        .filter(|missed| !missed.held && missed.expectation != ON_A_QUIET_MACHINE);
    let mut surprises: Vec<String> = missed
        .map(|missed| {
            format!(
                "{}: expected “{}”, observed: {}",
                missed.strategy, missed.expectation, missed.observed
            )
        })
        .collect();
    if let (false, Some(why)) = (surprises.is_empty(), run.generator.reason) {
        return Err(NoVerdict(format!("{}: {why}", run.strategy)));
    }
    if !surprises.is_empty() {
        let told = verdict
            .witnesses
            .iter()
            .map(|witness| format!("{}: {:?}: {}", run.strategy, witness.kind, witness.sentence));
        surprises.extend(told);
    }
    Ok(surprises)
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds * 1_000_000).unwrap()
}

fn unix_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
