//! What a node says of the strategies that it serves: `shop describe`, read. The lab knows strategies by nothing else.
//!
//! The form is `services/shop/describe.schema.json`. Fields that nobody here needs are left out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::history::Lifetime;
use crate::results::Expected;
use crate::results::StrategyProperties;

/// The version of the form that is understood.
const SCHEMA: u32 = 1;

/// Stands for every strategy of the table wherever names are listed.
pub const ALL: &str = "all";

/// The strategies of a node, in the order in which it lists them.
#[derive(Clone, Debug)]
pub struct Table(Vec<About>);

/// Why what a node printed is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not JSON of this form.
    #[error("not a description of strategies: {0}")]
    NotDescribed(#[from] serde_json::Error),
    /// Another version of the form.
    #[error("a description of form {found}, and this program reads form {SCHEMA}")]
    OtherSchema {
        /// Its version.
        found: u32,
    },
}

/// What a strategy says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// The name in flags, files, metrics and reports.
    pub name: String,
    /// `node`, `store` or `client`.
    pub state_lives: String,
    /// The kind of store that nodes must reach, if any.
    pub store: Option<String>,
    /// What its keys in the store begin with.
    pub key_prefixes: Vec<String>,
    /// Whether the load balancer must send a client to the same node.
    pub needs_affinity: bool,
    /// How the credential travels.
    pub carriage: Carriage,
    /// How a session ends by itself.
    pub ends: Ends,
    /// How far a logout reaches.
    pub logout: Reach,
    /// How far the revocation of a user reaches.
    pub revocation: Reach,
    /// What a request costs in round trips to the store.
    pub round_trips: RoundTrips,
    /// What logging out really does.
    pub logout_means: String,
    /// Where the load balancer offers it by default.
    pub port: u16,
    /// What an operator may set.
    pub settings: Vec<Setting>,
    /// What faults must and may cost; the first row that fits counts.
    pub theory: Vec<Expected>,
}

/// How a credential travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carriage {
    /// In a cookie.
    Cookie,
    /// As a token that the client presents itself.
    Tokens,
}

/// How a session ends by itself, with the flags that set when.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// When nothing was heard of the client for a while, and at the latest some time after the login.
    Idle {
        /// The while.
        idle: String,
        /// The latest time.
        absolute: String,
    },
    /// A fixed time after the login.
    Fixed {
        /// The time.
        lifetime: String,
    },
}

/// How far the end of a session reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Everywhere, with the answer.
    AtOnce,
    /// The node that was asked.
    ThisNode,
    /// Nothing is ended.
    Never,
}

impl Reach {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::AtOnce => "every node, at once",
            Self::ThisNode => "the node that was asked",
            Self::Never => "nobody: the credential works until it expires",
        }
    }
}

/// Round trips to the store, at most.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RoundTrips {
    /// Of a login.
    pub login: u32,
    /// Of a request that asks who is logged in, or reads the cart.
    pub read: u32,
    /// Of a change of the cart.
    pub change: u32,
}

/// What an operator may set.
#[derive(Clone, Debug, Deserialize)]
pub struct Setting {
    /// The flag without its dashes.
    pub flag: String,
    /// What values it takes.
    takes: Takes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Takes {
    Number {
        default: u64,
        least: u64,
        most: u64,
    },
    #[serde(untagged)]
    Other(serde::de::IgnoredAny),
}

impl Setting {
    /// Default, least and most, where it takes a number.
    pub fn number(&self) -> Option<(u64, u64, u64)> {
        match self.takes {
            Takes::Number {
                default,
                least,
                most,
            } => Some((default, least, most)),
            Takes::Other(_) => None,
        }
    }
}

impl Table {
    /// Reads what `shop describe` printed.
    pub fn parse(json: &str) -> Result<Self, TableError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        #[derive(Deserialize)]
        struct Description {
            strategies: Vec<About>,
        }
        let Head { schema } = serde_json::from_str(json)?;
        if schema != SCHEMA {
            return Err(TableError::OtherSchema { found: schema });
        }
        let Description { strategies } = serde_json::from_str(json)?;
        Ok(Self(strategies))
    }

    /// The strategy of this name.
    pub fn about(&self, name: &str) -> Option<&About> {
        self.0.iter().find(|about| about.name == name)
    }

    /// All of them.
    pub fn all(&self) -> &[About] {
        &self.0
    }

    /// All names.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|about| about.name.as_str()).collect()
    }

    /// All names, for people.
    pub fn list(&self) -> String {
        self.names().join(", ")
    }

    /// These names, with [`ALL`] standing for every strategy.
    pub fn resolve(&self, names: &[String]) -> Vec<String> {
        if names.iter().any(|name| name == ALL) {
            return self.0.iter().map(|about| about.name.clone()).collect();
        }
        names.to_vec()
    }

    /// Whether a strategy of these needs a store.
    pub fn any_needs_store<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> bool {
        let mut rows = names.into_iter().filter_map(|name| self.about(name));
        rows.any(|about| about.store.is_some())
    }
}

impl About {
    /// What histories and results keep of it.
    pub fn properties(&self) -> StrategyProperties {
        StrategyProperties {
            state_lives: self.state_lives.clone(),
            store: self.store.clone(),
            needs_affinity: self.needs_affinity,
            survives_node_death: self.state_lives != "node",
            revocable_at_once: self.revocation == Reach::AtOnce,
            store_round_trips: self.round_trips.read.max(self.round_trips.change),
            logout: self.logout_means.clone(),
            theory: self.theory.clone(),
        }
    }

    /// How long a session may live when these flags were given; what is not given has the node's default.
    ///
    /// A fixed end does not move, whatever the client does. That a node accepts a token for some leeway longer is no
    /// promise: from its end on it may be refused.
    pub fn lifetime(&self, given: &BTreeMap<String, u64>) -> Lifetime {
        let seconds = |flag: &String| {
            let setting = self.settings.iter().find(|setting| setting.flag == *flag);
            let default = setting
                .and_then(Setting::number)
                .map_or(0, |(default, ..)| default);
            given.get(flag).copied().unwrap_or(default)
        };
        match &self.ends {
            Ends::Idle { idle, absolute } => Lifetime {
                absolute_s: seconds(absolute),
                idle_s: Some(seconds(idle)),
            },
            Ends::Fixed { lifetime } => Lifetime {
                absolute_s: seconds(lifetime),
                idle_s: None,
            },
        }
    }
}
