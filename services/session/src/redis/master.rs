//! Where the store is: at one address for ever, or wherever the Sentinels say that the master is.
//!
//! ```text
//! redis+sentinel://[user:password@]HOST[:PORT],HOST[:PORT],…/MASTER
//! ```
//! **Who is believed.** All Sentinels are asked at once, each within the deadline. As soon as more than half of them have
//! answered, that address counts that belongs to the newest configuration: each failover has a number of its own, the
//! *configuration epoch*, which only grows. So a Sentinel that was paused or cut off, and still praises the old master,
//! is outvoted by one that knows better. Where fewer than half of them answer, these few count: a Sentinel alone cannot
//! make a new master, but it knows where the last one was.
//!
//! **Who is trusted.** Nobody by hearsay: what they name must call itself a master (`ROLE`), else the link stays down.
//!
//! User and password are those of the store. A Sentinel is shown the password only when it asks for one (`requirepass`
//! in its own configuration).

use std::time::Duration;

use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, RedisResult, Value,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{ask, open, within};

/// Where a Sentinel listens when its URL does not say.
const SENTINEL_PORT: &str = ":26379";
/// How often the Sentinels are asked whether the master is still the same.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// More than anybody runs; each is asked once a second by each node.
const MAX_SENTINELS: usize = 16;

/// Where to connect to.
pub(super) enum Place {
    /// Whatever it says that it is.
    Fixed(ConnectionInfo),
    /// The master, which moves.
    Master(Sentinels),
}

/// Those who know where the master is.
pub(super) struct Sentinels {
    master: String,
    /// Each with the user and the password of the store.
    sentinels: Vec<ConnectionInfo>,
}

/// What one Sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    epoch: u64,
    host: String,
    port: u16,
}

impl Place {
    /// Reads a URL. What is wrong with it is told without it, for it may hold a password.
    pub(super) fn parse(url: &str, password: Option<&str>) -> Result<Self, String> {
        let with_password = |info: ConnectionInfo| match password {
            None => info,
            Some(password) => {
                let settings = info.redis_settings().clone();
                info.set_redis_settings(settings.set_password(password))
            }
        };
        let Some(rest) = url.strip_prefix("redis+sentinel://") else {
            let info = url.into_connection_info();
            let info = info.map_err(|why| format!("its URL is not one of a Redis: {why}"))?;
            return Ok(Self::Fixed(with_password(info)));
        };

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
            info.map(with_password)
                .map_err(|why| wrong(&why.to_string()))
        });
        Ok(Self::Master(Sentinels {
            master: master.to_owned(),
            sentinels: sentinels.collect::<Result<_, _>>()?,
        }))
    }

    /// Whether a store that takes no writes is the wrong one. A fixed one may be read all the same.
    pub(super) fn must_take_writes(&self) -> bool {
        matches!(self, Self::Master(_))
    }

    /// Where to connect to now.
    pub(super) async fn find(&self, deadline: Duration) -> RedisResult<ConnectionInfo> {
        match self {
            Self::Fixed(info) => Ok(info.clone()),
            Self::Master(sentinels) => sentinels.find(deadline).await,
        }
    }

    /// Whether what was found is what it should be, in its own words.
    pub(super) async fn confirm(
        &self,
        connection: &mut redis::aio::MultiplexedConnection,
        deadline: Duration,
    ) -> RedisResult<()> {
        if !self.must_take_writes() {
            return Ok(());
        }
        let role = role(&ask(connection, &redis::cmd("ROLE"), deadline).await?);
        if role.as_deref() == Some("master") {
            return Ok(());
        }
        let role = role.unwrap_or_else(|| "nothing".to_owned());
        Err(unfit(format!(
            "the Sentinels call it the master, and it calls itself {role}"
        )))
    }

    /// Ends when the master is not, or no longer, the one at `here`.
    ///
    /// Sentinels that do not answer end nothing: the master that is there is better than none.
    pub(super) async fn moved_from(
        &self,
        here: &ConnectionInfo,
        mut connection: redis::aio::MultiplexedConnection,
        deadline: Duration,
    ) {
        let Self::Master(sentinels) = self else {
            return std::future::pending().await;
        };
        loop {
            sleep(ASK_EVERY).await;
            // A connection that breaks is noticed by those who use it.
            if let Err(why) = self.confirm(&mut connection, deadline).await
                && why.kind() == ErrorKind::Client
            {
                return tracing::warn!(%why, "the store is no master any more");
            }
            if let Ok(there) = sentinels.find(deadline).await
                && there.addr() != here.addr()
            {
                return tracing::warn!(from = %here.addr(), to = %there.addr(), "the master has moved");
            }
        }
    }
}

