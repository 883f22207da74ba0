//! One cookie: its name, how it is found in a request, set and cleared (RFC 6265bis).
//!
//! Where the public URL is https, a cookie is `Secure` and its name begins with `__Host-`: browsers then take it only
//! over https, only for this host and path `/`, so that neither a sibling host nor the plain network can plant one. The
//! name without the prefix is another cookie, which nobody looks at.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::credentials::{bounded, unfit};
use crate::problem::Problem;

const HOST_PREFIX: &str = "__Host-";

/// A cookie of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    name: String,
    secure: bool,
}

impl Cookie {
    /// The cookie `name`; `secure` where browsers come over https.
    pub(crate) fn new(name: &str, secure: bool) -> Self {
        let prefix = if secure { HOST_PREFIX } else { "" };
        Self {
            name: format!("{prefix}{name}"),
            secure,
        }
    }

    /// The value of this cookie in a request; an empty one is a cookie that was cleared.
    pub(crate) fn find(&self, request: &HeaderMap) -> Result<Option<String>, Problem> {
        let mut found = None;
        for header in request.get_all(COOKIE) {
            for pair in header.as_bytes().split(|&byte| byte == b';') {
                let Some(value) = pair
                    .trim_ascii()
                    .strip_prefix(self.name.as_bytes())
                    .and_then(|rest| rest.strip_prefix(b"="))
                else {
                    continue;
                };
                // Cookies of the same name come from different paths or hosts. One of them may be planted.
                if found.replace(value).is_some() {
                    return Err(Problem::AmbiguousCredential);
                }
            }
        }
        Ok(found.and_then(bounded))
    }

    /// Hands `value` to the client, for as long as its browser runs: how long a login lasts, the strategy judges.
    /// `HttpOnly` keeps scripts away from it, `SameSite` keeps it out of what other sites ask for.
    pub(crate) fn set(&self, answer: &mut HeaderMap, value: &str) -> Result<(), Problem> {
        self.append(answer, value, "")
    }

    /// Makes the client forget it, if it came along with the request.
    pub(crate) fn clear(&self, answer: &mut HeaderMap, request: &HeaderMap) -> Result<(), Problem> {
        match self.find(request)? {
            Some(_) => self.append(answer, "", " Max-Age=0;"),
            None => Ok(()),
        }
    }

    fn append(&self, answer: &mut HeaderMap, value: &str, expiry: &str) -> Result<(), Problem> {
        let Self { name, secure } = self;
        let secure = if *secure { " Secure;" } else { "" };
        let cookie = format!("{name}={value};{expiry}{secure} HttpOnly; SameSite=Lax; Path=/");
        answer.append(SET_COOKIE, HeaderValue::try_from(cookie).map_err(unfit)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(lines: &[&str]) -> HeaderMap {
        let lines = lines
            .iter()
            .map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap());
        lines.map(|line| (COOKIE, line)).collect()
    }

    fn find(name: &str, secure: bool, lines: &[&str]) -> Result<Option<String>, Problem> {
        Cookie::new(name, secure).find(&request(lines))
    }

    #[test]
    fn it_is_found_among_others() {
        for line in [
            "id=1",
            "a=b; id=1",
            "xid=2;id=1;idx=3",
            " id=1 ",
            "id; id=1; =id=2",
            "ID=2; id=1",
        ] {
            assert_eq!(find("id", false, &[line]), Ok(Some("1".into())), "{line}");
        }
        assert_eq!(
            find("id", false, &["a=b", "id=1=2"]),
            Ok(Some("1=2".into()))
        );
        for line in [
            "", "id", "id=", "id =1", "xid=1", "ID=1", "i=d=1", ";;;", "a=id=1",
        ] {
            assert_eq!(find("id", false, &[line]), Ok(None), "{line}");
        }
    }

    #[test]
    fn a_second_one_of_the_same_name_is_refused_wherever_it_stands() {
        for lines in [
            &["id=1; id=2"][..],
            &["id=1", "id=2"],
            &["id=1; a=b", "c=d; id=1"],
            &["id=; id=1"],
            &["id=1;id="],
        ] {
            assert_eq!(
                find("id", false, lines),
                Err(Problem::AmbiguousCredential),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn with_https_only_the_prefixed_name_counts() {
        assert_eq!(find("id", true, &["id=1"]), Ok(None));
        assert_eq!(
            find("id", true, &["id=1; __Host-id=2"]),
            Ok(Some("2".into()))
        );
        assert_eq!(
            find("id", true, &["__host-id=2; __Secure-id=3; Host-id=4"]),
            Ok(None)
        );
        assert_eq!(find("id", false, &["__Host-id=2"]), Ok(None));
    }

    #[test]
    fn with_https_it_is_secure_and_of_this_host_alone() {
        for (secure, set, clear) in [
            (
                true,
                "__Host-id=v; Secure; HttpOnly; SameSite=Lax; Path=/",
                "__Host-id=; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Path=/",
            ),
            (
                false,
                "id=v; HttpOnly; SameSite=Lax; Path=/",
                "id=; Max-Age=0; HttpOnly; SameSite=Lax; Path=/",
            ),
        ] {
            let cookie = Cookie::new("id", secure);
            let mut answer = HeaderMap::new();
            cookie.set(&mut answer, "v").unwrap();
            cookie
                .clear(&mut answer, &request(&["id=1; __Host-id=1"]))
                .unwrap();
            cookie.clear(&mut answer, &request(&[])).unwrap();
            let lines: Vec<_> = answer.get_all(SET_COOKIE).iter().collect();
            assert_eq!(lines, [set, clear]);
        }
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_parser(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)) {
            let lines = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
            let request: HeaderMap = lines.map(|line| (COOKIE, line)).collect();
            for cookie in [Cookie::new("a", false), Cookie::new("session-sticky", true)] {
                if let Ok(Some(value)) = cookie.find(&request) {
                    prop_assert!(!value.contains(';'));
                }
            }
        }

        #[test]
        fn what_was_set_comes_back(value in "[A-Za-z0-9._-]{1,4000}", secure: bool, others in "([a-z]{1,5}=[a-z0-9]{0,9}; ){0,5}") {
            let cookie = Cookie::new("session-x", secure);
            let mut answer = HeaderMap::new();
            cookie.set(&mut answer, &value).unwrap();
            let pair = answer[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
            let line = format!("{others}{pair}");
            prop_assert_eq!(cookie.find(&request(&[&line])), Ok(Some(value)));
            prop_assert_eq!(cookie.find(&request(&[&line, &pair])), Err(Problem::AmbiguousCredential));
        }

        #[test]
        fn what_is_longer_than_a_cookie_counts_as_not_there(more in 1_usize..2_000) {
            let line = format!("id={}", "x".repeat(4096 + more));
            prop_assert_eq!(find("id", false, &[&line]), Ok(None));
        }
    }
}
