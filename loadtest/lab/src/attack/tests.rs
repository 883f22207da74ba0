//! Users, goose and recorder against a small shop in this process: every request must be in the history, counted as
//! goose counts it, and weighed as the wire weighs it.
//!
//! One run a test, because goose keeps its state by process and nextest gives each test one.

mod shop;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::*;
use crate::scenario::{Journey, Replays};
use cluster::Clock;
use evidence::checker::check;
use evidence::history::file::Appender;
use evidence::history::testing::meta;
use evidence::history::{Action, History, Meta, Operation, Outcome, Reason};
use evidence::pace::{Arrivals, Pace, REQUEST_TIMEOUT};
use evidence::results::{Anomalies, Generator};
use evidence::statistics::summarise;
use shop::{Manner, Shop};
use std::time::Duration;

const CLOSED: Pace = Pace::Closed { think_ms: (1, 20) };
const OPEN: Pace = Pace::Open {
    arrivals_per_s: 200,
    arrivals: Arrivals::Poisson,
};
/// Every kind of answer that there is, and every kind of none. A login must come through now and then.
const BAD: [Manner; 9] = [
    Manner::Answered,
    Manner::AnsweredAndClosed,
    Manner::NoNode,
    Manner::Answered,
    Manner::BadGateway,
    Manner::Failure,
    Manner::Answered,
    Manner::BrokenOff,
    Manner::Silence,
];

/// A short run of five users.
fn plan(url: String, pace: Pace) -> Plan {
    Plan {
        url,
        history: PathBuf::new(),
        clock: Clock::starting_in(100_000),
        warm_up_from_us: -100_000,
        measured_until_us: 1_500_000,
        final_read_us: 1_600_000,
        users: 5,
        password: "with \"quotes\"".into(),
        pace,
        journey: Journey {
            browse: 4,
            add_line: 4,
            read_cart: 2,
            remove_line: 2,
            log_out: 2,
        },
        replays: Replays { times: 1, for_s: 0 },
        revocations: None,
        request_timeout: REQUEST_TIMEOUT,
        seed: 1,
    }
}

/// Plays `plan` and reads the history.
async fn played(plan: Plan) -> History {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let meta = Meta {
        users: plan.users,
        pace: plan.pace,
        seed: plan.seed,
        warm_up_from_us: plan.warm_up_from_us,
        measured_until_us: plan.measured_until_us,
        final_read_us: plan.final_read_us,
        ..meta()
    };
    let mut parent = Appender::open(&history).unwrap();
    parent.append(&Line::Meta(Box::new(meta))).unwrap();
    let plan = Plan {
        history: history.clone(),
        ..plan
    };
    Box::pin(play(plan)).await.unwrap();
    History::read(&history).unwrap()
}

/// What the statistics say of the generator, once all counts are seen to agree.
fn tied(history: &History, shop: &Shop) -> Generator {
    assert_eq!(
        history.operations.len() as u64,
        shop.lock().unwrap().requests
    );
    let verdict = check(history);
    // Where final reads fail too, nothing can be said; but nothing wrong may be proved.
    let proven = Anomalies {
        unknown: 0,
        ..verdict.anomalies
    };
    assert_eq!(proven, Anomalies::default());
    let generator = summarise(history, &verdict).generator;
    let reason = generator.reason.clone().unwrap_or_default();
    for untied in ["do not agree", "no arrival was due", "did not reach"] {
        assert!(!reason.contains(untied), "{reason}");
    }
    generator
}

/// Every arrival is one operation, or dropped.
fn adds_up(history: &History, generator: &Generator) {
    let arrivals = generator.arrivals.unwrap();
    let measured = 0..history.meta.measured_until_us;
    let of_arrivals = history
        .operations
        .iter()
        .filter(|operation| measured.contains(&operation.intended_us));
    assert_eq!(arrivals.sent, of_arrivals.count() as u64);
    assert_eq!(arrivals.due, arrivals.sent + arrivals.dropped);
    // 300 are due in 1.5 s, by chance some more or less.
    assert!((230..370).contains(&arrivals.due), "{arrivals:?}");
}

fn sum(history: &History, bytes: impl Fn(&Operation) -> u32) -> u64 {
    history
        .operations
        .iter()
        .map(|operation| u64::from(bytes(operation)))
        .sum()
}

fn by_user(history: &History) -> HashMap<u32, Vec<&Operation>> {
    let mut by_user: HashMap<u32, Vec<&Operation>> = HashMap::new();
    for operation in &history.operations {
        by_user.entry(operation.user).or_default().push(operation);
    }
    by_user
}

fn weighed(history: &History, shop: &Shop) {
    assert_eq!(check(history).anomalies.unknown, 0);
    let seen = shop.lock().unwrap();
    let sent = sum(history, |operation| operation.sent_bytes);
    assert_eq!(sent, seen.received_bytes);
    let received = sum(history, |operation| operation.received_bytes);
    assert_eq!(received, seen.sent_bytes);
    for action in [
        "log_in",
        "browse",
        "add_line",
        "read_cart",
        "remove_line",
        "log_out",
        "replay",
    ] {
        let counted = history.counts.as_ref().unwrap().by_action[action];
        assert!(counted.requests > 0, "{action} never happened");
    }
}

