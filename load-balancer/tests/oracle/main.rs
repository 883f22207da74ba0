//! hyper, which the nodes parse with, is the oracle: whatever a client sends, the balancer refuses it, or hyper
//! reads the same method, target, fields and body from what the balancer sent on. Once on the parsers alone, with
//! thousands of requests, and once on the real process in front of a real server.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod generate;
mod judge;
#[path = "../support/mod.rs"]
mod support;

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
};

use judge::{Seen, assert_is_passed_on, client_sent, judge, serve};
use load_balancer::inspect::Listener;
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use support::{Balancer, PATIENCE, own_ip};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::timeout,
};

const KEY: &[u8] = b"a-key-of-at-least-thirty-two-bytes";

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

#[test]
fn what_is_passed_is_what_hyper_reads() {
    let (runtime, listener) = (runtime(), Listener::new(KEY));
    let passed = Cell::new(0);
    let outcome = runner(4_000).run(&(generate::odd(), 1..40_usize), |(bytes, step)| {
        let outcome = runtime.block_on(judge(&listener, &bytes, usize::MAX));
        passed.set(
            passed.get() + u32::from(outcome.as_ref().is_some_and(|outcome| outcome.is_whole)),
        );
        // How the bytes arrive makes no difference to what they mean.
        let in_pieces = runtime.block_on(judge(&listener, &bytes, step));
        let meaning = |outcome: &Option<load_balancer::inspect::Outcome>| {
            outcome
                .as_ref()
                .map(|outcome| (outcome.refused, outcome.is_whole))
        };
        prop_assert_eq!(meaning(&outcome), meaning(&in_pieces));
        Ok(())
    });
    outcome.expect("hyper agrees");
    assert!(
        passed.get() > 400,
        "only {} were passed on: they test little",
        passed.get()
    );
}

#[test]
fn a_plain_request_is_passed_on() {
    let (runtime, listener) = (runtime(), Listener::new(KEY));
    let outcome = runner(2_000).run(&generate::plain(), |bytes| {
        let outcome = runtime.block_on(judge(&listener, &bytes, usize::MAX));
        let outcome = outcome.expect("a whole head");
        prop_assert_eq!(outcome.refused, None);
        prop_assert!(outcome.is_whole && outcome.rest.is_empty());
        Ok(())
    });
    outcome.expect("passed on");
}

/// The same through sockets: the real process, and a real hyper server behind it.
#[test]
fn the_process_passes_what_hyper_reads() {
    let (runtime, listener) = (runtime(), Listener::new(KEY));
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let balancer = runtime.block_on(balancer_before_hyper(Arc::clone(&seen)));
    let outcome = runner(300).run(&generate::odd(), |bytes| {
        // Nobody answers what is not whole.
        let outcome = runtime.block_on(listener.request(&bytes, usize::MAX));
        let Some(outcome) = outcome.filter(|outcome| outcome.is_whole || outcome.refused.is_some())
        else {
            return Err(TestCaseError::reject("not whole"));
        };
        seen.lock().expect("a lock").clear();
        let answer = runtime.block_on(all_answers(balancer.public(), &bytes));
        let seen = std::mem::take(&mut *seen.lock().expect("a lock"));
        let whole: Vec<_> = seen.iter().filter(|seen| seen.body.is_some()).collect();
        if let Some(status) = outcome.refused {
            prop_assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{}: {}",
                status,
                answer
            );
            prop_assert!(answer.contains("application/problem+json"), "{}", answer);
            prop_assert!(whole.is_empty(), "{:?}", whole);
        } else {
            prop_assert!(answer.contains("HTTP/1.1 200 "), "{}", answer);
            let used = bytes.len() - outcome.rest.len();
            let client = runtime.block_on(client_sent(&bytes[..used]));
            // What follows may have been passed on already.
            prop_assert!(!whole.is_empty());
            assert_is_passed_on(&client, whole[0]);
        }
        Ok(())
    });
    outcome.expect("hyper agrees");
}

/// A balancer before one node that is a hyper server and nothing else.
async fn balancer_before_hyper(seen: Arc<Mutex<Vec<Seen>>>) -> Balancer {
    let ip = own_ip();
    let server = TcpListener::bind((ip, 9001)).await.expect("a free port");
    tokio::spawn(async move {
        loop {
            let (stream, _) = server.accept().await.expect("a connection");
            tokio::spawn(serve(stream, Arc::clone(&seen)));
        }
    });
    let list = format!("list = [ {{ name = \"node-1\", address = \"{ip}:9001\" }} ]");
    let settings =
        "[health]\ninterval_ms = 60000\n[ejection]\nfailures = 0\n[clients]\nbody_bytes = 100000";
    Balancer::start_with(ip, &list, settings).await
}

/// Everything that is answered until the connection ends: what follows the request is passed on before the next case.
async fn all_answers(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The other side may have refused and closed before it read everything.
    let _ = stream.write_all(bytes).await;
    // Nothing more will come: half a head is not waited for.
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // What was refused may end with a reset.
    let _ = read.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}
