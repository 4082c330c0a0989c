//! What an adapter has left, and what a node's adapters are together.
//!
//! An adapter's rest is one of three:
//! * *slots*: VFs that each take one NIC of some level or lower (fixed queue pairs; or a pool with four
//!   times as many queue pairs as VFs, where only VFs can run out);
//! * *queues*: a pool with at least as many VFs as queue pairs, where only queue pairs can run out;
//! * *both* can run out. It is taken as slots and queues in one of several ways ([`View`]), each of
//!   which promises less than there is.

use super::{LEVELS, PerLevel, cost, model::Queues};

/// VFs and queue pairs that are left of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rest {
    /// VFs with queue pairs of their own, which are enough for this level (position) and lower.
    Slots { vfs: u64, level: usize },
    /// VFs that draw from a pool.
    Pool { vfs: u64, queues: u64 },
    /// Nothing that any level can use.
    Nothing,
}

impl Rest {
    /// The adapter's rest after `used_vfs` VFs with `used_queues` queue pairs are given out.
    pub(super) fn of(vfs: u32, queues: Queues, used_vfs: u64, used_queues: u64) -> Self {
        let vfs = u64::from(vfs).saturating_sub(used_vfs);
        match queues {
            Queues::PerVf { pairs } => match highest(u64::from(pairs)) {
                Some(level) => Self::Slots { vfs, level },
                None => Self::Nothing,
            },
            Queues::Pool { total } => Self::Pool {
                vfs,
                queues: u64::from(total).saturating_sub(used_queues),
            },
        }
    }

    /// How many NICs of the level fit, if nothing else is put here.
    pub(super) fn places(self, level: usize) -> u64 {
        match self {
            Self::Slots { vfs, level: most } if level <= most => vfs,
            Self::Slots { .. } | Self::Nothing => 0,
            Self::Pool { vfs, queues } => vfs.min(queues / cost()[level]),
        }
    }

    /// True if VFs and queue pairs can both run out first.
    pub(super) fn is_both(self) -> bool {
        let most = cost()[LEVELS - 1];
        matches!(self, Self::Pool { vfs, queues } if vfs < queues && queues < most * vfs)
    }
}

/// The highest level that so many queue pairs are enough for.
pub(super) fn highest(pairs: u64) -> Option<usize> {
    (0..LEVELS).rev().find(|level| cost()[*level] <= pairs)
}

/// A way to take a pool whose VFs and queue pairs can both run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// As many VFs for High as possible.
    HighFirst,
    /// As many VFs for Medium as possible.
    MediumFirst,
    /// All VFs used; what is left of the queue pairs goes to Medium, then High.
    AllVfs,
    /// Enough VFs for High that the others are bound by queue pairs only.
    Queues,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Supply {
    pub(super) slots: PerLevel<u64>,
    pub(super) pool_places: PerLevel<u64>,
}

impl Supply {
    pub(super) fn of(rests: impl Iterator<Item = Rest>, view: View) -> Self {
        let mut supply = Self::default();
        for rest in rests {
            supply.add(rest, view);
        }
        supply
    }

    fn add(&mut self, rest: Rest, view: View) {
        match rest {
            Rest::Nothing => {}
            Rest::Slots { vfs, level } => self.slots[level] += vfs,
            Rest::Pool { vfs, queues } if vfs >= queues => self.add_pool(queues),
            Rest::Pool { vfs, queues } if queues >= cost()[LEVELS - 1] * vfs => {
                self.slots[LEVELS - 1] += vfs;
            }
            Rest::Pool { vfs, queues } => self.add_both(vfs, queues, view),
        }
    }

    fn add_pool(&mut self, queues: u64) {
        for (places, cost) in self.pool_places.iter_mut().zip(cost()) {
            *places += queues / cost;
        }
    }

    /// `vfs < queues < 4·vfs`.
    fn add_both(&mut self, vfs: u64, queues: u64, view: View) {
        let [_, medium, high] = cost();
        match view {
            View::HighFirst => {
                let first = queues / high;
                self.slots[2] += first;
                self.add_rest(vfs - first, queues - first * high);
            }
            View::MediumFirst => {
                let first = vfs.min(queues / medium);
                self.slots[1] += first;
                self.add_rest(vfs - first, queues - first * medium);
            }
            View::AllVfs => {
                // One queue pair for each VF; the others raise VFs to Medium, then to High.
                let raised = (queues - vfs).min(vfs * (medium - 1)) / (medium - 1);
                let over = queues - vfs - raised * (medium - 1);
                let high = if raised == vfs {
                    over / (high - medium)
                } else {
                    0
                };
                self.slots[2] += high;
                self.slots[1] += raised - high;
                self.slots[0] += vfs - raised;
            }
            View::Queues => {
                let first = (queues - vfs).div_ceil(high - 1);
                match queues.checked_sub(first * high) {
                    Some(left) if vfs - first >= left => {
                        self.slots[2] += first;
                        self.add_pool(left);
                    }
                    _ => self.add_both(vfs, queues, View::HighFirst),
                }
            }
        }
    }

    /// A few queue pairs that are left, as slots of the highest level first.
    fn add_rest(&mut self, mut vfs: u64, mut queues: u64) {
        for level in (0..LEVELS).rev() {
            let count = vfs.min(queues / cost()[level]);
            self.slots[level] += count;
            vfs -= count;
            queues -= count * cost()[level];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No view promises more VFs or queue pairs than there are.
        #[test]
        fn views_promise_no_more_than_there_is(vfs in 0..40_u64, queues in 0..170_u64) {
            for view in View::ALL {
                let supply = Supply::of([Rest::Pool { vfs, queues }].into_iter(), view);
                let [low, medium, high] = supply.slots;
                let in_pool = supply.pool_places[0];
                let bound_by_vfs = queues >= 4 * vfs;
                prop_assert!(low + medium + high + in_pool <= vfs, "{view:?} {supply:?}");
                prop_assert!(
                    bound_by_vfs || low + 2 * medium + 4 * high + in_pool <= queues,
                    "{view:?} {supply:?}"
                );
            }
        }

        /// Each level alone is seen in full by some view.
        #[test]
        fn a_level_alone_is_not_short(vfs in 0..40_u64, queues in 0..170_u64) {
            let rest = Rest::Pool { vfs, queues };
            for level in 0..LEVELS {
                let seen = View::ALL.map(|view| {
                    let supply = Supply::of([rest].into_iter(), view);
                    supply.slots[level..].iter().sum::<u64>() + supply.pool_places[level]
                });
                prop_assert_eq!(seen.into_iter().max(), Some(rest.places(level)));
            }
        }
    }

    #[test]
    fn fixed_queue_pairs() {
        for (pairs, level) in [
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(1)),
            (4, Some(2)),
            (9, Some(2)),
        ] {
            let rest = Rest::of(7, Queues::PerVf { pairs }, 3, 3);
            assert_eq!(Some(rest), level.map(|level| Rest::Slots { vfs: 4, level }));
        }
        assert_eq!(Rest::of(7, Queues::PerVf { pairs: 0 }, 0, 0), Rest::Nothing);
        assert_eq!(Rest::of(2, Queues::PerVf { pairs: 4 }, 5, 5).places(0), 0);
    }
}
