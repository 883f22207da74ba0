//! What is done at which second: the scenario's faults with every repetition, every default and every choice of the
//! seed. The same scenario with the same seed always gives the same schedule, for each strategy and each repeat.

use cluster::faults::{Fault, Target};
use evidence::random::{Random, Stream};

use super::fault::occurrences;
use super::{Spec, chaos};

impl Spec {
    /// Everything that is done, in the order of time.
    pub fn schedule(&self) -> Vec<Fault> {
        let mut random = Random::new(self.seed, Stream::Faults);
        let mut schedule = match &self.chaos {
            Some(chaos) => chaos::expand(chaos, self, &mut random),
            None => self.faults.iter().flat_map(occurrences).collect(),
        };
        schedule.sort_by_key(|planned| planned.at_s);
        for planned in &mut schedule {
            if planned.target == Target::Random {
                planned.target = Target::Node(self.cluster.random_node(&mut random));
            }
        }
        schedule
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Scenario;

    fn spec(faults: &str) -> Spec {
        let text = format!(
            "question = \"?\"\n[cluster]\nnodes = 3\nstrategies = [\"redis\"]\naccounts = 10\n\
             password = {{ memory_kib = 8, iterations = 1 }}\n[load]\nusers = 10\nthink_ms = [1, 2]\n\
             journey = {{ browse = 1 }}\nwarm_up_s = 0\nmeasure_s = 60\n{faults}"
        );
        Scenario::parse(Path::new("a.toml"), &text, &evidence::sample::table())
            .unwrap()
            .spec
    }

    #[test]
    fn repetitions_are_faults_of_their_own_in_the_order_of_time() {
        let schedule = spec(
            "[[faults]]\nkind = \"kill\"\ntarget = \"node-2\"\nat_s = 5\nfor_s = 2\nevery_s = 10\ntimes = 3\n\
             [[faults]]\nkind = \"pause\"\ntarget = \"store\"\nat_s = 8\nfor_s = 2\n",
        )
        .schedule();
        let times: Vec<(u64, String)> = schedule
            .iter()
            .map(|planned| (planned.at_s, planned.target.to_string()))
            .collect();
        let expected = [(5, "node-2"), (8, "store"), (15, "node-2"), (25, "node-2")];
        assert_eq!(times, expected.map(|(at_s, name)| (at_s, name.to_string())));
    }

    #[test]
    fn the_seed_chooses_random_nodes_and_chooses_the_same_again() {
        let mut spec = spec(
            "[[faults]]\nkind = \"kill\"\ntarget = \"random\"\nat_s = 2\nfor_s = 1\nevery_s = 2\ntimes = 25\n",
        );
        let first = spec.schedule();
        assert_eq!(first, spec.schedule());
        for node in ["node-1", "node-2", "node-3"] {
            let chosen = Target::Node(node.into());
            assert!(
                first.iter().any(|planned| planned.target == chosen),
                "{node}"
            );
        }
        spec.seed += 1;
        assert_ne!(first, spec.schedule());
    }
}
