//! From flags and secrets to settings that can be served.
//!
//! Everything is checked before any port opens, and checking is pure, so that each rule has a test.
//! What is wrong is told with what to do about it; the exit code is 2.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use session::throttle::{Limit, Limits};

use crate::flags::Flags;
use crate::input::is_identifier;
use crate::origin::{Origin, Scheme};
use crate::secret::Secret;

const MIN_OPERATOR_TOKEN_BYTES: usize = 16;

/// A setting that cannot be served: what is wrong, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid configuration: {0}.")]
pub(crate) struct Invalid(pub String);

/// The secrets as they were found, not yet judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Of all demo accounts.
    pub password: Option<Secret>,
    /// Sign tokens.
    pub jwt_key: Option<Secret>,
    /// Opens operator calls.
    pub operator_token: Option<Secret>,
    /// From the environment; may hold a password.
    pub redis_url: Option<Secret>,
    /// For a URL that holds none.
    pub redis_password: Option<Secret>,
}

impl Secrets {
    /// Reads the files that `flags` name, and the environment.
    pub(crate) fn load(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Invalid> {
        let load = |what, flag, file: &Option<PathBuf>, variable| {
            Secret::load(what, flag, file.as_deref(), variable, &environment)
        };
        Ok(Self {
            password: load(
                "the demo password",
                "--password-file",
                &flags.password_file,
                "SHOP_PASSWORD",
            )?,
            jwt_key: load(
                "the key of the tokens",
                "--jwt-key-file",
                &flags.jwt_key_file,
                "SHOP_JWT_KEY",
            )?,
            operator_token: load(
                "the operator's token",
                "--operator-token-file",
                &flags.operator_token_file,
                "SHOP_OPERATOR_TOKEN",
            )?,
            redis_url: load("the Redis URL", "--redis-url", &None, "SHOP_REDIS_URL")?,
            redis_password: load(
                "the password of Redis",
                "--redis-password-file",
                &flags.redis_password_file,
                "SHOP_REDIS_PASSWORD",
            )?,
        })
    }
}

/// The settings after every check.
#[derive(Debug)]
pub(crate) struct Config {
    /// As given.
    pub flags: Flags,
    /// Each name is one of [`session::STRATEGIES`], and none is there twice.
    pub strategies: Vec<&'static session::Properties>,
    /// Where browsers think they are. Plain http on loopback only.
    pub public: Origin,
    /// How many logins may be tried.
    pub login_limits: Limits,
    /// Of all demo accounts, not empty.
    pub password: Secret,
    /// What one password check costs.
    pub password_cost: argon2::Params,
    /// There when strategy jwt is served; [`crate::keys::ring`] can read it.
    pub jwt_key: Option<Secret>,
    /// There when strategy redis is served.
    pub redis_url: Option<Secret>,
    /// Text. Only there when the URL has no password.
    pub redis_password: Option<Secret>,
    /// Opens operator calls, if there are to be any.
    pub operator_token: Option<Secret>,
}

impl Config {
    /// Judges `flags` and `secrets` together. Reads nothing, opens nothing.
    pub(crate) fn check(flags: Flags, secrets: Secrets) -> Result<Self, Invalid> {
        if !is_identifier(&flags.node_name) {
            return Err(Invalid(format!(
                "--node-name {:?} is not a name: use 1 to 64 letters, digits, '.', '_' or '-'",
                flags.node_name
            )));
        }
        if flags.session_idle_s > flags.session_absolute_s {
            return Err(Invalid(format!(
                "--session-idle-s {} is longer than --session-absolute-s {}, so it could never matter: lower the first or raise the second",
                flags.session_idle_s, flags.session_absolute_s
            )));
        }
        let strategies = strategies(&flags.strategies)?;
        let serves = |name| strategies.iter().any(|known| known.name == name);
        let serves_jwt = serves(session::jwt::PROPERTIES.name);
        let serves_redis = serves(session::redis::PROPERTIES.name);
        let redis_url = serves_redis
            .then(|| redis_url(flags.redis_url.clone(), secrets.redis_url))
            .transpose()?;
        let redis_password = redis_url
            .as_ref()
            .and_then(|url| redis_password(url, secrets.redis_password).transpose())
            .transpose()?;
        Ok(Self {
            public: public(flags.public_url.as_deref(), flags.listen)?,
            login_limits: login_limits(&flags),
            password: password(secrets.password)?,
            password_cost: argon2::Params::new(
                flags.password_memory_kib,
                flags.password_iterations,
                1,
                None,
            )
            .map_err(|why| {
                Invalid(format!(
                    "--password-memory-kib {} with --password-iterations {} is not possible: {why}",
                    flags.password_memory_kib, flags.password_iterations
                ))
            })?,
            jwt_key: serves_jwt.then(|| jwt_key(secrets.jwt_key)).transpose()?,
            redis_url,
            redis_password,
            operator_token: operator_token(secrets.operator_token, flags.turnable_clock)?,
            strategies,
            flags,
        })
    }

