//! Several sizes of cluster in one scenario: how throughput grows with nodes.
//!
//! Each size is a run of its own; the scenario is taken apart into scenarios of one size each, so that whoever performs a run
//! knows nothing of the others. What such a scenario must say follows from what is asked of it: nodes have to be the limit,
//! so they need a CPU limit of their own and users that never pause.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::problem::{Problem, at};
use super::{Scenario, Spec};

/// `nodes`: a number, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(Vec<usize>);

impl Sizes {
    /// In the order of the file, which is checked to be ascending.
    pub fn all(&self) -> &[usize] {
        &self.0
    }

    /// The largest.
    pub fn largest(&self) -> usize {
        self.0.iter().copied().max().unwrap_or(0)
    }

    /// Whether there is more than one.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

impl<'de> Deserialize<'de> for Sizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

/// By hand, because the error of an untagged enum says nothing.
struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Sizes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of nodes, or a list of them")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Sizes, E> {
        let wrong = |_| E::custom(format!("{number} nodes are not possible"));
        usize::try_from(number)
            .map(|size| Sizes(vec![size]))
            .map_err(wrong)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Sizes, E> {
        let wrong = |_| E::custom(format!("{number} nodes are not possible"));
        usize::try_from(number)
            .map(|size| Sizes(vec![size]))
            .map_err(wrong)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sizes, A::Error> {
        let mut sizes = Vec::new();
        while let Some(size) = list.next_element()? {
            sizes.push(size);
        }
        Ok(Sizes(sizes))
    }
}

impl Scenario {
    /// One scenario for each size of cluster.
    pub fn by_size(&self) -> Vec<Self> {
        let nodes = &self.spec.cluster.nodes;
        let one = |size: &usize| {
            let mut scenario = self.clone();
            scenario.spec.cluster.nodes = Spanned::new(nodes.span(), Sizes(vec![*size]));
            scenario
        };
        nodes.get_ref().all().iter().map(one).collect()
    }
}

/// What several sizes need, and what does not go with them.
pub(super) fn check(spec: &Spec) -> Result<(), Problem> {
    let nodes = &spec.cluster.nodes;
    if !nodes.get_ref().are_several() {
        return Ok(());
    }
    let wrong = |message: &str| Err(at(nodes, message.into()));
    if spec.cluster.quota.is_none() {
        return wrong(
            "several sizes need `quota`, the CPU that each node may use: without it more nodes only share the same cores",
        );
    }
    if !spec.load.pace().is_saturating() {
        return wrong(
            "several sizes are compared by what they can serve, so users must not pause: `think_ms = [0, 0]`",
        );
    }
    if !spec.faults.is_empty() || spec.chaos.is_some() || *spec.cluster.spare_nodes.get_ref() > 0 {
        return wrong(
            "several sizes go with neither faults nor spare nodes: these are about one cluster; give one size",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = r#"question = "How does it grow?"
[cluster]
nodes = [1, 2, 4]
quota = 0.02
strategies = ["sticky", "redis"]
accounts = 300
password = { memory_kib = 64, iterations = 1 }
[load]
users = 100
think_ms = [0, 0]
journey = { browse = 5, add_line = 2 }
warm_up_s = 1
measure_s = 20
"#;

    fn parse(from: &str, to: &str) -> Result<Scenario, String> {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        Scenario::parse(Path::new("a.toml"), &text, &evidence::sample::table())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_size_is_a_scenario_of_its_own() {
        let scenario = parse("", "").unwrap();
        assert_eq!(scenario.spec.cluster.node_count(), 4);
        assert_eq!(scenario.spec.cluster.quota_cores(), Some(0.02));
        let by_size = scenario.by_size();
        let counts: Vec<usize> = by_size
            .iter()
            .map(|one| one.spec.cluster.node_count())
            .collect();
        assert_eq!(counts, [1, 2, 4]);
        assert!(
            by_size
                .iter()
                .all(|one| !one.spec.cluster.nodes.get_ref().are_several())
        );
        let one = parse("nodes = [1, 2, 4]", "nodes = 3").unwrap();
        assert_eq!(one.by_size().len(), 1);
    }

    #[test]
    fn a_quota_goes_with_every_scenario() {
        let scenario = parse("nodes = [1, 2, 4]\nquota = 0.02", "nodes = 3\nquota = 1").unwrap();
        assert_eq!(scenario.spec.cluster.quota_cores(), Some(1.0));
    }

    #[test]
    fn mistakes_are_explained_where_they_are() {
        for (from, to, place, text) in [
            (
                "[1, 2, 4]",
                "[1, 4, 2]",
                "a.toml:3:9:",
                "from the smallest to the largest",
            ),
            ("[1, 2, 4]", "[2, 2]", "a.toml:3:9:", "each once"),
            (
                "[1, 2, 4]",
                "[]",
                "a.toml:3:9:",
                "`nodes` is a number, or a list",
            ),
            ("[1, 2, 4]", "[0, 2]", "a.toml:3:9:", "allowed are 1 to 64"),
            ("[1, 2, 4]", "[1, 65]", "a.toml:3:9:", "`nodes` is 65"),
            (
                "[1, 2, 4]",
                "\"3\"",
                "a.toml:3:9:",
                "a number of nodes, or a list of them",
            ),
            (
                "[1, 2, 4]",
                "-3",
                "a.toml:3:9:",
                "-3 nodes are not possible",
            ),
            (
                "quota = 0.02",
                "quota = 0.001",
                "a.toml:4:9:",
                "allowed are 0.02 to 64",
            ),
            (
                "quota = 0.02",
                "quota = nan",
                "a.toml:4:9:",
                "allowed are 0.02 to 64",
            ),
            (
                "quota = 0.02\n",
                "",
                "a.toml:3:9:",
                "several sizes need `quota`",
            ),
            ("[0, 0]", "[10, 20]", "a.toml:3:9:", "users must not pause"),
            (
                "quota = 0.02",
                "quota = 0.02\nspare_nodes = 1",
                "a.toml:3:9:",
                "neither faults nor spare",
            ),
        ] {
            let error = parse(from, to).unwrap_err();
            assert!(error.starts_with(place), "{to}: {error}");
            assert!(error.contains(text), "{to}: {error}");
        }
    }
}
