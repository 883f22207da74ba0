//! The store's part: what a request and a session cost in Redis, and what a session takes in a node's memory.

use std::collections::BTreeMap;

use agent::resp;
use futures_util::future::try_join_all;

use crate::error::BenchError;
use crate::http::{Client, Connection};
use crate::node::{self, CART, Kind, ME};
use crate::slice::{self, Bench, Load, Target};
use crate::station::Station;
use crate::tell;

/// Sessions that are opened to see what one takes in a node's memory: as many as the aim speaks of.
pub(crate) const NODE_SESSIONS: usize = 1_000_000;
/// Sessions, or keys, that are opened to see what one takes in the store.
pub(crate) const STORE_SESSIONS: usize = 100_000;
/// Logins at the same time.
const LOGINS: usize = 16;

/// What plain keys of 37 bytes take, as a scale: a label and the command that sets one.
const SCALE: [(&str, &str); 4] = [
    (
        "string of 64 bytes",
        "redis.call('SET', key, string.rep('x', 64))",
    ),
    (
        "string of 256 bytes",
        "redis.call('SET', key, string.rep('x', 256))",
    ),
    (
        "string of 1,024 bytes",
        "redis.call('SET', key, string.rep('x', 1024))",
    ),
    (
        "hash of five fields",
        "redis.call('HSET', key, 'a', 'user-000001', 'b', '1790000000', 'c', '1790043200', 'd', '1', 'e', '2')",
    ),
];

/// What a request costs in the store.
pub(crate) struct Traffic {
    pub(crate) station: &'static str,
    pub(crate) work: &'static str,
    /// Of the store, a request.
    pub(crate) cpu_us: f64,
    /// Commands a request, those inside scripts included, the most frequent first.
    pub(crate) commands: Vec<(String, f64)>,
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
}

/// What a session takes: where, and how many bytes, or why there is no figure.
pub(crate) struct Memory {
    pub(crate) what: &'static str,
    pub(crate) bytes: Result<f64, String>,
}

/// What the store's part found.
pub(crate) struct Report {
    pub(crate) traffic: Vec<Traffic>,
    pub(crate) in_node: Vec<Memory>,
    pub(crate) in_store: Vec<Memory>,
    pub(crate) excluded: Vec<String>,
}

/// Runs the store's part.
pub(crate) async fn run(bench: &Bench) -> Result<Report, BenchError> {
    let redis = node::redis(bench).await?;
    let mut report = Report {
        traffic: Vec::new(),
        in_node: Vec::new(),
        in_store: Vec::new(),
        excluded: Vec::new(),
    };
    for kind in node::ALL.iter().filter(|kind| kind.redis) {
        traffic(bench, kind, &redis, &mut report).await?;
    }
    for kind in [node::STICKY, node::TOWER_MEMORY] {
        tell(format_args!("{NODE_SESSIONS} sessions  {}", kind.name));
        let station = node::start(bench, &kind, redis.address, NODE_SESSIONS).await?;
        let before = station.memory_bytes();
        let logged_in = log_in(&station, NODE_SESSIONS).await;
        let growth = station.memory_bytes().saturating_sub(before);
        report.in_node.push(Memory {
            what: kind.name,
            bytes: logged_in.map(|()| growth as f64 / NODE_SESSIONS as f64),
        });
    }
    for kind in node::ALL.iter().filter(|kind| kind.redis) {
        tell(format_args!("{STORE_SESSIONS} sessions  {}", kind.name));
        ask(&redis, &["FLUSHALL"]).await?;
        let station = node::start(bench, kind, redis.address, STORE_SESSIONS).await?;
        let before = Info::ask(&redis).await?;
        let logged_in = log_in(&station, STORE_SESSIONS).await;
        let growth = Info::ask(&redis).await?.since(&before, "used_memory");
        report.in_store.push(Memory {
            what: kind.name,
            bytes: logged_in.map(|()| growth / STORE_SESSIONS as f64),
        });
    }
    for (what, command) in SCALE {
        let bytes = scale(&redis, command).await?;
        report.in_store.push(Memory {
            what,
            bytes: Ok(bytes),
        });
    }
    Ok(report)
}

/// What requests of each kind cost in Redis. These are counts, which one slice shows as well as five.
async fn traffic(
    bench: &Bench,
    kind: &Kind,
    redis: &Station,
    report: &mut Report,
) -> Result<(), BenchError> {
    let station = node::start(bench, kind, redis.address, node::SESSIONS).await?;
    let rings = node::Rings::prepare(bench, &station).await?;
    for work in [ME, CART] {
        tell(format_args!("store  {}, {work}", kind.name));
        let target = Target {
            station: &station,
            work,
            ring: rings.of(work),
            load: Load::Counting,
        };
        let cpu = redis.cpu_times();
        let before = Info::ask(redis).await?;
        let slice = slice::one(bench, &target, bench.slice).await?;
        let after = Info::ask(redis).await?;
        let cpu_us = cpu.until(&redis.cpu_times());
        match slice {
            Ok(slice) => {
                let requests = slice.requests as f64;
                report.traffic.push(Traffic {
                    station: kind.name,
                    work,
                    cpu_us: cpu_us / requests,
                    commands: after.commands_since(&before, requests),
                    bytes_in: after.since(&before, "total_net_input_bytes") / requests,
                    bytes_out: after.since(&before, "total_net_output_bytes") / requests,
                });
            }
            Err(reason) => report
                .excluded
                .push(format!("store, {}, {work}: {reason}", kind.name)),
        }
    }
    Ok(())
}

