//! What a check gets: two nodes of one cluster, a clock that it can turn, and users that no other check has.

use std::sync::Arc;
use std::time::Duration;

use session::about::Ends;
use session::settings::MAX_CART_LINES;
use session::{About, Change, Clock, Host, Kind, Line, StateLives, Strategy, Values};

use crate::client::Client;

/// Two nodes.
pub(crate) struct Lab {
    pub(crate) about: &'static About,
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) clock: Clock,
    values: Values,
    number: usize,
}

/// One of them. Its background work ends with it.
pub(crate) struct Node {
    strategy: Arc<dyn Strategy>,
    _host: Host,
}

impl std::ops::Deref for Node {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        &*self.strategy
    }
}

impl Node {
    async fn start(kind: &dyn Kind, values: &Values, clock: &Clock) -> Self {
        let host = Host::new(clock.clone());
        let strategy = kind.build(values, &host).unwrap();
        // The bound only keeps a broken strategy from waiting for ever.
        for _ in 0..6000 {
            if strategy.ready().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        strategy.ready().await.unwrap();
        Self {
            strategy,
            _host: host,
        }
    }

    /// For a task beside the check.
    pub(crate) fn shared(&self) -> Arc<dyn Strategy> {
        Arc::clone(&self.strategy)
    }
}

impl Lab {
    pub(crate) async fn new(kind: &dyn Kind, values: Values, number: usize) -> Self {
        let clock = Clock::system();
        Self {
            about: kind.about(),
            a: Node::start(kind, &values, &clock).await,
            b: Node::start(kind, &values, &clock).await,
            clock,
            values,
            number,
        }
    }

    /// The name of a user of this check: checks share what the nodes share.
    pub(crate) fn user(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    pub(crate) async fn login(&self, name: &str) -> Client {
        Client::login(&*self.a, &self.user(name)).await
    }

    /// How long a login lasts that is not used.
    pub(crate) fn unused_s(&self) -> u64 {
        self.values.number(match self.about.ends {
            Ends::Idle { idle, .. } => idle,
            Ends::Fixed { lifetime } => lifetime,
        })
    }

    /// How long it lasts at most.
    pub(crate) fn longest_s(&self) -> u64 {
        self.values.number(match self.about.ends {
            Ends::Idle { absolute, .. } => absolute,
            Ends::Fixed { lifetime } => lifetime,
        })
    }

    pub(crate) fn max_lines(&self) -> usize {
        self.values.count(&MAX_CART_LINES)
    }

    pub(crate) fn lives_at_the_client(&self) -> bool {
        self.about.state_lives == StateLives::Client
    }

    pub(crate) fn turn(&self, seconds: u64) {
        self.clock.turn(Duration::from_secs(seconds));
    }
}

pub(crate) fn add(id: &str) -> Change {
    Change::Add(Line {
        id: id.to_owned(),
        sku: "tea-pot".to_owned(),
        quantity: 2,
    })
}

pub(crate) fn remove(id: &str) -> Change {
    Change::Remove(id.to_owned())
}
