//! `lab up` as a user has it: the real programs, a terminal's Ctrl-C, and a look at what is left afterwards.
//!
//! Ports below the ephemeral range are taken in the tests of one machine at the same time, so each test asks for a free
//! one. Every `lab` gets a folder of its own for temporary files, which must be empty in the end.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

/// The line that ends what `lab up` prints when everything runs.
const UP: &str = "Ctrl-C ends everything.";

/// A running `lab up`. Killed on drop, and with it, by its own promise, everything that it started.
struct Lab {
    process: Child,
    lines: Receiver<String>,
    /// Everything printed so far.
    printed: Vec<String>,
    /// Its folder for temporary files.
    temporary: TempDir,
    port: u16,
}

impl Lab {
    /// Starts `lab up` with passwords that are cheap to check.
    fn start(more: &[&str]) -> Self {
        Self::start_at(free_ports(), more)
    }

    fn start_at(port: u16, more: &[&str]) -> Self {
        for program in ["shop", "load-balancer"] {
            let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(program);
            assert!(
                path.exists(),
                "{} is missing: run `cargo build --workspace --bins` first",
                path.display()
            );
        }
        let temporary = TempDir::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args([
                "up",
                "--accounts=100",
                "--password-memory-kib=8",
                "--password-iterations=1",
            ])
            .arg(format!("--port={port}"))
            .args(more)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(process.stdout.take().unwrap());
        Self {
            process,
            lines,
            printed: vec![],
            temporary,
            port,
        }
    }

    /// The same, and waits until it is up.
    fn up(more: &[&str]) -> Self {
        let mut lab = Self::start(more);
        lab.wait_for(UP);
        lab
    }

