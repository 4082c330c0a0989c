//! Inequalities that together say that a greedy placement cannot get stuck.
//!
//! Take VMs by level, High first, and in a level those with many NICs first. Put each on a node where
//! slots are free for all its NICs; if there is none, on one with places in pools. Suppose a VM of
//! level ℓ with n NICs gets stuck. Then every surviving node has fewer than n places left for ℓ, so
//! whoever was placed before fills all but n−1 of them; and pools were used only after all but m−1
//! slots of each node were, m being the most NICs of any VM. So the demand so far is more than the
//! supply *less n−1 places a node* (less m−1 slots a node, where there are both slots and pools).
//!
//! Where every slot is good enough for every VM and there are no pools, levels do not matter; then VMs
//! go by their number of NICs alone, and only those with as many or more count.
//!
//! A NIC in a slot costs a slot; one in a pool costs its queue pairs. Which of the two is short for
//! each higher level gives the weights below: a weight of 1 where slots are enough, of the level's
//! queue pairs (relative to ℓ's) where not. For one NIC a VM nothing is taken off, and the inequalities
//! are necessary too, as each weight is a bound that no placement exceeds.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::Performance;

use super::{LEVELS, PerLevel, levels::LevelCosts, position, sizes::Size, supply::Supply};

/// How many VMs there are of each level and number of NICs.
pub(super) type Counts = BTreeMap<(Performance, u32), u64>;

/// What scope of supply a cluster has at all, and the most NICs of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) slots: bool,
    pub(super) pools: bool,
    pub(super) most_nics: u32,
    /// There are only slots, and each takes a NIC of any VM that there is.
    pub(super) levels_alike: bool,
    /// What levels cost.
    pub(super) costs: LevelCosts,
}

/// One inequality: Σ supply of survivors ≥ demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Criterion {
    /// The VM that must not get stuck: its level (position) …
    level: usize,
    /// … and number of NICs: any of the class, so that what holds for the most is asked.
    size: Size,
    /// What a NIC of each level counts; 0 below `level`.
    weights: PerLevel<u64>,
    /// Slots that a node may leave unused.
    slots_lost: u64,
    /// VMs of any level count if they have enough NICs.
    any_level: bool,
    /// Only VMs with the most NICs of all count, and levels do not matter: a node takes a whole number.
    largest_alone: bool,
}

impl Criterion {
    /// All inequalities of a cluster whose VMs are of these sizes.
    pub(super) fn all(sizes: &BTreeSet<Size>, scope: Scope) -> Vec<Self> {
        let levels = match scope.levels_alike {
            true => &Performance::ALL[..1],
            false => &Performance::ALL[..],
        };
        let each = levels
            .iter()
            .flat_map(|level| sizes.iter().map(|size| Self::of(*level, *size, scope)));
        each.flatten().collect()
    }

    /// All inequalities for VMs of this level and size.
    fn of(level: Performance, size: Size, scope: Scope) -> Vec<Self> {
        let level = position(level);
        let size = size.up_to(scope.most_nics);
        let slots_lost = if scope.slots && scope.pools {
            u64::from(scope.most_nics) - 1
        } else {
            u64::from(size.most) - 1
        };
        let criterion = |weights| Self {
            level,
            size,
            weights,
            slots_lost,
            any_level: scope.levels_alike,
            largest_alone: scope.levels_alike
                && size.least == size.most
                && size.most == scope.most_nics,
        };
        let choices = weights(level, scope);
        choices.into_iter().map(criterion).collect()
    }

    /// True if there are VMs of the sort that must not get stuck; else the criterion says nothing.
    pub(super) fn concerns(&self, vms: &Counts) -> bool {
        let levels = match self.any_level {
            true => &Performance::ALL[..],
            false => &Performance::ALL[self.level..=self.level],
        };
        let Size { least, most } = self.size;
        levels
            .iter()
            .any(|level| vms.range((*level, least)..=(*level, most)).next().is_some())
    }

