//! The wish as it is in memory: all of it, as it was at one generation.
//!
//! Copies cost nothing and a change costs little, however many VMs there are, so that every request
//! has one of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use accelnet_model::{IfName, Intent, Isolated, Name, NodeDesired, NodeStatus, Performance};
use accelnet_store::Revision;
use uuid::Uuid;

use super::{OnIntent, Park, TokenSpec, VmSpec, Write};
use crate::{
    admission::Room,
    audit::Entry,
    sharded::{Index, Sharded},
    whereabouts,
};

/// Everything that is wanted for VMs, also on intents that are not enabled.
#[derive(Debug, Clone, Default)]
pub struct Specs {
    all: Sharded<Uuid, Arc<VmSpec>>,
    by_name: Index<Arc<str>, Uuid>,
    /// Those that are parked.
    parked: Sharded<Uuid, ()>,
    /// Those that have a waiver.
    waiving: Sharded<Uuid, ()>,
}

impl Specs {
    /// What is wanted for a VM.
    pub fn get(&self, uuid: Uuid) -> Option<&VmSpec> {
        self.all.get(&uuid).map(AsRef::as_ref)
    }

    /// For all VMs.
    pub fn iter(&self) -> impl Iterator<Item = &VmSpec> {
        self.all.iter().map(|(_, spec)| spec.as_ref())
    }

    /// VMs that were called so when something was asked for them last.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Uuid> {
        self.by_name.of(name).copied()
    }

    /// VMs that are parked, with how long.
    pub fn parked(&self) -> impl Iterator<Item = (&VmSpec, &Park)> {
        let parked = self.parked.iter();
        parked.filter_map(|(uuid, ())| {
            let spec = self.get(*uuid)?;
            Some((spec, spec.park.as_ref()?))
        })
    }

    /// VMs that have a waiver on some intent.
    pub fn waiving(&self) -> impl Iterator<Item = &VmSpec> {
        self.waiving.iter().filter_map(|(uuid, ())| self.get(*uuid))
    }

    /// VMs for which something else is wanted there.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Uuid> {
        // Equal specs that were read twice are no difference.
        let same = |one: &Arc<VmSpec>, other: &Arc<VmSpec>| one == other;
        self.all.differing(&other.all, same).copied()
    }

    /// Puts what is wanted for a VM.
    pub fn put(&mut self, spec: VmSpec) {
        if self.get(spec.uuid).is_none_or(|old| old.name != spec.name) {
            self.remove(spec.uuid);
            self.by_name.add(spec.name.as_str().into(), spec.uuid);
        }
        match &spec.park {
            Some(_) => self.parked.insert(spec.uuid, ()),
            None => self.parked.remove(&spec.uuid),
        };
        match spec
            .intents
            .values()
            .any(|wanted| !wanted.waivers.is_empty())
        {
            true => self.waiving.insert(spec.uuid, ()),
            false => self.waiving.remove(&spec.uuid),
        };
        self.all.insert(spec.uuid, Arc::new(spec));
    }

    /// Nothing is wanted for a VM any more.
    pub fn remove(&mut self, uuid: Uuid) {
        if let Some(old) = self.all.remove(&uuid) {
            self.by_name.take(old.name.as_str(), &uuid);
            self.parked.remove(&uuid);
            self.waiving.remove(&uuid);
        }
    }
}

/// The wish as it was read or written.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The store's revision of the last change: what it is compared by, and nothing else.
    pub(super) revision: Revision,
    /// Number of the last change.
    pub(super) generation: u64,
    /// What is wanted of all nodes alike, so without VMs; its generation is that of its last change,
    /// as far as that is known.
    pub desired: Arc<NodeDesired>,
    /// What is wanted for VMs.
    pub specs: Specs,
    /// The tokens of people and programs, by name.
    pub tokens: Arc<BTreeMap<Name, TokenSpec>>,
    /// The capacity that follows from it, kept from one decision to the next.
    pub room: Arc<Room>,
}

impl Wish {
    /// Nothing is wanted.
    pub fn nothing() -> Self {
        Self {
            revision: Revision::ABSENT,
            generation: 0,
            desired: Arc::default(),
            specs: Specs::default(),
            tokens: Arc::default(),
            room: Arc::default(),
        }
    }

    /// The store's revision of the last change; [`Revision::ABSENT`] if there was none.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Grows with every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The wish for a VM on the enabled intent.
    pub fn enabled_for(&self, uuid: Uuid) -> Option<&OnIntent> {
        self.on(uuid, &self.desired.enabled.as_ref()?.intent)
    }

    /// The wish for a VM on an intent, enabled or not.
    pub fn on(&self, uuid: Uuid, intent: &Name) -> Option<&OnIntent> {
        self.specs.get(uuid)?.intents.get(intent)
    }

    /// VMs that are wanted accelerated on an intent, with their levels.
    pub fn levels_on(&self, intent: &Name) -> impl Iterator<Item = (Uuid, Performance)> {
        let all = self.specs.iter();
        all.filter_map(move |spec| Some((spec.uuid, spec.intents.get(intent)?.level?)))
    }

