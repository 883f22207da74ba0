//! What a fault's target stands for: histories and results name it with a word, `node-2`, or a link, `node-2->store`.

/// Stands for the load balancer where a process is named.
pub const LOAD_BALANCER: &str = "load-balancer";
/// Stands for the store where a process is named.
pub const STORE: &str = "store";

/// All nodes, one after the other or by number.
pub const NODES: &str = "nodes";

/// Who suffers a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One node.
    Node(&'a str),
    /// All of them, one after the other or by number.
    Nodes,
    /// The server that nodes share.
    Store,
    /// The load balancer.
    LoadBalancer,
    /// What travels between two parts.
    Link {
        /// The one that connects.
        from: &'a str,
        /// The one that it connects to.
        to: &'a str,
    },
}

impl<'a> Target<'a> {
    /// Understands a name. What is no other word is a node's name.
    pub fn of(name: &'a str) -> Self {
        match name {
            STORE => Self::Store,
            LOAD_BALANCER => Self::LoadBalancer,
            NODES => Self::Nodes,
            _ => match name.split_once("->") {
                Some((from, to)) => Self::Link { from, to },
                None => Self::Node(name),
            },
        }
    }

    /// The one node that suffers, itself or its link.
    pub fn node(self) -> Option<&'a str> {
        match self {
            Self::Link {
                from: LOAD_BALANCER,
                to: node,
            }
            | Self::Link { from: node, .. }
            | Self::Node(node) => Some(node),
            Self::Nodes | Self::Store | Self::LoadBalancer => None,
        }
    }

    /// Whether it is what travels between a node and the store.
    pub fn is_link_to_store(self) -> bool {
        matches!(self, Self::Link { to: STORE, .. })
    }

    /// Whether what `node` serves is hit.
    pub fn hits(self, node: &str) -> bool {
        self == Self::Nodes || self.node() == Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_links_are_understood() {
        assert_eq!(Target::of("node-2"), Target::Node("node-2"));
        assert_eq!(Target::of("store"), Target::Store);
        assert_eq!(Target::of("load-balancer"), Target::LoadBalancer);
        assert_eq!(
            Target::of("load-balancer->node-2"),
            Target::Link {
                from: "load-balancer",
                to: "node-2"
            }
        );
        assert_eq!(
            Target::of("node-2->store"),
            Target::Link {
                from: "node-2",
                to: "store"
            }
        );
        assert!(Target::of("nodes").hits("node-1"));
        assert!(Target::of("load-balancer->node-1").hits("node-1"));
        assert!(!Target::of("node-2").hits("node-1"));
        assert!(!Target::of("store").hits("node-1"));
    }
}
