//! A part of the cluster, or the link between two: what a fault hits. Histories and results name it with a word, `node-2`,
//! or a link, `node-2->store`.

/// Stands for the load balancer where a process is named.
pub const LOAD_BALANCER: &str = "load-balancer";
/// Stands for the store where a process is named.
pub const STORE: &str = "store";

/// All nodes, one after the other or by number.
pub const NODES: &str = "nodes";

/// A part of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
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

impl<'a> Part<'a> {
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
        assert_eq!(Part::of("node-2"), Part::Node("node-2"));
        assert_eq!(Part::of("store"), Part::Store);
        assert_eq!(Part::of("load-balancer"), Part::LoadBalancer);
        assert_eq!(
            Part::of("load-balancer->node-2"),
            Part::Link {
                from: "load-balancer",
                to: "node-2"
            }
        );
        assert_eq!(
            Part::of("node-2->store"),
            Part::Link {
                from: "node-2",
                to: "store"
            }
        );
        assert!(Part::of("nodes").hits("node-1"));
        assert!(Part::of("load-balancer->node-1").hits("node-1"));
        assert!(!Part::of("node-2").hits("node-1"));
        assert!(!Part::of("store").hits("node-1"));
    }
}
