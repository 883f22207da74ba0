//! Short ways to write histories down in tests. Times are milliseconds here, so that a test reads like a story.

#![allow(
    clippy::return_self_not_must_use,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "each does what its name says"
)]

use super::{Action, History, LineId, Meta, Operation, Outcome, Reason, SCHEMA};
use crate::pace::Pace;
use crate::results::StrategyProperties;

/// A run of two users on two nodes: 10 s measured, final reads at 11 s.
pub fn meta() -> Meta {
    Meta {
        schema: SCHEMA.into(),
        scenario: "test".into(),
        strategy: "redis".into(),
        properties: StrategyProperties {
            state_lives: "store".into(),
            store: Some("redis".into()),
            survives_node_death: true,
            revocable_at_once: true,
            store_round_trips: 1,
            logout: "ends it".into(),
            ..StrategyProperties::default()
        },
        repeat: 1,
        seed: 1,
        nodes: vec!["node-1".into(), "node-2".into()],
        balancer: "pingora".into(),
        users: 2,
        pace: Pace::Closed {
            think_ms: (100, 200),
        },
        cores: 2,
        origin_unix_ms: 1_000_000,
        warm_up_from_us: -1_000_000,
        measured_until_us: 10_000_000,
        final_read_us: 11_000_000,
        lifetime: None,
    }
}

/// A history of these operations, in the order of sending.
pub fn history(operations: impl IntoIterator<Item = Operation>) -> History {
    let mut operations: Vec<_> = operations.into_iter().collect();
    operations.sort_by_key(|operation| operation.sent_us);
    History {
        meta: meta(),
        operations,
        revocations: Vec::new(),
        unsent: Vec::new(),
        faults: Vec::new(),
        usage: Vec::new(),
        memory: None,
        counts: None,
    }
}

/// An operation that succeeded on node-1 within 2 ms.
fn operation(user: u32, session: u32, id: u32, at_ms: i64, action: Action) -> Operation {
    Operation {
        process: u64::from(user),
        user,
        session,
        action,
        id,
        intended_us: at_ms * 1_000 - 100,
        sent_us: at_ms * 1_000,
        first_byte_us: Some(at_ms * 1_000 + 1_900),
        done_us: at_ms * 1_000 + 2_000,
        outcome: Outcome::Ok,
        reason: None,
        status: Some(200),
        node: Some("node-1".into()),
        retries: 0,
        line: None,
        read: None,
        version: None,
        mistaken_for: None,
        revoked: None,
        alive_until_unix_s: None,
        sent_bytes: 100,
        received_bytes: 300,
    }
}

/// A line by its name.
pub fn line(user: u32, operation: u32) -> LineId {
    LineId { user, operation }
}

pub fn log_in(user: u32, session: u32, id: u32, at_ms: i64) -> Operation {
    operation(user, session, id, at_ms, Action::LogIn)
}

pub fn browse(user: u32, session: u32, id: u32, at_ms: i64) -> Operation {
    operation(user, session, id, at_ms, Action::Browse)
}

pub fn log_out(user: u32, session: u32, id: u32, at_ms: i64) -> Operation {
    Operation {
        status: Some(204),
        ..operation(user, session, id, at_ms, Action::LogOut)
    }
}

/// `GET /me` with the credential of a session that was logged out, refused as it should be.
pub fn replay(user: u32, session: u32, id: u32, at_ms: i64) -> Operation {
    Operation {
        status: Some(401),
        ..operation(user, session, id, at_ms, Action::Replay)
    }
}

/// The operator ends all logins of `user`; node-1 says that there were so many.
pub fn revoke(user: u32, id: u32, at_ms: i64, revoked: u64) -> Operation {
    Operation {
        process: 0,
        revoked: Some(revoked),
        ..operation(user, 0, id, at_ms, Action::Revoke)
    }
}

/// Adds the line `user-id`.
pub fn add(user: u32, session: u32, id: u32, at_ms: i64) -> Operation {
    Operation {
        status: Some(201),
        line: Some(line(user, id)),
        ..operation(user, session, id, at_ms, Action::AddLine)
    }
}

/// Removes the line that the same user's operation `added` added.
pub fn remove(user: u32, session: u32, id: u32, at_ms: i64, added: u32) -> Operation {
    Operation {
        line: Some(line(user, added)),
        ..operation(user, session, id, at_ms, Action::RemoveLine)
    }
}

/// Reads a cart with the lines that these operations of the same user added.
pub fn read(user: u32, session: u32, id: u32, at_ms: i64, lines: &[u32]) -> Operation {
    Operation {
        read: Some(lines.iter().map(|&added| line(user, added)).collect()),
        ..operation(user, session, id, at_ms, Action::ReadCart)
    }
}

impl Operation {
    /// The same on another node.
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(node.into());
        self
    }

    /// The same, refused with 401.
    pub fn refused(mut self) -> Self {
        self.outcome = Outcome::Fail;
        self.reason = Some(Reason::Refused);
        self.status = Some(401);
        self.read = None;
        self
    }

    /// The same logout, answered by a node that does not know the session.
    pub fn nothing_ended(mut self) -> Self {
        self.outcome = Outcome::Info;
        self.reason = Some(Reason::NothingEnded);
        self.status = Some(200);
        self
    }

    /// The same, refused by a node whose strategy cannot do it.
    pub fn unsupported(mut self) -> Self {
        self.outcome = Outcome::Fail;
        self.reason = Some(Reason::Refused);
        self.status = Some(501);
        self.revoked = None;
        self
    }

    /// The same, with nobody knowing whether it happened.
    pub fn unknown(mut self) -> Self {
        self.outcome = Outcome::Info;
        self.reason = Some(Reason::TimedOut);
        self.status = None;
        self.node = None;
        self.read = None;
        self.revoked = None;
        self
    }

    /// The same, certainly without effect.
    pub fn failed(mut self) -> Self {
        self.outcome = Outcome::Fail;
        self.reason = Some(Reason::NoNode);
        self.status = Some(503);
        self.node = None;
        self.read = None;
        self.revoked = None;
        self
    }
}
