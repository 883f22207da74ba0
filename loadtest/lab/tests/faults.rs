//! Every kind of fault against real processes: it takes effect, that is seen, it is undone, and that is seen, too.
//! And a fault that cannot take effect is told.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

mod cheap;

use std::{cell::RefCell, time::Duration};

use agent::link::{Direction, Disturbance};
use cheap::spec;
use cluster::Clock;
use cluster::faults::{Fault, FaultAction, Target};
use cluster::faults::{Scene, inject};
use cluster::{BalancerKind, Cluster, ClusterSpec, LinkName};
use evidence::history::{FaultEvent, FaultStep};

fn node(number: u32) -> Target {
    Target::Node(format!("node-{number}"))
}

fn link(from: &str, to: &str) -> LinkName {
    LinkName {
        from: from.into(),
        to: to.into(),
    }
}

/// For a second, at once.
fn fault(action: FaultAction, target: Target) -> Fault {
    Fault {
        at_s: 0,
        for_s: Some(1),
        action,
        target,
    }
}

/// Performs them; what happened, and what did not work.
async fn perform(cluster: &Cluster, schedule: &[Fault]) -> (Vec<FaultEvent>, Vec<String>) {
    let events = RefCell::new(Vec::new());
    let scene = Scene {
        cluster,
        clock: Clock::starting_in(0),
        note: &|event| {
            events.borrow_mut().push(event);
            Ok(())
        },
        tell: &|_| {},
    };
    let problems = inject(&scene, schedule).await;
    (events.into_inner(), problems)
}

/// Performs one fault, which must go through all steps; how its effect and its end were seen.
async fn seen(cluster: &Cluster, planned: Fault) -> (FaultEvent, [String; 2]) {
    let kind = planned.action.kind().name();
    let (mut events, problems) = perform(cluster, &[planned]).await;
    assert_eq!(problems, Vec::<String>::new(), "{kind}");
    let steps: Vec<FaultStep> = events.iter().map(|event| event.step).collect();
    let all = [
        FaultStep::Commanded,
        FaultStep::Effective,
        FaultStep::UndoCommanded,
        FaultStep::Undone,
    ];
    assert_eq!(steps, all, "{kind}");
    assert!(events.is_sorted_by_key(|event| event.at_us), "{kind}");
    assert!(events.iter().all(|event| event.kind == kind), "{kind}");
    let evidence = [1, 3].map(|step: usize| events[step].evidence.take().unwrap());
    (events.swap_remove(0), evidence)
}

