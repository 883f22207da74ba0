//! Where the store is: at one address or name for ever, or wherever the Sentinels say that the master is.
//!
//! ```text
//! redis://[user[:password]@]HOST[:PORT][/DATABASE]
//! redis+sentinel://[user[:password]@]HOST[:PORT],HOST[:PORT],…/MASTER
//! ```
//! User and password are those of the store. A password that stands beside the URL is asked for each time that a
//! connection is opened, because it may have been changed. A Sentinel is shown it only when it asks for one
//! (`requirepass` in its own configuration).

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult,
};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::connection::{role, unfit, with_password};
use super::dial::within;
use super::sentinels::Sentinels;
use super::settings::Password;

/// Where a Sentinel listens when its URL does not say.
const SENTINEL_PORT: &str = ":26379";
/// How often the Sentinels are asked whether the master is still the same.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// More than anybody runs; each is asked once a second by each node.
const MAX_SENTINELS: usize = 16;

/// Where to connect to, and with which password.
pub(super) struct Place {
    at: At,
    password: Option<Password>,
}

enum At {
    /// Whatever it says that it is. Its name is looked up anew for each connection.
    Fixed(ConnectionInfo),
    /// The master, which moves.
    Master(Sentinels),
}

impl Place {
    /// Reads a URL. What is wrong with it is told without it, for it may hold a password.
    pub(super) fn parse(url: &str, password: Option<Password>) -> Result<Self, String> {
        let at = match url.strip_prefix("redis+sentinel://") {
            None => {
                let info = url.into_connection_info();
                At::Fixed(info.map_err(|why| format!("its URL is not one of a Redis: {why}"))?)
            }
            Some(rest) => At::Master(parse_sentinels(rest)?),
        };
        Ok(Self { at, password })
    }

    /// Whether a store that takes no writes is the wrong one. A fixed one may be read all the same.
    pub(super) fn must_take_writes(&self) -> bool {
        matches!(self.at, At::Master(_))
    }

    /// Where to connect to now.
    pub(super) async fn find(&self, deadline: Duration) -> RedisResult<ConnectionInfo> {
        let password = self.password(deadline).await?;
        match &self.at {
            At::Fixed(info) => Ok(with_password(info, password.as_deref())),
            At::Master(sentinels) => {
                let (host, port) = sentinels.find(password.as_deref(), deadline).await?;
                let info = with_password(sentinels.first(), password.as_deref());
                Ok(info.set_addr(ConnectionAddr::Tcp(host, port)))
            }
        }
    }

    /// Asked for on a thread for it: reading a file can block.
    async fn password(&self, deadline: Duration) -> RedisResult<Option<String>> {
        let Some(password) = self.password.clone() else {
            return Ok(None);
        };
        let without = |why: String| {
            let what = "there is no password for it";
            RedisError::from((ErrorKind::InvalidClientConfig, what, why))
        };
        let said = within(deadline, async {
            let said = spawn_blocking(move || password()).await;
            said.map_err(|why| without(why.to_string()))
        });
        said.await?.map(Some).map_err(without)
    }

    /// Whether what was found `here` is what it should be: in its own words, and in those of the Sentinels, who may have
    /// heard of another master while the connection was opened.
    pub(super) async fn confirm(
        &self,
        here: &ConnectionInfo,
        connection: &mut MultiplexedConnection,
        deadline: Duration,
    ) -> RedisResult<()> {
        if !self.must_take_writes() {
            return Ok(());
        }
        is_master(connection, deadline).await?;
        let there = self.find(deadline).await?;
        if there.addr() == here.addr() {
            return Ok(());
        }
        let moved = format!("the Sentinels call {} the master by now", there.addr());
        Err(unfit(moved))
    }

    /// Ends when the master is not, or no longer, the one at `here`.
    ///
    /// Sentinels that do not answer end nothing: the master that is there is better than none.
    pub(super) async fn moved_from(
        &self,
        here: &ConnectionInfo,
        mut connection: MultiplexedConnection,
        deadline: Duration,
    ) {
        if !self.must_take_writes() {
            return std::future::pending().await;
        }
        loop {
            sleep(ASK_EVERY).await;
            // A connection that breaks is noticed by those who use it.
            if let Err(why) = is_master(&mut connection, deadline).await
                && why.kind() == ErrorKind::Client
            {
                return tracing::warn!(%why, "the store is no master any more");
            }
            if let Ok(there) = self.find(deadline).await
                && there.addr() != here.addr()
            {
                return tracing::warn!(from = %here.addr(), to = %there.addr(), "the master has moved");
            }
        }
    }
}

