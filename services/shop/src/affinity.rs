//! What the node and the load balancer tell each other about a client and its node.

use http::{HeaderName, HeaderValue};

/// Tells the balancer what has become of the client's session, so that affinity can follow it. The balancer drops it.
pub(crate) const X_SESSION_EVENT: HeaderName = HeaderName::from_static("x-session-event");
/// A session starts with this answer.
pub(crate) const STARTED: HeaderValue = HeaderValue::from_static("started");
/// The session that the request came with is over.
pub(crate) const ENDED: HeaderValue = HeaderValue::from_static("ended");
/// The balancer's word that this node is to lose its clients.
pub(crate) const X_BALANCER_DRAIN: HeaderName = HeaderName::from_static("x-balancer-drain");
