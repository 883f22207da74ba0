//! Everything that a report says in words and tables, computed once from the results. The formats (HTML, Markdown, terminal)
//! only lay it out, so that they cannot contradict each other.

use super::scale_out::{self, ScaleOutPart};
use super::summary::{self, Summary};
use super::table::{Column, Table, all_columns, columns};
use super::theory::{self, Judged};
use super::{comparison, key_figures, pairs, proof};
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
    /// The figures that decide.
    pub(super) key_figures: Table,
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
            key_figures: key_figures::table(&columns, results),
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
            "Do not use the figures of {}, run {}: {reason}",
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
            "Stopped by hand after {finished} of {planned} runs; the rest was not measured."
        ),
        Some(why) => {
            format!("Only {finished} of {planned} runs finished: {why}. The rest was not measured.")
        }
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
        format!(" (all processes: {})", figure(all))
    });
    let late = largest(|run| run.generator.lag_p99_us.map(|us| us as f64)).map_or_else(
        String::new,
        |lag| {
            format!(
                "; 99 % of requests were sent at most {} late",
                format::time(lag)
            )
        },
    );
    Some(format!(
        "The generator shares the machine with the cluster: it used up to {} of {cores} cores{together}{late}.",
        figure(taken)
    ))
}

fn settings(results: &Results, columns: &[Column<'_>]) -> Vec<(String, String)> {
    let strategies = columns.iter().map(|column| match column.runs.len() {
        1 => column.strategy.to_owned(),
        runs => format!("{} ({runs} runs)", column.strategy),
    });
    let seconds = |run: &Run| {
        format!(
            "{} s per run, after warm-up",
            format::moment(run.measured_ms)
        )
    };
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
                "Concurrent users".to_owned(),
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
        "All answers per second, errors included. With a fixed number of users and fixed think times it shows how well the cluster kept up, not its limit.",
    ),
    ("Goodput", "Successful answers per second."),
    (
        "Failed request",
        "An error answer (a 401 for a lost session too), a broken connection, or no answer in time.",
    ),
    (
        "Retryable",
        "Can be repeated without harm (a read, for example), so the load balancer may ask another node. Unserved: it got a 5xx, a broken connection or no answer in time.",
    ),
    (
        "p50, p90, p99, p99.9",
        "50, 90, 99 or 99.9 % of successful requests took at most this long, from sending to the last byte. From schedule: from the moment the request was due. A percentile without enough requests is not given.",
    ),
    (
        "CPU per request",
        "CPU time of the processes, as the kernel counts it, divided by the requests in an undisturbed part of the run. All nodes count as one; the cluster is load balancer, nodes and store.",
    ),
    (
        "Memory per session",
        "Growth of memory while many sessions with an empty cart were opened, divided by their number; nodes and store together where one figure is given.",
    ),
    (
        "Session lost, login lost",
        "A live session that was refused later, though it was neither logged out nor expired: its user must log in again.",
    ),
    (
        "Cart line lost",
        "A cart line that the cluster acknowledged, nobody removed, and that is gone for good.",
    ),
    (
        "Failed since this fault",
        "A failed request is ascribed to the last fault before it, until the next fault or the end of the measured part.",
    ),
    (
        "Time unavailable",
        "From the first failed request to the first 100 ms in which requests were sent and none failed. The refusal of a lost session is no outage: the service answered, it only no longer knew the user.",
    ),
    (
        "Last request routed to it",
        "How long the load balancer kept sending requests to the failed node before it noticed.",
    ),
    (
        "Goodput back",
        "For 5 s, every second has at least 95 % of the base line: the normal goodput before the first fault, less its random variation.",
    ),
    (
        "Error-seconds",
        "The share of failed requests, summed over time: 1 is as bad as one second without any service.",
    ),
    (
        "Peak login rate",
        "Logins in the busiest second ÷ logins in a normal second before the first fault. With few logins, chance alone can reach 2.",
    ),
    (
        "Stale read, rollback",
        "A cart shown as it was before an acknowledged change; a cart shown older than a user has already seen it.",
    ),
    (
        "Duplicate, phantom",
        "A line that is in a cart twice; a line that certainly failed to be added, or that belongs to another session.",
    ),
    (
        "Resurrection, exposure",
        "A credential that was accepted after its logout or an operator’s revocation was acknowledged. Where the strategy declares that it cannot revoke at once, this is an exposure until the credential expires.",
    ),
];
