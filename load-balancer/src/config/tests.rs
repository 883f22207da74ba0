//! What a good file gives, and what each mistake says.

use std::{io::Write as _, time::Duration};

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";

const GOOD: &str = r#"
admin = "127.0.0.1:8090"
[nodes]
list = [ { name = "node-1", address = "127.0.0.1:9001" }, { name = "node-2", address = "127.0.0.1:9002" } ]
[[listeners]]
strategy = "sticky"
address = "127.0.0.1:8081"
affinity = true
[[listeners]]
strategy = "redis"
address = "127.0.0.1:8082"
balance = "least-requests"
"#;

fn secrets(name: &str) -> Option<String> {
    matches!(
        name,
        "LOAD_BALANCER_AFFINITY_KEY" | "LOAD_BALANCER_ADMIN_TOKEN"
    )
    .then(|| KEY.to_owned())
}

fn load_text(text: &str, flags: &[&str]) -> Result<Config, String> {
    load_with(text, flags, secrets)
}

fn load_with(
    text: &str,
    flags: &[&str],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let args = [&["load-balancer", "--config", path], flags].concat();
    let args = Args::try_parse_from(args).map_err(|error| error.to_string())?;
    load(&args, variable).map_err(|error| error.to_string())
}

/// Both as it stands and with every default spelled out, the example must mean the same. Keys come from the environment here.
#[test]
fn the_example_tells_the_truth_about_defaults() {
    let example = include_str!("../../example.toml");
    let without_keys: Vec<&str> = example
        .lines()
        .filter(|line| !line.contains("_file = "))
        .collect();
    let spelled_out = without_keys.iter().map(|line| {
        let setting = line.strip_prefix("# ").filter(|rest| {
            let name = rest.split(" = ").next().unwrap_or(" ");
            rest.contains(" = ")
                && name
                    .chars()
                    .all(|sign| sign.is_ascii_lowercase() || sign == '_')
        });
        setting.unwrap_or(line)
    });
    let spelled_out: Vec<&str> = spelled_out.collect();
    assert_ne!(spelled_out, without_keys);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let spelled_out = spelled_out
        .join("\n")
        .replace("threads = 2", &format!("threads = {cores}"))
        // There is none by default.
        .replace("access_log = \"access.log\"", "");
    let short = load_text(&without_keys.join("\n"), &[]).expect("the example");
    let long = load_text(&spelled_out, &[]).expect("the example with its defaults");
    assert_eq!(format!("{short:?}"), format!("{long:?}"));
}

#[test]
fn every_setting_has_its_line_in_the_operators_page() {
    let page = include_str!("../../../docs/balancer.md");
    let example = include_str!("../../example.toml");
    let settings: Vec<_> = example
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| {
            name.bytes()
                .all(|sign| sign.is_ascii_lowercase() || sign == b'_')
        })
        .collect();
    assert!(settings.len() > 25, "{settings:?}");
    for name in settings {
        let mark = format!("`{name}` |");
        assert!(
            page.contains(&mark),
            "{name} has no line in docs/balancer.md"
        );
    }
}

#[test]
fn a_short_file_gets_the_defaults() {
    let config = load_text(GOOD, &[]).expect("good");
    assert_eq!(config.listeners.len(), 2);
    assert!(config.listeners[0].affinity, "as the file says");
    assert!(!config.listeners[1].affinity, "only where the file says so");
    let cookie = &config.listeners[0].cookie;
    assert_eq!((&*cookie.name, &*cookie.path), ("affinity-sticky", "/"));
    assert_eq!(cookie.same_site, SameSite::Lax);
    assert_eq!((cookie.lifetime_s, cookie.is_persistent), (43_200, false));
    assert_eq!(config.listeners[0].pin, PinRule::Session);
    assert_eq!(config.listeners[1].balance, Balance::LeastRequests);
    assert_eq!(config.health.path, "/readyz");
    assert_eq!(
        (
            config.health.rise,
            config.health.fall,
            config.retries.attempts
        ),
        (1, 2, 3)
    );
    assert_eq!(config.timeouts.total, Duration::from_secs(5));
    assert!(
        config.timeouts.idle < Duration::from_mins(1),
        "nodes keep connections for 60 s"
    );
    assert!(config.threads >= 1);
}

