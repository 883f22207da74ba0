//! What is wanted: flags. Each that is not given has a value that is printed as assumed; but for the cost of a login, which
//! has none, because it is whatever a shop chooses.

/// What to plan for.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Targets {
    /// Sessions that are alive at the same time; several with commas [default: 1000000,100000000,1000000000].
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    sessions: Vec<u64>,

    /// Requests that a session sends in a minute [default: 1].
    #[arg(long, value_name = "N")]
    requests_per_session_per_minute: Option<f64>,

    /// The share of its CPU that a process is meant to use, so that queues stay short [default: 0.6].
    #[arg(long, value_name = "SHARE")]
    busy: Option<f64>,

    /// Cores of a node [default: 4].
    #[arg(long, value_name = "N")]
    node_cores: Option<f64>,

    /// Memory of a node that sessions may take, GiB [default: 4].
    #[arg(long, value_name = "GIB")]
    node_gib: Option<f64>,

    /// Memory of one of the store's shards, GiB [default: 16].
    #[arg(long, value_name = "GIB")]
    shard_gib: Option<f64>,

    /// How often the store keeps everything, replicas included [default: 2].
    #[arg(long, value_name = "N")]
    store_copies: Option<f64>,

    /// CPU of checking one password, milliseconds; without it the work of a login storm is missing.
    #[arg(long, value_name = "MS")]
    login_ms: Option<f64>,

    /// Users that lost their login come back within so many seconds [default: 60].
    #[arg(long, value_name = "S")]
    relogin_within_s: Option<f64>,
}

/// A flag's value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// As it is typed.
    pub(super) flag: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
    /// The value; `None` where there is none.
    pub(super) value: Option<f64>,
    /// Whether it was given.
    pub(super) given: bool,
}

const SESSIONS: [u64; 3] = [1_000_000, 100_000_000, 1_000_000_000];

impl Targets {
    /// Numbers that can be calculated with.
    pub fn check(&self) -> Result<(), String> {
        let none = self.sessions.contains(&0).then_some("--sessions");
        let wrong = self.all().into_iter().find(|target| {
            let too_much = target.flag == "--busy" && target.value.is_some_and(|value| value > 1.0);
            too_much
                || target
                    .value
                    .is_some_and(|value| !(value > 0.0 && value.is_finite()))
        });
        match none.or(wrong.map(|target| target.flag)) {
            Some("--busy") => Err("--busy is a share: above 0, at most 1".into()),
            Some(flag) => Err(format!("{flag} must be above 0")),
            None => Ok(()),
        }
    }

    /// How many sessions.
    pub(super) fn sessions(&self) -> Vec<u64> {
        if self.sessions.is_empty() {
            SESSIONS.to_vec()
        } else {
            self.sessions.clone()
        }
    }

    /// Everything but the sessions, in the order in which it is told.
    pub(super) fn all(&self) -> [Part; 8] {
        [
            self.per_minute(),
            self.busy(),
            self.node_cores(),
            self.node_gib(),
            self.shard_gib(),
            self.store_copies(),
            self.relogin_within_s(),
            self.login_ms(),
        ]
    }

    pub(super) fn per_minute(&self) -> Part {
        let meaning = "requests per session and minute";
        of(
            "--requests-per-session-per-minute",
            meaning,
            self.requests_per_session_per_minute,
            Some(1.0),
        )
    }

    pub(super) fn busy(&self) -> Part {
        of(
            "--busy",
            "share of its CPU that a process uses",
            self.busy,
            Some(0.6),
        )
    }

    pub(super) fn node_cores(&self) -> Part {
        of(
            "--node-cores",
            "cores of a node",
            self.node_cores,
            Some(4.0),
        )
    }

    pub(super) fn node_gib(&self) -> Part {
        of(
            "--node-gib",
            "GiB of a node for sessions",
            self.node_gib,
            Some(4.0),
        )
    }

    pub(super) fn shard_gib(&self) -> Part {
        of(
            "--shard-gib",
            "GiB of a shard of the store",
            self.shard_gib,
            Some(16.0),
        )
    }

    pub(super) fn store_copies(&self) -> Part {
        of(
            "--store-copies",
            "copies in the store, replicas included",
            self.store_copies,
            Some(2.0),
        )
    }

    pub(super) fn relogin_within_s(&self) -> Part {
        let meaning = "seconds within which users log in again";
        of(
            "--relogin-within-s",
            meaning,
            self.relogin_within_s,
            Some(60.0),
        )
    }

    pub(super) fn login_ms(&self) -> Part {
        of(
            "--login-ms",
            "ms of CPU to check a password",
            self.login_ms,
            None,
        )
    }
}

fn of(flag: &'static str, meaning: &'static str, given: Option<f64>, assumed: Option<f64>) -> Part {
    Part {
        flag,
        meaning,
        value: given.or(assumed),
        given: given.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_assumed_but_for_the_cost_of_a_login() {
        let targets = Targets::default();
        targets.check().unwrap();
        assert_eq!(targets.sessions(), SESSIONS);
        let unknown: Vec<&str> = targets
            .all()
            .iter()
            .filter(|target| target.value.is_none())
            .map(|target| target.flag)
            .collect();
        assert_eq!(unknown, ["--login-ms"]);
        assert!(targets.all().iter().all(|target| !target.given));
    }

    #[test]
    fn senseless_numbers_are_refused_by_name() {
        let busy = Targets {
            busy: Some(1.5),
            ..Targets::default()
        };
        assert!(busy.check().unwrap_err().starts_with("--busy"));
        let none = Targets {
            sessions: vec![0],
            ..Targets::default()
        };
        assert_eq!(none.check().unwrap_err(), "--sessions must be above 0");
        let odd = Targets {
            shard_gib: Some(f64::NAN),
            ..Targets::default()
        };
        assert_eq!(odd.check().unwrap_err(), "--shard-gib must be above 0");
    }
}
