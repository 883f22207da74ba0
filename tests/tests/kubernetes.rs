//! The Kubernetes manifests say what the programs really have: flags, variables, ports, secrets, times, images. Nothing
//! here needs a cluster. That the programs run with what they are told is in `kubernetes_runs.rs`; that each object is
//! one that the API takes is judged by `deploy/kubernetes/validate`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::STRATEGIES;
use tests::compose::chosen;
use tests::manifests::{Manifests, Pod, labels, list, output, root, strings, text};

/// What `program arguments --help` says.
fn help(program: &str, arguments: &[&str]) -> String {
    output(
        Command::new(tests::binary(program))
            .args(arguments)
            .arg("--help"),
    )
}

/// A flag's default, out of the help.
#[track_caller]
fn default(help: &str, flag: &str) -> u64 {
    let from = help
        .find(&format!("{flag} "))
        .unwrap_or_else(|| panic!("no {flag}"));
    let (_, rest) = help[from..].split_once("[default: ").expect("a default");
    rest.split(']').next().unwrap().parse().expect("a number")
}

/// Each command of a container in parts: a program, and its own arguments. `agent run … -- shop …` is two.
fn programs<'a>(command: &[&'a str]) -> Vec<(Vec<&'a str>, Vec<&'a str>)> {
    let mut parts = command.split(|argument| *argument == "--");
    let mut programs = Vec::new();
    for part in &mut parts {
        // The word behind `agent` and `lab` is a command with flags of its own.
        let words = if matches!(part[0], "agent" | "lab") {
            2
        } else {
            1
        };
        programs.push((part[..words].to_vec(), part[words..].to_vec()));
    }
    programs
}

#[test]
fn the_programs_know_every_flag_and_variable() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        for pod in manifests.pods() {
            let container = pod.container();
            let mut texts = String::new();
            for (program, arguments) in container.commands().iter().flat_map(|it| programs(it)) {
                // Redis is not ours: it has to start with these arguments, in `kubernetes_runs.rs`.
                if program == ["redis-server"] {
                    continue;
                }
                let help = help(program[0], &program[1..]);
                for flag in arguments.iter().filter(|word| word.starts_with("--")) {
                    let known = help.split_whitespace().any(|word| word == *flag);
                    assert!(known, "{strategy}: {program:?} knows no {flag}");
                }
                texts.push_str(&help);
            }
            let told = container.command_line().join(" ");
            for variable in container.environment().keys() {
                let known = texts.contains(&format!("[env: {variable}="))
                    || texts.contains(&format!("`{variable}`"))
                    || told.contains(&format!("$({variable})"))
                    // Read by the allocator, in whatever program it is.
                    || variable.starts_with("MIMALLOC_");
                assert!(known, "{strategy}: {} knows no {variable}", pod.name);
            }
        }
    }
}

#[test]
fn the_overlay_names_its_strategy_everywhere() {
    let scenarios = output(Command::new(tests::binary("lab")).arg("scenarios"));
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let namespace = format!("session-lab-{strategy}");
        for object in &manifests.objects {
            let metadata = &object["metadata"];
            let own = metadata.get("namespace").unwrap_or(&metadata["name"]);
            assert_eq!(*own, namespace.as_str(), "{metadata}");
        }
        let app = manifests.pod("app").container();
        assert_eq!(app.environment()["SHOP_STRATEGIES"], strategy);
        assert_eq!(listeners(&manifests)[0].0, strategy);
        assert_eq!(listeners(&manifests).len(), 1);
        let run = manifests.pod("scenario").container().command_line();
        let chosen = run.iter().position(|word| *word == "--strategy").unwrap();
        assert_eq!(run[chosen + 1], strategy);
        assert!(
            scenarios.contains(run[2]),
            "there is no scenario {}",
            run[2]
        );
    }
}

fn balancer_settings(manifests: &Manifests) -> toml::Table {
    let config = manifests.object("ConfigMap", "load-balancer");
    text(&config["data"]["load-balancer.toml"]).parse().unwrap()
}

/// Strategy and port of each.
fn listeners(manifests: &Manifests) -> Vec<(String, u64)> {
    let settings = balancer_settings(manifests);
    let listeners = settings["listeners"].as_array().unwrap().iter();
    let found = listeners.map(|listener| {
        let strategy = listener["strategy"].as_str().unwrap().to_owned();
        (strategy, port_of(listener["address"].as_str().unwrap()))
    });
    found.collect()
}

