//! `lab check`: judges one history by itself and shows the proof: a table of what was found, and for the first anomalies of
//! each kind the few operations that prove them. What the words mean is defined in [`evidence::checker`].

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output;
use evidence::checker::{self, Verdict};
use evidence::history::History;
use evidence::results::{Anomalies, Anomaly, Revocation, Revocations, Witness};
use evidence::{expectations, statistics};
use report::proof;

/// Judge a history: what was lost, stale, rolled back, doubled, leaked or accepted after its end, with the proof.
///
/// Ends with 0 when it shows nothing that its strategy must not show, 1 when it does, 2 when it cannot be read. A history
/// that ends in the middle is judged up to there.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A `history-….jsonl`, or compressed `….jsonl.zst`, from the folder of a run.
    history: PathBuf,

    /// For programs: one JSON document.
    #[arg(long)]
    json: bool,
}

/// `lab check`
pub fn run(args: Args) -> Result<Exit, Failure> {
    let Args { history, json } = args;
    let history =
        History::read(&history).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let finding = Finding::of(&history);
    if json {
        let text = serde_json::to_string_pretty(&finding)
            .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
        output::print(format_args!("{text}\n"))?;
    } else {
        output::print(&finding)?;
    }
    Ok(if finding.forbidden.is_empty() {
        Exit::Held
    } else {
        Exit::ExpectationFailed
    })
}

/// Everything that `lab check` says.
#[derive(Debug, Serialize)]
struct Finding {
    scenario: String,
    strategy: String,
    repeat: u32,
    operations: usize,
    faults: usize,
    /// Whether the users' process came to its end.
    complete: bool,
    /// Whether the history says what its strategy predicted.
    has_theory: bool,
    /// When the last answer was there.
    ends_at_us: i64,
    anomalies: Anomalies,
    /// The kinds found that the strategy must not show.
    forbidden: Vec<Anomaly>,
    revocation_ms: Option<Revocation>,
    revocations: Option<Revocations>,
    witnesses: Vec<Witness>,
}

impl Finding {
    fn of(history: &History) -> Self {
        let verdict = checker::check(history);
        // What the strategy must not show depends on what was done to it; one table says so for runs and for histories.
        let run = statistics::summarise(history, &verdict);
        let Verdict {
            anomalies,
            witnesses,
            losses,
            revocation_ms,
            revocations,
            ..
        } = verdict;
        let meta = &history.meta;
        let done_us = history.operations.iter().map(|operation| operation.done_us);
        Self {
            scenario: meta.scenario.clone(),
            strategy: meta.strategy.clone(),
            repeat: meta.repeat,
            operations: history.operations.len(),
            faults: losses.len(),
            complete: history.counts.is_some(),
            has_theory: !meta.properties.theory.is_empty(),
            ends_at_us: done_us.max().unwrap_or(meta.warm_up_from_us),
            anomalies,
            forbidden: expectations::forbidden_anomalies(&run),
            revocation_ms,
            revocations,
            witnesses,
        }
    }

    /// What a count means for this strategy.
    fn judgement(&self, kind: Anomaly) -> &'static str {
        match kind {
            _ if self.anomalies.count(kind) == 0 => "",
            Anomaly::Unknown => "NOT PROVEN: no verdict without a final read",
            _ if self.forbidden.contains(&kind) => "forbidden",
            Anomaly::Exposure => "as declared: a logout here does not reach everywhere at once",
            _ => "as theory says: state that lives there does not survive that fault",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} with {}, repeat {}: operations {}, faults {}, until {}.",
            self.scenario,
            self.strategy,
            self.repeat,
            self.operations,
            self.faults,
            seconds(self.ends_at_us)
        )?;
        if !self.complete {
            writeln!(
                out,
                "The history ends in the middle: the users' process did not come to its end. Judged up to there; of carts \
                 that nobody came to read at the end, nothing can be said."
            )?;
        }
        if !self.has_theory {
            writeln!(
                out,
                "The history does not say what its strategy predicts (an older lab wrote it), so every anomaly counts as forbidden."
            )?;
        }
        writeln!(out)?;
        for kind in Anomaly::ALL {
            let count = self.anomalies.count(kind);
            let line = format!(
                "  {count:>7}  {:<33} {}",
                kind.words().1,
                self.judgement(kind)
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        if let Some(revocation) = self.revocation_ms {
            writeln!(
                out,
                "\nA credential lived on after its logout for {} ms in the median, {} ms at most.",
                revocation.p50, revocation.max
            )?;
        }
        if let Some(revoked) = self.revocations {
            writeln!(
                out,
                "\nAn operator ended all logins of a user {} times; of {} credentials tried afterwards, {} were accepted.",
                revoked.asked,
                revoked.sessions,
                revoked.accepted()
            )?;
        }
        for (witness, number) in self.witnesses.iter().zip(1..) {
            write!(out, "\n{number}. {}", proof::told(witness))?;
        }
        Ok(())
    }
}

fn seconds(us: i64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}
