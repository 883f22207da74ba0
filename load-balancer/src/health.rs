//! Health checks: is a node able to serve this strategy right now?
//!
//! Each node of each listener has a task that asks it over HTTP, on a connection of its own. HTTP,
//! because the kernel goes on accepting connections for a frozen process; a fresh connection, because a
//! process that accepts no more is down as well. A passed check is any 2xx within the deadline.

use std::sync::Arc;

use pingora::{connectors::http::v1::Connector, http::RequestHeader};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{admin_state::AdminState, group::Group, node::Node};

/// Checks the nodes of one listener.
pub(crate) struct Checker {
    group: Arc<Group>,
    /// Only ever opens connections: none is given back to its pool.
    connector: Connector,
    request: RequestHeader,
}

impl Checker {
    /// Prepares the request once; it is the same for every node but for `Host`.
    pub(crate) fn new(group: Arc<Group>) -> pingora::Result<Self> {
        let mut request = RequestHeader::build("GET", group.health.path.as_bytes(), Some(4))?;
        request.insert_header("x-session-strategy", group.strategy.as_str())?;
        request.insert_header("user-agent", "load-balancer")?;
        request.insert_header("connection", "close")?;
        Ok(Self {
            group,
            connector: Connector::new(None),
            request,
        })
    }

    /// Checks a node once and files the result.
    pub(crate) async fn check(&self, node: &Node) {
        let deadline = self.group.health.timeout;
        match timeout(deadline, self.ask(node)).await {
            Ok(Ok(status)) if (200..300).contains(&status) => self.group.passed(node),
            Ok(Ok(status)) => self.group.failed(node, &format!("check answered {status}")),
            Ok(Err(error)) => self
                .group
                .failed(node, &format!("check failed: {}", error.reason_str())),
            Err(_) => self.group.failed(
                node,
                &format!("check unanswered after {} ms", deadline.as_millis()),
            ),
        }
    }

    async fn ask(&self, node: &Node) -> pingora::Result<u16> {
        let (mut session, _reused) = self.connector.get_http_session(&node.peer()).await?;
        let mut request = self.request.clone();
        request.insert_header("host", node.address.to_string())?;
        session.write_request_header(Box::new(request)).await?;
        session.read_response().await?;
        Ok(session.get_status().map_or(0, |status| status.as_u16()))
    }

    /// Goes on checking a node until it leaves the set: at each interval, and at once when a request
    /// failed on it. In maintenance it is left alone, as HAProxy does.
    pub(crate) async fn watch(self: Arc<Self>, node: Arc<Node>) {
        let mut next = Instant::now() + self.group.health.interval;
        let mut admin_state = node.order.get().state();
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                () = node.check_wanted() => {}
            }
            if node.is_retired() {
                return;
            }
            // Counted from the start of a check, so that a frozen node is not asked less often.
            next = Instant::now() + self.group.health.interval;
            // The end of a drain is no event of its own, so it is noticed here.
            let now = node.order.get();
            if now.drain_ended() && admin_state == AdminState::Drain {
                self.group
                    .admin_state_changed(&node, AdminState::Drain, AdminState::Maint);
            }
            admin_state = now.state();
            if admin_state != AdminState::Maint {
                self.check(&node).await;
            }
        }
    }
}
