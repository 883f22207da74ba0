//! TLS on a public port, with real handshakes.

#![allow(clippy::expect_used, reason = "a panic is how tests report")]

mod support;

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use support::{
    Balancer, command, own_ip,
    raw::{head, statuses},
    upstream::Upstream,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs::default_provider,
        pki_types::ServerName,
        version::{TLS12, TLS13},
    },
};

const HOST: &str = "shop.example";

struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn pair(last_year: i32) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    Pair { certificate, key }
}

/// A configuration with TLS on its only listener, and the files that it names.
fn write(dir: &Path, ip: Ipv4Addr, certificate: &Pair, key: &Pair) -> String {
    std::fs::write(dir.join("cert.pem"), certificate.certificate.pem()).expect("written");
    std::fs::write(dir.join("key.pem"), key.key.serialize_pem()).expect("written");
    format!(
        "[[listeners]]\nstrategy = \"sticky-tls\"\naffinity = true\naddress = \"{ip}:8443\"\n\
         tls = {{ certificate = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}\n",
        dir.display()
    )
}

fn connector(
    pair: &Pair,
    version: &'static SupportedProtocolVersion,
    alpn: &[&str],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(pair.certificate.der().clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    ip: Ipv4Addr,
    connector: &TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect((ip, 8443)).await?;
    connector
        .connect(ServerName::try_from(HOST).expect("a name"), stream)
        .await
}

async fn ask(ip: Ipv4Addr, connector: &TlsConnector, fields: &str) -> String {
    ask_for("/", ip, connector, fields).await
}

async fn ask_for(path: &str, ip: Ipv4Addr, connector: &TlsConnector, fields: &str) -> String {
    let mut stream = connect(ip, connector).await.expect("a handshake");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn both_versions_of_tls_are_served_and_nothing_but_http_1_1() {
    let ip = own_ip();
    let dir = tempfile::tempdir().expect("a folder");
    let pair = pair(2100);
    let node = Upstream::start(ip, 1).await;
    let balancer = Balancer::start(ip, &[&node], &write(dir.path(), ip, &pair, &pair)).await;

    for (version, wanted) in [
        (&TLS13, ProtocolVersion::TLSv1_3),
        (&TLS12, ProtocolVersion::TLSv1_2),
    ] {
        let stream = connect(ip, &connector(&pair, version, &["h2", "http/1.1"]))
            .await
            .expect("a handshake");
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(wanted));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    assert!(
        connect(ip, &connector(&pair, &TLS13, &["h2"]))
            .await
            .is_err(),
        "HTTP/2 alone is refused"
    );

    let tls = connector(&pair, &TLS13, &[]);
    let answer = ask_for("/login", ip, &tls, "").await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    let set = head(&answer)
        .into_iter()
        .find(|line| line.starts_with("set-cookie: "))
        .expect("a cookie");
    assert!(
        set.starts_with("set-cookie: __Host-affinity-sticky-tls="),
        "{set}"
    );
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{set}"
    );
    let cookie = set["set-cookie: ".len()..]
        .split(';')
        .next()
        .expect("a first part")
        .to_owned();
    let again = ask(
        ip,
        &tls,
        &format!("Cookie: {cookie}\r\nX-Forwarded-Proto: http\r\n"),
    )
    .await;
    assert!(!again.contains("set-cookie"), "pinned: {again}");
    let seen = node.requests().pop().expect("a request");
    assert!(
        head(&seen).contains(&"x-forwarded-proto: https".to_owned()),
        "{seen}"
    );
    assert!(!seen.contains("affinity"), "{seen}");

    let mut plain = TcpStream::connect((ip, 8443)).await.expect("connected");
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes).await;
    assert!(
        !bytes.starts_with(b"HTTP"),
        "who does not speak TLS gets no HTTP"
    );
    assert_eq!(node.requests().len(), 2);
    let plain = support::log_in(&balancer.url("/"), None).await;
    assert!(
        support::affinity_of(&plain).is_some(),
        "the other listeners stay as they are"
    );
}

