//! The one node of a standalone host, as the server sees it: the agent in the same process.

use std::sync::Arc;

use accelnet_agent::Agent;
use accelnet_model::{Name, NicCounted, NodeDesired, NodeStatus, Problem};
use accelnet_server::{Nodes, Pending};
use tokio::sync::watch;
use uuid::Uuid;

use crate::own_agent;

/// The node.
pub struct LocalNode {
    /// Its name alone.
    pub names: Arc<[Name]>,
    /// Its agent.
    pub agent: Arc<Agent>,
    /// What it reported last.
    pub last: watch::Receiver<Option<NodeStatus>>,
}

impl Nodes for LocalNode {
    fn names(&self) -> Arc<[Name]> {
        Arc::clone(&self.names)
    }

    fn refresh<'a>(&'a self, _node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        Box::pin(own_agent::refresh(Arc::clone(&self.agent)))
    }

    fn traffic<'a>(
        &'a self,
        _node: &'a Name,
        vm: Uuid,
    ) -> Pending<'a, Result<Vec<NicCounted>, Problem>> {
        let last = self.last.borrow().clone();
        Box::pin(own_agent::traffic(Arc::clone(&self.agent), last, vm))
    }

    fn set_desired(&self, _node: &Name, desired: NodeDesired) {
        self.agent.set_desired(desired);
    }
}
