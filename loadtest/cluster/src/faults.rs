//! Does to the cluster what the schedule says, and writes down when it was commanded, in effect, and undone.
//!
//! ```text
//! planned ──▶ commanded ──▶ effective ──▶ undo commanded ──▶ undone
//!                 │ not seen     │ for_s           │ not seen
//!                 ▼              ▼ broke off       ▼
//!              what did not work, in words: the run is invalid
//! ```
//! Every step but the commands is written down only after it was seen, with how it was seen: a process that is gone, state
//! `T` in `/proc`, a node that the load balancer calls drained, a probe that a link swallowed. A fault that could not be
//! verified leaves no `effective` line, and the judgement of the run makes it invalid. What users lose is the business of
//! others.
//!
//! # Layout
//! * this file: the life of a fault, the same for all kinds.
//! * `process`: kill, stop, pause, restart, slow. `order`: drain, maint. `link`: what happens to links. `fleet`: scale,
//!   rolling restart.
//! * `target`: which node is meant by a rule. `error`: why a fault did not work.

mod error;
pub mod fault;
mod fleet;
mod link;
mod order;
mod process;
mod target;

use std::time::{Duration, Instant};

use futures_util::future::join_all;

pub use self::error::FaultError;
pub use self::fault::{Fault, FaultAction, FaultKind, Target};
use self::{fleet::Fleet, link::Disturbed, order::Ordered, process::Hit};
use crate::Clock;
use crate::{Cluster, STORE};
use evidence::history::{FaultEvent, FaultStep};

/// What is around the faults: the cluster that they are done to, and where they are told.
pub struct Scene<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The run's clock; faults come when it shows their second.
    pub clock: Clock,
    /// Writes an event down; the error says why it could not.
    pub note: &'a dyn Fn(FaultEvent) -> Result<(), String>,
    /// Tells a person what happens now.
    pub tell: &'a dyn Fn(&str),
}

/// Injects all faults at their times, and undoes them. Returns what did not work.
pub async fn inject(scene: &Scene<'_>, schedule: &[Fault]) -> Vec<String> {
    let lives = schedule
        .iter()
        .enumerate()
        .map(|(index, planned)| live(scene, index, planned));
    join_all(lives)
        .await
        .into_iter()
        .filter_map(|life| Some(life.err()?.to_string()))
        .collect()
}

/// One fault's life.
async fn live(scene: &Scene<'_>, index: usize, planned: &Fault) -> Result<(), FaultError> {
    let begin_us = micros(planned.at_s);
    scene.wait_until(begin_us).await;
    let (target, why) = target::resolve(scene.cluster, &planned.target).await?;
    let name = target.to_string();
    let kind = planned.action.kind().name();
    let write_down = |step, at_us, evidence| {
        let event = FaultEvent {
            fault: index,
            kind: kind.into(),
            target: name.clone(),
            step,
            at_us,
            evidence,
        };
        (scene.note)(event).map_err(FaultError::NotWritten)
    };
    (scene.tell)(&format!("{kind} {name}"));
    let now_us = || scene.clock.now_us();
    write_down(FaultStep::Commanded, now_us(), why)?;
    let mut injection = Injection::of(scene.cluster, planned.action, &target)?;
    let seen = injection.command().await?;
    write_down(
        FaultStep::Effective,
        now_us() - seen.ago_us(),
        Some(seen.how),
    )?;

    let held = match planned.for_s {
        Some(for_s) => {
            injection
                .hold(scene, begin_us.saturating_add(micros(for_s)))
                .await
        }
        None => Ok(()),
    };
    (scene.tell)(&format!("undoing the {kind} of {name}"));
    write_down(FaultStep::UndoCommanded, now_us(), None)?;
    // Also after a hold that broke off: those that come after it deserve a whole cluster.
    let evidence = injection.undo().await?;
    held?;
    write_down(FaultStep::Undone, now_us(), Some(evidence))?;
    (scene.tell)("users act");
    Ok(())
}

/// That a fault is in effect, and how that was seen.
struct Seen {
    how: String,
    /// From when on it certainly was: what is seen by waiting was there when the waiting began.
    since: Instant,
}

impl Seen {
    /// It is so now.
    fn now(how: String) -> Self {
        Self {
            how,
            since: Instant::now(),
        }
    }

    fn ago_us(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_micros()).unwrap_or(0)
    }
}

/// A fault that is done to somebody.
enum Injection<'a> {
    Process(Hit<'a>),
    Order(Ordered<'a>),
    Link(Disturbed<'a>),
    Fleet(Fleet<'a>),
}

impl<'a> Injection<'a> {
    /// Puts action and target together. The scenario's checks let only pairs through that fit.
    fn of(
        cluster: &'a Cluster,
        action: FaultAction,
        target: &'a Target,
    ) -> Result<Self, FaultError> {
        let missing = || FaultError::NoTarget(target.to_string());
        Ok(match (action, target) {
            (FaultAction::Link(disturbance), Target::Link(name)) => {
                Self::Link(Disturbed::new(cluster, name, disturbance).ok_or_else(missing)?)
            }
            (FaultAction::Drain { .. } | FaultAction::Maint, Target::Node(node)) => {
                Self::Order(Ordered::new(cluster, node, action))
            }
            (FaultAction::Scale { .. } | FaultAction::RollingRestart, Target::Nodes) => {
                Self::Fleet(Fleet::new(cluster, action))
            }
            (_, target) => Self::Process(Hit::new(cluster, target, action).ok_or_else(missing)?),
        })
    }

    /// Does it, and sees that it is in effect.
    async fn command(&mut self) -> Result<Seen, FaultError> {
        match self {
            Self::Process(hit) => hit.command().await,
            Self::Order(ordered) => ordered.command().await.map(Seen::now),
            Self::Link(disturbed) => disturbed.command().await,
            Self::Fleet(fleet) => fleet.command().await.map(Seen::now),
        }
    }

    /// Keeps it in effect until a moment of the run's clock.
    async fn hold(&mut self, scene: &Scene<'_>, until_us: i64) -> Result<(), FaultError> {
        if let Self::Process(hit) = self {
            return hit.hold(scene, until_us).await;
        }
        scene.wait_until(until_us).await;
        Ok(())
    }

    /// Takes it back, and sees that it is over: how that was seen.
    async fn undo(&mut self) -> Result<String, FaultError> {
        match self {
            Self::Process(hit) => hit.undo().await,
            Self::Order(ordered) => ordered.undo().await,
            Self::Link(disturbed) => disturbed.undo().await,
            Self::Fleet(fleet) => fleet.undo().await,
        }
    }
}

impl Scene<'_> {
    /// Waits until a moment of the run's clock.
    async fn wait_until(&self, at_us: i64) {
        let left = u64::try_from(at_us - self.clock.now_us()).unwrap_or(0);
        tokio::time::sleep(Duration::from_micros(left)).await;
    }
}

/// Whether a store must stand beside the nodes for this schedule, although the strategy may need none.
pub fn needs_store(schedule: &[Fault]) -> bool {
    schedule.iter().any(|planned| match &planned.target {
        Target::Store => true,
        Target::Link(link) => link.to == STORE,
        _ => false,
    })
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}
