//! What sorts of supply nodes have at all, whatever of it is given out.

use super::{
    LEVELS, PerLevel,
    levels::LevelCosts,
    node::NodeState,
    supply::{Supply, View},
};

/// The sorts of supply of a node or of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Makeup {
    /// There are adapters of which VFs and queue pairs can both run out, which may be taken as either.
    pub(super) both: bool,
    /// There are pools of which only queue pairs can run out.
    pub(super) pools: bool,
    /// Levels of which there are slots.
    pub(super) slots: PerLevel<bool>,
}

impl Makeup {
    pub(super) fn of(node: &NodeState, costs: LevelCosts) -> Self {
        let rests = || node.adapters.iter().map(|state| state.whole(costs));
        let supply = Supply::of(rests(), View::ALL[0], costs);
        Self {
            both: rests().any(|rest| rest.is_both(costs)),
            pools: supply.pool_places != [0; LEVELS],
            slots: supply.slots.map(|count| count > 0),
        }
    }

    /// The ways in which supply has to be taken.
    pub(super) fn views(self) -> &'static [View] {
        match self.both {
            true => &View::ALL[..],
            false => &View::ALL[..1],
        }
    }
}

/// How many nodes have each sort, so that it is known what the cluster has.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    both: u32,
    pools: u32,
    slots: PerLevel<u32>,
}

impl Census {
    pub(super) fn add(&mut self, node: Makeup) {
        self.both += u32::from(node.both);
        self.pools += u32::from(node.pools);
        self.slots = std::array::from_fn(|level| self.slots[level] + u32::from(node.slots[level]));
    }

    pub(super) fn remove(&mut self, node: Makeup) {
        self.both -= u32::from(node.both);
        self.pools -= u32::from(node.pools);
        self.slots = std::array::from_fn(|level| self.slots[level] - u32::from(node.slots[level]));
    }

    /// The cluster's.
    pub(super) fn all(&self) -> Makeup {
        Makeup {
            both: self.both > 0,
            pools: self.pools > 0,
            slots: self.slots.map(|count| count > 0),
        }
    }
}
