//! Whether the store may throw away what has not expired, by its own words.
//!
//! `INFO` is asked first, because services that rent out a Redis mostly allow it and mostly forbid `CONFIG`. The policy alone
//! counts: one that evicts does no harm until `maxmemory` is set and used up, and then it is too late to be told.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::connection::{ask, items, text};
use crate::Eviction;

/// Names of policies are shorter; anything else is no policy.
const MAX_NAME: usize = 32;

/// Asks for the policy. `None` where nothing was answered at all: then the connection is broken, and what was known stays.
pub(super) async fn ask_policy(
    connection: &mut MultiplexedConnection,
    deadline: Duration,
) -> Option<Eviction> {
    for words in [
        &["INFO", "memory"][..],
        &["CONFIG", "GET", "maxmemory-policy"],
    ] {
        let mut command = redis::Cmd::new();
        command.arg(words);
        match ask(connection, &command, deadline).await {
            Ok(answer) => {
                if let Some(known) = read(&answer) {
                    return Some(known);
                }
            }
            Err(error) if error.code().is_none() => return None,
            Err(_) => {}
        }
    }
    Some(Eviction::Unknown)
}

/// Reads an answer to `INFO memory` or `CONFIG GET`.
fn read(answer: &Value) -> Option<Eviction> {
    let policy = match items(answer) {
        Some([_, policy]) => text(policy)?,
        Some(_) => return None,
        None => text(answer)?
            .lines()
            .find_map(|line| line.strip_prefix("maxmemory_policy:"))?
            .to_owned(),
    };
    // It goes into a log, a metric and an answer.
    let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let is_name = (1..=MAX_NAME).contains(&policy.len()) && policy.bytes().all(is_sign);
    is_name.then_some(match &*policy {
        "noeviction" => Eviction::Never,
        _ => Eviction::May { policy },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn both_commands_name_the_policy() {
        let may = |policy: &str| {
            Some(Eviction::May {
                policy: policy.into(),
            })
        };
        let info = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:volatile-lru\r\nx:1\r\n";
        assert_eq!(read(&bulk(info)), may("volatile-lru"));
        let config = ["maxmemory-policy", "allkeys-random"].map(bulk);
        assert_eq!(read(&Value::Array(config.into())), may("allkeys-random"));
        let config = ["maxmemory-policy", "noeviction"].map(bulk);
        assert_eq!(read(&Value::Array(config.into())), Some(Eviction::Never));
    }

    #[test]
    fn what_names_none_is_unknown() {
        for answer in [
            bulk("# Memory\r\nmaxmemory:0\r\n"),
            bulk("maxmemory_policy:"),
            bulk("maxmemory_policy:\"} 1"),
            Value::Array(vec![]),
            Value::Nil,
            Value::Int(1),
        ] {
            assert_eq!(read(&answer), None);
        }
    }
}
