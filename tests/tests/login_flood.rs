//! A flood of logins, half of them broken off: others are served all the time, memory stays bounded, and afterwards
//! everything is as before. One check takes milliseconds of CPU and 19 MiB, so this is the cheapest way to attack a node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use cluster::Cluster;
use serde_json::json;
use tests::{User, client, cluster_with, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What one check takes with the default settings.
const CHECK_KIB: u64 = 19_456;
const CONNECTIONS: usize = 200;

/// What a client of the flood does.
#[derive(Clone, Copy)]
enum Client {
    /// Waits for its answer.
    Patient,
    /// Goes away when the head and half of the body are sent.
    LeavesInTheBody,
    /// Goes away when all is sent, while its check waits or runs.
    LeavesInTheQueue,
}

/// Sends one login and does what the client does; the head of the answer, where it waits for one.
async fn login(address: String, body: String, client: Client) -> Option<String> {
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let length = body.len();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let sent = match client {
        Client::LeavesInTheBody => &body[..length / 2],
        Client::Patient | Client::LeavesInTheQueue => &body,
    };
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(sent.as_bytes()).await.ok()?;
    let Client::Patient = client else {
        return None;
    };
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    Some(answer.to_lowercase())
}

/// The password checks that run, wait, and were done.
async fn checks(cluster: &Cluster) -> [u64; 3] {
    let page = client().get(format!("{}/metrics", cluster.node_url("node-1")));
    let page = page
        .send()
        .await
        .expect("metrics")
        .text()
        .await
        .expect("a page");
    ["running", "waiting", "total"].map(|what| {
        let name = format!("shop_password_checks_{what} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.expect("the figure").parse().expect("a number")
    })
}

/// The most memory that the node ever had, KiB.
fn peak_kib(cluster: &Cluster) -> u64 {
    let pid = cluster.nodes()[0]
        .here()
        .unwrap()
        .pid()
        .expect("the node runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits: String = peak.unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_logins_starves_nobody_and_takes_bounded_memory() {
    let workers = 1;
    let cluster = cluster_with(&["sticky"], |spec| {
        spec.nodes = 1;
        spec.password_memory_kib = u32::try_from(CHECK_KIB).unwrap();
        spec.password_iterations = 2;
        spec.shop_args.push(format!("--password-workers={workers}"));
    })
    .await;
    let user = User::logged_in(&cluster, "sticky", 1)
        .await
        .at_node(&cluster, "sticky", "node-1");
    let before_kib = peak_kib(&cluster);

    let address = cluster.node_url("node-1").replace("http://", "");
    let flood: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let client = match number % 4 {
                0 | 1 => Client::Patient,
                2 => Client::LeavesInTheBody,
                _ => Client::LeavesInTheQueue,
            };
            let wish =
                json!({"user": format!("user-{:06}", number + 1), "password": cluster.password()});
            tokio::spawn(login(address.clone(), wish.to_string(), client))
        })
        .collect();

    // Every visit is served, and served while logins wait: it did not have to wait behind them.
    let mut overtook = 0;
    while !flood.iter().all(tokio::task::JoinHandle::is_finished) {
        let [_, waiting, _] = checks(&cluster).await;
        user.me().await.expect(200);
        let [_, waiting_still, _] = checks(&cluster).await;
        overtook += usize::from(waiting > 0 && waiting_still > 0);
    }
    assert!(overtook > 0, "no visit met a queue");

    let mut done = 0;
    for login in flood {
        let Some(answer) = login.await.unwrap() else {
            continue;
        };
        // Where the queue is full, the answer says so at once and when to try again.
        let full = answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: 1\r\n");
        assert!(full || answer.starts_with("http/1.1 200"), "{answer}");
        done += usize::from(!full);
    }
    assert!(done > 0);
    let checks_done = eventually("nobody waits for a check any more", async || {
        let [running, waiting, done] = checks(&cluster).await;
        (running == 0 && waiting == 0).then_some(done)
    })
    .await;
    // One for the visitor; none for those who left before all was said.
    let most = 1 + 3 * CONNECTIONS as u64 / 4;
    assert!(checks_done <= most, "{checks_done} checks");
    // Connections, buffers and the tables of sessions; two hundred checks at a time would take 3.8 GiB.
    let slack_kib = 32 * 1024;
    let growth_kib = peak_kib(&cluster).saturating_sub(before_kib);
    assert!(
        growth_kib <= workers * CHECK_KIB + slack_kib,
        "{growth_kib} KiB"
    );
    User::logged_in(&cluster, "sticky", 2).await;
}