impl Sentinels {
    async fn find(&self, deadline: Duration) -> RedisResult<ConnectionInfo> {
        let mut asked = JoinSet::new();
        for sentinel in &self.sentinels {
            let (sentinel, master) = (sentinel.clone(), self.master.clone());
            asked.spawn(async move {
                let answer = within(deadline, question(&sentinel, &master, deadline)).await;
                answer.map_err(|why| format!("{}: {why}", sentinel.addr()))
            });
        }
        let mut answers = Vec::with_capacity(self.sentinels.len());
        let mut refusals = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(why)) => refusals.push(why),
                Err(ended) => refusals.push(ended.to_string()),
            }
            if answers.len() * 2 > self.sentinels.len() {
                break;
            }
        }
        let Some(Answer { host, port, .. }) = newest(answers) else {
            let (count, master) = (self.sentinels.len(), &self.master);
            return Err(unfit(format!(
                "none of {count} Sentinels said where the master {master} is ({})",
                refusals.join("; ")
            )));
        };
        let info = self.sentinels[0].clone();
        Ok(info.set_addr(ConnectionAddr::Tcp(host, port)))
    }
}

/// Asks one Sentinel on a connection of its own: one that is paused or cut off holds up no other.
async fn question(
    sentinel: &ConnectionInfo,
    master: &str,
    deadline: Duration,
) -> RedisResult<Answer> {
    // Nothing of the store's settings: a Sentinel knows neither databases nor, mostly, a password.
    let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
    let (mut connection, _driver) =
        open(&sentinel.clone().set_redis_settings(bare), deadline).await?;
    // In this order, so that no old address can come with a new epoch.
    let details = command(&["SENTINEL", "MASTER", master]);
    let details = match ask(&mut connection, &details, deadline).await {
        Err(error) if error.code() == Some("NOAUTH") => {
            let password = sentinel.redis_settings().password().unwrap_or_default();
            ask(&mut connection, &command(&["AUTH", password]), deadline).await?;
            ask(&mut connection, &details, deadline).await?
        }
        other => other?,
    };
    let address = command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]);
    let address = ask(&mut connection, &address, deadline).await?;
    answer(&address, &details)
        .ok_or_else(|| unfit(format!("it knows no master of the name {master}")))
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

/// Reads the answers to `SENTINEL get-master-addr-by-name` and `SENTINEL master`. The address comes from the first: while
/// a failover is being completed, the second still names the old one.
fn answer(address: &Value, details: &Value) -> Option<Answer> {
    let [host, port] = items(address)? else {
        return None;
    };
    let (fields, _) = items(details)?.as_chunks::<2>();
    let epoch = fields
        .iter()
        .find(|[name, _]| text(name).as_deref() == Some("config-epoch"))
        .and_then(|[_, epoch]| text(epoch)?.parse().ok());
    Some(Answer {
        epoch: epoch.unwrap_or(0),
        host: text(host).filter(|host| !host.is_empty())?,
        port: text(port)?.parse().ok()?,
    })
}

/// The answer that belongs to the newest configuration.
fn newest(answers: Vec<Answer>) -> Option<Answer> {
    answers.into_iter().max_by_key(|answer| answer.epoch)
}

