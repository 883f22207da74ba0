//! What the black-box tests share: a cluster of the real binaries on a loopback address of its own, and a user
//! who talks to it as a client of the strategy would. The tests themselves are in `tests/`, one file a subject.
//!
//! # Layout
//! * this file: the cluster, its users, and what the load balancer thinks of the nodes.
//! * [`failure`]: the ways in which a store can fail, with its tools: [`store`] (the Redis in a test's hands), [`detour`]
//!   (a longer way to it), [`impostor`] (something else in its place).
//! * [`compose`]: the cluster in containers.
//! * [`manifests`]: the Kubernetes manifests, rendered.
//! * [`table`]: the table in `docs/failure.md`, compared with what was seen.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::return_self_not_must_use,
    reason = "a test reports by panicking"
)]

pub mod compose;
pub mod detour;
pub mod direct;
pub mod failure;
pub mod impostor;
pub mod manifests;
pub mod store;
pub mod table;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use cluster::{Cluster, ClusterSpec};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// The strategies that there are, for tests that hold for all of them.
pub const STRATEGIES: [&str; 3] = ["sticky", "redis", "jwt"];

/// A cluster of three nodes that serve `strategies` side by side, on an address that no other test uses,
/// with a password that is cheap to check and a clock that tests can turn.
pub async fn cluster(strategies: &[&str]) -> Cluster {
    cluster_with(strategies, |_| ()).await
}

/// The same, changed by `adjust` before it starts.
pub async fn cluster_with(strategies: &[&str], adjust: impl FnOnce(&mut ClusterSpec)) -> Cluster {
    let mut spec = ClusterSpec {
        nodes: 3,
        strategies: strategies.iter().map(ToString::to_string).collect(),
        ip: own_address().into(),
        public_ports: vec![0; strategies.len()],
        accounts: 1_000,
        password_memory_kib: 8,
        password_iterations: 1,
        shop_args: vec!["--turnable-clock".into()],
        ..ClusterSpec::default()
    };
    adjust(&mut spec);
    Cluster::start(spec).await.expect("the cluster starts")
}

/// A random address in 127.0.0.0/8. All of it is loopback on Linux, so tests that run side by side never meet.
pub fn own_address() -> Ipv4Addr {
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_le_bytes();
    Ipv4Addr::new(127, a % 253 + 1, b, c % 253 + 1)
}

/// The path of one of our programs, which are beside the tests' folder.
pub fn binary(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("the test's own path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(
        path.exists(),
        "no {}: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// Tries `check` until it gives something, for as long as a slow machine may need. (A swarm takes fifty seconds for an
/// update of three tasks when it has nothing else to do.)
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..6_000 {
        if let Some(found) = check().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited for five minutes, in vain: {what}");
}

/// One answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON; `Null` when it is none.
    pub body: Value,
}

impl Answer {
    /// The header's value, `""` when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The node that answered.
    pub fn node(&self) -> &str {
        self.header("x-node")
    }

    /// The value of the cookie that this answer sets.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.set_cookies()
            .find_map(|line| line.strip_prefix(&format!("{name}=")).map(first_part))
    }

    /// All `Set-Cookie` lines.
    pub fn set_cookies(&self) -> impl Iterator<Item = &str> {
        let all = self.headers.get_all("set-cookie");
        all.iter().filter_map(|value| value.to_str().ok())
    }

    /// The ids of the cart's lines, in order.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.body["lines"].as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .map(|line| line["id"].as_str().unwrap_or("?").to_owned())
            .collect()
    }

    /// Insists on a status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.body);
        self
    }
}

fn first_part(value: &str) -> String {
    value.split(';').next().unwrap_or("").to_owned()
}