    /// Waits for a line that contains `text`; that line.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!(
                    "never printed {text:?}, but:\n{}\n{}",
                    self.printed.join("\n"),
                    self.errors()
                );
            };
            self.printed.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "lab does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it wrote to standard error. Only after its end.
    fn errors(&mut self) -> String {
        let _ = self.process.kill();
        let mut text = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// The command lines below a heading that starts like this.
    fn commands(&self, heading: &str) -> Vec<&str> {
        let below = self
            .printed
            .iter()
            .skip_while(|line| !line.starts_with(heading))
            .skip(1);
        below
            .take_while(|line| line.starts_with("  "))
            .map(|line| line.trim())
            .collect()
    }

    /// The id of a process, out of the line that kills it.
    fn pid(&self, name: &str) -> u32 {
        let line = self
            .printed
            .iter()
            .find(|line| line.trim().starts_with(name) && line.contains("kill -9 "));
        line.and_then(|line| line.split("kill -9 ").nth(1))
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The processes that write into the folder for temporary files: all that `lab` started have their log there.
    fn children(&self) -> Vec<u32> {
        let logs_here = |pid: &u32| {
            fs::read_link(format!("/proc/{pid}/fd/1"))
                .is_ok_and(|log| log.starts_with(self.temporary.path()))
        };
        let processes = fs::read_dir("/proc").unwrap();
        processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(logs_here)
            .collect()
    }

    /// No process, no port, no file.
    fn assert_nothing_left(&self) {
        assert_eq!(self.children(), Vec::<u32>::new());
        assert_eq!(self.files(), Vec::<PathBuf>::new());
        for port in self.port..self.port + 3 {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first of three free ports.
fn free_ports() -> u16 {
    loop {
        let ports = [0; 3].map(|_| agent::ports::free(Ipv4Addr::LOCALHOST.into()).unwrap());
        if ports[0] + 2 == ports[2] {
            return ports[0];
        }
    }
}

/// Reads lines as they come, so that waiting for one can be given up.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs lines in one shell, as if pasted; what they print.
fn paste(lines: &[&str]) -> String {
    let output = Command::new("bash")
        .args(["-c", &lines.join("\n")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{lines:?}");
    assert!(output.status.success(), "{lines:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_printed_lines_work_when_pasted() {
    let lab = Lab::up(&["--password", r#"it's a "pass" $word"#]);
    for strategy in ["sticky", "redis"] {
        let printed = paste(&lab.commands(&format!("{strategy}: ")));
        assert!(printed.contains(r#""user":"user-000001""#), "{printed}");
        assert_eq!(printed.matches(r#""id":"line-1""#).count(), 2, "{printed}");
        assert!(printed.contains(" 204 "), "{printed}");
    }

    let printed = paste(&lab.commands("jwt: "));
    assert!(printed.starts_with("x-cart: ey"), "{printed}");
    assert!(printed.contains(r#""id":"line-1""#), "{printed}");
    let after_logout = printed.split(" 204 ").nth(1).unwrap();
    assert!(
        after_logout.contains(r#""user":"user-000001""#),
        "the token lives on: {printed}"
    );

    let admin = paste(&lab.commands("The load balancer's view"));
    assert!(
        admin.contains("node-3") && admin.contains("# TYPE"),
        "{admin}"
    );
}

#[test]
fn the_operators_line_ends_the_login_wherever_it_is() {
    let lab = Lab::up(&[]);
    let revokes = lab.commands("As an operator");
    assert_eq!(revokes.len(), 3);
    for (strategy, revoke) in ["sticky", "redis"].into_iter().zip(&revokes) {
        let commands = lab.commands(&format!("{strategy}: "));
        let [login, _, read, _] = commands[..] else {
            panic!("{commands:?}");
        };
        assert!(paste(&[login, read]).contains(r#""lines":[]"#));
        assert!(paste(&[revoke]).contains(r#"{"revoked":1}"#));
        assert!(paste(&[read]).contains(r#""status":401"#));
    }
    assert!(paste(&[revokes[2]]).contains("a token that was issued is valid until it expires"));
}

#[test]
fn ctrl_c_and_sigterm_leave_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut lab = Lab::up(&[]);
        assert_eq!(lab.children().len(), 5, "three nodes, load balancer, store");
        assert_eq!(lab.files().len(), 1);
        lab.signal(signal);
        assert_eq!(lab.wait().code(), Some(0), "{}", lab.errors());
        lab.assert_nothing_left();
    }
}

#[test]
fn ctrl_c_in_the_middle_of_the_start_leaves_nothing_behind() {
    // At the first file, at the first process, and when several run.
    for processes in [0, 1, 4] {
        let mut lab = Lab::start(&[]);
        eventually("the start has begun", || {
            lab.files().len() == 1 && lab.children().len() >= processes
        });
        lab.signal(Signal::INT);
        assert_eq!(lab.wait().code(), Some(0), "{}", lab.errors());
        lab.assert_nothing_left();
    }
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let mut lab = Lab::up(&[]);
    // Resumed by the first signal, they would still take their time to drain.
    for process in ["node-1", "node-2", "node-3", "load-balancer"] {
        let pid = lab.pid(process).cast_signed();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    }
    lab.signal(Signal::INT);
    lab.wait_for("Ctrl-C again");
    lab.signal(Signal::INT);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.errors());
    lab.assert_nothing_left();
}

#[test]
fn kill_9_of_lab_leaves_no_process() {
    let mut lab = Lab::up(&[]);
    assert_eq!(lab.children().len(), 5);
    lab.signal(Signal::KILL);
    lab.wait();
    eventually("all processes follow", || lab.children().is_empty());
}

#[test]
fn a_killed_process_is_named_and_comes_back() {
    let mut lab = Lab::up(&[]);
    for process in ["node-2", "load-balancer", "redis"] {
        let kill = lab.pid(process).to_string();
        paste(&[&format!("kill -9 {kill}")]);
        let said = lab.wait_for(&format!("{process} ended"));
        assert!(said.contains("signal: 9 (SIGKILL)"), "{said}");
        let back = lab.wait_for(&format!("{process} is back"));
        assert!(
            back.contains("kill -9 ") && !back.ends_with(&kill),
            "{back}"
        );
    }
    assert_eq!(lab.children().len(), 5);
}

#[test]
fn a_taken_port_is_named_with_its_owner_and_the_flag() {
    let port = free_ports();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).unwrap();
    let mut lab = Lab::start_at(port, &[]);
    assert_eq!(lab.wait().code(), Some(4));
    let errors = lab.errors();
    let owner = format!(
        "127.0.0.1:{} is taken by pid {} (",
        port + 1,
        std::process::id()
    );
    assert!(
        errors.starts_with("lab: port ") && errors.contains(&owner),
        "{errors}"
    );
    assert!(
        errors.contains("for redis") && errors.contains("--port "),
        "{errors}"
    );
    assert_eq!(lab.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_node_that_does_not_start_is_told_with_its_own_words_and_leaves_nothing_behind() {
    let mut lab = Lab::start(&["--", "--no-such-flag"]);
    assert_eq!(lab.wait().code(), Some(4));
    let errors = lab.errors();
    assert!(
        errors.contains("exit status: 2") && errors.contains("--no-such-flag"),
        "{errors}"
    );
    lab.assert_nothing_left();
}

#[test]
fn wrong_usage_ends_with_2() {
    for (arguments, told) in [
        (
            ["up", "--strategies=sticky,memcached"],
            "there is no strategy \"memcached\"",
        ),
        (["up", "--strategies=jwt,jwt"], "given twice"),
        (["up", "--port=65534"], "no room"),
        (["up", "--nodes=0"], "0 is not in 1..=64"),
        (["up", "--colour=red"], "--colour"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(told), "{errors}");
    }
}

#[test]
fn without_redis_the_package_is_named() {
    let empty = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["up", &format!("--port={}", free_ports())])
        .env("PATH", empty.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("apt-get install redis-server"));
}
