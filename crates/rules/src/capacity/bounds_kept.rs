//! The bounds of [`super::bound`], kept up to date.
//!
//! A refusal has to be proved, and where the inequalities are not exact only a bound proves it. Looking
//! at every node for each refusal took a hundred times as long as an admission at 10,000 nodes, so the
//! bounds are sums like the inequalities. They are kept only where the inequalities are not exact.

use std::{collections::HashMap, fmt};

use super::{
    LEVELS, PerLevel,
    bound::{Known, WEIGHTS, most_in_pool, weigh},
    criteria::Counts,
    index::Capacity,
    ledger::Balance,
    position,
    supply::Rest,
};

/// Rests of pools that are remembered at once; then all are forgotten.
const MOST_POOLS: usize = 4096;

/// What a bound weighs.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// NICs, by one of [`WEIGHTS`].
    Weights(usize),
    /// VMs of `size` NICs of level `least` or higher, of which a node takes a whole number.
    Size { size: u64, least: usize },
}

/// A bound, and its sums.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    measure: Measure,
    balance: Balance,
}

/// The most weight that pools take, by VFs and queue pairs that are left.
#[derive(Clone, Default)]
pub(super) struct Pools(HashMap<(u64, u64), [u64; WEIGHTS.len()]>);

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is remembered says nothing of the cluster.
        f.write_str("Pools")
    }
}

impl Pools {
    fn most(&mut self, vfs: u64, queues: u64, which: usize) -> u64 {
        if self.0.len() >= MOST_POOLS {
            self.0.clear();
        }
        let all = || WEIGHTS.map(|weights| most_in_pool(vfs, queues, weights));
        self.0.entry((vfs, queues)).or_insert_with(all)[which]
    }
}

impl Bound {
    /// All bounds of a cluster whose VMs have these numbers of NICs.
    pub(super) fn all(sizes: impl Iterator<Item = u64>, nodes: usize, k: usize) -> Vec<Self> {
        let weights = (0..WEIGHTS.len()).map(Measure::Weights);
        let sizes = sizes.filter(|size| *size > 1);
        let sizes =
            sizes.flat_map(|size| (0..LEVELS).map(move |least| Measure::Size { size, least }));
        let bound = |measure| Self {
            measure,
            balance: Balance::new(nodes, k),
        };
        weights.chain(sizes).map(bound).collect()
    }

    /// Brings one node's values up to date.
    pub(super) fn refresh(
        &mut self,
        number: u32,
        down: bool,
        node: &Known,
        counts: &Counts,
        pools: &mut Pools,
    ) {
        let new = (self.takes(node, pools), self.load(counts));
        self.balance.set(number, down, new);
    }

    fn takes(&self, node: &Known, pools: &mut Pools) -> u64 {
        match self.measure {
            Measure::Weights(which) => {
                let weights: PerLevel<u64> = WEIGHTS[which];
                let most = |rest: &Rest| match *rest {
                    Rest::Nothing => 0,
                    Rest::Slots { vfs, level } => vfs * weights[level],
                    Rest::Pool { vfs, queues } => pools.most(vfs, queues, which),
                };
                let all: u64 = node.rests.iter().map(most).sum();
                all.saturating_sub(weigh(node.unpinned, weights))
            }
            Measure::Size { size, least } => {
                let places: u64 = node.rests.iter().map(|rest| rest.places(least)).sum();
                let beside: u64 = node.unpinned[least..].iter().sum();
                places.saturating_sub(beside) / size
            }
        }
    }

    fn load(&self, counts: &Counts) -> u64 {
        let loads = counts.iter().map(|((level, nics), count)| {
            let (level, nics) = (position(*level), u64::from(*nics));
            count
                * match self.measure {
                    Measure::Weights(which) => WEIGHTS[which][level] * nics,
                    Measure::Size { least, .. } if level < least => 0,
                    Measure::Size { size, .. } => nics / size,
                }
        });
        loads.sum()
    }
}

impl Capacity {
    /// Nodes to lose that prove that not everything fits, if a bound shows it.
    pub(super) fn exceeded(&self) -> Option<Vec<u32>> {
        if self.bounds.is_empty() {
            return self.exceeded_anew();
        }
        let mut bounds = self.bounds.iter();
        let short = bounds.find(|bound| !bound.balance.bears(bound.load(&self.off)))?;
        Some(self.with_down(short.balance.top.numbers()))
    }
}