    /// How long one call to a store may take.
    pub(crate) fn store_timeout(&self) -> Duration {
        Duration::from_millis(self.flags.store_timeout_ms)
    }
}

fn public(url: Option<&str>, listen: SocketAddr) -> Result<Origin, Invalid> {
    let how = "set --public-url https://NAME with the name that stands in the browser";
    let Some(url) = url else {
        let own = Origin::of_host(Scheme::Http, &listen.to_string());
        // Port 0 is any free one, which is no part of a URL.
        let own = own.or_else(|| Origin::of_host(Scheme::Http, "localhost"));
        return own.filter(|_| listen.ip().to_canonical().is_loopback()).ok_or_else(|| {
            Invalid(format!(
                "--listen {listen} can be reached from other machines, and how browsers get here is not known: {how}; \
                 or --public-url http://localhost:PORT where only browsers of this machine do"
            ))
        });
    };
    let origin = Origin::parse(url.strip_suffix('/').unwrap_or(url)).ok_or_else(|| {
        Invalid(format!(
            "--public-url {url:?} is not scheme, name and perhaps port: {how}"
        ))
    })?;
    if origin.scheme == Scheme::Http && !origin.is_loopback() {
        return Err(Invalid(format!(
            "--public-url {origin} is plain http, and whoever listens on the way could take the cookies over: \
             put TLS in front of the node and {how}; plain http is for loopback only"
        )));
    }
    Ok(origin)
}

fn login_limits(flags: &Flags) -> Limits {
    let limit = |attempts, refill_s| Limit::new(attempts, Duration::from_secs(refill_s));
    Limits {
        account: limit(
            flags.login_attempts_per_account,
            flags.login_account_refill_s,
        ),
        address: limit(
            flags.login_attempts_per_address,
            flags.login_address_refill_s,
        ),
    }
}

fn strategies(names: &[String]) -> Result<Vec<&'static session::Properties>, Invalid> {
    let mut chosen: Vec<&'static session::Properties> = Vec::with_capacity(names.len());
    for name in names {
        let Some(properties) = session::STRATEGIES.iter().find(|known| known.name == name) else {
            let known: Vec<&str> = session::STRATEGIES.iter().map(|known| known.name).collect();
            return Err(Invalid(format!(
                "--strategies names {name:?}, which this node does not know: choose from {}",
                known.join(", ")
            )));
        };
        if chosen.contains(properties) {
            return Err(Invalid(format!(
                "--strategies names {name} twice: once is enough"
            )));
        }
        chosen.push(properties);
    }
    Ok(chosen)
}

fn password(found: Option<Secret>) -> Result<Secret, Invalid> {
    let password = found.ok_or_else(|| {
        Invalid("the demo accounts have no password, and there is no default: set SHOP_PASSWORD or --password-file".into())
    })?;
    let bytes = password.reveal().len();
    if bytes > crate::input::MAX_PASSWORD_BYTES {
        return Err(Invalid(format!(
            "the demo password has {bytes} bytes, of which a login could send only {}: choose a shorter one",
            crate::input::MAX_PASSWORD_BYTES
        )));
    }
    Ok(password)
}

