//! What one node is: its name, its accounts, its clock, and a lane for each strategy that it serves.
//!
//! A request is served in one lane. [`Served`] is that choice, made once and handed to the endpoint as its state,
//! so that no endpoint can choose again, or forget to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use session::throttle::{self, Limits};
use session::{Clock, Secret, Strategy};

use crate::accounts::Accounts;
use crate::affinity::X_BALANCER_DRAIN;
use crate::carrier::Carrier;
use crate::metrics::Requests;
use crate::origin::{Origin, Scheme};
use crate::peer::TrustedBalancers;
use crate::problem::Problem;

/// The header that chooses the strategy, and that every answer repeats.
pub(crate) const X_SESSION_STRATEGY: HeaderName = HeaderName::from_static("x-session-strategy");

/// One node.
pub(crate) struct Node {
    /// As reports call it.
    pub name: String,
    /// The name as a header, made once.
    pub name_header: HeaderValue,
    /// The strategies served here, at least one.
    pub lanes: Vec<Lane>,
    /// Requests that went to no strategy.
    pub unrouted: Requests,
    /// Who may log in.
    pub accounts: Accounts,
    /// How many logins may be tried.
    pub login_limits: Limits,
    /// Counts them for strategies that have no store to do it in.
    pub own_throttle: throttle::Memory,
    /// Where browsers think they are.
    pub public: Origin,
    /// Who may speak for others.
    pub trusted_balancers: Vec<TrustedBalancers>,
    /// What expiry is judged by.
    pub clock: Clock,
    /// Whether an operator may turn it.
    pub turnable_clock: bool,
    /// CPU time that each application request burns.
    pub work: Duration,
    /// Opens operator calls; none are taken without one.
    pub operator_token: Option<Secret>,
    draining: AtomicBool,
    /// What the request ids of this process begin with; the rest counts up.
    id_prefix: u32,
    next_id: AtomicU64,
}

/// One strategy with all that belongs to serving it.
pub(crate) struct Lane {
    /// The strategy's name.
    pub name: &'static str,
    /// The name as a header, made once.
    pub name_header: HeaderValue,
    /// The strategy itself.
    pub strategy: Arc<dyn Strategy>,
    /// Carries its credential.
    pub carrier: Carrier,
    /// What was asked of it.
    pub requests: Requests,
}

impl Lane {
    /// A lane for `strategy`; `secure` where browsers come over https.
    pub(crate) fn new(strategy: Arc<dyn Strategy>, secure: bool) -> Self {
        let about = strategy.about();
        Self {
            name: about.name,
            name_header: HeaderValue::from_static(about.name),
            carrier: Carrier::of(about, secure),
            strategy,
            requests: Requests::new(),
        }
    }
}

/// What a node is made of.
pub(crate) struct Parts {
    /// See [`Node`].
    pub name: String,
    /// See [`Node`].
    pub strategies: Vec<Arc<dyn Strategy>>,
    /// See [`Node`].
    pub accounts: Accounts,
    /// See [`Node`].
    pub login_limits: Limits,
    /// See [`Node`].
    pub public: Origin,
    /// See [`Node`].
    pub trusted_balancers: Vec<TrustedBalancers>,
    /// See [`Node`].
    pub clock: Clock,
    /// See [`Node`].
    pub turnable_clock: bool,
    /// See [`Node`].
    pub work: Duration,
    /// See [`Node`].
    pub operator_token: Option<Secret>,
}

impl Node {
    /// A node that serves; fails where the name is no header value or the system has no randomness.
    pub(crate) fn new(parts: Parts) -> Result<Self, std::io::Error> {
        let name_header = HeaderValue::try_from(&parts.name).map_err(std::io::Error::other)?;
        let secure = parts.public.scheme == Scheme::Https;
        let strategies = parts.strategies.into_iter();
        Ok(Self {
            name: parts.name,
            name_header,
            lanes: strategies
                .map(|strategy| Lane::new(strategy, secure))
                .collect(),
            unrouted: Requests::new(),
            accounts: parts.accounts,
            login_limits: parts.login_limits,
            own_throttle: throttle::Memory::new(parts.clock.clone()),
            public: parts.public,
            trusted_balancers: parts.trusted_balancers,
            clock: parts.clock,
            turnable_clock: parts.turnable_clock,
            work: parts.work,
            operator_token: parts.operator_token,
            draining: AtomicBool::new(false),
            id_prefix: getrandom::u32().map_err(std::io::Error::other)?,
            next_id: AtomicU64::new(0),
        })
    }

    /// The lane that a request with these headers belongs to; `None` where it names none and there are several.
    pub(crate) fn named_lane(&self, headers: &HeaderMap) -> Result<Option<usize>, Problem> {
        match headers.get(X_SESSION_STRATEGY) {
            Some(name) => {
                let index = self.lanes.iter().position(|lane| lane.name_header == *name);
                index.map(Some).ok_or_else(|| self.misdirected())
            }
            None if self.lanes.len() == 1 => Ok(Some(0)),
            None => Ok(None),
        }
    }

    /// The choice of a strategy for a request with these headers.
    pub(crate) fn serve(self: &Arc<Self>, headers: &HeaderMap) -> Result<Served, Problem> {
        let index = self
            .named_lane(headers)?
            .ok_or_else(|| self.misdirected())?;
        Ok(Served {
            node: Arc::clone(self),
            index,
        })
    }

    fn misdirected(&self) -> Problem {
        Problem::Misdirected {
            strategies: self.lanes.iter().map(|lane| lane.name).collect(),
        }
    }

    /// An id for a request that came without one: unique in this process, and all but surely among all.
    pub(crate) fn new_request_id(&self) -> Option<HeaderValue> {
        let count = self.next_id.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:08x}-{count:x}", self.id_prefix)).ok()
    }

    /// From now on `/readyz` says no, and answers ask clients to close their connections.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The node, through the one strategy that the request is served by.
#[derive(Clone)]
pub(crate) struct Served {
    /// The node.
    pub node: Arc<Node>,
    /// Which of its lanes.
    pub index: usize,
}

impl Served {
    /// The lane that was chosen.
    pub(crate) fn lane(&self) -> &Lane {
        &self.node.lanes[self.index]
    }

    /// Whether a client without a session should get one elsewhere: the balancer says that the node drains, or it is about
    /// to end and what is kept in its memory with it.
    pub(crate) fn takes_no_new_sessions(&self, request: &HeaderMap) -> bool {
        let dies_with_node = || !self.strategy().about().survives_node_death();
        request.contains_key(X_BALANCER_DRAIN) || (self.node.is_draining() && dies_with_node())
    }

    /// The strategy that was chosen.
    pub(crate) fn strategy(&self) -> &dyn Strategy {
        &*self.lane().strategy
    }
}
