//! Time and memory of reading and checking a history: `cargo bench -p evidence --bench checker`.
//!
//! Caveats first. The history is made up: 1,000 users take turns at carts that work, log out now and then, and lose a
//! third of their sessions to two kills; so a part of the work goes into witnesses and losses, as after a real run. The
//! file was just written and is in the page cache: what is measured is decompressing nothing, parsing, sorting,
//! checking, on one thread. Memory is the peak of the resident set of this process while it reads and checks; the history
//! is written line by line before, and the peak reset. The allocator is that of `lab`.
//!
//! The last table is what writing costs: the recorder's thread turns operations into lines.
#![allow(
    clippy::unwrap_used,
    reason = "a bench may stop on the spot, as a test may"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use evidence::checker;
use evidence::history::file::Appender;
use evidence::history::{
    Action, FaultEvent, FaultStep, History, Line, LineId, Meta, Operation, Outcome, Reason, SCHEMA,
};
use evidence::pace::Pace;
use evidence::results::StrategyProperties;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: u32 = 1_000;
/// Of the whole run, whatever its number of operations.
const RUN_US: i64 = 600_000_000;

fn main() {
    println!("cargo bench -p evidence --bench checker   (caveats: at the top of its source)");
    println!("operations     file MB   read s   check s   together s   peak MB   anomalies");
    let folder = tempfile::tempdir().unwrap();
    for operations in [100_000, 1_000_000] {
        let path = folder.path().join(format!("history-{operations}.jsonl"));
        write(&path, operations);
        // Best of three: what disturbs the machine only ever makes it slower.
        let (read, check, peak, anomalies) = (0..3)
            .map(|_| judge(&path))
            .min_by_key(|(read, check, ..)| *read + *check)
            .unwrap();
        println!(
            "{operations:>10} {:>11.1} {:>8.3} {:>9.3} {:>12.3} {peak:>9} {anomalies:>11}",
            std::fs::metadata(&path).unwrap().len() as f64 / 1e6,
            read.as_secs_f64(),
            check.as_secs_f64(),
            (read + check).as_secs_f64(),
        );
    }
    serialise();
}

fn judge(path: &Path) -> (Duration, Duration, u64, u64) {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let began = Instant::now();
    let history = History::read(path).unwrap();
    let read = began.elapsed();
    let began = Instant::now();
    let verdict = checker::check(&history);
    let check = began.elapsed();
    let found = evidence::results::Anomaly::ALL.map(|kind| verdict.anomalies.count(kind));
    (read, check, peak_mb(), found.iter().sum())
}

/// `VmHWM` of this process, in megabytes.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1_024
        / 1_000_000
}

/// What the recorder's thread does, without the file.
fn serialise() {
    const OPERATIONS: u32 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let mut appender = Appender::open(&folder.path().join("history.jsonl")).unwrap();
    let mut users: Vec<User> = (1..=USERS).map(User::new).collect();
    let lines: Vec<Line> = (0..10_000_u32)
        .map(|number| {
            Line::Operation(users[(number % USERS) as usize].act(i64::from(number) * 1_000))
        })
        .collect();
    let began = Instant::now();
    for number in 0..OPERATIONS {
        appender.push(&lines[number as usize % lines.len()]);
        if appender.buffered() >= 1 << 18 {
            appender.flush().unwrap();
        }
    }
    appender.flush().unwrap();
    println!(
        "\nThe recorder's thread: {:.3} µs of CPU an operation, to the file.",
        began.elapsed().as_secs_f64() * 1e6 / f64::from(OPERATIONS)
    );
}

/// A history of this many operations, evenly over the run.
fn write(path: &Path, operations: u32) {
    let mut appender = Appender::open(path).unwrap();
    appender.append(&Line::Meta(Box::new(meta()))).unwrap();
    for (fault, at_us) in (0..).zip([RUN_US / 3, RUN_US / 2]) {
        for (step, at_us) in [
            (FaultStep::Commanded, at_us),
            (FaultStep::Effective, at_us + 5_000),
            (FaultStep::Undone, at_us + 5_000_000),
        ] {
            appender.push(&Line::Fault(FaultEvent {
                fault,
                kind: "kill".into(),
                target: "node-2".into(),
                step,
                at_us,
                evidence: Some("process gone".into()),
            }));
        }
    }
    let mut users: Vec<User> = (1..=USERS).map(User::new).collect();
    let pause_us = RUN_US / i64::from(operations);
    for number in 0..operations {
        let at_us = i64::from(number) * pause_us;
        let user = &mut users[(number % USERS) as usize];
        appender.push(&Line::Operation(user.act(at_us)));
        if appender.buffered() >= 1 << 18 {
            appender.flush().unwrap();
        }
    }
    for user in &mut users {
        appender.push(&Line::Operation(user.read(RUN_US + 2_000_000)));
    }
    appender.flush().unwrap();
}

