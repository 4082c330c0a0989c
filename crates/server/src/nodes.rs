//! The port to the agents.

use accelnet_model::{Name, NodeDesired, NodeStatus, Problem};

use crate::Pending;

/// How the server reaches its nodes.
pub trait Nodes: Send + Sync + 'static {
    /// All nodes of the cluster.
    fn names(&self) -> Vec<Name>;

    /// A fresh observation of a node.
    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>>;

    /// What the node shall be. Returns at once; the agent's report says when it has taken it up.
    fn set_desired(&self, node: &Name, desired: NodeDesired);
}
