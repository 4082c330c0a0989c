//! What the nodes said last.
//!
//! A report stays when its node falls silent, and is shown as what it is: not of now. It is kept in
//! the store too, when it changes, so that a server that was just started knows where VMs were.
//!
//! A server that was just started has heard nobody yet. For one heartbeat time its nodes are *awaited*: not
//! heard, and not called down either.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use accelnet_model::{Code, Fault, Name, NodeStatus, Problem};
use accelnet_rules::Observed;
use uuid::Uuid;

use crate::{
    sharded::{Index, Sharded},
    state::Remembered,
    whereabouts::{there, with_last_seen},
};

/// One node as the server knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub name: Name,
    /// Its last report; VMs that could not be looked at are in it as they were seen last.
    pub status: Option<Arc<NodeStatus>>,
    /// Why the report is not of now, if it is not.
    pub silent: Option<Problem>,
    /// The server is so young that the node need not have found it yet.
    pub awaited: bool,
}

impl Known {
    /// A node that has not said anything.
    fn unheard(name: &Name, awaited: bool) -> Self {
        Self {
            name: name.clone(),
            status: None,
            silent: Some(no_report(name)),
            awaited,
        }
    }

    /// It counts as down: it is silent, and has had its time to speak.
    pub fn down(&self) -> bool {
        self.silent.is_some() && !self.awaited
    }

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

/// All nodes as they are known at one moment, and where VMs are. Copies cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In their order.
    names: Arc<[Name]>,
    nodes: Sharded<Name, Arc<Known>>,
    /// Nodes that have a VM, or VFs that are given to it.
    places: Index<Uuid, Name>,
    /// VMs by their names, as nodes call them.
    called: Index<Arc<str>, (Uuid, Name)>,
    /// Open faults, the worst first.
    pub faults: Arc<[Fault]>,
}

impl Seen {
    /// The nodes' names.
    pub fn names(&self) -> &Arc<[Name]> {
        &self.names
    }

    /// The nodes, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.names.iter().filter_map(|name| self.node(name))
    }

    /// The same as a list.
    pub fn all(&self) -> Vec<Known> {
        self.iter().cloned().collect()
    }

    /// A node.
    pub fn node<Q: Ord + Hash + ?Sized>(&self, name: &Q) -> Option<&Known>
    where
        Name: Borrow<Q>,
    {
        self.nodes.get(name).map(AsRef::as_ref)
    }

    /// Nodes that have a VM, or VFs that are given to it, in the order of their names.
    pub fn places_of(&self, vm: Uuid) -> impl Iterator<Item = &Known> {
        let places = self.places.get(&vm).into_iter();
        let names = places.flat_map(|names| names.iter());
        names.filter_map(|name| self.node(name))
    }

    /// VMs that several nodes have, or have VFs for.
    pub fn in_several_places(&self) -> impl Iterator<Item = Uuid> {
        let several = self.places.iter().filter(|(_, nodes)| nodes.len() > 1);
        several.map(|(vm, _)| *vm)
    }

    /// VMs that nodes call so.
    pub fn called(&self, name: &str) -> impl Iterator<Item = Uuid> {
        self.called.of(name).map(|(uuid, _)| *uuid)
    }

    /// Nodes of which something else is known there.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        self.nodes.differing(&other.nodes, Arc::ptr_eq)
    }

    fn has(&self, name: &Name) -> bool {
        self.names.binary_search(name).is_ok()
    }

    fn put(&mut self, known: Known) {
        let (name, known) = (known.name.clone(), Arc::new(known));
        let before = self.nodes.insert(name.clone(), Arc::clone(&known));
        let (places, called) = marks(&known);
        let (old_places, old_called) = before.as_deref().map(marks).unwrap_or_default();
        for uuid in old_places.difference(&places) {
            self.places.take(uuid, &name);
        }
        for uuid in places.difference(&old_places) {
            self.places.add(*uuid, name.clone());
        }
        for (word, uuid) in old_called.difference(&called) {
            self.called.take(*word, &(*uuid, name.clone()));
        }
        for (word, uuid) in called.difference(&old_called) {
            self.called.add((*word).into(), (*uuid, name.clone()));
        }
    }

    fn remove(&mut self, name: &Name) -> Option<Known> {
        let known = self.node(name).cloned();
        // Without a report it leaves no marks.
        self.put(Known::unheard(name, false));
        self.nodes.remove(name);
        known
    }
}

