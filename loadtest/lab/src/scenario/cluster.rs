//! `[cluster]`: what is built up.

use serde::Deserialize;
use toml::Spanned;

use super::check::{Problem, at, within};
use super::sizes::Sizes;
use cluster::{BalancerKind, spec::MOST_NODES};
use evidence::history::Lifetime;

/// The least and the most cores that a node can be limited to. The kernel gives no less than 1 ms at a time, and the agent
/// lets nobody wait longer than 50 ms for it.
const QUOTA: (f64, f64) = (0.02, 64.0);
/// The longest that a session or a token may live: a year.
const MAX_LIFE_S: u64 = 31_536_000;
/// The longest that the node signs a token for.
const MAX_TOKEN_S: u64 = 86_400;
/// The most by which the node lets clocks differ.
const MAX_LEEWAY_S: u64 = 600;
/// How long a session lasts when its client does nothing, and in any case, unless the scenario says otherwise: the defaults of
/// the node.
const DEFAULT_IDLE_S: u64 = 1_800;
const DEFAULT_ABSOLUTE_S: u64 = 43_200;
/// How long a token lasts.
const DEFAULT_TOKEN_S: u64 = 1_800;

/// `[cluster]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPart {
    /// App nodes, `node-1` and so on: a number, or several sizes of cluster, each of which runs by itself.
    pub nodes: Spanned<Sizes>,
    /// Nodes that follow them in number: the load balancer knows them, and `scale` starts them.
    #[serde(default = "none")]
    pub spare_nodes: Spanned<usize>,
    /// Strategies to compare.
    pub strategies: Vec<Spanned<String>>,
    /// Which load balancer stands in front of the nodes.
    #[serde(default)]
    pub balancer: BalancerKind,
    /// Accounts that can log in: one for each user, and one for each session of `[memory]`.
    pub accounts: Spanned<u32>,
    /// CPU work that each request does beside the session's, microseconds.
    #[serde(default)]
    pub work_us: u64,
    /// CPU that each node may use at most, in cores: 0.02 is 2 % of one. Without it, what the machine has.
    pub quota: Option<Spanned<f64>>,
    /// What checking a password costs.
    pub password: Password,
    /// A session ends when nothing was heard of its client for so many seconds.
    pub session_idle_s: Option<Spanned<u64>>,
    /// A session ends so many seconds after its login.
    pub session_absolute_s: Option<Spanned<u64>>,
    /// An access token ends so many seconds after it was signed.
    pub access_token_s: Option<Spanned<u64>>,
    /// How far the clocks of two nodes may differ: an access token is taken so many seconds after its end.
    pub token_leeway_s: Option<Spanned<u64>>,
}

fn none() -> Spanned<usize> {
    Spanned::new(0..0, 0)
}

/// `[cluster.password]`: argon2id settings.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// Memory for one check.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
}

impl ClusterPart {
    /// How many nodes run from the start; of several sizes the largest.
    pub fn node_count(&self) -> usize {
        self.nodes.get_ref().largest()
    }

    /// CPU that each node may use, in cores.
    pub fn quota_cores(&self) -> Option<f64> {
        self.quota.as_ref().map(|quota| *quota.get_ref())
    }

    /// The names of the nodes that run from the start.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.node_count())
            .map(|number| format!("node-{number}"))
            .collect()
    }

    /// The names of the strategies.
    pub fn strategy_names(&self) -> Vec<String> {
        self.strategies
            .iter()
            .map(|name| name.get_ref().clone())
            .collect()
    }

    /// Flags for every node: what the scenario says about expiry.
    pub fn expiry_flags(&self) -> Vec<String> {
        [
            ("session-idle-s", &self.session_idle_s),
            ("session-absolute-s", &self.session_absolute_s),
            ("access-token-s", &self.access_token_s),
            ("token-leeway-s", &self.token_leeway_s),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some(format!("--{flag}={}", value.as_ref()?.get_ref())))
        .collect()
    }

    /// How long a session may live: with the client as a token, or in a node or store.
    pub fn lifetime(&self, is_token: bool) -> Lifetime {
        if is_token {
            // A token has one end, and using it does not move that. That a node takes it for the leeway longer is no
            // promise: from its end on it may be refused.
            return Lifetime {
                absolute_s: or(self.access_token_s.as_ref(), DEFAULT_TOKEN_S),
                idle_s: None,
            };
        }
        Lifetime {
            absolute_s: or(self.session_absolute_s.as_ref(), DEFAULT_ABSOLUTE_S),
            idle_s: Some(or(self.session_idle_s.as_ref(), DEFAULT_IDLE_S)),
        }
    }

    /// Numbers that make sense. (Strategies are checked elsewhere.)
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.sizes()?;
        if let Some(quota) = &self.quota {
            within(quota, QUOTA.0, QUOTA.1, "quota")?;
        }
        let room = MOST_NODES - self.node_count();
        within(&self.spare_nodes, 0, room, "spare_nodes")?;
        for (name, time, least, most) in [
            ("session_idle_s", &self.session_idle_s, 1, MAX_LIFE_S),
            (
                "session_absolute_s",
                &self.session_absolute_s,
                1,
                MAX_LIFE_S,
            ),
            ("access_token_s", &self.access_token_s, 1, MAX_TOKEN_S),
            ("token_leeway_s", &self.token_leeway_s, 0, MAX_LEEWAY_S),
        ] {
            if let Some(time) = time {
                within(time, least, most, name)?;
            }
        }
        let idle_s = or(self.session_idle_s.as_ref(), DEFAULT_IDLE_S);
        let absolute_s = or(self.session_absolute_s.as_ref(), DEFAULT_ABSOLUTE_S);
        let place = self
            .session_absolute_s
            .as_ref()
            .or(self.session_idle_s.as_ref());
        match place {
            Some(place) if idle_s > absolute_s => Err(at(
                place,
                format!(
                    "sessions end after {absolute_s} s in any case, so `session_idle_s` of {idle_s} could never matter"
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl ClusterPart {
    /// Sizes that a cluster can have, from small to large. (What else several sizes need is checked in `sizes`.)
    fn sizes(&self) -> Result<(), Problem> {
        let sizes = self.nodes.get_ref().all();
        for size in sizes {
            within(
                &Spanned::new(self.nodes.span(), *size),
                1,
                MOST_NODES,
                "nodes",
            )?;
        }
        if sizes.is_empty() || sizes.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(at(
                &self.nodes,
                "`nodes` is a number, or a list of sizes from the smallest to the largest, each once: [1, 2, 4]"
                    .into(),
            ));
        }
        Ok(())
    }
}

fn or(life: Option<&Spanned<u64>>, default: u64) -> u64 {
    life.map_or(default, |life| *life.get_ref())
}
