//! The two maps of `sticky` and the order in which their locks are taken. Knows nothing of time:
//! when a session has expired is the business of the strategy.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Cart, secret};

/// A shard holds about this many sessions when the memory is full: few enough to be swept in tens of microseconds.
const SESSIONS_A_SHARD: usize = 4096;

/// A session id: 128 random bits in two halves. The first chooses the shard, the second the place within it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    shard: u64,
    place: u64,
}

impl Id {
    pub(super) fn draw() -> Self {
        Self::from_bytes(&secret::draw())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        secret::parse(text).as_ref().map(Self::from_bytes)
    }

    pub(super) fn text(self) -> String {
        secret::text(&self.bytes())
    }

    /// What names the session in lists: cannot be turned back into the id.
    pub(super) fn handle(self) -> String {
        String::from_utf8_lossy(&secret::digest(&self.bytes())).into_owned()
    }

    fn from_bytes(bytes: &[u8; secret::BYTES]) -> Self {
        let both = u128::from_le_bytes(*bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        Self {
            shard: (both >> 64) as u64,
            place: both as u64,
        }
    }

    fn bytes(self) -> [u8; secret::BYTES] {
        (u128::from(self.shard) << 64 | u128::from(self.place)).to_le_bytes()
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.place);
    }
}

/// Hands an id's random bits on as the hash. A keyed hash protects a map from keys that were chosen to collide;
/// nobody chooses a session id but the generator, and looking up foreign ones adds none to the map.
#[derive(Default)]
struct AlreadyRandom(u64);

impl Hasher for AlreadyRandom {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, random: u64) {
        self.0 = random;
    }
}

/// A session as it lies in memory, 40 bytes. A cart takes room of its own only once there is something in it.
pub(super) struct Stored {
    pub(super) user: Arc<str>,
    pub(super) issued_at: u64,
    pub(super) last_used_at: u64,
    cart: Option<Box<Cart>>,
}

impl Stored {
    pub(super) fn new(user: &str, now: u64) -> Self {
        Self {
            user: user.into(),
            issued_at: now,
            last_used_at: now,
            cart: None,
        }
    }

    pub(super) fn cart(&self) -> Cart {
        self.cart.as_deref().cloned().unwrap_or_default()
    }

    pub(super) fn cart_mut(&mut self) -> &mut Cart {
        self.cart.get_or_insert_default()
    }
}

/// The ids of one user. Most users are logged in once, and need no heap for that. A set and not a list: of a user with very
/// many logins each is removed as quickly as that of any other.
enum Ids {
    One(Id),
    Many(HashSet<Id, BuildHasherDefault<AlreadyRandom>>),
}

impl Ids {
    #[cfg(test)]
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }

    fn first(&self, most: usize) -> Vec<Id> {
        match self {
            Self::One(id) => vec![*id],
            Self::Many(ids) => ids.iter().take(most).copied().collect(),
        }
    }

    fn insert(&mut self, id: Id) {
        match self {
            Self::One(first) => *self = Self::Many([*first, id].into_iter().collect()),
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Removes `id`; true when no id is left.
    fn remove(&mut self, id: Id) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Many(ids) => {
                ids.remove(&id);
                ids.is_empty()
            }
        }
    }
}

type Sessions = HashMap<Id, Stored, BuildHasherDefault<AlreadyRandom>>;
// User names come from outside: here the keyed hash of the standard library is needed.
type Users = HashMap<Arc<str>, Ids, RandomState>;

/// Sessions by id, ids by user, and how many places are taken.
pub(super) struct Memory {
    sessions: Box<[Mutex<Sessions>]>,
    users: Box<[Mutex<Users>]>,
    user_hash: RandomState,
    max_sessions: usize,
    /// Sessions, and places taken for sessions that are about to be inserted.
    taken: AtomicUsize,
    next_sweep: AtomicUsize,
}

