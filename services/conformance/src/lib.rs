//! Holds a strategy to what it says of itself ([`About`](session::About)): a strategy that declares more than it keeps fails, and
//! so does one that keeps more than it declares.
//!
//! # Layout
//! * this file: [`suite`], and the list of checks.
//! * [`lab`]: what each check gets: two nodes, a clock that it can turn, and users of its own.
//! * [`logins`], [`carts`], [`expiry`], [`cost`]: the checks.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a check reports, in its helpers too"
)]

mod carts;
mod client;
mod cost;
mod expiry;
mod lab;
mod logins;

use std::fmt::Write as _;
use std::pin::Pin;

use session::{Kind, Values};
use tokio::runtime::Runtime;

pub use crate::client::Client;

use crate::lab::Lab;

/// What is checked of every strategy, and how.
type Check = (
    &'static str,
    fn(Lab) -> Pin<Box<dyn Future<Output = ()> + Send>>,
);

macro_rules! checks {
    ($($module:ident: $($name:ident)*;)*) => {
        &[$($((stringify!($name), |lab| Box::pin($module::$name(lab)))),*),*]
    };
}

static CHECKS: &[Check] = checks! {
    logins:
        it_is_what_its_row_says
        a_login_is_authenticated_and_has_an_empty_cart
        a_login_replaces_what_was_presented
        a_logout_does_what_was_declared
        a_logout_at_another_node_promises_what_it_knows
        a_logout_of_what_is_not_there_succeeds
        logins_are_listed_and_ended_by_their_user_alone
        a_revocation_reaches_as_far_as_declared
        the_death_of_a_node_costs_what_was_declared
        other_nodes_know_the_session_unless_affinity_is_declared
        what_is_no_credential_is_refused;
    carts:
        a_cart_keeps_the_order_of_adding
        the_same_line_twice_changes_nothing
        a_full_cart_is_refused_and_stays
        parallel_adds_end_as_declared
        a_session_that_was_logged_out_during_changes_stays_dead;
    expiry:
        an_unused_session_ends
        no_use_keeps_a_session_beyond_its_absolute_end;
    cost:
        a_request_makes_as_many_round_trips_as_declared
        the_parts_of_a_credential_are_handed_out_when_declared;
};

/// Runs every check on two nodes of `kind`, set to `values`, with a clock of their own. All nodes of a run share what the
/// values name: a store, a folder, keys. Lifetimes of some minutes at least make sense: the checks turn the clock past them.
///
/// # Panics
/// When a check fails, after all of them have run: the message names those that failed.
pub fn suite(kind: &'static dyn Kind, values: &Values) {
    kind.check(values).unwrap();
    let runtime = Runtime::new().unwrap();
    let mut failed = String::new();
    for (number, (name, check)) in CHECKS.iter().enumerate() {
        let values = values.clone();
        let checked = runtime.block_on(runtime.spawn(async move {
            let lab = Lab::new(kind, values, number).await;
            check(lab).await;
        }));
        if checked.is_err() {
            let _ = write!(failed, " {name}");
        }
    }
    assert!(
        failed.is_empty(),
        "strategy {} failed:{failed}; what each met stands above",
        kind.about().name
    );
}
