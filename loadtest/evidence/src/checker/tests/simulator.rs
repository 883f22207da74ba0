//! A model cluster, and users who act on it as the journeys do: one operation at a time, without knowing more than the
//! answers told them. What nobody knows may have happened at once, later, or never. So the histories are clean, and
//! whatever the checker finds in them beyond what the strategy's theory predicts is a false alarm.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::history::testing::*;
use crate::history::{FaultEvent, FaultStep, History, LineId, Operation};
use crate::results::Anomalies;

const USERS: u32 = 3;
/// The end of every `jwt` credential, seconds since the Unix epoch; the run is at 1,000 then.
const JWT_END_S: u64 = 1_030;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sticky,
    Redis,
    Jwt,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Sticky, Kind::Redis, Kind::Jwt];

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// By a node that does not know the session. Only what becomes of a logout then is of interest.
    Elsewhere,
    /// Certainly without effect.
    Failed,
    /// Not answered; it happened never, at once, or some operations later.
    UnknownNever,
    UnknownNow,
    UnknownLate(u8),
}

/// Somebody's next step.
#[derive(Clone, Debug)]
struct RequestSpec {
    user: Index,
    does: Does,
    pick: Index,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Browse,
    Add,
    Remove,
    Read,
    Leave,
    /// Not the user's doing: a node is killed, and is back at once.
    Kill,
    /// Not the user's doing: an operator ends all its logins.
    Revoke,
}

/// What happens to users.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Events {
    /// Nodes die.
    pub(super) kills: bool,
    /// An operator ends logins.
    pub(super) revocations: bool,
    /// Logouts meet a node that does not know the session.
    pub(super) missed_logouts: bool,
}

/// A history, and what theory predicts to be found in it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) history: History,
    pub(super) predicted: Anomalies,
}

/// Lives of a few users on this kind of cluster.
pub(super) fn lives(kind: Kind, events: Events) -> impl Strategy<Value = Life> {
    let does = prop_oneof![
        2 => Just(Does::Browse),
        5 => Just(Does::Add),
        3 => Just(Does::Remove),
        4 => Just(Does::Read),
        2 => Just(Does::Leave),
        u32::from(events.kills) => Just(Does::Kill),
        2 * u32::from(events.revocations) => Just(Does::Revoke),
    ];
    let fate = prop_oneof![
        12 => Just(Fate::Answered),
        3 * u32::from(events.missed_logouts) => Just(Fate::Elsewhere),
        1 => Just(Fate::Failed),
        1 => Just(Fate::UnknownNever),
        1 => Just(Fate::UnknownNow),
        1 => (1..20_u8).prop_map(Fate::UnknownLate),
    ];
    let wish = (any::<Index>(), does, any::<Index>(), fate).prop_map(|(user, does, pick, fate)| {
        RequestSpec {
            user,
            does,
            pick,
            fate,
        }
    });
    proptest::collection::vec(wish, 20..120)
        .prop_map(move |wishes| Cluster::new(kind).live(&wishes))
}

struct Cluster {
    kind: Kind,
    at_ms: i64,
    /// By user and session: the node and the cart. In `jwt` nobody keeps them.
    sessions: BTreeMap<(u32, u32), (String, Vec<u32>)>,
    /// Effects that are still on their way, and for how many steps.
    late: Vec<(u8, (u32, u32), Effect)>,
    users: Vec<User>,
    operations: Vec<Operation>,
    revocations: Vec<Operation>,
    faults: Vec<FaultEvent>,
    predicted: Anomalies,
}

#[derive(Clone, Copy)]
enum Effect {
    Add(u32),
    Remove(u32),
    End,
    /// Of all logins of the user that the node of this number knows.
    Revoke(usize),
}

#[derive(Clone)]
struct User {
    number: u32,
    sessions: u32,
    operations: u32,
    session: Option<Client>,
    /// Whether there was an order of which nobody knows what became.
    perhaps_revoked: bool,
}

/// What a user knows of its session.
#[derive(Clone, Default)]
struct Client {
    number: u32,
    /// As the last answer showed it.
    cart: Vec<u32>,
    known: BTreeSet<u32>,
    perhaps_removed: BTreeSet<u32>,
    /// An operator's order about it was answered, and the credential was not used since. (The model's knowledge, not the
    /// user's; as the next.)
    ordered: bool,
    /// That it was accepted all the same is predicted already.
    outlived: bool,
    /// A refusal may be an order's doing.
    perhaps_revoked: bool,
}

