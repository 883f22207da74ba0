//! The admin port: what the balancer knows and does with its nodes, for those who hold the token. Loopback only.
//!
//! | call | does |
//! | --- | --- |
//! | `GET /nodes` | listeners and nodes: states, requests in flight, requests and failures so far |
//! | `PUT /nodes/{name}/state` | `ready`, `drain` or `maint`, at all listeners or at one; answers like `GET /nodes` |
//! | `GET /metrics` | numbers for Prometheus |
//! | `GET /healthz` | 200 while the process lives; wants no token |
//! | `GET /readyz` | 200 while new clients should come here, else 503; wants no token |
//!
//! The body of the `PUT` is `{"state": "drain", "deadline_s": 30, "listener": "sticky"}`; the last two may be
//! left out. What the states mean is in `admin_state`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderValue, Method, Response, StatusCode, header};
use listen::Token;
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    access_log::AccessLog,
    admin_state::{AdminState, Order},
    clock::as_ms,
    group::Group,
    lifecycle::Lifecycle,
    metrics,
    node::Node,
};

/// No body may be longer: an order is a few words.
const MAX_BODY: usize = 1024;
/// No body may take longer.
const BODY_DEADLINE: Duration = Duration::from_secs(2);
/// The longest time that pinned clients may be left on a draining node: no pin holds longer.
const MAX_DRAIN_S: u64 = 12 * 60 * 60;

/// Serves the admin port.
pub(crate) struct Admin {
    token: Token,
    groups: Vec<Arc<Group>>,
    lifecycle: Arc<Lifecycle>,
    access_log: Option<Arc<AccessLog>>,
    /// How long a drain lasts when the order does not say.
    drain: Duration,
}

/// What the body of an order says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderBody {
    state: AdminState,
    deadline_s: Option<u64>,
    listener: Option<String>,
}

impl Admin {
    /// An admin port over all listeners.
    pub(crate) fn new(
        token: Token,
        groups: Vec<Arc<Group>>,
        lifecycle: Arc<Lifecycle>,
        access_log: Option<Arc<AccessLog>>,
        drain: Duration,
    ) -> Self {
        Self {
            token,
            groups,
            lifecycle,
            access_log,
            drain,
        }
    }

    async fn respond(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let path = request.uri.path();
        match path {
            "/healthz" => return response(StatusCode::OK, "text/plain", "alive\n".to_owned()),
            "/readyz" => return self.tell_readiness(),
            _ => {}
        }
        let given = request.headers.get(header::AUTHORIZATION);
        if !self.token.is_in(given.map(HeaderValue::as_bytes)) {
            let problem = problem(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The admin token is required",
                None,
            );
            return with_header(problem, header::WWW_AUTHENTICATE, "Bearer");
        }
        let node = path
            .strip_prefix("/nodes/")
            .and_then(|rest| rest.strip_suffix("/state"));
        match (path, node, &request.method) {
            ("/nodes", _, &(Method::GET | Method::HEAD)) => self.list_nodes(|_| true),
            ("/metrics", _, &(Method::GET | Method::HEAD)) => response(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                metrics::page::render(&self.groups, self.access_log.as_deref()),
            ),
            (_, Some(node), &Method::PUT) => {
                let node = node.to_owned();
                match read_body(session).await {
                    Ok(body) => self.give_order(&node, &body),
                    Err(error) => error.problem(),
                }
            }
            ("/nodes" | "/metrics", ..) => not_allowed("GET, HEAD"),
            (_, Some(_), _) => not_allowed("PUT"),
            _ => problem(
                StatusCode::NOT_FOUND,
                "not-found",
                "There are /nodes, /nodes/{name}/state, /metrics, /healthz and /readyz",
                None,
            ),
        }
    }

