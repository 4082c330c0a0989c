//! The simulated nodes, as the server's port: they report in the same moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use accelnet_model::{Name, NodeDesired, NodeStatus, Problem};
use accelnet_server::{
    Nodes, Pending, Server,
    fake::simulated::{SimulatedNode, Size},
};
use futures::FutureExt;

/// All nodes.
pub struct SimulatedNodes {
    names: Arc<[Name]>,
    nodes: BTreeMap<Name, Mutex<SimulatedNode>>,
    server: Mutex<Option<Server>>,
    /// How often one was asked for a report.
    pub asked: AtomicU64,
}

impl SimulatedNodes {
    /// The nodes of a cluster of this size.
    pub fn new(size: Size) -> Self {
        let nodes = SimulatedNode::all(size);
        let nodes: BTreeMap<_, _> = nodes.map(|(name, node)| (name, Mutex::new(node))).collect();
        Self {
            names: nodes.keys().cloned().collect(),
            nodes,
            server: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// All nodes report, now and whenever they have done something.
    pub fn report_to(&self, server: &Server) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server.clone());
        for name in self.names.iter() {
            self.report(name);
        }
    }

    fn report(&self, name: &Name) {
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let (Some(server), Some(status)) = (server, self.status(name)) {
            server.report(name, status);
        }
    }

    fn status(&self, name: &Name) -> Option<NodeStatus> {
        let node = self.nodes.get(name)?;
        let mut node = node.lock().unwrap_or_else(PoisonError::into_inner);
        Some(node.report())
    }
}

impl Nodes for SimulatedNodes {
    fn names(&self) -> Arc<[Name]> {
        Arc::clone(&self.names)
    }

    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        self.asked.fetch_add(1, Relaxed);
        let status = self.status(node).expect("a node");
        std::future::ready(Ok(status)).boxed()
    }

    fn set_desired(&self, node: &Name, desired: NodeDesired) {
        if let Some(known) = self.nodes.get(node) {
            let mut node = known.lock().unwrap_or_else(PoisonError::into_inner);
            node.follow(&desired);
        }
        self.report(node);
    }
}