/// The port at the end of `HOST:PORT`, whatever stands in front of it.
#[track_caller]
fn port_of(address: &str) -> u64 {
    let (_, port) = address.rsplit_once(':').expect("an address with a port");
    port.trim_end_matches('/').parse().expect("a port")
}

/// The value behind a flag.
#[track_caller]
fn after<'a>(command: &[&'a str], flag: &str) -> &'a str {
    let at = command.iter().position(|word| *word == flag);
    command[at.unwrap_or_else(|| panic!("no {flag} in {command:?}")) + 1]
}

#[test]
fn the_ports_are_those_that_the_programs_open() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        for pod in manifests.pods() {
            let container = pod.container();
            let command = container.command_line();
            let opened: BTreeSet<u64> = match pod.name {
                "app" => {
                    let listen = port_of(container.environment()["SHOP_LISTEN"]);
                    BTreeSet::from([port_of(after(&command, "--control")), listen])
                }
                "load-balancer" => {
                    let link = after(&command, "--link");
                    let (public, own) = link.rsplit_once('=').unwrap();
                    let admin = balancer_settings(&manifests)["admin"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    assert_eq!(own, admin, "the link leads to the admin port");
                    let mut ports =
                        BTreeSet::from([port_of(after(&command, "--control")), port_of(public)]);
                    ports.extend(listeners(&manifests).iter().map(|(_, port)| port));
                    ports
                }
                "redis" => BTreeSet::from([
                    port_of(after(&command, "--control")),
                    after(&command, "--port").parse().unwrap(),
                ]),
                "scenario" => BTreeSet::new(),
                other => panic!("{other} is new here"),
            };
            assert_eq!(pod.ports(), opened, "{strategy}: {}", pod.name);

            for (kind, probe) in container.probes() {
                for way in ["httpGet", "tcpSocket"] {
                    if let Some(asked) = probe.get(way) {
                        let port = pod.port(&asked["port"]);
                        assert!(port.is_some(), "{strategy}: {} {kind} {asked}", pod.name);
                    }
                }
            }
        }
    }
}

/// Services by name, each with its ports and the ports of the pods behind them.
fn services(manifests: &Manifests) -> BTreeMap<(&str, u64), (&str, u64)> {
    let mut found = BTreeMap::new();
    let pods = manifests.pods();
    for service in manifests.of_kind("Service") {
        let name = text(&service["metadata"]["name"]);
        let selector = labels(&service["spec"]["selector"]);
        let mut behind = pods.iter().filter(|pod| {
            selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
        });
        let pod = behind
            .next()
            .unwrap_or_else(|| panic!("no pods behind {name}"));
        assert!(behind.next().is_none(), "two kinds of pods behind {name}");
        for port in list(&service["spec"]["ports"]) {
            let number = port["port"].as_u64().unwrap();
            let target = pod.port(&port["targetPort"]);
            let target = target.unwrap_or_else(|| panic!("{name}: no such port {port}"));
            found.insert((name, number), (pod.name, target));
        }
    }
    found
}

/// Where something inside the cluster is looked for, as `(service, port)`.
fn host_and_port(address: &str) -> (&str, u64) {
    let (_, bare) = address.split_once("://").unwrap_or(("", address));
    (bare.rsplit_once(':').unwrap().0, port_of(bare))
}

#[test]
fn every_address_is_a_service_that_leads_to_the_right_port() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let services = services(&manifests);
        let leads_to = |address: &str| {
            let found = services.get(&host_and_port(address));
            *found.unwrap_or_else(|| panic!("{strategy}: {address} is no Service and port"))
        };
        let nodes = balancer_settings(&manifests)["nodes"]["dns"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(leads_to(&nodes), ("app", 8080));

        let config = manifests.object("ConfigMap", "scenario");
        let run: toml::Table = text(&config["data"]["cluster.toml"]).parse().unwrap();
        let of = |key: &str| leads_to(run[key].as_str().unwrap());
        assert_eq!(of("nodes"), ("app", 7070));
        assert_eq!(of("load_balancer"), ("load-balancer", 7070));
        assert_eq!(of("admin"), ("load-balancer", 8090));
        let urls = run["urls"].as_table().unwrap();
        assert_eq!(urls.len(), 1);
        let listener = listeners(&manifests)[0].1;
        assert_eq!(
            leads_to(urls[strategy].as_str().unwrap()),
            ("load-balancer", listener)
        );

        if strategy == "redis" {
            assert_eq!(of("store"), ("redis", 7070));
            assert_eq!(of("store_address"), ("redis", 6379));
            let app = manifests.pod("app").container().environment();
            assert_eq!(leads_to(app["SHOP_REDIS_URL"]), ("redis", 6379));
        } else {
            assert!(!run.contains_key("store") && manifests.of_kind("StatefulSet").is_empty());
        }
        // The agents of nodes that are down, too, and each node by its own address.
        for name in ["app", "app-control", "load-balancer-control"] {
            let spec = &manifests.object("Service", name)["spec"];
            assert_eq!(
                (&spec["clusterIP"], &spec["publishNotReadyAddresses"]),
                (&"None".into(), &true.into()),
                "{name}"
            );
        }
    }
}