impl Cluster {
    fn new(kind: Kind) -> Self {
        let user = |number| User {
            number,
            sessions: 0,
            operations: 0,
            session: None,
            perhaps_revoked: false,
        };
        Self {
            kind,
            at_ms: 0,
            sessions: BTreeMap::new(),
            late: Vec::new(),
            users: (1..=USERS).map(user).collect(),
            operations: Vec::new(),
            revocations: Vec::new(),
            faults: Vec::new(),
            predicted: Anomalies::default(),
        }
    }

    fn live(mut self, wishes: &[RequestSpec]) -> Life {
        for wish in wishes {
            let wish = &self.reached(wish);
            self.let_late_effects_happen();
            if wish.does == Does::Kill {
                self.kill(wish.pick.index(3));
                continue;
            }
            let place = wish.user.index(self.users.len());
            let mut user = self.users[place].clone();
            if wish.does == Does::Revoke {
                self.revoke(&mut user, wish.pick.index(3), wish.fate);
            } else {
                self.act(&mut user, wish);
            }
            self.users[place] = user;
        }
        self.at_ms = 11_000;
        for mut user in self.users.clone() {
            // A session that is found lost is begun anew.
            for _ in 0..2 {
                if user.session.is_none() {
                    self.log_in(&mut user, Fate::Answered);
                }
                self.ask(&mut user, Does::Read, 0, Fate::Answered);
            }
        }
        let mut history = history(self.operations);
        history.revocations = self.revocations;
        history.faults = self.faults;
        let properties = &mut history.meta.properties;
        properties.survives_node_death = self.kind != Kind::Sticky;
        properties.revocable_at_once = self.kind == Kind::Redis;
        Life {
            history,
            predicted: self.predicted,
        }
    }

    /// Only where a session has a home something can miss it.
    fn reached(&self, wish: &RequestSpec) -> RequestSpec {
        let misses = self.kind == Kind::Sticky && wish.does == Does::Leave;
        let fate = match wish.fate {
            Fate::Elsewhere if !misses => Fate::Answered,
            fate => fate,
        };
        RequestSpec {
            fate,
            ..wish.clone()
        }
    }

    fn act(&mut self, user: &mut User, wish: &RequestSpec) {
        let Some(session) = &user.session else {
            let fate = match wish.fate {
                Fate::Elsewhere => Fate::Answered,
                fate => fate,
            };
            return self.log_in(user, fate);
        };
        match wish.does {
            Does::Remove if !session.cart.is_empty() => {
                let line = session.cart[wish.pick.index(session.cart.len())];
                self.ask(user, Does::Remove, line, wish.fate);
            }
            Does::Remove => self.ask(user, Does::Read, 0, wish.fate),
            Does::Leave => self.leave(user, wish.fate),
            does => self.ask(user, does, 0, wish.fate),
        }
    }

    fn log_in(&mut self, user: &mut User, fate: Fate) {
        let id = self.next_id(user);
        if fate == Fate::Answered {
            user.sessions += 1;
            user.session = Some(Client {
                number: user.sessions,
                ..Client::default()
            });
            let node = format!("node-{}", (user.number + user.sessions) % 3 + 1);
            let operation = log_in(user.number, user.sessions, id, self.at_ms).on(&node);
            self.sessions
                .insert((user.number, user.sessions), (node, Vec::new()));
            self.operations.push(operation);
        } else {
            let operation = log_in(user.number, 0, id, self.at_ms);
            self.operations.push(unanswered(operation, fate));
        }
    }