/// A process that is stopped just after it answered a check meets the next one after an interval.
#[test]
fn a_frozen_node_is_found_out_within_two_seconds() {
    let health = load_text(GOOD, &[]).expect("good").health;
    let step = health.interval.max(health.timeout);
    let worst = health.interval + step * (health.fall - 1) + health.timeout;
    assert!(worst < Duration::from_secs(2), "{worst:?}");
}

#[test]
fn every_setting_of_the_file_is_taken() {
    let text = format!(
        "private_paths = ['/x/']\nthreads = 3\naccess_log = 'stderr'\n{GOOD}\naffinity = true\npin = 'everybody'\n\
         cookie = {{ name = 'lb', path = '/shop', same_site = 'none', lifetime_s = 60, persistent = true }}\non_dead_node = 'strict'\nbehind_https = true\nproxy_protocol = true\n[health]\npath = '/x'\ninterval_ms = 100\ntimeout_ms = 200\nrise = 4\nfall = 5\n\
         [timeouts]\nconnect_ms = 1\nread_ms = 2\nwrite_ms = 3\nidle_ms = 4\ntotal_ms = 5\n[retries]\nattempts = 6\nbudget_percent = 7\nbudget_floor = 8\n\
         [limits]\nmax_in_flight = 9\n[ejection]\nfailures = 10\nbase_ms = 11\nmax_ms = 12\nmax_percent = 13\n\
         [drain]\ndeadline_s = 14\n[shutdown]\nlame_duck_ms = 15\ngrace_ms = 16\n\
         [clients]\nconnections = 17\nbody_bytes = 18\nhead_ms = 19\nkeepalive_ms = 20\nsilence_ms = 21\nbytes_per_s = 22\nlinger_ms = 23\nlinger_bytes = 24\nabort_on_close = true\ntrusted_proxies = ['10.0.0.0/8', '::1']\n"
    );
    let config = load_text(&text, &[]).expect("good");
    assert!(config.listeners[1].affinity);
    assert_eq!(config.listeners[1].pin, PinRule::Everybody);
    let cookie = &config.listeners[1].cookie;
    assert_eq!((&*cookie.name, &*cookie.path), ("lb", "/shop"));
    assert_eq!(cookie.same_site, SameSite::None);
    assert_eq!((cookie.lifetime_s, cookie.is_persistent), (60, true));
    assert!(config.listeners[1].is_https && !config.listeners[0].is_https);
    assert_eq!((config.threads, config.retries.attempts), (3, 6));
    let clients = config.clients;
    assert_eq!((clients.connections, clients.body_bytes), (17, 18));
    let ms = [clients.head, clients.keepalive, clients.silence].map(|time| time.as_millis());
    assert_eq!((ms, clients.bytes_per_s), ([19, 20, 21], 22));
    let linger = (clients.linger.as_millis(), clients.linger_bytes);
    assert_eq!((linger, clients.aborts_on_close), ((23, 24), true));
    let proxies: Vec<_> = clients
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
    assert!(config.listeners[1].proxy_protocol && !config.listeners[0].proxy_protocol);
    assert_eq!(config.private_paths, ["/x/"]);
    assert_eq!(
        (
            config.health.path.as_str(),
            config.health.rise,
            config.health.fall
        ),
        ("/x", 4, 5)
    );
    assert_eq!(config.health.interval, Duration::from_millis(100));
    assert_eq!(config.timeouts.idle, Duration::from_millis(4));
    let (budget, ejection, shutdown) = (config.retries, config.ejection, config.shutdown);
    assert_eq!((budget.budget_percent, budget.budget_floor), (7, 8));
    assert_eq!(config.limits.max_in_flight, 9);
    assert_eq!((ejection.failures, ejection.max_percent), (10, 13));
    let ms = Duration::from_millis;
    assert_eq!((ejection.base, ejection.max), (ms(11), ms(12)));
    assert_eq!(config.drain.deadline, Duration::from_secs(14));
    assert_eq!((shutdown.lame_duck, shutdown.grace), (ms(15), ms(16)));
    assert_eq!(config.access_log, Some(AccessLogTarget::Stderr));
    assert_eq!(config.listeners[0].on_dead_node, OnDeadNode::Repin);
    assert_eq!(config.listeners[1].on_dead_node, OnDeadNode::Strict);
}

