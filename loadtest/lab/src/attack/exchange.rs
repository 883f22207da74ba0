//! One request and its answer, down to the last byte of the body: sends through goose, which counts and times to the
//! first byte, and measures beside it what goose does not.

use goose::goose::{GooseRequest, GooseUser};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{RequestBuilder, Response};

use super::answer::{Said, says_nothing_was_done, understand};
use super::browser::answer_head_bytes;
use super::outcome::{Answer, Trouble, judge};
use crate::own_side;
use cluster::Clock;
use evidence::history::{Action, Operation, Outcome};

const NODE: HeaderName = HeaderName::from_static("x-node");
const OUTCOME: HeaderName = HeaderName::from_static("x-outcome");
const RETRIES: HeaderName = HeaderName::from_static("x-balancer-retries");
const ALIVE_UNTIL: HeaderName = HeaderName::from_static("x-credential-alive-until");

/// What came back, as it came.
pub(super) struct Exchange {
    pub(super) sent_us: i64,
    pub(super) first_byte_us: Option<i64>,
    pub(super) done_us: i64,
    pub(super) trouble: Option<Trouble>,
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) received_bytes: usize,
}

impl Exchange {
    /// Sends a user's `request` and reads all of the answer. Ends within the client's time limit.
    pub(super) async fn perform(
        goose: &mut GooseUser,
        clock: Clock,
        action: Action,
        request: RequestBuilder,
    ) -> Self {
        let request = GooseRequest::builder()
            .name(action.name())
            .set_request_builder(request)
            .build();
        let answer = async {
            match goose.request(request).await.map(|goose| goose.response) {
                Ok(answer) => answer.map_err(|error| trouble(&error)),
                // Goose's own errors mean that it could not pass its figures on; the request may have been sent.
                Err(_) => Err(Trouble::Broken),
            }
        };
        Self::of(clock, answer).await
    }

    /// The same past goose: what nobody counts as load.
    pub(super) async fn perform_beside(clock: Clock, request: RequestBuilder) -> Self {
        let answer = async { request.send().await.map_err(|error| trouble(&error)) };
        Self::of(clock, answer).await
    }

    async fn of(clock: Clock, answer: impl Future<Output = Result<Response, Trouble>>) -> Self {
        let mut exchange = Self {
            sent_us: clock.now_us(),
            first_byte_us: None,
            done_us: 0,
            trouble: None,
            status: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            received_bytes: 0,
        };
        match answer.await {
            Ok(response) => {
                exchange.first_byte_us = Some(clock.now_us());
                exchange.read(response).await;
            }
            Err(trouble) => exchange.trouble = Some(trouble),
        }
        exchange.done_us = clock.now_us();
        exchange
    }

    async fn read(&mut self, mut response: Response) {
        self.status = Some(response.status().as_u16());
        self.received_bytes =
            answer_head_bytes(response.version(), response.status(), response.headers());
        self.headers = std::mem::take(response.headers_mut());
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.received_bytes += chunk.len();
                    self.body.extend_from_slice(&chunk);
                }
                Ok(None) => return,
                Err(error) => {
                    self.trouble = Some(trouble(&error));
                    return;
                }
            }
        }
    }

    /// The operation that this was, and what its answer said if it succeeded. Who acted, and on what, is for the caller to add.
    pub(super) fn operation(&self, action: Action, intended_us: i64) -> (Operation, Said) {
        let succeeded = self.status.is_some_and(|status| status < 300);
        let said = if succeeded && self.trouble.is_none() {
            understand(action, &self.body)
        } else {
            None
        };
        let node = self.node();
        let retries = self.retries();
        let (outcome, reason) = judge(
            action,
            Answer {
                trouble: self.trouble,
                status: self.status,
                stamped: node.is_some(),
                retries,
                understood: said.is_some(),
                nothing_done: !succeeded
                    && (self.says_nothing_done() || says_nothing_was_done(&self.body)),
            },
        );
        let said = said.filter(|_| outcome == Outcome::Ok).unwrap_or_default();
        let operation = Operation {
            process: 0,
            user: 0,
            session: 0,
            action,
            id: 0,
            intended_us,
            sent_us: self.sent_us,
            first_byte_us: self.first_byte_us,
            done_us: self.done_us,
            outcome,
            reason,
            status: self.status,
            node,
            retries,
            line: None,
            read: said.cart.as_ref().map(|cart| cart.lines.clone()),
            version: said.cart.as_ref().map(|cart| cart.version),
            mistaken_for: None,
            revoked: said.revoked,
            alive_until_unix_s: self.alive_until_unix_s(),
            sent_bytes: 0,
            received_bytes: u32::try_from(self.received_bytes).unwrap_or(u32::MAX),
        };
        (operation, said)
    }

    /// The node that stamped the answer.
    fn node(&self) -> Option<Box<str>> {
        self.header(&NODE).map(Into::into)
    }

    /// How often the load balancer asked another node.
    fn retries(&self) -> u32 {
        self.header(&RETRIES)
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }

    /// Whether the answer says that nothing was done, by a node or by the load balancer.
    fn says_nothing_done(&self) -> bool {
        self.header(&OUTCOME) == Some("nothing-done")
    }

    /// Until when a credential that was logged out is accepted all the same.
    fn alive_until_unix_s(&self) -> Option<u64> {
        self.header(&ALIVE_UNTIL)?.parse().ok()
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn trouble(error: &reqwest::Error) -> Trouble {
    if error.is_connect() {
        own_side::reason(error).map_or(Trouble::NotConnected, Trouble::OwnSide)
    } else if error.is_timeout() {
        Trouble::TimedOut
    } else {
        Trouble::Broken
    }
}
