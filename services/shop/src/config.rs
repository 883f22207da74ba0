//! Every setting of the node, once: its flag, its environment variable, what it means and what is allowed.
//!
//! A setting `--some-flag` is also read from `SHOP_SOME_FLAG`. Everything is checked before any port opens;
//! checking is pure, so that each rule has a test. What is wrong is told with what to do about it, exit code 2.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use crate::input::is_identifier;
use crate::secret::Secret;

/// Fewer bytes than the output of SHA-256 would make the key the weakest part of the signature (RFC 7518, 3.2).
const MIN_JWT_KEY_BYTES: usize = 32;
const MIN_OPERATOR_TOKEN_BYTES: usize = 16;

/// The app node of the session lab: one small shop, with the state of its logins kept by the strategies of your choice.
///
/// Secrets come from files or from the environment, never from the command line: the demo password from
/// `--password-file` or `SHOP_PASSWORD`, the key of the tokens from `--jwt-key-file` or `SHOP_JWT_KEY`, the operator's
/// token from `--operator-token-file` or `SHOP_OPERATOR_TOKEN`, a Redis URL with a password in it from `SHOP_REDIS_URL`.
#[derive(Debug, Parser)]
#[command(name = "shop", version)]
pub(crate) struct Flags {
    /// Where to listen, ADDRESS:PORT; port 0 takes any free one and the `ready` line tells which.
    #[arg(
        long,
        env = "SHOP_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// The name of this node, in answers (`x-node`) and reports.
    #[arg(
        long,
        env = "SHOP_NODE_NAME",
        value_name = "NAME",
        default_value = "node-1"
    )]
    pub node_name: String,

    /// The strategies to serve. With several, each request must name one in `x-session-strategy`.
    #[arg(
        long,
        env = "SHOP_STRATEGIES",
        value_name = "NAMES",
        value_delimiter = ',',
        required = true
    )]
    pub strategies: Vec<String>,

    /// How many demo accounts there are: user-000001 and so on, all with the one demo password.
    #[arg(long, env = "SHOP_ACCOUNTS", value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub accounts: u32,

    /// The file that holds the password of all demo accounts (or `SHOP_PASSWORD` holds the password itself).
    #[arg(long, env = "SHOP_PASSWORD_FILE", value_name = "PATH")]
    pub password_file: Option<PathBuf>,

    /// Memory that argon2id takes for one password check. Lower it only for load tests, and say so in the report.
    #[arg(long, env = "SHOP_PASSWORD_MEMORY_KIB", value_name = "KIB", default_value_t = 19_456,
          value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    pub password_memory_kib: u32,

    /// Passes that argon2id makes over that memory.
    #[arg(long, env = "SHOP_PASSWORD_ITERATIONS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub password_iterations: u32,

    /// Password checks at the same time [default: as many as the machine has cores]. More wait in a bounded queue.
    #[arg(long, env = "SHOP_PASSWORD_WORKERS", value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub password_workers: Option<usize>,

    /// The file that holds the key that signs tokens, at least 32 bytes (or `SHOP_JWT_KEY` holds the key itself).
    /// All nodes of a cluster share it.
    #[arg(long, env = "SHOP_JWT_KEY_FILE", value_name = "PATH")]
    pub jwt_key_file: Option<PathBuf>,

    /// The file that holds the token for operator calls under /admin (or `SHOP_OPERATOR_TOKEN` holds the token itself).
    /// Without one, operator calls are refused.
    #[arg(long, env = "SHOP_OPERATOR_TOKEN_FILE", value_name = "PATH")]
    pub operator_token_file: Option<PathBuf>,

    /// The Redis that strategy redis keeps its state in, `redis://HOST:PORT`. A URL with a password in it belongs into `SHOP_REDIS_URL`.
    // Not mirrored through clap, so that checking can tell the environment from the command line.
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,

    /// How long one call to a store may take before the answer is 503.
    #[arg(long, env = "SHOP_STORE_TIMEOUT_MS", value_name = "MS", default_value_t = 900,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub store_timeout_ms: u64,

    /// A session ends when nothing was heard of its client for this long.
    #[arg(long, env = "SHOP_SESSION_IDLE_S", value_name = "S", default_value_t = 1_800,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub session_idle_s: u64,

    /// A session ends this long after its login, whatever its client does.
    #[arg(long, env = "SHOP_SESSION_ABSOLUTE_S", value_name = "S", default_value_t = 43_200,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub session_absolute_s: u64,

    /// How long an access token is valid. Nothing can end it earlier.
    #[arg(long, env = "SHOP_ACCESS_TOKEN_S", value_name = "S", default_value_t = 1_800,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub access_token_s: u64,

    /// Sessions that this node holds in its own memory at most; a login beyond gets 503.
    #[arg(long, env = "SHOP_MAX_SESSIONS", value_name = "N", default_value_t = 1_000_000,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000_000))]
    pub max_sessions: usize,

    /// Lines that a cart holds at most; a line beyond gets 409.
    #[arg(long, env = "SHOP_MAX_CART_LINES", value_name = "N", default_value_t = 200,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub max_cart_lines: usize,

    /// CPU time that each application request burns beside its session work, so that experiments show
    /// the cost of sessions alone and beside a real handler.
    #[arg(long, env = "SHOP_WORK_US", value_name = "US", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub work_us: u64,

    /// How log lines on stderr look. `RUST_LOG` sets what is logged (default `info`; `shop=debug` has a line a request).
    #[arg(
        long,
        env = "SHOP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human"
    )]
    pub log_format: LogFormat,

    /// After SIGTERM or SIGINT, running requests get this long in all; then the node ends with exit code 0.
    #[arg(long, env = "SHOP_DRAIN_S", value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub drain_s: u64,

    /// Threads that serve requests [default: as many as the machine has cores].
    #[arg(long, env = "SHOP_THREADS", value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub threads: Option<usize>,

    /// Lets an operator turn the clock ahead with POST /admin/clock: for tests and experiments with expiry only.
    #[arg(long, env = "SHOP_TURNABLE_CLOCK", value_parser = clap::builder::BoolishValueParser::new())]
    pub turnable_clock: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line, for machines.
    Json,
}

