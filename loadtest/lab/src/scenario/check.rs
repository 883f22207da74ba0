//! What TOML and types cannot say about a scenario: names that exist, times that fit, numbers that make sense.

use toml::Spanned;

use super::load::Profile;
use super::problem::{Problem, at, within};
use super::{Load, Spec, fault, sizes};
use evidence::expectations::Threshold;
use evidence::strategy::Table;

/// Goose plays every user as a task with a connection of its own; file descriptors end before memory does.
const MAX_USERS: u32 = 10_000;
/// More than this machine's generator can send.
const MAX_ARRIVALS_PER_S: u32 = 100_000;
/// A credential that is tried without end leaves users no time for anything else.
const MAX_REPLAYS: u32 = 100;
/// An operator who logs more people out than log in leaves nobody to measure.
const MAX_REVOCATIONS_PER_S: u32 = 100;
const MAX_SESSIONS: u32 = 1_000_000;
/// Sessions end after half an hour by themselves; in a run as long as that, a refusal would prove nothing.
const MAX_S: u64 = 1_500;

/// Finds the first problem.
pub(super) fn check(spec: &Spec, table: &Table) -> Result<(), Problem> {
    if spec.question.trim().is_empty() {
        return Err(Problem {
            span: None,
            message: "`question` is empty; write the question that the experiment answers".into(),
        });
    }
    within(&spec.repeats, 1, 100, "repeats")?;
    spec.cluster.check(table)?;
    strategies(spec, table)?;
    load(&spec.load)?;
    accounts(spec)?;
    sizes::check(spec)?;
    fault::check(spec, table)?;
    match &spec.chaos {
        Some(chaos) => chaos.check(spec),
        None => Ok(()),
    }
}

