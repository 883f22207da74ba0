//! Servers whose log nobody reads any more, because the reader has gone (`shop 2>&1 | head`): they go on serving and end in order. The
//! commands of `lab` are tested in `loadtest/lab/tests/closed_pipe.rs`.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tests::{binary, client, eventually, own_address};

/// The writing end of a pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

/// A program that says as much as it can, to nobody. Killed when dropped.
struct Unheard(Child);

impl Unheard {
    fn start(command: &mut Command) -> Self {
        let command = command.env("RUST_LOG", "trace").stdin(Stdio::null());
        Self(command.stdout(unread()).stderr(unread()).spawn().unwrap())
    }

    async fn end(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        eventually("it ends", async || self.0.try_wait().unwrap()).await
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shop(listen: SocketAddr) -> Unheard {
    Unheard::start(
        Command::new(binary("shop"))
            .args(["--listen", &listen.to_string(), "--strategies", "sticky"])
            .args(["--password-memory-kib", "8", "--password-iterations", "1"])
            .env("SHOP_PASSWORD", "open sesame"),
    )
}

fn load_balancer(ip: Ipv4Addr, node: SocketAddr, folder: &TempDir) -> Unheard {
    let config = folder.path().join("balancer.toml");
    let text = format!(
        "admin = \"{ip}:8090\"\nthreads = 1\n[nodes]\nlist = [{{ name = \"node-1\", address = \"{node}\" }}]\n\
         [[listeners]]\nstrategy = \"sticky\"\naddress = \"{ip}:8081\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let secret = "a-secret-of-at-least-thirty-two-bytes";
    Unheard::start(
        Command::new(binary("load-balancer"))
            .arg("--config")
            .arg(config)
            .env("LOAD_BALANCER_AFFINITY_KEY", secret)
            .env("LOAD_BALANCER_ADMIN_TOKEN", secret),
    )
}

async fn status(url: &str) -> Option<StatusCode> {
    Some(client().get(url).send().await.ok()?.status())
}

async fn answers(url: &str, wanted: StatusCode) {
    eventually(&format!("{url} answers {wanted}"), async || {
        status(url).await.filter(|status| *status == wanted)
    })
    .await;
}

#[tokio::test]
async fn servers_go_on_when_nobody_reads_their_log() {
    let ip = own_address();
    let folder = TempDir::new().unwrap();
    let node = SocketAddr::from((ip, 8071));
    let mut shop = shop(node);
    answers(&format!("http://{node}/plain"), StatusCode::OK).await;
    let mut balancer = load_balancer(ip, node, &folder);
    let public = format!("http://{ip}:8081/plain");
    answers(&public, StatusCode::OK).await;
    for _ in 0..20 {
        assert_eq!(status(&public).await, Some(StatusCode::OK));
    }
    // The end of the node is worth several lines to the balancer.
    assert!(shop.end().await.success());
    answers(&public, StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(balancer.end().await.success());
}

/// Wrong usage and a configuration that is refused: the code stays, and nothing is written about it anywhere.
#[tokio::test]
async fn errors_and_help_that_nobody_reads_keep_their_exit_code() {
    for (program, args, code) in [
        ("shop", &["--help"][..], 0),
        ("shop", &["--nonsense"], 2),
        ("shop", &["--strategies", "jwt"], 2),
        ("load-balancer", &["--help"], 0),
        ("load-balancer", &["--config", "/nowhere"], 2),
        ("agent", &["--help"], 0),
        ("agent", &["probe", "http://127.0.0.1:1/"], 1),
    ] {
        let mut unheard = Unheard::start(Command::new(binary(program)).args(args));
        let status = eventually("it ends", async || unheard.0.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(code), "{program} {args:?}");
    }
}