async fn is_master(connection: &mut MultiplexedConnection, deadline: Duration) -> RedisResult<()> {
    let role = role(connection, deadline).await?;
    if role.as_deref() == Some("master") {
        return Ok(());
    }
    let role = role.unwrap_or_else(|| "nothing".to_owned());
    Err(unfit(format!(
        "the Sentinels call it the master, and it calls itself {role}"
    )))
}

/// Reads what comes behind `redis+sentinel://`.
fn parse_sentinels(rest: &str) -> Result<Sentinels, String> {
    let wrong = |what: &str| {
        format!("its URL is not redis+sentinel://HOST:PORT,HOST:PORT,…/MASTER: {what}")
    };
    let (authority, master) = rest
        .rsplit_once('/')
        .ok_or_else(|| wrong("it does not name the master"))?;
    let is_fit = |sign: char| sign.is_ascii_alphanumeric() || ".-_".contains(sign);
    if master.is_empty() || !master.chars().all(is_fit) {
        let what = "the master's name is made of letters, digits, '.', '-' and '_'";
        return Err(wrong(what));
    }
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.len() > MAX_SENTINELS {
        return Err(wrong("it names more than 16 Sentinels"));
    }
    let sentinels = hosts.into_iter().map(|host| {
        if host.is_empty() || host.contains('/') {
            return Err(wrong("one of the Sentinels has no name"));
        }
        // The colons of an IPv6 address are in brackets.
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if has_port { "" } else { SENTINEL_PORT };
        let url = format!("redis://{user}{host}{port}");
        let info = url.into_connection_info();
        info.map_err(|why| wrong(&why.to_string()))
    });
    let sentinels = sentinels.collect::<Result<_, _>>()?;
    Ok(Sentinels::new(master.to_owned(), sentinels))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn sentinels(url: &str) -> Result<Sentinels, String> {
        match Place::parse(url, None)?.at {
            At::Master(sentinels) => Ok(sentinels),
            At::Fixed(_) => panic!("{url} is taken for a fixed address"),
        }
    }

    fn addresses(url: &str) -> Vec<String> {
        let found = sentinels(url).unwrap();
        let found = found.all().iter();
        found.map(|one| one.addr().to_string()).collect()
    }

    #[test]
    fn a_url_names_sentinels_and_the_master() {
        let url = "redis+sentinel://one:1,two,[::1],[::1]:7/lab-1.master_x";
        assert_eq!(sentinels(url).unwrap().master(), "lab-1.master_x");
        assert_eq!(addresses(url), ["one:1", "two:26379", "::1:26379", "::1:7"]);
    }

    #[test]
    fn user_and_password_are_those_of_the_store_at_each_sentinel() {
        for (url, password) in [
            ("redis+sentinel://shop:p%40ss@one,two/lab", None),
            ("redis+sentinel://shop@one,two/lab", Some("p@ss")),
        ] {
            for one in sentinels(url).unwrap().all() {
                let one = with_password(one, password);
                assert_eq!(one.redis_settings().username(), Some("shop"));
                assert_eq!(one.redis_settings().password(), Some("p@ss"));
            }
        }
    }

    #[tokio::test]
    async fn a_password_beside_the_url_is_asked_for_each_time() {
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let password: Password =
            Arc::new(
                move || match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => Err("it is away".to_owned()),
                    time => Ok(format!("p@ss-{time}")),
                },
            );
        let place = Place::parse("redis://one", Some(password)).unwrap();
        let deadline = Duration::from_mins(1);
        let why = place.find(deadline).await.err().unwrap().to_string();
        assert!(why.contains("it is away"), "{why}");
        for expected in ["p@ss-1", "p@ss-2"] {
            let info = place.find(deadline).await.unwrap();
            assert_eq!(info.redis_settings().password(), Some(expected));
        }
    }

    #[test]
    fn a_malformed_url_is_told_without_it() {
        let many = vec!["secret"; MAX_SENTINELS + 1].join(",");
        for url in [
            "redis+sentinel://:secret@one,two",
            "redis+sentinel://:secret@one,two/",
            "redis+sentinel://:secret@one,two/a b",
            "redis+sentinel://:secret@one,,two/lab",
            "redis+sentinel://:secret@/lab",
            "redis+sentinel://:secret@one:x/lab",
            "redis+sentinel:///lab",
            &format!("redis+sentinel://{many}/lab"),
        ] {
            let why = sentinels(url).err().expect(url);
            assert!(
                why.contains("HOST:PORT") && !why.contains("secret"),
                "{why}"
            );
        }
    }
}