/// The first word of an answer to `ROLE`.
fn role(answer: &Value) -> Option<String> {
    text(items(answer)?.first()?)
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// A Redis that answers, and not as it should.
fn unfit(why: String) -> RedisError {
    RedisError::from((ErrorKind::Client, "not the master", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentinels(url: &str, password: Option<&str>) -> Result<Sentinels, String> {
        match Place::parse(url, password)? {
            Place::Master(sentinels) => Ok(sentinels),
            Place::Fixed(_) => panic!("{url} is taken for a fixed address"),
        }
    }

    fn addresses(url: &str) -> Vec<String> {
        let found = sentinels(url, None).unwrap().sentinels;
        found.iter().map(|one| one.addr().to_string()).collect()
    }

    #[test]
    fn a_url_names_sentinels_and_the_master() {
        let url = "redis+sentinel://one:1,two,[::1],[::1]:7/lab-1.master_x";
        assert_eq!(sentinels(url, None).unwrap().master, "lab-1.master_x");
        assert_eq!(addresses(url), ["one:1", "two:26379", "::1:26379", "::1:7"]);
    }

    #[test]
    fn user_and_password_are_those_of_the_store_at_each_sentinel() {
        for (url, password) in [
            ("redis+sentinel://shop:p%40ss@one,two/lab", None),
            ("redis+sentinel://shop@one,two/lab", Some("p@ss")),
        ] {
            for one in sentinels(url, password).unwrap().sentinels {
                assert_eq!(one.redis_settings().username(), Some("shop"));
                assert_eq!(one.redis_settings().password(), Some("p@ss"));
            }
        }
        let Ok(Place::Fixed(info)) = Place::parse("redis://one", Some("p@ss")) else {
            panic!("redis:// is a fixed address");
        };
        assert_eq!(info.redis_settings().password(), Some("p@ss"));
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
            let why = sentinels(url, None).err().expect(url);
            assert!(
                why.contains("HOST:PORT") && !why.contains("secret"),
                "{why}"
            );
        }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn said(host: &str, port: &str, details: &[&str]) -> Option<Answer> {
        let details = details.iter().map(|word| bulk(word)).collect();
        answer(
            &Value::Array(vec![bulk(host), bulk(port)]),
            &Value::Array(details),
        )
    }

    #[test]
    fn the_newest_configuration_counts() {
        let old = said("10.0.0.1", "6379", &["name", "lab", "config-epoch", "7"]);
        let new = said(
            "10.0.0.2",
            "6380",
            &["ip", "10.0.0.1", "config-epoch", "10"],
        );
        let expected = Answer {
            epoch: 10,
            host: "10.0.0.2".into(),
            port: 6380,
        };
        assert_eq!(new, Some(expected.clone()));
        for answers in [[&old, &new, &old], [&new, &old, &old]] {
            let answers = answers.into_iter().flatten().cloned().collect();
            assert_eq!(newest(answers), Some(expected.clone()));
        }
        assert_eq!(newest(vec![]), None);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let details = Value::Array(vec![bulk("config-epoch"), bulk("1")]);
        for address in [
            Value::Nil,
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![bulk("10.0.0.1")]),
            Value::Array(vec![bulk("10.0.0.1"), bulk("x")]),
            Value::Array(vec![bulk(""), bulk("1")]),
            Value::Array(vec![Value::Nil, Value::Int(1)]),
        ] {
            assert_eq!(answer(&address, &details), None);
        }
        assert_eq!(said("10.0.0.1", "70000", &[]), None);
        // A Sentinel that tells no epoch is believed last.
        assert_eq!(said("h", "1", &["config-epoch"]).unwrap().epoch, 0);
        assert_eq!(said("h", "1", &["config-epoch", "x"]).unwrap().epoch, 0);
    }

    #[test]
    fn a_role_is_the_first_word() {
        let slave = Value::Array(vec![bulk("slave"), bulk("10.0.0.1"), Value::Int(1)]);
        assert_eq!(role(&slave).as_deref(), Some("slave"));
        assert_eq!(role(&Value::Array(vec![])), None);
        assert_eq!(role(&Value::Nil), None);
    }
}
