//! One cookie: its name, how it is found in a request, set and cleared (RFC 6265bis).
//!
//! Where the public URL is https, a cookie is `Secure` and its name begins with `__Host-`: browsers then take it only
//! over https, only for this host and path `/`, so that neither a sibling host nor the plain network can plant one. The
//! name without the prefix is another cookie, which nobody looks at.
//!
//! # Several of one name
//! A browser keeps cookies apart by name, domain, path and whether they are for that host alone, but sends name and value
//! only. So of two of one name nobody can tell which one is ours: [`Cookie::find`] refuses them. A login and a logout must
//! not be refused: who is locked out of those is locked out. They take [all](Cookie::all) and clear all, and that can be
//! done without knowing where a cookie came from: one that came along has a path that is a beginning of the request's, and
//! a domain that is the host or an end of it. There are few of those ([`Visit`]), so all are cleared.
//!
//! What stays impossible: over plain http, clearing a cookie that is `Secure`; clearing one that is `Partitioned`; and
//! clearing one of a domain when a proxy has changed `Host` on the way.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::header::{COOKIE, HOST, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::origin::{Origin, Scheme};
use crate::problem::Problem;

const HOST_PREFIX: &str = "__Host-";

/// No strategy has longer credentials, and a browser stores no longer cookies. What is longer proves nothing,
/// so it counts as not there.
const MAX_CREDENTIAL_BYTES: usize = 4096;

/// Domains that a cookie may have been set for: the host, and the shortest of those above it, which it shares with the most
/// other hosts. Few hosts have more above them.
const MAX_DOMAINS: usize = 5;

/// A cookie of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    name: String,
    secure: bool,
    /// The same with the prefix, where this one has none, or without: not ours, but cleared where ours is.
    other_form: String,
}

impl Cookie {
    /// The cookie `name`; `secure` where browsers come over https.
    pub(crate) fn new(name: &str, secure: bool) -> Self {
        let (plain, prefixed) = (name.to_owned(), format!("{HOST_PREFIX}{name}"));
        let (name, other_form) = if secure {
            (prefixed, plain)
        } else {
            (plain, prefixed)
        };
        Self {
            name,
            secure,
            other_form,
        }
    }

    /// The value of this cookie in a request; an empty one is a cookie that was cleared.
    pub(crate) fn find(&self, request: &HeaderMap) -> Result<Option<String>, Problem> {
        let mut values = values(&self.name, request);
        let found = values.next();
        // Cookies of the same name come from different paths or hosts. One of them may be planted.
        match values.next() {
            Some(_) => Err(Problem::ambiguous()),
            None => Ok(found.and_then(bounded)),
        }
    }