fn strategies(spec: &Spec, table: &Table) -> Result<(), Problem> {
    let known = table.names();
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

/// Understands what is expected.
pub(super) fn thresholds(spec: &Spec) -> Result<Vec<Threshold>, Problem> {
    let strategies = spec.cluster.strategy_names();
    let understand = |text: &Spanned<String>| {
        let threshold =
            Threshold::try_from(text.get_ref().clone()).map_err(|message| at(text, message))?;
        match &threshold.strategy {
            Some(strategy) if !strategies.contains(strategy) => Err(at(
                text,
                format!(
                    "`expect` is about the strategy `{strategy}`, which this scenario does not have; allowed are {}",
                    strategies.join(", ")
                ),
            )),
            _ => Ok(threshold),
        }
    };
    spec.expect.iter().map(understand).collect()
}

fn load(load: &Load) -> Result<(), Problem> {
    within(&load.users, 1, MAX_USERS, "users")?;
    within(&load.warm_up_s, 0, MAX_S, "warm_up_s")?;
    within(&load.measure_s, 1, MAX_S, "measure_s")?;
    pace(load)?;
    replays(load)?;
    if let Some(rate) = &load.revocations_per_s {
        within(rate, 1, MAX_REVOCATIONS_PER_S, "revocations_per_s")?;
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

/// Each loop needs its own settings, and takes none of the other's.
fn pace(load: &Load) -> Result<(), Problem> {
    let missing = |what: &str| {
        Err(Problem {
            span: None,
            message: format!("`load.{what}` is missing"),
        })
    };
    match load.profile {
        Profile::Closed => {
            if let Some(rate) = &load.arrivals_per_s {
                return Err(at(
                    rate,
                    "`arrivals_per_s` belongs to `profile = \"open\"`; a closed loop has `think_ms`".into(),
                ));
            }
            if let Some(arrivals) = &load.arrivals {
                return Err(at(
                    arrivals,
                    "`arrivals` belongs to `profile = \"open\"`; a closed loop has `think_ms`"
                        .into(),
                ));
            }
            let Some(think_ms) = &load.think_ms else {
                return missing("think_ms");
            };
            let (shortest, longest) = *think_ms.get_ref();
            if shortest > longest {
                return Err(at(
                    think_ms,
                    format!(
                        "`think_ms` is the shortest and the longest pause, so [{longest}, {shortest}] is probably meant"
                    ),
                ));
            }
        }
        Profile::Open => {
            if let Some(think_ms) = &load.think_ms {
                return Err(at(
                    think_ms,
                    "`think_ms` belongs to `profile = \"closed\"`; an open loop has `arrivals_per_s`".into(),
                ));
            }
            let Some(rate) = &load.arrivals_per_s else {
                return missing("arrivals_per_s");
            };
            within(rate, 1, MAX_ARRIVALS_PER_S, "arrivals_per_s")?;
            first_logins(load, *rate.get_ref())?;
        }
    }
    Ok(())
}

/// Each user of an open loop logs in with its first arrival: either all before the measured part, or on purpose in it.
fn first_logins(load: &Load, arrivals_per_s: u32) -> Result<(), Problem> {
    let users = *load.users.get_ref();
    let warm_up_s = *load.warm_up_s.get_ref();
    let needed_s = u64::from(users.div_ceil(arrivals_per_s));
    if (1..needed_s).contains(&warm_up_s) {
        return Err(at(
            &load.warm_up_s,
            format!(
                "in {warm_up_s} s of warm-up not all of {users} users log in, each with its first of {arrivals_per_s} \
                 arrivals a second; give at least {needed_s}, or 0 to measure these logins"
            ),
        ));
    }
    Ok(())
}

/// Several tries need time to be spread over, one has none to spread.
fn replays(load: &Load) -> Result<(), Problem> {
    within(&load.replays, 1, MAX_REPLAYS, "replays")?;
    within(&load.replay_for_s, 0, MAX_S, "replay_for_s")?;
    let replays = load.replays();
    if (replays.times == 1) != (replays.for_s == 0) {
        return Err(at(
            &load.replays,
            format!(
                "`replays` is {} and `replay_for_s` is {}: one try is made at once (replay_for_s = 0), several are \
                 spread over at least a second",
                replays.times, replays.for_s
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Replays, Scenario};
    use evidence::pace::{Arrivals, Pace};

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
        Scenario::parse(
            Path::new("a.toml"),
            &GOOD.replace(from, to),
            &evidence::sample::table(),
        )
        .unwrap_err()
        .to_string()
    }

    #[test]
    fn a_good_scenario_is_understood() {
        let scenario = Scenario::parse(
            Path::new("scenarios/kill.toml"),
            GOOD,
            &evidence::sample::table(),
        )
        .unwrap();
        assert_eq!(scenario.name, "kill");
        let pace = Pace::Closed {
            think_ms: (200, 800),
        };
        assert_eq!(scenario.spec.load.pace(), pace);
        assert_eq!(*scenario.spec.repeats.get_ref(), 1);
        assert_eq!(scenario.spec.cluster.node_names()[2], "node-3");
    }

    #[test]
    fn the_scenarios_that_come_with_the_lab_are_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            Scenario::read(&entry.unwrap().path(), &evidence::sample::table()).unwrap();
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
                "users = 100",
                "users = 100\nrevocations_per_s = 0",
                "a.toml:9:21:",
                "`revocations_per_s` is 0; allowed are 1 to 100",
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
            (
                "nodes = 3",
                "nodes = 60\nspare_nodes = 5",
                "a.toml:4:15:",
                "allowed are 0 to 4",
            ),
            (
                "nodes = 3",
                "nodes = 3\nsettings = { session_idle_s = 60, session_absolute_s = 30 }",
                "a.toml:4:35:",
                "an idle time of 60 s could never matter",
            ),
            (
                "nodes = 3",
                "nodes = 3\nbalancer = \"nginx\"",
                "a.toml:4:12:",
                "expected `pingora` or `haproxy`",
            ),
        ];
        for (from, to, place, text) in mistakes {
            let error = error(from, to);
            assert!(error.starts_with(place), "{to}: {error}");
            assert!(error.contains(text), "{to}: {error}");
        }
    }

    #[test]
    fn a_mistake_in_what_is_expected_is_explained_where_it_is() {
        let mistakes = [
            (
                "\"lines_lost == 0\", \"line_lost == 0\"",
                "a.toml:2:30:",
                "there is no figure `line_lost`; allowed are sessions_lost, lines_lost",
            ),
            (
                "\"jwt: lines_lost == 0\"",
                "a.toml:2:11:",
                "about the strategy `jwt`, which this scenario does not have; allowed are sticky, redis",
            ),
        ];
        for (expect, place, text) in mistakes {
            let error = error("[cluster]", &format!("expect = [{expect}]\n[cluster]"));
            assert!(error.starts_with(place), "{error}");
            assert!(error.contains(text), "{error}");
        }
        let good = GOOD.replace(
            "[cluster]",
            "expect = [\"sticky: lines_lost > 0\"]\n[cluster]",
        );
        let scenario =
            Scenario::parse(Path::new("a.toml"), &good, &evidence::sample::table()).unwrap();
        assert_eq!(scenario.thresholds.len(), 1);
    }

    #[test]
    fn an_open_loop_is_understood_and_its_warm_up_must_do() {
        let open = GOOD.replace(
            "think_ms = [200, 800]",
            "profile = \"open\"\narrivals_per_s = 60\narrivals = \"poisson\"\nreplays = 3\nreplay_for_s = 4",
        );
        let parsed = |warm_up: &str| {
            let text = open.replace("warm_up_s = 1", warm_up);
            Scenario::parse(Path::new("a.toml"), &text, &evidence::sample::table())
        };
        let load = parsed("warm_up_s = 2").unwrap().spec.load;
        let pace = Pace::Open {
            arrivals_per_s: 60,
            arrivals: Arrivals::Poisson,
        };
        assert_eq!(load.pace(), pace);
        assert_eq!(load.replays(), Replays { times: 3, for_s: 4 });
        parsed("warm_up_s = 0").unwrap();
        let error = parsed("warm_up_s = 1").unwrap_err().to_string();
        assert!(error.starts_with("a.toml:15:13:"), "{error}");
        assert!(error.contains("give at least 2, or 0"), "{error}");
    }

    #[test]
    fn tries_of_a_dead_credential_and_their_time_belong_together() {
        for (to, text) in [
            ("users = 100\nreplays = 2", "`replay_for_s` is 0"),
            ("users = 100\nreplay_for_s = 2", "`replays` is 1"),
            (
                "users = 100\nreplays = 0",
                "`replays` is 0; allowed are 1 to 100",
            ),
        ] {
            let error = error("users = 100", to);
            assert!(error.contains(text), "{error}");
        }
    }
}