#[tokio::test]
async fn processes_are_killed_stopped_paused_restarted_and_slowed() {
    let cluster = Cluster::start(spec(2, &["sticky", "redis"])).await.unwrap();
    let gone = "is gone: signal: 9 (SIGKILL)";
    let ended = "is gone: exit status: 0";
    for (action, target, effective, undone) in [
        (FaultAction::Kill, node(2), gone, "is ready"),
        (FaultAction::Stop, node(2), ended, "is ready"),
        (
            FaultAction::Pause,
            node(2),
            "threads in state T",
            "no thread in state T",
        ),
        (
            FaultAction::Slow { running: 0.3 },
            node(2),
            "without using CPU time",
            "it was halted",
        ),
        (FaultAction::Kill, Target::Store, gone, "is ready"),
        (FaultAction::Stop, Target::Store, ended, "is ready"),
        (
            FaultAction::Pause,
            Target::Store,
            "in state T",
            "no thread in state T",
        ),
        (
            FaultAction::Kill,
            Target::LoadBalancer,
            gone,
            "at every listener",
        ),
        (
            FaultAction::Pause,
            Target::LoadBalancer,
            "in state T",
            "no thread",
        ),
    ] {
        let (commanded, evidence) = seen(&cluster, fault(action, target)).await;
        assert_eq!(commanded.evidence, None);
        assert!(evidence[0].contains(effective), "{evidence:?}");
        assert!(evidence[1].contains(undone), "{evidence:?}");
    }
    for target in [node(1), Target::Store, Target::LoadBalancer] {
        let restart = Fault {
            for_s: None,
            ..fault(FaultAction::Restart, target)
        };
        let (_, evidence) = seen(&cluster, restart).await;
        assert!(evidence[0].contains(ended), "{evidence:?}");
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_node_is_drained_and_kept_out_by_either_balancer() {
    for balancer in [BalancerKind::Pingora, BalancerKind::Haproxy] {
        let cluster = Cluster::start(ClusterSpec {
            balancer,
            ..spec(2, &["sticky", "jwt"])
        })
        .await
        .unwrap();
        for (action, word) in [
            (FaultAction::Drain { deadline_s: None }, "drain"),
            (FaultAction::Maint, "maint"),
        ] {
            let (_, evidence) = seen(&cluster, fault(action, node(1))).await;
            let said = |word| format!("the load balancer calls node-1 {word} for sticky, jwt");
            assert_eq!(evidence, [said(word), said("up")], "{balancer:?}");
        }
        cluster.shutdown().await.unwrap();
    }
}

/// What makes HAProxy comparable: it routes by strategy, pins where that is needed, and asks another node.
#[tokio::test]
async fn haproxy_stands_in_the_balancers_place() {
    let cluster = Cluster::start(ClusterSpec {
        balancer: BalancerKind::Haproxy,
        ..spec(2, &["sticky", "jwt"])
    })
    .await
    .unwrap();
    let client = reqwest::Client::new();
    let login = client
        .post(format!("{}/login", cluster.url("sticky")))
        .header("x-session-strategy", "jwt")
        .json(&serde_json::json!({ "user": "user-000001", "password": cluster.password() }))
        .send()
        .await
        .unwrap();
    let header = |answer: &reqwest::Response, name: &str| {
        let value = answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    assert_eq!(login.status(), 200);
    assert_eq!(
        header(&login, "x-session-strategy"),
        "sticky",
        "the client does not choose"
    );
    let owner = header(&login, "x-node");
    let cookies: Vec<&str> = login
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
        .collect();
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.starts_with("affinity-sticky=")),
        "{cookies:?}"
    );
    let cookies = cookies.join("; ");
    let me = async || {
        let question = client.get(format!("{}/me", cluster.url("sticky")));
        question.header("cookie", &cookies).send().await.unwrap()
    };
    for _ in 0..4 {
        let answer = me().await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "x-node")),
            (200, owner.clone())
        );
        assert_eq!(header(&answer, "x-balancer-retries").parse::<u32>(), Ok(0));
    }
    cluster.node(&owner).unwrap().kill().await.unwrap();
    let answer = me().await;
    assert_eq!(
        answer.status(),
        401,
        "the other node answers, and knows nothing of the session"
    );
    assert_ne!(header(&answer, "x-node"), owner);
    assert!(
        header(&answer, "x-balancer-retries")
            .parse::<u32>()
            .unwrap()
            > 0
    );
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn links_are_delayed_narrowed_broken_and_swallowed() {
    let links = [link("load-balancer", "node-1"), link("node-2", "store")];
    let cluster = Cluster::start(ClusterSpec {
        links: links.to_vec(),
        ..spec(2, &["redis"])
    })
    .await
    .unwrap();
    let before = cluster.links_cpu_us().await.unwrap();
    for name in links {
        for direction in [Direction::Both, Direction::There, Direction::Back] {
            for (disturbance, effective) in [
                (
                    Disturbance::Delay {
                        by: Duration::from_millis(30),
                        direction,
                    },
                    "was answered with",
                ),
                (
                    Disturbance::Bandwidth {
                        bytes_per_s: 32 * 1024,
                        direction,
                    },
                    "was answered with",
                ),
                (Disturbance::Blackhole { direction }, "got no byte within"),
            ] {
                let fault = Fault {
                    for_s: None,
                    ..fault(FaultAction::Link(disturbance), Target::Link(name.clone()))
                };
                let (_, evidence) = seen(&cluster, fault).await;
                assert!(evidence[0].contains(effective), "{evidence:?}");
                assert!(evidence[1].contains("was answered with"), "{evidence:?}");
            }
        }
        let reset = fault(FaultAction::Link(Disturbance::Reset), Target::Link(name));
        let (_, evidence) = seen(&cluster, reset).await;
        assert!(evidence[0].contains("was broken off"), "{evidence:?}");
    }
    assert!(cluster.links_cpu_us().await.unwrap() > before);
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_fleet_grows_shrinks_and_is_renewed() {
    let cluster = Cluster::start(ClusterSpec {
        spare_nodes: 1,
        ..spec(2, &["jwt"])
    })
    .await
    .unwrap();
    let scale = |nodes| fault(FaultAction::Scale { nodes }, Target::Nodes);
    let (_, evidence) = seen(&cluster, scale(3)).await;
    let said = |word| format!("the load balancer calls node-3 {word} for jwt");
    assert_eq!(evidence, [said("up"), said("down")]);
    let (_, evidence) = seen(&cluster, scale(1)).await;
    assert!(evidence[0].contains("node-2 down"), "{evidence:?}");

    let pids = || {
        [1, 2].map(|number| {
            cluster
                .node(&format!("node-{number}"))
                .unwrap()
                .here()
                .unwrap()
                .pid()
        })
    };
    let before = pids();
    let rolling = Fault {
        for_s: None,
        ..fault(FaultAction::RollingRestart, Target::Nodes)
    };
    let (_, evidence) = seen(&cluster, rolling).await;
    assert_eq!(evidence[0], "node-1 ended by itself");
    assert!(
        before
            .iter()
            .zip(pids())
            .all(|(old, new)| new.is_some() && *old != new)
    );
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_node_with_the_most_sessions_is_found() {
    let cluster = Cluster::start(spec(2, &["sticky"])).await.unwrap();
    // Past the load balancer, so that it is known who has them.
    let client = reqwest::Client::new();
    for _ in 0..3 {
        let answer = client
            .post(format!("{}/login", cluster.node_url("node-2")))
            .header("x-session-strategy", "sticky")
            .json(&serde_json::json!({ "user": "user-000001", "password": cluster.password() }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let (commanded, _) = seen(&cluster, fault(FaultAction::Pause, Target::MostSessions)).await;
    assert_eq!(commanded.target, "node-2");
    assert_eq!(commanded.evidence.unwrap(), "node-2 has 3 of 3 sessions");
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_strategy_without_a_store_has_one_beside_it_where_the_same_fault_hits_all() {
    let cluster = Cluster::start(ClusterSpec {
        store: true,
        links: vec![link("node-1", "store")],
        ..spec(2, &["jwt"])
    })
    .await
    .unwrap();
    seen(&cluster, fault(FaultAction::Kill, Target::Store)).await;
    let reset = FaultAction::Link(Disturbance::Reset);
    seen(
        &cluster,
        fault(reset, Target::Link(link("node-1", "store"))),
    )
    .await;
    assert_eq!(
        cluster.store_info().await.unwrap(),
        None,
        "its figures are nobody's"
    );
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_take_effect_is_told_and_never_called_effective() {
    let cluster = Cluster::start(spec(2, &["jwt"])).await.unwrap();
    cluster.node("node-1").unwrap().kill().await.unwrap();
    while cluster.node_states().await.unwrap()[0].word != "down" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (planned, why) in [
        (fault(FaultAction::Kill, node(1)), "node-1 is not running"),
        (fault(FaultAction::Pause, node(1)), "node-1 is not running"),
        (fault(FaultAction::Kill, Target::Store), "there is no store"),
        (
            fault(
                FaultAction::Link(Disturbance::Reset),
                Target::Link(link("load-balancer", "node-2")),
            ),
            "there is no load-balancer->node-2",
        ),
        (
            fault(FaultAction::Drain { deadline_s: None }, node(1)),
            "did not call node-1 drain within",
        ),
    ] {
        let (events, problems) = perform(&cluster, &[planned]).await;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(why), "{problems:?}");
        let steps: Vec<FaultStep> = events.iter().map(|event| event.step).collect();
        assert_eq!(steps, [FaultStep::Commanded], "{why}");
    }
    // A process that dies while it is slowed down was in effect, and is not undone.
    let slow = Fault {
        for_s: Some(60),
        ..fault(FaultAction::Slow { running: 0.5 }, node(2))
    };
    let victim = async {
        let node = cluster.node("node-2").unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.kill().await.unwrap();
    };
    let schedule = [slow];
    let ((events, problems), ()) = tokio::join!(perform(&cluster, &schedule), victim);
    assert!(
        problems[0].contains("node-2 is not running"),
        "{problems:?}"
    );
    assert!(events.iter().all(|event| event.step != FaultStep::Undone));
    cluster.shutdown().await.unwrap();
}
