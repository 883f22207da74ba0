//! What is the same for every request, in one wrapper around each endpoint in place of a stack of layers:
//! the strategy is chosen, the request's id is found or made, the answer is stamped, and all is counted. A request that
//! is given up before its answer is there, because the client or the load balancer closed the connection, is counted too:
//! hyper drops what it was doing then.
//!
//! [`Application`] wraps endpoints that are served by a strategy, [`Operational`] those that are not (health, metrics,
//! the clock, wrong paths). Both know their endpoint at compile time, so that nothing is looked up for counting.
//! Operational endpoints burn no `--work-us`: a probe measures the node, not the experiment.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONNECTION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::input::json_or_nothing;
use crate::metrics::{Endpoint, Requests};
use crate::node::{Lane, Node, Served, X_SESSION_STRATEGY};
use crate::problem::Problem;
use crate::{same_origin, work};

const X_NODE: HeaderName = HeaderName::from_static("x-node");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Bytes of a request's id, at most: the load balancer's rule as well, so that both logs have the same one.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// Bytes of a `traceparent` that are logged; a valid one has 55.
const MAX_TRACE_BYTES: usize = 128;

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// An endpoint that is served by the strategy that the request asks for.
#[derive(Clone, Copy)]
pub(crate) struct Application<H> {
    /// Under which name it is counted.
    pub endpoint: Endpoint,
    /// What it does.
    pub handler: H,
}

impl<H: Handler<T, Served>, T: Send + 'static> Handler<T, Arc<Node>> for Application<H> {
    type Future = Answer;

    fn call(self, request: Request, node: Arc<Node>) -> Answer {
        Box::pin(async move {
            let mut exchange = Exchange::begin(self.endpoint, &node, &request);
            let served = match node.serve(request.headers()) {
                Ok(served) => served,
                Err(problem) => return exchange.end(problem.into_response()),
            };
            exchange.lane = Some(served.index);
            let allowed = same_origin::check(&node, &request).and_then(|()| json_if_any(&request));
            let response = match allowed {
                Ok(()) => {
                    work::burn(node.work).await;
                    self.handler.call(request, served.clone()).await
                }
                Err(problem) => problem.into_response(),
            };
            exchange.end(response)
        })
    }
}

/// An endpoint that concerns the node and no session.
#[derive(Clone, Copy)]
pub(crate) struct Operational<H> {
    /// Under which name it is counted.
    pub endpoint: Endpoint,
    /// What it does.
    pub handler: H,
}

impl<H: Handler<T, Arc<Node>>, T: Send + 'static> Handler<T, Arc<Node>> for Operational<H> {
    type Future = Answer;

    fn call(self, request: Request, node: Arc<Node>) -> Answer {
        Box::pin(async move {
            let mut exchange = Exchange::begin(self.endpoint, &node, &request);
            exchange.lane = node.named_lane(request.headers()).ok().flatten();
            let response = match same_origin::check(&node, &request) {
                Ok(()) => self.handler.call(request, Arc::clone(&node)).await,
                Err(problem) => problem.into_response(),
            };
            exchange.end(response)
        })
    }
}

/// Refuses bodies of the types that a form of a foreign page can post.
fn json_if_any(request: &Request) -> Result<(), Problem> {
    if request.method().is_safe() || json_or_nothing(request.headers()) {
        Ok(())
    } else {
        Err(Problem::NotJson)
    }
}

/// One request from its head to the head of its answer, or until it is given up.
struct Exchange<'a> {
    endpoint: Endpoint,
    node: &'a Node,
    /// Which of the node's, as soon as it is known.
    lane: Option<usize>,
    id: Option<HeaderValue>,
    trace: Option<HeaderValue>,
    started: Instant,
    is_answered: bool,
}

impl<'a> Exchange<'a> {
    fn begin(endpoint: Endpoint, node: &'a Node, request: &Request) -> Self {
        Self {
            endpoint,
            node,
            lane: None,
            id: known_id(request.headers()).or_else(|| node.new_request_id()),
            trace: request.headers().get(TRACEPARENT).cloned(),
            started: Instant::now(),
            is_answered: false,
        }
    }

