//! A node as it is kept: its adapters, and what VMs there need of them.

use std::sync::Arc;

use accelnet_model::Performance;

use super::{
    LEVELS, PerLevel,
    budget::Budget,
    criteria::Counts,
    levels::LevelCosts,
    model::{Adapter, Node, Queues},
    place::{self, Asked},
    position,
    supply::Rest,
};

/// An adapter and what is given out of it to VMs that are known to be on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdapterState {
    pub(super) vfs: u32,
    pub(super) queues: Queues,
    pub(super) used_vfs: u64,
    pub(super) used_queues: u64,
}

impl AdapterState {
    pub(super) fn new(adapter: &Adapter) -> Self {
        Self {
            vfs: adapter.vfs,
            queues: adapter.queues,
            used_vfs: 0,
            used_queues: 0,
        }
    }

    pub(super) fn rest(&self, costs: LevelCosts) -> Rest {
        Rest::of(
            self.vfs,
            self.queues,
            (self.used_vfs, self.used_queues),
            costs,
        )
    }

    /// The adapter's rest if nothing were given out.
    pub(super) fn whole(&self, costs: LevelCosts) -> Rest {
        Rest::of(self.vfs, self.queues, (0, 0), costs)
    }

    /// More is given out than there is.
    fn is_overdrawn(&self) -> bool {
        let pool = match self.queues {
            Queues::Pool { total, .. } => u64::from(total),
            Queues::PerVf { .. } => u64::MAX,
        };
        self.used_vfs > u64::from(self.vfs) || self.used_queues > pool
    }

    /// Queue pairs that a NIC of the level takes out of the pool.
    pub(super) fn drawn(&self, level: usize, costs: LevelCosts) -> u64 {
        match self.queues {
            Queues::Pool { .. } => costs.at(level),
            Queues::PerVf { .. } => 0,
        }
    }
}

/// A node, its adapters and what runs on it.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) name: Arc<str>,
    pub(super) down: bool,
    pub(super) adapter_names: Arc<[String]>,
    pub(super) adapters: Vec<AdapterState>,
    /// VMs that run here.
    pub(super) counts: Counts,
    /// NICs of those of which the adapters are not known.
    pub(super) unpinned: PerLevel<u64>,
}

/// A VM's share of a node or of a cluster: level and number of NICs.
pub(super) type Kind = (Performance, u32);

/// What is left of a node's adapters beside all VMs. Where adapters are not known some are assumed.
#[derive(Debug)]
pub(super) struct Assumed {
    pub(super) rests: Vec<Rest>,
    /// Level and adapter of each NIC for which one is assumed.
    pub(super) chosen: Vec<(usize, usize)>,
    /// Whether all have room, if that is known.
    pub(super) fits: Option<bool>,
}

impl NodeState {
    /// A node without VMs.
    pub(super) fn new(node: Node) -> Self {
        let mut state = Self {
            name: node.name.into(),
            down: node.down,
            adapter_names: Arc::new([]),
            adapters: Vec::new(),
            counts: Counts::new(),
            unpinned: [0; LEVELS],
        };
        state.set_adapters(node.adapters);
        state
    }

    /// Other adapters, for a node without VMs.
    pub(super) fn set_adapters(&mut self, adapters: Vec<Adapter>) {
        self.adapters = adapters.iter().map(AdapterState::new).collect();
        self.adapter_names = adapters.into_iter().map(|adapter| adapter.name).collect();
    }

    /// Whether these are its adapters.
    pub(super) fn has(&self, adapters: &[Adapter]) -> bool {
        let known = self.adapters.iter().zip(self.adapter_names.iter());
        let known = known.map(|(state, name)| (name, state.vfs, state.queues));
        known.eq(adapters.iter().map(|one| (&one.name, one.vfs, one.queues)))
    }

    /// Names of adapters by their positions.
    pub(super) fn names_of(&self, adapters: &[u32]) -> Vec<String> {
        let adapters = adapters.iter();
        adapters
            .map(|adapter| self.adapter_names[*adapter as usize].clone())
            .collect()
    }

