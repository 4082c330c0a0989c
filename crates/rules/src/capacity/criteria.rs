//! Inequalities that together say that a greedy placement cannot get stuck.
//!
//! Take VMs by level, High first, and in a level those with many NICs first. Put each on a node where
//! slots are free for all its NICs; if there is none, on one with places in pools. Suppose a VM of
//! level ℓ with n NICs gets stuck. Then every surviving node has fewer than n places left for ℓ, so
//! whoever was placed before fills all but n−1 of them; and pools were used only after all but m−1
//! slots of each node were, m being the most NICs of any VM. So the demand so far is more than the
//! supply *less n−1 places a node* (less m−1 slots a node, where there are both slots and pools).
//!
//! A NIC in a slot costs a slot; one in a pool costs its queue pairs. Which of the two is short for
//! each higher level gives the weights below: a weight of 1 where slots are enough, of the level's
//! queue pairs (relative to ℓ's) where not. For one NIC a VM nothing is taken off, and the inequalities
//! are necessary too, as each weight is a bound that no placement exceeds.

use std::collections::BTreeMap;

use accelnet_model::Performance;

use super::{LEVELS, PerLevel, cost, position, supply::Supply};

/// How many VMs there are of each level and number of NICs.
pub(super) type Counts = BTreeMap<(Performance, u32), u64>;

/// What sorts of supply a cluster has at all, and the most NICs of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sorts {
    pub(super) slots: bool,
    pub(super) pools: bool,
    pub(super) most_nics: u32,
}

/// One inequality: Σ supply of survivors ≥ demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Criterion {
    /// The VM that must not get stuck: its level (position) …
    level: usize,
    /// … and number of NICs.
    nics: u32,
    /// What a NIC of each level counts; 0 below `level`.
    weights: PerLevel<u64>,
    /// Slots that a node may leave unused.
    slots_lost: u64,
}

impl Criterion {
    /// All inequalities for VMs of this level and number of NICs.
    pub(super) fn all(level: Performance, nics: u32, sorts: Sorts) -> Vec<Self> {
        let level = position(level);
        let slots_lost = match sorts {
            Sorts {
                slots: true,
                pools: true,
                most_nics,
            } => u64::from(most_nics) - 1,
            _ => u64::from(nics) - 1,
        };
        let criterion = |weights| Self {
            level,
            nics,
            weights,
            slots_lost,
        };
        let choices = weights(level, sorts);
        choices.into_iter().map(criterion).collect()
    }

    /// The sort of VM that must not get stuck.
    pub(super) fn stuck(&self) -> (Performance, u32) {
        (Performance::ALL[self.level], self.nics)
    }

    /// What a node's adapters give.
    pub(super) fn supply(&self, supply: &Supply) -> u64 {
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
        let lost = u64::from(self.nics) - 1;
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
        if level == self.level && nics < self.nics {
            return 0;
        }
        self.weights[level] * u64::from(nics)
    }
}

/// The weights of the levels from `level` up: where pools exist, every higher level may have run out
/// of slots or not; higher levels run out first.
fn weights(level: usize, sorts: Sorts) -> Vec<PerLevel<u64>> {
    let cost = cost();
    let one_each = std::array::from_fn(|other| u64::from(other >= level));
    if !sorts.pools {
        return vec![one_each];
    }
    let in_pool: PerLevel<u64> = std::array::from_fn(|other| {
        if other < level {
            0
        } else {
            cost[other] / cost[level]
        }
    });
    if !sorts.slots {
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

    #[test]
    fn weights_by_what_can_run_short() {
        let sorts = |slots, pools| Sorts {
            slots,
            pools,
            most_nics: 1,
        };
        assert_eq!(weights(0, sorts(true, false)), [[1, 1, 1]]);
        assert_eq!(weights(0, sorts(false, true)), [[1, 2, 4]]);
        assert_eq!(
            weights(0, sorts(true, true)),
            [[1, 1, 1], [1, 2, 2], [1, 1, 4], [1, 2, 4]]
        );
        assert_eq!(weights(1, sorts(true, true)), [[0, 1, 1], [0, 1, 2]]);
        assert_eq!(weights(2, sorts(true, true)), [[0, 0, 1]]);
    }

    #[test]
    fn supply_less_what_may_be_lost() {
        let sorts = Sorts {
            slots: true,
            pools: false,
            most_nics: 3,
        };
        let supply = Supply {
            slots: [1, 2, 3],
            pool_places: [0; 3],
        };
        let of = |level, nics| Criterion::all(level, nics, sorts)[0].supply(&supply);
        assert_eq!(of(Performance::High, 1), 3);
        assert_eq!(of(Performance::High, 3), 1);
        assert_eq!(of(Performance::Medium, 3), 3);
        assert_eq!(of(Performance::Low, 3), 4);
        assert_eq!(of(Performance::Low, 9), 0);
    }
}
