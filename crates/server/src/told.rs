//! What each node was told of the wish: what is wanted of all nodes, and for the VMs that it has.
//!
//! A node is told when its part changes: by a change of the wish, or because a VM came to it or left it.
//! Until it has reported it is told nothing and goes on with what it was told before.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use accelnet_model::{Name, NodeDesired, VmDesired};
use uuid::Uuid;

use crate::{
    Server,
    state::{Wish, Write},
};

/// What nodes were told.
#[derive(Default)]
pub struct Told(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The newest wish.
    wish: Option<Wish>,
    nodes: BTreeMap<Name, Part>,
}

/// What one node was told last.
#[derive(Default)]
struct Part {
    generation: u64,
    vms: Vec<VmDesired>,
    /// How often it was told something.
    times: u64,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A wish to tell from now on, unless a newer one is known.
    fn begin(&self, wish: &Wish) {
        let mut inner = self.lock();
        let known = inner.wish.as_ref().map_or(0, Wish::generation);
        if known <= wish.generation() {
            inner.wish = Some(wish.clone());
        }
    }

    /// The newest wish, without asking the store; none was told yet if `None`.
    pub fn newest(&self) -> Option<Wish> {
        self.lock().wish.clone()
    }

    /// What a node is to be told, if that is something new; how often it was told is the answer's number.
    fn next(&self, server: &Server, node: &Name) -> Option<(u64, NodeDesired)> {
        let mut inner = self.lock();
        // Looked up under the lock: of two that tell a node something the later knows the newer report.
        let seen = server.seen();
        let status = seen.node(node)?.status.as_deref()?;
        let wish = inner.wish.clone()?;
        let desired = wish.part(node, status);
        let known = inner.nodes.get(node);
        let same = known.is_some_and(|known| {
            known.generation >= wish.changed_for_node(status) && known.vms == desired.vms
        });
        if same {
            return None;
        }
        let part = inner.nodes.entry(node.clone()).or_default();
        part.generation = desired.generation;
        part.vms.clone_from(&desired.vms);
        part.times += 1;
        Some((part.times, desired))
    }

    fn times(&self, node: &Name) -> u64 {
        self.lock().nodes.get(node).map_or(0, |part| part.times)
    }

    /// A node is another machine, or none any more.
    pub fn leave(&self, node: &Name) {
        self.lock().nodes.remove(node);
    }

    /// A node has to be told once more, whatever it knows.
    fn forget(&self, node: &Name) {
        if let Some(part) = self.lock().nodes.get_mut(node) {
            // No wish is that old.
            part.generation = 0;
            part.vms.clear();
        }
    }
}

impl Server {
    /// Tells a node its part, if it does not know it.
    pub(crate) fn tell(&self, node: &Name) {
        let told = &self.shared.told;
        while let Some((number, desired)) = told.next(self, node) {
            self.shared.nodes.set_desired(node, desired);
            if told.times(node) == number {
                return;
            }
            // Somebody else has told it something at the same time, and nobody knows in which order.
            told.forget(node);
        }
    }

    /// Tells all nodes.
    pub(crate) fn hand_out(&self, wish: &Wish) {
        self.shared.told.begin(wish);
        for node in self.shared.nodes.names().iter() {
            self.tell(node);
        }
        self.changed();
    }

    /// Tells the nodes that what was written concerns.
    pub(crate) fn hand_out_writes<'a>(&self, wish: &Wish, writes: impl Iterator<Item = &'a Write>) {
        let of_nodes = writes.filter(|write| !write.is_of_people());
        let vms: Option<Vec<Uuid>> = of_nodes.map(Write::vm).collect();
        let Some(vms) = vms else {
            return self.hand_out(wish);
        };
        self.shared.told.begin(wish);
        let seen = self.seen();
        for node in vms.into_iter().flat_map(|vm| seen.places_of(vm)) {
            self.tell(&node.name);
        }
        self.changed();
    }
}