    /// What a node's adapters give.
    pub(super) fn supply(&self, supply: &Supply) -> u64 {
        if self.largest_alone {
            let nics = u64::from(self.size.most);
            return supply.slots.iter().sum::<u64>() / nics * nics;
        }
        // Slots of a level or higher, less what may be lost; then those of each level alone.
        let mut above = 0;
        let mut seen = 0;
        let mut given = 0;
        for level in (self.level..LEVELS).rev() {
            above += supply.slots[level];
            let usable = above.saturating_sub(self.slots_lost);
            given += (usable - seen) * self.weights[level];
            seen = usable;
        }
        let lost = u64::from(self.size.most) - 1;
        given + supply.pool_places[self.level].saturating_sub(lost)
    }

    /// What these VMs demand, as far as they are placed before or with the VM of the criterion.
    pub(super) fn demand(&self, vms: &Counts) -> u64 {
        vms.iter()
            .map(|((level, nics), count)| count * self.demand_of(*level, *nics))
            .sum()
    }

    /// What one VM demands.
    pub(super) fn demand_of(&self, level: Performance, nics: u32) -> u64 {
        let level = position(level);
        if (self.any_level || level == self.level) && nics < self.size.least {
            return 0;
        }
        self.weights[level] * u64::from(nics)
    }
}

/// The weights of the levels from `level` up: where pools exist, every higher level may have run out
/// of slots or not; higher levels run out first.
fn weights(level: usize, scope: Scope) -> Vec<PerLevel<u64>> {
    let cost = scope.costs.units();
    let one_each = std::array::from_fn(|other| u64::from(other >= level));
    if !scope.pools {
        return vec![one_each];
    }
    let in_pool: PerLevel<u64> = std::array::from_fn(|other| {
        if other < level {
            0
        } else {
            cost[other] / cost[level]
        }
    });
    if !scope.slots {
        return vec![in_pool];
    }
    // Which of the higher levels use pools, in all combinations. Where a level's NICs are in slots
    // they push the levels below out of them, so that a slot is worth what the next lower level that
    // uses pools would pay for it.
    let higher = LEVELS - 1 - level;
    let mut all: Vec<PerLevel<u64>> = (0..1_u32 << higher)
        .map(|which| {
            let mut weights = one_each;
            for other in level + 1..LEVELS {
                weights[other] = if which & (1 << (other - level - 1)) == 0 {
                    weights[other - 1]
                } else {
                    in_pool[other]
                };
            }
            weights
        })
        .collect();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::supply::{Rest, View};

    #[test]
    fn weights_by_what_can_run_short() {
        let scope = |slots, pools| Scope {
            slots,
            pools,
            most_nics: 1,
            levels_alike: false,
            costs: LevelCosts::default(),
        };
        assert_eq!(weights(0, scope(true, false)), [[1, 1, 1]]);
        assert_eq!(weights(0, scope(false, true)), [[1, 2, 4]]);
        assert_eq!(
            weights(0, scope(true, true)),
            [[1, 1, 1], [1, 2, 2], [1, 1, 4], [1, 2, 4]]
        );
        assert_eq!(weights(1, scope(true, true)), [[0, 1, 1], [0, 1, 2]]);
        assert_eq!(weights(2, scope(true, true)), [[0, 0, 1]]);
    }

    #[test]
    fn supply_less_what_may_be_lost() {
        let scope = Scope {
            slots: true,
            pools: false,
            most_nics: 9,
            levels_alike: false,
            costs: LevelCosts::default(),
        };
        let slots = [(1, 0), (2, 1), (3, 2)].map(|(vfs, level)| Rest::Slots { vfs, level });
        let supply = Supply::of(slots.into_iter(), View::AllVfs, scope.costs);
        let of = |level, nics| Criterion::of(level, Size::of(nics), scope)[0].supply(&supply);
        assert_eq!(of(Performance::High, 1), 3);
        assert_eq!(of(Performance::High, 3), 1);
        assert_eq!(of(Performance::Medium, 3), 3);
        assert_eq!(of(Performance::Low, 3), 4);
        assert_eq!(of(Performance::Low, 9), 0);
        // Of a class, what holds for the most NICs.
        assert_eq!(of(Performance::Low, 5), of(Performance::Low, 6));
    }
}
