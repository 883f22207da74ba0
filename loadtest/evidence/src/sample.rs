//! Results as a run would write them, for tests: three strategies, a killed node, figures that are missing.

#![allow(
    clippy::wildcard_imports,
    clippy::assigning_clones,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    clippy::return_self_not_must_use,
    missing_docs,
    reason = "for tests"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the figures are made up, small and positive"
)]

use std::collections::BTreeMap;

use crate::expectations::Threshold;
use crate::results::*;
use crate::strategy::{About, Table};
use crate::{expectations, statistics};

/// What a fault-free scenario that went wrong could write: nothing measured, an invalid verdict, text that looks like markup.
pub fn empty_and_hostile() -> Results {
    let mut results = results();
    let hostile = "<script>alert(1)</script> & \"quotes\" | `code` {{ x }}";
    results.question = hostile.to_owned();
    results.scenario = hostile.to_owned();
    results.command = hostile.to_owned();
    results.caveats = vec![hostile.to_owned()];
    results.verdict = Verdict::Invalid;
    results.reasons = vec![hostile.to_owned()];
    results
        .settings
        .insert(hostile.to_owned(), hostile.to_owned());
    results.environment.git = None;
    results.environment.cpu = hostile.to_owned();
    let mut run = redis(1);
    run.strategy = hostile.to_owned();
    run.properties.logout = hostile.to_owned();
    run.users = 0;
    run.measured_ms = 0;
    run.requests = Requests::default();
    run.throughput_rps = None;
    run.goodput_rps = None;
    run.latency_us = None;
    run.response_us = None;
    run.latency_histogram.clear();
    run.cost_us_per_request = Cost::default();
    run.cost_window_ms = None;
    run.bytes_per_request = Bytes::default();
    run.store_operations_per_request = None;
    run.memory_bytes_per_session = Memory::default();
    run.timeline.clear();
    run.generator = Generator {
        valid: false,
        reason: Some(hostile.to_owned()),
        lag_p99_us: None,
        lag_us: Vec::new(),
        cpu_cores: None,
        machine_cpu_cores: None,
        arrivals: None,
        in_flight: None,
    };
    let fault = &mut run.faults[0];
    fault.kind = hostile.to_owned();
    fault.effective_ms = None;
    fault.detected_ms = None;
    fault.recovered_ms = None;
    fault.undone_ms = None;
    fault.detection_ms = None;
    fault.recovery_ms = None;
    fault.error_seconds = None;
    fault.relogin_amplification = None;
    fault.throughput_rps = None;
    fault.goodput_rps = None;
    fault.failed_by_cause = BTreeMap::from([(hostile.to_owned(), 1)]);
    fault.sessions_live = 0;
    fault.sessions_on_target = 0;
    fault.cart_lines_acknowledged = 0;
    // A second run with one slice, to draw labels from hostile names as well.
    let mut drawn = run.clone();
    drawn.repeat = 2;
    drawn.timeline = vec![Slice {
        at_ms: 0,
        ok: 1,
        failed: 1,
        p50_us: Some(0),
        p99_us: None,
        per_node: BTreeMap::from([(hostile.to_owned(), 1)]),
    }];
    drawn.latency_histogram = vec![Bin { le_us: 0, count: 1 }];
    results.runs = vec![run, drawn];
    results.judged()
}

/// Three strategies, one run each; node-2 is killed at 10 s and ready again at 14.2 s.
pub fn results() -> Results {
    Results {
        schema: SCHEMA.to_owned(),
        scenario: "demo".to_owned(),
        question: "What does the death of one of three nodes cost, and whom?".to_owned(),
        seed: 1,
        command: "./lab demo".to_owned(),
        started_at: "2026-01-15T09:30:00Z".to_owned(),
        environment: Environment {
            cores: 2,
            cpu: "Example CPU at 2.45 GHz".to_owned(),
            kernel: "6.1.0".to_owned(),
            versions: words(&[("lab", "0.1.0"), ("redis-server", "7.0.15")]),
            git: Some("4f2a91c".to_owned()),
        },
        settings: words(&[
            (
                "Password cost",
                "argon2id, 8 KiB, t=1, p=1: lowered so that logins do not hide the sessions",
            ),
            ("Think time", "100 to 300 ms between requests"),
            ("Work a request", "none"),
        ]),
        runs_planned: 3,
        stopped_because: None,
        caveats: vec![
            "All processes share one machine: the network costs nothing here.".to_owned(),
        ],
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        expectations: Vec::new(),
        matrix: Vec::new(),
        summary: Vec::new(),
        comparisons: Vec::new(),
        scale_out: Vec::new(),
        runs: vec![sticky(1), redis(1), jwt(1)],
    }
    .judged()
}