/// The cart is read, the user logs out, the credential is tried: one after the other, with nothing in between.
fn leaves_in_three_operations(history: &History, shop: &Shop) {
    let tried = history.operations.iter();
    let tried = tried.filter(|operation| operation.action == Action::Replay);
    assert_eq!(tried.count(), shop.lock().unwrap().presented_after_logout);
    for operations in by_user(history).values() {
        for (at, operation) in operations.iter().enumerate() {
            if operation.action == Action::LogOut {
                assert_eq!(operations[at - 1].action, Action::ReadCart);
                let replay = operations[at + 1];
                if replay.intended_us >= history.meta.final_read_us {
                    continue; // The end came in between.
                }
                assert_eq!(replay.action, Action::Replay);
                assert_eq!(replay.session, operation.session);
                assert!(replay.intended_us > operation.intended_us);
            }
        }
    }
}

#[tokio::test]
async fn every_request_of_a_closed_loop_is_recorded_counted_and_weighed() {
    let (url, shop) = shop::open(&[]).await;
    let history = played(plan(url, CLOSED)).await;
    let generator = tied(&history, &shop);
    weighed(&history, &shop);
    leaves_in_three_operations(&history, &shop);
    assert_eq!(generator.arrivals, None);
    assert!(generator.in_flight.is_some());
}

#[tokio::test]
async fn every_request_of_an_open_loop_is_recorded_counted_and_weighed() {
    let (url, shop) = shop::open(&[]).await;
    let history = played(plan(url, OPEN)).await;
    let generator = tied(&history, &shop);
    weighed(&history, &shop);
    leaves_in_three_operations(&history, &shop);
    adds_up(&history, &generator);
    let early = |operation: &&Operation| operation.sent_us < operation.intended_us;
    assert_eq!(history.operations.iter().filter(early).count(), 0);
}

fn bad(url: String, pace: Pace) -> Plan {
    Plan {
        request_timeout: Duration::from_millis(60),
        ..plan(url, pace)
    }
}

/// What the history says of requests that were treated badly. A time-out can hit any of them on a busy machine.
fn has_all_ends(history: &History) {
    let happened = |outcome: Outcome, reason: Reason| {
        history
            .operations
            .iter()
            .any(|operation| (operation.outcome, operation.reason) == (outcome, Some(reason)))
    };
    for (outcome, reason) in [
        (Outcome::Fail, Reason::NoNode),
        (Outcome::Info, Reason::BadGateway),
        (Outcome::Info, Reason::NodeFailed),
        (Outcome::Info, Reason::Broken),
        (Outcome::Info, Reason::TimedOut),
    ] {
        assert!(happened(outcome, reason), "{outcome:?} {reason:?}");
    }
    // After an operation of which nobody knows whether it happened, the process never acts again.
    for operations in by_user(history).values() {
        for pair in operations.windows(2) {
            let goes_on = pair[0].process == pair[1].process;
            assert_eq!(goes_on, pair[0].outcome != Outcome::Info);
        }
    }
    let ids = |operation: &Operation| (operation.user, operation.id);
    let unique: std::collections::HashSet<_> = history.operations.iter().map(ids).collect();
    assert_eq!(unique.len(), history.operations.len());
}

#[tokio::test]
async fn failures_of_a_closed_loop_tie_out_too_and_prove_nothing_wrong() {
    let (url, shop) = shop::open(&BAD).await;
    let history = played(bad(url, CLOSED)).await;
    tied(&history, &shop);
    has_all_ends(&history);
}

#[tokio::test]
async fn failures_of_an_open_loop_tie_out_too_and_prove_nothing_wrong() {
    let (url, shop) = shop::open(&BAD).await;
    let history = played(bad(url, OPEN)).await;
    let generator = tied(&history, &shop);
    has_all_ends(&history);
    adds_up(&history, &generator);
}

#[tokio::test]
async fn arrivals_wait_for_users_and_are_dropped_when_all_of_them_hang() {
    let (url, shop) = shop::open(&[Manner::Silence]).await;
    let plan = Plan {
        // Each user logs in once in the whole run.
        request_timeout: Duration::from_millis(1_400),
        ..plan(url, OPEN)
    };
    let history = played(plan).await;
    let generator = tied(&history, &shop);
    adds_up(&history, &generator);
    let arrivals = generator.arrivals.unwrap();
    assert!(arrivals.dropped > 0, "{arrivals:?}");
    assert!(arrivals.late_without_user > 0, "{arrivals:?}");
    let reason = generator.reason.unwrap();
    assert!(reason.contains("no user was free"), "{reason}");
}

