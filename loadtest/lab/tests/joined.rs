//! `lab run --on FILE`: a cluster that is up already, supervised by agents, is used for a run and put back afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test reports, in its helper functions too.
mod deployment;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::Ipv6Addr,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use agent::resp;
use deployment::{Deployment, Kept, PATIENCE, SCENARIO};
use evidence::results::{Results, Verdict};
use rustix::process::Signal;

#[test]
fn a_run_uses_it_and_puts_it_back() {
    is_used_and_put_back(&Deployment::up());
}

#[test]
fn all_of_it_works_over_ipv6() {
    is_used_and_put_back(&Deployment::up_at(Ipv6Addr::LOCALHOST.into()));
}

fn is_used_and_put_back(deployment: &Deployment) {
    let output = deployment.run(&[]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let path = deployment.folder.path().join("out/results.json");
    let results: Results = serde_json::from_slice(&fs::read(path).expect(&text)).unwrap();
    assert_ne!(results.verdict, Verdict::Fail, "{text}");
    assert_eq!(
        results.settings["cluster"],
        "containers, through their agents"
    );
    assert_eq!(results.runs.len(), 2);
    for run in &results.runs {
        let kinds: Vec<&str> = run.faults.iter().map(|fault| &*fault.kind).collect();
        assert_eq!(kinds, ["pause", "delay", "drain", "scale"], "{text}");
        for fault in &run.faults {
            assert!(
                fault.recovered_ms.is_some() || fault.effective_ms.is_some(),
                "{fault:?}"
            );
        }
        let nodes: Vec<&String> = run
            .timeline
            .iter()
            .flat_map(|at| at.per_node.keys())
            .collect();
        assert!(
            nodes.iter().all(|node| node.starts_with("node-")),
            "{nodes:?}"
        );
        assert!(run.cost_us_per_request.node.is_some_and(|cost| cost > 0.0));
    }
    deployment.is_as_it_was();
}

#[test]
fn a_run_that_is_broken_off_puts_it_back_too() {
    let deployment = Deployment::up();
    let flags = [
        "run",
        "short.toml",
        "--on",
        "cluster.toml",
        "--out",
        "out",
        "--strategy",
        "jwt",
    ];
    let mut lab = deployment.lab(&flags);
    let lab = Kept(
        lab.stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Users act when the history has their first operations.
    let history = deployment.folder.path().join("out/history-jwt-1.jsonl");
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(&history).map_or(0, |text| text.lines().count()) < 20 {
        assert!(Instant::now() < deadline, "no history");
        thread::sleep(Duration::from_millis(20));
    }
    lab.signal(Signal::INT);
    drop(lab);
    deployment.is_as_it_was();
}

#[test]
fn what_a_deployment_cannot_do_is_said() {
    let deployment = Deployment::up();
    let path = deployment.folder.path().join("short.toml");
    let four = SCENARIO.replace("spare_nodes = 1", "spare_nodes = 2");
    fs::write(&path, four).unwrap();
    let output = deployment.run(&[]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("wants 4 nodes, and the deployment has 3"),
        "{text}"
    );

    let other = SCENARIO.replace("strategies =", "balancer = \"haproxy\"\nstrategies =");
    fs::write(&path, other).unwrap();
    let output = deployment.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    let link = SCENARIO.replace("node-1->store", "load-balancer->node-1");
    fs::write(&path, link).unwrap();
    let output = deployment.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("no proxy stands on the link load-balancer->node-1"),
        "{text}"
    );
    deployment.is_as_it_was();
}

/// Asks the deployment's Redis.
fn ask(deployment: &Deployment, command: &[&str]) -> String {
    let password = deployment.folder.path().join("secrets/redis.password");
    let password = fs::read_to_string(password).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = resp::ask(deployment.store, Some(password.trim_end()), command);
    runtime.block_on(answer).unwrap()
}

/// A store may be somebody's: only what a shop has left is removed, and only where the lab may.
#[test]
fn a_store_with_foreign_keys_is_refused_until_it_is_a_labs_own_and_then_they_stay() {
    let deployment = Deployment::up();
    let short = SCENARIO
        .replace("measure_s = 9", "measure_s = 1")
        .replace("\"redis\", \"jwt\"", "\"redis\"");
    let faults = short.find("[[faults]]").unwrap();
    fs::write(
        deployment.folder.path().join("short.toml"),
        &short[..faults],
    )
    .unwrap();
    for (key, value) in [
        ("orders:4711", "secret value"),
        ("orders:4712", "secret value"),
        ("s:{AAAAAAAAAAAAAAAAAAAAAA}:x", "a login"),
    ] {
        ask(&deployment, &["SET", key, value]);
    }
    let output = deployment.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("it holds 2 keys that are not of a shop (orders: …), and 1 that are"),
        "{said}"
    );
    assert!(
        !said.contains("4711") && !said.contains("secret value"),
        "{said}"
    );
    assert_eq!(ask(&deployment, &["DBSIZE"]), "3");
    deployment.is_as_it_was();

    // Logins of before are no reason to refuse: this Redis has the configuration that `lab secrets` writes.
    ask(&deployment, &["DEL", "orders:4711", "orders:4712"]);
    let output = deployment.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        [Some(0), Some(1), Some(3)].contains(&output.status.code()),
        "{said}"
    );
    assert_eq!(ask(&deployment, &["EXISTS", "lab:cluster"]), "1");
    assert_eq!(
        ask(&deployment, &["EXISTS", "s:{AAAAAAAAAAAAAAAAAAAAAA}:x"]),
        "0"
    );

    // The mark is there, so the store is emptied of what the shop left; whatever else somebody put there stays.
    ask(&deployment, &["SET", "orders:4713", "secret value"]);
    let many = "for i = 1, 5000 do redis.call('SET', 'u:{old-' .. i .. '}', 'x') end return 1";
    ask(&deployment, &["EVAL", many, "0"]);
    let output = deployment.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        [Some(0), Some(1), Some(3)].contains(&output.status.code()),
        "{said}"
    );
    assert_eq!(ask(&deployment, &["GET", "orders:4713"]), "secret value");
    let count = "return #redis.call('KEYS', 'u:{old-*')";
    assert_eq!(ask(&deployment, &["EVAL", count, "0"]), "0");
    deployment.is_as_it_was();
}

