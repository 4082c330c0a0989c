//! What the nodes said last.
//!
//! A report stays when its node falls silent, and is shown as what it is: not of now. It is kept in
//! the store too, when it changes, so that a server that was just started knows where VMs were.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use accelnet_model::{Code, Name, NodeStatus, Problem};
use accelnet_rules::Observed;

use crate::state::NodeReport;

/// One node as the server knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub name: Name,
    /// Its last report.
    pub status: Option<Arc<NodeStatus>>,
    /// Why the report is not of now, if it is not.
    pub silent: Option<Problem>,
}

impl Known {
    /// The report, if it is of now.
    pub fn current(&self) -> Option<&NodeStatus> {
        self.silent.is_none().then_some(self.status.as_deref())?
    }

    /// Why nobody can say which VMs the node has now.
    pub fn blind(&self) -> Option<Problem> {
        if self.silent.is_some() {
            return self.silent.clone();
        }
        let status = self.status.as_deref()?;
        let unanswered = status.node.libvirt.is_none();
        let told = status
            .problems
            .iter()
            .find(|problem| problem.code == Code::HypervisorUnavailable);
        unanswered.then(|| {
            told.cloned()
                .unwrap_or_else(|| Problem::new(Code::HypervisorUnavailable, "It gave no reason."))
                .about("node", &self.name)
        })
    }
}

/// Nodes with reports of now, as the rules take them.
pub fn observed(nodes: &[Known]) -> Vec<(Name, Observed)> {
    nodes
        .iter()
        .filter_map(|node| Some((node.name.clone(), Observed::from_status(node.current()?))))
        .collect()
}

#[derive(Debug)]
struct Last {
    status: Arc<NodeStatus>,
    silent: Option<Problem>,
}

/// All nodes' last reports.
#[derive(Debug, Default)]
pub struct Reports(RwLock<BTreeMap<Name, Last>>);

impl Reports {
    /// Takes in what was kept from before the server's start.
    pub fn remember(&self, kept: Vec<NodeReport>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for NodeReport { name, status } in kept {
            let silent = Some(no_report(&name));
            let status = Arc::new(status);
            all.entry(name).or_insert(Last { status, silent });
        }
    }

    /// Takes in a report.
    pub fn put(&self, node: Name, status: NodeStatus) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (status, silent) = (Arc::new(status), None);
        all.insert(node, Last { status, silent });
    }

    /// Takes in the answer to a question, unless the node has said something newer meanwhile.
    pub fn put_answer(&self, node: Name, status: NodeStatus) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let newer = all
            .get(&node)
            .is_some_and(|last| last.silent.is_none() && last.status.sequence > status.sequence);
        if !newer {
            let (status, silent) = (Arc::new(status), None);
            all.insert(node, Last { status, silent });
        }
    }

    /// A node gave no answer; what it said before stays as that.
    pub fn silence(&self, node: &Name, problem: Problem) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.get_mut(node) {
            last.silent = Some(problem);
        }
    }

    /// These nodes as they are known.
    pub fn of(&self, names: Vec<Name>) -> Vec<Known> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = |name: Name| {
            let last = all.get(&name);
            Known {
                status: last.map(|last| Arc::clone(&last.status)),
                silent: match last {
                    Some(last) => last.silent.clone(),
                    None => Some(no_report(&name)),
                },
                name,
            }
        };
        names.into_iter().map(known).collect()
    }
}

fn no_report(name: &Name) -> Problem {
    let text = format!("Node '{name}' has not reported since the server started.");
    Problem::new(Code::AgentUnreachable, text).about("node", name)
}

/// A report without what changes by itself (counters, steps, free memory), so that it is written
/// only when something happened.
pub fn worth_keeping(status: &NodeStatus) -> NodeStatus {
    let mut kept = status.clone();
    kept.sequence = 0;
    kept.node.memory_available_mib = 0;
    let ports = kept.bridges.iter_mut().flat_map(|bridge| &mut bridge.ports);
    for port in ports {
        port.rx_packets = 0;
        // Learned entries come and go with traffic.
        port.fdb.retain(|entry| entry.fixed || entry.local);
    }
    for vm in &mut kept.vms {
        vm.progress = None;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        "node1".parse().unwrap()
    }

    fn numbered(sequence: u64) -> NodeStatus {
        NodeStatus {
            sequence,
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_late_answer_does_not_replace_a_newer_report() {
        let reports = Reports::default();
        let sequence = || {
            reports.of(vec![name()])[0]
                .status
                .as_ref()
                .unwrap()
                .sequence
        };
        reports.put(name(), numbered(7));
        reports.put_answer(name(), numbered(6));
        assert_eq!(sequence(), 7);
        reports.put_answer(name(), numbered(8));
        assert_eq!(sequence(), 8);
        // An agent that was started again counts from the beginning.
        reports.silence(&name(), no_report(&name()));
        reports.put_answer(name(), numbered(1));
        assert_eq!(sequence(), 1);
    }

    #[test]
    fn a_silent_node_is_not_taken_for_current() {
        let reports = Reports::default();
        assert!(reports.of(vec![name()])[0].current().is_none());
        reports.put(name(), numbered(1));
        assert!(reports.of(vec![name()])[0].current().is_some());
        reports.silence(&name(), no_report(&name()));
        let known = reports.of(vec![name()]).remove(0);
        assert!(known.current().is_none() && known.status.is_some());
    }
}
