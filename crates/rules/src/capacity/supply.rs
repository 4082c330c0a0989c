//! What an adapter has left, and what a node's adapters are together.
//!
//! Pools are counted in units of what the lowest level costs. An adapter's rest is one of three:
//! * *slots*: VFs that each take one NIC of some level or lower (fixed queue pairs; or a pool with so
//!   many queue pairs that only VFs can run out);
//! * *queues*: a pool with at least as many VFs as units, where only queue pairs can run out;
//! * *both* can run out. It is taken as slots and queues in one of several ways ([`View`]), each of
//!   which promises less than there is.
//!
//! A pool of which a VF can have only so many queue pairs serves levels up to some; where that is the
//! lowest only, it is slots.

use super::{
    levels::{LEVELS, LevelCosts, PerLevel},
    model::Queues,
};

/// VFs and queue pairs that are left of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rest {
    /// VFs with queue pairs of their own, which are enough for this level (position) and lower.
    Slots { vfs: u64, level: usize },
    /// VFs that draw from a pool of so many units, for this level and lower. The level costs more
    /// than one unit.
    Pool { vfs: u64, units: u64, most: usize },
    /// Nothing that any level can use.
    Nothing,
}

impl Rest {
    /// The adapter's rest after `used_vfs` VFs with `used_queues` queue pairs are given out.
    pub(super) fn of(
        vfs: u32,
        queues: Queues,
        (used_vfs, used_queues): (u64, u64),
        costs: LevelCosts,
    ) -> Self {
        let vfs = u64::from(vfs).saturating_sub(used_vfs);
        let Some(most) = costs.highest(u64::from(queues.most_per_vf())) else {
            return Self::Nothing;
        };
        match queues {
            Queues::PerVf { .. } => Self::Slots { vfs, level: most },
            Queues::Pool { total, .. } => {
                let units = u64::from(total).saturating_sub(used_queues) / costs.unit();
                if costs.units()[most] == 1 {
                    let vfs = vfs.min(units);
                    return Self::Slots { vfs, level: most };
                }
                Self::Pool { vfs, units, most }
            }
        }
    }

    /// How many NICs of the level fit, if nothing else is put here.
    pub(super) fn places(self, level: usize, costs: LevelCosts) -> u64 {
        match self {
            Self::Slots { vfs, level: most } if level <= most => vfs,
            Self::Pool { vfs, units, most } if level <= most => {
                vfs.min(units / costs.units()[level])
            }
            Self::Slots { .. } | Self::Pool { .. } | Self::Nothing => 0,
        }
    }

    /// What is left if a NIC of the level, for which there is a place, is put here.
    pub(super) fn without(self, level: usize, costs: LevelCosts) -> Self {
        match self {
            Self::Slots { vfs, level } => Self::Slots {
                vfs: vfs - 1,
                level,
            },
            Self::Pool { vfs, units, most } => Self::Pool {
                vfs: vfs - 1,
                units: units - costs.units()[level],
                most,
            },
            Self::Nothing => Self::Nothing,
        }
    }

    /// True if VFs and queue pairs can both run out first.
    pub(super) fn is_both(self, costs: LevelCosts) -> bool {
        matches!(self, Self::Pool { vfs, units, most }
            if vfs < units && units < costs.units()[most] * vfs)
    }
}

/// How many NICs of each level fit in these rests, each level alone.
pub(super) fn places(rests: &[Rest], costs: LevelCosts) -> PerLevel<u64> {
    let of = |level| rests.iter().map(|rest| rest.places(level, costs)).sum();
    std::array::from_fn(of)
}

/// A way to take a pool whose VFs and queue pairs can both run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// All VFs used; what is left of the queue pairs goes to Medium, then High.
    AllVfs,
    /// Enough VFs for the highest level that the others are bound by queue pairs only.
    Queues,
    /// As many VFs for the highest level as possible.
    HighFirst,
    /// As many VFs for Medium as possible.
    MediumFirst,
}

impl View {
    pub(super) const ALL: [Self; 4] = [
        Self::AllVfs,
        Self::Queues,
        Self::HighFirst,
        Self::MediumFirst,
    ];
}

/// What a node's adapters are together: slots by the highest level they take, and places in pools for
/// each level (each counted as if the pools were for this level alone).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Supply {
    pub(super) slots: PerLevel<u64>,
    pub(super) pool_places: PerLevel<u64>,
    units: PerLevel<u64>,
}

impl Supply {
    pub(super) fn of(rests: impl Iterator<Item = Rest>, view: View, costs: LevelCosts) -> Self {
        let mut supply = Self {
            slots: [0; LEVELS],
            pool_places: [0; LEVELS],
            units: costs.units(),
        };
        for rest in rests {
            supply.add(rest, view);
        }
        supply
    }

    fn add(&mut self, rest: Rest, view: View) {
        match rest {
            Rest::Nothing => {}
            Rest::Slots { vfs, level } => self.slots[level] += vfs,
            Rest::Pool { vfs, units, most } if vfs >= units => self.add_pool(units, most),
            Rest::Pool { vfs, units, most } if units >= self.units[most] * vfs => {
                self.slots[most] += vfs;
            }
            Rest::Pool { vfs, units, most } => self.add_both(vfs, units, most, view),
        }
    }

    fn add_pool(&mut self, units: u64, most: usize) {
        for level in 0..=most {
            self.pool_places[level] += units / self.units[level];
        }
    }

