//! The operator: ends all logins of a user, as support does for somebody who lost a telephone.
//!
//! One call for each user, through the load balancer, for that is the one address that an operator knows. So it reaches one
//! node, which any node may be: an operator's call carries no affinity. What that is worth is the strategy's business, and
//! [`evidence::checker`] sees it from how the users' credentials fare afterwards.
//!
//! Calls are due at a constant rate over the measured part, whatever the answers do. They go past goose and past every count
//! of the load; they are recorded like everything else.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use tokio::task::JoinSet;

use super::act::{method, path};
use super::engine;
use super::exchange::Exchange;
use super::journey::Common;
use super::recorder::Recorder;
use evidence::history::{Action, Operation};
use evidence::random::{Random, Stream};

/// Does what the plan says, until the last call is answered. Calls in flight are as many as fall due in one time limit.
pub(super) async fn work(common: Arc<Common>, recorder: Recorder) -> Result<(), reqwest::Error> {
    let plan = &common.plan;
    let Some(revocations) = &plan.revocations else {
        return Ok(());
    };
    let client = engine::client(plan.request_timeout)?;
    let mut random = Random::new(plan.seed, Stream::Operator);
    let gap_us = 1_000_000 / i64::from(revocations.per_s.max(1));
    let mut calls = JoinSet::new();
    for id in 1.. {
        let due_us = gap_us * i64::from(id) - gap_us / 2;
        if due_us >= plan.measured_until_us {
            break;
        }
        if let Ok(ahead_us) = u64::try_from(due_us - plan.clock.now_us()) {
            tokio::time::sleep(Duration::from_micros(ahead_us)).await;
        }
        let number = random.below(plan.users.into());
        let call = Call {
            id,
            due_us,
            user: u32::try_from(number).unwrap_or_default() + 1,
        };
        calls.spawn(call.perform(Arc::clone(&common), client.clone(), recorder.clone()));
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
    Ok(())
}

/// One revocation.
struct Call {
    id: u32,
    due_us: i64,
    user: u32,
}

impl Call {
    async fn perform(self, common: Arc<Common>, client: Client, recorder: Recorder) {
        let action = Action::Revoke;
        let mut url = common.url.clone();
        url.set_path(&path(action, self.user, None));
        let mut request = client.request(method(action), url);
        if let Some(bearer) = bearer(&common) {
            request = request.header(AUTHORIZATION, bearer);
        }
        let exchange = Exchange::perform_beside(common.plan.clock, request).await;
        // No figure of the load counts what it sent.
        let (operation, _) = exchange.operation(action, self.due_us);
        recorder.record(Operation {
            user: self.user,
            id: self.id,
            ..operation
        });
    }
}

/// `None` for a token that fits no header; then nodes refuse the call, and the history says so.
fn bearer(common: &Common) -> Option<HeaderValue> {
    let token = &common.plan.revocations.as_ref()?.token;
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}
