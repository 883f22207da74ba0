//! From a credential to the names of its keys, without a heap.

use std::net::IpAddr;

use crate::secret::{self, DIGEST, TEXT};
use crate::{Credential, Error};

/// What stands before the digest in a session's key: `s:{tag}:`.
const PREFIX: usize = 3 + TEXT + 2;

/// All keys begin with one of these: so a store can be cleared of them, and of nothing else.
pub const KEY_PREFIXES: [&str; 3] = ["s:{", "u:{", "t:{login}:"];

/// The keys of one session.
pub(super) struct Names {
    /// `s:{tag}:digest`
    pub(super) session: [u8; PREFIX + DIGEST],
    /// `u:{tag}`
    pub(super) index: [u8; 3 + TEXT + 1],
}

impl Names {
    pub(super) fn new(tag: &[u8; TEXT], digest: &[u8; DIGEST]) -> Self {
        let mut session = [b'-'; PREFIX + DIGEST];
        session[..3].copy_from_slice(b"s:{");
        session[3..3 + TEXT].copy_from_slice(tag);
        session[3 + TEXT..PREFIX].copy_from_slice(b"}:");
        session[PREFIX..].copy_from_slice(digest);
        let mut index = [b'}'; 3 + TEXT + 1];
        index[..3].copy_from_slice(b"u:{");
        index[3..3 + TEXT].copy_from_slice(tag);
        Self { session, index }
    }

    /// The names behind `tag.secret`. Both parts are checked, so that nothing else ever gets into a key.
    pub(super) fn of(credential: &Credential) -> Result<Self, Error> {
        let (tag, secret) = credential.token().split_once('.').ok_or(MALFORMED)?;
        secret::parse(tag).ok_or(MALFORMED)?;
        let secret = secret::parse(secret).ok_or(MALFORMED)?;
        let tag = tag.as_bytes().try_into().map_err(|_| MALFORMED)?;
        Ok(Self::new(tag, &secret::digest(&secret)))
    }

    /// The key of another session of the same user, by its digest.
    pub(super) fn sibling(&self, digest: &str) -> Option<[u8; PREFIX + DIGEST]> {
        let fits = digest.len() == DIGEST
            && digest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let mut session = self.session;
        session[PREFIX..].copy_from_slice(fits.then_some(digest)?.as_bytes());
        Some(session)
    }

    pub(super) fn digest(&self) -> &[u8] {
        &self.session[PREFIX..]
    }
}

/// The key of the bucket of login attempts on one account. No name in clear: who reads the store learns enough already.
/// All such keys are in one slot, so that one script may look at two of them.
pub(super) fn attempts_on(user: &str) -> String {
    format!(
        "t:{{login}}:a:{}",
        String::from_utf8_lossy(&secret::tag(user))
    )
}

/// The key of the bucket of login attempts from one network.
pub(super) fn attempts_from(network: IpAddr) -> String {
    let tag = secret::tag(&network.to_string());
    format!("t:{{login}}:n:{}", String::from_utf8_lossy(&tag))
}

const MALFORMED: Error = Error::NotLoggedIn {
    why: "malformed session id",
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_gets_into_a_key(token in "\\PC{0,80}|[A-Za-z0-9._-]{40,50}") {
            if let Ok(names) = Names::of(&Credential::new(token.clone())) {
                // Only one spelling leads here: the tag as it is, and a secret of 128 bits.
                let (tag, secret) = token.split_once('.').unwrap();
                prop_assert_eq!(&names.index[3..3 + TEXT], tag.as_bytes());
                prop_assert_eq!(secret::text(&secret::parse(secret).unwrap()), secret);
            }
        }

        #[test]
        fn a_credential_that_was_changed_anywhere_leads_elsewhere(
            tag: [u8; secret::BYTES],
            secret: [u8; secret::BYTES],
            at in 0..2 * TEXT + 1,
            with in any::<char>(),
        ) {
            let good = format!("{}.{}", secret::text(&tag), secret::text(&secret));
            let names = Names::of(&Credential::new(good.clone())).unwrap();
            let changed: String = good
                .char_indices()
                .map(|(index, old)| if index == at { with } else { old })
                .collect();
            prop_assume!(changed != good);
            if let Ok(other) = Names::of(&Credential::new(changed)) {
                prop_assert_ne!(other.session, names.session);
            }
        }
    }

    #[test]
    fn the_keys_of_a_throttle_name_nobody() {
        let keys = [
            attempts_on("alice"),
            attempts_on("bob"),
            attempts_from([192, 0, 2, 7].into()),
            attempts_from([192, 0, 2, 8].into()),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(key.len(), "t:{login}:a:".len() + TEXT);
            assert!(!key.contains("alice") && !key.contains("192"), "{key}");
            assert!(!keys[..index].contains(key));
        }
    }

    #[test]
    fn a_credential_leads_to_its_keys() {
        let token = "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";
        let names = Names::of(&Credential::new(token)).unwrap();
        assert_eq!(&names.index, b"u:{AAAAAAAAAAAAAAAAAAAAAA}");
        for key in [
            &names.session[..],
            &names.index,
            attempts_on("a").as_bytes(),
        ] {
            let begins = |prefix: &&&str| key.starts_with(prefix.as_bytes());
            assert_eq!(KEY_PREFIXES.iter().filter(begins).count(), 1);
        }
        assert_eq!(
            &names.session[..],
            b"s:{AAAAAAAAAAAAAAAAAAAAAA}:N0cI__dxndWXnsh11WzSKG9tPPfsMXo7JWMqqyjsN7s"
        );
        assert!(names.sibling("*").is_none());
        assert!(names.sibling(&"}".repeat(DIGEST)).is_none());
        assert!(names.sibling(&"a".repeat(DIGEST)).is_some());
    }

    #[test]
    fn what_is_no_credential_leads_nowhere() {
        let secret = "A".repeat(TEXT);
        for token in [
            String::new(),
            ".".into(),
            secret.clone(),
            format!("{secret}."),
            format!(".{secret}"),
            format!("{secret}.{secret}."),
            format!("{}.{secret}", "}".repeat(TEXT)),
            format!("{secret}.{}", "é".repeat(TEXT / 2)),
        ] {
            assert!(Names::of(&Credential::new(token)).is_err());
        }
    }
}
