//! Faults of one process: kill, stop, pause, restart, slow.
//!
//! The agent's calls return when an effect was seen in `/proc`, so what is left here is to say what was seen, and to bring
//! the process back.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use super::fault::{FaultAction, Target};
use super::{FaultError, Scene, Seen};
use crate::{Cluster, GRACE, LOAD_BALANCER, Process};

/// Of one halt and one run of a slow process. Short beside what users wait, long beside what a signal takes.
const PERIOD: Duration = Duration::from_millis(100);

/// The kernel counts CPU time in steps of 10 ms, and a step may end just when the process is halted.
const CPU_STEP_US: u64 = 10_000;

const SIGKILL: i32 = 9;

/// A process that suffers.
pub(super) struct Hit<'a> {
    cluster: &'a Cluster,
    process: &'a Process,
    action: FaultAction,
    halts: Halts,
}

/// What a slow process went through.
#[derive(Default)]
struct Halts {
    count: u32,
    halted: Duration,
    /// Halted or running.
    passed: Duration,
}

impl<'a> Hit<'a> {
    /// `None` when there is no such process.
    pub(super) fn new(cluster: &'a Cluster, target: &Target, action: FaultAction) -> Option<Self> {
        Some(Self {
            cluster,
            process: cluster.process(&target.to_string())?,
            action,
            halts: Halts::default(),
        })
    }

    pub(super) async fn command(&mut self) -> Result<Seen, FaultError> {
        let process = self.process;
        let pid = process.pid().await?.unwrap_or_default();
        match self.action {
            FaultAction::Pause => {
                process.pause().await?;
                Ok(Seen::now(format!(
                    "process {pid}: {} in state T",
                    threads(process).await
                )))
            }
            FaultAction::Slow { running } => {
                let (since, halted) = self.turn(running).await?;
                let how = format!(
                    "process {pid}: state T for {} of the first {} ms, without using CPU time",
                    halted.as_millis(),
                    PERIOD.as_millis()
                );
                Ok(Seen { how, since })
            }
            FaultAction::Stop | FaultAction::Restart => {
                let status = process.stop(GRACE).await?;
                if status.signal() == Some(SIGKILL) {
                    let name = process.name().to_owned();
                    return Err(FaultError::NotByItself { name, status });
                }
                Ok(Seen::now(format!("process {pid} is gone: {status}")))
            }
            _ => {
                process.kill().await?;
                let status = process.ended().await?;
                Ok(Seen::now(format!("process {pid} is gone: {status}")))
            }
        }
    }

    /// Only a slow process needs attention while it suffers.
    pub(super) async fn hold(
        &mut self,
        scene: &Scene<'_>,
        until_us: i64,
    ) -> Result<(), FaultError> {
        let FaultAction::Slow { running } = self.action else {
            scene.wait_until(until_us).await;
            return Ok(());
        };
        while scene.clock.now_us() < until_us {
            self.turn(running).await?;
        }
        Ok(())
    }

    pub(super) async fn undo(&mut self) -> Result<String, FaultError> {
        let process = self.process;
        match self.action {
            FaultAction::Pause => {
                process.resume().await?;
                Ok("no thread in state T".into())
            }
            FaultAction::Slow { .. } => {
                // A turn that broke off may have left it halted.
                process.resume().await?;
                Ok(format!(
                    "no thread in state T; it was halted {} times, {:.0} % of {:.1} s",
                    self.halts.count,
                    100.0 * self.halts.halted.as_secs_f64() / self.halts.passed.as_secs_f64(),
                    self.halts.passed.as_secs_f64()
                ))
            }
            _ => {
                process.start().await?;
                let pid = process.pid().await?.unwrap_or_default();
                if process.name() == LOAD_BALANCER {
                    self.cluster.serves().await?;
                    return Ok(format!(
                        "process {pid} passes requests on at every listener"
                    ));
                }
                Ok(format!("process {pid} is ready"))
            }
        }
    }

    /// One halt, seen in `/proc`, and one run. Since when and for how long it was halted.
    async fn turn(&mut self, running: f64) -> Result<(Instant, Duration), FaultError> {
        let begun = Instant::now();
        self.process.pause().await?;
        let before = self.process.usage().await?.cpu_us;
        let halted_at = Instant::now();
        tokio::time::sleep(
            PERIOD
                .mul_f64(1.0 - running)
                .saturating_sub(begun.elapsed()),
        )
        .await;
        let used_us = self.process.usage().await?.cpu_us - before;
        let halted = halted_at.elapsed();
        self.process.resume().await?;
        if used_us > CPU_STEP_US {
            return Err(FaultError::NotHalted {
                name: self.process.name().to_owned(),
                used: Duration::from_micros(used_us),
            });
        }
        tokio::time::sleep(PERIOD.saturating_sub(begun.elapsed())).await;
        self.halts.count += 1;
        self.halts.halted += halted;
        self.halts.passed += begun.elapsed();
        Ok((halted_at, halted))
    }
}

async fn threads(process: &Process) -> String {
    match process.threads().await {
        Some(1) => "its only thread".into(),
        Some(count) => format!("all {count} threads"),
        None => "every thread".into(),
    }
}
