//! CPU time that a node spends on one `authenticate`, by strategy: `cargo bench -p session --bench authenticate`.
//!
//! Caveats first. This is the strategy alone: no HTTP, no framework, one thread, and 64 requests at a time as in a busy
//! node. For `redis` it is the node's CPU only; the time that the store spends is not in it, and neither is the waiting
//! (a lone request waits for the round trip, which is printed apart). Figures of different machines cannot be compared.
#![allow(
    clippy::unwrap_used,
    reason = "a bench may stop on the spot, as a test may"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use session::{Credential, Strategy};
use tokio::runtime::Builder;

use support::Lab;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AT_A_TIME: usize = 64;
const USERS: usize = 10_000;

fn main() {
    println!("cargo bench -p session --bench authenticate   (caveats: at the top of its source)");
    println!("strategy   CPU ns a request   ns a lone request");
    measure(async { Lab::sticky() }, 1_000_000);
    measure(async { Lab::redis().ready().await }, 300_000);
    measure(async { Lab::jwt() }, 300_000);
}

fn measure(lab: impl Future<Output = Lab>, requests: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lab = lab.await;
        let mut credentials = Vec::with_capacity(USERS);
        for user in 0..USERS {
            let granted = lab.a.login(&format!("user-{user:06}"), None).await;
            credentials.push(granted.unwrap().reissued.unwrap());
        }
        let credentials = Arc::new(credentials);
        run(&lab.a, &credentials, AT_A_TIME, requests / 10).await;

        let cpu_before = cpu_time();
        run(&lab.a, &credentials, AT_A_TIME, requests).await;
        let cpu = cpu_time().saturating_sub(cpu_before);

        let began = Instant::now();
        run(&lab.a, &credentials, 1, requests / 10).await;
        let alone = began.elapsed();
        println!(
            "{:<8} {:>18} {:>19}",
            lab.a.about().name,
            cpu.as_nanos() / requests as u128,
            alone.as_nanos() / (requests / 10) as u128,
        );
    });
}

async fn run(
    node: &Arc<dyn Strategy>,
    credentials: &Arc<Vec<Credential>>,
    at_a_time: usize,
    requests: usize,
) {
    let workers: Vec<_> = (0..at_a_time)
        .map(|worker| {
            let (node, credentials) = (node.clone(), credentials.clone());
            tokio::spawn(async move {
                for request in 0..requests / at_a_time {
                    // Far jumps, so that no cache helps more than it would in a node.
                    let user = (request * 7919 + worker * 127) % credentials.len();
                    let session = node.authenticate(&credentials[user]).await;
                    black_box(session.unwrap());
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}
