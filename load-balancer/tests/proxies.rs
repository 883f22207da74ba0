//! Another proxy in front of the balancer: whom it speaks for, and who else must not.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use std::net::Ipv4Addr;

use serde_json::Value;
use support::{
    Balancer, eventually, own_ip,
    raw::{head, read_to_end, statuses},
    refused,
    upstream::Upstream,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REFUSED: &str = "load_balancer_proxy_headers_refused_total{listener=\"sticky-proxy\"}";

/// A balancer that trusts 127.0.0.1 alone, with a listener on port 8443 that wants PROXY headers.
async fn trusting() -> (Ipv4Addr, Upstream, Balancer) {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let settings = format!(
        "access_log = \"access.log\"\n\
         [[listeners]]\nstrategy = \"sticky-proxy\"\naddress = \"{ip}:8443\"\nproxy_protocol = true\n\
         [clients]\ntrusted_proxies = [\"127.0.0.1\", \"203.0.113.0/24\", \"::1\"]\nhead_ms = 2000\n"
    );
    let balancer = Balancer::start(ip, &[&node], &settings).await;
    (ip, node, balancer)
}

/// A connection from an address of our choice: all of 127.0.0.0/8 is ours.
async fn connect(from: [u8; 4], to: (Ipv4Addr, u16)) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("bound");
    socket.connect(to.into()).await.expect("connected")
}

async fn ask(from: [u8; 4], to: (Ipv4Addr, u16), before: &[u8], fields: &str) -> String {
    let mut stream = connect(from, to).await;
    let _ = stream.write_all(before).await;
    let _ = stream
        .write_all(format!("{GET}{fields}\r\n").as_bytes())
        .await;
    read_to_end(&mut stream).await
}

/// What the node was told of the last client.
fn told(node: &Upstream) -> [String; 2] {
    let seen = node.requests().pop().expect("a request");
    assert_eq!(
        seen.to_lowercase().matches("forwarded-for").count(),
        1,
        "{seen}"
    );
    assert!(!seen.to_lowercase().contains("\r\nforwarded:"), "{seen}");
    ["x-forwarded-for", "x-forwarded-proto"].map(|name| {
        let lines = head(&seen);
        let line = lines.iter().find_map(|line| line.strip_prefix(name));
        line.expect("the field").trim_start_matches(": ").to_owned()
    })
}

const PROXY: [u8; 4] = [127, 0, 0, 1];
const STRANGER: [u8; 4] = [127, 9, 9, 9];

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_client_and_nobody_else_does() {
    let (ip, node, balancer) = trusting().await;
    for (fields, client, proto) in [
        ("", "127.0.0.1", "http"),
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7", "http"),
        (
            "X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n",
            "192.0.2.7",
            "https",
        ),
        (
            "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7, 203.0.113.5\r\n",
            "192.0.2.7",
            "http",
        ),
        ("X-Forwarded-For: nonsense\r\n", "127.0.0.1", "http"),
        (
            "Forwarded: for=\"[2001:db8::7]:4711\";proto=https\r\n",
            "2001:db8::7",
            "https",
        ),
        (
            "Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 198.51.100.1\r\n",
            "127.0.0.1",
            "http",
        ),
        (
            "X_Forwarded_For: 192.0.2.7\r\nX-Real-Ip: 192.0.2.7\r\n",
            "127.0.0.1",
            "http",
        ),
    ] {
        let answer = ask(PROXY, (ip, 8081), b"", fields).await;
        assert_eq!(statuses(&answer), [200], "{fields}: {answer}");
        assert_eq!(told(&node), [client, proto], "{fields}");
        ask(STRANGER, (ip, 8081), b"", fields).await;
        assert_eq!(told(&node), ["127.9.9.9", "http"], "{fields}");
    }
    let read = || std::fs::read_to_string(balancer.file("access.log")).expect("a log");
    eventually("the lines are written", || async {
        read().lines().count() == 16
    })
    .await;
    let client = |number: usize| {
        let text = read();
        let line: Value =
            serde_json::from_str(text.lines().nth(number).expect("a line")).expect("JSON");
        line["client"].as_str().expect("text").to_owned()
    };
    assert_eq!(client(2), "192.0.2.7");
    assert!(client(3).starts_with("127.9.9.9:"));
}