    /// Every value of this cookie in a request that can be a credential, each once. The size of a head bounds them.
    pub(crate) fn all(&self, request: &HeaderMap) -> Vec<String> {
        let mut all: Vec<_> = values(&self.name, request).filter_map(bounded).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Hands `value` to the client, for as long as its browser runs: how long a login lasts, the strategy judges.
    /// `HttpOnly` keeps scripts away from it, `SameSite` keeps it out of what other sites ask for.
    ///
    /// What clears other cookies of this name goes before it: there are clients to which a cookie for a host and one for the
    /// domain of the same name are one and the same.
    pub(crate) fn set(&self, answer: &mut HeaderMap, value: &str) -> Result<(), Problem> {
        let line = self.line(&self.name, value, "", Place::OURS);
        answer.append(SET_COOKIE, HeaderValue::try_from(line).map_err(unfit)?);
        Ok(())
    }

    /// Makes the client forget it, and all others of its name, if it came along with the request.
    pub(crate) fn clear(&self, answer: &mut HeaderMap, visit: &Visit) -> Result<(), Problem> {
        self.clear_others(answer, visit)?;
        if values(&self.name, &visit.headers).next().is_some() {
            append(answer, self.cleared(&self.name, Place::OURS))?;
        }
        Ok(())
    }

    /// Where several of this name came along: makes the client forget all but the one that [`Cookie::set`] sets. And
    /// what came along under the other form of the name, whose meaning ended with a change of the public URL.
    pub(crate) fn clear_others(
        &self,
        answer: &mut HeaderMap,
        visit: &Visit,
    ) -> Result<(), Problem> {
        for line in self.foreign(visit) {
            append(answer, line)?;
        }
        if values(&self.other_form, &visit.headers).next().is_some() {
            append(answer, self.cleared(&self.other_form, Place::OURS))?;
        }
        Ok(())
    }

    /// What clears all cookies of this name that this node never sets, where several came along.
    fn foreign(&self, visit: &Visit) -> Vec<String> {
        if values(&self.name, &visit.headers).nth(1).is_none() {
            return Vec::new();
        }
        let places = visit.places().filter(|place| *place != Place::OURS);
        places
            .map(|place| self.cleared(&self.name, place))
            .collect()
    }

    /// The same for an answer that refuses the request: it must not take the login away, whatever the client makes of a
    /// cookie for a host and one for the domain of that name.
    pub(crate) fn surely_foreign(&self, visit: &Visit) -> Vec<HeaderValue> {
        if values(&self.name, &visit.headers).nth(1).is_none() {
            return Vec::new();
        }
        let may_be_ours = |place: &Place<'_>| {
            place.path == "/" && place.domain.is_none_or(|domain| domain == visit.host)
        };
        let places = visit.places().filter(|place| !may_be_ours(place));
        let lines = places.map(|place| self.cleared(&self.name, place));
        lines
            .filter_map(|line| HeaderValue::try_from(line).ok())
            .collect()
    }

    fn cleared(&self, name: &str, place: Place<'_>) -> String {
        self.line(name, "", " Max-Age=0;", place)
    }

    fn line(&self, name: &str, value: &str, expiry: &str, place: Place<'_>) -> String {
        let secure = if self.secure || name.starts_with(HOST_PREFIX) {
            " Secure;"
        } else {
            ""
        };
        let Place { path, domain } = place;
        let domain = domain.map_or_else(String::new, |domain| format!("; Domain={domain}"));
        format!("{name}={value};{expiry}{secure} HttpOnly; SameSite=Lax; Path={path}{domain}")
    }
}

/// The values of all cookies of this name, in the order in which they came.
fn values<'a>(name: &'a str, request: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
    let lines = request.get_all(COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

fn append(answer: &mut HeaderMap, line: String) -> Result<(), Problem> {
    answer.append(SET_COOKIE, HeaderValue::try_from(line).map_err(unfit)?);
    Ok(())
}

/// What a cookie is set for. Without a domain it is for this host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place<'a> {
    path: &'a str,
    domain: Option<&'a str>,
}

impl Place<'_> {
    /// Where our cookies are.
    const OURS: Self = Self {
        path: "/",
        domain: None,
    };
}

/// What a request tells of the cookies that came along with it.
#[derive(Debug)]
pub(crate) struct Visit {
    headers: HeaderMap,
    path: String,
    /// Empty where it is no name and no IPv4 address.
    host: String,
}

impl Visit {
    /// The visit of a request with this head.
    pub(crate) fn of(parts: &Parts) -> Self {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| Origin::of_host(Scheme::Http, host));
        Self {
            headers: parts.headers.clone(),
            path: parts.uri.path().to_owned(),
            host: host.map_or_else(String::new, |origin| origin.name().to_owned()),
        }
    }

    /// The request's fields.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Everything that a cookie of this visit can have been set for.
    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let domains = domains(&self.host).into_iter();
        let domains = std::iter::once(None).chain(domains.map(Some));
        domains.flat_map(|domain| paths(&self.path).map(move |path| Place { path, domain }))
    }
}

