//! The users' process: `lab attack PLAN.json`, which `lab run` starts for each run and nobody starts by hand.
//!
//! Goose is the engine: it starts the users, sends their requests and counts. Beside it stands the recorder, which
//! keeps what goose does not: whole times, outcomes, what was read, under which session ([`crate::history`]).
//! Goose has process-wide state (kill switch, signal handler, logger), so every run has a process of its own.
//!
//! # Layout
//! * `plan`: what the parent wants.
//! * `journey`: one user; `random` draws for it, `browser` keeps its cookies and tokens.
//! * `exchange`: one request and its answer; `answer` reads bodies; `outcome` judges.
//! * `recorder`: from users to the file.

mod answer;
mod browser;
mod exchange;
mod journey;
mod outcome;
mod plan;
mod random;
mod recorder;

use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use goose::config::GooseConfiguration;
use goose::goose::{GooseUser, Scenario, Transaction, TransactionFunction};
use goose::metrics::GooseMetrics;
use goose::{GooseAttack, GooseError};
use reqwest::{Client, Url};

use crate::exit::{Exit, Failure};
use crate::history::{Count, Counts, Line};
use journey::{Common, User};
pub use plan::{Plan, account};
use recorder::Recorder;

/// No user waits longer for a whole answer. Longer than every time limit of the load balancer and the nodes, so that
/// their answers are seen; short enough that the end of a run waits for nobody.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

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

/// Lets goose play `plan` and brings every operation and goose's counts to the history.
async fn play(plan: Plan) -> Result<(), String> {
    let clock = plan.clock;
    let (recorder, writer) = recorder::start(&plan.history).map_err(|error| error.to_string())?;
    let metrics = Box::pin(attack(plan, recorder.clone()))
        .await
        // Goose's short form leaves out which option it dislikes.
        .map_err(|error| format!("{error:?}"))?;
    recorder.push(Line::Counts(counts(&metrics, clock.now_us())));
    drop(recorder);
    writer.finish().map_err(|error| error.to_string())
}

async fn attack(plan: Plan, recorder: Recorder) -> Result<GooseMetrics, GooseError> {
    let url = Url::parse(&plan.url).map_err(|parse_error| GooseError::InvalidHost {
        host: plan.url.clone(),
        detail: "the load balancer's address".into(),
        parse_error,
    })?;
    let configuration = configuration(&plan);
    let common = Arc::new(Common {
        plan,
        url,
        fingerprints: RandomState::new(),
    });
    let journey: TransactionFunction = Arc::new(move |goose: &mut GooseUser| {
        let common = Arc::clone(&common);
        let recorder = recorder.clone();
        Box::pin(async move {
            goose.client = client().map_err(|error| Box::new(error.into()))?;
            let number = u32::try_from(goose.weighted_users_index).unwrap_or(u32::MAX - 1) + 1;
            User::new(number, common, recorder).play(goose).await;
            Ok(())
        })
    });
    let attack = GooseAttack::initialize_with_config(configuration)?
        // Goose would build each user a client of its own before the start; ours replace them.
        .set_client_builder_without_cookies(
            goose::client::GooseClientBuilder::new().without_cookies(),
        )?
        .register_scenario(Scenario::new("user").register_transaction(Transaction::new(journey)));
    // Goose's state machine is too big for the stack of whoever waits for it.
    Box::pin(attack.execute()).await
}

/// One journey a user from login to final read, times by our own clock; goose need not ramp, stop or report.
fn configuration(plan: &Plan) -> GooseConfiguration {
    let mut goose = GooseConfiguration::default();
    goose.host = Some(plan.url.clone());
    goose.users = Some(plan.users as usize);
    // All at once, in goose's terms: users wait for their own first moment.
    goose.increase_rate = Some((plan.users * 20).to_string());
    // With iterations goose keeps its counts when all users have started; else it would begin them anew.
    goose.iterations = Some(1);
    goose.quiet = 1;
    goose.no_telnet = true;
    goose.no_transaction_metrics = true;
    goose.no_scenario_metrics = true;
    goose.no_status_codes = true;
    goose.no_error_summary = true;
    goose.no_print_metrics = true;
    goose
}

/// A connection of its own for each user, as a browser has; cookies and tokens are [`browser::Browser`]'s.
fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .pool_max_idle_per_host(1)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_gzip()
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        // The lab speaks plain HTTP; reading the system's certificates for each user would take longer than the run.
        .tls_certs_only([])
        .build()
}

fn counts(metrics: &GooseMetrics, at_us: i64) -> Counts {
    let mut counts = Counts {
        at_us,
        ..Counts::default()
    };
    for request in metrics.requests.values() {
        let count: &mut Count = counts.by_action.entry(request.path.clone()).or_default();
        count.requests += (request.success_count + request.fail_count) as u64;
        count.success += request.success_count as u64;
    }
    counts
}

#[cfg(test)]
mod tests;
