//! Just enough of Redis' protocol (RESP 2) to ask a store for `PONG` or `INFO`: one connection, one question, one
//! deadline. The strategies use a real client; this keeps one out of the supervisor and the load test.

use std::{fmt::Write, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// From connecting to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// More than any answer that we ask for; `INFO` is about 6 KiB.
const LONGEST_ANSWER_BYTES: u64 = 1 << 20;

/// Sends one command, after `AUTH` where there is a password, and returns the answer's text.
///
/// An error answer (`-LOADING …`, `-NOAUTH …`) is an [`io::ErrorKind::Other`] with Redis' own words.
pub async fn ask(
    address: SocketAddr,
    password: Option<&str>,
    command: &[&str],
) -> io::Result<String> {
    timeout(DEADLINE, converse(address, password, command))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 1 s"))?
}

async fn converse(
    address: SocketAddr,
    password: Option<&str>,
    command: &[&str],
) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let (answers, mut questions) = stream.split();
    let mut answers = BufReader::new(answers.take(LONGEST_ANSWER_BYTES));
    if let Some(password) = password {
        questions
            .write_all(encode(&["AUTH", password]).as_bytes())
            .await?;
        read(&mut answers).await?;
    }
    questions.write_all(encode(command).as_bytes()).await?;
    read(&mut answers).await
}

/// A command is an array of bulk strings.
fn encode(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text
}

/// Reads a simple string, an integer, an error, a bulk string, or an array of these as lines.
async fn read(answers: &mut (impl AsyncBufReadExt + Unpin + Send)) -> io::Result<String> {
    let mut line = String::new();
    answers.read_line(&mut line).await?;
    let Some(rest) = line.strip_suffix("\r\n") else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    match (rest.get(..1), rest.get(1..)) {
        (Some("+" | ":"), Some(text)) => Ok(text.to_owned()),
        (Some("-"), Some(text)) => Err(io::Error::other(text)),
        (Some("$"), Some(length)) => {
            let length: u64 = length.parse().map_err(|_| unexpected(rest))?;
            let mut text = String::new();
            answers.take(length).read_to_string(&mut text).await?;
            if text.len() as u64 == length {
                Ok(text)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        (Some("*"), Some(count)) => {
            let count: usize = count.parse().map_err(|_| unexpected(rest))?;
            let mut lines = Vec::new();
            // More than the answer is long cannot be read, whatever the count says.
            for _ in 0..count {
                lines.push(Box::pin(read(answers)).await?);
            }
            Ok(lines.join("\n"))
        }
        _ => Err(unexpected(rest)),
    }
}

fn unexpected(line: &str) -> io::Error {
    let start: String = line.chars().take(40).collect();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not an answer of Redis: {start:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        assert_eq!(encode(&["AUTH", "é"]), "*2\r\n$4\r\nAUTH\r\n$2\r\né\r\n");
    }

    #[tokio::test]
    async fn every_kind_of_answer_is_read() {
        assert_eq!(read(&mut &b"+PONG\r\n"[..]).await.unwrap(), "PONG");
        assert_eq!(read(&mut &b":42\r\n"[..]).await.unwrap(), "42");
        assert_eq!(
            read(&mut &b"$5\r\na\r\nb!\r\n"[..]).await.unwrap(),
            "a\r\nb!"
        );
        assert_eq!(
            read(&mut &b"*2\r\n$1\r\na\r\n:7\r\n"[..]).await.unwrap(),
            "a\n7"
        );
        let refused = read(&mut &b"-NOAUTH no\r\n"[..]).await.unwrap_err();
        assert_eq!(refused.to_string(), "NOAUTH no");
    }

    #[tokio::test]
    async fn a_cut_or_foreign_answer_is_an_error() {
        for answer in [
            "",
            "+PON",
            "$9\r\nshort\r\n",
            "$-1\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
        ] {
            assert!(read(&mut answer.as_bytes()).await.is_err(), "{answer:?}");
        }
    }
}