#[tokio::test]
async fn a_body_larger_than_every_buffer_comes_whole() {
    const BYTES: usize = 3_000_000;
    let ip = own_ip();
    let dir = tempfile::tempdir().expect("a folder");
    let pair = pair(2100);
    let node = Upstream::start(ip, 1).await;
    let _balancer = Balancer::start(ip, &[&node], &write(dir.path(), ip, &pair, &pair)).await;
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n{}",
        "x".repeat(BYTES)
    );
    node.set(support::upstream::Mode::Raw {
        text: Box::leak(text.into_boxed_str()),
        close: false,
    });
    let answer = ask(ip, &connector(&pair, &TLS13, &[]), "").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body.len(), BYTES);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let ip = own_ip();
    let dir = tempfile::tempdir().expect("a folder");
    let pair = pair(2100);
    let node = Upstream::start(ip, 1).await;
    let settings = format!(
        "{}[clients]\nhead_ms = 300",
        write(dir.path(), ip, &pair, &pair)
    );
    let _balancer = Balancer::start(ip, &[&node], &settings).await;
    let mut silent = TcpStream::connect((ip, 8443)).await.expect("connected");
    assert_eq!(support::raw::read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure_without_tls() {
    let ip = own_ip();
    let node = Upstream::start(ip, 1).await;
    let listener = format!(
        "[[listeners]]\nstrategy = \"sticky-tls\"\naffinity = true\naddress = \"{ip}:8443\"\nbehind_https = true"
    );
    let _balancer = Balancer::start(ip, &[&node], &listener).await;
    let answer = support::log_in(&format!("http://{ip}:8443/"), None).await;
    let set = support::header(&answer, "set-cookie").expect("a cookie");
    assert!(
        set.starts_with("__Host-affinity-sticky-tls=") && set.ends_with("; Secure"),
        "{set}"
    );
    assert!(node.requests()[0].contains("x-forwarded-proto: https\r\n"));
}

#[test]
fn what_cannot_serve_is_refused_before_any_port_opens() {
    let (good, other, old) = (pair(2100), pair(2100), pair(2021));
    let dir = tempfile::tempdir().expect("a folder");
    let ip = Ipv4Addr::LOCALHOST;
    let refused = |listener: &str, wanted: &[&str]| {
        let config = dir.path().join("balancer.toml");
        let text =
            format!("[nodes]\nlist = [{{ name = \"a\", address = \"127.0.0.1:1\" }}]\n{listener}");
        std::fs::write(&config, text).expect("written");
        let output = command(&config).output().expect("an end");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.starts_with("Invalid configuration: ") && text.contains("line "),
            "{text}"
        );
        assert!(
            wanted.iter().all(|wanted| text.contains(wanted)),
            "{wanted:?} in {text}"
        );
        assert!(!text.contains("PRIVATE"), "{text}");
    };
    refused(
        &write(dir.path(), ip, &good, &other),
        &["cannot use", "cert.pem", "key.pem", "one pair"],
    );
    refused(
        &write(dir.path(), ip, &old, &old),
        &["cert.pem has expired"],
    );
    let listener = write(dir.path(), ip, &good, &good);
    refused(
        &listener.replace("/cert.pem", "/none.pem"),
        &["cannot read the certificate", "none.pem"],
    );
    refused(
        &listener.replace("/cert.pem", "/key.pem"),
        &["key.pem holds no certificate"],
    );
    refused(
        &listener.replace("/key.pem", "/cert.pem"),
        &["cannot read the key", "cert.pem"],
    );
    std::fs::write(dir.path().join("cert.pem"), "no PEM at all").expect("written");
    refused(&listener, &["holds no certificate"]);
}

#[tokio::test]
async fn a_client_that_ends_its_side_of_tls_is_answered() {
    let ip = own_ip();
    let dir = tempfile::tempdir().expect("a folder");
    let pair = pair(2100);
    let node = Upstream::start(ip, 1).await;
    let _balancer = Balancer::start(ip, &[&node], &write(dir.path(), ip, &pair, &pair)).await;
    for version in [&TLS13, &TLS12] {
        let mut stream = connect(ip, &connector(&pair, version, &[]))
            .await
            .expect("a handshake");
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("ended");
        let mut answer = String::new();
        let end = stream.read_to_string(&mut answer).await;
        end.expect("an end that is not cut off");
        assert_eq!(statuses(&answer), [200], "{answer}");
    }
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let ip = own_ip();
    let dir = tempfile::tempdir().expect("a folder");
    let pair = pair(2100);
    let node = Upstream::start(ip, 1).await;
    let settings = format!(
        "{}proxy_protocol = true\n[clients]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
        write(dir.path(), ip, &pair, &pair)
    );
    let _balancer = Balancer::start(ip, &[&node], &settings).await;
    let tls = connector(&pair, &TLS13, &[]);
    assert!(connect(ip, &tls).await.is_err(), "a header is required");

    let mut stream = TcpStream::connect((ip, 8443)).await.expect("connected");
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n";
    stream.write_all(header).await.expect("sent");
    let name = ServerName::try_from(HOST).expect("a name");
    let mut stream = tls.connect(name, stream).await.expect("a handshake");
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(statuses(&answer), [200], "{answer}");
    let seen = node.requests().pop().expect("a request");
    assert!(
        seen.contains("x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n"),
        "{seen}"
    );
}