/// May `from` (`None`: somebody outside) open a connection to this port of `to`? By the rules of `NetworkPolicy`: whoever
/// no policy selects is free, everybody else may do what one of the policies allows.
fn may_talk(manifests: &Manifests, from: Option<&Pod>, to: &Pod, port: u64) -> bool {
    let side = |direction: &str, rules: &str, peers: &str, own: &Pod, other: Option<&Pod>| {
        let policies = manifests.of_kind("NetworkPolicy").into_iter();
        let selecting: Vec<&Value> = policies
            .map(|policy| &policy["spec"])
            .filter(|spec| own.is_selected_by(&spec["podSelector"]))
            .filter(|spec| strings(&spec["policyTypes"]).contains(&direction))
            .collect();
        let allows = |rule: &Value| {
            let mut ports = list(&rule["ports"]).iter();
            let mut others = list(&rule[peers]).iter();
            ports.any(|allowed| {
                allowed["protocol"] == "TCP" && to.port(&allowed["port"]) == Some(port)
            }) && (rule.get(peers).is_none()
                || others.any(|peer| {
                    let selector = peer.get("podSelector");
                    selector.is_some_and(|it| other.is_some_and(|other| other.is_selected_by(it)))
                }))
        };
        selecting.is_empty()
            || selecting
                .iter()
                .any(|spec| list(&spec[rules]).iter().any(allows))
    };
    side("Ingress", "ingress", "from", to, from)
        && from.is_none_or(|from| side("Egress", "egress", "to", from, Some(to)))
}

#[test]
fn nobody_talks_to_anybody_but_as_told() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let pods = manifests.pods();
        let public = listeners(&manifests)[0].1;
        let mut found = BTreeSet::new();
        for to in &pods {
            for port in to.ports() {
                for from in pods.iter().map(Some).chain([None]) {
                    if may_talk(&manifests, from, to, port) {
                        found.insert((from.map_or("anybody", |pod| pod.name), to.name, port));
                    }
                }
            }
        }
        let mut wanted = BTreeSet::from([
            ("anybody", "load-balancer", public),
            ("load-balancer", "app", 8080),
            ("scenario", "app", 7070),
            ("scenario", "load-balancer", public),
            ("scenario", "load-balancer", 7070),
            ("scenario", "load-balancer", 8090),
        ]);
        if strategy == "redis" {
            wanted.extend([
                ("app", "redis", 6379),
                ("scenario", "redis", 6379),
                ("scenario", "redis", 7070),
            ]);
        }
        assert_eq!(found, wanted, "{strategy}");
    }
}

