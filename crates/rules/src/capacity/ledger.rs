//! Sums over all nodes, kept up to date: one inequality, or one bound.

use super::{
    criteria::{Counts, Criterion},
    top::TopSum,
};

/// Supply and load of all nodes by one measure, and what remains if the worst of them go down.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    /// Supply of all nodes.
    supply: u64,
    /// Supply plus load of nodes that are down: none of it counts.
    down: u64,
    /// Supply plus load of the others.
    pub(super) top: TopSum,
    /// Supply and load of each node as they stand in the sums.
    nodes: Vec<(u64, u64)>,
}

impl Balance {
    pub(super) fn new(nodes: usize, k: usize) -> Self {
        let mut top = TopSum::new(k);
        for number in 0..nodes as u32 {
            top.insert(0, number);
        }
        Self {
            supply: 0,
            down: 0,
            top,
            nodes: vec![(0, 0); nodes],
        }
    }

    /// A node has this supply and load now.
    pub(super) fn set(&mut self, number: u32, down: bool, new: (u64, u64)) {
        let old = std::mem::replace(&mut self.nodes[number as usize], new);
        self.supply = self.supply - old.0 + new.0;
        let (before, after) = (old.0 + old.1, new.0 + new.1);
        if down {
            // It is in `top` until it is seen as down for the first time, with 0.
            self.top.remove(before, number);
            self.down = self.down - before + after;
        } else if before != after {
            self.top.remove(before, number);
            self.top.insert(after, number);
        }
    }

    /// Σ supply of survivors ≥ load of the others + `demand`, for the worst choice of nodes.
    pub(super) fn bears(&self, demand: u64) -> bool {
        self.supply >= self.down + self.top.sum() + demand
    }
}

/// One inequality over all nodes.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) criterion: Criterion,
    pub(super) balance: Balance,
}

impl Ledger {
    pub(super) fn new(criterion: Criterion, nodes: usize, k: usize) -> Self {
        let balance = Balance::new(nodes, k);
        Self { criterion, balance }
    }

    /// Whether the inequality holds. A criterion for VMs of a sort that does not occur says nothing.
    pub(super) fn holds(&self, all: &Counts, off: &Counts) -> bool {
        !self.criterion.concerns(all) || self.balance.bears(self.criterion.demand(off))
    }
}
