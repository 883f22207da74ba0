//! `[load]`: how many users there are, what they do, and when.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use evidence::pace::{Arrivals, Pace};

/// `[load]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Users at the same time.
    pub users: Spanned<u32>,
    /// When users act.
    #[serde(default)]
    pub profile: Profile,
    /// `closed`: shortest and longest pause between two actions.
    pub think_ms: Option<Spanned<(u64, u64)>>,
    /// `open`: actions that become due, a second, whatever the answers do.
    pub arrivals_per_s: Option<Spanned<u32>>,
    /// `open`: how these are spread.
    pub arrivals: Option<Spanned<Arrivals>>,
    /// How often users do what.
    pub journey: Spanned<Journey>,
    /// How often a credential is tried again after its logout, whatever comes of it: the same number of requests for
    /// each strategy. The first time is at once.
    #[serde(default = "one_replay")]
    pub replays: Spanned<u32>,
    /// Over how long these tries are spread, seconds. What revokes later, or comes back to life, shows only in this time.
    #[serde(default = "at_once")]
    pub replay_for_s: Spanned<u64>,
    /// An operator ends all logins of so many users a second, drawn at random, while it is measured. Whose credential is then
    /// refused tries it again as after a logout.
    pub revocations_per_s: Option<Spanned<u32>>,
    /// How long users act before anything is measured. Each begins with a login; in an open loop it takes `users` ÷
    /// `arrivals_per_s` seconds until all have had their first arrival. 0 measures these logins: that is a login storm.
    pub warm_up_s: Spanned<u64>,
    /// How long is measured.
    pub measure_s: Spanned<u64>,
}

fn one_replay() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

fn at_once() -> Spanned<u64> {
    Spanned::new(0..0, 0)
}

/// Who decides when the next action begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The users: act, wait for the answer, think, act again. A slow cluster gets less to do.
    #[default]
    Closed,
    /// A schedule: actions become due at a rate, however slow the answers are, as with strangers on the internet.
    Open,
}

/// How dead credentials are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replays {
    /// How often each.
    pub times: u32,
    /// From the first try to the last, seconds.
    pub for_s: u64,
}

/// `[load.journey]`: weights. What is not named is not done.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journey {
    /// Look at `/me`.
    pub browse: u32,
    /// Put a line into the cart.
    pub add_line: u32,
    /// Read the cart.
    pub read_cart: u32,
    /// Take a line out again.
    pub remove_line: u32,
    /// Read the cart a last time, log out, and try whether the old credential still works.
    pub log_out: u32,
}

impl Load {
    /// When users act: what `profile` and the fields for it say.
    pub fn pace(&self) -> Pace {
        match self.profile {
            Profile::Closed => Pace::Closed {
                think_ms: self
                    .think_ms
                    .as_ref()
                    .map_or((0, 0), |pause| *pause.get_ref()),
            },
            Profile::Open => Pace::Open {
                arrivals_per_s: self
                    .arrivals_per_s
                    .as_ref()
                    .map_or(0, |rate| *rate.get_ref()),
                arrivals: self
                    .arrivals
                    .as_ref()
                    .map_or(Arrivals::Constant, |spread| *spread.get_ref()),
            },
        }
    }

    /// How dead credentials are tried: what `replays` and `replay_for_s` say.
    pub fn replays(&self) -> Replays {
        Replays {
            times: *self.replays.get_ref(),
            for_s: *self.replay_for_s.get_ref(),
        }
    }

    /// How many users an operator logs out a second; 0 where there is none.
    pub fn revocations_per_s(&self) -> u32 {
        self.revocations_per_s
            .as_ref()
            .map_or(0, |rate| *rate.get_ref())
    }
}

impl Journey {
    /// The weights' sum.
    pub fn total(&self) -> u32 {
        self.browse + self.add_line + self.read_cart + self.remove_line + self.log_out
    }
}
