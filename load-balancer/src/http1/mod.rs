//! HTTP/1.1 on the wire: what is read from a socket, what it means, and what is written instead.
//!
//! pingora's own HTTP/1 sessions are not used for the way of a request. They accept what a balancer in front
//! of other parsers must refuse (a bare LF ends a line, a target with blanks is escaped and served, `5, 5` is
//! a length), they hold each head in two maps, which costs more than everything else that a request needs,
//! and they cannot read from one side while they write to the other. Heads are parsed by `httparse`, which
//! pingora and hyper use as well, after a scan that is stricter than it.
//!
//! | file | job |
//! | --- | --- |
//! | `scan` | where a head ends, before anything in it is believed |
//! | `request`, `target` | what a client's head means, and the head that the node gets |
//! | `glimpse` | what can be said of a head that was refused |
//! | `answer` | what a node's head means, and the head that the client gets |
//! | `idempotency_key` | whether the client says that a POST may be repeated |
//! | `fields` | which header fields concern a balancer |
//! | `framing` | where a body ends; decoding and encoding chunks |
//! | `client` | a client's connection: heads from it, everything to it |
//! | `upload`, `relay` | one attempt: the request to a node, its answer to the client, both at once |
//! | `buffer`, `deadline` | memory and time: what a connection costs while it waits |
//! | `pool` | connections to nodes that wait for their next request |

pub(crate) mod answer;
pub(crate) mod buffer;
pub(crate) mod client;
pub(crate) mod deadline;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod glimpse;
pub(crate) mod idempotency_key;
pub(crate) mod pool;
pub(crate) mod relay;
pub(crate) mod request;
pub(crate) mod scan;
pub(crate) mod target;
pub(crate) mod upload;
