//! The keys that tokens are signed with: one signs, others may still verify, and each is known by its key id (`kid`).
//!
//! # Changing the key without logging anybody out
//! Nodes learn of a change one after the other, so each step waits until all nodes have made the one before:
//!
//! | step | old key | new key | tokens of the old key | tokens of the new key |
//! | --- | --- | --- | --- | --- |
//! | 1. announce | signs | verifies | made and accepted | accepted |
//! | 2. switch | verifies, until a time | signs | accepted until that time | made and accepted |
//! | 3. clear up, after that time | – | signs | refused | made and accepted |
//!
//! The time is the switch plus the lifetime of an access token: by then nobody has one of the old key. An earlier time
//! ends logins early, which is what a key that has leaked asks for.
//!
//! # Key ids
//! A key's id is a digest of the key: two nodes cannot call different keys the same, and an operator has no names to
//! keep in step. What a token says about its key is compared with the ids that we know and used for nothing else: no
//! path, address or query is ever made of it (RFC 8725, section 3.10).

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

/// The shortest key that is as strong as the signature (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// The most keys of a ring: one that signs, one that comes, and many that go.
pub const MAX_KEYS: usize = 16;

/// Bytes of the digest that make a key id: enough that no two keys ever share one, few enough for a cookie.
const ID_BYTES: usize = 9;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// New tokens are signed with it, and its tokens are accepted.
    Signs,
    /// Its tokens are accepted.
    Verifies {
        /// From then on they are refused, expired or not; seconds since the Unix epoch.
        until: Option<u64>,
    },
}

/// Keys that cannot be a ring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// It could be guessed from any one token, offline.
    #[error(
        "key {number} has {bytes} bytes and must have at least {MIN_KEY_BYTES}, else it can be guessed"
    )]
    TooShort {
        /// Which key, counted from 1.
        number: usize,
        /// Its length.
        bytes: usize,
    },
    /// What is said of one and the same key could differ.
    #[error("key {number} is there twice")]
    Twice {
        /// Which key, counted from 1.
        number: usize,
    },
    /// Nodes would not agree on which key is new.
    #[error("{signing} keys sign, and exactly one must")]
    NotOneSigns {
        /// How many sign.
        signing: usize,
    },
    /// Somebody named the wrong file.
    #[error("there are {keys} keys, and at most {MAX_KEYS} are possible")]
    TooMany {
        /// How many there are.
        keys: usize,
    },
}

/// The keys of a node, exactly one of which signs. `Debug` shows ids only.
pub struct Ring {
    keys: Vec<Key>,
    signing: usize,
}

impl Ring {
    /// Fails on keys that are too short, twice there or too many, and unless exactly one of them signs.
    pub fn new(keys: impl IntoIterator<Item = (Vec<u8>, Use)>) -> Result<Self, RingError> {
        let mut ring: Vec<Key> = Vec::new();
        for (index, (secret, its_use)) in keys.into_iter().enumerate() {
            let (number, bytes) = (index + 1, secret.len());
            if bytes < MIN_KEY_BYTES {
                return Err(RingError::TooShort { number, bytes });
            }
            let key = Key::new(&secret, its_use);
            if ring.iter().any(|other| other.id == key.id) {
                return Err(RingError::Twice { number });
            }
            ring.push(key);
        }
        if ring.len() > MAX_KEYS {
            return Err(RingError::TooMany { keys: ring.len() });
        }
        let signs = |key: &Key| key.its_use == Use::Signs;
        let signing = ring.iter().filter(|key| signs(key)).count();
        match ring.iter().position(signs) {
            Some(index) if signing == 1 => Ok(Self {
                keys: ring,
                signing: index,
            }),
            _ => Err(RingError::NotOneSigns { signing }),
        }
    }

    /// A ring of this one key.
    pub fn of_one(key: impl Into<Vec<u8>>) -> Result<Self, RingError> {
        Self::new([(key.into(), Use::Signs)])
    }

    /// The id and use of each key, for people.
    pub fn ids(&self) -> impl Iterator<Item = (&str, Use)> {
        self.keys.iter().map(|key| (&*key.id, key.its_use))
    }

    /// The key that signs.
    pub(super) fn signing(&self) -> &Key {
        &self.keys[self.signing]
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// The two kinds of token.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Access,
    Cart,
}

impl Kind {
    pub(super) fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Cart => "cart+jwt",
        }
    }
}

