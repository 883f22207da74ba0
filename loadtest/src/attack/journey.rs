//! One user: wants something, does it, waits for the answer, thinks, and wants the next thing.
//!
//! A user knows only what answers told it, as a person at a browser does. Each action goes to the recorder, whatever
//! came of it; this module draws no conclusions beyond those that a person would draw: "I must log in again".

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use goose::goose::GooseUser;
use reqwest::{Method, Url};

use super::answer::{Said, understand};
use super::browser::{Browser, Credentials, Wish};
use super::exchange::Exchange;
use super::outcome::{Answer, judge};
use super::plan::{Plan, account};
use super::random::Random;
use super::recorder::Recorder;
use crate::history::{Action, Fingerprint, LineId, Operation, Outcome};

/// A cart that grew for ever would make each answer heavier than the one before.
const MAX_LINES: usize = 8;
/// How often a user tries to read its cart at the end.
const FINAL_TRIES: u32 = 4;
/// Between two of these tries; and users spread their first over this time.
const FINAL_PAUSE_US: u64 = 300_000;
/// Users begin spread over at least this time, so that the first logins are no storm.
const SPREAD_MS: u64 = 500;

/// What all users share.
pub(super) struct Common {
    pub(super) plan: Plan,
    pub(super) url: Url,
    /// Keyed at random for this run: a fingerprint says "the same credential", and nothing else.
    pub(super) fingerprints: RandomState,
}

/// See the module.
pub(super) struct User {
    number: u32,
    common: Arc<Common>,
    recorder: Recorder,
    random: Random,
    browser: Browser,
    session: Option<Session>,
    /// Sessions begun so far.
    sessions: u32,
    /// Operations begun so far.
    operations: u32,
    /// See [`Operation::process`].
    process: u64,
}

/// A login that the user believes to be alive.
#[derive(Clone)]
struct Session {
    number: u32,
    fingerprint: Fingerprint,
    /// The cart as the last answer showed it.
    cart: Vec<LineId>,
}

impl User {
    pub(super) fn new(number: u32, common: Arc<Common>, recorder: Recorder) -> Self {
        Self {
            number,
            random: Random::new(common.plan.seed, number),
            browser: Browser::new(common.url.clone()),
            common,
            recorder,
            session: None,
            sessions: 0,
            operations: 0,
            process: u64::from(number),
        }
    }

    /// From the first login to the final read.
    pub(super) async fn play(mut self, goose: &mut GooseUser) {
        let common = Arc::clone(&self.common);
        let plan = &common.plan;
        let spread_us = plan.think_ms.1.max(SPREAD_MS) * 1_000;
        let mut due = plan.warm_up_from_us + self.random.below(spread_us).cast_signed();
        while due < plan.measured_until_us {
            self.wait_until(due).await;
            self.step(goose, due).await;
            let (shortest, longest) = plan.think_ms;
            let pause_us = self.random.between((shortest * 1_000, longest * 1_000));
            due = plan.clock.now_us() + pause_us.cast_signed();
        }
        self.read_finally(goose).await;
    }

