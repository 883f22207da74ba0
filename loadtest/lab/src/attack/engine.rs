//! Goose: set up for the lab, run, and asked what it counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goose::config::GooseConfiguration;
use goose::goose::{GooseUser, Scenario, Transaction, TransactionFunction};
use goose::metrics::GooseMetrics;
use goose::{GooseAttack, GooseError};
use reqwest::Client;

use super::journey::{Common, User};
use super::plan::Plan;
use super::recorder::Recorder;
use evidence::history::Count;

/// Plays all users to the end, each by `common`'s plan.
pub(super) async fn attack(
    common: Arc<Common>,
    recorder: Recorder,
) -> Result<GooseMetrics, GooseError> {
    let configuration = configuration(&common.plan);
    let patience = common.plan.request_timeout;
    let journey: TransactionFunction = Arc::new(move |goose: &mut GooseUser| {
        let common = Arc::clone(&common);
        let recorder = recorder.clone();
        Box::pin(async move {
            goose.client = client(patience).map_err(|error| Box::new(error.into()))?;
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

/// A connection of its own for each user, as a browser has; cookies and tokens are [`super::browser::Browser`]'s.
pub(super) fn client(patience: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(patience)
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

/// Goose's counts, by [`evidence::history::Action::name`].
pub(super) fn by_action(metrics: &GooseMetrics) -> BTreeMap<String, Count> {
    let mut by_action = BTreeMap::new();
    for request in metrics.requests.values() {
        let count: &mut Count = by_action.entry(request.path.clone()).or_default();
        count.requests += (request.success_count + request.fail_count) as u64;
        count.success += request.success_count as u64;
    }
    by_action
}
