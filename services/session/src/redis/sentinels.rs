//! Those who know where the master is, and how much of it is believed.
//!
//! A failover makes a new *configuration*: another master, under a number that only grows, the *configuration epoch*. News
//! of it spreads from one Sentinel to the others by and by, no vote is taken, and a master that was dead calls itself one
//! again when it comes back, until it is told. So for some seconds most Sentinels may still name a store that takes
//! writes and will throw them away. Therefore:
//!
//! * **All are waited for,** each within the deadline. The newest configuration that any of them names counts.
//! * **Never back.** A node remembers the newest configuration that it has heard of. Sentinels that name an older one, or
//!   another master under the same number, have slept: the master before stays the one to connect to.
//! * **Nobody by hearsay.** What they name must call itself a master, and they must still name it when the connection to it
//!   is open (see `place`).
//!
//! **The way out.** Sentinels that were set up anew count from 0 again. They are followed once *all* that the URL names
//! have agreed on the same other master for ten seconds on end, five times what they take to tell each other news. Where one
//! of them is gone for good, that never happens: the nodes must be restarted, for what they believe is in their memory.
//!
//! What this does not help against: a node that has just started, and reaches only Sentinels that have not heard of the
//! failover yet. It has nothing to remember.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, ConnectionInfo, RedisConnectionInfo, RedisResult, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{ask, items, open, text, unfit, with_password};
use super::dial::within;

/// How long all Sentinels must name another master that is not in a newer configuration.
const ANEW_AFTER: Duration = Duration::from_secs(10);
/// A Sentinel that changes its mind more often than this while it is asked is asked another time.
const QUESTIONS: usize = 3;

/// The Sentinels of one master.
pub(super) struct Sentinels {
    master: String,
    all: Vec<ConnectionInfo>,
    belief: Mutex<Belief>,
}

/// Where the master is, and the number of the failover that made it one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Configuration {
    epoch: u64,
    host: String,
    port: u16,
}

/// What the node has heard so far.
#[derive(Default)]
struct Belief {
    newest: Option<Configuration>,
    /// Another one, not newer, that all Sentinels name, and since when.
    contested: Option<(Configuration, Instant)>,
}

impl Sentinels {
    pub(super) fn new(master: String, sentinels: Vec<ConnectionInfo>) -> Self {
        Self {
            master,
            all: sentinels,
            belief: Mutex::default(),
        }
    }

    /// One of them, for the user, database and so on that the URL names.
    pub(super) fn first(&self) -> &ConnectionInfo {
        &self.all[0]
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &[ConnectionInfo] {
        &self.all
    }

    #[cfg(test)]
    pub(super) fn master(&self) -> &str {
        &self.master
    }

    /// Host and port of the master.
    pub(super) async fn find(
        &self,
        password: Option<&str>,
        deadline: Duration,
    ) -> RedisResult<(String, u16)> {
        let mut asked = JoinSet::new();
        for sentinel in &self.all {
            let sentinel = with_password(sentinel, password);
            let master = self.master.clone();
            asked.spawn(async move {
                let answer = within(deadline, question(&sentinel, &master, deadline)).await;
                answer.map_err(|why| format!("{}: {why}", sentinel.addr()))
            });
        }
        let mut answers = Vec::with_capacity(self.all.len());
        let mut refusals = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(why)) => refusals.push(why),
                Err(ended) => refusals.push(ended.to_string()),
            }
        }
        let mut belief = self.belief.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Configuration { host, port, .. }) =
            belief.weigh(answers, self.all.len(), Instant::now())
        {
            return Ok((host, port));
        }
        Err(unfit(format!(
            "none of {} Sentinels said where the master {} is ({})",
            self.all.len(),
            self.master,
            refusals.join("; ")
        )))
    }
}

impl Belief {
    /// The configuration to follow after `answers` from some of `all` Sentinels; `None` where none has answered.
    fn weigh(
        &mut self,
        answers: Vec<Configuration>,
        all: usize,
        now: Instant,
    ) -> Option<Configuration> {
        let is_unanimous = answers.len() == all && answers.windows(2).all(|two| two[0] == two[1]);
        let Some(told) = answers.into_iter().max_by_key(|one| one.epoch) else {
            self.contested = None;
            return None;
        };
        let Some(believed) = &self.newest else {
            self.newest = Some(told.clone());
            return Some(told);
        };
        let is_newer = told.epoch > believed.epoch;
        if !is_newer && (!is_unanimous || told == *believed) {
            self.contested = None;
            return Some(believed.clone());
        }
        if !is_newer {
            let since = match self.contested.take() {
                Some((same, since)) if same == told => since,
                _ => now,
            };
            if now - since < ANEW_AFTER {
                self.contested = Some((told, since));
                return Some(believed.clone());
            }
            tracing::warn!(
                from = believed.epoch,
                to = told.epoch,
                host = told.host,
                port = told.port,
                "all Sentinels have named another master for a while, in a configuration that is no newer: they were set up anew"
            );
        }
        self.contested = None;
        self.newest = Some(told.clone());
        Some(told)
    }
}

