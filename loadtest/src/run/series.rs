//! All runs of a scenario, and what the finished ones show together.

use super::folder::Folder;
use super::progress::Progress;
use super::{environment, one};
use crate::exit::Failure;
use crate::results::{Environment, Expectation, Results, Run, SCHEMA, Verdict};
use crate::scenario::Scenario;
use crate::scenario::schedule::Planned;
use crate::{expectations, statistics};

/// All runs of a scenario, interleaved (ABC ABC): what changes on the machine over time changes for all strategies. Those that
/// are finished are kept, also if somebody stops the rest.
pub(super) struct Series<'a> {
    scenario: &'a Scenario,
    command: String,
    started_at: chrono::DateTime<chrono::Utc>,
    schedule: Vec<Planned>,
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
    pub(super) async fn begin(scenario: &'a Scenario, command: String) -> Self {
        let spec = &scenario.spec;
        let planned = spec.cluster.strategies.len() * *spec.repeats.get_ref() as usize;
        Self {
            scenario,
            command,
            started_at: chrono::Utc::now(),
            schedule: spec.schedule(),
            environment: environment::read(&spec.cluster).await,
            progress: Progress::new(planned),
            planned,
            runs: Vec::new(),
            proxies_us: 0,
            requests: 0,
        }
    }

    pub(super) async fn measure(&mut self, folder: &Folder) -> Result<(), Failure> {
        let spec = &self.scenario.spec;
        for repeat in 1..=*spec.repeats.get_ref() {
            for strategy in &spec.cluster.strategy_names() {
                let run = one::Setup {
                    scenario: self.scenario,
                    schedule: &self.schedule,
                    strategy,
                    repeat,
                    history: folder.history(strategy, repeat),
                    cores: self.environment.cores,
                };
                let performed = run.perform(&self.progress).await?;
                self.proxies_us += performed.proxies_us.unwrap_or(0);
                self.requests += performed.requests;
                self.runs.push(performed.run);
            }
        }
        Ok(())
    }

    /// What the finished runs show; `None` where none is.
    pub(super) fn results(self) -> Option<Results> {
        let (spec, runs) = (&self.scenario.spec, self.runs);
        if runs.is_empty() {
            return None;
        }
        let mut caveats = environment::caveats(spec, &self.environment);
        caveats.extend(environment::proxies(
            &self.schedule,
            self.proxies_us,
            self.requests,
        ));
        let (expectations, matrix) = expectations::judge(&runs, &self.scenario.thresholds);
        let (verdict, reasons) = judge(&runs, &expectations);
        Some(Results {
            schema: SCHEMA.into(),
            scenario: self.scenario.name.clone(),
            question: spec.question.clone(),
            seed: spec.seed,
            command: self.command,
            started_at: self
                .started_at
                .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            settings: environment::settings(spec, &self.schedule),
            caveats,
            runs_planned: self.planned,
            environment: self.environment,
            verdict,
            reasons,
            expectations,
            matrix,
            summary: statistics::summaries(&runs, spec.seed),
            comparisons: statistics::comparisons(&runs, spec.seed),
            runs,
        })
    }
}

/// Invalid measurements prove nothing, not even failures; so they are judged first.
fn judge(runs: &[Run], expectations: &[Expectation]) -> (Verdict, Vec<String>) {
    let repeated = runs.iter().any(|run| run.repeat > 1);
    let about = |run: &Run, reason: &str| {
        if repeated {
            format!("{}, repeat {}: {reason}", run.strategy, run.repeat)
        } else {
            format!("{}: {reason}", run.strategy)
        }
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