#[test]
fn flags_win_over_the_file() {
    let config = load_text(GOOD, &["--admin", "127.0.0.2:1", "--threads", "7"]).expect("good");
    assert_eq!(
        config.admin.expect("an admin port").address.to_string(),
        "127.0.0.2:1"
    );
    assert_eq!(config.threads, 7);
}

#[test]
fn a_dns_name_may_stand_for_the_list() {
    let text =
        "[nodes]\ndns = 'app:8080'\n[[listeners]]\nstrategy = 'jwt'\naddress = '127.0.0.1:1'\n";
    let config =
        load_with(text, &[], |_| None).expect("neither affinity nor admin: no secret needed");
    assert!(matches!(config.nodes, NodeSource::Dns(name) if name == "app:8080"));
}

/// Each mistake: what to replace in the good file, by what, and what the message must say.
#[expect(clippy::too_many_lines, reason = "one line for each mistake")]
#[test]
fn mistakes_name_their_place_and_what_is_allowed() {
    for (old, new, says) in [
        (
            "balance = ",
            "balanse = ",
            &["line 12, column 1", "unknown field `balanse`", "`balance`"][..],
        ),
        (
            "least-requests",
            "least",
            &[
                "line 12, column 11",
                "unknown variant `least`",
                "`round-robin`",
            ],
        ),
        (
            "127.0.0.1:8081",
            "localhost",
            &["line 7, column 11", "invalid socket address"],
        ),
        (
            "\"sticky\"",
            "\"Sticky!\"",
            &["line 6, column 12", "allowed are", "a-z"],
        ),
        (
            "\"redis\"",
            "\"sticky\"",
            &[
                "line 10, column 12",
                "strategy sticky stands twice, first in entry 1",
            ],
        ),
        (
            "8082",
            "8081",
            &["line 11, column 11", "address 127.0.0.1:8081 stands twice"],
        ),
        ("node-2", "node-1", &["line 4", "name node-1 stands twice"]),
        (
            "127.0.0.1:8090",
            "0.0.0.0:8090",
            &["line 2, column 9", "loopback only"],
        ),
        (
            "[nodes]",
            "[nodes]\ndns = 'a:1'",
            &["line 3, column 1", "exactly one of list and dns"],
        ),
        (
            "strategy = \"sticky\"\n",
            "",
            &["line 5, column 1", "missing field `strategy`"],
        ),
        ("[nodes]", "[nodes", &["line 3"]),
        (
            "[nodes]",
            "[clients]\ntrusted_proxies = ['localhost']\n[nodes]",
            &["line 4, column 19", "10.1.0.0/16"],
        ),
        (
            "admin = ",
            "private_paths = ['/a', '/%61']\nadmin = ",
            &["line 2, column 17", "/admin/ for everything below it"],
        ),
        (
            "balance = ",
            "proxy_protocol = true\nbalance = ",
            &["line 12, column 18", "trusted_proxies of [clients]"],
        ),
    ] {
        assert!(GOOD.contains(old), "{old}");
        let error = load_text(&GOOD.replacen(old, new, 1), &[]).expect_err(new);
        for part in says {
            assert!(
                error.contains(part),
                "{new}: {part:?} is missing in: {error}"
            );
        }
    }
    for (more, says) in [
        (
            "[health]\ninterval_ms = 0",
            "line 14, column 15: 0 is out of range, allowed are 10 to 60000 ms",
        ),
        (
            "[health]\nrise = -1",
            "-1 is out of range, allowed are 1 to 100",
        ),
        ("[health]\npath = 'readyz'", "must start with /"),
        ("[timeouts]\ntotal_ms = 100", "total_ms must not be less"),
        ("[ejection]\nmax_ms = 100", "max_ms must not be less"),
        ("[limits]\nmax_in_flight = 0", "allowed are 1 to 1000000"),
        ("on_dead_node = 'move'", "expected `repin` or `strict`"),
        ("pin = 'nobody'", "expected `session` or `everybody`"),
        ("cookie = { name = 'a b' }", "is no name of a cookie"),
        ("cookie = { path = 'shop' }", "must start with /"),
        ("cookie = { path = '/a;b' }", "is no path of a cookie"),
        (
            "cookie = { same_site = 'off' }",
            "expected one of `lax`, `strict`, `none`",
        ),
        ("cookie = { lifetime_s = 0 }", "allowed are 1 to 31536000"),
        ("cookie = { domain = 'a' }", "unknown field `domain`"),
        (
            "cookie = { same_site = 'none' }",
            "line 13, column 24: browsers ignore a cookie with SameSite=None",
        ),
        (
            "cookie = { name = '__host-lb' }",
            "line 13, column 19: browsers ignore a cookie called __host-lb",
        ),
        ("cookie = { name = '__Secure-lb' }", "behind_https = true"),
        (
            "behind_https = true\ncookie = { path = '/shop' }",
            "line 14, column 19: browsers ignore a cookie called __Host-affinity-redis with a path",
        ),
        (
            "affinity = true\ncookie = { name = 'affinity-sticky' }",
            "line 14, column 19: the listeners sticky and redis both call their cookie affinity-sticky",
        ),
        (
            "[retries]\nattempts = 99",
            "99 is out of range, allowed are 1 to 16",
        ),
    ] {
        let error = load_text(&format!("{GOOD}{more}\n"), &[]).expect_err(more);
        assert!(
            error.contains(says),
            "{more}: {says:?} is missing in: {error}"
        );
    }
    for no_port in ["app", "app:0", "fd00::1", "fd00::1:80"] {
        let text = format!(
            "[nodes]\ndns = '{no_port}'\n[[listeners]]\nstrategy = 'jwt'\naddress = '127.0.0.1:1'\n"
        );
        let error = load_text(&text, &[]).expect_err("no port");
        assert!(error.contains("line 2, column 7"), "{no_port}: {error}");
    }
}