/// What leads to a node: VMs that it has or that have VFs of it, and its VMs' names.
fn marks(known: &Known) -> (BTreeSet<Uuid>, BTreeSet<(&str, Uuid)>) {
    let Some(status) = known.status.as_deref() else {
        return Default::default();
    };
    let adapters = status.adapters.iter();
    let given = adapters
        .flat_map(|adapter| &adapter.facts.vfs)
        .filter_map(|vf| vf.vm);
    let places = there(status).map(|(uuid, _)| uuid).chain(given).collect();
    let called = there(status).map(|(uuid, name)| (name, uuid)).collect();
    (places, called)
}

#[derive(Debug, Default)]
struct Inner {
    /// Nodes have had their time to speak since the server started.
    settled: bool,
    seen: Seen,
    /// Nodes that have said something and are none of the cluster's, or not yet.
    others: BTreeMap<Name, Known>,
}

/// All nodes' last reports.
#[derive(Debug, Default)]
pub struct Reports(RwLock<Inner>);

impl Reports {
    /// Takes in what was kept from before the server's start.
    pub fn remember(&self, kept: Vec<Remembered>) {
        let mut inner = self.write();
        for node in kept {
            let (name, status) = (node.name.clone(), node.status());
            if inner.last(&name).is_none_or(|last| last.status.is_none()) {
                let known = Known {
                    status: Some(Arc::new(status)),
                    ..inner.unheard(&name)
                };
                inner.put(known);
            }
        }
    }

    /// Nodes have had their time to speak: from now on those that have not are down.
    pub fn settle(&self) {
        let mut inner = self.write();
        inner.settled = true;
        let awaited = inner.seen.iter().chain(inner.others.values());
        let awaited: Vec<Known> = awaited.filter(|known| known.awaited).cloned().collect();
        for known in awaited {
            inner.put(Known {
                awaited: false,
                ..known
            });
        }
    }

    /// True once [`Self::settle`] was called.
    pub fn settled(&self) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .settled
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a report.
    pub fn put(&self, name: Name, status: NodeStatus) {
        self.write().take_in(name, status);
    }

    /// Takes in the answer to a question, unless the node has said something newer meanwhile.
    pub fn put_answer(&self, name: Name, status: NodeStatus) {
        let mut inner = self.write();
        let last = inner.last(&name).and_then(Known::current);
        if last.is_none_or(|last| last.sequence <= status.sequence) {
            inner.take_in(name, status);
        }
    }

    /// A node gives no answer; what it said before stays as that.
    pub fn silence(&self, node: &Name, problem: Problem) {
        let mut inner = self.write();
        if let Some(last) = inner.last(node).filter(|last| last.status.is_some()) {
            let silent = Some(problem);
            let known = Known {
                silent,
                ..last.clone()
            };
            inner.put(known);
        }
    }

    /// What a node said is nothing that counts any more: it is another, or none.
    pub fn forget(&self, node: &Name) {
        let mut inner = self.write();
        inner.others.remove(node);
        if inner.seen.has(node) {
            let known = inner.unheard(node);
            inner.seen.put(known);
        }
    }

    /// These nodes, and no others, as they are known. Names are in their order.
    pub fn of(&self, names: Arc<[Name]>) -> Seen {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&inner.seen.names, &names) {
            return inner.seen.clone();
        }
        drop(inner);
        let mut inner = self.write();
        inner.become_of(names);
        inner.seen.clone()
    }
}

impl Inner {
    fn unheard(&self, name: &Name) -> Known {
        Known::unheard(name, !self.settled)
    }

    fn last(&self, name: &Name) -> Option<&Known> {
        self.seen.node(name).or_else(|| self.others.get(name))
    }

    fn take_in(&mut self, name: Name, status: NodeStatus) {
        let before = self.last(&name).and_then(|last| last.status.as_deref());
        let status = with_last_seen(status, before);
        self.put(Known {
            name,
            status: Some(Arc::new(status)),
            silent: None,
            awaited: false,
        });
    }

    fn put(&mut self, known: Known) {
        if self.seen.has(&known.name) {
            self.seen.put(known);
        } else {
            self.others.insert(known.name.clone(), known);
        }
    }

