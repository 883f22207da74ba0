//! HTTP as bytes, for what no client library would send.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

/// Sends bytes and reads until the other side closes.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The other side may have refused and closed before it read everything.
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await
}

/// Reads until the other side closes. A reset is an end, too.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(end.is_ok(), "not closed after: {text}");
    text
}

/// The statuses of all answers in a text.
pub(crate) fn statuses(text: &str) -> Vec<u16> {
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines
        .map(|line| {
            line.get(..3)
                .and_then(|status| status.parse().ok())
                .expect("a status")
        })
        .collect()
}

/// The lines of a head: the first one as it is, the others with their names in small letters.
pub(crate) fn head(request: &str) -> Vec<String> {
    let head = request.split("\r\n\r\n").next().expect("a head");
    let lines = head.split("\r\n").enumerate();
    lines
        .map(|(number, line)| match line.split_once(": ") {
            Some((name, value)) if number > 0 => format!("{}: {value}", name.to_lowercase()),
            _ => line.to_owned(),
        })
        .collect()
}
