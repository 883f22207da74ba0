//! From flags and secrets to settings that can be served.
//!
//! Everything is checked before any port opens, and checking is pure, so that each rule has a test.
//! What is wrong is told with what to do about it; the exit code is 2.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use session::throttle::{Limit, Limits};
use session::{Kind, Secret, Unfit, Values};

use crate::flags::{ALL, Flags};
use crate::input::is_identifier;
use crate::origin::{Origin, Scheme};

const MIN_OPERATOR_TOKEN_BYTES: usize = 16;

/// The node's own secrets as they were found, not yet judged. Those of the strategies are among their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Of all demo accounts.
    pub password: Option<Secret>,
    /// Opens operator calls.
    pub operator_token: Option<Secret>,
}

impl Secrets {
    /// Reads the files that `flags` name, and the environment.
    pub(crate) fn load(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Unfit> {
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
            operator_token: load(
                "the operator's token",
                "--operator-token-file",
                &flags.operator_token_file,
                "SHOP_OPERATOR_TOKEN",
            )?,
        })
    }
}

/// The settings after every check.
pub(crate) struct Config {
    /// As given.
    pub flags: Flags,
    /// What is served, each once.
    pub kinds: Vec<&'static dyn Kind>,
    /// What the strategies are set to; each of [`Config::kinds`] can be built from them.
    pub values: Values,
    /// Where browsers think they are. Plain http on loopback only.
    pub public: Origin,
    /// How many logins may be tried.
    pub login_limits: Limits,
    /// Of all demo accounts, not empty.
    pub password: Secret,
    /// What one password check costs.
    pub password_cost: argon2::Params,
    /// Opens operator calls, if there are to be any.
    pub operator_token: Option<Secret>,
}

impl Config {
    /// Judges everything together. Reads nothing, opens nothing. `known` are the strategies that can be chosen.
    pub(crate) fn check(
        flags: Flags,
        secrets: Secrets,
        values: Values,
        known: &[&'static dyn Kind],
    ) -> Result<Self, Unfit> {
        if !is_identifier(&flags.node_name) {
            return Err(Unfit(format!(
                "--node-name {:?} is not a name: use 1 to 64 letters, digits, '.', '_' or '-'",
                flags.node_name
            )));
        }
        let kinds = chosen(&flags.strategies, known)?;
        for kind in &kinds {
            kind.check(&values)?;
        }
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
                Unfit(format!(
                    "--password-memory-kib {} with --password-iterations {} is not possible: {why}",
                    flags.password_memory_kib, flags.password_iterations
                ))
            })?,
            operator_token: operator_token(secrets.operator_token, flags.turnable_clock)?,
            kinds,
            values,
            flags,
        })
    }
}

