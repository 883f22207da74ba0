//! Memory of one login with an empty cart in `sticky`: `cargo bench -p session --bench memory`.
//!
//! Caveats first. This is the growth of the process's anonymous memory, as the kernel counts it, divided by the number of
//! sessions: maps with their unused room, the index by user, the users' names and what the allocator keeps for itself
//! are all in it. Maps grow by doubling, so a figure right after a doubling is up to twice that right before the next.
//! Every user is logged in once, which is the worst case for the index. The allocator is that of `shop`; the cookie,
//! which the client keeps, is not in it. What a process touches once weighs on the first 10,000 sessions most.
#![allow(
    clippy::unwrap_used,
    reason = "a bench may stop on the spot, as a test may"
)]

use std::time::Duration;

use session::sticky::{Settings, Sticky};
use session::{Clock, Strategy};
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let settings = Settings {
        idle: Duration::from_mins(30),
        absolute: Duration::from_hours(12),
        max_sessions: 1_000_000,
        max_lines: 200,
    };
    println!("cargo bench -p session --bench memory   (caveats: at the top of its source)");
    println!("{:>10}   bytes a session", "sessions");
    let before = anonymous_bytes();
    let sticky = Sticky::new(settings, Clock::system());
    let mut logged_in = 0;
    for sessions in [10_000, 100_000, 1_000_000] {
        for user in logged_in..sessions {
            let user = format!("user-{user:06}");
            runtime.block_on(sticky.login(&user, None)).unwrap();
        }
        logged_in = sessions;
        let bytes = anonymous_bytes() - before;
        println!("{sessions:>10} {:>17}", bytes / sessions);
    }
    assert_eq!(sticky.sessions_owned(), Some(logged_in as u64));
    let began = std::time::Instant::now();
    let mut longest = Duration::ZERO;
    for _ in 0..256 {
        let step = std::time::Instant::now();
        sticky.sweep_step();
        longest = longest.max(step.elapsed());
    }
    println!(
        "a complete sweep of these takes {:?}, its longest step {longest:?}",
        began.elapsed()
    );
}

/// `RssAnon` of this process.
fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}
