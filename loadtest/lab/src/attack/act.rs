//! How a user does what it wants: sends it, judges the answer, learns from it, and hands all of it to the recorder, whatever
//! came of it.
//!
//! An operation is sent once and recorded once, under one id. Should the client or the load balancer repeat the request
//! (each only where it may), it is the same operation. After an `info` the user goes on as another process.

use goose::goose::GooseUser;
use reqwest::Method;

use super::answer::Said;
use super::browser::RequestSpec;
use super::exchange::Exchange;
use super::journey::{Session, User};
use super::plan::account;
use super::replays::Dead;
use evidence::history::{Action, LineId, Operation, Outcome};

impl User {
    /// Acts with the credential that the user holds now, and learns from the answer.
    pub(super) async fn act(
        &mut self,
        goose: &mut GooseUser,
        action: Action,
        intended_us: i64,
        line: Option<LineId>,
    ) -> Outcome {
        self.send(goose, action, intended_us, line, None).await
    }

    /// Tries a credential that should be dead.
    pub(super) async fn replay(&mut self, goose: &mut GooseUser, intended_us: i64, dead: &Dead) {
        self.send(goose, Action::Replay, intended_us, None, Some(dead))
            .await;
    }

    async fn send(
        &mut self,
        goose: &mut GooseUser,
        action: Action,
        intended_us: i64,
        line: Option<LineId>,
        dead: Option<&Dead>,
    ) -> Outcome {
        self.operations += 1;
        let path = path(action, self.number, line);
        let spec = RequestSpec {
            method: method(action),
            path: &path,
            body: self.body(action, line),
            key: line.filter(|_| action == Action::AddLine),
        };
        let (login, credentials) = match dead {
            Some(dead) => (Some(dead.session), &dead.credentials),
            None => (
                self.session.as_ref().map(|session| session.number),
                &self.browser.credentials,
            ),
        };
        let (request, sent_bytes) = self.browser.request(&goose.client, spec, credentials);
        let one = self.common.in_flight.enter();
        let exchange = Exchange::perform(goose, self.common.plan.clock, action, request).await;
        drop(one);
        if let Some(arrivals) = &self.common.arrivals {
            arrivals.sent(intended_us, exchange.sent_us);
        }
        let (operation, said) = exchange.operation(action, intended_us);
        let outcome = operation.outcome;
        let mut operation = Operation {
            process: self.process,
            user: self.number,
            session: login.unwrap_or(0),
            id: self.operations,
            line,
            mistaken_for: self.mistaken_for(&said),
            sent_bytes: u32::try_from(sent_bytes).unwrap_or(u32::MAX),
            ..operation
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
        if operation.is_answered_logout() {
            // Before the answer clears it: somebody who has a copy tries it again.
            self.keep_dead();
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
                self.sessions += 1;
                operation.session = self.sessions;
                self.session = Some(Session {
                    number: self.sessions,
                    cart: Vec::new(),
                });
            }
            // Also when nobody knows: the user wanted to leave and will not come back with that credential.
            (Action::LogOut, Outcome::Ok | Outcome::Info) => self.forget_session(),
            _ if operation.lost_its_session() => {
                // Where an operator ends logins, this may be why the credential was refused. Then it must stay dead.
                if self.common.plan.revocations.is_some() {
                    self.keep_dead();
                }
                self.forget_session();
            }
            _ => {}
        }
    }

    /// Tries the credential again later: it should be dead.
    fn keep_dead(&mut self) {
        if let Some(session) = &self.session {
            let now_us = self.common.plan.clock.now_us();
            let credentials = self.browser.credentials.clone();
            self.dead.keep(session.number, credentials, now_us);
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
}

pub(super) fn method(action: Action) -> Method {
    match action {
        Action::LogIn | Action::AddLine | Action::LogOut | Action::Revoke => Method::POST,
        Action::Browse | Action::ReadCart | Action::Replay => Method::GET,
        Action::RemoveLine => Method::DELETE,
    }
}

pub(super) fn path(action: Action, user: u32, line: Option<LineId>) -> String {
    match (action, line) {
        (Action::LogIn, _) => "/login".into(),
        (Action::Browse | Action::Replay, _) => "/me".into(),
        (Action::ReadCart, _) => "/cart".into(),
        (Action::LogOut, _) => "/logout".into(),
        (Action::Revoke, _) => format!("/admin/users/{}/revoke", account(user)),
        (Action::RemoveLine, Some(line)) => format!("/cart/lines/{line}"),
        (Action::AddLine | Action::RemoveLine, _) => "/cart/lines".into(),
    }
}