    fn tell_readiness(&self) -> Response<Vec<u8>> {
        if self.lifecycle.is_ready() {
            response(StatusCode::OK, "text/plain", "ready\n".to_owned())
        } else {
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-ready",
                "The load balancer starts or stops",
                None,
            )
        }
    }

    /// Sets the administrative state of a node.
    fn give_order(&self, name: &str, body: &[u8]) -> Response<Vec<u8>> {
        let (order, listener) = match self.parse(body) {
            Ok(parsed) => parsed,
            Err(detail) => return invalid(detail),
        };
        let meant = |group: &&Arc<Group>| {
            listener
                .as_ref()
                .is_none_or(|listener| group.strategy == *listener)
        };
        let mut known = false;
        for group in self.groups.iter().filter(meant) {
            known |= group.order(name, order);
        }
        if known {
            return self.list_nodes(|node| node.name == name);
        }
        let groups: Vec<_> = self.groups.iter().map(|group| group.nodes.load()).collect();
        let mut names: Vec<_> = groups
            .iter()
            .flat_map(|nodes| nodes.iter())
            .map(|node| node.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        problem(
            StatusCode::NOT_FOUND,
            "no-such-node",
            "There is no node of that name",
            Some(format!("there are: {}", names.join(", "))),
        )
    }

    fn parse(&self, body: &[u8]) -> Result<(Order, Option<String>), String> {
        let body: OrderBody = serde_json::from_slice(body).map_err(|error| {
            format!(
                "{error}; wanted is {{\"state\": \"ready\", \"drain\" or \"maint\", \
                 \"deadline_s\": seconds (only with drain), \"listener\": one of the listeners (or none for all)}}"
            )
        })?;
        if let Some(listener) = &body.listener
            && !self.groups.iter().any(|group| group.strategy == *listener)
        {
            let names: Vec<_> = self
                .groups
                .iter()
                .map(|group| group.strategy.as_str())
                .collect();
            return Err(format!(
                "there is no listener of that name, there are: {}",
                names.join(", ")
            ));
        }
        let order = match (body.state, body.deadline_s) {
            (AdminState::Ready, None) => Order::READY,
            (AdminState::Maint, None) => Order::MAINT,
            (AdminState::Drain, None) => Order::drain(self.drain),
            (AdminState::Drain, Some(seconds @ 0..=MAX_DRAIN_S)) => {
                Order::drain(Duration::from_secs(seconds))
            }
            (AdminState::Drain, Some(_)) => {
                return Err(format!("deadline_s may be 0 to {MAX_DRAIN_S}"));
            }
            (AdminState::Ready | AdminState::Maint, Some(_)) => {
                return Err("deadline_s goes with \"drain\" only".to_owned());
            }
        };
        Ok((order, body.listener))
    }

    /// All listeners with those of their nodes that are wanted.
    fn list_nodes(&self, wanted: impl Fn(&Node) -> bool) -> Response<Vec<u8>> {
        let listeners: Vec<_> = self
            .groups
            .iter()
            .map(|group| ListenerView {
                strategy: &group.strategy,
                address: group.address.to_string(),
                requests: group.stats.requests.get(),
                under_way: group.stats.under_way(),
                nodes: group
                    .nodes
                    .load()
                    .iter()
                    .filter(|node| wanted(node))
                    .map(|node| NodeView::of(node))
                    .collect(),
            })
            .collect();
        let body = json!({ "listeners": listeners }).to_string();
        response(StatusCode::OK, "application/json", body)
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let answer = self.respond(session).await;
        if !session.is_body_done() || self.lifecycle.is_ending() {
            // What is left of a body must not be taken for the next request.
            session.set_keepalive(None);
        }
        answer
    }
}

/// Why a body was not read to its end.
enum BodyError {
    Broken,
    TooLong,
    TooSlow,
}

impl BodyError {
    fn problem(&self) -> Response<Vec<u8>> {
        match self {
            Self::Broken => invalid("the body ended early".to_owned()),
            Self::TooLong => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The body is too long",
                Some(format!("at most {MAX_BODY} bytes are read")),
            ),
            Self::TooSlow => problem(
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "The body took too long to arrive",
                None,
            ),
        }
    }
}

async fn read_body(session: &mut ServerSession) -> Result<Vec<u8>, BodyError> {
    let reading = async {
        let mut body = Vec::new();
        while let Some(piece) = session
            .read_request_body()
            .await
            .map_err(|_| BodyError::Broken)?
        {
            if body.len() + piece.len() > MAX_BODY {
                return Err(BodyError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    timeout(BODY_DEADLINE, reading)
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

#[derive(Serialize)]
struct ListenerView<'a> {
    strategy: &'a str,
    address: String,
    requests: u64,
    under_way: u64,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    address: String,
    /// Everything below in one word.
    state: &'static str,
    health: &'static str,
    admin_state: AdminState,
    /// How long pinned clients may still stay.
    drain_left_ms: Option<u64>,
    /// How long the node is still left out.
    ejected_ms: Option<u64>,
    ejections: u64,
    in_flight: u64,
    max_in_flight: u64,
    requests: u64,
    pinned_requests: u64,
    failures: u64,
}

impl NodeView {
    fn of(node: &Node) -> Self {
        let order = node.order.get();
        Self {
            name: node.name.clone(),
            address: node.address.to_string(),
            state: node.summary(),
            health: node.state().word(),
            admin_state: order.state(),
            drain_left_ms: order.drain_left().map(as_ms),
            ejected_ms: node.ejection.left().map(as_ms),
            ejections: node.stats.ejections(),
            in_flight: node.in_flight(),
            max_in_flight: node.max_in_flight(),
            requests: node.stats.attempts.get(),
            pinned_requests: node.stats.pinned.get(),
            failures: node.stats.failures(),
        }
    }
}

fn invalid(detail: String) -> Response<Vec<u8>> {
    problem(
        StatusCode::BAD_REQUEST,
        "bad-order",
        "That is no order for a node",
        Some(detail),
    )
}

fn not_allowed(method: &'static str) -> Response<Vec<u8>> {
    let problem = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        &format!("Only {method} is allowed"),
        None,
    );
    with_header(problem, header::ALLOW, method)
}

fn problem(
    status: StatusCode,
    kind: &str,
    title: &str,
    detail: Option<String>,
) -> Response<Vec<u8>> {
    let mut body = json!({
        "type": format!("/problems/{kind}"),
        "title": title,
        "status": status.as_u16(),
    });
    if let Some(detail) = detail {
        body["detail"] = detail.into();
    }
    response(status, "application/problem+json", body.to_string())
}

fn with_header(
    mut answer: Response<Vec<u8>>,
    name: header::HeaderName,
    value: &'static str,
) -> Response<Vec<u8>> {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    answer
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Vec<u8>> {
    let length = body.len();
    let answer = Response::new(body.into_bytes());
    let mut answer = with_header(answer, header::CONTENT_TYPE, content_type);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    with_header(answer, header::CACHE_CONTROL, "no-store")
}