#[test]
fn secrets_are_those_that_the_lab_makes_and_each_reads_its_own() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let made: BTreeSet<String> = fs::read_dir(&manifests.secrets)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let secret = manifests.object("Secret", "secrets");
        let keys: BTreeSet<String> = secret["data"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(keys, made);

        for pod in manifests.pods() {
            let volumes = list(&pod.spec["volumes"]);
            let volume = volumes
                .iter()
                .find(|volume| volume["name"] == "secrets")
                .unwrap();
            assert_eq!(volume["secret"]["secretName"], secret["metadata"]["name"]);
            let items = list(&volume["secret"]["items"]).iter();
            let mounted: BTreeSet<&str> = items
                .map(|item| {
                    assert_eq!(item["key"], item["path"]);
                    text(&item["key"])
                })
                .collect();
            assert!(
                mounted.iter().all(|name| made.contains(*name)),
                "{mounted:?}"
            );

            let container = pod.container();
            let mounts = list(&container.0["volumeMounts"]).iter();
            let mut at = mounts.filter(|mount| mount["name"] == "secrets");
            assert_eq!(at.next().unwrap()["mountPath"], "/secrets");
            let mut told = container.command_line().join("\n");
            told.extend(
                container
                    .environment()
                    .values()
                    .map(|value| format!("\n{value}")),
            );
            if pod.name == "load-balancer" {
                told.push_str(&balancer_settings(&manifests).to_string());
            }
            let named = told.split("/secrets/").skip(1);
            let read: BTreeSet<&str> = named
                .map(|rest| rest.split(['"', '\n']).next().unwrap())
                .collect();
            if pod.name == "scenario" {
                // A run needs what all the others have.
                assert!(mounted.is_empty() && volume["secret"].get("items").is_none());
            } else {
                assert_eq!(
                    mounted, read,
                    "{strategy}: {} has just what it reads",
                    pod.name
                );
            }
        }
    }
}

#[test]
fn secrets_cannot_be_committed() {
    let secret = "deploy/kubernetes/base/secrets/jwt.key";
    let ignored = Command::new("git")
        .current_dir(root())
        .args(["check-ignore", "-q", secret])
        .status();
    assert!(ignored.unwrap().success(), "{secret} is not ignored by git");
    let kept = output(
        Command::new("git")
            .current_dir(root())
            .args(["ls-files", "deploy/kubernetes/base/secrets"]),
    );
    assert_eq!(kept, "");
}

#[test]
fn the_grace_is_longer_than_what_it_is_for() {
    let agent_s = default(&help("agent", &["run"]), "--grace-s");
    let drain_s = default(&help("shop", &[]), "--drain-s");
    let example: toml::Table = fs::read_to_string(root().join("load-balancer/example.toml"))
        .unwrap()
        .replace("# lame_duck_ms", "lame_duck_ms")
        .replace("# grace_ms", "grace_ms")
        .parse()
        .unwrap();
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let settings = balancer_settings(&manifests);
        let shutdown_ms = |key: &str| {
            let own = settings.get("shutdown").and_then(|table| table.get(key));
            own.unwrap_or(&example["shutdown"][key])
                .as_integer()
                .unwrap()
                .cast_unsigned()
        };
        for pod in manifests.pods().iter().filter(|pod| pod.name != "scenario") {
            let container = pod.container();
            let needs_ms = match pod.name {
                "app" => {
                    let own = container
                        .environment()
                        .get("SHOP_DRAIN_S")
                        .map(|s| s.parse().unwrap());
                    own.unwrap_or(drain_s) * 1_000
                }
                "load-balancer" => shutdown_ms("lame_duck_ms") + shutdown_ms("grace_ms"),
                _ => 0,
            };
            let command = container.command_line();
            assert!(
                !command.contains(&"--grace-s"),
                "the agent's default is what the comments tell"
            );
            assert!(
                needs_ms < agent_s * 1_000,
                "{}: the agent kills before the end",
                pod.name
            );
            let before_s = container.0["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
            assert_eq!(before_s.is_some(), pod.name != "redis", "{}", pod.name);
            let grace_s = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap();
            assert!(
                before_s.unwrap_or(0) + agent_s < grace_s,
                "{}: killed too early",
                pod.name
            );
            if pod.object["kind"] == "Deployment" {
                let update = &pod.object["spec"]["strategy"]["rollingUpdate"];
                assert_eq!(
                    (&update["maxUnavailable"], &update["maxSurge"]),
                    (&0.into(), &1.into())
                );
            }
        }
    }
}

