//! Saturating load: wrk with keep-alive connections and requests that were made beforehand, so that the generator does as
//! little as it can.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::{Agent, ProcessSpec, Ready};

use crate::error::BenchError;
use crate::machine::Machine;
use crate::station::{self, Station};

/// Keep-alive connections, for every station the same.
pub(crate) const CONNECTIONS: usize = 64;

/// Beyond the time that wrk was told to run.
const LATE: Duration = Duration::from_secs(20);

/// Requests that are sent one after the other, round and round.
pub(crate) struct Ring {
    pub(crate) requests: Vec<Vec<u8>>,
    file: PathBuf,
}

impl Ring {
    /// Writes them to a file that wrk can read.
    pub(crate) fn write(path: PathBuf, requests: Vec<Vec<u8>>) -> Result<Self, BenchError> {
        let lua: Vec<String> = requests.iter().map(|request| lua_string(request)).collect();
        let text = format!("return {{\n{}\n}}\n", lua.join(",\n"));
        let file = station::write(path, &text)?;
        Ok(Self { requests, file })
    }
}

fn lua_string(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        if (byte.is_ascii_graphic() || byte == b' ') && !b"\"\\".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\{byte:03}");
        }
    }
    text.push('"');
    text
}

/// What wrk saw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) duration: Duration,
    /// Broken connections and missing answers.
    pub(crate) errors: u64,
    /// Answers with a status from 400 on.
    pub(crate) refused: u64,
    /// CPU time of wrk itself.
    pub(crate) cpu: Duration,
}

/// Loads `station` for `time`.
pub(crate) async fn run(
    machine: &Machine,
    folder: &Path,
    station: &Station,
    ring: &Ring,
    time: Duration,
) -> Result<Seen, BenchError> {
    let script = station::write(folder.join("wrk.lua"), include_str!("wrk.lua"))?;
    let log = folder.join("wrk.log");
    let _ = fs::remove_file(&log);
    let threads = machine.cores.generator_threads().to_string();
    // An agent, because wrk must end when we do.
    let wrk = Agent::new(ProcessSpec {
        name: "wrk".into(),
        program: machine.program("wrk"),
        args: vec![
            format!("-t{threads}"),
            format!("-c{CONNECTIONS}"),
            format!("-d{}s", time.as_secs().max(1)),
            "-s".into(),
            script.display().to_string(),
            format!("http://{}", station.address),
            "--".into(),
            ring.file.display().to_string(),
            threads,
        ],
        env: Vec::new(),
        log: Some(log.clone()),
        ready: Ready::Started,
        ready_within: LATE,
        quota: None,
    });
    wrk.start().await?;
    let ended = tokio::time::timeout(time + LATE, wrk.ended()).await;
    let text = fs::read_to_string(&log).unwrap_or_default();
    match ended {
        Ok(Ok(status)) if status.success() => {}
        _ => return Err(BenchError::Wrk(text)),
    }
    let cpu = Duration::from_micros(wrk.usage()?.cpu_us);
    parse(&text, cpu).ok_or(BenchError::Wrk(text))
}

fn parse(text: &str, cpu: Duration) -> Option<Seen> {
    let line = text.lines().find_map(|line| line.strip_prefix("bench "))?;
    let number = |name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name))?;
        word.strip_prefix('=')?.parse::<u64>().ok()
    };
    Some(Seen {
        requests: number("requests")?,
        duration: Duration::from_micros(number("duration_us")?),
        errors: number("errors")?,
        refused: number("refused")?,
        cpu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way_through_lua() {
        assert_eq!(
            lua_string(b"GET / HTTP/1.1\r\n{\"a\":\"\\\"}"),
            r#""GET / HTTP/1.1\013\010{\034a\034:\034\092\034}""#
        );
    }

    #[test]
    fn the_line_of_our_script_is_read_and_nothing_else() {
        let text = "Running 2s test @ http://127.0.0.1:1\nbench requests=10 duration_us=2000000 errors=1 refused=2\n";
        let seen = Seen {
            requests: 10,
            duration: Duration::from_secs(2),
            errors: 1,
            refused: 2,
            cpu: Duration::ZERO,
        };
        assert_eq!(parse(text, Duration::ZERO), Some(seen));
        assert_eq!(parse("unable to connect", Duration::ZERO), None);
    }
}