#[tokio::test]
async fn without_a_load_balancer_nothing_was_sent_and_all_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let history = played(plan(url, OPEN)).await;
    assert!(history.operations.len() > 200);
    for operation in &history.operations {
        assert_eq!(operation.outcome, Outcome::Fail);
        assert_eq!(operation.reason, Some(Reason::NotConnected));
    }
    let generator = summarise(&history, &check(&history)).generator;
    adds_up(&history, &generator);
    let reason = generator.reason.unwrap_or_default();
    assert!(!reason.contains("do not agree"), "{reason}");
}

#[tokio::test]
async fn dead_credentials_are_tried_as_often_as_planned() {
    let (url, shop) = shop::open(&[]).await;
    let plan = Plan {
        replays: Replays { times: 6, for_s: 1 },
        measured_until_us: 3_000_000,
        final_read_us: 3_000_000,
        journey: Journey {
            browse: 40,
            log_out: 1,
            ..Journey::default()
        },
        ..plan(url, OPEN)
    };
    let history = played(plan).await;
    tied(&history, &shop);
    let mut tried_out = 0;
    for operations in by_user(&history).values() {
        for logout in operations
            .iter()
            .filter(|operation| operation.action == Action::LogOut)
        {
            let replays = operations.iter().filter(|operation| {
                operation.action == Action::Replay && operation.session == logout.session
            });
            let times: Vec<i64> = replays.map(|replay| replay.sent_us).collect();
            // Five tries after the first, 200 ms apart, each before whatever else the user does then.
            for (number, sent_us) in times.iter().enumerate().take(6) {
                let due_us = logout.done_us + i64::try_from(number).unwrap() * 200_000;
                let is_final = *sent_us >= history.meta.final_read_us;
                assert!(is_final || *sent_us >= due_us, "{number} {times:?}");
            }
            for other in operations
                .iter()
                .filter(|other| other.action == Action::Browse && other.sent_us > logout.done_us)
            {
                let before = times.iter().filter(|us| **us < other.sent_us).count();
                let elapsed = usize::try_from((other.sent_us - logout.done_us) / 200_000).unwrap();
                // What became due while the arrival was on its way to the user may come next.
                assert!(before + 1 >= (elapsed + 1).min(6), "{before} {times:?}");
                tried_out += usize::from(before >= 6);
            }
            assert!(times.len() <= 7, "six, and one in the end");
        }
    }
    assert!(tried_out > 0, "nobody logged out early enough");
}

#[tokio::test]
async fn an_operator_logs_users_out_beside_the_load() {
    let (url, shop) = shop::open(&[]).await;
    let plan = Plan {
        revocations: Some(Revocations {
            per_s: 20,
            token: "operator".into(),
        }),
        journey: Journey {
            browse: 4,
            add_line: 4,
            read_cart: 2,
            ..Journey::default()
        },
        ..plan(url, OPEN)
    };
    let history = played(plan).await;
    // Twenty a second for 1.5 s, in the middle of their slots.
    assert_eq!(history.revocations.len(), 30);
    let requests = history.operations.len() + history.revocations.len();
    assert_eq!(requests as u64, shop.lock().unwrap().requests);
    let verdict = check(&history);
    assert_eq!(verdict.anomalies, Anomalies::default());
    let revoked = verdict.revocations.unwrap();
    assert_eq!((revoked.asked, revoked.acknowledged), (30, 30));
    assert!(
        revoked.sessions > 0 && revoked.accepted() == 0,
        "{revoked:?}"
    );
    let run = summarise(&history, &verdict);
    assert!(run.requests.refused_revoked > 0);
    assert_eq!(run.requests.failed, 0);
    let reason = run.generator.reason.unwrap_or_default();
    assert!(!reason.contains("do not agree"), "{reason}");
    // Whoever was refused tries the dead credential once more.
    let replays = |operation: &&Operation| operation.action == Action::Replay;
    assert!(history.operations.iter().filter(replays).count() > 0);
}

#[tokio::test]
async fn users_that_lose_their_session_log_in_again() {
    let (url, shop) = shop::open(&[]).await;
    let forget = tokio::spawn({
        let shop = Arc::clone(&shop);
        async move {
            // Once everybody is logged in, all sessions vanish: the node was killed.
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut shop = shop.lock().unwrap();
                if shop.sessions.len() == 3 && shop.requests > 20 {
                    shop.sessions.clear();
                    return;
                }
            }
        }
    });
    let plan = Plan {
        users: 3,
        journey: Journey {
            browse: 1,
            add_line: 1,
            ..Journey::default()
        },
        ..plan(url, OPEN)
    };
    let history = played(plan).await;
    forget.await.unwrap();
    let verdict = check(&history);
    assert_eq!(verdict.anomalies.session_lost, 3);
    assert_eq!(verdict.logins_again, 3);
    assert!(verdict.anomalies.line_lost > 0);
    assert_eq!(verdict.anomalies.unknown, 0);
    let logins = history
        .operations
        .iter()
        .filter(|operation| operation.action == Action::LogIn);
    assert_eq!(logins.count(), 6);
    adds_up(&history, &summarise(&history, &verdict).generator);
}
