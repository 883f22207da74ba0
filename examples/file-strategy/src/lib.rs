//! `file`: the session lives in a file, in a folder that all nodes share.
//!
//! **Where the state lives.** In one file per session, named by the session's id, on a file system that all nodes share.
//!
//! **What a request costs.** A lock, a read, and for a change a write and a rename. No round trip to a server; on a network
//! file system each of them is one.
//!
//! **What is lost when.** A node dies: nothing. A file is replaced as a whole (written beside it, then renamed), so a node that
//! is killed in the middle leaves the old one; its lock, the kernel takes back. The folder is gone: everything.
//!
//! An example, to show what a strategy needs. A file's name is what the cookie holds, so whoever can list the folder can
//! log in: keep it to the nodes. And whoever lists or revokes reads every file; a real strategy would keep an index.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use session::about::{Carriage, ConcurrentChanges, Ends, Reach, RoundTrips};
use session::settings::{ABSOLUTE, IDLE, MAX_CART_LINES, Takes};
use session::strategy::MAX_LISTED;
use session::theory::{Expected, Extent, Hit, LATE};
use session::{
    About, Answer, Cart, Change, Clock, Credential, Error, Host, Listed, LoggedOut, Part, Session,
    Setting, StateLives, Strategy, Unfit, Values,
};

/// What `file` says of itself.
static ABOUT: About = About {
    name: "file",
    title: "Sessions as files",
    sentence: "The session lives in a file, in a folder that all nodes share.",
    state_lives: StateLives::Store,
    store: None,
    key_prefixes: &[],
    needs_affinity: false,
    carriage: Carriage::Cookie,
    parts: &[Part::session_id("session-file")],
    ends: Ends::Idle {
        idle: &IDLE,
        absolute: &ABSOLUTE,
    },
    logout: Reach::AtOnce,
    revocation: Reach::AtOnce,
    lists_logins: true,
    concurrent_changes: ConcurrentChanges::Kept,
    round_trips: RoundTrips::NONE,
    logout_means: "The session's file is removed, and no node accepts it from then on.",
    port: 8092,
    settings: &[&FOLDER, &IDLE, &ABSOLUTE, &MAX_CART_LINES],
    theory: THEORY,
};

#[rustfmt::skip]
const THEORY: &[Expected] = &[
    //            what is hit      by                                predicted  tolerated  which sessions
    Expected::new(Hit::Node,       &["pause", "slow"],                   &[], LATE, Extent::AsListed,
        "The load balancer repeats what a node does not answer in time, and the node still gets to it when it goes on."),
    Expected::new(Hit::Link,       &["blackhole", "delay", "bandwidth"], &[], LATE, Extent::AsListed,
        "What a link holds back arrives in the end, also a request that was repeated elsewhere meanwhile."),
    Expected::new(Hit::Anything,   &[],                                  &[], &[],  Extent::AsListed,
        "All state is in the folder, and a file is replaced as a whole: no node has anything to lose."),
    Expected::new(Hit::Revocation, &[],                                  &[], &[],  Extent::AsListed,
        "Every node removes the files of all logins, and every request looks for its file."),
    Expected::new(Hit::Nothing,    &[],                                  &[], &[],  Extent::AsListed,
        "Every request looks into the one folder that knows."),
];

/// Where the files are.
pub static FOLDER: Setting = Setting {
    flag: "session-folder",
    value_name: "PATH",
    doc: "The folder that holds a file for each session, the same for all nodes.",
    takes: Takes::Text,
};

/// The row of `file` in the table of strategies.
pub struct Kind;

impl session::Kind for Kind {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn check(&self, values: &Values) -> Result<(), Unfit> {
        folder(values)?;
        values.check_expiry()
    }

    fn build(&self, values: &Values, host: &Host) -> Result<Arc<dyn Strategy>, Unfit> {
        let folder = folder(values)?;
        let unusable = |why| {
            Unfit(format!(
                "--session-folder {} cannot be used: {why}",
                folder.display()
            ))
        };
        fs::create_dir_all(&folder).map_err(unusable)?;
        Ok(Arc::new(Files {
            folder,
            idle_s: values.number(&IDLE),
            absolute_s: values.number(&ABSOLUTE),
            max_lines: values.count(&MAX_CART_LINES),
            clock: host.clock.clone(),
        }))
    }
}