impl Results {
    /// The same, with what is computed from the runs computed again.
    pub fn judged(mut self) -> Self {
        let demands = ["redis: sessions_lost == 0", "unavailable_ms < 3000"]
            .map(|text| Threshold::try_from(text.to_owned()).unwrap());
        (self.expectations, self.matrix) = expectations::judge(&self.runs, &demands);
        self.summary = statistics::summaries(&self.runs, self.seed);
        self.comparisons = statistics::comparisons(&self.runs, self.seed);
        self
    }
}

/// The same, each strategy three times in turn, with a spread.
pub fn repeated() -> Results {
    let mut results = results();
    results.runs = (1..=3)
        .flat_map(|repeat| [sticky(repeat), redis(repeat), jwt(repeat)])
        .collect();
    results.judged()
}

/// The same with five sizes of cluster; of redis the largest was refused.
pub fn scaled() -> Results {
    let mut results = results();
    results.runs.clear();
    for nodes in [1, 2, 4, 6, 8] {
        for mut run in [sticky(1), redis(1), jwt(1)] {
            run.nodes = nodes;
            run.faults.clear();
            run.anomalies = Anomalies::default();
            run.witnesses.clear();
            let count = nodes as f64;
            let sigma = if run.strategy == "jwt" { 0.02 } else { 0.05 };
            let scatter = 1.0 + 0.01 * ((nodes * 7 % 5) as f64 - 2.0);
            let rps = scatter * 940.0 * count / (1.0 + sigma * (count - 1.0));
            run.throughput_rps = Some(rps);
            run.goodput_rps = Some(rps);
            run.requests.failed = 0;
            run.cost_us_per_request.node = Some(0.96 * 0.02 * count * 1e6 / rps);
            run.cost_us_per_request.load_balancer = Some(31.0 + 0.2 * count);
            if nodes == 8 && run.strategy == "redis" {
                run.generator.machine_cpu_cores = Some(1.91);
            }
            statistics::refuse(&mut run, 0.02, 2);
            results.runs.push(run);
        }
    }
    results.scale_out = statistics::scale_out(&results.runs, 0.02, 2);
    results.judged()
}

/// Sticky: the sessions of the dead node are lost.
pub fn sticky(repeat: u32) -> Run {
    let mut run = run("sticky", repeat, 1.0);
    run.requests.failed_idempotent = 117;
    run.requests.retried_by_balancer = 12;
    run.memory_bytes_per_session.node = Some(564.2);
    run.logins_again = 51;
    run.anomalies = Anomalies {
        session_lost: 51,
        line_lost: 137,
        ..Anomalies::default()
    };
    let fault = &mut run.faults[0];
    fault.sessions_lost = 51;
    fault.sessions_lost_on_target = 51;
    fault.cart_lines_lost = 137;
    fault.failed_requests = run.requests.failed;
    fault.failed_by_cause = BTreeMap::from([
        ("session_lost".to_owned(), 51),
        ("bad_gateway".to_owned(), run.requests.failed - 51),
    ]);
    fault.unavailable_ms = 2_250;
    fault.error_seconds = Some(0.61);
    fault.relogin_amplification = Some(7.5);
    fault.recovered_ms = Some(12_500);
    fault.recovery_ms = Some(2_488);
    run.failure_latency_us = Some(Latency {
        p50: 1_120,
        p90: Some(1_900),
        p99: None,
        p999: None,
        max: 2_004_310,
    });
    run
}