fn meta() -> Meta {
    Meta {
        schema: SCHEMA.into(),
        scenario: "bench".into(),
        strategy: "sticky".into(),
        properties: StrategyProperties {
            state_lives: "node".into(),
            needs_affinity: true,
            survives_node_death: false,
            revocable_at_once: true,
            store_round_trips: 0,
            logout: "ends it".into(),
            ..StrategyProperties::default()
        },
        repeat: 1,
        seed: 1,
        nodes: vec!["node-1".into(), "node-2".into(), "node-3".into()],
        balancer: "pingora".into(),
        users: USERS,
        pace: Pace::Closed {
            think_ms: (100, 200),
        },
        cores: 2,
        origin_unix_ms: 1_760_000_000_000,
        warm_up_from_us: 0,
        measured_until_us: RUN_US,
        final_read_us: RUN_US + 1_500_000,
        lifetime: None,
    }
}

/// A user on a sticky cluster that forgets node-2's sessions at each kill.
struct User {
    number: u32,
    session: u32,
    logged_in: bool,
    began_us: i64,
    operations: u32,
    cart: Vec<LineId>,
}

impl User {
    fn new(number: u32) -> Self {
        Self {
            number,
            session: 0,
            logged_in: false,
            began_us: 0,
            operations: 0,
            cart: Vec::new(),
        }
    }

    /// The next thing that the user does, by a fixed pattern in which carts fill and empty.
    fn act(&mut self, at_us: i64) -> Operation {
        if !self.logged_in {
            self.session += 1;
            self.logged_in = true;
            self.began_us = at_us;
            self.cart.clear();
            return self.operation(Action::LogIn, at_us);
        }
        let killed = [RUN_US / 3, RUN_US / 2]
            .iter()
            .any(|kill| (self.began_us..at_us).contains(kill));
        if self.number % 3 == 1 && killed {
            self.logged_in = false;
            return Operation {
                outcome: Outcome::Fail,
                reason: Some(Reason::Refused),
                status: Some(401),
                ..self.operation(Action::Browse, at_us)
            };
        }
        match (self.operations + self.number) % 20 {
            0 | 4 | 8 | 12 => {
                let line = LineId {
                    user: self.number,
                    operation: self.operations + 1,
                };
                self.cart.push(line);
                self.change(Action::AddLine, line, at_us)
            }
            1 | 6 | 11 if !self.cart.is_empty() => {
                let line = self.cart.remove(0);
                self.change(Action::RemoveLine, line, at_us)
            }
            2 | 7 | 13 => self.read(at_us),
            // After a read, so that the end of the cart is known.
            14 if self.operations.is_multiple_of(7) => {
                self.logged_in = false;
                self.operation(Action::LogOut, at_us)
            }
            _ => self.operation(Action::Browse, at_us),
        }
    }

    fn change(&mut self, action: Action, line: LineId, at_us: i64) -> Operation {
        let read = Some(self.cart.clone());
        Operation {
            line: Some(line),
            read,
            version: Some(u64::from(self.operations)),
            ..self.operation(action, at_us)
        }
    }

    fn read(&mut self, at_us: i64) -> Operation {
        let read = Some(self.cart.clone());
        Operation {
            read,
            version: Some(u64::from(self.operations)),
            ..self.operation(Action::ReadCart, at_us)
        }
    }

    fn operation(&mut self, action: Action, at_us: i64) -> Operation {
        self.operations += 1;
        Operation {
            process: u64::from(self.number),
            user: self.number,
            session: self.session,
            action,
            id: self.operations,
            intended_us: at_us - 50,
            sent_us: at_us,
            first_byte_us: Some(at_us + 900),
            done_us: at_us + 950,
            outcome: Outcome::Ok,
            reason: None,
            status: Some(200),
            node: Some(format!("node-{}", self.number % 3 + 1).into()),
            retries: 0,
            line: None,
            read: None,
            version: None,
            mistaken_for: None,
            revoked: None,
            alive_until_unix_s: None,
            sent_bytes: 312,
            received_bytes: 421,
        }
    }
}
