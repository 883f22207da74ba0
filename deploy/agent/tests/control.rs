//! The binary `agent` as supervisor of small programs, through its control port and through signals.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

use std::{
    fs::{self, Permissions},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::ExitStatusExt,
    },
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use agent::{
    AgentError, Remote,
    link::{Direction, Disturbance, Met},
    ports,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789-test-token";

/// An agent, and what is needed to talk to it. Dropping it kills it, and the kernel its program.
struct Supervisor {
    child: Child,
    address: SocketAddr,
    remote: Remote,
    dir: TempDir,
}

impl Supervisor {
    /// Runs `sh -c script` under an agent with more flags, and waits until the control port answers.
    async fn run(flags: &[&str], script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let address = free_address();
        let child = command(&dir, &address.to_string(), flags, &["sh", "-c", script])
            .stdout(fs::File::create(dir.path().join("output")).unwrap())
            .spawn()
            .unwrap();
        let remote = Remote::new("node-1", format!("http://{address}"), TOKEN, PATIENCE).unwrap();
        let supervisor = Self {
            child,
            address,
            remote,
            dir,
        };
        eventually("the agent answers", async || {
            supervisor.remote.status().await.is_ok()
        })
        .await;
        supervisor
    }

    async fn until_running(&self) -> u32 {
        eventually("the program runs", async || {
            self.remote.is_running().await.unwrap()
        })
        .await;
        self.remote.pid().await.unwrap().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    async fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent never ended");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the program wrote to its standard output, which is the agent's.
    fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap()
    }

    async fn until_output(&self, holds: impl Fn(&str) -> bool) -> String {
        eventually("the program wrote that", async || holds(&self.output())).await;
        self.output()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &TempDir, control: &str, flags: &[&str], program: &[&str]) -> Command {
    let token = dir.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command
        .args([
            "run",
            "--name=program",
            "--control",
            control,
            "--token-file",
        ])
        .arg(token)
        .args(flags)
        .arg("--")
        .args(program)
        .stdin(Stdio::null());
    command
}

/// On a loopback address of its own: all of 127.0.0.0/8 is.
fn free_address() -> SocketAddr {
    let random = RandomState::new().hash_one(0).to_ne_bytes();
    let ip = IpAddr::from(Ipv4Addr::new(127, random[0], random[1], random[2] | 2));
    SocketAddr::new(ip, ports::free(ip).unwrap())
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent"))
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test]
async fn faults_through_the_control_port_are_those_of_an_agent_beside_the_process() {
    let supervisor = Supervisor::run(&[], "exec sleep 1000").await;
    let remote = &supervisor.remote;
    let first = supervisor.until_running().await;
    let status = remote.status().await.unwrap();
    assert_eq!((status.name.as_str(), status.ready), ("program", true));
    assert!(status.usage.rss_bytes > 0);

    remote.pause().await.unwrap();
    assert_eq!(remote.thread_states().await.unwrap(), ['T']);
    assert!(!remote.status().await.unwrap().ready);
    remote.resume().await.unwrap();
    assert!(!remote.thread_states().await.unwrap().contains(&'T'));

    remote.kill().await.unwrap();
    assert!(!exists(first));
    assert_eq!(remote.ended().await.unwrap().signal(), Some(9));
    assert_eq!(remote.pid().await.unwrap(), None);
    for error in [
        remote.kill().await.unwrap_err(),
        remote.pause().await.unwrap_err(),
        remote.thread_states().await.unwrap_err(),
    ] {
        assert!(matches!(error, AgentError::NotRunning { .. }), "{error}");
    }

    remote.start().await.unwrap();
    let second = remote.pid().await.unwrap().unwrap();
    assert_ne!(second, first);
    let error = remote.start().await.unwrap_err();
    assert!(
        matches!(error, AgentError::Remote { status: 409, .. }),
        "{error}"
    );
    let status = remote.stop(PATIENCE).await.unwrap();
    assert_eq!(status.signal(), Some(15));
    remote.start().await.unwrap();
    remote.restart(PATIENCE).await.unwrap();
    assert!(remote.is_running().await.unwrap());
}

#[tokio::test]
async fn more_arguments_replace_those_that_were_given_before() {
    // What follows the script is $0, and what `start` gives is $1 and on.
    let supervisor = Supervisor::run(&[], "echo \"<$0 $*>\"; exec sleep 1000").await;
    let remote = &supervisor.remote;
    supervisor.until_output(|text| text.ends_with(">\n")).await;
    for (more, told) in [
        (Some(vec!["zero", "one", "two"]), "<zero one two>\n"),
        (None, "<zero one two>\n<zero one two>\n"),
        (Some(vec!["zero"]), "<zero >\n"),
    ] {
        remote.kill().await.unwrap();
        match more {
            Some(more) => {
                let more = more.iter().map(ToString::to_string).collect();
                remote.start_with(more).await.unwrap();
            }
            None => remote.start().await.unwrap(),
        }
        supervisor.until_output(|text| text.ends_with(told)).await;
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_told_and_nothing_done() {
    let supervisor = Supervisor::run(&[], "exec sleep 1000").await;
    supervisor.until_running().await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", supervisor.address);
    let wrong = format!("Bearer {TOKEN}x");
    for authorization in [None, Some("Bearer "), Some(wrong.as_str()), Some(TOKEN)] {
        for (method, path) in [
            ("GET", "/process"),
            ("POST", "/process/kill"),
            ("GET", "/no"),
        ] {
            let mut request = http.request(method.parse().unwrap(), url(path));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{method} {path} {authorization:?}");
            let kind = &answer.headers()["content-type"];
            assert_eq!(kind, "application/problem+json");
            assert!(!answer.text().await.unwrap().contains(TOKEN));
        }
    }
    let healthy = http.get(url("/healthz")).send().await.unwrap();
    assert_eq!(healthy.status(), 200);

    let url = url("");
    let stranger = Remote::new("node-1", url, "some-other-long-token", PATIENCE).unwrap();
    let error = stranger.kill().await.unwrap_err().to_string();
    assert!(error.contains("node-1") && error.contains("401"), "{error}");
    assert!(supervisor.remote.is_running().await.unwrap());
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_told_so() {
    let supervisor = Supervisor::run(&[], "exec sleep 1000").await;
    let http = reqwest::Client::new();
    let big = "x".repeat(100_000);
    for (method, path, body, status) in [
        ("POST", "/process/stop", "{}", 400),
        ("POST", "/process/stop", "{\"grace_ms\": \"long\"}", 400),
        ("POST", "/process/start", "{\"args\": []}", 400),
        ("POST", "/process/start", big.as_str(), 400),
        ("PUT", "/links/none", "{\"kind\": \"reset\"}", 404),
        ("GET", "/process/kill", "", 405),
        ("GET", "/else", "", 404),
    ] {
        let answer = http
            .request(
                method.parse().unwrap(),
                format!("http://{}{path}", supervisor.address),
            )
            .bearer_auth(TOKEN)
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
    }
}

#[tokio::test]
async fn an_agent_that_cannot_be_reached_is_an_error_and_no_stopped_process() {
    let url = format!("http://{}", free_address());
    let remote = Remote::new("node-7", url, TOKEN, PATIENCE).unwrap();
    for error in [
        remote.is_running().await.unwrap_err(),
        remote.ended().await.unwrap_err(),
        remote.kill().await.unwrap_err(),
    ] {
        assert!(matches!(error, AgentError::Unreachable { .. }));
        let text = error.to_string();
        assert!(
            text.contains("node-7") && text.contains("refused"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_end_of_the_program_is_the_end_of_the_agent_with_the_same_status() {
    let mut supervisor = Supervisor::run(&[], "sleep 0.3; exit 7").await;
    let ended = supervisor.remote.ended().await;
    assert_eq!(supervisor.exit().await.code(), Some(7));
    // The agent may be gone before it could answer.
    if let Ok(status) = ended {
        assert_eq!(status.code(), Some(7));
    }

    let mut supervisor = Supervisor::run(&[], "exec sleep 1000").await;
    let pid = supervisor.until_running().await;
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(supervisor.exit().await.code(), Some(137));
}

#[tokio::test]
async fn a_signal_to_the_agent_ends_the_program_first() {
    let script = "trap 'echo asked; exit 3' TERM; echo set; while :; do sleep 0.01; done";
    for signal in [Signal::TERM, Signal::INT] {
        let mut supervisor = Supervisor::run(&[], script).await;
        let pid = supervisor.until_running().await;
        supervisor.until_output(|text| text == "set\n").await;
        supervisor.signal(signal);
        assert_eq!(supervisor.exit().await.code(), Some(3));
        assert_eq!(supervisor.output(), "set\nasked\n");
        assert!(!exists(pid));
    }
}

#[tokio::test]
async fn what_ignores_the_signal_is_killed_after_the_grace() {
    let script = "trap '' TERM; echo set; while :; do sleep 0.01; done";
    let mut supervisor = Supervisor::run(&["--grace-s=0"], script).await;
    supervisor.until_output(|text| text == "set\n").await;
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.exit().await.code(), Some(137));
}

#[tokio::test]
async fn a_signal_ends_an_agent_whose_program_was_killed() {
    let mut supervisor = Supervisor::run(&[], "exec sleep 1000").await;
    supervisor.until_running().await;
    supervisor.remote.kill().await.unwrap();
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.exit().await.code(), Some(0));
}

#[tokio::test]
async fn orphans_are_reaped() {
    // Each inner shell ends at once and leaves its `sleep` to the agent.
    let script = "for i in 1 2 3; do sh -c 'sleep 0.2 & echo $!'; done; exec sleep 1000";
    let supervisor = Supervisor::run(&[], script).await;
    let text = supervisor
        .until_output(|text| text.lines().count() == 3)
        .await;
    let orphans: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    eventually("every orphan is reaped", async || {
        !orphans.iter().any(|pid| exists(*pid))
    })
    .await;
    assert!(supervisor.remote.is_running().await.unwrap());
}

/// A server that repeats the first piece it gets, and closes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((free_address().ip(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 64];
                if let Ok(length @ 1..) = stream.read(&mut piece).await {
                    let _ = stream.write_all(&piece[..length]).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_link_is_disturbed_and_undisturbed_again() {
    let (listen, target) = (free_address(), echo().await);
    let link = format!("--link=store={listen}={target}");
    let supervisor = Supervisor::run(&[&link], "exec sleep 1000").await;
    let remote = &supervisor.remote;
    let probe = async |patience| remote.probe("store", "hello", patience).await.unwrap();
    let short = Duration::from_millis(100);
    assert!(matches!(probe(PATIENCE).await, Met::Answer(5, _)));

    let direction = Direction::There;
    let blackhole = Disturbance::Blackhole { direction };
    remote.disturb("store", blackhole).await.unwrap();
    assert_eq!(probe(short).await, Met::Silence(short));
    let links = remote.status().await.unwrap().links;
    assert_eq!(links.open[0].disturbance, Some(blackhole));
    assert_eq!(links.open[0].address, listen.to_string());
    assert!(links.cpu_us.is_some());

    let (by, direction) = (Duration::from_millis(50), Direction::Both);
    let delay = Disturbance::Delay { by, direction };
    remote.disturb("store", delay).await.unwrap();
    let met = probe(PATIENCE).await;
    assert!(
        matches!(met, Met::Answer(5, took) if took >= 2 * by),
        "{met:?}"
    );

    remote.disturb("store", Disturbance::Reset).await.unwrap();
    assert_eq!(probe(PATIENCE).await, Met::Reset);
    remote.undisturb("store").await.unwrap();
    assert!(matches!(probe(PATIENCE).await, Met::Answer(5, _)));
    let error = remote.undisturb("else").await.unwrap_err().to_string();
    assert!(
        error.contains("store"),
        "names those that there are: {error}"
    );
}

#[tokio::test]
async fn a_program_that_does_not_get_ready_is_a_start_that_failed() {
    let dir = TempDir::new().unwrap();
    let ready = format!("--ready=http://{}/readyz", free_address());
    let flags = [ready.as_str(), "--ready-within-s=1"];
    let control = free_address().to_string();
    let run = |script| command(&dir, &control, &flags, &["sh", "-c", script]).output();
    let late = run("exec sleep 1000").unwrap();
    assert_eq!(late.status.code(), Some(4));
    let text = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(text.contains("program was not ready within 1s"), "{text}");

    assert_eq!(run("exit 9").unwrap().status.code(), Some(9), "its own");
    let nothing = run("exit 0").unwrap();
    assert_eq!(nothing.status.code(), Some(4), "it was never ready");
}

#[tokio::test]
async fn what_cannot_be_run_is_told_and_no_token_with_it() {
    let dir = TempDir::new().unwrap();
    let refused = |control: &str, flags: &[&str], program: &[&str]| {
        let output = command(&dir, control, flags, program).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains(TOKEN), "{text}");
        (output.status.code().unwrap(), text)
    };
    let control = free_address().to_string();
    let (code, text) = refused(&control, &[], &["no-such-program"]);
    assert!(code == 4 && text.contains("no-such-program"), "{text}");
    let (code, text) = refused("no-such-host.invalid:7070", &[], &["true"]);
    assert!(
        code == 4 && text.contains("--control no-such-host"),
        "{text}"
    );
    // 198.51.100.0/24 is for documentation and belongs to nobody.
    let (code, text) = refused("198.51.100.1:7070", &[], &["true"]);
    assert!(code == 4 && text.contains("198.51.100.1"), "{text}");
    let (code, _) = refused(&control, &["--link=nonsense"], &["true"]);
    assert_eq!(code, 2);
    let short = dir.path().join("short");
    fs::write(&short, "short-secret").unwrap();
    let path = short.display().to_string();
    let output = agent(&[
        "run",
        "--control",
        &control,
        "--token-file",
        &path,
        "--",
        "true",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("16") && !text.contains("short-secret"),
        "{text}"
    );
}

/// A server that answers everything with `answer`, and where it is.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((free_address().ip(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 512]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_probe_tells_by_its_exit_status_who_lives() {
    for (scheme, answer, code) in [
        ("http", "HTTP/1.1 204 No Content\r\n\r\n", 0),
        ("http", "HTTP/1.1 503 Service Unavailable\r\n\r\n", 1),
        ("http", "+PONG\r\n", 1),
        ("redis", "+PONG\r\n", 0),
        ("redis", "-NOAUTH Authentication required.\r\n", 0),
        (
            "redis",
            "-LOADING Redis is loading the dataset in memory\r\n",
            1,
        ),
    ] {
        let url = format!("{scheme}://{}", server(answer).await);
        let run = tokio::task::spawn_blocking(move || agent(&["probe", &url]));
        assert_eq!(
            run.await.unwrap().status.code(),
            Some(code),
            "{scheme} {answer}"
        );
    }
    let nobody = format!("redis://{}", free_address());
    assert_eq!(agent(&["probe", &nobody]).status.code(), Some(1));
    assert_eq!(agent(&["probe", "ftp://localhost"]).status.code(), Some(2));
}

/// Only root can become somebody else; for others there is nothing to try.
#[tokio::test]
async fn it_becomes_the_owner_of_a_folder_and_so_does_its_program() {
    const SOMEBODY: u32 = 12_345;
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let reports = dir.path().join("reports");
    fs::create_dir(&reports).unwrap();
    if chown(&reports, Some(SOMEBODY), None).is_err() {
        println!("SKIPPED: not root");
        return;
    }
    // The binary's own folder may be closed to others.
    let program = dir.path().join("agent");
    fs::copy(env!("CARGO_BIN_EXE_agent"), &program).unwrap();
    let reports = reports.display().to_string();
    let token = dir.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(&program)
        .args(["run", "--as-owner-of", &reports])
        .args(["--control", &free_address().to_string(), "--token-file"])
        .arg(&token)
        .args(["--", "sh", "-c", "id -u; touch \"$0\"/new", &reports])
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "12345");
    let new = fs::metadata(dir.path().join("reports/new")).unwrap();
    assert_eq!(new.uid(), SOMEBODY);
}