/// Asks one Sentinel on a connection of its own: one that is paused or cut off holds up no other.
async fn question(
    sentinel: &ConnectionInfo,
    master: &str,
    deadline: Duration,
) -> RedisResult<Configuration> {
    // Nothing of the store's settings: a Sentinel knows neither databases nor, mostly, a password.
    let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
    let (mut connection, _driver) =
        open(&sentinel.clone().set_redis_settings(bare), deadline).await?;
    let details = command(&["SENTINEL", "MASTER", master]);
    let address = command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]);
    let first = match ask(&mut connection, &details, deadline).await {
        Err(error) if error.code() == Some("NOAUTH") => {
            let password = sentinel.redis_settings().password().unwrap_or_default();
            ask(&mut connection, &command(&["AUTH", password]), deadline).await?;
            ask(&mut connection, &details, deadline).await?
        }
        other => other?,
    };
    // The address comes from the second command: while a failover is being completed, the first still names the old one.
    // It belongs to the epoch that was the same before and after.
    let mut before = epoch(&first);
    for _ in 0..QUESTIONS {
        let found = ask(&mut connection, &address, deadline).await?;
        let after = epoch(&ask(&mut connection, &details, deadline).await?);
        if before == after {
            return configuration(&found, after)
                .ok_or_else(|| unfit(format!("it knows no master of the name {master}")));
        }
        before = after;
    }
    Err(unfit("it changes its mind while it is asked".to_owned()))
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

/// Reads the epoch in an answer to `SENTINEL MASTER`. A Sentinel that tells none is believed last.
fn epoch(details: &Value) -> u64 {
    let fields = items(details).unwrap_or_default().as_chunks::<2>().0;
    fields
        .iter()
        .find(|[name, _]| text(name).as_deref() == Some("config-epoch"))
        .and_then(|[_, epoch]| text(epoch)?.parse().ok())
        .unwrap_or(0)
}

/// Reads an answer to `SENTINEL GET-MASTER-ADDR-BY-NAME`.
fn configuration(address: &Value, epoch: u64) -> Option<Configuration> {
    let [host, port] = items(address)? else {
        return None;
    };
    Some(Configuration {
        epoch,
        host: text(host).filter(|host| !host.is_empty())?,
        port: text(port)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn named(host: &str, epoch: u64) -> Configuration {
        Configuration {
            epoch,
            host: host.to_owned(),
            port: 6379,
        }
    }

    /// Weighs what is told one second after the other; what is followed each time, of 3 Sentinels.
    fn followed(told: &[&[(&str, u64)]]) -> Vec<Option<String>> {
        let (mut belief, mut now) = (Belief::default(), Instant::now());
        let weigh = |answers: &&[(&str, u64)]| {
            now += Duration::from_secs(1);
            let answers = answers.iter().map(|(host, epoch)| named(host, *epoch));
            let weighed = belief.weigh(answers.collect(), 3, now);
            weighed.map(|followed| followed.host)
        };
        told.iter().map(weigh).collect()
    }

    fn last(told: &[&[(&str, u64)]]) -> String {
        followed(told).pop().flatten().unwrap()
    }

    #[test]
    fn the_newest_configuration_counts_whoever_names_it() {
        for told in [
            [("old", 7), ("new", 10), ("old", 7)],
            [("new", 10), ("old", 7), ("old", 7)],
            [("old", 7), ("old", 7), ("new", 10)],
        ] {
            assert_eq!(last(&[&told]), "new");
        }
        assert_eq!(last(&[&[("old", 7)], &[("new", 8)]]), "new");
        assert_eq!(followed(&[&[]]), [None]);
    }

    #[test]
    fn an_older_one_and_another_of_the_same_number_are_not_followed() {
        for later in [
            &[("old", 7)][..],
            &[("old", 7), ("old", 7)],
            &[("other", 8)],
        ] {
            let told: Vec<_> = std::iter::once(&[("new", 8)][..])
                .chain(std::iter::repeat_n(later, 100))
                .collect();
            assert_eq!(last(&told), "new");
        }
    }

    #[test]
    fn all_of_them_are_believed_after_a_while_without_a_break() {
        let (new, all, two, none) = (
            &[("new", 8)][..],
            &[("anew", 0); 3][..],
            &[("anew", 0); 2][..],
            &[][..],
        );
        let for_long = |told: &[_], times| std::iter::repeat_n(told.to_vec(), times);
        let with = |told: Vec<Vec<_>>| {
            let told: Vec<&[_]> = std::iter::once(new)
                .chain(told.iter().map(Vec::as_slice))
                .collect();
            last(&told)
        };
        assert_eq!(with(for_long(all, 10).collect()), "new");
        assert_eq!(with(for_long(all, 11).collect()), "anew");
        for broken in [two, new, none, &[("third", 0); 3]] {
            let told = for_long(all, 9)
                .chain([broken.to_vec()])
                .chain(for_long(all, 9));
            assert_eq!(with(told.collect()), "new");
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for address in [
            Value::Nil,
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![bulk("10.0.0.1")]),
            Value::Array(vec![bulk("10.0.0.1"), bulk("x")]),
            Value::Array(vec![bulk("10.0.0.1"), bulk("70000")]),
            Value::Array(vec![bulk(""), bulk("1")]),
            Value::Array(vec![Value::Nil, Value::Int(1)]),
        ] {
            assert_eq!(configuration(&address, 1), None);
        }
        let address = Value::Array(vec![bulk("10.0.0.2"), bulk("6379")]);
        assert_eq!(configuration(&address, 7), Some(named("10.0.0.2", 7)));
    }

    #[test]
    fn an_epoch_is_a_field_of_many() {
        let details = |words: &[&str]| Value::Array(words.iter().map(|word| bulk(word)).collect());
        let found = epoch(&details(&["ip", "10.0.0.1", "config-epoch", "10"]));
        assert_eq!(found, 10);
        for none in [&["config-epoch"][..], &["config-epoch", "x"], &["ip", "1"]] {
            assert_eq!(epoch(&details(none)), 0);
        }
        assert_eq!(epoch(&Value::Nil), 0);
    }
}
