//! Bounds that no placement exceeds, to prove that there is none.
//!
//! For any weight of the levels, a node takes NICs of at most some total weight beside what runs there;
//! if the VMs to be placed weigh more than all survivors take, they do not fit. The worst nodes to lose
//! are those with the largest "takes plus carries". For VMs with several NICs also: of VMs with `s`
//! NICs or more a node takes at most a whole number.

use std::collections::BTreeMap;

use super::{
    LEVELS, PerLevel, cost, criteria::Counts, index::Capacity, position, state::AdapterState,
    supply::Rest,
};

/// Weights tried: those of the inequalities, and some between, which see that a High NIC spoils a VF
/// pool in which both VFs and queue pairs are short.
pub(super) const WEIGHTS: [PerLevel<u64>; 10] = [
    [0, 0, 1],
    [0, 1, 1],
    [0, 1, 2],
    [1, 1, 1],
    [1, 1, 2],
    [1, 1, 3],
    [1, 1, 4],
    [1, 2, 2],
    [1, 2, 3],
    [1, 2, 4],
];

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
        for weights in WEIGHTS {
            let takes = |node: &Known| {
                let rests = node.rests.iter();
                let all: u64 = rests.map(|rest| most(*rest, weights, &mut memo)).sum();
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
                    let places: u64 = node.rests.iter().map(|rest| rest.places(least)).sum();
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
    memo: &mut BTreeMap<(u64, u64, PerLevel<u64>), u64>,
) -> u64 {
    match rest {
        Rest::Nothing => 0,
        Rest::Slots { vfs, level } => vfs * weights[level],
        Rest::Pool { vfs, queues } => *memo
            .entry((vfs, queues, weights))
            .or_insert_with(|| most_in_pool(vfs, queues, weights)),
    }
}

pub(super) fn most_in_pool(vfs: u64, queues: u64, weights: PerLevel<u64>) -> u64 {
    let [low_cost, medium_cost, high_cost] = cost();
    let with_high = |high: u64| {
        let (vfs, queues) = (vfs - high, queues - high * high_cost);
        // Linear in the number of Medium NICs but for one bend, where VFs and queue pairs are both
        // used up.
        let limit = vfs.min(queues / medium_cost);
        let bend = queues.saturating_sub(vfs * low_cost) / (medium_cost - low_cost);
        let with_medium = |medium: u64| {
            let low = (vfs - medium).min((queues - medium * medium_cost) / low_cost);
            weights[1] * medium + weights[0] * low
        };
        let candidates = [0, bend.min(limit), (bend + 1).min(limit), limit];
        weights[2] * high + candidates.into_iter().map(with_medium).max().unwrap_or(0)
    };
    (0..=vfs.min(queues / high_cost))
        .map(with_high)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::region::Region, *};

    proptest! {
        #[test]
        fn the_bound_of_a_pool_is_reached(vfs in 0..20_u64, queues in 0..80_u64) {
            let region = Region::of(&[Rest::Pool { vfs, queues }]).unwrap();
            for weights in WEIGHTS {
                prop_assert_eq!(most_in_pool(vfs, queues, weights), region.most(weights));
            }
        }
    }
}