#[test]
fn pods_may_do_no_more_than_they_must() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let namespace = &manifests.of_kind("Namespace")[0]["metadata"];
        assert_eq!(
            namespace["labels"]["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
        for pod in manifests.pods() {
            assert_eq!(
                pod.spec["automountServiceAccountToken"], false,
                "{}",
                pod.name
            );
            assert_eq!(pod.spec["enableServiceLinks"], false, "{}", pod.name);
            let all = &pod.spec["securityContext"];
            let expected = serde_json::json!({
                "runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            assert_eq!(*all, expected, "{}", pod.name);
            let container = pod.container().0;
            let expected = serde_json::json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], expected, "{}", pod.name);
            for (kind, resource) in [
                ("requests", "cpu"),
                ("requests", "memory"),
                ("limits", "cpu"),
                ("limits", "memory"),
            ] {
                assert!(
                    container["resources"][kind][resource].is_string(),
                    "{} {kind} {resource}",
                    pod.name
                );
            }
            // Alive is not ready: one who is alive and not ready is left alone until it is.
            let probes: Vec<_> = pod
                .container()
                .probes()
                .into_iter()
                .map(|(_, probe)| probe)
                .collect();
            if pod.name != "scenario" {
                assert_eq!(probes.len(), 2, "{}", pod.name);
                let asks =
                    |probe: &Value| ["httpGet", "exec", "tcpSocket"].map(|way| probe[way].clone());
                assert_ne!(asks(probes[0]), asks(probes[1]), "{}", pod.name);
            }
        }
    }
}

#[test]
fn budget_and_autoscaler_mean_the_nodes() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        let budget = &manifests.object("PodDisruptionBudget", "app")["spec"];
        let pods = manifests.pods();
        let meant: Vec<_> = pods
            .iter()
            .filter(|pod| pod.is_selected_by(&budget["selector"]))
            .map(|pod| pod.name)
            .collect();
        assert_eq!(meant, ["app"]);
        let scaler = &manifests.object("HorizontalPodAutoscaler", "app")["spec"];
        assert_eq!(
            (
                &scaler["scaleTargetRef"]["kind"],
                &scaler["scaleTargetRef"]["name"]
            ),
            (&"Deployment".into(), &"app".into())
        );
        let nodes = manifests.pod("app");
        assert!(
            nodes.object["spec"].get("replicas").is_none(),
            "two would set the number of nodes"
        );
        for pod in &pods {
            if let Some(selector) = pod.object["spec"].get("selector") {
                let meant: Vec<_> = pods
                    .iter()
                    .filter(|it| it.is_selected_by(selector))
                    .map(|it| it.name)
                    .collect();
                assert_eq!(meant, [pod.name]);
            }
        }
    }
}

#[test]
fn pods_of_ipv6_are_reached_and_trusted_like_those_of_ipv4() {
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        for pod in manifests.pods().iter().filter(|pod| pod.name != "scenario") {
            let container = pod.container();
            let command = container.command_line();
            assert!(
                after(&command, "--control").starts_with("[::]:"),
                "{}",
                pod.name
            );
            // A pod's own address in front of a port would want brackets in one family and none in the other.
            let told = format!("{command:?} {:?}", container.environment());
            assert!(!told.contains("$("), "{}: {told}", pod.name);
        }
        let app = manifests.pod("app").container().environment();
        assert!(app["SHOP_LISTEN"].starts_with("[::]:"));
        let trusted: Vec<_> = app["SHOP_TRUSTED_BALANCERS"].split(',').collect();
        for range in ["10.0.0.0/8", "fd00::/8", "fe80::/10"] {
            assert!(trusted.contains(&range), "{range}");
        }
        for listener in balancer_settings(&manifests)["listeners"]
            .as_array()
            .unwrap()
        {
            assert!(listener["address"].as_str().unwrap().starts_with("[::]:"));
        }
        let link = manifests.pod("load-balancer").container();
        assert!(after(&link.command_line(), "--link").starts_with("admin=[::]:"));
    }
}

#[test]
fn images_are_those_that_are_built_and_that_compose_uses() {
    let recipe = fs::read_to_string(root().join("deploy/images/Dockerfile")).unwrap();
    let targets: BTreeSet<String> = recipe
        .lines()
        .filter(|line| line.starts_with("FROM "))
        .filter_map(|line| line.rsplit_once(" AS "))
        .map(|(_, target)| format!("session-lab/{target}"))
        .collect();
    let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&compose).unwrap();
    let services = compose["services"].as_object().unwrap().values();
    let composed: BTreeSet<String> = services.map(|it| chosen(text(&it["image"]))).collect();
    for strategy in STRATEGIES {
        let manifests = Manifests::render(strategy);
        for pod in manifests.pods() {
            let image = text(&pod.container().0["image"]);
            assert!(composed.contains(image), "{image} is none of {composed:?}");
            let (name, _) = image.rsplit_once(':').expect("a tag");
            assert!(targets.contains(name), "{name} is none of {targets:?}");
        }
    }
}
