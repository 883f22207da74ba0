//! What somebody meets who goes through a link as the requests do: to the target, and back.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// More than any answer.
const LONGEST_ANSWER_BYTES: u64 = 1 << 20;

/// What a probe met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// So many bytes, the whole answer, after so long.
    Answer(
        usize,
        #[serde(with = "super::disturbance::micros")] Duration,
    ),
    /// The connection was broken off.
    Reset,
    /// Nothing came in time.
    Silence(#[serde(with = "super::disturbance::micros")] Duration),
    /// Something else.
    Trouble(String),
}

impl Met {
    /// What happened to the probe: `got no byte within 250 ms`.
    pub fn words(&self) -> String {
        match self {
            Self::Answer(bytes, took) => format!(
                "was answered with {bytes} bytes after {:.1} ms",
                took.as_secs_f64() * 1e3
            ),
            Self::Reset => "was broken off".into(),
            Self::Silence(after) => format!("got no byte within {} ms", after.as_millis()),
            Self::Trouble(problem) => format!("failed: {problem}"),
        }
    }
}

/// Asks at `address`, and listens until the end. The question must make the target answer and close.
pub async fn probe(address: SocketAddr, question: &[u8], patience: Duration) -> Met {
    let begun = Instant::now();
    let mut answer = Vec::new();
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(question).await?;
        let mut all = stream.take(LONGEST_ANSWER_BYTES);
        all.read_to_end(&mut answer).await
    };
    match timeout(patience, conversation).await {
        Ok(Ok(bytes)) => Met::Answer(bytes, begun.elapsed()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Met::Reset,
        Ok(Err(error)) => Met::Trouble(error.kind().to_string()),
        Err(_) if answer.is_empty() => Met::Silence(patience),
        Err(_) => Met::Trouble(io::ErrorKind::TimedOut.to_string()),
    }
}
