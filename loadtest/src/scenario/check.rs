//! What TOML and types cannot say about a scenario: names that exist, times that fit, numbers that make sense.

use std::ops::Range;

use toml::Spanned;

use super::{Fault, Load, STORE, Spec};
use crate::cluster::spec::MOST_NODES;

/// Goose plays every user as a task with a connection of its own; file descriptors end before memory does.
const MAX_USERS: u32 = 10_000;
const MAX_SESSIONS: u32 = 1_000_000;
/// Sessions end after half an hour by themselves; in a run as long as that, a refusal would prove nothing.
const MAX_S: u64 = 1_500;

/// What is wrong, and where.
pub(super) struct Problem {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
}

fn at<T>(place: &Spanned<T>, message: String) -> Problem {
    Problem {
        span: Some(place.span()),
        message,
    }
}

/// Finds the first problem.
pub(super) fn check(spec: &Spec) -> Result<(), Problem> {
    if spec.question.trim().is_empty() {
        return Err(Problem {
            span: None,
            message: "`question` is empty; write the question that the experiment answers".into(),
        });
    }
    within(&spec.repeats, 1, 100, "repeats")?;
    within(&spec.cluster.nodes, 1, MOST_NODES, "nodes")?;
    strategies(spec)?;
    load(&spec.load)?;
    accounts(spec)?;
    faults(spec)
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    value: &Spanned<T>,
    least: T,
    most: T,
    name: &str,
) -> Result<(), Problem> {
    let number = *value.get_ref();
    if number < least || number > most {
        return Err(at(
            value,
            format!("`{name}` is {number}; allowed are {least} to {most}"),
        ));
    }
    Ok(())
}

fn strategies(spec: &Spec) -> Result<(), Problem> {
    let known: Vec<&str> = session::STRATEGIES.iter().map(|known| known.name).collect();
    let names = &spec.cluster.strategies;
    if names.is_empty() {
        return Err(Problem {
            span: None,
            message: format!(
                "`cluster.strategies` is empty; allowed are {}",
                known.join(", ")
            ),
        });
    }
    for (index, name) in names.iter().enumerate() {
        if !known.contains(&name.get_ref().as_str()) {
            return Err(at(
                name,
                format!(
                    "there is no strategy `{}`; allowed are {}",
                    name.get_ref(),
                    known.join(", ")
                ),
            ));
        }
        if names[..index]
            .iter()
            .any(|earlier| earlier.get_ref() == name.get_ref())
        {
            return Err(at(
                name,
                format!(
                    "`{}` is listed twice; use `repeats` to run it more often",
                    name.get_ref()
                ),
            ));
        }
    }
    Ok(())
}

fn load(load: &Load) -> Result<(), Problem> {
    within(&load.users, 1, MAX_USERS, "users")?;
    within(&load.warm_up_s, 0, MAX_S, "warm_up_s")?;
    within(&load.measure_s, 1, MAX_S, "measure_s")?;
    let (shortest, longest) = load.think();
    if shortest > longest {
        return Err(at(
            &load.think_ms,
            format!(
                "`think_ms` is the shortest and the longest pause, so [{longest}, {shortest}] is probably meant"
            ),
        ));
    }
    // Summed up wide, so that absurd weights are an error and no overflow.
    let journey = load.journey.get_ref();
    let sum: u64 = [
        journey.browse,
        journey.add_line,
        journey.read_cart,
        journey.remove_line,
        journey.log_out,
    ]
    .into_iter()
    .map(u64::from)
    .sum();
    if !(1..=1_000_000).contains(&sum) {
        return Err(at(
            &load.journey,
            format!(
                "the weights in `load.journey` add up to {sum}; give at least one of browse, add_line, read_cart, \
                 remove_line, log_out a weight, 1 to 1000000 together"
            ),
        ));
    }
    Ok(())
}

fn accounts(spec: &Spec) -> Result<(), Problem> {
    let mut needed = *spec.load.users.get_ref();
    if let Some(memory) = &spec.memory {
        within(&memory.sessions, 1, MAX_SESSIONS, "sessions")?;
        needed += memory.sessions.get_ref();
    }
    if *spec.cluster.accounts.get_ref() < needed {
        return Err(at(
            &spec.cluster.accounts,
            format!(
                "`accounts` is too small: one for each user and each session of [memory] makes at least {needed}"
            ),
        ));
    }
    Ok(())
}

