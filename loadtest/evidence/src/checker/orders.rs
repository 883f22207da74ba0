//! The operator's calls: whose logins each was to end, and which sessions it may have met.

use std::collections::HashMap;

use crate::history::{Operation, Outcome};

/// All orders by user, in the order of sending.
pub(super) fn by_user(orders: &[Operation]) -> HashMap<u32, Vec<&Operation>> {
    let mut by_user: HashMap<u32, Vec<&Operation>> = HashMap::new();
    for order in orders {
        by_user.entry(order.user).or_default().push(order);
    }
    by_user
}

/// Of the `orders` about a user, those that may have met the session that began with `login`. What nobody knows the end of
/// may meet any later one.
pub(super) fn that_concern<'a>(login: &Operation, orders: &[&'a Operation]) -> Vec<&'a Operation> {
    let may_meet =
        |order: &&&Operation| order.outcome == Outcome::Info || order.done_us >= login.sent_us;
    orders.iter().filter(may_meet).copied().collect()
}
