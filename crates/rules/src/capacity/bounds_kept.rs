//! The bounds of [`super::bound`], kept up to date.
//!
//! A refusal has to be proved, and where the inequalities are not exact only a bound proves it. Looking
//! at every node for each refusal took a hundred times as long as an admission at 10,000 nodes, so the
//! bounds are sums like the inequalities. They are kept only where the inequalities are not exact.

use std::{collections::HashMap, fmt};

use super::{
    LEVELS, PerLevel,
    bound::{Known, WEIGHTS, most_in_pool, weigh, weights},
    criteria::Counts,
    index::Capacity,
    ledger::Balance,
    levels::LevelCosts,
    position,
    supply::Rest,
};

/// Rests of pools that are remembered at once; then all are forgotten.
const MOST_POOLS: usize = 4096;

/// What a bound weighs.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// NICs, by one of the [`weights`].
    Weights {
        which: usize,
        weights: PerLevel<u64>,
    },
    /// VMs of `size` NICs of level `least` or higher, of which a node takes a whole number.
    Size { size: u64, least: usize },
}

/// A bound, and its sums.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    measure: Measure,
    balance: Balance,
}

/// The most weight that pools take.
#[derive(Clone, Default)]
pub(super) struct Pools {
    costs: LevelCosts,
    known: HashMap<Rest, [u64; WEIGHTS]>,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is remembered says nothing of the cluster.
        f.write_str("Pools")
    }
}

impl Pools {
    pub(super) fn new(costs: LevelCosts) -> Self {
        let known = HashMap::new();
        Self { costs, known }
    }

    fn most(&mut self, pool: Rest, which: usize) -> u64 {
        let Rest::Pool { vfs, units, most } = pool else {
            return 0;
        };
        if self.known.len() >= MOST_POOLS {
            self.known.clear();
        }
        let costs = self.costs;
        let all = || weights(costs).map(|weights| most_in_pool((vfs, units), most, weights, costs));
        self.known.entry(pool).or_insert_with(all)[which]
    }
}

impl Bound {
    /// All bounds of a cluster whose VMs have these numbers of NICs.
    pub(super) fn all(
        costs: LevelCosts,
        sizes: impl Iterator<Item = u64>,
        nodes: usize,
        k: usize,
    ) -> Vec<Self> {
        let weights = weights(costs).into_iter().enumerate();
        let weights = weights.map(|(which, weights)| Measure::Weights { which, weights });
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
            Measure::Weights { which, weights } => {
                let most = |rest: &Rest| match *rest {
                    Rest::Nothing => 0,
                    Rest::Slots { vfs, level } => vfs * weights[level],
                    pool @ Rest::Pool { .. } => pools.most(pool, which),
                };
                let all: u64 = node.rests.iter().map(most).sum();
                all.saturating_sub(weigh(node.unpinned, weights))
            }
            Measure::Size { size, least } => {
                let places: u64 = node
                    .rests
                    .iter()
                    .map(|rest| rest.places(least, pools.costs))
                    .sum();
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
                    Measure::Weights { weights, .. } => weights[level] * nics,
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
