//! One run: one scenario, one strategy, one repeat, on a cluster of its own.
//!
//! ```text
//! cluster up ─▶ memory ─▶ warm-up ─▶ measured part, with faults ─▶ settle ─▶ final reads ─▶ cluster down ─▶ figures
//! ```
//! The users are another process; both sides follow the same times on the same clock, so nobody has to be told when.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::{Agent, ProcessSpec, Ready};
use tokio::sync::watch;

use super::progress::Progress;
use super::stage::Stage;
use super::{Options, disk, memory, samples};
use crate::attack::{NOT_RECORDED, Plan, Revocations};
use crate::exit::{Exit, Failure};
use crate::scenario::Scenario;
use cluster::Clock;
use cluster::faults::{self, Scene};
use cluster::faults::{Fault, Target};
use cluster::{Cluster, ClusterError, ClusterSpec, Deployment};
use evidence::checker;
use evidence::history::file::{self, Appender};
use evidence::history::{History, Line, Meta, SCHEMA};
use evidence::pace::REQUEST_TIMEOUT;
use evidence::results::Run;
use evidence::statistics;
use evidence::strategy::Table;

/// For the users' process to start before its first user is due.
const LEAD_US: i64 = 500_000;
/// From the end of the measured part to the final reads: by then the load balancer has noticed every node that came
/// back. (A user whose last request takes longer reads when that has ended.)
const SETTLE_US: i64 = 1_500_000;
/// For the final reads, with their repetitions.
const FINAL_READS: Duration = Duration::from_secs(10);
/// To be ready; a process that serves nobody is ready when it runs.
const USERS_START: Duration = Duration::from_secs(5);

/// A history above this size, some 90,000 operations, is compressed.
const LARGE_HISTORY_BYTES: u64 = 32 << 20;

/// What one run needs to know.
pub(super) struct Setup<'a> {
    /// What the nodes serve.
    pub(super) table: &'a Table,
    /// What the command line says of the nodes, among other things.
    pub(super) options: &'a Options,
    pub(super) scenario: &'a Scenario,
    /// A cluster that is up already, to be used instead of an own one.
    pub(super) deployment: Option<&'a Deployment>,
    pub(super) schedule: &'a [Fault],
    pub(super) strategy: &'a str,
    pub(super) repeat: u32,
    pub(super) history: PathBuf,
    pub(super) cores: usize,
}

/// What came out of one run.
pub(super) struct Performed {
    pub(super) run: Run,
    /// CPU that the proxies on disturbed links took, where there are some …
    pub(super) proxies_us: Option<u64>,
    /// … for so many requests.
    pub(super) requests: u64,
    /// The cluster did not end as it should, or could not be put back: no run may follow.
    pub(super) not_ended: Option<Failure>,
}

