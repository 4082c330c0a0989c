//! The one node of a standalone host, as the server sees it: the agent in the same process.

use std::{sync::Arc, time::Duration};

use accelnet_agent::Agent;
use accelnet_model::{Code, Name, NodeDesired, NodeStatus, Problem};
use accelnet_server::{Nodes, Pending};

/// A look at the whole machine took 1 s in the lab's software emulation; switch-overs do not hold it
/// up.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// The node.
pub struct LocalNode {
    /// Its name alone.
    pub names: Arc<[Name]>,
    /// Its agent.
    pub agent: Arc<Agent>,
}

impl Nodes for LocalNode {
    fn names(&self) -> Arc<[Name]> {
        Arc::clone(&self.names)
    }

    fn refresh<'a>(&'a self, _node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        let agent = Arc::clone(&self.agent);
        Box::pin(async move {
            let looked = tokio::task::spawn_blocking(move || agent.refresh(LOOK_LIMIT)).await;
            looked.unwrap_or_else(|error| {
                Err(Problem::new(
                    Code::AgentUnreachable,
                    format!("The look at the node failed: {error}."),
                ))
            })
        })
    }

    fn set_desired(&self, _node: &Name, desired: NodeDesired) {
        self.agent.set_desired(desired);
    }
}