/// One key, ready for use.
pub(super) struct Key {
    pub(super) id: String,
    its_use: Use,
    pub(super) signing: EncodingKey,
    pub(super) checking: DecodingKey,
    access: Known,
    cart: Known,
}

/// The one header that all tokens of a key and a kind have.
pub(super) struct Known {
    pub(super) header: Header,
    /// As it stands in a token, without the dot.
    pub(super) text: String,
}

impl Key {
    fn new(secret: &[u8], its_use: Use) -> Self {
        let id = id(secret);
        Self {
            access: Known::new(Kind::Access, &id),
            cart: Known::new(Kind::Cart, &id),
            id,
            its_use,
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
        }
    }

    pub(super) fn known(&self, kind: Kind) -> &Known {
        match kind {
            Kind::Access => &self.access,
            Kind::Cart => &self.cart,
        }
    }

    pub(super) fn is_retired(&self, now: u64) -> bool {
        matches!(self.its_use, Use::Verifies { until: Some(until) } if until <= now)
    }
}

impl Known {
    fn new(kind: Kind, id: &str) -> Self {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(kind.typ().to_owned());
        header.kid = Some(id.to_owned());
        // Three plain strings; a header that could not be written would match no token.
        let json = serde_json::to_vec(&header).unwrap_or_default();
        let text = URL_SAFE_NO_PAD.encode(json);
        Self { header, text }
    }
}

/// Who sees it can check a guess of the key, as can whoever sees a token; 32 random bytes cannot be guessed.
fn id(secret: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    // Kept apart from every other digest of the same bytes that somebody might publish.
    digest.update(b"session-lab key id\0");
    digest.update(secret);
    URL_SAFE_NO_PAD.encode(&digest.finish().as_ref()[..ID_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Vec<u8> {
        vec![byte; MIN_KEY_BYTES]
    }

    const VERIFIES: Use = Use::Verifies { until: None };

    #[test]
    fn exactly_one_key_signs() {
        let refused = |keys: &[(Vec<u8>, Use)]| Ring::new(keys.to_vec()).unwrap_err();
        assert_eq!(refused(&[]), RingError::NotOneSigns { signing: 0 });
        let none = [(key(1), VERIFIES), (key(2), VERIFIES)];
        assert_eq!(refused(&none), RingError::NotOneSigns { signing: 0 });
        let both = [(key(1), Use::Signs), (key(2), Use::Signs)];
        assert_eq!(refused(&both), RingError::NotOneSigns { signing: 2 });
        let ring = Ring::new([(key(1), VERIFIES), (key(2), Use::Signs)]).unwrap();
        assert_eq!(ring.signing().id, id(&key(2)));
    }

    #[test]
    fn short_keys_keys_that_are_there_twice_and_too_many_are_refused() {
        let short = [(key(1), Use::Signs), (vec![2; 31], VERIFIES)];
        let why = Ring::new(short).unwrap_err();
        let (number, bytes) = (2, 31);
        assert_eq!(why, RingError::TooShort { number, bytes });
        let twice = [(key(1), Use::Signs), (key(1), VERIFIES)];
        let why = Ring::new(twice).unwrap_err();
        assert_eq!(why, RingError::Twice { number: 2 });
        let many = (0..=16).map(|byte| (key(byte), VERIFIES));
        let why = Ring::new(many).unwrap_err();
        assert_eq!(why, RingError::TooMany { keys: 17 });
    }

    #[test]
    fn a_key_retires_at_its_time_and_no_sooner() {
        let until = Use::Verifies { until: Some(100) };
        let ring = Ring::new([(key(1), until), (key(2), Use::Signs)]).unwrap();
        assert!(!ring.keys[0].is_retired(99));
        assert!(ring.keys[0].is_retired(100));
        assert!(!ring.keys[1].is_retired(u64::MAX));
    }

    #[test]
    fn an_id_is_short_plain_and_says_nothing_of_the_key() {
        let ring = Ring::of_one(key(b'k')).unwrap();
        let shown = format!("{ring:?}");
        assert!(!shown.contains("kk") && !shown.contains("107"), "{shown}");
        let (id, _) = ring.ids().next().unwrap();
        assert_eq!(id.len(), 12);
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }
}
