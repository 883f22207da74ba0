//! How `lab run` ends when something comes in between: what was finished is reported, what was there before stays, and what this
//! machine could not do counts against no strategy.

#![allow(clippy::unwrap_used)] // A panic is how a test reports, in its helper functions too.

mod place;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use evidence::history::History;
use evidence::results::Verdict;
use place::{Place, results, text};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

const PATIENCE: Duration = Duration::from_mins(2);

const SCENARIO: &str = r#"
question = "How does a run end?"
[cluster]
nodes = 2
strategies = ["jwt", "redis"]
accounts = 400
password = { memory_kib = 8, iterations = 1 }
[load]
users = 8
think_ms = [100, 900]
journey = { browse = 4, add_line = 4, read_cart = 2, remove_line = 1, log_out = 1 }
warm_up_s = 1
measure_s = 3
"#;

/// What an earlier run left in a folder, and a file of somebody else.
const OLD: [&str; 5] = [
    "history-jwt-1.jsonl",
    "history-redis-1.jsonl.zst",
    "results.json",
    "report.html",
    "notes.md",
];

fn with_old_evidence() -> Place {
    let place = Place::with(SCENARIO);
    let out = place.folder.path().join("out");
    fs::create_dir(&out).unwrap();
    for name in OLD {
        fs::write(out.join(name), "old").unwrap();
    }
    place
}

fn is_old(file: &Path) -> bool {
    fs::read(file).is_ok_and(|text| text == b"old")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A process with these words in its command line.
fn find_process(words: &[&str]) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let entry = entry.ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let number = entry.file_name().to_str()?.parse().ok()?;
        let fits = words.iter().all(|word| command.contains(word));
        fits.then(|| Pid::from_raw(number)).flatten()
    })
}

/// Without Redis in PATH the second run's cluster cannot start.
#[test]
fn a_cluster_that_does_not_start_keeps_the_report_of_the_finished_runs() {
    let place = Place::with(SCENARIO);
    let mut lab = place.command(&["--out", "out"]);
    let output = lab.env("PATH", "/nowhere").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let out = place.folder.path().join("out");
    assert!(out.join("results.json").exists(), "{said}");
    let results = results(&out);
    assert_eq!((results.runs.len(), results.runs_planned), (1, 2));
    let why = results.stopped_because.unwrap();
    assert!(
        why.starts_with("run 2 (redis, repeat 1) failed: `redis-server` was not found"),
        "{why}"
    );
    let caveat = "1 of 2 runs finished: run 2 (redis, repeat 1) failed";
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains(caveat), "{page}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(caveat),
        "{said}"
    );
    let junit = fs::read_to_string(out.join("junit.xml")).unwrap();
    assert!(junit.contains("1 of 2 runs finished"), "{junit}");
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

#[test]
fn old_evidence_stays_when_no_run_is_finished() {
    let place = with_old_evidence();
    let mut lab = place.command(&["--out", "out", "--strategy", "redis"]);
    let output = lab.env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let out = place.folder.path().join("out");
    let mut expected = OLD.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(names(&out), expected);
    assert!(OLD.iter().all(|name| is_old(&out.join(name))));
}

