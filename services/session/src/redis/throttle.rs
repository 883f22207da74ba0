//! The throttle of logins that all nodes share: the rule of [`crate::throttle`] as two scripts, one round trip each.
//!
//! Times are the store's, as everywhere here, however the nodes' clocks differ.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::Redis;
use super::answer::foreign_value;
use super::names::{attempts_from, attempts_on};
use super::script::{Call, Script};
use crate::Error;
use crate::throttle::{Attempt, Limits, Throttle, Verdict};

impl Redis {
    /// Calls a script with the buckets that `attempt` is about; `None` without a round trip where nothing is limited.
    async fn call_about(
        &self,
        script: &Script,
        limits: &Limits,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Value>, Error> {
        let account = limits
            .account
            .map(|limit| (attempts_on(attempt.user), limit));
        let address = limits
            .address
            .map(|limit| (attempts_from(attempt.network()), limit));
        let buckets: Vec<_> = account.into_iter().chain(address).collect();
        if buckets.is_empty() {
            return Ok(None);
        }
        let keys: Vec<_> = buckets.iter().map(|(key, _)| key.as_bytes()).collect();
        let ahead = self.clock.ahead().as_secs();
        let mut numbers = vec![ahead.saturating_mul(1000)];
        for (_, limit) in &buckets {
            numbers.extend([limit.refill_ms(), limit.window_ms()]);
        }
        let call = Call {
            script,
            keys: &keys,
            numbers: &numbers,
            texts: &[],
        };
        self.link.call(call, None).await.map(Some)
    }
}

#[async_trait]
impl Throttle for Redis {
    async fn reserve(&self, limits: &Limits, attempt: &Attempt<'_>) -> Result<Verdict, Error> {
        match self
            .call_about(&self.scripts.reserve, limits, attempt)
            .await?
        {
            None | Some(Value::Int(0)) => Ok(Verdict::Go),
            Some(Value::Int(wait_ms)) => {
                Ok(Verdict::Wait(Duration::from_millis(wait_ms.unsigned_abs())))
            }
            Some(_) => Err(foreign_value()),
        }
    }

    async fn give_back(&self, limits: &Limits, attempt: &Attempt<'_>) -> Result<(), Error> {
        self.call_about(&self.scripts.give_back, limits, attempt)
            .await?;
        Ok(())
    }
}
