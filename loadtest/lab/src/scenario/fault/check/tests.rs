//! Every mistake with its place and its words.

use std::path::Path;

use super::super::super::Scenario;

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
measure_s = 40
[[faults]]
kind = "kill"
target = "node-2"
at_s = 9
for_s = 4
"#;

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse(Path::new("a.toml"), text, &evidence::sample::table())
        .map_err(|error| error.to_string())
}

fn fault(settings: &str) -> String {
    let (start, _) = GOOD.split_once("kind =").unwrap();
    format!("{start}{settings}\n")
}

#[test]
fn every_kind_is_understood_with_its_settings() {
    for settings in [
        "kind = \"kill\"\ntarget = \"store\"\nat_s = 1\nfor_s = 5",
        "kind = \"kill\"\ntarget = \"load-balancer\"\nat_s = 1\nfor_s = 5",
        "kind = \"stop\"\ntarget = \"most-sessions\"\nat_s = 1\nfor_s = 5",
        "kind = \"pause\"\ntarget = \"random\"\nat_s = 1\nfor_s = 5\nevery_s = 7\ntimes = 4",
        "kind = \"restart\"\ntarget = \"load-balancer\"\nat_s = 1",
        "kind = \"slow\"\ntarget = \"node-1\"\nat_s = 1\nfor_s = 5\nrunning = 0.2",
        "kind = \"drain\"\ntarget = \"node-1\"\nat_s = 1\nfor_s = 5\ndeadline_s = 3",
        "kind = \"maint\"\ntarget = \"node-1\"\nat_s = 1\nfor_s = 5",
        "kind = \"delay\"\ntarget = \"node-1->store\"\nat_s = 1\nfor_s = 5\ndelay_ms = 20\ndirection = \"back\"",
        "kind = \"bandwidth\"\ntarget = \"load-balancer->node-1\"\nat_s = 1\nfor_s = 5\nkib_per_s = 20",
        "kind = \"reset\"\ntarget = \"load-balancer->node-1\"\nat_s = 1\nfor_s = 5",
        "kind = \"blackhole\"\ntarget = \"node-3->store\"\nat_s = 1\nfor_s = 5\ndirection = \"there\"",
        "kind = \"scale\"\ntarget = \"nodes\"\nat_s = 1\nfor_s = 5\nnodes = 2",
        "kind = \"rolling-restart\"\ntarget = \"nodes\"\nat_s = 1",
    ] {
        let scenario = parse(&fault(settings)).unwrap();
        let planned = &scenario.spec.schedule()[0];
        let kind = planned.action.kind().name();
        assert!(
            settings.contains(&format!("kind = \"{kind}\"")),
            "{settings}"
        );
    }
}

/// Every mistake: what is changed, where the error must point, and what it must say.
fn mistakes<const N: usize>(mistakes: [(&str, &str, &str, &str); N]) {
    for (from, to, place, text) in mistakes {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(error.starts_with(place), "{to}: {error}");
        assert!(error.contains(text), "{to}: {error}");
    }
}

#[test]
fn settings_of_another_kind_and_impossible_numbers_are_refused() {
    mistakes([
        (
            "\"kill\"",
            "\"kil\"",
            "a.toml:14:8:",
            "expected one of `kill`, `stop`",
        ),
        ("for_s = 4", "for_s = 0", "a.toml:17:9:", "at least 1"),
        ("for_s = 4", "", "a.toml:14:8:", "`kill` needs `for_s`"),
        (
            "\"kill\"",
            "\"slow\"",
            "a.toml:14:8:",
            "`slow` needs `running`",
        ),
        (
            "for_s = 4",
            "for_s = 4\nrunning = 0.5",
            "a.toml:18:11:",
            "`running` does not belong to `kill`, which has `for_s`",
        ),
        (
            "\"kill\"",
            "\"restart\"",
            "a.toml:17:9:",
            "`for_s` does not belong to `restart`, which has none",
        ),
        (
            "for_s = 4",
            "for_s = 4\nevery_s = 9",
            "a.toml:18:11:",
            "needs `times`",
        ),
        (
            "for_s = 4",
            "for_s = 4\ntimes = 9",
            "a.toml:18:9:",
            "needs `every_s`",
        ),
        (
            "\"kill\"",
            "\"slow\"\nrunning = 1.0",
            "a.toml:15:11:",
            "allowed are 0.01 to 0.99",
        ),
        (
            "\"kill\"\ntarget = \"node-2\"",
            "\"scale\"\ntarget = \"nodes\"\nnodes = 4",
            "a.toml:16:9:",
            "allowed are 1 to 3",
        ),
        (
            "\"kill\"\ntarget = \"node-2\"",
            "\"scale\"\ntarget = \"nodes\"\nnodes = 3",
            "a.toml:16:9:",
            "need `spare_nodes`",
        ),
    ]);
}

