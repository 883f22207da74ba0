//! The operator's orders for the nodes of a listener. They are kept by the node's name: an order outlives a look-up
//! that misses the node.

use tracing::info;

use crate::{
    admin_state::{AdminState, Order},
    group::Group,
    node::Node,
};

/// Orders for more nodes than this are not remembered beyond the nodes' lives.
const MAX_ORDERS: usize = 1024;

impl Group {
    /// The operator's order for a node, in force at once. False when there is no such node.
    pub(crate) fn order(&self, name: &str, order: Order) -> bool {
        // Held until the node knows, so that a node that is just being made cannot miss the order.
        let mut orders = self.orders();
        let nodes = self.nodes.load();
        let Some(node) = nodes.iter().find(|node| node.name == name) else {
            return false;
        };
        if orders.len() >= MAX_ORDERS {
            orders.retain(|name, _| nodes.iter().any(|node| node.name == *name));
        }
        if order == Order::READY {
            orders.remove(name);
        } else {
            orders.insert(name.to_owned(), order);
        }
        let before = node.order.replace(order).state();
        self.admin_state_changed(node, before, order.state());
        true
    }

    /// Files a change of a node's administrative state, whether it was ordered or a drain ended.
    pub(crate) fn admin_state_changed(&self, node: &Node, before: AdminState, after: AdminState) {
        if before == after {
            return;
        }
        node.stats.changed(after.into());
        info!(
            listener = self.strategy,
            node = node.name,
            before = before.word(),
            "node is in state {}",
            after.word()
        );
        if before == AdminState::Maint {
            // It was not checked meanwhile, so nobody knows how it is.
            node.unprove();
            node.check_soon();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        group::tests::group,
        node::{
            State,
            tests::{SECOND, address, up},
        },
    };

    #[test]
    fn an_order_outlives_the_node() {
        let group = group();
        let found = address("a", 1);
        group.nodes.store(vec![Arc::new(group.node(&found))]);
        assert!(group.order("a", Order::MAINT));
        assert!(!group.order("b", Order::MAINT), "there is no such node");

        group.nodes.store(Vec::new());
        let again = Arc::new(group.node(&found));
        assert_eq!(again.order.get(), Order::MAINT);
        group.nodes.store(vec![Arc::clone(&again)]);
        group.order("a", Order::READY);
        assert_eq!(group.node(&found).order.get(), Order::READY);
    }

    #[test]
    fn after_maintenance_a_node_has_to_prove_itself() {
        let group = group();
        let node = up("a");
        group.nodes.store(vec![Arc::clone(&node)]);
        group.order("a", Order::drain(SECOND * 60));
        group.order("a", Order::READY);
        assert!(node.takes_new(), "a drain changes nothing about its health");
        group.order("a", Order::MAINT);
        group.order("a", Order::READY);
        assert_eq!(node.state(), State::Unproven);
    }
}