    /// One request under the user's session.
    fn ask(&mut self, user: &mut User, does: Does, removed: u32, fate: Fate) {
        let id = self.next_id(user);
        let (number, at_ms) = (user.number, self.at_ms);
        let Some(session) = &mut user.session else {
            return;
        };
        let key = (number, session.number);
        let (operation, effect) = match does {
            Does::Add => (
                add(number, session.number, id, at_ms),
                Some(Effect::Add(id)),
            ),
            Does::Remove => (
                remove(number, session.number, id, at_ms, removed),
                Some(Effect::Remove(removed)),
            ),
            Does::Read => (read(number, session.number, id, at_ms, &[]), None),
            _ => (browse(number, session.number, id, at_ms), None),
        };
        if fate != Fate::Answered {
            if does == Does::Remove && fate != Fate::Failed {
                session.perhaps_removed.insert(removed);
            }
            self.operations.push(unanswered(operation, fate));
            match (fate, effect) {
                (Fate::UnknownNow, Some(effect)) => self.take_effect(key, effect),
                (Fate::UnknownLate(steps), Some(effect)) => self.late.push((steps, key, effect)),
                _ => {}
            }
            return;
        }
        let cart = match (self.kind, effect) {
            (Kind::Jwt, effect) => {
                // The client brings the cart and takes the new one home.
                let mut cart = session.cart.clone();
                change(&mut cart, effect);
                cart
            }
            (_, effect) => {
                if let Some(effect) = effect {
                    self.take_effect(key, effect);
                }
                let Some((_, cart)) = self.sessions.get(&key) else {
                    if !session.perhaps_revoked && !user.perhaps_revoked {
                        self.predicted.session_lost += 1;
                        let owed = session.known.difference(&session.perhaps_removed);
                        self.predicted.line_lost += owed.count() as u64;
                    }
                    user.session = None;
                    return self.operations.push(operation.refused());
                };
                cart.clone()
            }
        };
        if does == Does::Remove {
            session.perhaps_removed.insert(removed);
        }
        if std::mem::take(&mut session.ordered) {
            // Evidently no order has ended it.
            session.perhaps_revoked = false;
            if !std::mem::replace(&mut session.outlived, true) {
                self.predicted.exposure += 1;
            }
        }
        let node = self.node_of(key);
        let mut operation = operation.on(&node);
        if does != Does::Browse {
            operation.read = Some(
                cart.iter()
                    .map(|&added| LineId {
                        user: number,
                        operation: added,
                    })
                    .collect(),
            );
            session.known.extend(&cart);
            session.cart = cart;
        }
        self.operations.push(operation);
    }

    /// A last read, the logout, and a try whether the credential is dead.
    fn leave(&mut self, user: &mut User, fate: Fate) {
        self.ask(user, Does::Read, 0, Fate::Answered);
        let Some(session) = user.session.as_ref().map(|session| session.number) else {
            return;
        };
        let id = self.next_id(user);
        let key = (user.number, session);
        let mut operation = log_out(user.number, session, id, self.at_ms);
        if self.kind == Kind::Jwt {
            operation.alive_until_unix_s = Some(JWT_END_S);
        }
        if fate != Fate::Failed {
            user.session = None;
        }
        match fate {
            Fate::Answered => {
                self.operations.push(operation);
                self.take_effect(key, Effect::End);
                let id = self.next_id(user);
                let mut replay = replay(user.number, session, id, self.at_ms);
                if self.kind == Kind::Jwt {
                    replay.status = Some(200);
                    self.predicted.exposure += 1;
                }
                return self.operations.push(replay);
            }
            Fate::Elsewhere => {
                self.operations.push(operation.on("node-9").nothing_ended());
                let id = self.next_id(user);
                let mut replay = replay(user.number, session, id, self.at_ms);
                if let Some((home, _)) = self.sessions.get(&key) {
                    replay = replay.on(home);
                    replay.status = Some(200);
                    self.predicted.exposure += 1;
                }
                return self.operations.push(replay);
            }
            Fate::UnknownNow => self.take_effect(key, Effect::End),
            Fate::UnknownLate(steps) => self.late.push((steps, key, Effect::End)),
            Fate::Failed | Fate::UnknownNever => {}
        }
        self.operations.push(unanswered(operation, fate));
    }

    /// An operator asks one node to end all logins of the user.
    fn revoke(&mut self, user: &mut User, node: usize, fate: Fate) {
        self.at_ms += 10;
        let id = u32::try_from(self.revocations.len()).unwrap() + 1;
        let order = revoke(user.number, id, self.at_ms, 0).on(&node_name(node));
        if self.kind == Kind::Jwt && fate == Fate::Answered {
            if let Some(session) = &mut user.session {
                session.ordered = true;
            }
            return self.revocations.push(order.unsupported());
        }
        let key = (user.number, 0);
        let before = self.sessions.len();
        match fate {
            Fate::Answered | Fate::UnknownNow => self.take_effect(key, Effect::Revoke(node)),
            Fate::UnknownLate(steps) => self.late.push((steps, key, Effect::Revoke(node))),
            Fate::Failed | Fate::UnknownNever | Fate::Elsewhere => {}
        }
        if fate != Fate::Answered {
            user.perhaps_revoked |= fate != Fate::Failed;
            return self.revocations.push(unanswered(order, fate));
        }
        let ended = (before - self.sessions.len()) as u64;
        if let Some(session) = &mut user.session {
            session.ordered = true;
            session.perhaps_revoked |= ended > 0;
        }
        self.revocations.push(Operation {
            revoked: Some(ended),
            ..order
        });
    }

