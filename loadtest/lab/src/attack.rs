//! The users' process: `lab attack PLAN.json`, which `lab run` starts for each run and nobody starts by hand.
//!
//! Goose is the engine: it starts the users, sends their requests and counts. Beside it stands the recorder, which
//! keeps what goose does not: whole times, outcomes, what was read, under which session ([`evidence::history`]).
//! Goose has process-wide state (kill switch, signal handler, logger), so every run has a process of its own.
//!
//! # Two loops
//! ```text
//! closed   user:  act ─▶ answer ─▶ think ─▶ act ─▶ answer ─▶ think ─▶ …       as many users as the shop has visitors
//!
//! open     schedule:  due    due due     due   due …                          at a rate, whatever the answers do
//!                      ▼      ▼   ▼       ▼     ▼
//!          free users: act    act act     act   (nobody free: taken late, or dropped after a second)
//! ```
//! A **closed** loop lies about a failover: while a node hangs, its users send nothing and so suffer nothing, and fast errors
//! make users faster. It is the right load for "so many people are in the shop". In an **open** loop strangers keep coming.
//! What counts for them is the *response time*, from the moment at which the operation was due; the *service time*, from
//! sending, leaves out how long it had to wait for its turn. Each operation has both (`intended_us`, `sent_us`, `done_us`).
//!
//! Users, journeys and requests are the same in both; only who says "now" differs. The users of an open loop are as many as
//! may be waiting for an answer at the same time: plenty of them, for when they are used up the loop is not open any more,
//! and the run says so ([`evidence::statistics`], which judges the generator from the history).
//!
//! # Layout
//! * `plan`: what the parent wants. `engine`: goose, set up for it.
//! * `journey`: one user and what it wants next; `act`: how it does it. [`evidence::random`] draws for it, `browser` keeps its cookies
//!   and tokens, `replays` the credentials that should be dead.
//! * `operator`: ends the logins of users while they act.
//! * `arrivals`: gives what is due to users, with `alarm` for the time.
//! * `exchange`: one request and its answer; `answer` reads bodies; `outcome` judges.
//! * `recorder`: from users to the file. `in_flight`: a second look at how much is going on.

mod act;
mod alarm;
mod answer;
mod arrivals;
mod browser;
mod engine;
mod exchange;
mod in_flight;
mod journey;
mod operator;
mod outcome;
mod plan;
mod recorder;
mod replays;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use reqwest::Url;
use tokio::task::JoinHandle;

use evidence::pace::Schedule;

use crate::exit::{Exit, Failure};
use arrivals::Arrivals;
use evidence::history::{Counts, InFlight, Line};
use evidence::pace::Pace;
use in_flight::Gauge;
use journey::Common;
pub use plan::{Plan, Revocations, account};
pub(crate) use recorder::NOT_RECORDED;

/// `lab attack`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan that `lab run` wrote.
    pub plan: PathBuf,
}

/// Plays all users to the end, all on this one thread: at some 25 µs a request it carries more load than the machine
/// can serve, and it leaves the other cores to the cluster.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let Args { plan } = args;
    let plan = Plan::read(&plan)?;
    let failed = |what: &dyn std::fmt::Display| {
        Failure::new(Exit::Invalid, format!("the users' process failed: {what}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    runtime
        .block_on(Box::pin(play(plan)))
        .map_err(|error| failed(&error))?;
    Ok(Exit::Held)
}

/// Lets goose play `plan` and brings every operation and all counts to the history.
async fn play(plan: Plan) -> Result<(), String> {
    let clock = plan.clock;
    let url = Url::parse(&plan.url).map_err(|error| format!("{}: {error}", plan.url))?;
    let (recorder, writer) = recorder::start(&plan.history).map_err(|error| error.to_string())?;
    let common = Arc::new(Common {
        url,
        arrivals: matches!(plan.pace, Pace::Open { .. })
            .then(|| Arc::new(Arrivals::new(clock, plan.measured_until_us))),
        in_flight: Gauge::default(),
        plan,
    });
    let arriving = arrivals_beside(&common);
    let watching = in_flight_beside(&common);
    let operating = tokio::spawn(operator::work(Arc::clone(&common), recorder.clone()));
    let metrics = Box::pin(engine::attack(Arc::clone(&common), recorder.clone()))
        .await
        // Goose's short form leaves out which option it dislikes.
        .map_err(|error| format!("{error:?}"))?;
    if let Some(arriving) = arriving {
        let ended = arriving.await.map_err(|error| error.to_string())?;
        ended.map_err(|error| format!("the system's timer failed: {error}"))?;
    }
    operating
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("no client for the operator: {error}"))?;
    let in_flight = match watching.join() {
        Ok(in_flight) => in_flight,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    recorder.push(Line::Counts(Counts {
        at_us: clock.now_us(),
        by_action: engine::by_action(&metrics),
        arrivals: common.arrivals.as_ref().map(|arrivals| arrivals.finish()),
        in_flight: Some(in_flight),
    }));
    drop(recorder);
    writer.finish();
    Ok(())
}

/// In an open loop, gives arrivals to users from now on.
fn arrivals_beside(common: &Arc<Common>) -> Option<JoinHandle<io::Result<()>>> {
    let plan = &common.plan;
    let schedule = Schedule::new(plan.pace, plan.seed, plan.warm_up_from_us)?;
    let arrivals = Arc::clone(common.arrivals.as_ref()?);
    Some(tokio::spawn(
        async move { arrivals.give_out(schedule).await },
    ))
}

/// Counts what is in flight from now on, on a thread that ends with the measured part.
fn in_flight_beside(common: &Arc<Common>) -> thread::JoinHandle<InFlight> {
    let common = Arc::clone(common);
    thread::spawn(move || {
        let plan = &common.plan;
        let until_us = plan.measured_until_us;
        common.in_flight.watch(plan.clock, until_us, plan.seed)
    })
}

#[cfg(test)]
mod tests;
