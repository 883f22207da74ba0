//! What an operator says about the store: its URL, its password, and how long it may take to answer.
//!
//! Judged without opening anything. A password never stands on a command line, comes from one place only, and is in no
//! message.

use std::sync::Arc;
use std::time::Duration;

use crate::settings::{ABSOLUTE, IDLE, Kept, MAX_CART_LINES, Takes, Text};
use crate::{Secret, Setting, Unfit, Values};

/// Where the store is.
pub(super) static URL: Setting = Setting {
    flag: "redis-url",
    value_name: "URL",
    doc: "The Redis that sessions are kept in, `redis://HOST:PORT`, or the Sentinels that know where it is, \
          `redis+sentinel://HOST:PORT,HOST:PORT,…/MASTER`. A URL with a password in it belongs into `SHOP_REDIS_URL`.",
    takes: Takes::Text,
};

/// For a URL without one.
pub(super) static PASSWORD_FILE: Setting = Setting {
    flag: "redis-password-file",
    value_name: "PATH",
    doc: "The file that holds the password of that Redis, for a URL without one (or `SHOP_REDIS_PASSWORD` holds the password itself). \
          Sentinels that want a password are given the same one. The file is read again for each new connection.",
    takes: Takes::SecretFile {
        what: "the password of Redis",
    },
};

/// The deadline.
pub(super) static TIMEOUT: Setting = Setting {
    flag: "store-timeout-ms",
    value_name: "MS",
    doc: "How long one call to a store may take before the answer is 503.",
    takes: Takes::Number {
        default: 900,
        least: 1,
        most: 60_000,
    },
};

/// Tells the password of the store each time that a connection is opened: it may have been changed meanwhile. It may block.
/// What is in the way is told without the password.
pub type Password = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Where the store is, and how long sessions live. Not `Debug`: it may hold a password.
pub struct Settings {
    /// `redis://[user:password@]host:port[/database]`, or, for the master of which Sentinels know,
    /// `redis+sentinel://[user:password@]host:port,host:port,…/master`.
    pub url: String,
    /// For a URL that holds no password.
    pub password: Option<Password>,
    /// Bound on every call of the store, retries included.
    pub deadline: Duration,
    /// A session that is not used for this long has ended. Uses are written down once a minute, so it may be a
    /// minute less.
    pub idle: Duration,
    /// A session ends this long after the login, used or not.
    pub absolute: Duration,
    /// The most lines in a cart.
    pub max_lines: usize,
}

/// Judges the values together.
pub(super) fn check(name: &str, values: &Values) -> Result<Settings, Unfit> {
    values.check_expiry()?;
    let url = url(name, values.text(&URL))?;
    Ok(Settings {
        url: url.to_owned(),
        password: password(url, values.secret(&PASSWORD_FILE))?,
        deadline: Duration::from_millis(values.number(&TIMEOUT)),
        idle: values.seconds(&IDLE),
        absolute: values.seconds(&ABSOLUTE),
        max_lines: values.count(&MAX_CART_LINES),
    })
}

fn url<'v>(name: &str, given: Option<&'v Text>) -> Result<&'v str, Unfit> {
    let Some(Text {
        value,
        on_command_line,
    }) = given
    else {
        return Err(Unfit(format!(
            "strategy {name} needs a store: set --redis-url redis://HOST:PORT and --redis-password-file, or SHOP_REDIS_URL when the URL holds a password"
        )));
    };
    if *on_command_line && value.reveal().contains(&b'@') {
        return Err(Unfit(
            "--redis-url holds a password, and every user of the machine can read a command line: put the password into a file for --redis-password-file, or the URL into SHOP_REDIS_URL"
                .into(),
        ));
    }
    // The URL itself stays out of the message: it may hold a password.
    let url = std::str::from_utf8(value.reveal()).ok().filter(|url| {
        ["redis://", "redis+sentinel://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
    });
    url.ok_or_else(|| {
        Unfit(
            "the Redis URL must look like redis://HOST:PORT or redis+sentinel://HOST:PORT,HOST:PORT,…/MASTER"
                .into(),
        )
    })
}

