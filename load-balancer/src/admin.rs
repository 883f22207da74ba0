//! The admin port: what the balancer knows, for those who hold the token. Loopback only.
//!
//! | call | does |
//! | --- | --- |
//! | `GET /nodes` | listeners and nodes with state, requests in flight, requests and failures so far |
//! | `GET /metrics` | the same and more for Prometheus |
//! | `GET /healthz` | 200 while the process lives; wants no token |

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{Method, Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, http::RequestHeader, protocols::http::ServerSession};
use serde::Serialize;
use serde_json::json;

use crate::{config::Secret, group::Group, metrics};

/// Serves the admin port.
pub(crate) struct Admin {
    token: Secret,
    groups: Vec<Arc<Group>>,
}

impl Admin {
    /// An admin port over all listeners.
    pub(crate) fn new(token: Secret, groups: Vec<Arc<Group>>) -> Self {
        Self { token, groups }
    }

    fn is_authorized(&self, request: &RequestHeader) -> bool {
        let given = request
            .headers
            .get(header::AUTHORIZATION)
            .map(http::HeaderValue::as_bytes);
        let token = given.and_then(|value| {
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        token.is_some_and(|token| verify_slices_are_equal(token, self.token.bytes()).is_ok())
    }

    fn nodes(&self) -> String {
        let listeners: Vec<_> = self
            .groups
            .iter()
            .map(|group| ListenerView {
                strategy: &group.strategy,
                address: group.address.to_string(),
                nodes: group
                    .nodes
                    .load()
                    .iter()
                    .map(|node| NodeView {
                        name: node.name.clone(),
                        address: node.address.to_string(),
                        state: node.summary(),
                        in_flight: node.in_flight(),
                        requests: node.stats.attempts.get(),
                        failures: node.stats.failures(),
                    })
                    .collect(),
            })
            .collect();
        json!({ "listeners": listeners }).to_string()
    }

    fn answer(&self, request: &RequestHeader) -> Response<Vec<u8>> {
        let path = request.uri.path();
        if path == "/healthz" {
            return answer(StatusCode::OK, "text/plain", "alive\n".to_owned());
        }
        if !self.is_authorized(request) {
            let mut answer = problem(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The admin token is wanted",
            );
            let challenge = http::HeaderValue::from_static("Bearer");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
            return answer;
        }
        if request.method != Method::GET {
            let mut answer = problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Only GET is allowed",
            );
            answer
                .headers_mut()
                .insert(header::ALLOW, http::HeaderValue::from_static("GET"));
            return answer;
        }
        match path {
            "/nodes" => answer(StatusCode::OK, "application/json", self.nodes()),
            "/metrics" => answer(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                metrics::render(&self.groups),
            ),
            _ => problem(
                StatusCode::NOT_FOUND,
                "not-found",
                "There are /nodes, /metrics and /healthz",
            ),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        self.answer(session.req_header())
    }
}

#[derive(Serialize)]
struct ListenerView<'a> {
    strategy: &'a str,
    address: String,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    address: String,
    state: &'static str,
    in_flight: u64,
    requests: u64,
    failures: u64,
}

fn problem(status: StatusCode, kind: &str, title: &str) -> Response<Vec<u8>> {
    let body = json!({
        "type": format!("urn:session-lab:{kind}"),
        "title": title,
        "status": status.as_u16(),
    });
    answer(status, "application/problem+json", body.to_string())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Vec<u8>> {
    let length = body.len();
    let mut answer = Response::new(body.into_bytes());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(
        header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-store"),
    );
    answer
}