#[test]
fn old_evidence_stays_when_the_lab_is_killed_and_goes_when_there_is_new() {
    let place = with_old_evidence();
    let out = place.folder.path().join("out");
    let mut lab = place
        .command(&["--out", "out", "--strategy", "jwt"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let work = eventually("no history", || {
        let mut names = names(&out).into_iter();
        let work = out.join(names.find(|name| name.starts_with("unfinished-"))?);
        let lines = fs::read_to_string(work.join("history-jwt-1.jsonl")).ok()?;
        (lines.lines().count() > 3).then_some(work)
    });
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert!(OLD.iter().all(|name| is_old(&out.join(name))));
    assert!(History::read(&work.join("history-jwt-1.jsonl")).is_ok());

    let output = place.run(&["--out", "out", "--strategy", "jwt"]);
    assert!(
        [Some(0), Some(1), Some(3)].contains(&output.status.code()),
        "{}",
        text(&output)
    );
    assert_eq!(
        names(&out),
        [
            "history-jwt-1.jsonl",
            "junit.xml",
            "notes.md",
            "report.html",
            "report.md",
            "results.json"
        ]
    );
    assert!(is_old(&out.join("notes.md")));
    assert_eq!(results(&out).runs.len(), 1);
}

/// A shell's limit of the size of a file stands for a disk that gets full: the write fails, and no signal comes.
#[test]
fn a_history_that_cannot_be_written_ends_the_run_at_once() {
    let place = Place::with(&SCENARIO.replace("measure_s = 3", "measure_s = 60"));
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_lab"))
        .args(["run", "short.toml", "--out", "out", "--strategy", "jwt"])
        .current_dir(place.folder.path())
        .env("TMPDIR", place.temporary())
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot write the history"), "{said}");
    assert!(said.contains("make room on the disk"), "{said}");
    assert!(
        said.contains("What was recorded until then is in out"),
        "{said}"
    );
    // Not at the end.
    assert!(!said.contains("final reads"), "{said}");
    assert_eq!(place.left_behind(), Vec::<String>::new());
}

fn is_raised(pid: Pid) -> bool {
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap_or_default().split_whitespace().skip(3);
    words.next() == words.next()
}

/// `ulimit -Sn`: the usual soft limit is too low for every one of them.
#[test]
fn every_program_raises_its_soft_limit_of_open_files() {
    let place = Place::with(&SCENARIO.replace("measure_s = 3", "measure_s = 60"));
    let mut lab = Command::new("sh")
        .args(["-c", "ulimit -Sn 100; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_lab"))
        .args(["run", "short.toml", "--strategy", "jwt", "--out", "out"])
        .current_dir(place.folder.path())
        .env("TMPDIR", place.temporary())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folder = place.temporary().display().to_string();
    let pids = [
        &["shop", "--node-name=node-1"][..],
        &["load-balancer.toml"],
        &["attack"],
    ]
    .map(|words| {
        let words = [words, &[&folder]].concat();
        eventually("not all processes run", || find_process(&words))
    });
    let lab_itself = Pid::from_child(&lab);
    let raised = eventually("the limits are not raised", || {
        let all = pids.iter().chain([&lab_itself]);
        all.clone()
            .all(|pid| is_raised(*pid))
            .then_some(all.count())
    });
    assert_eq!(raised, 4);
    kill_process(lab_itself, Signal::INT).unwrap();
    assert_eq!(lab.wait().unwrap().code(), Some(130));
}

/// The hard limit is the users' own here, so whatever fails is theirs and nobody else's.
#[test]
fn what_the_generator_could_not_do_makes_the_run_invalid_and_fails_nobody() {
    let many = SCENARIO
        .replace("users = 8", "users = 120")
        .replace("[100, 900]", "[1500, 3000]");
    let place = Place::with(&many);
    let lab = place
        .command(&["--strategy", "redis", "--out", "out"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = place.temporary().display().to_string();
    let users = eventually("no users", || {
        find_process(&["attack", "plan.json", &folder])
    });
    let few = Rlimit {
        current: Some(60),
        maximum: Some(60),
    };
    prlimit(Some(users), Resource::Nofile, few).unwrap();
    let output = lab.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let results = results(&place.folder.path().join("out"));
    assert_eq!(results.verdict, Verdict::Invalid);
    let reasons = results.reasons.join(" ");
    assert!(
        reasons.contains("never left it: no open file was left (EMFILE)"),
        "{reasons}"
    );
    assert!(!reasons.contains("do not agree"), "{reasons}");
    // It stands in the history, and no figure has it.
    let path = place.folder.path().join("out/history-redis-1.jsonl");
    let history = History::read(&path).unwrap();
    assert!(!history.unsent.is_empty(), "{said}");
    assert!(
        !history
            .operations
            .iter()
            .any(evidence::history::Operation::is_unsent)
    );
    let counted = results.runs[0].requests.total;
    assert!(counted <= history.operations.len() as u64, "{said}");
}

fn interrupt(process: &Child) {
    kill_process(Pid::from_child(process), Signal::INT).unwrap();
}

/// A node that is stopped by the kernel's own means does not end in time: the second Ctrl-C need not wait for it.
#[test]
fn a_second_ctrl_c_ends_at_once_and_leaves_no_process() {
    let place = Place::with(&SCENARIO.replace("measure_s = 3", "measure_s = 60"));
    let mut lab = place
        .command(&["--strategy", "jwt", "--out", "out"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = place.folder.path().join("out/history-jwt-1.jsonl");
    eventually("no history", || {
        assert!(lab.try_wait().unwrap().is_none());
        History::read(&path)
            .is_ok_and(|history| !history.operations.is_empty())
            .then_some(())
    });
    interrupt(&lab);
    interrupt(&lab);
    let output = lab.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    // Its folder may stay until the next lab comes; its processes may not.
    eventually("processes are left", || {
        let marker = place.temporary().display().to_string();
        find_process(&[&marker]).is_none().then_some(())
    });
}

/// The status of an answer to `GET path`.
fn status(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1).map(str::to_owned)
}

/// A program whose log goes to a full disk. Dropping it kills it.
struct Unheard(Child);

impl Unheard {
    fn start(program: &str, args: &[String]) -> Self {
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(program);
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(full())
            .stderr(full())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_full_disk_under_the_logs_ends_neither_node_nor_load_balancer() {
    let place = Place::with(SCENARIO);
    let folder = place.folder.path();
    let secrets = folder.join("secrets");
    let made = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("secrets")
        .arg(&secrets)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let secret = |name: &str| secrets.join(name).display().to_string();
    let [_, a, b, c, ..] = RandomState::new().hash_one(folder).to_be_bytes();
    let ip = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
    let free = || SocketAddr::new(ip.into(), agent::ports::free(ip.into()).unwrap());
    let (node, admin, public) = (free(), free(), free());
    let config = folder.join("load-balancer.toml");
    let text = format!(
        "admin = '{admin}'\naffinity_key_file = '{}'\nadmin_token_file = '{}'\n\
         [nodes]\nlist = [{{ name = 'node-1', address = '{node}' }}]\n\
         [[listeners]]\nstrategy = 'jwt'\naddress = '{public}'\n",
        secret("affinity.key"),
        secret("admin.token")
    );
    fs::write(&config, text).unwrap();
    let mut programs = [
        Unheard::start(
            "shop",
            &[
                format!("--listen={node}"),
                "--node-name=node-1".into(),
                "--strategies=jwt".into(),
                "--accounts=10".into(),
                format!("--password-file={}", secret("password")),
                format!("--jwt-key-file={}", secret("jwt.key")),
            ],
        ),
        Unheard::start("load-balancer", &[format!("--config={}", config.display())]),
    ];
    eventually("no answer", || {
        for program in &mut programs {
            assert_eq!(program.0.try_wait().unwrap(), None, "it ended");
        }
        (status(public, "/plain")? == "200").then_some(())
    });
    // They write a line when they are told to end, and still end in order.
    for program in &mut programs {
        kill_process(Pid::from_child(&program.0), Signal::TERM).unwrap();
        assert_eq!(program.0.wait().unwrap().code(), Some(0));
    }
}
