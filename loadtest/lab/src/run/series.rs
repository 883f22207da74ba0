//! All runs of a scenario, and what the finished ones show together.

use super::folder::Folder;
use super::progress::Progress;
use super::{Options, environment, one};
use crate::exit::{Exit, Failure};
use crate::scenario::Scenario;
use cluster::Deployment;
use cluster::faults::Fault;
use evidence::results::{Environment, Expectation, Results, Run, SCHEMA, Verdict};
use evidence::strategy::Table;
use evidence::{expectations, statistics};

/// All runs of a scenario, interleaved (ABC ABC, at each size of cluster): what changes on the machine over time changes for
/// all strategies. Those that are finished are kept, whatever ends the rest.
pub(super) struct Series<'a> {
    scenario: &'a Scenario,
    /// What the nodes serve.
    table: &'a Table,
    /// What the command line says of the nodes, among other things.
    options: &'a Options,
    /// A cluster that is up already, to be used instead of own ones.
    deployment: Option<&'a Deployment>,
    /// The same scenario at each of its sizes of cluster.
    sizes: Vec<Scenario>,
    /// The CPU limit of a node, where sizes are compared.
    quota_cores: Option<f64>,
    command: String,
    started_at: chrono::DateTime<chrono::Utc>,
    schedule: Vec<Fault>,
    environment: Environment,
    progress: Progress,
    /// How many runs there are to be.
    planned: usize,
    /// Those that are finished.
    runs: Vec<Run>,
    /// CPU of the proxies on disturbed links, and requests, over all finished runs.
    proxies_us: u64,
    requests: u64,
}

impl<'a> Series<'a> {
    pub(super) async fn begin(
        scenario: &'a Scenario,
        table: &'a Table,
        options: &'a Options,
        deployment: Option<&'a Deployment>,
        command: String,
    ) -> Self {
        let spec = &scenario.spec;
        let sizes = scenario.by_size();
        let quota_cores = spec.cluster.quota_cores().filter(|_| sizes.len() > 1);
        let planned =
            spec.cluster.strategies.len() * sizes.len() * *spec.repeats.get_ref() as usize;
        Self {
            scenario,
            table,
            options,
            deployment,
            sizes,
            quota_cores,
            command,
            started_at: chrono::Utc::now(),
            schedule: spec.schedule(),
            environment: environment::read(&spec.cluster, table).await,
            progress: Progress::new(planned),
            planned,
            runs: Vec::new(),
            proxies_us: 0,
            requests: 0,
        }
    }

    pub(super) async fn measure(&mut self, folder: &Folder) -> Result<(), Failure> {
        let spec = &self.scenario.spec;
        let several = self.sizes.len() > 1;
        for repeat in 1..=*spec.repeats.get_ref() {
            for scenario in &self.sizes {
                let nodes = several.then(|| scenario.spec.cluster.node_count());
                for strategy in &spec.cluster.strategy_names() {
                    let run = one::Setup {
                        scenario,
                        table: self.table,
                        options: self.options,
                        deployment: self.deployment,
                        schedule: &self.schedule,
                        strategy,
                        repeat,
                        history: folder.history(strategy, nodes, repeat),
                        cores: self.environment.cores,
                    };
                    let performed = run.perform(&self.progress).await;
                    let mut performed = performed.map_err(|failure| {
                        let number = self.runs.len() + 1;
                        let nodes = nodes.map(|nodes| format!(", nodes {nodes}"));
                        Failure::new(
                            failure.exit,
                            format!(
                                "run {number} ({strategy}{}, repeat {repeat}) failed: {failure}",
                                nodes.unwrap_or_default()
                            ),
                        )
                    })?;
                    self.proxies_us += performed.proxies_us.unwrap_or(0);
                    self.requests += performed.requests;
                    if let Some(quota_cores) = self.quota_cores {
                        let cores = self.environment.cores;
                        statistics::refuse(&mut performed.run, quota_cores, cores);
                    }
                    self.runs.push(performed.run);
                    if let Some(failure) = performed.not_ended {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(())
    }

    /// What the finished runs show, and what ended the series before the last of them; `None` where none is.
    pub(super) fn results(self, ended: Option<&Failure>) -> Option<Results> {
        let (spec, runs) = (&self.scenario.spec, self.runs);
        if runs.is_empty() {
            return None;
        }
        let in_containers = self.deployment.is_some();
        let mut caveats = environment::caveats(spec, &self.environment, in_containers);
        caveats.extend(environment::proxies(
            &self.schedule,
            self.proxies_us,
            self.requests,
        ));
        let (expectations, matrix) = expectations::judge(&runs, &self.scenario.thresholds);
        let (verdict, reasons) = judge(&runs, &expectations);
        let cores = self.environment.cores;
        let scale_out = self.quota_cores.map_or_else(Vec::new, |quota_cores| {
            statistics::scale_out(&runs, quota_cores, cores)
        });
        Some(Results {
            schema: SCHEMA.into(),
            scenario: self.scenario.name.clone(),
            question: spec.question.clone(),
            seed: spec.seed,
            command: self.command,
            started_at: self
                .started_at
                .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            settings: environment::settings(spec, &self.schedule, in_containers),
            caveats,
            runs_planned: self.planned,
            // A signal needs no words. The rest of a failure, such as the end of a log, is on the terminal.
            stopped_because: ended
                .filter(|failure| failure.exit != Exit::Interrupted)
                .and_then(|failure| failure.message.lines().next())
                .map(|line| line.trim_end_matches(['.', ':']).to_owned()),
            environment: self.environment,
            verdict,
            reasons,
            expectations,
            matrix,
            summary: statistics::summaries(&runs, spec.seed),
            comparisons: statistics::comparisons(&runs, spec.seed),
            scale_out,
            runs,
        })
    }
}

/// Invalid measurements prove nothing, not even failures; so they are judged first.
fn judge(runs: &[Run], expectations: &[Expectation]) -> (Verdict, Vec<String>) {
    let repeated = runs.iter().any(|run| run.repeat > 1);
    let several_sizes = runs.iter().any(|run| Some(run.nodes) != first_nodes(runs));
    let about = |run: &Run, reason: &str| {
        let nodes = several_sizes.then(|| format!(", nodes {}", run.nodes));
        let repeat = repeated.then(|| format!(", repeat {}", run.repeat));
        format!(
            "{}{}{}: {reason}",
            run.strategy,
            nodes.unwrap_or_default(),
            repeat.unwrap_or_default()
        )
    };
    let invalid: Vec<String> = runs
        .iter()
        .filter_map(|run| Some(about(run, run.generator.reason.as_deref()?)))
        .collect();
    if !invalid.is_empty() {
        return (Verdict::Invalid, invalid);
    }
    let failed: Vec<String> = expectations
        .iter()
        .filter(|expectation| !expectation.held)
        .map(|missed| {
            format!(
                "{}: expected “{}”, observed: {}",
                missed.strategy, missed.expectation, missed.observed
            )
        })
        .collect();
    let verdict = if failed.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Fail
    };
    (verdict, failed)
}

fn first_nodes(runs: &[Run]) -> Option<usize> {
    runs.first().map(|run| run.nodes)
}
