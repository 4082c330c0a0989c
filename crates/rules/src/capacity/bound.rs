//! Bounds that no placement exceeds, to prove that there is none.
//!
//! For any weight of the levels, a node takes NICs of at most some total weight beside what runs there;
//! if the VMs to be placed weigh more than all survivors take, they do not fit. The worst nodes to lose
//! are those with the largest "takes plus carries". For VMs with several NICs also: of VMs with `s`
//! NICs or more a node takes at most a whole number.

use std::collections::BTreeMap;

use super::{
    LEVELS, PerLevel, criteria::Counts, index::Capacity, levels::LevelCosts, position,
    state::AdapterState, supply::Rest,
};

/// How many weights there are.
pub(super) const WEIGHTS: usize = 10;

/// Weights tried: those of the inequalities, and some between, which see that a High NIC spoils a VF
/// pool in which both VFs and queue pairs are short. They do not fall with the level.
pub(super) fn weights(costs: LevelCosts) -> [PerLevel<u64>; WEIGHTS] {
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

/// A node as far as its running VMs' adapters are known, and NICs that must find room beside.
pub(super) struct Known {
    pub(super) rests: Vec<Rest>,
    pub(super) unpinned: PerLevel<u64>,
    /// VMs of which the adapters are known have more than there is.
    pub(super) overdrawn: bool,
}

impl Capacity {
    /// What is left of a node's adapters beside VMs of which the adapters are known.
    pub(super) fn known(&self, number: u32) -> Known {
        let node = &self.nodes[number as usize];
        let running = || node.vms.iter().filter_map(|name| self.vms.get(name));
        if node.unpinned == 0 {
            return Known {
                rests: node.adapters.iter().map(AdapterState::rest).collect(),
                unpinned: [0; LEVELS],
                overdrawn: node.adapters.iter().any(AdapterState::is_overdrawn),
            };
        }
        let mut adapters: Vec<AdapterState> =
            node.adapters.iter().map(AdapterState::unused).collect();
        let mut unpinned = [0; LEVELS];
        for state in running() {
            let level = position(state.vm.level);
            match (&state.place, &state.vm.adapters) {
                (Some((_, places)), Some(_)) => {
                    for adapter in places {
                        adapters[*adapter as usize].give(level);
                    }
                }
                _ => unpinned[level] += u64::from(state.vm.nics),
            }
        }
        Known {
            rests: adapters.iter().map(AdapterState::rest).collect(),
            unpinned,
            overdrawn: adapters.iter().any(AdapterState::is_overdrawn),
        }
    }

    /// Nodes to lose that prove that not everything fits, if a bound shows it, by a look at every node.
    pub(super) fn exceeded_anew(&self) -> Option<Vec<u32>> {
        let known: Vec<Known> = (0..self.nodes.len() as u32)
            .map(|number| self.known(number))
            .collect();
        let mut memo = BTreeMap::new();
        for weights in weights(self.costs) {
            let takes = |node: &Known| {
                let rests = node.rests.iter();
                let all: u64 = rests
                    .map(|rest| most(*rest, weights, self.costs, &mut memo))
                    .sum();
                all.saturating_sub(weigh(node.unpinned, weights))
            };
            let takes: Vec<u64> = known.iter().map(takes).collect();
            let found = self.worst(&takes, |level, nics| weights[level] * nics);
            if found.is_some() {
                return found;
            }
        }
        let sizes: Vec<u64> = self.sizes().filter(|nics| *nics > 1).collect();
        for size in sizes {
            for least in 0..LEVELS {
                let takes = |node: &Known| {
                    let places: u64 = node
                        .rests
                        .iter()
                        .map(|rest| rest.places(least, self.costs))
                        .sum();
                    let beside: u64 = node.unpinned[least..].iter().sum();
                    places.saturating_sub(beside) / size
                };
                let takes: Vec<u64> = known.iter().map(takes).collect();
                let weight = |level, nics| if level < least { 0 } else { nics / size };
                let found = self.worst(&takes, weight);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The nodes to lose, if then the VMs to be placed weigh more than the others take.
    fn worst(&self, takes: &[u64], weight: impl Fn(usize, u64) -> u64) -> Option<Vec<u32>> {
        let load = |counts: &Counts| -> u64 {
            let loads = counts
                .iter()
                .map(|((level, nics), count)| count * weight(position(*level), u64::from(*nics)));
            loads.sum()
        };
        let mut lost = self.down();
        let mut others: Vec<(u64, u32)> = Vec::new();
        let (mut supply, mut demand) = (0, load(&self.off));
        for (number, node) in self.nodes.iter().enumerate() {
            supply += takes[number];
            let both = takes[number] + load(&node.counts);
            if node.down {
                demand += both;
            } else {
                others.push((both, number as u32));
            }
        }
        others.sort_unstable_by(|a, b| b.cmp(a));
        others.truncate(self.further());
        demand += others.iter().map(|(both, _)| both).sum::<u64>();
        lost.extend(others.iter().map(|(_, number)| number));
        lost.sort_unstable();
        (supply < demand).then_some(lost)
    }
}

/// Σ weight · NICs.
pub(super) fn weigh(nics: PerLevel<u64>, weights: PerLevel<u64>) -> u64 {
    nics.iter()
        .zip(weights)
        .map(|(nics, weight)| nics * weight)
        .sum()
}

/// The largest weight that an adapter's rest takes. Weights do not fall with the level.
fn most(
    rest: Rest,
    weights: PerLevel<u64>,
    costs: LevelCosts,
    memo: &mut BTreeMap<(Rest, PerLevel<u64>), u64>,
) -> u64 {
    match rest {
        Rest::Nothing => 0,
        Rest::Slots { vfs, level } => vfs * weights[level],
        Rest::Pool { vfs, units, most } => *memo
            .entry((rest, weights))
            .or_insert_with(|| most_in_pool((vfs, units), most, weights, costs)),
    }
}

/// The largest weight that a pool takes: exactly, without trying every number of High NICs.
pub(super) fn most_in_pool(
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