    /// A VM runs here now, on these adapters if they are known.
    pub(super) fn add(&mut self, kind: Kind, adapters: Option<&[u32]>, costs: LevelCosts) {
        let level = position(kind.0);
        increase(&mut self.counts, kind, 1);
        match adapters {
            None => self.unpinned[level] += u64::from(kind.1),
            Some(adapters) => {
                for adapter in adapters {
                    let state = &mut self.adapters[*adapter as usize];
                    state.used_vfs += 1;
                    state.used_queues += state.drawn(level, costs);
                }
            }
        }
    }

    /// It does not any more.
    pub(super) fn take_out(&mut self, kind: Kind, adapters: Option<&[u32]>, costs: LevelCosts) {
        let level = position(kind.0);
        decrease(&mut self.counts, kind, 1);
        match adapters {
            None => self.unpinned[level] -= u64::from(kind.1),
            Some(adapters) => {
                for adapter in adapters {
                    let state = &mut self.adapters[*adapter as usize];
                    state.used_vfs -= 1;
                    state.used_queues -= state.drawn(level, costs);
                }
            }
        }
    }

    pub(super) fn has_unpinned(&self) -> bool {
        self.unpinned != [0; LEVELS]
    }

    /// What is left beside VMs of which the adapters are known.
    pub(super) fn rests_of_known(&self, costs: LevelCosts) -> impl Iterator<Item = Rest> {
        self.adapters.iter().map(move |state| state.rest(costs))
    }

    /// What is left beside all VMs. Those of high levels, which fit in fewer places, are put first.
    pub(super) fn assumed(&self, costs: LevelCosts) -> Assumed {
        let mut assumed = Assumed {
            rests: self.rests_of_known(costs).collect(),
            chosen: Vec::new(),
            fits: Some(!self.adapters.iter().any(AdapterState::is_overdrawn)),
        };
        let nics = (0..LEVELS).rev().map(|level| (level, self.unpinned[level]));
        let nics = nics.flat_map(|(level, nics)| (0..nics).map(move |_| Asked { level, nics: 1 }));
        let nics: Vec<Asked> = nics.collect();
        let nodes = vec![assumed.rests.clone()];
        match place::place(nodes, &nics, costs, &mut Budget::of_a_node()) {
            Some(Some(spots)) => {
                for (Asked { level, .. }, spot) in nics.into_iter().zip(spots) {
                    let at = spot.adapters[0];
                    assumed.rests[at] = assumed.rests[at].without(level, costs);
                    assumed.chosen.push((level, at));
                }
            }
            found => {
                // Nothing is free where there is too little.
                assumed.rests.fill(Rest::Nothing);
                assumed.fits = match found {
                    Some(_) => Some(false),
                    None => assumed.fits.filter(|fits| !fits),
                };
            }
        }
        assumed
    }

    /// The same rests, where nobody asks what is assumed.
    pub(super) fn rests(&self, costs: LevelCosts) -> Vec<Rest> {
        match self.has_unpinned() {
            true => self.assumed(costs).rests,
            false => self.rests_of_known(costs).collect(),
        }
    }
}

/// So many VMs more.
pub(super) fn increase(counts: &mut Counts, kind: Kind, by: u64) {
    if by > 0 {
        *counts.entry(kind).or_default() += by;
    }
}

/// So many VMs less.
pub(super) fn decrease(counts: &mut Counts, kind: Kind, by: u64) {
    if let Some(count) = counts.get_mut(&kind) {
        *count -= by;
        if *count == 0 {
            counts.remove(&kind);
        }
    }
}

/// NICs of each level of these VMs.
pub(super) fn nics_of(counts: &Counts) -> PerLevel<u64> {
    let mut nics = [0; LEVELS];
    for ((level, each), count) in counts {
        nics[position(*level)] += u64::from(*each) * count;
    }
    nics
}