/// Redis: nothing is lost, a store is asked.
pub fn redis(repeat: u32) -> Run {
    let mut run = run("redis", repeat, 1.22);
    run.cost_us_per_request.store = Some(38.41);
    run.store_operations_per_request = Some(1.04);
    run.memory_bytes_per_session = Memory {
        node: Some(0.0),
        store: Some(872.0),
    };
    run
}

/// jwt: nothing is lost, requests are long, a logout is not heard.
pub fn jwt(repeat: u32) -> Run {
    let mut run = run("jwt", repeat, 0.97);
    run.bytes_per_request = Bytes {
        sent: Some(1_012.6),
        received: Some(498.3),
    };
    run.memory_bytes_per_session.node = None;
    run.revocation_ms = Some(Revocation {
        p50: 1_791_000,
        max: 1_800_000,
    });
    run.anomalies.exposure = 24;
    run
}

/// What the three have in common; `slow` stretches latency and cost.
fn run(strategy: &str, repeat: u32, slow: f64) -> Run {
    let slow = slow * (1.0 + 0.01 * f64::from(repeat));
    let scaled = |us: f64| (us * slow) as u64;
    let timeline = timeline(strategy, slow);
    let (ok, failed) = timeline.iter().fold((0, 0), |sum, slice| {
        (sum.0 + slice.ok, sum.1 + slice.failed)
    });
    Run {
        strategy: strategy.to_owned(),
        properties: table()
            .about(strategy)
            .map(About::properties)
            .unwrap_or_default(),
        repeat,
        nodes: 3,
        balancer: "pingora".to_owned(),
        users: 150,
        measured_ms: 30_040,
        requests: Requests {
            total: ok + failed,
            ok,
            failed,
            failed_idempotent: 0,
            refused_expired: 0,
            refused_revoked: 0,
            retried_by_balancer: 19,
        },
        throughput_rps: Some(816.3 / slow.sqrt()),
        goodput_rps: Some(812.7 / slow.sqrt()),
        latency_us: Some(Latency {
            p50: scaled(912.0),
            p90: Some(scaled(1_804.0)),
            p99: Some(scaled(4_630.0)),
            p999: Some(scaled(13_900.0)),
            max: scaled(48_211.0),
        }),
        failure_latency_us: None,
        response_us: Some(Latency {
            p50: scaled(912.0),
            p90: Some(scaled(1_804.0)),
            p99: Some(scaled(4_630.0)),
            p999: Some(scaled(13_900.0)),
            max: scaled(48_211.0),
        }),
        latency_histogram: histogram(slow),
        cost_us_per_request: Cost {
            load_balancer: Some(148.3 * slow.sqrt()),
            node: Some(117.6 * slow),
            store: None,
            generator: Some(96.2),
        },
        cost_window_ms: Some((1_000, 9_500)),
        bytes_per_request: Bytes {
            sent: Some(312.4),
            received: Some(421.9),
        },
        store_operations_per_request: None,
        memory_bytes_per_session: Memory {
            node: Some(0.0),
            store: None,
        },
        logins_again: 0,
        faults: vec![kill()],
        anomalies: Anomalies::default(),
        witnesses: vec![witness()],
        revocation_ms: None,
        revocations: None,
        generator: Generator {
            valid: true,
            reason: None,
            lag_p99_us: Some(1_240),
            lag_us: vec![Bin {
                le_us: 1_259,
                count: 20_000,
            }],
            cpu_cores: Some(0.324),
            machine_cpu_cores: Some(0.871),
            arrivals: Some(Arrivals {
                target_per_s: 500.0,
                achieved_per_s: 499.5,
                due: 10_000,
                sent: 9_990,
                late: 31,
                late_without_user: 12,
                dropped: 10,
            }),
            in_flight: Some(InFlight {
                seen: 0.412,
                by_littles_law: 0.408,
            }),
        },
        timeline,
    }
}

