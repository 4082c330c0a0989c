//! Bounds that no placement exceeds, to prove that there is none.
//!
//! For any weight of the levels, a node takes NICs of at most some total weight beside what runs there;
//! if the VMs to be placed weigh more than all survivors take, they do not fit. The worst nodes to lose
//! are those with the largest "takes plus carries". For VMs with several NICs also: of VMs with `s`
//! NICs or more a node takes at most a whole number.

use std::{collections::HashMap, fmt};

use super::{
    LEVELS, PerLevel, criteria::Counts, levels::LevelCosts, node::NodeState, position, supply::Rest,
};

/// How many weights there are.
const WEIGHTS: usize = 10;
/// Rests of pools that are remembered at once; then all are forgotten.
const MOST_POOLS: usize = 4096;

/// Weights tried: those of the inequalities, and some between, which see that a High NIC spoils a VF
/// pool in which both VFs and queue pairs are short. They do not fall with the level.
fn weights(costs: LevelCosts) -> [PerLevel<u64>; WEIGHTS] {
    let [_, medium, high] = costs.units();
    let step = high / medium;
    [
        [0, 0, 1],
        [0, 1, 1],
        [0, 1, step],
        [1, 1, 1],
        [1, 1, step],
        [1, 1, step + 1],
        [1, 1, high],
        [1, medium, medium],
        [1, medium, medium + 1],
        [1, medium, high.max(medium)],
    ]
}

/// What NICs are weighed by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// NICs, by one of the [`weights`].
    Weights {
        which: usize,
        weights: PerLevel<u64>,
    },
    /// VMs of `size` NICs of level `least` or higher, of which a node takes a whole number.
    Whole { size: u64, least: usize },
}

impl Bound {
    /// All bounds of a cluster whose VMs have these numbers of NICs.
    pub(super) fn all(costs: LevelCosts, sizes: impl Iterator<Item = u32>) -> Vec<Self> {
        let weights = weights(costs).into_iter().enumerate();
        let weights = weights.map(|(which, weights)| Self::Weights { which, weights });
        let sizes = sizes.filter(|size| *size > 1).map(u64::from);
        let whole =
            sizes.flat_map(|size| (0..LEVELS).map(move |least| Self::Whole { size, least }));
        weights.chain(whole).collect()
    }

    /// The most that a node takes.
    pub(super) fn takes(self, node: &Takes) -> u64 {
        match self {
            Self::Weights { which, weights } => {
                node.most[which].saturating_sub(weigh(node.unpinned, weights))
            }
            Self::Whole { size, least } => {
                let beside: u64 = node.unpinned[least..].iter().sum();
                node.places[least].saturating_sub(beside) / size
            }
        }
    }

    /// What VMs weigh.
    pub(super) fn load(self, counts: &Counts) -> u64 {
        let loads = counts.iter().map(|((level, nics), count)| {
            let (level, nics) = (position(*level), u64::from(*nics));
            count
                * match self {
                    Self::Weights { weights, .. } => weights[level] * nics,
                    Self::Whole { least, .. } if level < least => 0,
                    Self::Whole { size, .. } => nics / size,
                }
        });
        loads.sum()
    }
}

/// The most that a node takes beside VMs of which the adapters are known.
#[derive(Debug)]
pub(super) struct Takes {
    /// By each weight.
    most: [u64; WEIGHTS],
    /// NICs of each level alone.
    places: PerLevel<u64>,
    /// NICs that must find room besides.
    unpinned: PerLevel<u64>,
}

impl Takes {
    pub(super) fn of(node: &NodeState, pools: &Pools) -> Self {
        let mut takes = Self {
            most: [0; WEIGHTS],
            places: [0; LEVELS],
            unpinned: node.unpinned,
        };
        for rest in node.rests_of_known(pools.costs) {
            let most = pools.most(rest);
            takes.most = std::array::from_fn(|which| takes.most[which] + most[which]);
            let places = |level| takes.places[level] + rest.places(level, pools.costs);
            takes.places = std::array::from_fn(places);
        }
        takes
    }
}