#[tokio::test]
async fn by_default_nobody_is_trusted() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let _balancer = Balancer::start(ip, &[&node], "").await;
    let fields =
        "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    ask(PROXY, (ip, 8081), b"", fields).await;
    assert_eq!(told(&node), ["127.0.0.1", "http"]);
    // Nor is a PROXY header taken where none is expected.
    let answer = ask(
        PROXY,
        (ip, 8081),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        "",
    )
    .await;
    assert_eq!(statuses(&answer), [400], "{answer}");
    let output = tokio::task::spawn_blocking(|| {
        let node = "[nodes]\nlist = [{ name = \"a\", address = \"127.0.0.1:1\" }]\n";
        let listener = "strategy = \"jwt\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = true";
        refused(&format!("{node}[[listeners]]\n{listener}\n"), &[])
    });
    let output = output.await.expect("an end");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("trusted_proxies"), "{said}");
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

#[tokio::test]
async fn proxy_headers_of_both_versions_name_the_client() {
    let (ip, node, balancer) = trusting().await;
    let four = [192, 0, 2, 7, 10, 0, 0, 1, 0, 1, 0, 2];
    let six = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[7],
        &[0; 16],
        &[0, 1, 0, 2],
    ]
    .concat();
    let extended = [&four[..], &[4, 0, 200], &[0; 200]].concat();
    for (header, client) in [
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(),
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(),
            "2001:db8::7",
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 80\r\n".to_vec(),
            "192.0.2.7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &four), "192.0.2.7"),
        (v2(0x21, 0x21, &six), "2001:db8::7"),
        (v2(0x21, 0x11, &extended), "192.0.2.7"),
        (v2(0x20, 0, &[]), "127.0.0.1"),
        (v2(0x21, 0, &[]), "127.0.0.1"),
    ] {
        let shown = header.escape_ascii();
        let answer = ask(PROXY, (ip, 8443), &header, "").await;
        assert_eq!(statuses(&answer), [200], "{shown}: {answer}");
        assert_eq!(told(&node)[0], client, "{shown}");
        // A client that the header names may not speak for others, unless it is trusted itself.
        ask(
            PROXY,
            (ip, 8443),
            &header,
            "X-Forwarded-For: 198.51.100.1\r\n",
        )
        .await;
        let wanted = if client == "127.0.0.1" {
            "198.51.100.1"
        } else {
            client
        };
        assert_eq!(told(&node)[0], wanted, "{shown}");
    }
    // Byte by byte.
    let mut stream = connect(PROXY, (ip, 8443)).await;
    let header = [&v2(0x21, 0x11, &four)[..], format!("{GET}\r\n").as_bytes()].concat();
    for byte in header {
        stream.write_all(&[byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let answer = read_to_end(&mut stream).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert_eq!(told(&node)[0], "192.0.2.7");
    assert_eq!(balancer.metric(REFUSED).await, 0);
}

#[tokio::test]
async fn without_a_proper_header_a_connection_is_closed_and_counted() {
    let (ip, node, balancer) = trusting().await;
    let proper = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";
    for (count, (from, header)) in (1..).zip([
        (PROXY, &b""[..]),
        (PROXY, b"PROXY TCP4 192.0.2.7\r\n"),
        (PROXY, b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\n"),
        (PROXY, b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c"),
        (PROXY, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"),
        (STRANGER, proper),
    ]) {
        let answer = ask(from, (ip, 8443), header, "").await;
        assert_eq!(answer, "", "{}", header.escape_ascii());
        assert_eq!(balancer.metric(REFUSED).await, count);
    }
    // A header that never ends has the deadline of a head.
    let mut silent = connect(PROXY, (ip, 8443)).await;
    silent.write_all(b"PROXY TCP4 ").await.expect("sent");
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(balancer.metric(REFUSED).await, 7);
    assert_eq!(node.requests().len(), 0);
}