fn witness() -> Witness {
    Witness {
        kind: Anomaly::LineLost,
        user: 12,
        session: 1,
        line: Some("12-7".to_owned()),
        operations: vec![WitnessOperation {
            id: 7,
            action: "add_line".to_owned(),
            sent_us: 9_104_220,
            done_us: 9_105_031,
            node: Some("node-2".to_owned()),
            outcome: "ok".to_owned(),
            status: Some(201),
        }],
        fault: Some(WitnessFault {
            index: 0,
            kind: "kill".to_owned(),
            target: "node-2".to_owned(),
            commanded_us: 10_000_000,
            effective_us: Some(10_012_000),
            undone_us: Some(14_210_000),
        }),
        sentence: "User 12: line 12-7 is gone.".to_owned(),
    }
}

fn kill() -> Fault {
    Fault {
        kind: "kill".to_owned(),
        target: "node-2".to_owned(),
        commanded_ms: 10_000,
        effective_ms: Some(10_012),
        detected_ms: Some(10_870),
        recovered_ms: Some(10_500),
        undone_ms: Some(14_210),
        ascribed_until_ms: 30_040,
        detection_ms: Some(858),
        recovery_ms: Some(488),
        unavailable_ms: 0,
        error_seconds: Some(0.0),
        relogin_amplification: Some(1.4),
        throughput_rps: Some(761.2),
        goodput_rps: Some(758.9),
        failed_requests: 0,
        failed_by_cause: BTreeMap::new(),
        sessions_live: 150,
        sessions_on_target: 51,
        sessions_lost: 0,
        sessions_lost_on_target: 0,
        cart_lines_acknowledged: 402,
        cart_lines_on_target: 137,
        cart_lines_lost: 0,
        exposures: 0,
    }
}

/// Slices of 500 ms: two nodes share the answers while node-2 is away, and sticky users do not come back to it.
fn timeline(strategy: &str, slow: f64) -> Vec<Slice> {
    let slice = |n: u64| {
        let at_ms = n * 500;
        let wave = (n * 7 % 11) as f64;
        let killed = (10_000..14_500).contains(&at_ms);
        let shocked = (10_000..12_500).contains(&at_ms);
        let failed = if strategy == "sticky" && shocked {
            60 - 12 * (n - 20)
        } else {
            0
        };
        let ok = 400 + (wave * 3.0) as u64 - failed - if shocked { 25 } else { 0 };
        let of_two = match (killed, strategy) {
            (true, _) => 0,
            (false, "sticky") if at_ms >= 14_500 => ok / 12,
            (false, _) => ok / 3,
        };
        let rest = ok + failed / 2 - of_two;
        let latency = |us: f64| {
            Some((us * slow * (1.0 + wave / 40.0) * if shocked { 2.6 } else { 1.0 }) as u64)
        };
        Slice {
            at_ms,
            ok,
            failed,
            p50_us: latency(905.0),
            p99_us: latency(4_300.0),
            per_node: BTreeMap::from([
                ("node-1".to_owned(), rest / 2),
                ("node-2".to_owned(), of_two),
                ("node-3".to_owned(), rest - rest / 2),
                ("none".to_owned(), failed - failed / 2),
            ]),
        }
    };
    (0..=60).map(slice).collect()
}

/// Log-normal in shape, with a second hump far out.
fn histogram(slow: f64) -> Vec<Bin> {
    let bin = |n: u32| {
        let at = 250.0 * 1.12f64.powi(n.try_into().unwrap());
        let hump =
            |middle: f64, width: f64| (-((at / (middle * slow)).ln() / width).powi(2) / 2.0).exp();
        Bin {
            le_us: at as u64,
            count: (2_900.0 * hump(912.0, 0.42) + 14.0 * hump(6_500.0, 0.6)) as u64,
        }
    };
    (0..48).map(bin).collect()
}

fn words(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What the node says of its strategies, as it was when `lab generate` was run last.
pub fn table() -> Table {
    Table::parse(include_str!("../../../services/shop/strategies.json")).unwrap()
}

/// What a strategy of ours says beforehand; nothing for others.
pub fn theory(strategy: &str) -> Vec<Expected> {
    let table = table();
    let about = table.about(strategy);
    about.map(|about| about.theory.clone()).unwrap_or_default()
}
