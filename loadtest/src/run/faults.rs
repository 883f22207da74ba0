//! Does to the cluster what the scenario says, and writes down when it was commanded, in effect, and undone.
//!
//! The agent's calls return when an effect was seen, so a fault that could not be verified leaves no `effective` line,
//! and the run is judged invalid.

use futures_util::future::join_all;

use super::one::Stage;
use super::progress::Progress;
use crate::exit::Failure;
use crate::history::{FaultEvent, FaultStep, Line};
use crate::scenario::{Fault, FaultKind, STORE};

/// Injects all faults at their times, and undoes them. Returns what did not work.
pub(super) async fn inject(
    stage: &Stage<'_>,
    faults: &[Fault],
    progress: &Progress,
) -> Vec<String> {
    let lives = faults
        .iter()
        .enumerate()
        .map(|(index, fault)| live(stage, index, fault, progress));
    join_all(lives)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

/// One fault's life: commanded → effective → undone.
async fn live(
    stage: &Stage<'_>,
    index: usize,
    fault: &Fault,
    progress: &Progress,
) -> Result<(), String> {
    let target = fault.target.get_ref();
    let write_down = |step| {
        let event = FaultEvent {
            fault: index,
            kind: fault.kind.name().into(),
            target: target.clone(),
            step,
            at_us: stage.clock.now_us(),
        };
        stage
            .note(&Line::Fault(event))
            .map_err(|failure: Failure| failure.message)
    };
    let process = if target == STORE {
        stage.cluster.store()
    } else {
        stage.cluster.node(target)
    };
    let process = process.ok_or_else(|| format!("there is no {target}"))?;
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX / 2_000_000) * 1_000_000;
    let begin_us = seconds(*fault.at_s.get_ref());

    stage.wait_until(begin_us).await;
    progress.phase(&format!("{} {target}", fault.kind.name()));
    write_down(FaultStep::Commanded)?;
    match fault.kind {
        FaultKind::Kill => process.kill().await.map_err(|error| error.to_string())?,
    }
    write_down(FaultStep::Effective)?;

    stage
        .wait_until(begin_us + seconds(*fault.for_s.get_ref()))
        .await;
    progress.phase(&format!("bringing {target} back"));
    match fault.kind {
        FaultKind::Kill => process.start().await.map_err(|error| error.to_string())?,
    }
    write_down(FaultStep::Undone)?;
    progress.phase("users act");
    Ok(())
}
