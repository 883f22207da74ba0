//! Values of the file that have a range or a form of their own. A value is checked while it is read, so that
//! serde and toml report the place of a mistake.

use std::{fmt::Display, net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};

/// A duration in whole milliseconds, from `MIN` to `MAX`.
pub(super) fn millis<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    input: D,
) -> Result<Duration, D::Error> {
    in_range(i64::deserialize(input)?, MIN, MAX, " ms").map(Duration::from_millis)
}

/// A duration in whole seconds, from `MIN` to `MAX`.
pub(super) fn seconds<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    input: D,
) -> Result<Duration, D::Error> {
    in_range(i64::deserialize(input)?, MIN, MAX, "").map(Duration::from_secs)
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn number<'de, D: Deserializer<'de>, T, const MIN: u64, const MAX: u64>(
    input: D,
) -> Result<T, D::Error>
where
    T: TryFrom<u64, Error: Display>,
{
    let number = in_range(i64::deserialize(input)?, MIN, MAX, "")?;
    T::try_from(number).map_err(D::Error::custom)
}

fn in_range<E: Error>(number: i64, min: u64, max: u64, unit: &str) -> Result<u64, E> {
    u64::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| {
            E::custom(format!(
                "{number} is out of range, allowed are {min} to {max}{unit}"
            ))
        })
}

/// A text that is right, or an error that repeats it and says what is wrong.
fn text<'de, D: Deserializer<'de>>(
    input: D,
    is_right: impl Fn(&str) -> bool,
    problem: &str,
) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    if is_right(&text) {
        Ok(text)
    } else {
        Err(D::Error::custom(format!("{text:?} {problem}")))
    }
}

/// The path of a URL, ready for a request line.
pub(super) fn url_path<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let is_path =
        |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    let problem = "is no path, it must start with / and hold no blanks";
    text(input, is_path, problem)
}

/// Networks `10.1.0.0/16`, or hosts `10.1.2.3`.
pub(super) fn networks<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<IpNet>, D::Error> {
    let networks = Vec::<Network>::deserialize(input)?;
    Ok(networks.into_iter().map(|network| network.0).collect())
}

struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let host = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| host()).map(Self).map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is neither a network such as 10.1.0.0/16 nor an address such as 10.1.2.3"
            ))
        })
    }
}

/// Paths that are not for clients, in their normal form.
pub(super) fn private_paths<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let paths = Vec::<PrivatePath>::deserialize(input)?;
    Ok(paths.into_iter().map(|path| path.0).collect())
}

struct PrivatePath(String);

impl<'de> Deserialize<'de> for PrivatePath {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let is_normal = |path: &str| {
            path.len() > 1
                && path.starts_with('/')
                && path.bytes().all(|byte| byte.is_ascii_graphic())
                && !["//", "/.", "%", "?", "#", ";", "\\"]
                    .into_iter()
                    .any(|odd| path.contains(odd))
        };
        let problem = "is no path, write it as /metrics, or as /admin/ for everything below it";
        text(input, is_normal, problem).map(Self)
    }
}

/// A name that may stand in a header, in a metric and in a cookie's hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(pub(super) String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let is_label = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(allowed);
        let problem = "is no name, allowed are 1 to 64 of a-z 0-9 - _ .";
        text(input, is_label, problem).map(Self)
    }
}

impl Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a cookie: a token (RFC 6265, section 4.1.1), at most 64 bytes.
#[derive(Clone, Debug)]
pub(super) struct CookieName(pub(super) String);

impl<'de> Deserialize<'de> for CookieName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_token = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(allowed);
        let problem = "is no name of a cookie, allowed are 1 to 64 letters, digits and ! # $ % & ' * + - . ^ _ ` | ~";
        text(input, is_token, problem).map(Self)
    }
}

/// The `Path` of a cookie.
#[derive(Clone, Debug)]
pub(super) struct CookiePath(pub(super) String);

impl<'de> Deserialize<'de> for CookiePath {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        let is_path =
            |path: &str| path.starts_with('/') && path.len() <= 256 && path.bytes().all(allowed);
        let problem = "is no path of a cookie, it must start with / and hold no blanks and no ; (at most 256 bytes)";
        text(input, is_path, problem).map(Self)
    }
}