/// The password for `url`, which was found beside it. One from a file is read again for each connection, for it may be
/// changed while the node runs.
fn password(url: &str, found: Option<&Kept>) -> Result<Option<Password>, Unfit> {
    let Some(Kept { secret, path }) = found.cloned() else {
        return Ok(None);
    };
    if holds_password(url) {
        return Err(Unfit(
            "the Redis URL holds a password, and --redis-password-file (or SHOP_REDIS_PASSWORD) gives another one: \
             which one counts? Give only one of them"
                .into(),
        ));
    }
    one_line(&secret).map_err(|why| {
        Unfit(format!(
            "the password of Redis cannot be used: {why}: check --redis-password-file (or SHOP_REDIS_PASSWORD)"
        ))
    })?;
    Ok(Some(Arc::new(move || {
        let Some(path) = &path else {
            return one_line(&secret).map(str::to_owned);
        };
        let unusable = |why| format!("its password in {} cannot be used: {why}", path.display());
        let now = Secret::read(path).map_err(|why| unusable(why.to_string()))?;
        one_line(&now).map(str::to_owned).map_err(unusable)
    })))
}

/// The text of a password for Redis.
fn one_line(password: &Secret) -> Result<&str, String> {
    match std::str::from_utf8(password.reveal()) {
        Ok("") => Err("it is empty".to_owned()),
        Ok(text) if !text.contains(['\n', '\r']) => Ok(text),
        _ => Err("it is not one line of text, which is all that a Redis takes".to_owned()),
    }
}

/// Whether the URL is one of `scheme://user:password@…`.
fn holds_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str, on_command_line: bool) -> Values {
        let value = Secret::new(url);
        let text = Text {
            value,
            on_command_line,
        };
        Values::default().with_text(&URL, text)
    }

    fn refusal(values: &Values) -> String {
        let why = check("redis", values).err().map(|why| why.to_string());
        why.unwrap_or_default()
    }

    #[test]
    fn a_password_in_a_url_is_refused_on_the_command_line_and_never_repeated() {
        let url = "redis://:hunter2@127.0.0.1:6379";
        let why = refusal(&at(url, true));
        assert!(
            why.contains("SHOP_REDIS_URL") && !why.contains("hunter2"),
            "{why}"
        );
        assert_eq!(check("redis", &at(url, false)).unwrap().url, url);
        let wrong = refusal(&at("http://:hunter2@127.0.0.1", false));
        assert!(wrong.contains("must look like") && !wrong.contains("hunter2"));
        let none = refusal(&Values::default());
        assert!(none.contains("SHOP_REDIS_URL"), "{none}");
    }

    #[test]
    fn the_password_comes_from_one_place() {
        let check = |url: &str, on_command_line, password: &[u8]| {
            let kept = Kept {
                secret: Secret::new(password),
                path: None,
            };
            let values = at(url, on_command_line).with_secret(&PASSWORD_FILE, kept);
            let settings = check("redis", &values).map_err(|why| why.to_string())?;
            let password = settings.password.ok_or("no password")?;
            password()
        };
        for (url, on_command_line) in [
            ("redis://redis:6379", true),
            // A user's name is no password.
            ("redis://shop@redis:6379/1", false),
            ("redis+sentinel://s1:26379,s2:26379/lab", true),
        ] {
            let told = check(url, on_command_line, b"hunter2");
            assert_eq!(told, Ok("hunter2".to_owned()), "{url}");
        }
        for url in [
            "redis://:secret@redis:6379",
            "redis://shop:secret@redis",
            "redis+sentinel://:secret@s1:26379,s2/lab",
        ] {
            let why = check(url, false, b"hunter2").unwrap_err();
            assert!(
                why.contains("which one counts") && why.contains("--redis-password-file"),
                "{why}"
            );
            assert!(!why.contains("secret") && !why.contains("hunter2"), "{why}");
        }
        for odd in [&b"\xff\xfe"[..], b"two\nlines"] {
            let why = check("redis://redis:6379", true, odd).unwrap_err();
            assert!(why.contains("one line of text"), "{why}");
        }
    }
}