    /// `vfs < units < vfs · what `most` costs`.
    fn add_both(&mut self, vfs: u64, units: u64, most: usize, view: View) {
        let top = self.units[most];
        match view {
            View::HighFirst => self.add_slots(most, units / top, vfs, units, most),
            View::MediumFirst => {
                let first = vfs.min(units / self.units[1]);
                self.add_slots(1, first, vfs, units, most);
            }
            View::AllVfs => {
                // One unit for each VF; the others raise VFs to Medium, then to High.
                let medium = self.units[1];
                let raised = raises(units - vfs, medium - 1, vfs);
                let over = units - vfs - raised * (medium - 1);
                let high = match raised == vfs && most > 1 {
                    true => raises(over, top - medium, vfs),
                    false => 0,
                };
                self.slots[2] += high;
                self.slots[1] += raised - high;
                self.slots[0] += vfs - raised;
            }
            View::Queues => {
                let first = (units - vfs).div_ceil(top - 1);
                match units.checked_sub(first * top) {
                    Some(left) if vfs - first >= left => {
                        self.slots[most] += first;
                        self.add_pool(left, most);
                    }
                    _ => self.add_both(vfs, units, most, View::HighFirst),
                }
            }
        }
    }

    /// So many slots of a level; the few units that are left as slots of the highest level first.
    fn add_slots(&mut self, level: usize, first: u64, vfs: u64, units: u64, most: usize) {
        self.slots[level] += first;
        let (mut vfs, mut units) = (vfs - first, units - first * self.units[level]);
        for level in (0..=most).rev() {
            let count = vfs.min(units / self.units[level]);
            self.slots[level] += count;
            vfs -= count;
            units -= count * self.units[level];
        }
    }
}

/// How many VFs can be raised a level with so many units.
fn raises(units: u64, each: u64, vfs: u64) -> u64 {
    units.checked_div(each).map_or(vfs, |count| count.min(vfs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The defaults, and others.
    pub(crate) fn any_costs() -> impl Strategy<Value = LevelCosts> {
        let others = [
            [1, 2, 4],
            [1, 1, 1],
            [1, 1, 3],
            [1, 3, 3],
            [2, 4, 12],
            [1, 4, 8],
        ];
        let valid = others.map(|costs| LevelCosts::new(costs).unwrap());
        prop::sample::select(valid.to_vec())
    }

    fn pool(vfs: u32, total: u32, most_per_vf: Option<u32>, costs: LevelCosts) -> Rest {
        Rest::of(vfs, Queues::Pool { total, most_per_vf }, (0, 0), costs)
    }

    proptest! {
        /// No view promises more VFs or queue pairs than there are, nor a level that no VF can have.
        #[test]
        fn views_promise_no_more_than_there_is(
            vfs in 0..40_u32,
            total in 0..170_u32,
            most_per_vf in prop::option::of(0..6_u32),
            costs in any_costs(),
        ) {
            let rest = pool(vfs, total, most_per_vf, costs);
            let units = u64::from(total) / costs.unit();
            let cost = costs.units();
            for view in View::ALL {
                let supply = Supply::of([rest].into_iter(), view, costs);
                let [low, medium, high] = supply.slots;
                let in_pool = supply.pool_places[0];
                let bound_by_vfs = match rest {
                    Rest::Pool { vfs, units, most } => units >= cost[most] * vfs,
                    _ => true,
                };
                prop_assert!(low + medium + high + in_pool <= u64::from(vfs), "{view:?} {supply:?}");
                prop_assert!(
                    bound_by_vfs || low + cost[1] * medium + cost[2] * high + in_pool <= units,
                    "{view:?} {supply:?}"
                );
                for level in 0..LEVELS {
                    let able = most_per_vf.is_none_or(|most| costs.at(level) <= u64::from(most));
                    prop_assert!(able || supply.slots[level] + supply.pool_places[level] == 0);
                }
            }
        }

        /// Each level alone is seen in full by some view.
        #[test]
        fn a_level_alone_is_not_short(
            vfs in 0..40_u32,
            total in 0..170_u32,
            most_per_vf in prop::option::of(0..6_u32),
            costs in any_costs(),
        ) {
            let rest = pool(vfs, total, most_per_vf, costs);
            for level in 0..LEVELS {
                let seen = View::ALL.map(|view| {
                    let supply = Supply::of([rest].into_iter(), view, costs);
                    supply.slots[level..].iter().sum::<u64>() + supply.pool_places[level]
                });
                prop_assert_eq!(seen.into_iter().max(), Some(rest.places(level, costs)));
            }
        }
    }

    #[test]
    fn fixed_queue_pairs() {
        let of =
            |vfs, pairs, used| Rest::of(vfs, Queues::PerVf { pairs }, used, LevelCosts::default());
        for (pairs, level) in [
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(1)),
            (4, Some(2)),
            (9, Some(2)),
        ] {
            let rest = of(7, pairs, (3, 3));
            assert_eq!(Some(rest), level.map(|level| Rest::Slots { vfs: 4, level }));
        }
        assert_eq!(of(7, 0, (0, 0)), Rest::Nothing);
        assert_eq!(of(2, 4, (5, 5)).places(0, LevelCosts::default()), 0);
    }

    #[test]
    fn a_pool_of_which_a_vf_can_have_little() {
        let of = |most| pool(8, 20, Some(most), LevelCosts::default());
        assert_eq!(of(0), Rest::Nothing);
        assert_eq!(of(1), Rest::Slots { vfs: 8, level: 0 });
        let (vfs, units) = (8, 20);
        assert_eq!(
            of(3),
            Rest::Pool {
                vfs,
                units,
                most: 1
            }
        );
        assert_eq!(
            of(9),
            Rest::Pool {
                vfs,
                units,
                most: 2
            }
        );
    }
}