fn folder(values: &Values) -> Result<PathBuf, Unfit> {
    let text = values.text(&FOLDER).ok_or_else(|| {
        Unfit("strategy file needs a folder that all nodes share: set --session-folder PATH".into())
    })?;
    let path = std::str::from_utf8(text.value.reveal());
    path.map(PathBuf::from)
        .map_err(|_| Unfit("--session-folder is not UTF-8: choose another folder".into()))
}

/// How long a request waits while others use the same lock.
const PATIENCE: Duration = Duration::from_millis(900);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A use is written down when the last one is so long ago: most requests only read.
const WRITE_USES_EVERY_S: u64 = 60;

struct Files {
    folder: PathBuf,
    idle_s: u64,
    absolute_s: u64,
    max_lines: usize,
    clock: Clock,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    user: String,
    issued_at: u64,
    last_used_at: u64,
    cart: Cart,
}

/// What becomes of a file after it was looked at.
#[derive(PartialEq)]
enum After {
    Keep,
    Write,
    Remove,
}

const NOT_LOGGED_IN: Error = Error::NotLoggedIn {
    why: "unknown or expired session",
};

/// The folder did not do what was asked; before anything was changed.
#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn unavailable(why: impl ToString) -> Error {
    Error::StoreUnavailable {
        nothing_done: true,
        why: why.to_string(),
    }
}

impl Files {
    fn expires_at(&self, stored: &Stored) -> u64 {
        let idle_end = stored.last_used_at.saturating_add(self.idle_s);
        idle_end.min(stored.issued_at.saturating_add(self.absolute_s))
    }

    fn session(&self, stored: &Stored) -> Session {
        Session {
            user: stored.user.clone(),
            issued_at: stored.issued_at,
            expires_at: self.expires_at(stored),
        }
    }

    /// Locks what belongs to `id` until the file that is handed back is dropped. Sixteen locks are shared by all sessions: a
    /// lock file for each would have to be removed, and who removes a lock that another one waits for breaks it.
    async fn lock(&self, id: &str) -> Result<File, Error> {
        let path = self.folder.join(format!("lock-{}", &id[..1]));
        let lock = File::options().create(true).append(true).open(path);
        let lock = lock.map_err(unavailable)?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(why) => return Err(unavailable(why)),
            }
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn write(&self, id: &str, stored: &Stored) -> Result<(), Error> {
        let new = self.folder.join(format!("{id}.new"));
        let bytes = serde_json::to_vec(stored).map_err(unavailable)?;
        fs::write(&new, bytes).map_err(unavailable)?;
        fs::rename(&new, self.path(id)).map_err(unavailable)
    }