fn jwt_key(found: Option<Secret>) -> Result<Secret, Invalid> {
    let how = "make one with `openssl rand -hex 32`, the same for all nodes, and set SHOP_JWT_KEY or --jwt-key-file";
    let keys = found.ok_or_else(|| {
        Invalid(format!(
            "strategy jwt needs a key to sign tokens with: {how}"
        ))
    })?;
    crate::keys::ring(&keys).map_err(|why| {
        Invalid(format!(
            "the keys of the tokens cannot be used: {why}: {how}"
        ))
    })?;
    Ok(keys)
}

fn redis_url(flag: Option<Secret>, variable: Option<Secret>) -> Result<Secret, Invalid> {
    let url = match (flag, variable) {
        (Some(flag), _) if flag.reveal().contains(&b'@') => {
            return Err(Invalid(
                "--redis-url holds a password, and every user of the machine can read a command line: put the password into a file for --redis-password-file, or the URL into SHOP_REDIS_URL"
                    .into(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Invalid(
                "the Redis URL comes from --redis-url and from SHOP_REDIS_URL: which one counts? Give only one of them".into(),
            ));
        }
        (Some(url), None) | (None, Some(url)) => url,
        (None, None) => {
            return Err(Invalid(
                "strategy redis needs a store: set --redis-url redis://HOST:PORT and --redis-password-file, or SHOP_REDIS_URL when the URL holds a password".into(),
            ));
        }
    };
    // The URL itself stays out of the message: it may hold a password.
    if ![&b"redis://"[..], b"redis+sentinel://"]
        .iter()
        .any(|scheme| url.reveal().starts_with(scheme))
    {
        return Err(Invalid(
            "the Redis URL must look like redis://HOST:PORT or redis+sentinel://HOST:PORT,HOST:PORT,…/MASTER"
                .into(),
        ));
    }
    Ok(url)
}

/// The password for `url`, which was found beside it.
fn redis_password(url: &Secret, found: Option<Secret>) -> Result<Option<Secret>, Invalid> {
    let Some(password) = found else {
        return Ok(None);
    };
    if holds_password(url.reveal()) {
        return Err(Invalid(
            "the Redis URL holds a password, and --redis-password-file (or SHOP_REDIS_PASSWORD) gives another one: \
             which one counts? Give only one of them"
                .into(),
        ));
    }
    one_line(&password).map_err(|why| {
        Invalid(format!(
            "the password of Redis cannot be used: {why}: check --redis-password-file (or SHOP_REDIS_PASSWORD)"
        ))
    })?;
    Ok(Some(password))
}

/// The text of a password for Redis.
pub(crate) fn one_line(password: &Secret) -> Result<&str, String> {
    match std::str::from_utf8(password.reveal()) {
        Ok("") => Err("it is empty".to_owned()),
        Ok(text) if !text.contains(['\n', '\r']) => Ok(text),
        _ => Err("it is not one line of text, which is all that a Redis takes".to_owned()),
    }
}

/// Whether the URL is one of `scheme://user:password@…`.
fn holds_password(url: &[u8]) -> bool {
    let url = String::from_utf8_lossy(url);
    let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':'))
}