impl Memory {
    pub(super) fn new(max_sessions: usize) -> Self {
        let shards = (max_sessions / SESSIONS_A_SHARD).next_power_of_two();
        let shards = shards.clamp(16, 4096);
        let user_hash = RandomState::new();
        Self {
            sessions: (0..shards).map(|_| Mutex::default()).collect(),
            users: (0..shards)
                .map(|_| Mutex::new(HashMap::with_hasher(user_hash.clone())))
                .collect(),
            user_hash,
            max_sessions,
            taken: AtomicUsize::new(0),
            next_sweep: AtomicUsize::new(0),
        }
    }

    pub(super) fn shards(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions held.
    pub(super) fn sessions(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a place for [`Memory::insert`]; false when none is free.
    pub(super) fn take_place(&self) -> bool {
        let more = |taken| (taken < self.max_sessions).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Puts a session into the place that was taken for it.
    pub(super) fn insert(&self, id: Id, mut session: Stored) {
        let mut users = self.users_of(&session.user);
        match users.entry(session.user.clone()) {
            Entry::Occupied(mut known) => {
                // All sessions of a user share one copy of the name.
                session.user = known.key().clone();
                known.get_mut().insert(id);
            }
            Entry::Vacant(unknown) => {
                unknown.insert(Ids::One(id));
            }
        }
        self.sessions_of(id).insert(id, session);
    }

    /// Runs `work` on the session, under the lock of its shard.
    pub(super) fn with<T>(&self, id: Id, work: impl FnOnce(&mut Stored) -> T) -> Option<T> {
        self.sessions_of(id).get_mut(&id).map(work)
    }

    pub(super) fn remove(&self, id: Id) -> Option<Stored> {
        let removed = self.sessions_of(id).remove(&id)?;
        self.forget(id, &removed.user);
        Some(removed)
    }

    /// The ids of a user, `most` of them. By the time that the caller looks, some may have ended. Copying a hundred thousand
    /// keeps the lock for less than a millisecond; whatever is done with them, is done without it.
    pub(super) fn ids_of(&self, user: &str, most: usize) -> Vec<Id> {
        let users = self.users_of(user);
        users.get(user).map_or_else(Vec::new, |ids| ids.first(most))
    }

    /// Removes from the next shard what `is_dead` names; how much that was.
    pub(super) fn sweep_next_shard(&self, is_dead: impl Fn(&Stored) -> bool) -> usize {
        let next = self.next_sweep.fetch_add(1, Ordering::Relaxed) % self.shards();
        let dead: Vec<(Id, Stored)> = lock(&self.sessions[next])
            .extract_if(|_, session| is_dead(session))
            .collect();
        for (id, session) in &dead {
            self.forget(*id, &session.user);
        }
        dead.len()
    }

    /// The second half of every removal: the index entry, and the place.
    fn forget(&self, id: Id, user: &Arc<str>) {
        if let Entry::Occupied(mut known) = self.users_of(user).entry(user.clone())
            && known.get_mut().remove(id)
        {
            known.remove();
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    fn sessions_of(&self, id: Id) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions[shard(id.shard, self.sessions.len())])
    }

    fn users_of(&self, user: &str) -> MutexGuard<'_, Users> {
        // The map within the shard uses the low bits of the same hash: take the high ones here.
        let hash = self.user_hash.hash_one(user).rotate_left(32);
        lock(&self.users[shard(hash, self.users.len())])
    }

    /// How many users and ids the index names.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> (usize, usize) {
        self.users.iter().fold((0, 0), |(users, ids), shard| {
            let shard = lock(shard);
            let here: usize = shard.values().map(Ids::len).sum();
            (users + shard.len(), ids + here)
        })
    }
}

fn shard(random: u64, shards: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "less than the number of shards"
    )]
    let index = (random % shards as u64) as usize;
    index
}

/// A panic under a lock leaves no map half changed that matters more than serving on: each step is one map operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
