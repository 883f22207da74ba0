//! Every setting of the node, once: its flag, its environment variable, what it means and the range it may have. The
//! settings of the strategies come from their table; here they become flags.
//!
//! A setting `--some-flag` is also read from `SHOP_SOME_FLAG`. Which settings go together is the business of `config`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, Parser, ValueEnum, value_parser};
use session::settings::{Kept, Takes, Text};
use session::{Kind, Secret, Setting, Unfit, Values};

use crate::peer::TrustedBalancers;

/// The subcommand that prints the table of strategies.
pub(crate) const DESCRIBE: &str = "describe";
/// In place of the names of strategies: the whole table.
pub(crate) const ALL: &str = "all";

/// The app node of the session lab: one small shop, with the state of its logins kept by the strategies of your choice.
///
/// Secrets come from files or from the environment, never from the command line: `--some-file` names a file, or
/// `SHOP_SOME` holds the secret itself.
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
        default_value_t = host_name(),
        hide_default_value = true
    )]
    pub node_name: String,

    /// The strategies to serve, or `all`. With several, each request must name one in `x-session-strategy`.
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

    /// The file that holds the token for operator calls under /admin (or `SHOP_OPERATOR_TOKEN` holds the token itself).
    /// Without one, operator calls are refused.
    #[arg(long, env = "SHOP_OPERATOR_TOKEN_FILE", value_name = "PATH")]
    pub operator_token_file: Option<PathBuf>,

    /// CPU time that each application request burns beside its session work, so that experiments show
    /// the cost of sessions alone and beside a real handler.
    #[arg(long, env = "SHOP_WORK_US", value_name = "US", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub work_us: u64,

    /// How log lines on stderr look. `RUST_LOG` sets what is logged (default `info`; `shop=debug` has a line per request).
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

/// The command line of a node that can serve `kinds`.
pub(crate) fn command(kinds: &[&dyn Kind]) -> Command {
    let describe = Command::new(DESCRIBE)
        .about("Prints as JSON what each strategy says of itself, and what it can be set to");
    settings(kinds)
        .into_iter()
        .map(|(setting, users)| argument(setting, &users))
        .fold(Flags::command(), Command::arg)
        .subcommand(describe)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
}

/// Every setting of `kinds` once, with the names of those that have it.
pub(crate) fn settings(kinds: &[&dyn Kind]) -> Vec<(&'static Setting, Vec<&'static str>)> {
    let mut all: Vec<(&'static Setting, Vec<&'static str>)> = Vec::new();
    for about in kinds.iter().map(|kind| kind.about()) {
        for setting in about.settings {
            match all.iter_mut().find(|(known, _)| known.flag == setting.flag) {
                Some((_, users)) => users.push(about.name),
                None => all.push((setting, vec![about.name])),
            }
        }
    }
    all
}

fn argument(setting: &'static Setting, users: &[&str]) -> Arg {
    let argument = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value_name)
        .help(format!("{} Of: {}.", setting.doc, users.join(", ")))
        .help_heading("Settings of the strategies");
    match setting.takes {
        Takes::Number {
            default,
            least,
            most,
        } => argument
            .env(setting.variable())
            .value_parser(value_parser!(u64).range(least..=most))
            .default_value(default.to_string()),
        // Not mirrored through clap, which prints values in its messages, and so that a strategy can tell the environment
        // from the command line.
        Takes::Text => argument.value_parser(value_parser!(OsString)),
        Takes::SecretFile { .. } => argument
            .env(setting.variable())
            .value_parser(value_parser!(PathBuf)),
    }
}

