//! Everything that a report says in words and tables, computed once from the results. The formats (HTML, Markdown, terminal)
//! only lay it out, so that they cannot contradict each other.

use super::scale_out::{self, ScaleOutPart};
use super::summary::{self, Summary};
use super::table::{Column, Table, all_columns, columns};
use super::theory::{self, Judged};
use super::{comparison, pairs, proof};
use evidence::format::{self, figure, list};
use evidence::results::{Results, Run, Verdict, of_one_size};

/// The contents of a report, in the order in which to read them.
pub(super) struct Document {
    /// The question that was asked.
    pub(super) question: String,
    /// The scenario's name.
    pub(super) scenario: String,
    /// RFC 3339.
    pub(super) started_at: String,
    /// `pass`, `fail` or `invalid`, as in `results.json`.
    pub(super) verdict: &'static str,
    /// The verdict as a sentence.
    pub(super) verdict_sentence: &'static str,
    /// Why not `pass`.
    pub(super) reasons: Vec<String>,
    /// What to know before the first figure, the generator first.
    pub(super) caveats: Vec<String>,
    /// What the figures say, in three or four sentences.
    pub(super) headline: Vec<String>,
    /// What else they say.
    pub(super) summary: Vec<String>,
    /// What had to come out, and what did.
    pub(super) expectations: Vec<Judged>,
    /// What theory says.
    pub(super) matrix: Table,
    /// Why it says so: where, and the reason.
    pub(super) why: Vec<(String, String)>,
    /// What was run: name and value.
    pub(super) settings: Vec<(String, String)>,
    /// On what: name and value.
    pub(super) machine: Vec<(String, String)>,
    /// Throughput by nodes, where there were several sizes of cluster.
    pub(super) scale_out: Option<ScaleOutPart>,
    /// The figures.
    pub(super) figures: Table,
    /// Strategies against each other, where they ran more than once.
    pub(super) pairs: Option<Table>,
    /// What the strategies declare.
    pub(super) properties: Table,
    /// What the checker proved.
    pub(super) anomalies: Table,
    /// The proofs: which run, and the story.
    pub(super) proofs: Vec<(String, String)>,
    /// Whether the generator may be believed.
    pub(super) generator: Table,
    /// What to type to measure it again.
    pub(super) command: String,
    /// From which commit and seed.
    pub(super) origin: String,
}

impl Document {
    /// Computes all of it.
    pub(super) fn of(results: &Results) -> Self {
        let (columns, all) = (columns(results), all_columns(results));
        let (verdict, verdict_sentence) = match results.verdict {
            Verdict::Pass => ("pass", "Every expectation held."),
            Verdict::Fail => ("fail", "An expectation failed."),
            Verdict::Invalid => (
                "invalid",
                "The measurement is invalid: do not use these figures.",
            ),
        };
        let Summary {
            mut headline,
            mut others,
        } = summary::of(&columns, &all, &results.comparisons);
        let scale_out = scale_out::part(results);
        if let Some(part) = &scale_out {
            // That is what was asked.
            others = std::mem::replace(&mut headline, part.sentences.clone())
                .into_iter()
                .chain(others)
                .collect();
        }
        Self {
            question: results.question.clone(),
            scenario: results.scenario.clone(),
            started_at: results.started_at.clone(),
            verdict,
            verdict_sentence,
            reasons: results.reasons.clone(),
            caveats: caveats(results),
            headline,
            summary: others,
            expectations: theory::expectations(results),
            matrix: theory::matrix(results),
            why: theory::why(results),
            settings: settings(results, &all),
            machine: machine(results),
            scale_out,
            figures: comparison::figures(&columns, &results.summary),
            pairs: pairs::table(results),
            properties: comparison::properties(&columns),
            anomalies: comparison::anomalies(&all),
            proofs: proof::of(results),
            generator: comparison::generator(&all),
            command: results.command.clone(),
            origin: origin(results),
        }
    }
}

/// The gravest first. The generator shares the machine with what it measures: what it took is said before any figure.
fn caveats(results: &Results) -> Vec<String> {
    let mut caveats = Vec::new();
    caveats.extend(stopped_early(results));
    for run in results.runs.iter().filter(|run| !run.generator.valid) {
        let reason = run.generator.reason.as_deref();
        let reason = reason.unwrap_or("no reason was given");
        if results.reasons.iter().any(|said| said.contains(reason)) {
            continue; // it stands beside the verdict
        }
        caveats.push(format!(
            "The figures of {}, run {}, cannot be believed: {reason}",
            run.strategy, run.repeat
        ));
    }
    caveats.extend(generator_share(results));
    caveats.extend(results.caveats.iter().cloned());
    caveats
}

/// What ended the series before its last run.
pub(super) fn stopped_early(results: &Results) -> Option<String> {
    let (finished, planned) = (results.runs.len(), results.runs_planned);
    (finished < planned).then(|| match &results.stopped_because {
        None => format!(
            "Stopped by hand after {finished} of {planned} runs: nothing is said of the others."
        ),
        Some(why) => format!(
            "{finished} of {planned} runs finished, because {why}. Nothing is said of the others."
        ),
    })
}

fn generator_share(results: &Results) -> Option<String> {
    let largest = |value: fn(&Run) -> Option<f64>| {
        let values = results.runs.iter().filter_map(value);
        values.reduce(f64::max)
    };
    let cores = results.environment.cores;
    let taken = largest(|run| run.generator.cpu_cores)?;
    let together = largest(|run| run.generator.machine_cpu_cores).map_or_else(String::new, |all| {
        format!(", all processes together up to {}", figure(all))
    });
    let late = largest(|run| run.generator.lag_p99_us.map(|us| us as f64)).map_or_else(
        String::new,
        |lag| {
            format!(
                "; of 100 requests, 99 were sent at most {} later than intended",
                format::time(lag)
            )
        },
    );
    Some(format!(
        "The generator shares the machine with the cluster: it took up to {} of {cores} cores{together}{late}.",
        figure(taken)
    ))
}

