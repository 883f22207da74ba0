//! For unit tests: a node in this process, asked without a socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use session::about::{Carriage, ConcurrentChanges, Ends, Reach, RoundTrips, StoreKind};
use session::jwt::{self, Jwt, Ring};
use session::settings::{ABSOLUTE, IDLE};
use session::sticky::{self, Sticky};
use session::throttle::Limits;
use session::{
    About, Cart, Change, Clock, Credential, Error, Listed, LoggedOut, Part, Secret, Session,
    StateLives, Strategy,
};
use tower::ServiceExt;

use crate::accounts::Accounts;
use crate::endpoints;
use crate::node::{Node, Parts};
use crate::origin::{Origin, Scheme};
use crate::peer::Peer;

pub(crate) const PASSWORD: &str = "open sesame";
pub(crate) const OPERATOR: &str = "Bearer the operator's token";

/// A node named `node-7` with 100 accounts.
pub(crate) struct Shop {
    pub(crate) node: Arc<Node>,
    router: Router,
}

/// The head of a request, to add headers to.
pub(crate) fn head(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Vec<u8>,
}

impl Shop {
    pub(crate) const IDLE_S: u64 = 600;
    pub(crate) const TOKEN_S: u64 = 900;
    pub(crate) const LEEWAY_S: u64 = 60;
    pub(crate) const MAX_LINES: usize = 100;

    pub(crate) fn sticky() -> Self {
        Self::of(&["sticky"])
    }

    pub(crate) fn jwt() -> Self {
        Self::of(&["jwt"])
    }

    /// Serves a strategy whose store is always away.
    pub(crate) fn broken() -> Self {
        Self::of(&["broken"])
    }

    /// Serves these strategies side by side.
    pub(crate) fn of(names: &[&str]) -> Self {
        Self::with(names, |_| {})
    }

    /// As [`Shop::of`], with something else than usual.
    pub(crate) fn with(names: &[&str], change: impl FnOnce(&mut Parts)) -> Self {
        let clock = Clock::system();
        let cost = argon2::Params::new(8, 1, 1, None).unwrap();
        let mut parts = Parts {
            name: "node-7".into(),
            strategies: names.iter().map(|name| strategy(name, &clock)).collect(),
            accounts: Accounts::new(100, &Secret::new(PASSWORD), cost, 2, Duration::from_mins(1))
                .unwrap(),
            login_limits: Limits::default(),
            public: Origin::of_host(Scheme::Http, "localhost").unwrap(),
            trusted_balancers: vec!["127.0.0.1".parse().unwrap()],
            clock,
            turnable_clock: false,
            work: Duration::ZERO,
            operator_token: Some(Secret::new(OPERATOR.trim_start_matches("Bearer "))),
        };
        change(&mut parts);
        let node = Arc::new(Node::new(parts).unwrap());
        let router = endpoints::router(Arc::clone(&node));
        Self { node, router }
    }

    pub(crate) fn turn_clock(&self, seconds: u64) {
        self.node.clock.turn(Duration::from_secs(seconds));
    }

    /// Sends a request without a body.
    pub(crate) async fn send(&self, request: http::request::Builder) -> Answer {
        self.send_body(request, Body::empty()).await
    }

    /// Sends a request with a JSON body.
    pub(crate) async fn send_json(&self, request: http::request::Builder, body: &Value) -> Answer {
        let request = request.header(CONTENT_TYPE, "application/json");
        self.send_body(request, Body::from(body.to_string())).await
    }

