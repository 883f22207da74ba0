//! The client that prepares sessions, logs many users in, opens idle connections and asks at a fixed rate: one keep-alive
//! connection, one request at a time, one deadline. Saturating load comes from wrk.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one answer. Longer means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any body that a station sends.
const LONGEST_BODY: usize = 1 << 20;
/// More than any head that a station sends.
const LONGEST_HEAD: u64 = 64 * 1024;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON, or null.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A keep-alive connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(4096, stream)))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        timeout(PATIENCE, async {
            self.0.get_mut().write_all(request).await?;
            self.answer().await
        })
        .await?
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut head = (&mut self.0).take(LONGEST_HEAD);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if head.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let (status, headers) = parse_head(&lines)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))?;
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        // No station answers in chunks: all bodies are small and known.
        let length = answer.header("content-length").unwrap_or("0");
        let length = length
            .parse()
            .ok()
            .filter(|length| *length <= LONGEST_BODY)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "content-length"))?;
        answer.body.resize(length, 0);
        self.0.read_exact(&mut answer.body).await?;
        Ok(answer)
    }
}

fn parse_head(lines: &[String]) -> Option<(u16, Vec<(String, String)>)> {
    let (first, rest) = lines.split_first()?;
    let status = first.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers = rest.iter().map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some((status, headers.collect::<Option<_>>()?))
}

/// What one client carries along: cookies, and the tokens of `jwt`.
#[derive(Clone, Default)]
pub(crate) struct Client {
    pub(crate) cookies: BTreeMap<String, String>,
    bearer: Option<String>,
    cart: Option<String>,
}

impl Client {
    /// Takes what the answer hands over.
    pub(crate) fn absorb(&mut self, answer: &Answer) {
        for (name, value) in &answer.headers {
            let pair = value
                .split(';')
                .next()
                .and_then(|pair| pair.split_once('='));
            match (name.as_str(), pair) {
                ("set-cookie", Some((name, value))) => {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
                ("x-cart", _) => self.cart = Some(value.clone()),
                _ => {}
            }
        }
        if let Some(token) = answer.json()["access_token"].as_str() {
            self.bearer = Some(token.to_owned());
        }
    }

    /// A request with everything that the client carries.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        if let Some(token) = &self.bearer {
            let _ = write!(text, "authorization: Bearer {token}\r\n");
        }
        if let Some(cart) = &self.cart {
            let _ = write!(text, "x-cart: {cart}\r\n");
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let _ = write!(text, "cookie: {}\r\n", pairs.join("; "));
        }
        if let Some(body) = body {
            let length = body.len();
            let _ = write!(
                text,
                "content-type: application/json\r\ncontent-length: {length}\r\n"
            );
        }
        text.push_str("\r\n");
        text.push_str(body.unwrap_or_default());
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str], body: &str) -> Answer {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let (status, headers) = parse_head(&lines).unwrap();
        Answer {
            status,
            headers,
            body: body.into(),
        }
    }

    #[test]
    fn a_client_carries_what_it_was_handed() {
        let mut client = Client::default();
        client.absorb(&answer(
            &["HTTP/1.1 200 OK", "Set-Cookie: id=abc; Path=/; HttpOnly"],
            "",
        ));
        client.absorb(&answer(
            &["HTTP/1.1 201 Created", "x-cart: tok"],
            r#"{"access_token":"t"}"#,
        ));
        let request = String::from_utf8(client.request("POST", "/cart/lines", Some("{}"))).unwrap();
        assert_eq!(
            request,
            "POST /cart/lines HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t\r\nx-cart: tok\r\ncookie: id=abc\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn heads_that_are_no_heads_are_refused() {
        for lines in [
            &["HTTP/1.0 200 OK"][..],
            &["HTTP/1.1 2"],
            &["HTTP/1.1 200 OK", "no colon"],
            &[],
        ] {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            assert!(parse_head(&lines).is_none(), "{lines:?}");
        }
    }
}