/// Logs `users` in, each once, and forgets their credentials.
async fn log_in(station: &Station, users: usize) -> Result<(), String> {
    let logins = (0..LOGINS).map(async |number| {
        let mut connection = Connection::open(station.address).await?;
        for user in (1..=users).skip(number).step_by(LOGINS) {
            let body = node::login_body(user);
            let request = Client::default().request("POST", "/login", Some(&body));
            let answer = connection.exchange(&request).await?;
            if answer.status != 200 {
                let text = String::from_utf8_lossy(&answer.body);
                let what = format!("login {user} was answered with {} {text}", answer.status);
                return Err(std::io::Error::other(what));
            }
        }
        Ok(())
    });
    let outcome = try_join_all(logins).await;
    outcome.map(|_| ()).map_err(|error| error.to_string())
}

/// Bytes that a key takes that `command` sets.
async fn scale(redis: &Station, command: &str) -> Result<f64, BenchError> {
    ask(redis, &["FLUSHALL"]).await?;
    let before = Info::ask(redis).await?;
    // In portions, because a question has a second.
    for start in (0..STORE_SESSIONS).step_by(10_000) {
        let script = format!(
            "for i = {start}, {} do local key = string.format('%037d', i) {command} end return 1",
            start + 9_999
        );
        ask(redis, &["EVAL", &script, "0"]).await?;
    }
    let keys = ask(redis, &["DBSIZE"]).await?;
    if keys != STORE_SESSIONS.to_string() {
        let what = format!("{keys} keys were set");
        return Err(BenchError::station("redis", &what));
    }
    let growth = Info::ask(redis).await?.since(&before, "used_memory");
    Ok(growth / STORE_SESSIONS as f64)
}

async fn ask(redis: &Station, command: &[&str]) -> Result<String, BenchError> {
    let answer = resp::ask(redis.address, None, command).await;
    answer.map_err(BenchError::of("redis"))
}

/// What Redis says about itself: `name:value` lines.
struct Info(BTreeMap<String, String>);

impl Info {
    async fn ask(redis: &Station) -> Result<Self, BenchError> {
        Ok(Self::parse(&ask(redis, &["INFO", "all"]).await?))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            lines
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    fn number(&self, name: &str) -> f64 {
        let value = self.0.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or(0.0)
    }

    fn since(&self, before: &Self, name: &str) -> f64 {
        self.number(name) - before.number(name)
    }

    /// `cmdstat_get:calls=5,usec=…`
    fn calls(&self, name: &str) -> f64 {
        let calls = self.0.get(name).and_then(|value| {
            let (calls, _) = value.strip_prefix("calls=")?.split_once(',')?;
            calls.parse().ok()
        });
        calls.unwrap_or(0.0)
    }

    /// Calls a request by command, the most frequent first; what comes less often than once in a hundred is left out.
    fn commands_since(&self, before: &Self, requests: f64) -> Vec<(String, f64)> {
        let commands = self.0.keys().filter_map(|name| {
            let command = name.strip_prefix("cmdstat_")?;
            let calls = (self.calls(name) - before.calls(name)) / requests;
            (calls >= 0.01).then(|| (command.to_owned(), calls))
        });
        let mut commands: Vec<_> = commands.collect();
        commands.sort_by(|a, b| b.1.total_cmp(&a.1));
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_request() {
        let before =
            Info::parse("# Stats\r\ntotal_net_input_bytes:100\r\ncmdstat_get:calls=5,usec=9\r\n");
        let after = Info::parse(
            "total_net_input_bytes:1100\r\ncmdstat_get:calls=15,usec=9,x=1\r\ncmdstat_evalsha:calls=20,usec=1\r\n\
             cmdstat_info:calls=1,usec=1\r\ncmdstat_config|get:calls=0,usec=0\r\n",
        );
        let commands = after.commands_since(&before, 10.0);
        // `info`, once in ten requests, is there; what was never called is not.
        let names: Vec<&str> = commands.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["evalsha", "get", "info"]);
        assert!((commands[0].1 - 2.0).abs() < 1e-9 && (commands[1].1 - 1.0).abs() < 1e-9);
        assert!((after.since(&before, "total_net_input_bytes") - 1000.0).abs() < 1e-9);
    }
}
