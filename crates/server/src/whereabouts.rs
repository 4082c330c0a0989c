//! Where VMs are, by one rule for all who ask, and what is known of those that a node could not look at.
//!
//! A VM that a node names is there, whether it could be looked at or not; and where libvirt does not
//! answer, VMs are where they were seen last. Nobody takes them for gone.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{NodeStatus, PciAddress, UnseenVm, VfUser, VmJob, VmState, VmStatus};
use uuid::Uuid;

use crate::reports::{Known, Seen};

/// A node's VMs with their names; one that could not be looked at may be named twice.
pub fn there(status: &NodeStatus) -> impl Iterator<Item = (Uuid, &str)> {
    let seen = status.vms.iter().map(|vm| &vm.facts);
    let seen = seen.map(|vm| (vm.uuid, vm.name.as_str()));
    let unseen = status.unseen_vms.iter();
    seen.chain(unseen.map(|vm| (vm.uuid, vm.name.as_str())))
}

/// A VM on a node that has it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The node.
    pub node: &'a Known,
    /// What it said.
    pub status: &'a NodeStatus,
    /// What it could see of the VM.
    pub look: Look<'a>,
}

/// What a node could see of a VM.
#[derive(Debug, Clone, Copy)]
pub enum Look<'a> {
    /// All of it.
    Seen(&'a VmStatus),
    /// That it is there.
    Unseen {
        /// What is known, and why no more.
        vm: &'a UnseenVm,
        /// The VM as it was seen last, if it ever was seen there.
        last: Option<&'a VmStatus>,
    },
}

impl<'a> Place<'a> {
    /// The VM's state, which is known in any case.
    pub fn state(&self) -> VmState {
        match self.look {
            Look::Seen(vm) => vm.facts.state,
            Look::Unseen { vm, .. } => vm.state,
        }
    }

    /// What the node calls the VM.
    pub fn name(&self) -> &'a str {
        match self.look {
            Look::Seen(vm) => &vm.facts.name,
            Look::Unseen { vm, .. } => &vm.name,
        }
    }

    /// The VM as it was seen last there.
    pub fn last(&self) -> Option<&'a VmStatus> {
        match self.look {
            Look::Seen(vm) => Some(vm),
            Look::Unseen { last, .. } => last,
        }
    }

    /// It runs there rather than is paused, is paused rather than only defined (after a migration the
    /// definition may stay behind). Where it was running once it is until it is seen to be somewhere: a VM
    /// that stands still where it has been looked at is there, one that comes in may never run there, and that it
    /// is off elsewhere says nothing. What is told now counts more than what was told once.
    fn rank(&self) -> (u8, bool, bool) {
        let current = self.node.blind().is_none();
        let (seen, comes) = match self.look {
            Look::Seen(vm) => (true, vm.facts.job == Some(VmJob::Incoming)),
            // What comes in cannot be looked at.
            Look::Unseen { .. } => (false, true),
        };
        let state = match (self.state(), current) {
            (VmState::Running, true) => 4,
            (VmState::Paused, true) if !comes => 3,
            (VmState::Running, false) => 2,
            (VmState::Paused, _) => 1,
            (VmState::Off, _) => 0,
        };
        (state, current, seen)
    }

    /// The better of two; the first of equals.
    fn or_better(self, other: Self) -> Self {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }
}

/// All places of VMs on a node.
fn on_node(node: &Known) -> impl Iterator<Item = (Uuid, Place<'_>)> {
    let status = node.status.as_deref();
    status.into_iter().flat_map(move |status| {
        let place = move |look| Place { node, status, look };
        let is_unseen = |uuid: Uuid| status.unseen_vms.iter().any(|vm| vm.uuid == uuid);
        let seen = status.vms.iter().map(|vm| (vm.facts.uuid, vm));
        let seen = seen.filter(move |(uuid, _)| !is_unseen(*uuid));
        let seen = seen.map(move |(uuid, vm)| (uuid, place(Look::Seen(vm))));
        let unseen = status.unseen_vms.iter().map(move |vm| {
            let last = last(status, vm.uuid);
            (vm.uuid, place(Look::Unseen { vm, last }))
        });
        seen.chain(unseen)
    })
}