fn settings(results: &Results, columns: &[Column<'_>]) -> Vec<(String, String)> {
    let strategies = columns.iter().map(|column| match column.runs.len() {
        1 => column.strategy.to_owned(),
        runs => format!("{} ({runs} runs)", column.strategy),
    });
    let seconds = |run: &Run| format!("{} s a run, after warm-up", format::moment(run.measured_ms));
    let mut settings = vec![(
        "Strategies".to_owned(),
        list(&strategies.collect::<Vec<_>>()),
    )];
    if !results.runs.is_empty() {
        settings.extend([
            (
                "App nodes".to_owned(),
                distinct(results, |run| run.nodes.to_string()),
            ),
            (
                "Load balancer".to_owned(),
                distinct(results, |run| run.balancer.clone()),
            ),
            (
                "Users at the same time".to_owned(),
                distinct(results, |run| format::count(run.users as u64)),
            ),
            ("Measured".to_owned(), distinct(results, seconds)),
        ]);
    }
    let shown = of_one_size(&results.runs).next();
    if let Some(shown) = shown.filter(|_| !results.scale_out.is_empty()) {
        settings.push((
            "Figures, comparisons and timelines".to_owned(),
            format!(
                "of the largest cluster, {} nodes; others under “Scale-out”",
                shown.nodes
            ),
        ));
    }
    let window = |run: &Run| {
        run.cost_window_ms.map_or_else(
            || format::NOT_MEASURED.to_owned(),
            |(from, to)| {
                format!(
                    "{} to {} s of the run",
                    format::moment(from),
                    format::moment(to)
                )
            },
        )
    };
    if results.runs.iter().any(|run| run.cost_window_ms.is_some()) {
        settings.push((
            "CPU, bytes and store operations over".to_owned(),
            distinct(results, window),
        ));
    }
    settings.extend(
        results
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    settings
}

fn machine(results: &Results) -> Vec<(String, String)> {
    let environment = &results.environment;
    let mut machine = vec![
        ("Processor".to_owned(), environment.cpu.clone()),
        ("Cores".to_owned(), environment.cores.to_string()),
        ("Kernel".to_owned(), environment.kernel.clone()),
    ];
    machine.extend(
        environment
            .versions
            .iter()
            .map(|(name, version)| (name.clone(), version.clone())),
    );
    machine
}

fn origin(results: &Results) -> String {
    let commit = match &results.environment.git {
        Some(commit) => format!("Measured at commit {commit}"),
        None => "Measured at an unknown commit".to_owned(),
    };
    format!(
        "{commit}, with seed {}. All figures are computed from results.json, which lies beside this report.",
        results.seed
    )
}

/// The values of all runs, each once.
fn distinct(results: &Results, value: impl Fn(&Run) -> String) -> String {
    let mut values: Vec<String> = Vec::new();
    for run in &results.runs {
        let value = value(run);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values.join("; ")
}

/// What the words in the tables mean.
pub(super) const GLOSSARY: [(&str, &str); 18] = [
    (
        "Throughput",
        "All answers a second, whatever they said. With a fixed number of users and think times it says how far the cluster kept up, not what it could bear.",
    ),
    ("Goodput", "Answers a second that did what the user wanted."),
    (
        "Failed request",
        "An error answer (a 401 for a lost session too), a broken connection, or no answer in time.",
    ),
    (
        "Idempotent",
        "May be repeated without harm (reads, for example), so that the load balancer can ask another node.",
    ),
    (
        "p50, p90, p99, p99.9",
        "50, 90, 99 and 99.9 of 100 requests took at most this long, from sending to the last byte. A percentile that too few requests support is not given.",
    ),
    (
        "CPU per request",
        "CPU time of the processes, as the kernel counts it, divided by the requests of an undisturbed part of the run. All nodes count as one.",
    ),
    (
        "Memory per session",
        "Growth of memory while many sessions with an empty cart were opened, divided by their number.",
    ),
    (
        "Session lost",
        "A session that was alive before the fault and was refused later, though neither logged out nor expired.",
    ),
    (
        "Cart line lost",
        "A line that the cluster had acknowledged, that nobody removed, and that is gone for good.",
    ),
    (
        "Failed from then on",
        "What fails is ascribed to the last fault before it, until the next one comes or the measured part ends.",
    ),
    (
        "Time unavailable",
        "From the first failed request to the first 100 ms in which requests were sent and none failed. The refusal of a lost session is no outage: the service was there, it only knew the user no more.",
    ),
    (
        "Last request to it",
        "How long the balancer went on sending requests to the victim: by then it had noticed.",
    ),
    (
        "Goodput back",
        "Every second has 95 % of the base line (the usual goodput before the first fault, less what chance takes from it), for 5 s.",
    ),
    (
        "Errors, share × time",
        "The share of requests that failed, summed up over time: 1 s is as bad as one second without any service.",
    ),
    (
        "Peak of logins",
        "The second with the most logins, in usual seconds. With few logins chance alone makes 2 of it.",
    ),
    (
        "Stale read, rollback",
        "A cart shown as it was before an acknowledged change; a cart shown older than it had been seen before.",
    ),
    (
        "Duplicate, phantom",
        "A line that is in a cart twice; a line whose adding had certainly failed, or was another session’s.",
    ),
    (
        "Resurrection, exposure",
        "A credential that was accepted after its logout, or an operator’s revocation, had been acknowledged; where the strategy declares that it cannot revoke at once, that is exposure until the credential’s declared end.",
    ),
];
