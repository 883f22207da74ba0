//! Every setting of the node, once: its flag, its environment variable, what it means and the range it may have.
//!
//! A setting `--some-flag` is also read from `SHOP_SOME_FLAG`. Which settings go together is the business of `config`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use crate::peer::TrustedBalancers;
use crate::secret::Secret;

/// The app node of the session lab: one small shop, with the state of its logins kept by the strategies of your choice.
///
/// Secrets come from files or from the environment, never from the command line: the demo password from
/// `--password-file` or `SHOP_PASSWORD`, the key of the tokens from `--jwt-key-file` or `SHOP_JWT_KEY`, the operator's
/// token from `--operator-token-file` or `SHOP_OPERATOR_TOKEN`, the password of Redis from `--redis-password-file` or
/// `SHOP_REDIS_PASSWORD`, or a Redis URL with a password in it from `SHOP_REDIS_URL`.
#[derive(Debug, Parser)]
// The last one counts: whoever starts a node adds flags to those that it starts with anyway.
#[command(name = "shop", version, args_override_self = true)]
pub(crate) struct Flags {
    /// Where to listen, ADDRESS:PORT; port 0 takes any free one and the `ready` line tells which.
    #[arg(
        long,
        env = "SHOP_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Where browsers reach the shop, `https://NAME`. With https every cookie is `Secure` and its name begins with `__Host-`.
    /// Plain http only for loopback; it is the default where the node listens on loopback.
    #[arg(long, env = "SHOP_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,

    /// Whose `x-forwarded-for` and `x-forwarded-proto` are believed: addresses or networks.
    #[arg(
        long,
        env = "SHOP_TRUSTED_BALANCERS",
        action = clap::ArgAction::Set,
        value_name = "NETWORKS",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1"
    )]
    pub trusted_balancers: Vec<TrustedBalancers>,

    /// The name of this node, in answers (`x-node`) and reports. The default is the name of the machine: each of many
    /// containers has one of its own.
    #[arg(
        long,
        env = "SHOP_NODE_NAME",
        value_name = "NAME",
        default_value_t = host_name()
    )]
    pub node_name: String,

    /// The strategies to serve. With several, each request must name one in `x-session-strategy`.
    #[arg(
        long,
        env = "SHOP_STRATEGIES",
        action = clap::ArgAction::Set,
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

    /// How long a login may wait for its password check before the answer is 503. Shorter where the load balancer says that
    /// it waits for less (`x-answer-within-ms`, as ours does); behind another one, keep it well below its timeout.
    #[arg(long, env = "SHOP_PASSWORD_WAIT_MS", value_name = "MS", default_value_t = 2_000,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub password_wait_ms: u64,

    /// Logins with a wrong password that may be tried on one account at once; 0 sets no limit. Right ones do not count.
    #[arg(long, env = "SHOP_LOGIN_ATTEMPTS_PER_ACCOUNT", value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub login_attempts_per_account: u32,

    /// After that, one more every so many seconds.
    #[arg(long, env = "SHOP_LOGIN_ACCOUNT_REFILL_S", value_name = "S", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub login_account_refill_s: u64,

    /// Logins with a wrong password that may be tried from one client address (IPv6: one /64) at once; 0 sets no limit.
    /// A load test that logs in many users from one address at the same time needs 0: those that run count, too.
    #[arg(long, env = "SHOP_LOGIN_ATTEMPTS_PER_ADDRESS", value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub login_attempts_per_address: u32,

    /// After that, one more every so many seconds.
    #[arg(long, env = "SHOP_LOGIN_ADDRESS_REFILL_S", value_name = "S", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub login_address_refill_s: u64,

    /// The file that holds the key that signs tokens, at least 32 bytes, or several keys, one a line: `signs KEY`,
    /// `verifies KEY [until TIME]` (or `SHOP_JWT_KEY` holds the same). All nodes of a cluster share it.
    /// A change of the file is noticed within some seconds.
    #[arg(long, env = "SHOP_JWT_KEY_FILE", value_name = "PATH")]
    pub jwt_key_file: Option<PathBuf>,

    /// The file that holds the token for operator calls under /admin (or `SHOP_OPERATOR_TOKEN` holds the token itself).
    /// Without one, operator calls are refused.
    #[arg(long, env = "SHOP_OPERATOR_TOKEN_FILE", value_name = "PATH")]
    pub operator_token_file: Option<PathBuf>,

    /// The Redis that strategy redis keeps its state in, `redis://HOST:PORT`, or the Sentinels that know where it is,
    /// `redis+sentinel://HOST:PORT,HOST:PORT,…/MASTER`. A URL with a password in it belongs into `SHOP_REDIS_URL`.
    // Not mirrored through clap, so that checking can tell the environment from the command line.
    #[arg(long, value_name = "URL", value_parser = |url: &str| Ok::<_, Infallible>(Secret::new(url)))]
    pub redis_url: Option<Secret>,

    /// The file that holds the password of that Redis, for a URL without one (or `SHOP_REDIS_PASSWORD` holds the password itself).
    /// Sentinels that want a password are given the same one. The file is read again for each new connection.
    #[arg(long, env = "SHOP_REDIS_PASSWORD_FILE", value_name = "PATH")]
    pub redis_password_file: Option<PathBuf>,

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

    /// How far the clocks of two nodes may differ: an access token is taken so long before its beginning and after its end.
    #[arg(long, env = "SHOP_TOKEN_LEEWAY_S", value_name = "S", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(0..=600))]
    pub token_leeway_s: u64,

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

/// What the machine, or the container, is called.
fn host_name() -> String {
    let machine = rustix::system::uname();
    machine.nodename().to_string_lossy().into_owned()
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line, for machines.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn of_a_flag_that_is_given_twice_the_last_counts() {
        let twice = ["shop", "--strategies=sticky,redis", "--accounts=1"];
        let again = ["--strategies=redis,jwt", "--accounts=2"];
        let flags = Flags::try_parse_from(twice.into_iter().chain(again)).unwrap();
        assert_eq!(flags.strategies, ["redis", "jwt"]);
        assert_eq!(flags.accounts, 2);
    }

    #[test]
    fn every_flag_but_the_redis_url_is_mirrored_to_the_environment() {
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
}