#[test]
fn targets_that_there_are_not_are_refused() {
    mistakes([
        (
            "\"node-2\"",
            "\"node-7\"",
            "a.toml:15:10:",
            "allowed are node-1, node-2, node-3, random, most-sessions, store, load-balancer",
        ),
        (
            "\"kill\"\ntarget = \"node-2\"",
            "\"drain\"\ntarget = \"store\"",
            "a.toml:15:10:",
            "does not exist for `drain`",
        ),
        (
            "\"kill\"\ntarget = \"node-2\"",
            "\"reset\"\ntarget = \"node-1->node-2\"",
            "a.toml:15:10:",
            "nodes do not talk to each other",
        ),
        (
            "\"kill\"\ntarget = \"node-2\"",
            "\"reset\"\ntarget = \"node-2\"",
            "a.toml:15:10:",
            "allowed are load-balancer->node-1",
        ),
    ]);
}

#[test]
fn faults_that_last_too_long_or_hide_each_other_are_refused() {
    let and = |more: &str| format!("for_s = 4\n[[faults]]\n{more}");
    let hole =
        and("kind = \"blackhole\"\ntarget = \"load-balancer->node-2\"\nat_s = 12\nfor_s = 1");
    let random = and("kind = \"kill\"\ntarget = \"random\"\nat_s = 12\nfor_s = 1");
    let rolling = "\"rolling-restart\"\ntarget = \"nodes\"\nat_s = 30";
    mistakes([
        (
            "at_s = 9",
            "at_s = 36",
            "a.toml:16:8:",
            "until second 40, but only 40 s",
        ),
        (
            "for_s = 4",
            "for_s = 4\nevery_s = 20\ntimes = 3",
            "a.toml:16:8:",
            "until second 53",
        ),
        (
            "for_s = 4",
            "for_s = 4\nevery_s = 3\ntimes = 3",
            "a.toml:16:8:",
            "second 9 to 13",
        ),
        (
            "for_s = 4",
            &hole,
            "a.toml:21:8:",
            "`load-balancer->node-2` still suffers from another fault, that of `node-2` (second 9 to 13)",
        ),
        ("for_s = 4", &random, "a.toml:21:8:", "second 9 to 13"),
        (
            "\"kill\"\ntarget = \"node-2\"\nat_s = 9\nfor_s = 4",
            rolling,
            "a.toml:16:8:",
            "until second 45",
        ),
    ]);
}

#[test]
fn two_faults_on_one_node_at_the_same_time_are_refused_and_on_two_are_not() {
    let with = |target: &str| {
        parse(&format!(
            "{GOOD}[[faults]]\nkind = \"kill\"\ntarget = \"{target}\"\nat_s = 12\nfor_s = 3\n"
        ))
    };
    let error = with("node-2").unwrap_err();
    assert!(error.starts_with("a.toml:21:8:"), "{error}");
    assert!(error.contains("second 9 to 13"), "{error}");
    assert!(with("node-1").is_ok() && with("store").is_ok());
}

#[test]
fn a_store_can_be_hit_where_a_strategy_has_one() {
    let store = GOOD.replace("node-2", "store");
    assert!(parse(&store).is_ok());
    let error = parse(&store.replace("\"redis\"", "\"jwt\"")).unwrap_err();
    assert!(error.contains("no strategy of this scenario"), "{error}");
}

#[test]
fn what_haproxy_cannot_do_is_refused() {
    let with = |settings: &str| {
        let text = fault(settings).replace("nodes = 3", "nodes = 3\nbalancer = \"haproxy\"");
        parse(&text).unwrap_err()
    };
    let deadline =
        with("kind = \"drain\"\ntarget = \"node-1\"\nat_s = 1\nfor_s = 5\ndeadline_s = 3");
    assert!(deadline.contains("has no deadline"), "{deadline}");
    let restart = with("kind = \"restart\"\ntarget = \"load-balancer\"\nat_s = 1");
    assert!(restart.contains("use `kill`"), "{restart}");
}