fn last(status: &NodeStatus, uuid: Uuid) -> Option<&VmStatus> {
    status.vms.iter().find(|vm| vm.facts.uuid == uuid)
}

/// Where each VM is.
pub fn of_all(seen: &Seen) -> BTreeMap<Uuid, Place<'_>> {
    let mut places: BTreeMap<Uuid, Place<'_>> = BTreeMap::new();
    for (uuid, place) in seen.iter().flat_map(on_node) {
        let best = places.get(&uuid).map(|known| known.or_better(place));
        places.insert(uuid, best.unwrap_or(place));
    }
    places
}

/// All places of a VM.
pub fn all_of(seen: &Seen, vm: Uuid) -> impl Iterator<Item = Place<'_>> {
    let nodes = seen.places_of(vm);
    nodes.filter_map(move |node| {
        let status = node.status.as_deref()?;
        let last = last(status, vm);
        let unseen = status.unseen_vms.iter().find(|unseen| unseen.uuid == vm);
        let look = match unseen {
            Some(vm) => Look::Unseen { vm, last },
            None => Look::Seen(last?),
        };
        Some(Place { node, status, look })
    })
}

/// Where a VM is.
pub fn of(seen: &Seen, vm: Uuid) -> Option<Place<'_>> {
    all_of(seen, vm).reduce(Place::or_better)
}

/// A report with the VMs that could not be looked at as they were in the one before: they hold what they
/// held, and their VFs are theirs.
pub fn with_last_seen(mut status: NodeStatus, before: Option<&NodeStatus>) -> NodeStatus {
    let blind = status.node.libvirt.is_none();
    let Some(before) = before.filter(|_| blind || !status.unseen_vms.is_empty()) else {
        return status;
    };
    let named: BTreeSet<Uuid> = there(&status).map(|(uuid, _)| uuid).collect();
    let seen: BTreeSet<Uuid> = status.vms.iter().map(|vm| vm.facts.uuid).collect();
    let kept = before.vms.iter().filter(|vm| {
        let uuid = vm.facts.uuid;
        !seen.contains(&uuid) && (blind || named.contains(&uuid))
    });
    let kept: Vec<VmStatus> = kept.cloned().collect();
    if blind {
        let still = before.unseen_vms.iter();
        let still = still.filter(|vm| !named.contains(&vm.uuid));
        status.unseen_vms.extend(still.cloned());
    }
    let uuids: BTreeSet<Uuid> = kept.iter().map(|vm| vm.facts.uuid).collect();
    keep_vfs(&mut status, before, &uuids);
    status.vms.extend(kept.into_iter().map(|vm| VmStatus {
        progress: None,
        ..vm
    }));
    status
}

/// Only libvirt tells whose a VF is; the process that uses it is known all the same.
fn keep_vfs(status: &mut NodeStatus, before: &NodeStatus, vms: &BTreeSet<Uuid>) {
    let known = before
        .adapters
        .iter()
        .flat_map(|adapter| &adapter.facts.vfs);
    let known: BTreeMap<PciAddress, (Uuid, &VfUser)> = known
        .filter_map(|vf| Some((vf.pci, (vf.vm?, &vf.user))))
        .collect();
    let adapters = status.adapters.iter_mut();
    for vf in adapters.flat_map(|adapter| &mut adapter.facts.vfs) {
        let was = known.get(&vf.pci);
        let was = was.filter(|(vm, user)| vms.contains(vm) && **user == vf.user);
        if vf.user != VfUser::Nobody {
            vf.vm = vf.vm.or(was.map(|(vm, _)| *vm));
        }
    }
}