    /// A VM's level as it is shown: that on the enabled intent. While none is enabled all are kept
    /// alike; the highest stands for them.
    pub fn level_of(&self, uuid: Uuid) -> Option<Performance> {
        match &self.desired.enabled {
            Some(enabled) => self.on(uuid, &enabled.intent)?.level,
            None => self.specs.get(uuid)?.highest_level(),
        }
    }

    /// How long a VM is parked, if it is.
    pub fn park_of(&self, uuid: Uuid) -> Option<&Park> {
        self.specs.get(uuid)?.park.as_ref()
    }

    /// The VM's name when something was asked for it last.
    pub fn name_of(&self, uuid: Uuid) -> &str {
        self.specs.get(uuid).map_or("", |spec| &spec.name)
    }

    /// The intent with this name.
    pub fn intent(&self, name: &str) -> Option<&Intent> {
        let mut intents = self.desired.intents.iter();
        intents.find(|intent| intent.name.as_str() == name)
    }

    /// A node's part of it: what is wanted of all nodes, and for the VMs that the node has. One that
    /// cannot say which it has now is told of all.
    pub fn part(&self, node: &Name, status: &NodeStatus) -> NodeDesired {
        let enabled = self.desired.enabled.as_ref();
        let wanted = |vm| self.specs.get(vm)?.desired(&enabled?.intent, node);
        let here: BTreeSet<Uuid> = if status.node.libvirt.is_some() {
            whereabouts::there(status).map(|(uuid, _)| uuid).collect()
        } else {
            self.specs.iter().map(|spec| spec.uuid).collect()
        };
        let isolated = self.desired.isolated.iter();
        NodeDesired {
            generation: self.generation(),
            intents: self.desired.intents.clone(),
            enabled: self.desired.enabled.clone(),
            vms: here.into_iter().filter_map(wanted).collect(),
            isolated: isolated.filter(|its| its.node == *node).cloned().collect(),
        }
    }

    /// The generation of the last change that concerns a VM where it is.
    pub fn changed_for(&self, vm: Uuid) -> u64 {
        let spec = self.specs.get(vm).map_or(0, |spec| spec.changed);
        spec.max(self.desired.generation)
    }

    /// The generation of the last change that concerns a node.
    pub fn changed_for_node(&self, status: &NodeStatus) -> u64 {
        let here = whereabouts::there(status).map(|(uuid, _)| self.changed_for(uuid));
        here.fold(self.desired.generation, u64::max)
    }

    /// The wish after changes that were written at a revision as this generation; each with the entry that says
    /// whose it is.
    pub(super) fn after<'a>(
        &self,
        writes: impl Iterator<Item = (&'a Write, &'a Entry)>,
        revision: Revision,
        generation: u64,
    ) -> Self {
        let mut after = self.clone();
        (after.revision, after.generation) = (revision, generation);
        for (write, entry) in writes {
            match write {
                Write::Vm { uuid, wanted } => {
                    let spec = VmSpec::new(*uuid, wanted.clone(), entry, generation);
                    after.specs.put(spec);
                }
                Write::NoVm(uuid) => after.specs.remove(*uuid),
                Write::Token(token) => {
                    let tokens = Arc::make_mut(&mut after.tokens);
                    tokens.insert(token.name.clone(), token.clone());
                }
                Write::NoToken(name) => drop(Arc::make_mut(&mut after.tokens).remove(name)),
                Write::Cluster(_)
                | Write::Intent(_)
                | Write::NoIntent(_)
                | Write::Isolated(_)
                | Write::NotIsolated { .. } => {
                    let desired = Arc::make_mut(&mut after.desired);
                    desired.generation = generation;
                    change_common(desired, write);
                }
            }
        }
        after
    }

    /// The wish as changes would leave it that are not written yet: to decide on, not to show.
    pub fn draft(&self, writes: &[Write], entry: &Entry) -> Self {
        let writes = writes.iter().map(|write| (write, entry));
        self.after(writes, self.revision, self.generation)
    }
}

fn is_of(isolated: &Isolated, node: &Name, adapter: &IfName) -> bool {
    isolated.node == *node && isolated.adapter == *adapter
}

/// Their order in the store, and so everywhere.
pub(super) fn place_of(isolated: &Isolated) -> (&str, &str) {
    (isolated.node.as_str(), isolated.adapter.as_str())
}

fn change_common(desired: &mut NodeDesired, write: &Write) {
    let intents = &mut desired.intents;
    let place = |name: &Name| intents.binary_search_by(|intent| intent.name.cmp(name));
    match write {
        Write::Cluster(enabled) => desired.enabled.clone_from(enabled),
        Write::Intent(intent) => match place(&intent.name) {
            Ok(known) => intents[known] = intent.clone(),
            Err(place) => intents.insert(place, intent.clone()),
        },
        Write::NoIntent(name) => {
            if let Ok(known) = place(name) {
                intents.remove(known);
            }
        }
        Write::Isolated(isolated) => {
            let all = &mut desired.isolated;
            all.retain(|before| !is_of(before, &isolated.node, &isolated.adapter));
            all.push(isolated.clone());
            all.sort_by(|one, other| place_of(one).cmp(&place_of(other)));
        }
        Write::NotIsolated { node, adapter } => {
            desired.isolated.retain(|its| !is_of(its, node, adapter));
        }
        Write::Vm { .. } | Write::NoVm(_) | Write::Token(_) | Write::NoToken(_) => {}
    }
}
