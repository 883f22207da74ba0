//! One user: wants something, does it, waits for the answer, and wants the next thing. When, the loop says: a closed one
//! lets it think in between, an open one gives it an arrival ([`super::arrivals`]).
//!
//! A user knows only what answers told it, as a person at a browser does; it draws no conclusions beyond those that a person
//! would draw: "I must log in again". What it wants is here; how it is sent and recorded, in `act`.

use std::sync::Arc;
use std::time::Duration;

use goose::goose::GooseUser;
use reqwest::Url;

use super::arrivals::Arrivals;
use super::browser::Browser;
use super::in_flight::Gauge;
use super::plan::Plan;
use super::recorder::Recorder;
use super::replays::DeadCredentials;
use evidence::history::{Action, LineId, Outcome};
use evidence::pace::Pace;
use evidence::random::{Random, Stream};

/// A cart that grew for ever would make each answer heavier than the one before.
const MAX_LINES: usize = 8;
/// How often a user tries to read its cart at the end.
const FINAL_TRIES: u32 = 4;
/// Between two of these tries; and users spread their first over this time.
const FINAL_PAUSE_US: u64 = 300_000;
/// In a closed loop users begin spread over at least this time, so that the first logins are no storm.
const SPREAD_MS: u64 = 500;

/// What all users share.
pub(super) struct Common {
    pub(super) plan: Plan,
    pub(super) url: Url,
    /// Who gives users their turns in an open loop; in a closed one they take them.
    pub(super) arrivals: Option<Arc<Arrivals>>,
    pub(super) in_flight: Gauge,
}

/// See the module.
pub(super) struct User {
    pub(super) number: u32,
    pub(super) common: Arc<Common>,
    pub(super) recorder: Recorder,
    random: Random,
    pub(super) browser: Browser,
    pub(super) session: Option<Session>,
    /// The cart was read for the last time; what is next is the logout.
    is_leaving: bool,
    pub(super) dead: DeadCredentials,
    /// Sessions begun so far.
    pub(super) sessions: u32,
    /// Operations begun so far.
    pub(super) operations: u32,
    /// See [`evidence::history::Operation::process`].
    pub(super) process: u64,
}

/// A login that the user believes to be alive.
pub(super) struct Session {
    /// Counts the user's logins from 1.
    pub(super) number: u32,
    /// The cart as the last answer showed it.
    pub(super) cart: Vec<LineId>,
}

impl User {
    pub(super) fn new(number: u32, common: Arc<Common>, recorder: Recorder) -> Self {
        Self {
            number,
            random: Random::new(common.plan.seed, Stream::User(number)),
            browser: Browser::new(common.url.clone()),
            dead: DeadCredentials::new(common.plan.replays),
            common,
            recorder,
            session: None,
            is_leaving: false,
            sessions: 0,
            operations: 0,
            process: u64::from(number),
        }
    }

    /// From the first login to the final read.
    pub(super) async fn play(mut self, goose: &mut GooseUser) {
        let common = Arc::clone(&self.common);
        if let Some(arrivals) = &common.arrivals {
            self.follow(goose, arrivals).await;
        } else if let Pace::Closed { think_ms } = common.plan.pace {
            self.act_and_think(goose, think_ms).await;
        }
        self.read_finally(goose).await;
        self.replay_finally(goose).await;
    }

    /// The closed loop: the next operation is due a pause after the answer to the one before.
    async fn act_and_think(&mut self, goose: &mut GooseUser, think_ms: (u64, u64)) {
        let common = Arc::clone(&self.common);
        let plan = &common.plan;
        let (shortest, longest) = think_ms;
        let spread_us = longest.max(SPREAD_MS) * 1_000;
        let mut due = plan.warm_up_from_us + self.random.below(spread_us).cast_signed();
        while due < plan.measured_until_us {
            self.wait_until(due).await;
            self.step(goose, due).await;
            let pause_us = if self.is_in_a_hurry() {
                0
            } else {
                self.random.between((shortest * 1_000, longest * 1_000))
            };
            due = plan.clock.now_us() + pause_us.cast_signed();
        }
    }