    fn kill(&mut self, place: usize) {
        self.at_ms += 10;
        let node = node_name(place);
        let steps = [
            FaultStep::Commanded,
            FaultStep::Effective,
            FaultStep::Undone,
        ];
        let fault = self.faults.len() / steps.len();
        for (step, after_us) in steps.into_iter().zip([0, 1_000, 2_000]) {
            self.faults.push(FaultEvent {
                fault,
                kind: "kill".into(),
                target: node.clone(),
                step,
                at_us: self.at_ms * 1_000 + after_us,
                evidence: None,
            });
        }
        if self.kind == Kind::Sticky {
            self.sessions.retain(|_, (home, _)| *home != node);
        }
    }

    fn let_late_effects_happen(&mut self) {
        for (steps, ..) in &mut self.late {
            *steps -= 1;
        }
        let due: Vec<_> = self
            .late
            .extract_if(.., |(steps, ..)| *steps == 0)
            .collect();
        for (_, key, effect) in due {
            self.take_effect(key, effect);
        }
    }

    fn take_effect(&mut self, key: (u32, u32), effect: Effect) {
        if let Effect::End = effect {
            self.sessions.remove(&key);
        } else if let Effect::Revoke(node) = effect {
            let kind = self.kind;
            self.sessions.retain(|(user, _), (home, _)| {
                *user != key.0
                    || match kind {
                        Kind::Sticky => *home != node_name(node),
                        Kind::Redis => false,
                        Kind::Jwt => true,
                    }
            });
        } else if let Some((_, cart)) = self.sessions.get_mut(&key) {
            change(cart, Some(effect));
        }
    }

    /// Its own in `sticky`, any elsewhere.
    fn node_of(&self, key: (u32, u32)) -> String {
        match (self.kind, self.sessions.get(&key)) {
            (Kind::Sticky, Some((node, _))) => node.clone(),
            _ => format!("node-{}", self.at_ms / 10 % 3 + 1),
        }
    }

    fn next_id(&mut self, user: &mut User) -> u32 {
        self.at_ms += 10;
        user.operations += 1;
        user.operations
    }
}

fn node_name(place: usize) -> String {
    format!("node-{}", place + 1)
}

fn change(cart: &mut Vec<u32>, effect: Option<Effect>) {
    match effect {
        Some(Effect::Add(line)) => cart.push(line),
        Some(Effect::Remove(line)) => cart.retain(|known| *known != line),
        Some(Effect::End | Effect::Revoke(_)) | None => {}
    }
}

fn unanswered(operation: Operation, fate: Fate) -> Operation {
    if fate == Fate::Failed {
        operation.failed()
    } else {
        operation.unknown()
    }
}

/// All strategies, with kills and with everything that nobody knows.
#[test]
fn clean_histories_show_what_theory_predicts_and_nothing_else() {
    for kind in KINDS {
        let config = ProptestConfig {
            cases: 150,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let lost = std::cell::Cell::new(0);
        let events = Events {
            kills: true,
            missed_logouts: true,
            ..Events::default()
        };
        proptest!(config, |(life in lives(kind, events))| {
            let verdict = check(&life.history);
            prop_assert_eq!(verdict.anomalies, life.predicted, "{:#?}", verdict.witnesses);
            let blamed: u64 = verdict.losses.iter().map(|losses| losses.sessions_lost).sum();
            prop_assert_eq!(blamed, life.predicted.session_lost, "each lost session counts for one kill");
            lost.set(lost.get() + blamed);
        });
        assert_eq!(
            lost.get() > 100,
            kind == Kind::Sticky,
            "only there a kill costs sessions, and many"
        );
    }
}

/// The same with an operator: what it ends is no loss, and what it cannot end is exposed, once each session.
#[test]
fn revocations_end_what_they_reach_and_nothing_else_is_found() {
    for kind in KINDS {
        let config = ProptestConfig {
            cases: 150,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let (exposed, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let events = Events {
            kills: true,
            revocations: true,
            missed_logouts: true,
        };
        proptest!(config, |(life in lives(kind, events))| {
            let verdict = check(&life.history);
            prop_assert_eq!(verdict.anomalies, life.predicted, "{:#?}", verdict.witnesses);
            let Some(revoked) = verdict.revocations else { return Ok(()) };
            prop_assert_eq!(revoked.resurrections, 0);
            prop_assert!(revoked.sessions >= revoked.exposures);
            exposed.set(exposed.get() + revoked.exposures);
            refused.set(refused.get() + revoked.sessions - revoked.exposures);
        });
        assert_eq!(
            exposed.get() > 100,
            kind != Kind::Redis,
            "{kind:?}: {exposed:?}"
        );
        assert_eq!(
            refused.get() > 100,
            kind != Kind::Jwt,
            "{kind:?}: {refused:?}"
        );
    }
}