/// A setting that cannot be served: what is wrong, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid configuration: {0}.")]
pub(crate) struct Invalid(pub String);

/// The secrets as they were found, not yet judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Of all demo accounts.
    pub password: Option<Secret>,
    /// Signs tokens.
    pub jwt_key: Option<Secret>,
    /// Opens operator calls.
    pub operator_token: Option<Secret>,
    /// From the environment; may hold a password.
    pub redis_url: Option<Secret>,
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
    /// Of all demo accounts, not empty.
    pub password: Secret,
    /// What one password check costs.
    pub password_cost: argon2::Params,
    /// There when strategy jwt is served.
    pub jwt_key: Option<Secret>,
    /// There when strategy redis is served.
    pub redis_url: Option<String>,
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
        Ok(Self {
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
            redis_url: serves_redis
                .then(|| redis_url(flags.redis_url.as_deref(), secrets.redis_url.as_ref()))
                .transpose()?,
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
    let key = found.ok_or_else(|| {
        Invalid(format!(
            "strategy jwt needs a key to sign tokens with: {how}"
        ))
    })?;
    let bytes = key.reveal().len();
    if bytes < MIN_JWT_KEY_BYTES {
        return Err(Invalid(format!(
            "the key of the tokens has {bytes} bytes and must have at least {MIN_JWT_KEY_BYTES}, else it can be guessed: {how}"
        )));
    }
    Ok(key)
}

fn redis_url(flag: Option<&str>, variable: Option<&Secret>) -> Result<String, Invalid> {
    let url = match (flag, variable) {
        (Some(flag), _) if flag.contains('@') => {
            return Err(Invalid(
                "--redis-url holds a password, and every user of the machine can read a command line: put the URL into SHOP_REDIS_URL"
                    .into(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Invalid(
                "the Redis URL comes from --redis-url and from SHOP_REDIS_URL: which one counts? Give only one of them".into(),
            ));
        }
        (Some(flag), None) => flag.to_owned(),
        (None, Some(variable)) => String::from_utf8_lossy(variable.reveal()).into_owned(),
        (None, None) => {
            return Err(Invalid(
                "strategy redis needs a store: set --redis-url redis://HOST:PORT, or SHOP_REDIS_URL when the URL holds a password".into(),
            ));
        }
    };
    // The URL itself stays out of the message: it may hold a password.
    if !url.starts_with("redis://") {
        return Err(Invalid(
            "the Redis URL must look like redis://HOST:PORT".into(),
        ));
    }
    Ok(url)
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
        }
    }

    fn refusal(arguments: &[&str], secrets: Secrets) -> String {
        Config::check(flags(arguments), secrets)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_flag_but_the_redis_url_is_mirrored_to_the_environment() {
        use clap::CommandFactory;
        let command = Flags::command();
        for argument in command.get_arguments() {
            let Some(long) = argument
                .get_long()
                .filter(|long| !["help", "version", "redis-url"].contains(long))
            else {
                continue;
            };
            let expected = format!("SHOP_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().unwrap().to_str(), Some(&*expected));
        }
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
        assert_eq!(config.redis_url.as_deref(), Some(url));
        let wrong = Secrets {
            redis_url: Some(Secret::new("http://:hunter2@127.0.0.1")),
            ..secrets()
        };
        assert!(!refusal(&["--strategies", "redis"], wrong).contains("hunter2"));
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
}