    fn become_of(&mut self, names: Arc<[Name]>) {
        let before = std::mem::replace(&mut self.seen.names, names);
        for name in before.iter() {
            if !self.seen.has(name) {
                let known = self.seen.remove(name);
                self.others.extend(known.map(|known| (name.clone(), known)));
            }
        }
        for name in Arc::clone(&self.seen.names).iter() {
            if self.seen.node(name).is_none() {
                let known = self.others.remove(name);
                self.seen.put(known.unwrap_or_else(|| self.unheard(name)));
            }
        }
    }
}

fn no_report(name: &Name) -> Problem {
    let text = format!("Node '{name}' has not reported since the server started.");
    Problem::new(Code::AgentUnreachable, text).about("node", name)
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

    fn known(reports: &Reports) -> Known {
        let seen = reports.of([name()].into());
        seen.node(&name()).unwrap().clone()
    }

    #[test]
    fn a_late_answer_does_not_replace_a_newer_report() {
        let reports = Reports::default();
        let sequence = || known(&reports).status.unwrap().sequence;
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
        assert!(known(&reports).current().is_none());
        reports.put(name(), numbered(1));
        assert!(known(&reports).current().is_some());
        reports.silence(&name(), no_report(&name()));
        let known = known(&reports);
        assert!(known.current().is_none() && known.status.is_some());
    }

    #[test]
    fn a_node_that_was_not_heard_is_down_only_after_it_had_its_time() {
        let reports = Reports::default();
        reports.remember(vec![Remembered::of(name(), &numbered(3))]);
        let young = known(&reports);
        assert!(young.awaited && !young.down() && young.current().is_none());
        // It could not be asked either: it has not dialled yet.
        reports.silence(&name(), no_report(&name()));
        assert!(known(&reports).awaited);
        reports.settle();
        assert!(known(&reports).down() && reports.settled());
        // What comes by later has no time of its own.
        reports.put(name(), numbered(4));
        reports.forget(&name());
        assert!(known(&reports).down());
    }

    #[test]
    fn a_node_that_was_heard_and_fell_silent_is_down_at_once() {
        let reports = Reports::default();
        reports.put(name(), numbered(1));
        assert!(!known(&reports).awaited);
        reports.silence(&name(), no_report(&name()));
        assert!(known(&reports).down());
    }

    fn with_vms(vms: &[(u128, &str)]) -> NodeStatus {
        let vm = |(uuid, name): &(u128, &str)| {
            accelnet_model::VmStatus::of(accelnet_model::VmFacts {
                uuid: Uuid::from_u128(*uuid),
                name: (*name).to_owned(),
                ..accelnet_rules::fixture::vm(1)
            })
        };
        let mut status = NodeStatus {
            vms: vms.iter().map(vm).collect(),
            ..NodeStatus::default()
        };
        status.node.libvirt = Some((11, 0, 0));
        status
    }

    #[test]
    fn vms_are_found_where_they_are_and_by_the_names_that_they_have() {
        let [one, two]: [Name; 2] = ["node1", "node2"].map(|name| name.parse().unwrap());
        let both: Arc<[Name]> = [one.clone(), two.clone()].into();
        let reports = Reports::default();
        let places = |vm| -> Vec<String> {
            let seen = reports.of(Arc::clone(&both));
            let places = seen.places_of(Uuid::from_u128(vm));
            places.map(|node| node.name.to_string()).collect()
        };
        let called = |word: &str| -> Vec<u128> {
            let seen = reports.of(Arc::clone(&both));
            seen.called(word).map(|uuid| uuid.as_u128()).collect()
        };
        reports.put(one.clone(), with_vms(&[(1, "a"), (2, "b")]));
        reports.put(two, with_vms(&[(2, "b"), (3, "a")]));
        assert_eq!(
            (places(2), called("a")),
            (vec!["node1".into(), "node2".into()], vec![1, 3])
        );
        // One moved, one has another name.
        reports.put(one.clone(), with_vms(&[(1, "c")]));
        assert_eq!(
            (places(2), places(1)),
            (vec!["node2".into()], vec!["node1".into()])
        );
        assert_eq!((called("a"), called("c")), (vec![3], vec![1]));
        // A node that is none of the cluster's any more has no VMs; it comes back with them.
        let left: Arc<[Name]> = [one].into();
        assert_eq!(reports.of(left).places_of(Uuid::from_u128(3)).count(), 0);
        assert_eq!((places(3), called("a")), (vec!["node2".into()], vec![3]));
    }
}