    /// The one thing that the user wants now.
    async fn step(&mut self, goose: &mut GooseUser, due: i64) {
        let Some(session) = &self.session else {
            self.log_in(goose, due).await;
            return;
        };
        let cart = session.cart.clone();
        match self.draw(cart.len()) {
            Action::AddLine => {
                let line = LineId {
                    user: self.number,
                    operation: self.operations + 1,
                };
                self.act(goose, Action::AddLine, due, Some(line)).await;
            }
            Action::RemoveLine => {
                let at = self.random.below(cart.len() as u64);
                let line = usize::try_from(at)
                    .ok()
                    .and_then(|at| cart.get(at).copied());
                self.act(goose, Action::RemoveLine, due, line).await;
            }
            Action::LogOut => self.leave(goose, due).await,
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

    async fn log_in(&mut self, goose: &mut GooseUser, due: i64) {
        self.act(goose, Action::LogIn, due, None).await;
    }

    /// Reads the cart a last time, so that its end is known; logs out; and tries whether the credential is dead.
    async fn leave(&mut self, goose: &mut GooseUser, due: i64) {
        if self.act(goose, Action::ReadCart, due, None).await != Outcome::Ok {
            return; // Without that read nobody could say what became of the cart.
        }
        let before = self.browser.credentials.clone();
        let session = self.session.clone();
        let now = self.common.plan.clock.now_us();
        if self.act(goose, Action::LogOut, now, None).await == Outcome::Ok {
            let now = self.common.plan.clock.now_us();
            self.send(goose, Action::Replay, now, None, session.as_ref(), &before)
                .await;
        }
    }

    /// The read that every verdict about a cart rests on.
    async fn read_finally(&mut self, goose: &mut GooseUser) {
        let spread = self.random.below(FINAL_PAUSE_US).cast_signed();
        let mut due = self.common.plan.final_read_us + spread;
        for _ in 0..FINAL_TRIES {
            self.wait_until(due).await;
            if self.session.is_none() {
                self.log_in(goose, due).await;
            }
            if self.session.is_some()
                && self.act(goose, Action::ReadCart, due, None).await == Outcome::Ok
            {
                return;
            }
            due = self.common.plan.clock.now_us() + FINAL_PAUSE_US.cast_signed();
        }
    }

    /// Acts with the credential that the user holds now, and learns from the answer.
    async fn act(
        &mut self,
        goose: &mut GooseUser,
        action: Action,
        intended_us: i64,
        line: Option<LineId>,
    ) -> Outcome {
        let session = self.session.clone();
        let credentials = self.browser.credentials.clone();
        self.send(
            goose,
            action,
            intended_us,
            line,
            session.as_ref(),
            &credentials,
        )
        .await
    }

    async fn send(
        &mut self,
        goose: &mut GooseUser,
        action: Action,
        intended_us: i64,
        line: Option<LineId>,
        session: Option<&Session>,
        credentials: &Credentials,
    ) -> Outcome {
        self.operations += 1;
        let path = path(action, line);
        let wish = Wish {
            method: method(action),
            path: &path,
            body: self.body(action, line),
        };
        let (request, sent_bytes) = self.browser.request(&goose.client, wish, credentials);
        let exchange = Exchange::perform(goose, self.common.plan.clock, action, request).await;
        let succeeded = exchange.status.is_some_and(|status| status < 300);
        let said = if succeeded && exchange.trouble.is_none() {
            understand(action, &exchange.body)
        } else {
            None
        };
        let node = exchange.node();
        let retries = exchange.retries();
        let (outcome, reason) = judge(
            action,
            Answer {
                trouble: exchange.trouble,
                status: exchange.status,
                stamped: node.is_some(),
                retries,
                understood: said.is_some(),
            },
        );
        let said = said.filter(|_| outcome == Outcome::Ok).unwrap_or_default();
        let mut operation = Operation {
            process: self.process,
            user: self.number,
            session: session.map_or(0, |session| session.number),
            action,
            id: self.operations,
            intended_us,
            sent_us: exchange.sent_us,
            first_byte_us: exchange.first_byte_us,
            done_us: exchange.done_us,
            outcome,
            reason,
            status: exchange.status,
            node,
            retries,
            credential: session.map(|session| session.fingerprint),
            line,
            read: said.cart.as_ref().map(|cart| cart.lines.clone()),
            version: said.cart.as_ref().map(|cart| cart.version),
            mistaken_for: self.mistaken_for(&said),
            alive_until_unix_s: exchange.alive_until_unix_s(),
            sent_bytes: u32::try_from(sent_bytes).unwrap_or(u32::MAX),
            received_bytes: u32::try_from(exchange.received_bytes).unwrap_or(u32::MAX),
        };
        self.learn(&mut operation, &exchange, said);
        self.recorder.record(operation);
        if outcome == Outcome::Info {
            self.process += u64::from(self.common.plan.users);
        }
        outcome
    }

    /// What the answer changes for the user.
    fn learn(&mut self, operation: &mut Operation, exchange: &Exchange, said: Said) {
        if operation.action == Action::Replay {
            return; // Whatever it says, the user has left.
        }
        self.browser.absorb(&exchange.headers);
        if let (Some(cart), Some(session)) = (said.cart, &mut self.session) {
            session.cart = cart.lines;
            session.cart.dedup();
        }
        match (operation.action, operation.outcome) {
            (Action::LogIn, Outcome::Ok) => {
                if let Some(token) = said.token {
                    self.browser.present(&token);
                }
                let secret = self.browser.credentials.secret().unwrap_or_default();
                let fingerprint = Fingerprint(self.common.fingerprints.hash_one(secret));
                self.sessions += 1;
                operation.session = self.sessions;
                operation.credential = Some(fingerprint);
                self.session = Some(Session {
                    number: self.sessions,
                    fingerprint,
                    cart: Vec::new(),
                });
            }
            // Also when nobody knows: the user wanted to leave and will not come back with that credential.
            (Action::LogOut, Outcome::Ok | Outcome::Info) => self.forget_session(),
            _ if operation.lost_its_session() => self.forget_session(),
            _ => {}
        }
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.browser.forget_tokens();
    }

    fn mistaken_for(&self, said: &Said) -> Option<Box<str>> {
        let user = said.user.as_deref()?;
        (user != account(self.number)).then(|| user.into())
    }

    fn body(&self, action: Action, line: Option<LineId>) -> Option<String> {
        match (action, line) {
            (Action::LogIn, _) => {
                let user = account(self.number);
                let password = &self.common.plan.password;
                Some(serde_json::json!({ "user": user, "password": password }).to_string())
            }
            (Action::AddLine, Some(line)) => {
                Some(format!(r#"{{"id":"{line}","sku":"book","quantity":1}}"#))
            }
            _ => None,
        }
    }

    async fn wait_until(&self, due: i64) {
        if let Ok(ahead) = u64::try_from(due - self.common.plan.clock.now_us()) {
            tokio::time::sleep(Duration::from_micros(ahead)).await;
        }
    }
}

fn method(action: Action) -> Method {
    match action {
        Action::LogIn | Action::AddLine | Action::LogOut => Method::POST,
        Action::Browse | Action::ReadCart | Action::Replay => Method::GET,
        Action::RemoveLine => Method::DELETE,
    }
}

fn path(action: Action, line: Option<LineId>) -> String {
    match (action, line) {
        (Action::LogIn, _) => "/login".into(),
        (Action::Browse | Action::Replay, _) => "/me".into(),
        (Action::ReadCart, _) => "/cart".into(),
        (Action::LogOut, _) => "/logout".into(),
        (Action::RemoveLine, Some(line)) => format!("/cart/lines/{line}"),
        (Action::AddLine | Action::RemoveLine, _) => "/cart/lines".into(),
    }
}
