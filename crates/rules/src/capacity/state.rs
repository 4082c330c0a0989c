//! Nodes and VMs as they are kept.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    LEVELS, PerLevel,
    criteria::Counts,
    levels::LevelCosts,
    model::{Adapter, Node, Queues, Vm},
    position,
    supply::Rest,
};

/// An adapter and what is given out of it.
#[derive(Debug, Clone)]
pub(super) struct AdapterState {
    pub(super) adapter: Adapter,
    pub(super) used_vfs: u64,
    pub(super) used_queues: u64,
    costs: LevelCosts,
}

impl AdapterState {
    pub(super) fn new(adapter: Adapter, costs: LevelCosts) -> Self {
        Self {
            adapter,
            used_vfs: 0,
            used_queues: 0,
            costs,
        }
    }

    /// The same adapter with nothing given out.
    pub(super) fn unused(&self) -> Self {
        Self::new(self.adapter.clone(), self.costs)
    }

    pub(super) fn rest(&self) -> Rest {
        let Adapter { vfs, queues, .. } = self.adapter;
        Rest::of(vfs, queues, (self.used_vfs, self.used_queues), self.costs)
    }

    /// The adapter's rest if nothing were given out.
    pub(super) fn whole(&self) -> Rest {
        let Adapter { vfs, queues, .. } = self.adapter;
        Rest::of(vfs, queues, (0, 0), self.costs)
    }

    /// How many NICs of the level fit beside what is given out.
    pub(super) fn places(&self, level: usize) -> u64 {
        self.rest().places(level, self.costs)
    }

    /// More is given out than there is.
    pub(super) fn is_overdrawn(&self) -> bool {
        let pool = match self.adapter.queues {
            Queues::Pool { total, .. } => u64::from(total),
            Queues::PerVf { .. } => u64::MAX,
        };
        self.used_vfs > u64::from(self.adapter.vfs) || self.used_queues > pool
    }

    /// Gives out a VF (or takes it back) for a NIC of the level.
    pub(super) fn give(&mut self, level: usize) {
        self.used_vfs += 1;
        self.used_queues += self.queues_of(level);
    }

    pub(super) fn take_back(&mut self, level: usize) {
        self.used_vfs -= 1;
        self.used_queues -= self.queues_of(level);
    }

    fn queues_of(&self, level: usize) -> u64 {
        match self.adapter.queues {
            Queues::Pool { .. } => self.costs.at(level),
            Queues::PerVf { .. } => 0,
        }
    }
}

/// A node, its adapters and the VMs that run on it.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) name: String,
    pub(super) down: bool,
    pub(super) adapters: Vec<AdapterState>,
    pub(super) vms: BTreeSet<String>,
    pub(super) counts: Counts,
    /// NICs of each level of those VMs.
    pub(super) demand: PerLevel<u64>,
    /// VMs that run here of which the adapters are not known.
    pub(super) unpinned: u32,
    /// NICs of those for which no adapter was found.
    pub(super) unplaced: u64,
    /// How many NICs of each level fit beside all that, each level alone.
    pub(super) places: PerLevel<u64>,
}

/// A VM as it is kept.
#[derive(Debug, Clone)]
pub(super) struct VmState {
    pub(super) vm: Vm,
    /// Node and adapter of each NIC, if it runs. Where adapters were not given they are chosen here.
    pub(super) place: Option<(u32, Vec<u32>)>,
}

impl NodeState {
    /// A node without VMs.
    pub(super) fn new(node: Node, costs: LevelCosts) -> Self {
        let adapters = node.adapters.into_iter();
        Self {
            name: node.name,
            down: node.down,
            adapters: adapters
                .map(|adapter| AdapterState::new(adapter, costs))
                .collect(),
            vms: BTreeSet::new(),
            counts: Counts::new(),
            demand: [0; LEVELS],
            unpinned: 0,
            unplaced: 0,
            places: [0; LEVELS],
        }
    }

    /// More is given out than there is, or seems to be.
    pub(super) fn seems_overdrawn(&self) -> bool {
        self.unplaced > 0 || self.adapters.iter().any(AdapterState::is_overdrawn)
    }

    /// Chooses adapters for the VMs of a node of which they are not known, beside the others: those of
    /// high levels first, which fit in fewer places.
    pub(super) fn choose_adapters(&mut self, vms: &mut BTreeMap<String, VmState>) {
        let node = self;
        if node.unpinned == 0 {
            node.unplaced = 0;
            return;
        }
        let mut free: Vec<(Reverse<usize>, &String)> = Vec::new();
        for name in &node.vms {
            if let Some(VmState {
                vm,
                place: Some((_, adapters)),
            }) = vms.get_mut(name)
                && vm.adapters.is_none()
            {
                let level = position(vm.level);
                for adapter in adapters.drain(..) {
                    node.adapters[adapter as usize].take_back(level);
                }
                free.push((Reverse(level), name));
            }
        }
        free.sort_unstable();
        node.unplaced = 0;
        for (Reverse(level), name) in free {
            if let Some(VmState {
                vm,
                place: Some((_, adapters)),
            }) = vms.get_mut(name)
            {
                *adapters = choose(&mut node.adapters, level, vm.nics);
                node.unplaced += u64::from(vm.nics) - adapters.len() as u64;
            }
        }
    }
}

/// Adapters for the NICs of a VM: fixed VFs of the lowest sufficient kind first, then the pool with the
/// most left. Fewer than it has NICs if not all fit.
fn choose(adapters: &mut [AdapterState], level: usize, nics: u32) -> Vec<u32> {
    let mut chosen = Vec::new();
    let rank = |state: &AdapterState| match state.rest() {
        Rest::Slots { level: most, .. } => (most, 0),
        Rest::Pool { vfs, units, .. } => (LEVELS, u64::MAX - vfs.min(units)),
        Rest::Nothing => (usize::MAX, 0),
    };
    for _ in 0..nics {
        let fitting = (0..adapters.len()).filter(|i| adapters[*i].places(level) > 0);
        let Some(best) = fitting.min_by_key(|i| rank(&adapters[*i])) else {
            break;
        };
        adapters[best].give(level);
        chosen.push(best as u32);
    }
    chosen
}