#[test]
fn secrets_are_wanted_long_and_never_shown() {
    let missing = load_with(GOOD, &[], |_| None).expect_err("no token");
    assert!(
        missing.contains("admin_token_file: is missing"),
        "{missing}"
    );
    assert!(
        missing.contains("LOAD_BALANCER_ADMIN_TOKEN") && missing.contains("/dev/urandom"),
        "{missing}"
    );

    let short = load_with(GOOD, &[], |_| Some("hunter2-hunter2-hunter2".to_owned()))
        .expect_err("short key");
    assert!(
        short.contains("affinity_key_file: holds 23 bytes") && !short.contains("hunter2"),
        "{short}"
    );

    let blank = load_with(GOOD, &[], |_| Some(format!("two words {KEY}"))).expect_err("blank");
    assert!(
        blank.contains("no HTTP header can carry") && !blank.contains(KEY),
        "{blank}"
    );

    let config = load_text(GOOD, &[]).expect("good");
    assert!(!format!("{config:?}").contains(KEY));
}

#[test]
fn a_secret_file_loses_its_last_newline_and_wins_over_the_environment() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "the-token-from-the-file").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let config = load_text(GOOD, &["--admin-token-file", path]).expect("good");
    assert_eq!(
        config.admin.expect("an admin port").token,
        Token::new(listen::Secret::new(b"the-token-from-the-file".to_vec())).expect("a token")
    );

    let error = load_text(GOOD, &["--affinity-key-file", "/no/such/file"]).expect_err("no file");
    assert!(error.contains("cannot read /no/such/file"), "{error}");
}

#[test]
fn an_unreadable_file_is_named() {
    let args = Args::try_parse_from(["load-balancer", "--config", "/no/such.toml"]).expect("args");
    let error = load(&args, secrets).expect_err("no file").to_string();
    assert!(
        error.contains("/no/such.toml") && error.contains("--config"),
        "{error}"
    );
}