fn operator_token(found: Option<Secret>, turnable_clock: bool) -> Result<Option<Secret>, Invalid> {
    match &found {
        None if turnable_clock => Err(Invalid(
            "--turnable-clock needs an operator's token, else anyone could turn the clock: set SHOP_OPERATOR_TOKEN or --operator-token-file"
                .into(),
        )),
        Some(token) if token.reveal().len() < MIN_OPERATOR_TOKEN_BYTES => Err(Invalid(format!(
            "the operator's token has {} bytes and must have at least {MIN_OPERATOR_TOKEN_BYTES}: make one with `openssl rand -hex 16`",
            token.reveal().len()
        ))),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        Flags::parse_from([&["shop"], arguments].concat())
    }

    fn secrets() -> Secrets {
        Secrets {
            password: Some(Secret::new("open sesame")),
            jwt_key: Some(Secret::new([7; 32])),
            operator_token: Some(Secret::new("0123456789abcdef")),
            redis_url: None,
            redis_password: None,
        }
    }

    fn refusal(arguments: &[&str], secrets: Secrets) -> String {
        Config::check(flags(arguments), secrets)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn strategies_are_chosen_by_name() {
        let config = Config::check(flags(&["--strategies", "jwt,sticky"]), secrets()).unwrap();
        let names: Vec<_> = config.strategies.iter().map(|known| known.name).collect();
        assert_eq!(names, ["jwt", "sticky"]);
        let why = refusal(&["--strategies", "paper"], secrets());
        assert!(
            why.contains("\"paper\"") && why.contains("sticky, redis, jwt"),
            "{why}"
        );
        let why = refusal(&["--strategies", "sticky,sticky"], secrets());
        assert!(why.contains("twice"), "{why}");
    }

    #[test]
    fn a_strategy_wants_what_it_needs_and_nothing_else() {
        let bare = Secrets {
            jwt_key: None,
            operator_token: None,
            ..secrets()
        };
        assert!(Config::check(flags(&["--strategies", "sticky"]), bare.clone()).is_ok());
        let why = refusal(&["--strategies", "jwt"], bare.clone());
        assert!(why.contains("SHOP_JWT_KEY"), "{why}");
        let why = refusal(&["--strategies", "redis"], bare.clone());
        assert!(why.contains("SHOP_REDIS_URL"), "{why}");
        let why = refusal(&["--strategies", "sticky", "--turnable-clock"], bare);
        assert!(why.contains("SHOP_OPERATOR_TOKEN"), "{why}");
    }

    #[test]
    fn weak_secrets_are_refused() {
        let short_key = Secrets {
            jwt_key: Some(Secret::new([7; 31])),
            ..secrets()
        };
        let why = refusal(&["--strategies", "jwt"], short_key);
        assert!(
            why.contains("31 bytes") && why.contains("at least 32"),
            "{why}"
        );
        let short_token = Secrets {
            operator_token: Some(Secret::new("short")),
            ..secrets()
        };
        assert!(refusal(&["--strategies", "jwt"], short_token).contains("operator"));
        let none = Secrets {
            password: None,
            ..secrets()
        };
        assert!(refusal(&["--strategies", "jwt"], none).contains("SHOP_PASSWORD"));
    }

    #[test]
    fn a_password_in_a_url_is_refused_on_the_command_line_and_never_repeated() {
        let url = "redis://:hunter2@127.0.0.1:6379";
        let why = refusal(&["--strategies", "redis", "--redis-url", url], secrets());
        assert!(
            why.contains("SHOP_REDIS_URL") && !why.contains("hunter2"),
            "{why}"
        );
        let from_environment = Secrets {
            redis_url: Some(Secret::new(url)),
            ..secrets()
        };
        let config = Config::check(flags(&["--strategies", "redis"]), from_environment).unwrap();
        assert_eq!(config.redis_url, Some(Secret::new(url)));
        assert!(!format!("{config:?}").contains("hunter2"));
        let wrong = Secrets {
            redis_url: Some(Secret::new("http://:hunter2@127.0.0.1")),
            ..secrets()
        };
        assert!(!refusal(&["--strategies", "redis"], wrong).contains("hunter2"));
    }

    #[test]
    fn the_password_of_redis_comes_from_one_place() {
        let check = |arguments: &[&str], url: Option<&str>, password: &[u8]| {
            let secrets = Secrets {
                redis_url: url.map(Secret::new),
                redis_password: Some(Secret::new(password)),
                ..secrets()
            };
            let arguments = [&["--strategies", "redis"], arguments].concat();
            Config::check(flags(&arguments), secrets).map(|config| config.redis_password)
        };
        let hunter = Ok(Some(Secret::new("hunter2")));
        let bare = ["--redis-url", "redis://redis:6379"];
        assert_eq!(check(&bare, None, b"hunter2"), hunter);
        // A user's name is no password.
        assert_eq!(
            check(&[], Some("redis://shop@redis:6379/1"), b"hunter2"),
            hunter
        );
        let sentinels = ["--redis-url", "redis+sentinel://s1:26379,s2:26379/lab"];
        assert_eq!(check(&sentinels, None, b"hunter2"), hunter);
        for url in [
            "redis://:secret@redis:6379",
            "redis://shop:secret@redis",
            "redis+sentinel://:secret@s1:26379,s2/lab",
        ] {
            let why = check(&[], Some(url), b"hunter2").unwrap_err().to_string();
            assert!(
                why.contains("which one counts") && why.contains("--redis-password-file"),
                "{why}"
            );
            assert!(!why.contains("secret") && !why.contains("hunter2"), "{why}");
        }
        for odd in [&b"\xff\xfe"[..], b"two\nlines"] {
            let why = check(&bare, None, odd).unwrap_err().to_string();
            assert!(why.contains("one line of text"), "{why}");
        }
    }

    #[test]
    fn names_and_times_are_checked() {
        let why = refusal(&["--strategies", "jwt", "--node-name", "a b"], secrets());
        assert!(why.contains("--node-name"), "{why}");
        let times = [
            "--strategies",
            "jwt",
            "--session-idle-s",
            "9",
            "--session-absolute-s",
            "8",
        ];
        let why = refusal(&times, secrets());
        assert!(why.contains("--session-absolute-s"), "{why}");
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        let public = |arguments: &[&str]| {
            let arguments = [&["--strategies", "jwt"], arguments].concat();
            Config::check(flags(&arguments), secrets())
                .map(|config| config.public.to_string())
                .map_err(|invalid| invalid.to_string())
        };
        for (url, taken) in [
            ("https://lab.example", "https://lab.example"),
            ("https://lab.example:8443/", "https://lab.example:8443"),
            ("http://localhost:8081", "http://localhost:8081"),
        ] {
            assert_eq!(public(&["--public-url", url]), Ok(taken.into()));
            let anywhere = ["--listen", "0.0.0.0:80", "--public-url", url];
            assert_eq!(public(&anywhere), Ok(taken.into()));
        }
        let plain = public(&["--public-url", "http://lab.example"]).unwrap_err();
        assert!(
            plain.contains("TLS") && plain.contains("https://"),
            "{plain}"
        );
        for malformed in [
            "lab.example",
            "https://lab.example/shop",
            "https://me@lab.example",
            "",
        ] {
            let why = public(&["--public-url", malformed]).unwrap_err();
            assert!(why.contains("--public-url https://NAME"), "{why}");
        }
        assert_eq!(public(&[]), Ok("http://127.0.0.1:8080".into()));
        assert_eq!(
            public(&["--listen", "[::1]:0"]),
            Ok("http://localhost".into())
        );
        for listen in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"] {
            let why = public(&["--listen", listen]).unwrap_err();
            assert!(why.contains("--public-url http"), "{why}");
        }
    }

    #[test]
    fn no_attempts_mean_no_limit() {
        let limits = |arguments: &[&str]| {
            let arguments = [&["--strategies", "jwt"], arguments].concat();
            login_limits(&flags(&arguments))
        };
        let by_default = limits(&[]);
        assert_eq!(by_default.account, Limit::new(10, Duration::from_secs(30)));
        assert_eq!(by_default.address, Limit::new(100, Duration::from_secs(1)));
        let none = limits(&[
            "--login-attempts-per-account=0",
            "--login-attempts-per-address=0",
        ]);
        assert_eq!(none, Limits::default());
    }
}
