//! The keys of strategy jwt as an operator writes them down, and the watch over their file.
//!
//! Either one key and nothing else, or one key a line:
//! ```text
//! # use     key                               for a key that goes: when it retires: the switch + --access-token-s + --token-leeway-s
//! signs     a3f1…(openssl rand -hex 32)
//! verifies  77b0…                             until 2026-12-01T00:30:00Z
//! ```
//! A key is what stands there, at least 32 characters without blanks; nothing is decoded, so a file of one key and a
//! line with the same key mean the same. How keys are changed without logging anybody out: `ring.rs`.
//!
//! # The watch
//! A node looks at the file twice a second, and takes what it finds once two looks in a row have found the same: a
//! file that is just being written is not taken for a short one. What cannot be used (no file, no key, half a line) is
//! told in the log once, and the keys before stay. It looks at what the file says and not at when it changed: that works
//! alike for a file that is replaced, written over, or behind links that are switched, as secrets in containers are.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::DateTime;

use super::ring::{Ring, Use};
use crate::Secret;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reads keys. What is wrong is told without a word of what stands there.
pub(super) fn ring(content: &Secret) -> Result<Ring, String> {
    let content = content.reveal();
    let is_one_word = !content.iter().any(u8::is_ascii_whitespace) && !content.is_empty();
    let ring = if is_one_word {
        Ring::of_one(content)
    } else {
        let text = std::str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys: Result<Vec<_>, _> = lines
            .map(|(number, text)| line(text).map_err(|why| format!("line {number}: {why}")))
            .collect();
        Ring::new(keys?)
    };
    ring.map_err(|why| why.to_string())
}

fn line(text: &str) -> Result<(Vec<u8>, Use), &'static str> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (key, its_use) = match words[..] {
        ["signs", key] => (key, Use::Signs),
        ["verifies", key] => (key, Use::Verifies { until: None }),
        ["verifies", key, "until", time] => {
            let until = Some(seconds(time).ok_or("the time must look like 2026-12-01T00:30:00Z")?);
            (key, Use::Verifies { until })
        }
        ["signs", _, "until", ..] => {
            return Err("a key that signs cannot retire: let another key sign first");
        }
        _ => return Err("must be `signs KEY` or `verifies KEY [until TIME]`"),
    };
    Ok((key.into(), its_use))
}

/// RFC 3339 to seconds since the Unix epoch.
fn seconds(time: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(time).ok()?;
    u64::try_from(time.timestamp()).ok()
}

/// Watches the file that `taken` was read from, and changes the `keys` in use, for as long as somebody uses them.
///
/// On a thread of its own: reading a file can block, and the blocking threads of the runtime belong to password checks.
pub(super) fn watch(path: PathBuf, taken: Secret, keys: &Arc<ArcSwap<Ring>>) -> io::Result<()> {
    let in_use = Arc::downgrade(keys);
    let look = move || {
        let mut watch = Watch::new(taken);
        while let Some(in_use) = pause(&in_use) {
            let found = Secret::read(&path).map_err(|why| why.to_string());
            match watch.look(found) {
                Look::AsBefore => {}
                Look::Changed(ring) => {
                    let keys = format!("{ring:?}");
                    in_use.store(Arc::new(ring));
                    tracing::info!(keys, "the keys of the tokens were changed");
                }
                Look::Unusable(why) => tracing::error!(
                    path = %path.display(),
                    %why,
                    "the keys of the tokens cannot be read again, and those before stay in use: correct the file"
                ),
            }
        }
    };
    thread::Builder::new()
        .name("jwt-keys".into())
        .spawn(look)
        .map(drop)
}

fn pause(in_use: &Weak<ArcSwap<Ring>>) -> Option<Arc<ArcSwap<Ring>>> {
    thread::sleep(LOOK_EVERY);
    in_use.upgrade()
}

/// What was found, or why nothing was.
type Found = Result<Secret, String>;

struct Watch {
    /// What has been dealt with.
    settled: Found,
    /// What the last look has found.
    last: Found,
}

#[derive(Debug)]
enum Look {
    AsBefore,
    Changed(Ring),
    Unusable(String),
}

impl Watch {
    fn new(taken: Secret) -> Self {
        Self {
            settled: Ok(taken.clone()),
            last: Ok(taken),
        }
    }

