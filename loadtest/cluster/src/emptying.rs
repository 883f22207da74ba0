//! Empties the store of a cluster that was joined: removes what a shop has left there, and nothing else, and only where the store
//! is a lab's own.
//!
//! An address in a file is no proof of anything: it may name a store that somebody needs. So a lab's store carries a mark. The lab
//! sets it where a mistake is out of the question:
//!
//! | what is found | what happens |
//! | --- | --- |
//! | the mark | keys of the shop are removed, others stay |
//! | nothing at all | the mark is set |
//! | keys of the shop alone, in a Redis whose configuration `lab secrets` has written | the mark is set, they are removed |
//! | anything else | an error that says what was found |
//!
//! Keys are found with SCAN and removed with UNLINK, a bounded number in each call, so that the store answers others meanwhile.

use std::{collections::BTreeSet, io, net::SocketAddr, time::Duration};

use agent::resp;
use evidence::strategy::Table;
use tokio::time::Instant;

use super::{ClusterError, secrets, store::Store};

/// The mark of a store that belongs to a lab's cluster.
const MARK: &str = "lab:cluster";

/// For one walk over all keys, some 200,000 a second.
const WALK_WITHIN: Duration = Duration::from_mins(1);

/// Beginnings of foreign keys that an error shows.
const EXAMPLES: usize = 3;

/// One step of SCAN. Takes the cursor, whether to remove, the mark, and the prefixes of the shop; answers with the next cursor, the
/// number of the shop's keys, of others, and an example of these: up to the first colon at most, the rest may name somebody.
const STEP: &str = r"
local page = redis.call('SCAN', ARGV[1], 'COUNT', 1000)
local own, foreign, example = 0, 0, ''
for _, key in ipairs(page[2]) do
  local is_own = false
  for i = 4, #ARGV do
    is_own = is_own or string.sub(key, 1, #ARGV[i]) == ARGV[i]
  end
  if is_own then
    own = own + 1
    if ARGV[2] == 'remove' then redis.call('UNLINK', key) end
  elseif key ~= ARGV[3] then
    foreign = foreign + 1
    example = string.gsub(string.match(string.sub(key, 1, 16), '^[^:]*:?'), '[^%w:_.-]', '?')
  end
end
return page[1] .. ' ' .. own .. ' ' .. foreign .. ' ' .. example
";

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys {
    own: u64,
    foreign: u64,
    /// Beginnings of foreign ones.
    examples: BTreeSet<String>,
}

/// Makes sure that the store is a lab's own, and marks it. Removes nothing.
pub(super) async fn claim(store: &Store, table: &Table) -> Result<(), ClusterError> {
    if ask(store, &["EXISTS", MARK]).await? == "1" {
        return Ok(());
    }
    let mut keys = walk(store, table, "count").await?;
    let elsewhere = in_other_databases(&ask(store, &["INFO", "keyspace"]).await?);
    if elsewhere > 0 {
        keys.foreign += elsewhere;
        keys.examples.insert("other databases".into());
    }
    let is_empty = keys == Keys::default();
    if is_empty || (keys.foreign == 0 && is_configured_by_a_lab(store).await) {
        ask(
            store,
            &["SET", MARK, "set by `lab run`: this store may be emptied"],
        )
        .await?;
        return Ok(());
    }
    Err(foreign(store.address, &keys))
}

/// Removes all keys of the shop from a store that was [`claim`]ed.
pub(super) async fn empty(store: &Store, table: &Table) -> Result<(), ClusterError> {
    walk(store, table, "remove").await.map(drop)
}

/// Looks at every key once.
async fn walk(store: &Store, table: &Table, what: &str) -> Result<Keys, ClusterError> {
    let rows = table.all().iter();
    let prefixes: BTreeSet<&str> = rows
        .flat_map(|about| about.key_prefixes.iter().map(String::as_str))
        .collect();
    let deadline = Instant::now() + WALK_WITHIN;
    let mut keys = Keys::default();
    let mut cursor = "0".to_owned();
    loop {
        let mut command = vec!["EVAL", STEP, "0", &cursor, what, MARK];
        command.extend(prefixes.iter().copied());
        let answer = ask(store, &command).await?;
        cursor = keys.add(&answer).ok_or_else(|| {
            let what = format!("not what the script answers: {answer:?}");
            ClusterError::Store(io::Error::new(io::ErrorKind::InvalidData, what))
        })?;
        if cursor == "0" {
            return Ok(keys);
        }
        if Instant::now() > deadline {
            return Err(ClusterError::Store(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "it holds too many keys to look at within {WALK_WITHIN:?}: {} of a shop and {} others so far",
                    keys.own, keys.foreign
                ),
            )));
        }
    }
}

impl Keys {
    /// Takes in what one step has seen; the next cursor.
    fn add(&mut self, answer: &str) -> Option<String> {
        let mut words = answer.split(' ');
        let cursor = words.next()?.to_owned();
        self.own += words.next()?.parse::<u64>().ok()?;
        self.foreign += words.next()?.parse::<u64>().ok()?;
        let example = words.next()?;
        if !example.is_empty() && self.examples.len() < EXAMPLES {
            self.examples.insert(example.to_owned());
        }
        Some(cursor)
    }
}

/// Keys beyond the database that nodes use: `db3:keys=17,expires=0,…`.
fn in_other_databases(keyspace: &str) -> u64 {
    let keys = keyspace.lines().filter_map(|line| {
        let (database, figures) = line.trim().strip_prefix("db")?.split_once(":keys=")?;
        let count = figures.split(',').next()?.parse::<u64>().ok()?;
        (database != "0").then_some(count)
    });
    keys.sum()
}

/// Whether its configuration is one that `lab secrets` wrote. A store that does not say so may be anybody's.
async fn is_configured_by_a_lab(store: &Store) -> bool {
    let ident = ask(store, &["CONFIG", "GET", "syslog-ident"]).await;
    ident.is_ok_and(|ident| ident.lines().nth(1) == Some(secrets::STORE_IDENT))
}

async fn ask(store: &Store, command: &[&str]) -> Result<String, ClusterError> {
    resp::ask(store.address, Some(&store.password), command)
        .await
        .map_err(ClusterError::Store)
}

fn foreign(address: SocketAddr, keys: &Keys) -> ClusterError {
    let examples: Vec<&str> = keys.examples.iter().map(String::as_str).collect();
    ClusterError::ForeignStore {
        address,
        own: keys.own,
        foreign: keys.foreign,
        examples: examples.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_and_examples_are_few() {
        let mut keys = Keys::default();
        assert_eq!(keys.add("17 2 1 orders:").unwrap(), "17");
        for name in ["a:", "b:", "c:", "orders:"] {
            keys.add(&format!("5 0 1 {name}")).unwrap();
        }
        assert_eq!(keys.add("0 1 0 ").unwrap(), "0");
        assert_eq!((keys.own, keys.foreign), (3, 5));
        assert_eq!(keys.examples.len(), EXAMPLES);
        assert_eq!(keys.add("nonsense"), None);
    }

    #[test]
    fn other_databases_are_counted() {
        let text = "# Keyspace\r\ndb0:keys=9,expires=1,avg_ttl=0\r\ndb3:keys=17,expires=0,avg_ttl=0\r\ndb10:keys=1,expires=0\r\n";
        assert_eq!(in_other_databases(text), 18);
        assert_eq!(in_other_databases("# Keyspace\r\n"), 0);
    }
}