/// What was set for `kinds`. Reads the files of secrets.
pub(crate) fn values(
    matches: &ArgMatches,
    kinds: &[&dyn Kind],
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Values, Unfit> {
    let mut values = Values::default();
    for (setting, _) in settings(kinds) {
        let flag = format!("--{}", setting.flag);
        match setting.takes {
            Takes::Number { .. } => {
                if let Some(number) = matches.get_one::<u64>(setting.flag) {
                    values = values.with_number(setting, *number);
                }
            }
            Takes::Text => {
                let variable = setting.variable();
                let from_environment = environment(&variable).filter(|value| !value.is_empty());
                let from_flag = matches.get_one::<OsString>(setting.flag).cloned();
                let on_command_line = from_flag.is_some();
                let value = match (from_flag, from_environment) {
                    (Some(_), Some(_)) => {
                        return Err(Unfit(format!(
                            "{flag} and {variable} both give a value: which one counts? Give only one of them"
                        )));
                    }
                    (value, None) | (None, value) => value,
                };
                if let Some(value) = value {
                    let value = Secret::new(value.into_encoded_bytes());
                    let text = Text {
                        value,
                        on_command_line,
                    };
                    values = values.with_text(setting, text);
                }
            }
            Takes::SecretFile { what } => {
                let path = matches.get_one::<PathBuf>(setting.flag).cloned();
                let variable = setting.content_variable();
                let secret = Secret::load(what, &flag, path.as_deref(), &variable, &environment)?;
                if let Some(secret) = secret {
                    values = values.with_secret(setting, Kept { secret, path });
                }
            }
        }
    }
    Ok(values)
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
    use clap::FromArgMatches as _;
    use session::KINDS;

    use super::*;

    fn matches(arguments: &[&str]) -> ArgMatches {
        let arguments = [&["shop"], arguments].concat();
        command(KINDS).try_get_matches_from(arguments).unwrap()
    }

    #[test]
    fn of_a_flag_that_is_given_twice_the_last_counts() {
        let twice = [
            "--strategies=sticky,redis",
            "--accounts=1",
            "--session-idle-s=1",
            "--strategies=redis,jwt",
            "--accounts=2",
            "--session-idle-s=2",
        ];
        let matches = matches(&twice);
        let flags = Flags::from_arg_matches(&matches).unwrap();
        assert_eq!(flags.strategies, ["redis", "jwt"]);
        assert_eq!(flags.accounts, 2);
        let values = values(&matches, KINDS, |_| None).unwrap();
        assert_eq!(values.number(&session::settings::IDLE), 2);
    }

    #[test]
    fn every_flag_but_what_may_hold_a_secret_is_mirrored_to_the_environment() {
        let may_hold_a_secret: Vec<_> = settings(KINDS)
            .iter()
            .filter(|(setting, _)| matches!(setting.takes, Takes::Text))
            .map(|(setting, _)| setting.flag)
            .collect();
        for argument in command(KINDS).get_arguments() {
            let Some(long) = argument
                .get_long()
                .filter(|long| !["help", "version"].contains(long))
                .filter(|long| !may_hold_a_secret.contains(long))
            else {
                continue;
            };
            let expected = format!("SHOP_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().unwrap().to_str(), Some(&*expected));
        }
    }

    #[test]
    fn a_setting_of_several_strategies_is_one_flag_that_names_them() {
        let command = command(KINDS);
        let idle = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some("session-idle-s"));
        let help = idle.unwrap().get_help().unwrap().to_string();
        assert!(help.ends_with("Of: sticky, redis."), "{help}");
    }

    #[test]
    fn a_text_comes_from_one_place() {
        let set = |arguments: &[&str], variable: &str| {
            let environment = |name: &str| {
                (name == "SHOP_REDIS_URL" && !variable.is_empty()).then(|| variable.into())
            };
            let arguments = [&["--strategies=redis"], arguments].concat();
            values(&matches(&arguments), KINDS, environment)
        };
        let url = "--redis-url=redis://:hunter2@one:1";
        let why = set(&[url], "redis://:hunter2@two:2")
            .unwrap_err()
            .to_string();
        assert!(
            why.contains("SHOP_REDIS_URL") && !why.contains("hunter2"),
            "{why}"
        );
        for (arguments, variable) in [(&[url][..], ""), (&[], "redis://:hunter2@two:2")] {
            let values = format!("{:?}", set(arguments, variable).unwrap());
            assert!(values.contains("redis-url") && !values.contains("hunter2"));
        }
    }

    #[test]
    fn the_table_is_asked_for_without_any_setting() {
        assert_eq!(matches(&[DESCRIBE]).subcommand_name(), Some(DESCRIBE));
        let without = command(KINDS).try_get_matches_from(["shop"]);
        assert!(without.unwrap_err().to_string().contains("--strategies"));
    }
}