fn faults(spec: &Spec) -> Result<(), Problem> {
    let targets = targets(spec);
    let measured = *spec.load.measure_s.get_ref();
    for (index, fault) in spec.faults.iter().enumerate() {
        let target = fault.target.get_ref();
        if !targets.contains(target) {
            let hint = if target == STORE {
                "; not every strategy of this scenario keeps its state in a store"
            } else {
                ""
            };
            return Err(at(
                &fault.target,
                format!(
                    "the target `{target}` does not exist; allowed are {}{hint}",
                    targets.join(", ")
                ),
            ));
        }
        let (from, until) = span(fault);
        if until == from {
            return Err(at(
                &fault.for_s,
                "`for_s` is 0: the fault would be over before it began; give at least 1".into(),
            ));
        }
        // Also covers a start outside, and keeps the cluster whole before the final reads.
        if until >= measured {
            return Err(at(
                &fault.at_s,
                format!(
                    "the fault lasts until second {until}, but only {measured} s are measured; it must be over \
                     before the end"
                ),
            ));
        }
        for earlier in &spec.faults[..index] {
            let (other_from, other_until) = span(earlier);
            if earlier.target.get_ref() == target && from <= other_until && other_from <= until {
                return Err(at(
                    &fault.at_s,
                    format!(
                        "`{target}` still suffers from another fault (second {other_from} to {other_until})"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The nodes, and the store if all strategies have one: the same fault must be possible in every run.
fn targets(spec: &Spec) -> Vec<String> {
    let mut targets = spec.cluster.node_names();
    let has_store = |strategy: &String| {
        session::STRATEGIES
            .iter()
            .any(|known| known.name == strategy && known.state_lives == session::StateLives::Store)
    };
    if spec.cluster.strategy_names().iter().all(has_store) {
        targets.push(STORE.into());
    }
    targets
}

fn span(fault: &Fault) -> (u64, u64) {
    let from = *fault.at_s.get_ref();
    (from, from.saturating_add(*fault.for_s.get_ref()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{STORE, Scenario};

    const GOOD: &str = r#"question = "What does a kill cost?"
[cluster]
nodes = 3
strategies = ["sticky", "redis"]
accounts = 300
password = { memory_kib = 64, iterations = 1 }
[load]
users = 100
think_ms = [200, 800]
journey = { browse = 5, add_line = 2 }
warm_up_s = 1
measure_s = 20
[[faults]]
kind = "kill"
target = "node-2"
at_s = 9
for_s = 4
[memory]
sessions = 200
"#;

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        Scenario::parse(Path::new("a.toml"), &GOOD.replace(from, to))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_scenario_is_understood() {
        let scenario = Scenario::parse(Path::new("scenarios/kill.toml"), GOOD).unwrap();
        assert_eq!(scenario.name, "kill");
        assert_eq!(scenario.spec.load.think(), (200, 800));
        assert_eq!(*scenario.spec.repeats.get_ref(), 1);
        assert_eq!(scenario.spec.cluster.node_names()[2], "node-3");
    }

    #[test]
    fn a_store_can_be_hit_where_all_strategies_have_one() {
        let text = GOOD.replace("\"sticky\", ", "").replace("node-2", STORE);
        let scenario = Scenario::parse(Path::new("a.toml"), &text).unwrap();
        assert_eq!(scenario.spec.faults[0].target.get_ref(), STORE);
    }

    #[test]
    fn the_scenarios_that_come_with_the_lab_are_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            Scenario::read(&entry.unwrap().path()).unwrap();
            read += 1;
        }
        assert!(read >= 2);
    }

    /// Every mistake: what is changed, where the error must point, and what it must say.
    #[test]
    fn mistakes_are_explained_where_they_are() {
        let mistakes = [
            (
                "users = 100",
                "users = 100\nuser = 3",
                "a.toml:9:1:",
                "unknown field `user`, expected one of `users`",
            ),
            (
                "users = 100",
                "users = \"many\"",
                "a.toml:8:9:",
                "expected u32",
            ),
            (
                "users = 100",
                "users = 0",
                "a.toml:8:9:",
                "allowed are 1 to 10000",
            ),
            (
                "nodes = 3",
                "nodes = 99",
                "a.toml:3:9:",
                "allowed are 1 to 64",
            ),
            (
                "\"redis\"]",
                "\"reddis\"]",
                "a.toml:4:25:",
                "allowed are sticky, redis, jwt",
            ),
            ("\"redis\"]", "\"sticky\"]", "a.toml:4:25:", "listed twice"),
            (
                "\"node-2\"",
                "\"store\"",
                "a.toml:15:10:",
                "not every strategy of this scenario keeps its state in a store",
            ),
            (
                "[\"sticky\", \"redis\"]",
                "[]",
                "a.toml:",
                "`cluster.strategies` is empty",
            ),
            (
                "accounts = 300",
                "accounts = 299",
                "a.toml:5:12:",
                "at least 300",
            ),
            ("[200, 800]", "[800, 200]", "a.toml:9:12:", "[200, 800]"),
            (
                "browse = 5, add_line = 2",
                "browse = 0",
                "a.toml:10:11:",
                "weights",
            ),
            (
                "add_line = 2",
                "shout = 2",
                "a.toml:10:25:",
                "unknown field `shout`",
            ),
            ("\"kill\"", "\"kil\"", "a.toml:14:8:", "expected `kill`"),
            (
                "\"node-2\"",
                "\"node-7\"",
                "a.toml:15:10:",
                "allowed are node-1, node-2, node-3",
            ),
            (
                "at_s = 9",
                "at_s = 16",
                "a.toml:16:8:",
                "until second 20, but only 20 s",
            ),
            ("for_s = 4", "for_s = 0", "a.toml:17:9:", "at least 1"),
            (
                "measure_s = 20\n",
                "",
                "a.toml:7:1:",
                "missing field `measure_s`",
            ),
            (
                "question = \"What does a kill cost?\"",
                "question = \"\"",
                "a.toml:",
                "`question` is empty",
            ),
            ("nodes = 3", "nodes = ", "a.toml:3:", "nodes ="),
        ];
        for (from, to, place, text) in mistakes {
            let error = error(from, to);
            assert!(error.starts_with(place), "{to}: {error}");
            assert!(error.contains(text), "{to}: {error}");
        }
    }

    #[test]
    fn two_faults_on_one_node_at_the_same_time_are_refused() {
        let twice = format!(
            "{GOOD}[[faults]]\nkind = \"kill\"\ntarget = \"node-2\"\nat_s = 12\nfor_s = 3\n"
        );
        let error = Scenario::parse(Path::new("a.toml"), &twice)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("a.toml:23:8:"), "{error}");
        assert!(error.contains("second 9 to 13"), "{error}");
    }
}