/// An empty database of a server that others use is not an empty store.
#[test]
fn other_databases_of_the_store_count() {
    let deployment = Deployment::up();
    ask(
        &deployment,
        &["SET", "s:{AAAAAAAAAAAAAAAAAAAAAA}:x", "a login"],
    );
    ask(&deployment, &["SET", "other:1", "x"]);
    ask(&deployment, &["SWAPDB", "0", "3"]);
    let output = deployment.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("other databases"), "{said}");
    deployment.is_as_it_was();
}

/// A run that acts on `deployment`, with its standard error.
fn acting(deployment: &Deployment) -> Kept {
    let flags = [
        "run",
        "short.toml",
        "--on",
        "cluster.toml",
        "--out",
        "out",
        "--strategy",
        "redis",
    ];
    let mut lab = deployment.lab(&flags);
    let lab = lab
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let history = deployment.folder.path().join("out/history-redis-1.jsonl");
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(&history).map_or(0, |text| text.lines().count()) < 20 {
        assert!(Instant::now() < deadline, "no history");
        thread::sleep(Duration::from_millis(20));
    }
    Kept(lab)
}

/// Waits until nodes of the deployment's own names answer through the load balancer.
fn answer(deployment: &Deployment, numbers: &[usize]) {
    let deadline = Instant::now() + PATIENCE;
    for number in numbers {
        let name = format!("x-node: of-the-deployment-{number}");
        while !deployment::ask(deployment.strategies[2].1).contains(&name) {
            assert!(Instant::now() < deadline, "{name}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The store's agent and one of the nodes' are gone: everything else comes back all the same, and they are listed.
#[test]
fn what_can_be_put_back_is_and_the_rest_is_listed_with_its_command() {
    let mut deployment = Deployment::up();
    let mut lab = acting(&deployment);
    let (store, first) = (deployment.agents.len() - 1, 1);
    for number in [store, first] {
        deployment.agents[number].signal(Signal::KILL);
        deployment.agents[number].0.wait().unwrap();
    }
    lab.signal(Signal::INT);
    let status = lab.0.wait().unwrap();
    let mut said = String::new();
    lab.0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    for part in [
        "Not put back",
        "  node-1: ",
        "  store: ",
        "/process/start",
        "agent.token",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for part in ["  node-2: ", "  node-3: ", "  load-balancer: "] {
        assert!(!said.contains(part), "{part}: {said}");
    }
    answer(&deployment, &[2, 3]);
}

/// An agent that hangs keeps the first Ctrl-C waiting; the second one says what is left to do, and ends.
#[test]
fn a_second_ctrl_c_ends_at_once_with_a_list() {
    let deployment = Deployment::up();
    let mut lab = acting(&deployment);
    deployment.agents[1].signal(Signal::STOP);
    lab.signal(Signal::INT);
    let mut lines = BufReader::new(lab.0.stderr.take().unwrap()).lines();
    let heard = lines
        .by_ref()
        .any(|line| line.unwrap().contains("Ctrl-C again ends the lab at once"));
    assert!(heard);
    lab.signal(Signal::INT);
    let status = lab.0.wait().unwrap();
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(status.code(), Some(130), "{said:?}");
    assert!(
        said.iter()
            .any(|line| line.starts_with("Ended at once. Not put back")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|line| line.contains("node-1: not done yet")),
        "{said:?}"
    );
}

/// A drain that a run had ordered ends with it.
#[test]
fn a_node_that_was_drained_takes_clients_again() {
    let deployment = Deployment::up();
    let start = SCENARIO.find("[[faults]]").unwrap();
    let drain = format!(
        "{}[[faults]]\nkind = \"drain\"\ntarget = \"node-2\"\nat_s = 1\nfor_s = 7\n",
        &SCENARIO[..start]
    );
    fs::write(deployment.folder.path().join("short.toml"), drain).unwrap();
    let lab = acting(&deployment);
    let history = deployment.folder.path().join("out/history-redis-1.jsonl");
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&history)
        .unwrap()
        .contains("\"effective\"")
    {
        assert!(Instant::now() < deadline, "no drain");
        thread::sleep(Duration::from_millis(20));
    }
    lab.signal(Signal::INT);
    drop(lab);
    deployment.is_as_it_was();
}
