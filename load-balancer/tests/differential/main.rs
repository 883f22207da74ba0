//! The balancer beside HAProxy: each request of `corpus.txt` goes to both, and both stand in front of the same kind of
//! node. Where they differ in what the client gets or in what the node sees, `DIFFERENCES` says why; decision 0018
//! tells the whole of it.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod differences;
#[path = "../oracle/judge.rs"]
#[allow(dead_code, reason = "it is used to record, not to judge")]
mod judge;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use judge::{Seen, serve};
use support::{Balancer, PATIENCE, eventually, own_ip, raw};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use differences::{DIFFERENCES, HAPROXY};

/// What stands behind each request: it shows where the proxy believes that the request ended, and ends the
/// connection.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

type Requests = Arc<Mutex<Vec<Seen>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_difference_to_haproxy_is_meant() {
    let Some(program) = haproxy() else {
        return;
    };
    let (ours, theirs) = (own_ip(), own_ip());
    let (seen_behind_ours, seen_behind_theirs) = (node(ours).await, node(theirs).await);
    let list = format!("list = [ {{ name = \"node-1\", address = \"{ours}:9001\" }} ]");
    let settings = "[health]\ninterval_ms = 60000\n[ejection]\nfailures = 0";
    let balancer = Balancer::start_with(ours, &list, settings).await;
    let haproxy = HaProxy::start(&program, theirs).await;

    let mut found = BTreeMap::new();
    for (name, bytes) in corpus() {
        let ours = verdict(balancer.public(), &bytes, &seen_behind_ours).await;
        let theirs = verdict(haproxy.public, &bytes, &seen_behind_theirs).await;
        if ours != theirs {
            found.insert(name, format!("ours:    {ours}\nHAProxy: {theirs}"));
        }
    }
    let known: BTreeMap<_, _> = DIFFERENCES
        .iter()
        .flat_map(|(why, names)| names.iter().map(move |name| (*name, *why)))
        .collect();
    let mut wrong = String::new();
    for (name, verdicts) in &found {
        if !known.contains_key(&**name) {
            let _ = writeln!(wrong, "{name} differs, and nothing says why:\n{verdicts}");
        }
    }
    for (name, why) in known {
        if !found.contains_key(name) {
            let _ = writeln!(
                wrong,
                "{name} does not differ any more, or is not in the corpus: {why}"
            );
        }
    }
    if std::env::var_os("SHOW_DIFFERENCES").is_some() {
        for (name, verdicts) in &found {
            println!("{name}\n{verdicts}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The program, if it is here and the table was made with its version.
fn haproxy() -> Option<std::path::PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"];
    let mut programs = folders
        .map(|folder| Path::new(folder).join("haproxy"))
        .into_iter();
    let Some(program) = programs.find(|program| program.exists()) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is to compare with HAProxy, and it is not installed: `./lab test` installs it"
        );
        eprintln!(
            "SKIPPED: haproxy is not installed, so nothing is compared with it (Debian: apt-get install haproxy)"
        );
        return None;
    };
    let output = Command::new(&program)
        .arg("-v")
        .output()
        .expect("a version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    if !version.starts_with(HAPROXY) {
        eprintln!(
            "SKIPPED: the table of differences was made with HAProxy {HAPROXY}x, and this is {version}"
        );
        return None;
    }
    Some(program)
}

/// The requests by their names.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let lines = include_str!("corpus.txt").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, text) = line.split_once(' ').expect("a name and a request");
            (name.to_owned(), unescaped(&repeated(text)))
        })
        .collect()
}

/// `{x*9}` written out.
fn repeated(text: &str) -> String {
    let repetition = || {
        let (before, rest) = text.split_once('{')?;
        let (inner, after) = rest.split_once('}')?;
        let (what, count) = inner.rsplit_once('*')?;
        Some(format!(
            "{before}{}{after}",
            what.repeat(count.parse().ok()?)
        ))
    };
    repetition().unwrap_or_else(|| text.to_owned())
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut letters = text.bytes();
    while let Some(letter) = letters.next() {
        bytes.push(match letter {
            b'\\' => match letters.next().expect("an escape") {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits =
                        [letters.next(), letters.next()].map(|digit| digit.expect("two digits"));
                    u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16)
                        .expect("a number")
                }
                other => other,
            },
            other => other,
        });
    }
    bytes
}

/// What a client gets for these bytes, and what the node sees of them, in one line each.
async fn verdict(proxy: SocketAddr, bytes: &[u8], seen: &Requests) -> String {
    seen.lock().expect("a lock").clear();
    let answer = raw::exchange(proxy, &[bytes, NEXT].concat()).await;
    let heads = answer.split("HTTP/1.").skip(1);
    let statuses: Vec<_> = heads.map(|head| head.get(2..5).unwrap_or("?")).collect();
    let seen = std::mem::take(&mut *seen.lock().expect("a lock"));
    // How much of a broken request a node gets before it breaks off is a matter of time.
    let whole = seen.iter().filter(|seen| seen.body.is_some());
    let seen: Vec<_> = whole.map(shown).collect();
    format!("{}; node: {}", statuses.join(" "), seen.join(" | "))
}

/// A request without what only one of the two adds.
fn shown(seen: &Seen) -> String {
    let ours = |name: &str| {
        name.starts_with("x-forwarded")
            || ["x-session-strategy", "x-request-id", "x-answer-within-ms"].contains(&name)
    };
    let mut fields = seen.fields.clone();
    fields.retain(|(name, _)| !ours(name));
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    let mut text = format!("{} {}", seen.method, seen.target);
    for (name, value) in fields {
        let _ = write!(text, ", {name}: {}", value.escape_ascii());
    }
    let body = seen.body.as_deref().unwrap_or_default();
    let _ = write!(text, ", body \"{}\"", body.escape_ascii());
    if text.len() > 300 {
        format!("{}… ({} letters)", &text[..60], text.len())
    } else {
        text
    }
}

/// A node at port 9001.
async fn node(ip: Ipv4Addr) -> Requests {
    let seen = Requests::default();
    let server = TcpListener::bind((ip, 9001)).await.expect("a free port");
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = server.accept().await.expect("a connection");
            tokio::spawn(serve(stream, Arc::clone(&noted)));
        }
    });
    seen
}

/// The real HAProxy, with nothing switched on. Killed when dropped.
struct HaProxy {
    process: Child,
    public: SocketAddr,
    _folder: TempDir,
}

impl HaProxy {
    async fn start(program: &Path, ip: Ipv4Addr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 100\n  no strict-limits\ndefaults\n  mode http\n  timeout connect 10s\n  timeout server 60s\n  \
             timeout client 60s\n  timeout tunnel 60s\n  timeout http-request 60s\n  retries 0\n\
             frontend f\n  bind {ip}:8081\n  default_backend b\nbackend b\n  server node-1 {ip}:9001\n"
        );
        std::fs::write(&config, text).expect("written");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let process = Command::new(program)
            .args(["-db", "-f"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("started");
        let public = (ip, 8081).into();
        let haproxy = Self {
            process,
            public,
            _folder: folder,
        };
        eventually("HAProxy listens", || async {
            TcpStream::connect(public).await.is_ok()
        })
        .await;
        haproxy
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn escapes_are_read_as_rust_reads_them() {
    assert_eq!(unescaped(r"a\r\n\t\\\x00\xff"), b"a\r\n\t\\\0\xff");
    assert_eq!(repeated("a{xy*3}b"), "axyxyxyb");
    assert_eq!(repeated("/?f={\"a\":1}"), "/?f={\"a\":1}");
    assert!(corpus().len() > 150 && PATIENCE.as_secs() > 1);
}