/// Reads an answer; `None` when the connection broke or nothing came within ten seconds.
pub async fn try_send(request: RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.ok()?;
    Some(Answer {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

/// Reads an answer, which must come.
pub async fn send(request: RequestBuilder) -> Answer {
    try_send(request).await.expect("an answer")
}

/// A client with a cookie jar of its own.
pub fn client() -> Client {
    Client::builder()
        .cookie_store(true)
        .timeout(Duration::from_secs(10))
        .build()
        .expect("a client")
}

/// A user of one strategy, who keeps credentials as a client of that strategy does:
/// cookies in a jar, or for `jwt` the tokens in variables.
#[derive(Clone)]
pub struct User {
    /// The jar and the connections.
    pub client: Client,
    /// Where requests go.
    pub base: String,
    /// Sent as `x-session-strategy` when requests go to a node and not through the balancer.
    pub direct: Option<String>,
    /// `user-000001` …
    pub name: String,
    /// The demo password.
    pub password: String,
    /// The access token, in `jwt`.
    pub token: Option<String>,
    /// The cart token, in `jwt`.
    pub cart_token: Option<String>,
}

impl User {
    /// A user who is not logged in yet and talks to the balancer's listener of `strategy`.
    pub fn new(cluster: &Cluster, strategy: &str, number: u32) -> Self {
        Self {
            client: client(),
            base: cluster.url(strategy),
            direct: None,
            name: format!("user-{number:06}"),
            password: cluster.password().to_owned(),
            token: None,
            cart_token: None,
        }
    }

    /// The same user with the same credentials, talking to `node` past the balancer.
    pub fn at_node(&self, cluster: &Cluster, strategy: &str, node: &str) -> Self {
        Self {
            base: cluster.node_url(node),
            direct: Some(strategy.to_owned()),
            ..self.clone()
        }
    }

    /// A user who has logged in.
    pub async fn logged_in(cluster: &Cluster, strategy: &str, number: u32) -> Self {
        let mut user = Self::new(cluster, strategy, number);
        user.login().await.expect(200);
        user
    }

    /// A request with this user's credentials.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(strategy) = &self.direct {
            request = request.header("x-session-strategy", strategy);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(cart) = &self.cart_token {
            request = request.header("x-cart", cart);
        }
        request
    }

    /// `POST /login`, keeping what it grants.
    pub async fn login(&mut self) -> Answer {
        let wish = json!({"user": self.name, "password": self.password});
        let answer = send(self.request(Method::POST, "/login").json(&wish)).await;
        if answer.status == 200 {
            self.token = answer.body["access_token"].as_str().map(ToOwned::to_owned);
            self.cart_token = None;
        }
        answer
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// `GET /me`.
    pub async fn me(&self) -> Answer {
        self.get("/me").await
    }

    /// `GET /cart`.
    pub async fn cart(&self) -> Answer {
        self.get("/cart").await
    }

    /// `POST /cart/lines` with a line of this id.
    pub async fn add(&mut self, id: &str) -> Answer {
        let line = json!({"id": id, "sku": "book-1", "quantity": 1});
        let answer = send(self.request(Method::POST, "/cart/lines").json(&line)).await;
        self.keep_cart(answer)
    }

    /// `DELETE /cart/lines/{id}`.
    pub async fn remove(&mut self, id: &str) -> Answer {
        let answer = send(self.request(Method::DELETE, &format!("/cart/lines/{id}"))).await;
        self.keep_cart(answer)
    }

    /// `POST /logout`. The user keeps what it holds, to try it again.
    pub async fn logout(&self) -> Answer {
        send(self.request(Method::POST, "/logout")).await
    }

    fn keep_cart(&mut self, answer: Answer) -> Answer {
        if let Some(cart) = answer.headers.get("x-cart") {
            self.cart_token = cart.to_str().ok().map(ToOwned::to_owned);
        }
        answer
    }
}

/// The operator's call: end every login of `user`, at every node that answers the given base URLs.
pub async fn revoke(cluster: &Cluster, base: &str, strategy: &str, user: &str) -> Answer {
    let request = client()
        .post(format!("{base}/admin/users/{user}/revoke"))
        .header("x-session-strategy", strategy)
        .bearer_auth(cluster.operator_token());
    send(request).await
}

/// Turns the clock of every node ahead.
pub async fn turn_clocks(cluster: &Cluster, seconds: u64) {
    for node in cluster.nodes() {
        let request = client()
            .post(format!("{}/admin/clock", cluster.node_url(node.name())))
            .bearer_auth(cluster.operator_token())
            .json(&json!({"advance_seconds": seconds}));
        send(request).await.expect(204);
    }
}

/// What the load balancer thinks of each node of a strategy, by name: `up`, `down` …
pub async fn states(cluster: &Cluster, strategy: &str) -> BTreeMap<String, String> {
    let request = client()
        .get(format!("{}/nodes", cluster.admin_url()))
        .bearer_auth(cluster.admin_token());
    let answer = send(request).await.expect(200);
    let listeners = answer.body["listeners"].as_array().expect("listeners");
    let listener = listeners.iter().find(|one| one["strategy"] == strategy);
    let nodes = listener.expect("the listener")["nodes"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let nodes = nodes.expect("nodes").iter();
    nodes
        .map(|node| (text(&node["name"]), text(&node["state"])))
        .collect()
}

/// Waits until the load balancer sends requests of `strategy` to every node, or to none.
pub async fn wait_for_rotation(cluster: &Cluster, strategy: &str, all: bool) {
    let what = if all { "every node" } else { "no node" };
    eventually(&format!("{strategy} has {what} in rotation"), async || {
        let states = states(cluster, strategy).await;
        states
            .values()
            .all(|state| (state == "up") == all)
            .then_some(())
    })
    .await;
}
