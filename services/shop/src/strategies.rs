//! Builds the strategies that the node serves, and keeps their background work going.
//!
//! The one place that knows every strategy by its type; all others know the trait.

use std::sync::Arc;
use std::time::Duration;

use session::jwt::{self, Jwt};
use session::redis::{self, Redis};
use session::sticky::{self, Sticky};
use session::{Clock, Strategy};

use crate::config::{Config, Invalid, one_line};
use crate::keys;
use crate::secret::Secret;

/// Each step sweeps a small part of the memory, so that no request waits behind the sweeping for long.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// The strategies of `config`, in its order. Needs a Tokio runtime.
pub(crate) fn build(config: &Config, clock: &Clock) -> Result<Vec<Arc<dyn Strategy>>, Invalid> {
    config
        .strategies
        .iter()
        .map(|properties| build_one(properties.name, config, clock))
        .collect()
}

fn build_one(name: &str, config: &Config, clock: &Clock) -> Result<Arc<dyn Strategy>, Invalid> {
    let flags = &config.flags;
    let idle = Duration::from_secs(flags.session_idle_s);
    let absolute = Duration::from_secs(flags.session_absolute_s);
    let max_lines = flags.max_cart_lines;
    // A strategy that checking has let through without what it needs is a mistake of ours, told like any other.
    let missing = |what| Invalid(format!("strategy {name} has no {what}"));

    if name == sticky::PROPERTIES.name {
        let settings = sticky::Settings {
            idle,
            absolute,
            max_sessions: flags.max_sessions,
            max_lines,
        };
        let strategy = Arc::new(Sticky::new(settings, clock.clone()));
        tokio::spawn(sweep(Arc::clone(&strategy)));
        Ok(strategy)
    } else if name == redis::PROPERTIES.name {
        let url = config.redis_url.as_ref().ok_or_else(|| missing("store"))?;
        let url = std::str::from_utf8(url.reveal())
            .map_err(|why| Invalid(format!("the Redis URL is not UTF-8: {why}")))?;
        let settings = redis::Settings {
            url: url.to_owned(),
            password: redis_password(config),
            deadline: config.store_timeout(),
            idle,
            absolute,
            max_lines,
        };
        // A store that is away is no mistake of the configuration: the node is ready when the store is.
        let strategy = Redis::connect(settings, clock.clone())
            .map_err(|why| Invalid(format!("the Redis URL cannot be used: {why}")))?;
        Ok(Arc::new(strategy))
    } else if name == jwt::PROPERTIES.name {
        let content = config.jwt_key.as_ref().ok_or_else(|| missing("key"))?;
        let unusable = |why| Invalid(format!("the keys of the tokens cannot be used: {why}"));
        let ring = keys::ring(content).map_err(unusable)?;
        tracing::info!(keys = ?ring, "the keys of the tokens");
        let settings = jwt::Settings {
            ring,
            lifetime: Duration::from_secs(flags.access_token_s),
            leeway: Duration::from_secs(flags.token_leeway_s),
            max_lines,
        };
        let strategy = Arc::new(Jwt::new(settings, clock.clone()));
        if let Some(path) = &flags.jwt_key_file {
            let unwatched = |why: std::io::Error| unusable(format!("no watch: {why}"));
            keys::watch(path.clone(), content.clone(), &strategy).map_err(unwatched)?;
        }
        Ok(strategy)
    } else {
        Err(Invalid(format!(
            "strategy {name} is declared but not built into this node"
        )))
    }
}

/// A password from a file is read again for each connection, for it may be changed while the node runs.
fn redis_password(config: &Config) -> Option<redis::Password> {
    let first = config.redis_password.clone()?;
    let path = config.flags.redis_password_file.clone();
    Some(Arc::new(move || {
        let Some(path) = &path else {
            return one_line(&first).map(str::to_owned);
        };
        let unusable = |why| format!("its password in {} cannot be used: {why}", path.display());
        let now = Secret::read(path).map_err(|why| unusable(why.to_string()))?;
        one_line(&now).map(str::to_owned).map_err(unusable)
    }))
}

async fn sweep(strategy: Arc<Sticky>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    // After a pause of the process there is no hurry to make up for what was missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        strategy.sweep_step();
    }
}