    /// The open loop: an operation for each arrival.
    async fn follow(&mut self, goose: &mut GooseUser, arrivals: &Arrivals) {
        while let Some(due) = arrivals.next(self.is_in_a_hurry()).await {
            self.step(goose, due).await;
        }
    }

    /// Leaving takes three operations: read the cart, log out, try the credential. Nothing should come in between, for it
    /// is the first moments after a logout that show how quickly it works.
    fn is_in_a_hurry(&self) -> bool {
        self.is_leaving || self.dead.has_untried()
    }

    /// The one operation that the user wants now.
    async fn step(&mut self, goose: &mut GooseUser, due: i64) {
        if std::mem::take(&mut self.is_leaving) {
            self.act(goose, Action::LogOut, due, None).await;
            return;
        }
        if let Some(dead) = self.dead.take_due(self.common.plan.clock.now_us()) {
            self.replay(goose, due, &dead).await;
            return;
        }
        let Some(session) = &self.session else {
            self.act(goose, Action::LogIn, due, None).await;
            return;
        };
        let lines = session.cart.len();
        match self.draw(lines) {
            Action::AddLine => {
                let line = LineId {
                    user: self.number,
                    operation: self.operations + 1,
                };
                self.act(goose, Action::AddLine, due, Some(line)).await;
            }
            Action::RemoveLine => {
                let line = self.any_line(lines);
                self.act(goose, Action::RemoveLine, due, line).await;
            }
            // First reads the cart a last time, so that its end is known. Without that read nobody could say what became of
            // it, so the user stays.
            Action::LogOut => {
                let read = self.act(goose, Action::ReadCart, due, None).await;
                self.is_leaving = read == Outcome::Ok;
            }
            action => {
                self.act(goose, action, due, None).await;
            }
        }
    }

    /// Draws by weight; an empty cart has nothing to remove, a full one takes no more.
    fn draw(&mut self, lines: usize) -> Action {
        let journey = self.common.plan.journey;
        let weighted = [
            (Action::Browse, journey.browse),
            (Action::AddLine, journey.add_line),
            (Action::ReadCart, journey.read_cart),
            (Action::RemoveLine, journey.remove_line),
            (Action::LogOut, journey.log_out),
        ];
        let mut ticket = self.random.below(journey.total().into());
        let mut drawn = Action::Browse;
        for (action, weight) in weighted {
            if ticket < u64::from(weight) {
                drawn = action;
                break;
            }
            ticket -= u64::from(weight);
        }
        match drawn {
            Action::RemoveLine if lines == 0 => Action::ReadCart,
            Action::AddLine if lines >= MAX_LINES => Action::RemoveLine,
            drawn => drawn,
        }
    }

    fn any_line(&mut self, lines: usize) -> Option<LineId> {
        let at = usize::try_from(self.random.below(lines as u64)).ok()?;
        self.session.as_ref()?.cart.get(at).copied()
    }

    /// The read that every verdict about a cart rests on.
    async fn read_finally(&mut self, goose: &mut GooseUser) {
        let spread = self.random.below(FINAL_PAUSE_US).cast_signed();
        let mut due = self.common.plan.final_read_us + spread;
        for _ in 0..FINAL_TRIES {
            self.wait_until(due).await;
            if self.session.is_none() {
                self.act(goose, Action::LogIn, due, None).await;
            }
            if self.session.is_some()
                && self.act(goose, Action::ReadCart, due, None).await == Outcome::Ok
            {
                return;
            }
            due = self.common.plan.clock.now_us() + FINAL_PAUSE_US.cast_signed();
        }
    }

    /// Whether what came back after a fault brought a dead credential back to life.
    async fn replay_finally(&mut self, goose: &mut GooseUser) {
        if let Some(dead) = self.dead.newest().cloned() {
            let due = self.common.plan.clock.now_us();
            self.replay(goose, due, &dead).await;
        }
    }

    async fn wait_until(&self, due: i64) {
        if let Ok(ahead) = u64::try_from(due - self.common.plan.clock.now_us()) {
            tokio::time::sleep(Duration::from_micros(ahead)).await;
        }
    }
}
