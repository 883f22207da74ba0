//! Reads what processes have used, at the borders of the parts that figures are computed over.
//!
//! Only there: a sample costs CPU itself, and `/proc` counts in steps of 10 ms, so many short intervals would say less
//! than few long ones.

use rustix::time::{ClockId, clock_gettime};

use super::stage::Stage;
use crate::exit::{Exit, Failure};
use cluster::Process;
use cluster::faults::Fault;
use evidence::history::{Line, Usage};

/// The sample before a fault is taken this long before it, to be complete when the fault comes.
const BEFORE_US: i64 = 50_000;

/// Samples at the beginning, before the first fault, and at the end of the measured part.
pub(super) async fn take(
    stage: &Stage<'_>,
    schedule: &[Fault],
    measured_until_us: i64,
) -> Result<(), Failure> {
    let first_fault_us = schedule
        .iter()
        .map(|planned| planned.at_s)
        .min()
        .and_then(|at_s| i64::try_from(at_s * 1_000_000).ok());
    let before_fault_us = first_fault_us.map(|at_us| at_us - BEFORE_US);
    let times = [Some(0), before_fault_us, Some(measured_until_us)];
    for at_us in times.into_iter().flatten() {
        stage.wait_until(at_us).await;
        stage.note(&Line::Usage(sample(stage).await?))?;
    }
    Ok(())
}

async fn sample(stage: &Stage<'_>) -> Result<Usage, Failure> {
    let cluster = stage.cluster;
    let unreadable = |error: &dyn std::fmt::Display| Failure::new(Exit::Invalid, error.to_string());
    let cpu_us = async |process: &Process| match process.usage().await {
        Ok(usage) => Ok(usage.cpu_us),
        Err(error) => Err(unreadable(&error)),
    };
    let at_us = stage.clock.now_us();
    let mut node_us = 0;
    for node in cluster.nodes() {
        node_us += cpu_us(node).await?;
    }
    let load_balancer_us = cpu_us(cluster.balancer()).await?;
    let store_us = cluster
        .store_cpu_us()
        .await
        .map_err(|error| unreadable(&error))?;
    let generator = stage.users.usage();
    let generator_us = generator.map_err(|error| unreadable(&error))?.cpu_us;
    let store = cluster
        .store_info()
        .await
        .map_err(|error| unreadable(&error))?;
    Ok(Usage {
        at_us,
        load_balancer_us,
        node_us,
        store_us,
        generator_us,
        lab_us: own_cpu_us(),
        store_commands: store.map(|info| info.commands_processed),
    })
}

fn own_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000).unwrap_or(0)
}