/// The most weight that adapters' rests take; what was computed for pools is remembered.
#[derive(Clone)]
pub(super) struct Pools {
    costs: LevelCosts,
    weights: [PerLevel<u64>; WEIGHTS],
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
        Self {
            costs,
            weights: weights(costs),
            known: HashMap::new(),
        }
    }

    /// Remembers what these take.
    pub(super) fn learn(&mut self, rests: impl Iterator<Item = Rest>) {
        for rest in rests {
            if !self.known.contains_key(&rest) && matches!(rest, Rest::Pool { .. }) {
                if self.known.len() >= MOST_POOLS {
                    self.known.clear();
                }
                self.known.insert(rest, self.most(rest));
            }
        }
    }

    fn most(&self, rest: Rest) -> [u64; WEIGHTS] {
        match rest {
            Rest::Nothing => [0; WEIGHTS],
            Rest::Slots { vfs, level } => self.weights.map(|weights| vfs * weights[level]),
            Rest::Pool { vfs, units, most } => {
                let of = |weights| most_in_pool((vfs, units), most, weights, self.costs);
                let known = self.known.get(&rest).copied();
                known.unwrap_or_else(|| self.weights.map(of))
            }
        }
    }
}

/// Σ weight · NICs.
fn weigh(nics: PerLevel<u64>, weights: PerLevel<u64>) -> u64 {
    nics.iter()
        .zip(weights)
        .map(|(nics, weight)| nics * weight)
        .sum()
}

/// The largest weight that a pool takes: exactly, without trying every number of High NICs.
fn most_in_pool(
    (vfs, units): (u64, u64),
    most: usize,
    weights: PerLevel<u64>,
    costs: LevelCosts,
) -> u64 {
    let [_, medium_cost, high_cost] = costs.units();
    let with_high = |high: u64| {
        let (vfs, units) = (vfs - high, units - high * high_cost);
        // Linear in the number of Medium NICs but for one bend, where VFs and queue pairs are both
        // used up.
        let limit = vfs.min(units / medium_cost);
        let bend = units.saturating_sub(vfs).checked_div(medium_cost - 1);
        let bend = bend.unwrap_or(limit);
        let with_medium = |medium: u64| {
            let low = (vfs - medium).min(units - medium * medium_cost);
            weights[1] * medium + weights[0] * low
        };
        let candidates = [0, bend.min(limit), (bend + 1).min(limit), limit];
        weights[2] * high + candidates.into_iter().map(with_medium).max().unwrap_or(0)
    };
    let highest = if most < 2 {
        0
    } else {
        vfs.min(units / high_cost)
    };
    // In the number of High NICs it is linear too, but for bends where VFs and queue pairs are used up
    // together by High and Low, or High and Medium, and for what is left of a whole High NIC.
    let bends = [
        0,
        units
            .saturating_sub(vfs)
            .checked_div(high_cost - 1)
            .unwrap_or(0),
        units
            .saturating_sub(medium_cost * vfs)
            .checked_div(high_cost - medium_cost)
            .unwrap_or(0),
        highest,
    ];
    let near = bends.into_iter().flat_map(|bend| {
        let bend = bend.min(highest);
        bend.saturating_sub(high_cost)..=(bend + high_cost).min(highest)
    });
    near.map(with_high).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slowly(
        (vfs, units): (u64, u64),
        most: usize,
        weights: PerLevel<u64>,
        costs: LevelCosts,
    ) -> u64 {
        let [_, medium_cost, high_cost] = costs.units();
        let highs = if most < 2 {
            0
        } else {
            vfs.min(units / high_cost)
        };
        let mut best = 0;
        for high in 0..=highs {
            let (vfs, units) = (vfs - high, units - high * high_cost);
            for medium in 0..=vfs.min(units / medium_cost) {
                let low = (vfs - medium).min(units - medium * medium_cost);
                best = best.max(weights[2] * high + weights[1] * medium + weights[0] * low);
            }
        }
        best
    }

    proptest! {
        #[test]
        fn the_bound_of_a_pool_is_reached(
            vfs in 0..60_u64,
            units in 0..300_u64,
            most in 1..3_usize,
            costs in prop::sample::select(vec![[1, 2, 4], [1, 3, 3], [1, 1, 4], [1, 2, 16], [2, 8, 24]]),
        ) {
            let costs = LevelCosts::new(costs).unwrap();
            for weights in weights(costs) {
                prop_assert_eq!(
                    most_in_pool((vfs, units), most, weights, costs),
                    slowly((vfs, units), most, weights, costs),
                    "{:?}", weights
                );
            }
        }
    }
}