impl Setup<'_> {
    /// Performs the run and computes its figures.
    pub(super) async fn perform(&self, progress: &Progress) -> Result<Performed, Failure> {
        let spec = &self.scenario.spec;
        progress.begin(self.strategy, spec.cluster.node_count(), self.repeat);
        let folder = self.history.parent().unwrap_or(Path::new("."));
        disk::check(&[folder, &std::env::temp_dir()])?;
        progress.phase("starting the cluster");
        let cluster = match self.deployment {
            Some(deployment) => Cluster::join(&self.cluster_spec(), deployment).await?,
            None => Cluster::start(self.cluster_spec()).await?,
        };
        let probe = match &spec.memory {
            Some(memory) => {
                progress.phase("opening many sessions to see what they take");
                let sessions = *memory.sessions.get_ref();
                let first_account = spec.load.users.get_ref() + 1;
                Some(memory::probe(&cluster, self.strategy, first_account, sessions).await?)
            }
            None => None,
        };

        let meta = self.meta()?;
        let clock = Clock::starting_in(LEAD_US - meta.warm_up_from_us);
        let meta = Meta {
            origin_unix_ms: unix_ms() - clock.now_us() / 1_000,
            ..meta
        };
        let mut history = Appender::open(&self.history)?;
        history.append(&Line::Meta(Box::new(meta.clone())))?;
        if let Some(probe) = probe {
            history.append(&Line::Memory(probe))?;
        }
        let history = Mutex::new(history);

        let users = self.users(&cluster, &meta, clock)?;
        users.start().await.map_err(ClusterError::from)?;
        let stage = Stage {
            cluster: &cluster,
            users: &users,
            clock,
            history: &history,
            unwritable: watch::Sender::new(None),
        };
        let problems = self.act(&stage, &meta, progress).await?;
        drop(users);
        let proxies_us = cluster.links_cpu_us().await;
        progress.phase("ending the cluster");
        let not_ended = cluster.shutdown().await.err().map(Failure::from);

        progress.phase("checking the history");
        let history = History::read(&self.history)?;
        let mut run = statistics::summarise(&history, &checker::check(&history));
        if !problems.is_empty() {
            run.generator.valid = false;
            let reasons = run.generator.reason.take().into_iter().chain(problems);
            run.generator.reason = Some(reasons.collect::<Vec<_>>().join("; "));
        }
        // The run is over and its figures are there; that the file stays large is no reason to throw them away.
        if let Err(error) = file::compress_if_large(&self.history, LARGE_HISTORY_BYTES) {
            tracing::warn!("{error}");
        }
        Ok(Performed {
            run,
            proxies_us,
            requests: history.operations.len() as u64,
            not_ended,
        })
    }

    /// Everything while users act: samples, faults, waiting for the end. Returns what went wrong with the measurement.
    async fn act(
        &self,
        stage: &Stage<'_>,
        meta: &Meta,
        progress: &Progress,
    ) -> Result<Vec<String>, Failure> {
        let note = |event| {
            stage
                .note(&Line::Fault(event))
                .map_err(|failure| failure.message)
        };
        let scene = Scene {
            cluster: stage.cluster,
            clock: stage.clock,
            note: &note,
            tell: &|what| progress.phase(what),
        };
        let around = async {
            let (sampled, problems) = tokio::join!(
                samples::take(stage, self.schedule, meta.measured_until_us),
                faults::inject(&scene, self.schedule),
            );
            progress.phase("final reads");
            sampled.map(|()| problems)
        };
        let users = async {
            let time_left = stage.until(meta.final_read_us + micros(FINAL_READS));
            match tokio::time::timeout(time_left, stage.users.ended()).await {
                Ok(Ok(status)) if status.success() => Ok(None),
                Ok(Ok(status)) if status.code() == Some(NOT_RECORDED) => {
                    Err(Failure::new(Exit::Invalid, self.not_recorded(stage)))
                }
                Ok(ended) => Ok(Some(users_failed(stage, &format!("{ended:?}")))),
                Err(_) => Ok(Some("the users' process did not end in time".to_string())),
            }
        };
        tokio::pin!(around, users);
        let begin_us = stage.clock.now_us();
        let follow = progress.follow(stage.clock, begin_us, meta);
        let both = async {
            tokio::select! {
                // Users that end before everything else is done end the run: nothing is left to measure.
                problem = &mut users => Ok(problem?.into_iter().collect()),
                problems = &mut around => {
                    let mut problems: Vec<String> = problems?;
                    problems.extend(users.await?);
                    Ok(problems)
                }
            }
        };
        let folder = self.history.parent().unwrap_or(Path::new("."));
        let folders = [folder, stage.cluster.dir()];
        tokio::select! {
            problems = both => problems,
            failure = disk::full(&folders) => Err(failure),
            failure = stage.unwritable() => Err(failure),
            never = follow => match never {},
        }
    }

    /// The users' process said it, if there was room for its log.
    fn not_recorded(&self, stage: &Stage<'_>) -> String {
        let said = last_line(stage);
        said.unwrap_or_else(|| {
            format!(
                "the users' process could not write the history {}: probably the disk is full",
                self.history.display()
            )
        })
    }

    fn cluster_spec(&self) -> ClusterSpec {
        let cluster = &self.scenario.spec.cluster;
        ClusterSpec {
            shop: self.options.shop.clone(),
            nodes: cluster.node_count(),
            spare_nodes: *cluster.spare_nodes.get_ref(),
            strategies: vec![self.strategy.to_string()],
            public_ports: vec![0],
            accounts: *cluster.accounts.get_ref(),
            password_memory_kib: cluster.password.memory_kib,
            password_iterations: cluster.password.iterations,
            work_us: cluster.work_us,
            quota: cluster.quota_cores(),
            shop_args: [cluster.setting_flags(), self.options.node_flags.clone()].concat(),
            balancer: cluster.balancer,
            store: faults::needs_store(self.schedule),
            links: self
                .schedule
                .iter()
                .filter_map(|planned| match &planned.target {
                    Target::Link(link) => Some(link.clone()),
                    _ => None,
                })
                .collect(),
            ..ClusterSpec::default()
        }
    }

    fn meta(&self) -> Result<Meta, Failure> {
        let spec = &self.scenario.spec;
        let seconds = |seconds: u64| micros(Duration::from_secs(seconds));
        let measured_until_us = seconds(*spec.load.measure_s.get_ref());
        let about = self.table.about(self.strategy).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("there is no strategy {}", self.strategy),
            )
        })?;
        let lifetime = about.lifetime(&spec.cluster.settings());
        Ok(Meta {
            schema: SCHEMA.into(),
            scenario: self.scenario.name.clone(),
            strategy: self.strategy.to_string(),
            properties: about.properties(),
            repeat: self.repeat,
            seed: spec.seed,
            nodes: spec.cluster.node_names(),
            balancer: spec.cluster.balancer.name().into(),
            users: *spec.load.users.get_ref(),
            pace: spec.load.pace(),
            cores: self.cores,
            origin_unix_ms: 0,
            warm_up_from_us: -seconds(*spec.load.warm_up_s.get_ref()),
            measured_until_us,
            final_read_us: measured_until_us + SETTLE_US,
            lifetime: Some(lifetime),
        })
    }

    /// The users' process, with its plan.
    fn users(&self, cluster: &Cluster, meta: &Meta, clock: Clock) -> Result<Agent, Failure> {
        let spec = &self.scenario.spec;
        let plan = Plan {
            url: cluster.url(self.strategy),
            history: self.history.clone(),
            clock,
            warm_up_from_us: meta.warm_up_from_us,
            measured_until_us: meta.measured_until_us,
            final_read_us: meta.final_read_us,
            users: meta.users,
            password: cluster.password().to_string(),
            pace: meta.pace,
            journey: *spec.load.journey.get_ref(),
            replays: spec.load.replays(),
            revocations: Some(Revocations {
                per_s: spec.load.revocations_per_s(),
                token: cluster.operator_token().to_string(),
            })
            .filter(|revocations| revocations.per_s > 0),
            request_timeout: REQUEST_TIMEOUT,
            seed: meta.seed,
        };
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::NoCluster,
                format!("cannot prepare the users' process: {error}"),
            )
        };
        // The cluster's folder is private, and gone with the cluster.
        let path = cluster.dir().join("plan.json");
        let text = serde_json::to_string(&plan).map_err(|error| failed(&error))?;
        fs::write(&path, text).map_err(|error| failed(&error))?;
        Ok(Agent::new(ProcessSpec {
            name: "users".into(),
            // This very program, even if its file was rebuilt meanwhile.
            program: "/proc/self/exe".into(),
            args: vec!["attack".into(), path.display().to_string()],
            env: vec![],
            log: Some(cluster.dir().join("users.log")),
            ready: Ready::Started,
            ready_within: USERS_START,
            quota: None,
        }))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

/// The end of its log says most.
fn users_failed(stage: &Stage<'_>, ended: &str) -> String {
    let last = last_line(stage);
    let last = last.as_deref().unwrap_or("its log is empty");
    format!("the users' process failed ({ended}): {last}")
}

fn last_line(stage: &Stage<'_>) -> Option<String> {
    let log = fs::read_to_string(stage.cluster.dir().join("users.log")).ok()?;
    log.lines().next_back().map(str::to_owned)
}