fn public(url: Option<&str>, listen: SocketAddr) -> Result<Origin, Unfit> {
    let how = "set --public-url https://NAME with the name that stands in the browser";
    let Some(url) = url else {
        let own = Origin::of_host(Scheme::Http, &listen.to_string());
        // Port 0 is any free one, which is no part of a URL.
        let own = own.or_else(|| Origin::of_host(Scheme::Http, "localhost"));
        return own.filter(|_| listen.ip().to_canonical().is_loopback()).ok_or_else(|| {
            Unfit(format!(
                "--listen {listen} can be reached from other machines, and how browsers get here is not known: {how}; \
                 or --public-url http://localhost:PORT where only browsers of this machine do"
            ))
        });
    };
    let origin = Origin::parse(url.strip_suffix('/').unwrap_or(url)).ok_or_else(|| {
        Unfit(format!(
            "--public-url {url:?} is not scheme, name and perhaps port: {how}"
        ))
    })?;
    if origin.scheme == Scheme::Http && !origin.is_loopback() {
        return Err(Unfit(format!(
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

/// The kinds of these names, in their order.
fn chosen(names: &[String], known: &[&'static dyn Kind]) -> Result<Vec<&'static dyn Kind>, Unfit> {
    if let [name] = names
        && name == ALL
    {
        return Ok(known.to_vec());
    }
    let mut chosen: Vec<&'static dyn Kind> = Vec::with_capacity(names.len());
    for name in names {
        if chosen.iter().any(|kind| kind.about().name == name) {
            return Err(Unfit(format!(
                "--strategies names {name} twice: once is enough"
            )));
        }
        let Some(kind) = known.iter().find(|kind| kind.about().name == name) else {
            let known: Vec<&str> = known.iter().map(|kind| kind.about().name).collect();
            return Err(Unfit(format!(
                "--strategies names {name:?}, which this node does not know: choose from {}, or {ALL} alone",
                known.join(", ")
            )));
        };
        chosen.push(*kind);
    }
    Ok(chosen)
}

fn password(found: Option<Secret>) -> Result<Secret, Unfit> {
    let password = found.ok_or_else(|| {
        Unfit("the demo accounts have no password, and there is no default: set SHOP_PASSWORD or --password-file".into())
    })?;
    let bytes = password.reveal().len();
    if bytes > crate::input::MAX_PASSWORD_BYTES {
        return Err(Unfit(format!(
            "the demo password has {bytes} bytes, of which a login could send only {}: choose a shorter one",
            crate::input::MAX_PASSWORD_BYTES
        )));
    }
    Ok(password)
}

fn operator_token(found: Option<Secret>, turnable_clock: bool) -> Result<Option<Secret>, Unfit> {
    match &found {
        None if turnable_clock => Err(Unfit(
            "--turnable-clock needs an operator's token, else anyone could turn the clock: set SHOP_OPERATOR_TOKEN or --operator-token-file"
                .into(),
        )),
        Some(token) if token.reveal().len() < MIN_OPERATOR_TOKEN_BYTES => Err(Unfit(format!(
            "the operator's token has {} bytes and must have at least {MIN_OPERATOR_TOKEN_BYTES}: make one with `openssl rand -hex 16`",
            token.reveal().len()
        ))),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use session::KINDS;

    use super::*;
    use crate::flags::{command, values};

    /// As the environment has it, where a test does not say otherwise.
    const KEY: &str = "thirty-two-bytes,-only-for-tests";

    fn flags(arguments: &[&str]) -> (Flags, clap::ArgMatches) {
        let arguments = [&["shop"], arguments].concat();
        let matches = command(KINDS).get_matches_from(arguments);
        (Flags::from_arg_matches(&matches).unwrap(), matches)
    }

    fn secrets() -> Secrets {
        Secrets {
            password: Some(Secret::new("open sesame")),
            operator_token: Some(Secret::new("0123456789abcdef")),
        }
    }

    fn check_with(
        arguments: &[&str],
        secrets: Secrets,
        key: Option<&str>,
    ) -> Result<Config, Unfit> {
        let (flags, matches) = flags(arguments);
        let environment = |name: &str| key.filter(|_| name == "SHOP_JWT_KEY").map(OsString::from);
        let values = values(&matches, KINDS, environment)?;
        Config::check(flags, secrets, values, KINDS)
    }

    fn check(arguments: &[&str], secrets: Secrets) -> Result<Config, Unfit> {
        check_with(arguments, secrets, Some(KEY))
    }

    fn refusal(arguments: &[&str], secrets: Secrets) -> String {
        let refused = check(arguments, secrets).err();
        refused.map(|why| why.to_string()).unwrap_or_default()
    }

    #[test]
    fn strategies_are_chosen_by_name() {
        let names = |list| {
            let config = check(
                &["--strategies", list, "--redis-url", "redis://r"],
                secrets(),
            )?;
            let names = config.kinds.iter().map(|kind| kind.about().name);
            Ok(names.collect::<Vec<_>>())
        };
        assert_eq!(names("jwt,sticky"), Ok(vec!["jwt", "sticky"]));
        let all: Vec<_> = KINDS.iter().map(|kind| kind.about().name).collect();
        assert_eq!(names("all"), Ok(all));
        for (list, told) in [
            ("paper", "\"paper\""),
            ("paper", "sticky, redis, jwt"),
            ("sticky,all", "\"all\""),
            ("sticky,sticky", "twice"),
        ] {
            let Unfit(why) = names(list).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }

    #[test]
    fn a_strategy_wants_what_it_needs_and_nothing_else() {
        let bare = || Secrets {
            operator_token: None,
            ..secrets()
        };
        let refusal = |arguments: &[&str]| {
            let refused = check_with(arguments, bare(), None).err();
            refused.map(|why| why.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal(&["--strategies", "sticky"]), "");
        let why = refusal(&["--strategies", "jwt"]);
        assert!(why.contains("SHOP_JWT_KEY"), "{why}");
        let why = refusal(&["--strategies", "redis"]);
        assert!(why.contains("SHOP_REDIS_URL"), "{why}");
        let why = refusal(&["--strategies", "sticky", "--turnable-clock"]);
        assert!(why.contains("SHOP_OPERATOR_TOKEN"), "{why}");
    }

    #[test]
    fn weak_secrets_are_refused() {
        let Unfit(why) = check_with(&["--strategies", "jwt"], secrets(), Some(&KEY[1..]))
            .err()
            .unwrap();
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
    fn names_and_times_are_checked() {
        let why = refusal(&["--strategies", "jwt", "--node-name", "a b"], secrets());
        assert!(why.contains("--node-name"), "{why}");
        let times = [
            "--strategies",
            "sticky",
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
            check(&arguments, secrets())
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
            login_limits(&flags(&arguments).0)
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