    pub(crate) async fn send_body(&self, request: http::request::Builder, body: Body) -> Answer {
        let request = request.extension(Peer([127, 0, 0, 1].into()));
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: axum::body::to_bytes(body, usize::MAX)
                .await
                .unwrap()
                .to_vec(),
        }
    }

    /// A request with nothing special about it.
    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(head(method, path)).await
    }

    /// Sends a login of `user`.
    pub(crate) async fn try_login(&self, user: &str, password: &str) -> Answer {
        let body = json!({"user": user, "password": password});
        self.send_json(head("POST", "/login"), &body).await
    }

    /// Logs in where the credential is a cookie; the `Cookie` header to send from now on.
    pub(crate) async fn log_in(&self, user: &str) -> String {
        let answer = self.try_login(user, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.cookies().join("; ")
    }

    /// Logs in where the credential is a token; the `Authorization` header to send from now on.
    pub(crate) async fn log_in_as_bearer(&self, user: &str) -> String {
        let answer = self.try_login(user, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        format!("Bearer {}", answer.json()["access_token"].as_str().unwrap())
    }

    /// Adds a line to the cart of who presents `cookie`.
    pub(crate) async fn add_line(&self, cookie: &str, id: &str) -> Answer {
        let line = json!({"id": id, "sku": "book", "quantity": 1});
        let request = head("POST", "/cart/lines").header(COOKIE, cookie);
        self.send_json(request, &line).await
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `name=value` of each cookie that is set.
    pub(crate) fn cookies(&self) -> Vec<String> {
        let set = self.headers.get_all(SET_COOKIE).iter();
        set.map(|value| {
            value
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Status and type of an answer that is a problem document and says its status twice alike.
pub(crate) fn problem(answer: &Answer) -> (u16, &'static str) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let body = answer.json();
    assert_eq!(body["status"], answer.status);
    let r#type = body["type"].as_str().unwrap().to_owned();
    (answer.status, r#type.leak())
}

fn strategy(name: &str, clock: &Clock) -> Arc<dyn Strategy> {
    match name {
        "sticky" => Arc::new(Sticky::new(
            sticky::Settings {
                idle: Duration::from_secs(Shop::IDLE_S),
                absolute: Duration::from_secs(Shop::IDLE_S * 10),
                max_sessions: 10,
                max_lines: Shop::MAX_LINES,
            },
            clock.clone(),
        )),
        "jwt" => {
            let settings = jwt::Settings {
                ring: Ring::of_one([7; 32]).unwrap(),
                lifetime: Duration::from_secs(Shop::TOKEN_S),
                leeway: Duration::from_secs(Shop::LEEWAY_S),
                max_lines: Shop::MAX_LINES,
            };
            Arc::new(Jwt::new(settings, clock.clone()))
        }
        "broken" => Arc::new(Broken),
        other => panic!("no strategy {other} for unit tests"),
    }
}

/// A strategy whose store is away.
struct Broken;

static BROKEN: About = About {
    name: "broken",
    title: "Broken",
    sentence: "Its store is always away.",
    state_lives: StateLives::Store,
    store: Some(StoreKind::Redis),
    key_prefixes: &[],
    needs_affinity: false,
    carriage: Carriage::Cookie,
    parts: &[Part::session_id("session-broken")],
    ends: Ends::Idle {
        idle: &IDLE,
        absolute: &ABSOLUTE,
    },
    logout: Reach::AtOnce,
    revocation: Reach::AtOnce,
    lists_logins: true,
    concurrent_changes: ConcurrentChanges::Kept,
    round_trips: RoundTrips {
        login: 1,
        read: 1,
        change: 1,
    },
    logout_means: "never",
    port: 1,
    settings: &[],
    theory: &[],
};

fn away<T>() -> Result<T, Error> {
    Err(Error::StoreUnavailable {
        nothing_done: false,
        why: "10.0.0.7 is away".into(),
    })
}

#[async_trait]
impl Strategy for Broken {
    fn about(&self) -> &'static About {
        &BROKEN
    }
    async fn login(
        &self,
        _: &str,
        _: Option<&Credential>,
    ) -> Result<session::Answer<Session>, Error> {
        away()
    }
    async fn authenticate(&self, _: &Credential) -> Result<session::Answer<Session>, Error> {
        away()
    }
    async fn cart(&self, _: &Credential) -> Result<session::Answer<Cart>, Error> {
        away()
    }
    async fn change(&self, _: &Credential, _: Change) -> Result<session::Answer<Cart>, Error> {
        away()
    }
    async fn logout(&self, _: &Credential) -> Result<LoggedOut, Error> {
        away()
    }
    async fn sessions(&self, _: &Credential) -> Result<session::Answer<Vec<Listed>>, Error> {
        away()
    }
    async fn end(&self, _: &Credential, _: &str) -> Result<session::Answer<()>, Error> {
        away()
    }
    async fn revoke(&self, _: &str) -> Result<u64, Error> {
        away()
    }
    async fn ready(&self) -> Result<(), Error> {
        away()
    }
}
