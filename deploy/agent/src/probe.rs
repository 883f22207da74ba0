//! Whether a server answers, told by a URL: `http://HOST:PORT/PATH` or `redis://HOST:PORT`.
//!
//! One look with one deadline, for health checks and for [`Ready`](crate::Ready). Names are resolved anew each time, and
//! one address that answers is enough.
//!
//! HTTP by hand over one short connection per look: a supervisor needs no HTTP client to read one status line.

use std::{fmt, io, net::SocketAddr, str::FromStr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::resp;

/// How long one look may take.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Where to look, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeUrl {
    /// `HOST:PORT`.
    authority: String,
    /// The path of an HTTP URL; a Redis has none.
    path: Option<String>,
}

/// Why a text is no such URL.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not http://HOST:PORT/PATH and not redis://HOST:PORT; a user or a password has no place in it"
)]
pub struct InvalidUrl(String);

impl FromStr for ProbeUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        // Without what may be a password.
        let no = || InvalidUrl(url.rsplit('@').next().unwrap_or_default().to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(no)?;
        let (authority, path) = match rest.find('/') {
            Some(start) => rest.split_at(start),
            None => (rest, "/"),
        };
        let (usual_port, path) = match (scheme, path) {
            ("http", path) => (80, Some(path.to_owned())),
            ("redis", "/") => (6379, None),
            _ => return Err(no()),
        };
        let strange = |c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c);
        let strange_path = path.as_ref().is_some_and(|path| {
            path.chars()
                .any(|c| c.is_whitespace() || c.is_control() || c == '#')
        });
        if authority.is_empty() || authority.contains(strange) || strange_path {
            return Err(no());
        }
        // `[::1]` ends with its bracket; a port comes after it.
        let has_port = authority
            .rsplit(']')
            .next()
            .is_some_and(|end| end.contains(':'));
        let authority = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:{usual_port}")
        };
        listen::host_and_port(&authority).ok_or_else(no)?;
        Ok(Self { authority, path })
    }
}

impl fmt::Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "http://{}{path}", self.authority),
            None => write!(f, "redis://{}", self.authority),
        }
    }
}

impl ProbeUrl {
    /// Looks once. An HTTP server must answer with 2xx; a Redis that wants a password (`NOAUTH`) lives.
    pub async fn look(&self) -> io::Result<()> {
        timeout(LOOK, self.ask()).await.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {LOOK:?}"),
            )
        })?
    }

    async fn ask(&self) -> io::Result<()> {
        let mut problem = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host(&self.authority).await? {
            match self.ask_at(address).await {
                Ok(()) => return Ok(()),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    async fn ask_at(&self, address: SocketAddr) -> io::Result<()> {
        let Some(path) = &self.path else {
            return match resp::ask(address, None, &["PING"]).await {
                Ok(answer) if answer == "PONG" => Ok(()),
                Ok(answer) => Err(io::Error::other(format!("PING: {answer}"))),
                Err(error) if error.to_string().starts_with("NOAUTH") => Ok(()),
                Err(error) => Err(error),
            };
        };
        let status = http_status(address, &self.authority, path).await?;
        if (200..300).contains(&status) {
            Ok(())
        } else {
            Err(io::Error::other(format!("GET {path}: {status}")))
        }
    }

    /// Its address, where it is one and no name.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.authority.parse().ok()
    }
}

/// The status of the answer to `GET path`.
pub(crate) async fn http_status(address: SocketAddr, host: &str, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;

    // `HTTP/1.1 200` is all that we need, and it may come in pieces.
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    let start = String::from_utf8_lossy(&start);
    let status = match start.split_once(' ') {
        Some((version, status)) if version.starts_with("HTTP/1.") => status.parse().ok(),
        _ => None,
    };
    status.ok_or_else(|| io::Error::other(format!("GET {path}: {start}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_usual_ports() {
        for (url, read) in [
            ("http://shop:8080/readyz", "http://shop:8080/readyz"),
            ("http://shop", "http://shop:80/"),
            ("http://[::1]/a?b=c", "http://[::1]:80/a?b=c"),
            ("redis://redis", "redis://redis:6379"),
            ("redis://127.0.0.1:6380/", "redis://127.0.0.1:6380"),
        ] {
            assert_eq!(url.parse::<ProbeUrl>().unwrap().to_string(), read);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_a_password_not_repeated() {
        for url in [
            "",
            "shop:8080",
            "https://shop/",
            "http://",
            "http://:80/",
            "http://shop:port/",
            "http://fd00::1/",
            "http://[shop]/",
            "http://shop/a b",
            "redis://redis/1",
            "redis://:geheim@redis",
        ] {
            let error = url.parse::<ProbeUrl>().unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