    fn look(&mut self, found: Found) -> Look {
        let is_still = found == self.last;
        self.last = found;
        if !is_still || self.last == self.settled {
            return Look::AsBefore;
        }
        self.settled = self.last.clone();
        match self.settled.as_ref().map_err(String::clone).and_then(ring) {
            Ok(ring) => Look::Changed(ring),
            Err(why) => Look::Unusable(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn read(text: &str) -> Result<Vec<(String, Use)>, String> {
        let ring = ring(&Secret::new(text))?;
        let ids = ring.ids().map(|(id, its_use)| (id.to_owned(), its_use));
        Ok(ids.collect())
    }

    #[test]
    fn one_key_alone_and_a_line_with_it_mean_the_same() {
        let alone = read(OLD).unwrap();
        assert_eq!(read(&format!("signs {OLD}")).unwrap(), alone);
        assert_eq!(alone[0].1, Use::Signs);
        let two = format!(
            "# who signs\n\n  signs\t{NEW}\r\nverifies {OLD} until 1970-01-02T00:00:00+01:00\n"
        );
        let two = read(&two).unwrap();
        assert_eq!(two[0].1, Use::Signs);
        let until = Some(23 * 3600);
        assert_eq!(two[1], (alone[0].0.clone(), Use::Verifies { until }));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_the_key() {
        for (text, told) in [
            (String::new(), "0 keys sign"),
            ("# nothing yet\n".into(), "0 keys sign"),
            (format!("{OLD} {NEW}"), "line 1: must be `signs KEY`"),
            (format!("signs {OLD}\nverify {NEW}"), "line 2: must be"),
            (format!("signs {OLD}\nsigns {NEW}"), "2 keys sign"),
            (format!("verifies {OLD}"), "0 keys sign"),
            (
                format!("signs {OLD}\nverifies {OLD}"),
                "key 2 is there twice",
            ),
            (
                format!("signs {OLD}\nverifies {}", &NEW[1..]),
                "key 2 has 31 bytes",
            ),
            (OLD[1..].into(), "key 1 has 31 bytes"),
            (
                format!("signs {OLD} until 2026-12-01T00:00:00Z"),
                "line 1: a key that signs cannot retire",
            ),
            (
                format!("signs {NEW}\nverifies {OLD} until tomorrow"),
                "line 2: the time must look like",
            ),
            (
                format!("signs {NEW}\nverifies {OLD} until 2026-12-01"),
                "line 2: the time must",
            ),
            (
                format!("signs {NEW}\nverifies {OLD} until 2026-02-30T00:00:00Z"),
                "line 2: the time must",
            ),
            (
                format!("signs {NEW}\nverifies {OLD} until"),
                "line 2: must be",
            ),
            (
                format!("signs {NEW}\nverifies {OLD} until 2026-12-01T00:00:00Z or so"),
                "line 2: must be",
            ),
        ] {
            let why = read(&text).unwrap_err();
            assert!(why.contains(told), "{text:?}: {why}");
            assert!(
                !why.contains(&OLD[1..]) && !why.contains(&NEW[1..]),
                "{why}"
            );
        }
        let binary = ring(&Secret::new([b' ', 0xff])).unwrap_err();
        assert_eq!(binary, "it is not text");
    }

    #[test]
    fn a_file_counts_once_it_is_found_twice_the_same() {
        let mut watch = Watch::new(Secret::new(OLD));
        let mut look = |found: &str| watch.look(Ok(Secret::new(found)));
        let half = format!("signs {NEW}");
        let whole = format!("{half}\nverifies {OLD}");
        for (found, is_taken) in [
            (OLD, false),
            (&half, false),
            (&whole, false),
            (&whole, true),
            (&whole, false),
            (OLD, false),
            (&whole, false),
            (&whole, false),
        ] {
            assert_eq!(matches!(look(found), Look::Changed(_)), is_taken, "{found}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_once_and_can_be_mended() {
        let mut watch = Watch::new(Secret::new(OLD));
        let mut look = |found: Found| {
            watch.look(found.clone());
            watch.look(found)
        };
        assert!(matches!(look(Err("gone".into())), Look::Unusable(why) if why == "gone"));
        assert!(matches!(look(Err("gone".into())), Look::AsBefore));
        assert!(matches!(look(Ok(Secret::new(""))), Look::Unusable(_)));
        assert!(matches!(look(Ok(Secret::new(OLD))), Look::Changed(_)));
    }
}