    fn lane(&self) -> Option<&'a Lane> {
        self.lane.map(|index| &self.node.lanes[index])
    }

    fn requests(&self) -> &'a Requests {
        let lane = self.lane();
        lane.map_or(&self.node.unrouted, |lane| &lane.requests)
    }

    fn end(mut self, mut response: Response) -> Response {
        self.is_answered = true;
        let (node, lane) = (self.node, self.lane());
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(X_NODE, node.name_header.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(lane) = lane {
            headers.insert(X_SESSION_STRATEGY, lane.name_header.clone());
            if status == StatusCode::UNAUTHORIZED && lane.carrier.has_bearers() {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
        }
        if node.is_draining() {
            // The balancer must not reuse a connection that is about to be closed.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let took = self.started.elapsed();
        self.requests().count(self.endpoint, status, took);
        tracing::debug!(
            request_id = self.id.as_ref().and_then(|id| id.to_str().ok()),
            traceparent = self.trace.as_ref().and_then(loggable),
            endpoint = self.endpoint.label(),
            strategy = lane.map(|lane| lane.name),
            status = status.as_u16(),
            took_us = took.as_micros(),
            "answered"
        );
        if let Some(id) = self.id.take() {
            headers.insert(X_REQUEST_ID, id);
        }
        response
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let took = self.started.elapsed();
        self.requests().count_abandoned(self.endpoint, took);
        tracing::debug!(
            request_id = self.id.as_ref().and_then(|id| id.to_str().ok()),
            traceparent = self.trace.as_ref().and_then(loggable),
            endpoint = self.endpoint.label(),
            strategy = self.lane().map(|lane| lane.name),
            took_us = took.as_micros(),
            "given up by the client or the load balancer"
        );
    }
}

/// The id that the request came with, the balancer's or a client's own, if it can be passed on and logged as it is:
/// visible ASCII. Of several the first valid one counts.
fn known_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_valid = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get_all(X_REQUEST_ID).iter().find(is_valid).cloned()
}

fn loggable(trace: &HeaderValue) -> Option<&str> {
    trace
        .to_str()
        .ok()
        .filter(|trace| trace.len() <= MAX_TRACE_BYTES)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::header::CONTENT_TYPE;

    use crate::testing::{Shop, head, problem};

    #[tokio::test]
    async fn every_answer_is_stamped() {
        let shop = Shop::sticky();
        for path in ["/plain", "/me", "/healthz", "/metrics", "/nowhere"] {
            let answer = shop.ask("GET", path).await;
            assert_eq!(answer.header("x-node"), Some("node-7"), "{path}");
            assert_eq!(
                answer.header("x-session-strategy"),
                Some("sticky"),
                "{path}"
            );
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_request_keeps_its_id_or_gets_one() {
        let shop = Shop::sticky();
        let longest = "x".repeat(128);
        let aws = "Root=1-67891233-abcdef0123456789";
        for id in ["lb-1.2_c", aws, "\"{}\\;=,/", &longest] {
            let request = head("GET", "/plain").header("x-request-id", id);
            let answer = shop.send(request).await;
            assert_eq!(answer.header("x-request-id"), Some(id));
        }
        let several = head("GET", "/plain")
            .header("x-request-id", "two words")
            .header("x-request-id", "first")
            .header("x-request-id", "second");
        let answer = shop.send(several).await;
        assert_eq!(answer.header("x-request-id"), Some("first"));
        let mut made = Vec::new();
        for id in ["", "two words", "line\tbreak", &"x".repeat(129)] {
            let request = head("GET", "/plain").header("x-request-id", id);
            let answer = shop.send(request).await;
            made.push(answer.header("x-request-id").unwrap().to_owned());
        }
        assert!(
            made.iter().all(|id| crate::input::is_identifier(id)),
            "{made:?}"
        );
        made.dedup();
        assert_eq!(made.len(), 4);
    }

    #[tokio::test]
    async fn several_strategies_must_be_told_apart() {
        let shop = Shop::of(&["sticky", "jwt"]);
        for (strategy, served) in [
            ("sticky", true),
            ("jwt", true),
            ("paper", false),
            ("", false),
            ("STICKY", false),
        ] {
            let request = head("GET", "/plain").header("x-session-strategy", strategy);
            let answer = shop.send(request).await;
            if served {
                assert_eq!(
                    (answer.status, answer.header("x-session-strategy")),
                    (200, Some(strategy))
                );
            } else {
                assert_eq!(
                    problem(&answer),
                    (421, "/problems/unknown-strategy"),
                    "{strategy}"
                );
            }
        }
        let answer = shop.ask("GET", "/plain").await;
        assert_eq!(problem(&answer), (421, "/problems/unknown-strategy"));
        assert_eq!(
            answer.json()["strategies"],
            serde_json::json!(["sticky", "jwt"])
        );
    }

    #[tokio::test]
    async fn one_strategy_need_not_be_named_but_must_not_be_misnamed() {
        let shop = Shop::sticky();
        assert_eq!(shop.ask("GET", "/plain").await.status, 200);
        let request = head("GET", "/plain").header("x-session-strategy", "redis");
        assert_eq!(
            problem(&shop.send(request).await),
            (421, "/problems/unknown-strategy")
        );
    }

    #[tokio::test]
    async fn what_forms_can_post_is_refused_before_any_endpoint_reads_it() {
        let shop = Shop::sticky();
        let form = head("POST", "/logout").header(CONTENT_TYPE, "text/plain");
        let answer = shop.send_body(form, Body::from("x")).await;
        assert_eq!(problem(&answer), (415, "/problems/not-json"));
    }

    #[tokio::test]
    async fn a_401_says_how_to_log_in_where_there_is_a_scheme_for_it() {
        let answer = Shop::jwt().ask("GET", "/me").await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some("Bearer"))
        );
        let answer = Shop::sticky().ask("GET", "/me").await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, None)
        );
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_is_counted_as_that_and_nothing_else() {
        let shop = Shop::with(&["sticky"], |parts| {
            parts.work = std::time::Duration::from_hours(1);
        });
        for _ in 0..2 {
            tokio::select! {
                answer = shop.ask("GET", "/plain") => panic!("answered: {answer:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        let page = shop.ask("GET", "/metrics").await;
        let told: Vec<_> = page
            .text()
            .lines()
            .filter(|line| line.contains("\"plain\""))
            .collect();
        assert_eq!(
            told[0],
            r#"shop_abandoned_requests_total{strategy="sticky",endpoint="plain"} 2"#
        );
        let (name, seconds) = told[1].split_once(' ').unwrap();
        assert_eq!(
            name,
            r#"shop_abandoned_request_seconds_total{strategy="sticky",endpoint="plain"}"#
        );
        assert!(seconds.parse::<f64>().unwrap() > 0.0, "{seconds}");
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
