//! Fuzz targets: one function each, which takes any bytes and panics where a parser of ours breaks its promise.
//! "Does not panic" is the least of what is asked: each has an oracle, another parser or a law that must hold.
//!
//! | target | input | oracle |
//! | --- | --- | --- |
//! | [`request_head`] | what a client sends | hyper reads the same request from what the balancer sends on, or it was refused |
//! | [`chunked_body`] | chunks | hyper reads the same data and the same end |
//! | [`answer_head`] | what a node answers | hyper's client reads the same answer from what the balancer sends on |
//! | [`cookies`] | `Cookie` fields | a simple parser finds the same; taking the affinity cookie out changes no other |
//! | [`affinity_cookie`] | `Cookie` fields | exactly those count that we would have written, letter by letter |
//! | [`proxy_header`] | the first bytes of a connection | it ends where it ends, and its source stands in it |
//! | [`tokens`] | tokens, signed claims, headers | jsonwebtoken's own `decode` accepts them, too, with the same claims |
//! | [`history`] | a history's file | what is read is the same after it was written again; no verdict panics |
//!
//! `tests/fuzz/run` lets libFuzzer look for inputs; `tests/seeds.rs` replays those in `seeds/` in every test run, with
//! no fuzzer at hand.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a target reports"
)]

pub mod affinity_cookie;
pub mod answer_head;
pub mod chunked_body;
pub mod cookies;
pub mod history;
#[path = "../../../load-balancer/tests/oracle/judge.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared with the tests of the balancer, which use all of it"
)]
mod judge;
pub mod proxy_header;
pub mod request_head;
pub mod tokens;

use std::sync::LazyLock;

use load_balancer::inspect::Listener;
use tokio::runtime::Runtime;

/// Checks one input, and panics where it shows a fault.
pub type Check = fn(&[u8]);

/// Every target, by its name.
pub static TARGETS: &[(&str, Check)] = &[
    ("request_head", request_head::check),
    ("chunked_body", chunked_body::check),
    ("answer_head", answer_head::check),
    ("cookies", cookies::check),
    ("affinity_cookie", affinity_cookie::check),
    ("proxy_header", proxy_header::check),
    ("tokens", tokens::check),
    ("history", history::check),
];

/// Seals the affinity cookies of the seeds.
const AFFINITY_KEY: &[u8] = b"an-affinity-key-of-32-bytes-and-more";

static LISTENER: LazyLock<Listener> = LazyLock::new(|| Listener::new(AFFINITY_KEY));

/// What is asynchronous waits for nothing here.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
});

/// How many bytes arrive at once: a number that the input chooses.
fn step(input: &[u8]) -> usize {
    1 + input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 37
}