/// Every path that matches `path` (RFC 6265bis, 5.1.4): each of its beginnings up to a slash, with that slash or without.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.match_indices('/').map(|(at, _)| at);
    let up_to = slashes.flat_map(|at| [&path[..at], &path[..=at]]);
    let whole = (!path.ends_with('/')).then_some(path);
    // A `;` ends an attribute, so no cookie has such a path.
    let fits = |path: &&str| {
        path.starts_with('/')
            && path
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b';')
    };
    up_to.chain(whole).filter(fits)
}

/// Every domain that matches `host` (5.1.3) and that a browser may take: not the last label alone, which is nobody's.
fn domains(host: &str) -> Vec<&str> {
    if host.is_empty() {
        return Vec::new();
    }
    let is_name = host.parse::<IpAddr>().is_err();
    let above = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
    let above = above.filter(|domain| is_name && domain.contains('.'));
    let mut domains: Vec<_> = above.collect();
    domains.reverse();
    domains.truncate(MAX_DOMAINS - 1);
    domains.push(host);
    domains
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}

/// A value of a length that a credential can have.
pub(crate) fn bounded(value: &[u8]) -> Option<String> {
    (1..=MAX_CREDENTIAL_BYTES)
        .contains(&value.len())
        .then(|| String::from_utf8_lossy(value).into_owned())
}

