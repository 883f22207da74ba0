//! What becomes of a node's head. What a whole balancer makes of it is in `tests/hostile_nodes.rs`.

use super::*;
use crate::request_id::RequestId;

fn request(is_head: bool, is_modern: bool) -> Request {
    Request {
        is_idempotent: true,
        is_head,
        is_modern,
        keep_alive: true,
        body: Framing::Length(0),
        encoding: Encoding::Plain,
        pins: crate::affinity::Pins::default(),
        id: RequestId::of_client(b"an-id").expect("valid"),
        client: None,
    }
}

fn rewrite(head: &str, request: &Request) -> (Answer, String) {
    let mut output = Vec::new();
    let answer = read(
        head.as_bytes(),
        request,
        &OurCookies::default(),
        true,
        &mut output,
    )
    .expect("fine");
    (answer, String::from_utf8(output).expect("text"))
}

#[test]
fn a_body_ends_as_its_head_says() {
    let modern = request(false, true);
    for (fields, framing, client_keeps, node_keeps) in [
        ("content-length: 5\r\n", Framing::Length(5), true, true),
        (
            "content-length: 5\r\nconnection: close\r\n",
            Framing::Length(5),
            true,
            false,
        ),
        (
            "transfer-encoding: chunked\r\n",
            Framing::chunked(),
            true,
            true,
        ),
        ("", Framing::UntilClose, false, false),
    ] {
        let (answer, head) = rewrite(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &modern);
        assert_eq!(answer.body, framing, "{fields:?}");
        assert_eq!(
            (answer.client_keeps, answer.node_keeps),
            (client_keeps, node_keeps),
            "{fields:?}"
        );
        assert_eq!(
            head.contains("connection: close\r\n"),
            !client_keeps,
            "{head}"
        );
    }
    let (answer, head) = rewrite(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        &request(false, false),
    );
    assert_eq!(
        (answer.encoding, answer.client_keeps),
        (Encoding::Plain, false)
    );
    assert!(
        !head.contains("transfer-encoding"),
        "an old client does not know chunks: {head}"
    );
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    for (status, is_head, shows_length) in
        [(200, true, true), (204, false, false), (304, false, true)]
    {
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
        let (answer, head) = rewrite(&text, &request(is_head, true));
        assert!(
            answer.body.is_done() && answer.node_keeps && answer.client_keeps,
            "{status}"
        );
        assert_eq!(
            head.contains("content-length: 5"),
            shows_length,
            "{status}: {head}"
        );
    }
    let (answer, head) = rewrite(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        &request(true, true),
    );
    assert!(answer.body.is_done(), "{head}");
}