    /// The live session of `id`, if there is one. The caller holds its lock.
    fn read(&self, id: &str) -> Result<Option<Stored>, Error> {
        let bytes = match fs::read(self.path(id)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(unavailable)?,
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(unavailable)?;
        Ok(Some(stored).filter(|stored| self.expires_at(stored) > self.clock.now()))
    }

    /// Runs `work` on the live session of `id`, alone among all requests and nodes.
    async fn with<T>(
        &self,
        id: &str,
        work: impl FnOnce(&mut Stored) -> Result<(T, After), Error> + Send,
    ) -> Result<T, Error> {
        let _lock = self.lock(id).await?;
        let mut stored = self.read(id)?.ok_or(NOT_LOGGED_IN)?;
        let (outcome, after) = work(&mut stored)?;
        match after {
            After::Keep => {}
            After::Write => self.write(id, &stored)?,
            After::Remove => fs::remove_file(self.path(id)).map_err(unavailable)?,
        }
        Ok(outcome)
    }

    /// As [`Files::with`], for the one who presents `credential`: that is a use.
    async fn used<T>(
        &self,
        credential: &Credential,
        work: impl FnOnce(&mut Stored) -> Result<(T, After), Error> + Send,
    ) -> Result<Answer<T>, Error> {
        let now = self.clock.now();
        let id = id(credential).ok_or(NOT_LOGGED_IN)?;
        self.with(id, |stored| {
            let is_due = now.saturating_sub(stored.last_used_at) >= WRITE_USES_EVERY_S;
            stored.last_used_at = stored.last_used_at.max(now);
            let (outcome, after) = work(stored)?;
            let after = if is_due && after == After::Keep {
                After::Write
            } else {
                after
            };
            Ok((outcome.into(), after))
        })
        .await
    }

    /// The ids of all live sessions of `user`, with what their files hold.
    async fn sessions_of(&self, user: &str) -> Result<Vec<(String, Session)>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(unavailable)? {
            let name = entry.map_err(unavailable)?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let session = self.with(id, |stored| Ok((self.session(stored), After::Keep)));
            match session.await {
                Ok(session) if session.user == user => found.push((id.to_owned(), session)),
                // Another user's, or one that has ended since.
                Ok(_) | Err(Error::NotLoggedIn { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Ends the session `id`; whether there was one.
    async fn remove(&self, id: &str) -> Result<bool, Error> {
        match self.with(id, |_| Ok(((), After::Remove))).await {
            Ok(()) => Ok(true),
            Err(Error::NotLoggedIn { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The id in a credential, if it can be one: it becomes a path, so nothing else may.
fn id(credential: &Credential) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let id = credential.token();
    (id.len() == 32 && id.bytes().all(is_digit)).then_some(id)
}

/// Names a session in lists, and cannot be used as a credential.
fn handle(id: &str) -> String {
    id.chars().take(8).collect()
}

#[async_trait]
impl Strategy for Files {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn login(
        &self,
        user: &str,
        presented: Option<&Credential>,
    ) -> Result<Answer<Session>, Error> {
        let now = self.clock.now();
        let stored = Stored {
            user: user.to_owned(),
            issued_at: now,
            last_used_at: now,
            cart: Cart::default(),
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(unavailable)?;
        let new = format!("{:032x}", u128::from_be_bytes(random));
        let lock = self.lock(&new).await?;
        self.write(&new, &stored)?;
        drop(lock);
        if let Some(old) = presented.and_then(id) {
            self.remove(old).await?;
        }
        Ok(Answer::with(self.session(&stored), Credential::new(new)))
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Answer<Session>, Error> {
        self.used(credential, |stored| Ok((self.session(stored), After::Keep)))
            .await
    }

    async fn cart(&self, credential: &Credential) -> Result<Answer<Cart>, Error> {
        self.used(credential, |stored| Ok((stored.cart.clone(), After::Keep)))
            .await
    }

    async fn change(&self, credential: &Credential, change: Change) -> Result<Answer<Cart>, Error> {
        self.used(credential, |stored| {
            let is_another = stored.cart.apply(change, self.max_lines)?;
            let after = if is_another {
                After::Write
            } else {
                After::Keep
            };
            Ok((stored.cart.clone(), after))
        })
        .await
    }

    async fn logout(&self, credential: &Credential) -> Result<LoggedOut, Error> {
        if let Some(id) = id(credential) {
            self.remove(id).await?;
        }
        Ok(LoggedOut::Dead)
    }

    async fn sessions(&self, credential: &Credential) -> Result<Answer<Vec<Listed>>, Error> {
        let user = self.authenticate(credential).await?.value.user;
        let found = self.sessions_of(&user).await?.into_iter();
        let listed = found.map(|(id, session)| Listed {
            current: id == credential.token(),
            id: handle(&id),
            issued_at: session.issued_at,
            expires_at: session.expires_at,
        });
        Ok(listed.take(MAX_LISTED).collect::<Vec<_>>().into())
    }

    async fn end(&self, credential: &Credential, named: &str) -> Result<Answer<()>, Error> {
        let user = self.authenticate(credential).await?.value.user;
        let found = self.sessions_of(&user).await?;
        let (id, _) = found
            .iter()
            .find(|(id, _)| handle(id) == named)
            .ok_or(Error::NoSuchSession)?;
        self.remove(id).await?;
        Ok(().into())
    }

    async fn revoke(&self, user: &str) -> Result<u64, Error> {
        let mut ended = 0;
        for (id, _) in self.sessions_of(user).await? {
            ended += u64::from(self.remove(&id).await?);
        }
        Ok(ended)
    }

    async fn ready(&self) -> Result<(), Error> {
        self.folder.metadata().map(drop).map_err(unavailable)
    }
}