/// A strategy made a credential that no header can carry. The value itself must not be logged.
pub(crate) fn unfit(_: http::header::InvalidHeaderValue) -> Problem {
    tracing::error!("a strategy made a credential that no header can carry");
    Problem::Internal
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

    fn visit(host: &str, path: &str, lines: &[&str]) -> Visit {
        let mut request = http::Request::builder().uri(path).body(()).unwrap();
        *request.headers_mut() = self::request(lines);
        if !host.is_empty() {
            request.headers_mut().insert(HOST, host.try_into().unwrap());
        }
        Visit::of(&request.into_parts().0)
    }

    /// The `Set-Cookie` lines that `write` adds.
    fn lines(write: impl FnOnce(&mut HeaderMap) -> Result<(), Problem>) -> Vec<String> {
        let mut answer = HeaderMap::new();
        write(&mut answer).unwrap();
        let lines = answer.get_all(SET_COOKIE).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
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
                Err(Problem::ambiguous()),
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
            let came = if secure { "__Host-id=1" } else { "id=1" };
            cookie
                .clear(&mut answer, &visit("", "/logout", &[came]))
                .unwrap();
            cookie
                .clear(&mut answer, &visit("", "/logout", &[]))
                .unwrap();
            let lines: Vec<_> = answer.get_all(SET_COOKIE).iter().collect();
            assert_eq!(lines, [set, clear]);
        }
    }

    #[test]
    fn what_came_along_can_have_been_set_for_few_places() {
        for (path, expected) in [
            ("/", vec!["/"]),
            ("/login", vec!["/", "/login"]),
            ("/cart/lines", vec!["/", "/cart", "/cart/", "/cart/lines"]),
            ("/cart/", vec!["/", "/cart", "/cart/"]),
            ("/cart;/lines", vec!["/"]),
        ] {
            assert_eq!(paths(path).collect::<Vec<_>>(), expected, "{path}");
        }
        for (host, expected) in [
            ("", vec![]),
            ("localhost", vec!["localhost"]),
            ("127.0.0.1", vec!["127.0.0.1"]),
            ("lab.example", vec!["lab.example"]),
            ("shop.lab.example", vec!["lab.example", "shop.lab.example"]),
            (
                "a.b.c.d.e.f.g",
                vec!["f.g", "e.f.g", "d.e.f.g", "c.d.e.f.g", "a.b.c.d.e.f.g"],
            ),
        ] {
            assert_eq!(domains(host), expected, "{host}");
        }
    }

    #[test]
    fn several_of_one_name_are_cleared_wherever_they_came_from_and_one_alone_is_not() {
        let cookie = Cookie::new("id", false);
        let twice = visit("Shop.Lab.example:8081", "/login", &["id=1; id=2"]);
        let attributes = "Max-Age=0; HttpOnly; SameSite=Lax;";
        let expected = [
            "Path=/login",
            "Path=/; Domain=lab.example",
            "Path=/login; Domain=lab.example",
            "Path=/; Domain=shop.lab.example",
            "Path=/login; Domain=shop.lab.example",
        ]
        .map(|place| format!("id=; {attributes} {place}"));
        assert_eq!(
            lines(|answer| cookie.clear_others(answer, &twice)),
            expected
        );
        // What a refusal clears cannot be our own, to no client.
        let surely: Vec<_> = cookie.surely_foreign(&twice);
        let kept = [0, 1, 2, 4].map(|index| &*expected[index]);
        assert_eq!(surely, kept);
        let ours = format!("id=; {attributes} Path=/");
        let mut all = expected.to_vec();
        all.push(ours.clone());
        assert_eq!(lines(|answer| cookie.clear(answer, &twice)), all);
        let once = visit("shop.lab.example", "/login", &["id=1; xid=2"]);
        assert_eq!(lines(|answer| cookie.clear_others(answer, &once)), [""; 0]);
        assert_eq!(lines(|answer| cookie.clear(answer, &once)), [ours]);
        assert!(cookie.surely_foreign(&once).is_empty());
    }

    #[test]
    fn the_other_form_of_the_name_is_cleared_too() {
        for (secure, came, cleared) in [
            (
                true,
                "id=1",
                "id=; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Path=/",
            ),
            (
                false,
                "__Host-id=1",
                "__Host-id=; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Path=/",
            ),
        ] {
            let cookie = Cookie::new("id", secure);
            let visit = visit("lab.example", "/login", &[came]);
            assert_eq!(
                lines(|answer| cookie.clear_others(answer, &visit)),
                [cleared]
            );
            assert_eq!(cookie.find(&visit.headers), Ok(None));
        }
    }

    proptest! {
        /// Whatever comes along: a bounded number of lines, each of which a browser understands.
        #[test]
        fn what_clears_is_bounded_and_well_formed(
            host in "[!-~]{0,60}|([a-z]{1,3}\\.){0,12}[a-z]{1,5}",
            path in "(/[a-z;,%=\"]{0,5}){1,4}",
            cookies in prop::collection::vec("(a|__Host-a)=[!-:<-~]{0,9}", 0..60),
            secure: bool,
        ) {
            let cookie = Cookie::new("a", secure);
            let visit = visit(&host, &path, &[&cookies.join("; ")]);
            let own = cookies.iter().filter(|pair| pair.starts_with(&format!("{}=", cookie.name))).count();
            let cleared = lines(|answer| cookie.clear(answer, &visit));
            prop_assert!(cleared.len() <= 2 + (1 + MAX_DOMAINS) * 8);
            prop_assert!(own > 1 || cleared.len() <= 2);
            for line in &cleared {
                let (pair, attributes) = line.split_once("; ").unwrap();
                prop_assert!(["a=", "__Host-a="].contains(&pair));
                let names: Vec<_> = attributes.split("; ").map(|one| one.split('=').next().unwrap()).collect();
                let known = ["Max-Age", "Secure", "HttpOnly", "SameSite", "Path", "Domain"];
                prop_assert!(names.iter().all(|name| known.contains(name)), "{line}");
            }
            // Each value once, and none that was not there.
            let all = cookie.all(&visit.headers);
            prop_assert!(all.len() <= own);
            prop_assert_eq!(cookie.find(&visit.headers).is_err(), own > 1);
            if let Ok(Some(value)) = cookie.find(&visit.headers) {
                prop_assert_eq!(all, [value]);
            }
        }

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
            prop_assert_eq!(cookie.find(&request(&[&line, &pair])), Err(Problem::ambiguous()));
        }

        #[test]
        fn what_is_longer_than_a_cookie_counts_as_not_there(more in 1_usize..2_000) {
            let line = format!("id={}", "x".repeat(4096 + more));
            prop_assert_eq!(find("id", false, &[&line]), Ok(None));
        }
    }
}
