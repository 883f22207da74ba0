//! `[cluster]`: what is built up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::problem::{Problem, at, within};
use super::sizes::Sizes;
use cluster::{BalancerKind, spec::MOST_NODES};
use evidence::random::Random;
use evidence::strategy::{ALL, Setting, Table};

/// The least and the most cores that a node can be limited to. The kernel gives no less than 1 ms at a time, and the agent
/// lets nobody wait longer than 50 ms for it.
const QUOTA: (f64, f64) = (0.02, 64.0);
/// `[cluster]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPart {
    /// App nodes, `node-1` and so on: a number, or several sizes of cluster, each of which runs by itself.
    pub nodes: Spanned<Sizes>,
    /// Nodes that follow them in number: the load balancer knows them, and `scale` starts them.
    #[serde(default = "none")]
    pub spare_nodes: Spanned<usize>,
    /// Strategies to compare: a list, or `"all"` that the node knows.
    #[serde(deserialize_with = "all_or_list")]
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
    /// Settings of the strategies, by their flags with `_` for `-`: `{ access_token_s = 10 }`.
    #[serde(default)]
    pub settings: BTreeMap<Spanned<String>, Spanned<u64>>,
}

/// `"all"`, or a list of names with the place of each.
fn all_or_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Spanned<String>>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<Spanned<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strategies, or \"all\"")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
            if name == ALL {
                return Ok(vec![Spanned::new(0..0, name.to_owned())]);
            }
            Err(E::invalid_value(Unexpected::Str(name), &self))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = list.next_element()? {
                names.push(name);
            }
            Ok(names)
        }
    }

    from.deserialize_any(Names)
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

    /// A node that chance chooses.
    pub(super) fn random_node(&self, random: &mut Random) -> String {
        format!("node-{}", random.below(self.node_count() as u64) + 1)
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

    /// Lists every strategy of the node where the scenario says "all".
    pub(super) fn resolve(&mut self, table: &Table) {
        if let [all] = self.strategies.as_slice()
            && all.get_ref() == ALL
        {
            let span = all.span();
            let names = table.names().into_iter();
            self.strategies = names
                .map(|name| Spanned::new(span.clone(), name.to_owned()))
                .collect();
        }
    }

    /// What the scenario sets of the strategies' settings, by flag.
    pub fn settings(&self) -> BTreeMap<String, u64> {
        let set = self.settings.iter();
        set.map(|(name, value)| (name.get_ref().replace('_', "-"), *value.get_ref()))
            .collect()
    }

    /// The same as flags for every node.
    pub fn setting_flags(&self) -> Vec<String> {
        let set = self.settings().into_iter();
        set.map(|(flag, value)| format!("--{flag}={value}"))
            .collect()
    }

    /// Numbers that make sense. (Strategies are checked elsewhere.)
    pub(super) fn check(&self, table: &Table) -> Result<(), Problem> {
        self.sizes()?;
        if let Some(quota) = &self.quota {
            within(quota, QUOTA.0, QUOTA.1, "quota")?;
        }
        let room = MOST_NODES - self.node_count();
        within(&self.spare_nodes, 0, room, "spare_nodes")?;
        self.check_settings(table)
    }

    /// That each setting is one of a strategy, in its range, and can matter.
    fn check_settings(&self, table: &Table) -> Result<(), Problem> {
        let known = || table.all().iter().flat_map(|about| &about.settings);
        for (name, value) in &self.settings {
            let flag = name.get_ref().replace('_', "-");
            let setting = known().find(|setting| setting.flag == flag);
            let Some((_, least, most)) = setting.and_then(Setting::number) else {
                let numbers = known().filter(|setting| setting.number().is_some());
                let names: BTreeSet<String> = numbers
                    .map(|setting| setting.flag.replace('-', "_"))
                    .collect();
                let names: Vec<String> = names.into_iter().collect();
                return Err(at(
                    name,
                    format!(
                        "no strategy has the setting `{}`; allowed are {}",
                        name.get_ref(),
                        names.join(", ")
                    ),
                ));
            };
            within(value, least, most, name.get_ref())?;
        }
        let set = self.settings();
        let place = self.settings.keys().next();
        for about in table.all() {
            let life = about.lifetime(&set);
            if let (Some(place), Some(idle_s)) = (place, life.idle_s)
                && idle_s > life.absolute_s
            {
                return Err(at(
                    place,
                    format!(
                        "sessions end after {} s in any case, so an idle time of {idle_s} s could never matter",
                        life.absolute_s
                    ),
                ));
            }
        }
        Ok(())
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
