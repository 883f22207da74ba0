//! When a process may be called ready: it answers as it will answer the users.

use std::{io, net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    probe::{LOOK, ProbeUrl, http_status},
    resp,
};

/// Between two looks: short, so that readiness is seen when it comes; not busy.
const PAUSE: Duration = Duration::from_millis(10);

/// What a process must do to be ready.
#[derive(Clone)]
pub enum Ready {
    /// Have been executed. For programs that serve nobody; one may even have ended already.
    Started,
    /// Answer `GET path` with 200.
    Http {
        /// Where it serves.
        address: SocketAddr,
        /// With its leading `/`.
        path: String,
    },
    /// Answer `PING` with `PONG`, that is: be Redis, and have its data loaded.
    RedisPing {
        /// Where it serves.
        address: SocketAddr,
        /// Redis' `requirepass`.
        password: Option<String>,
    },
    /// Answer a look at this URL.
    Url(ProbeUrl),
}

impl Ready {
    /// Looks until it is so; the error says what the last look found.
    pub async fn wait(&self, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            let problem = match self.look().await {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(problem);
            }
            sleep(PAUSE).await;
        }
    }

    /// Looks once.
    pub async fn look(&self) -> io::Result<()> {
        match self {
            Self::Started => Ok(()),
            Self::Http { address, path } => timeout(LOOK, http(*address, path))
                .await
                .map_err(|_| io::Error::other(format!("GET {path}: no answer within {LOOK:?}")))?,
            Self::Url(url) => url.look().await,
            Self::RedisPing { address, password } => {
                match resp::ask(*address, password.as_deref(), &["PING"])
                    .await?
                    .as_str()
                {
                    "PONG" => Ok(()),
                    other => Err(io::Error::other(format!("PING: {other}"))),
                }
            }
        }
    }

    /// The address that the process serves.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Started => None,
            Self::Url(url) => url.address(),
            Self::Http { address, .. } | Self::RedisPing { address, .. } => Some(*address),
        }
    }
}

async fn http(address: SocketAddr, path: &str) -> io::Result<()> {
    match http_status(address, &address.to_string(), path).await? {
        200 => Ok(()),
        status => Err(io::Error::other(format!("GET {path}: {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A server that answers every connection with `answer`.
    async fn server(answer: &'static str) -> Ready {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 512]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ready::Http {
            address,
            path: "/readyz".into(),
        }
    }

    #[tokio::test]
    async fn only_200_is_ready() {
        let short = Duration::from_millis(50);
        let ready = server("HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!(ready.wait(short).await, Ok(()));
        for (answer, problem) in [
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                "GET /readyz: 503",
            ),
            ("SSH-2.0-OpenSSH\r\n", "GET /readyz: SSH-2.0-Open"),
            ("HTTP/1.1", "early eof"),
        ] {
            assert_eq!(server(answer).await.wait(short).await, Err(problem.into()));
        }
    }
}
