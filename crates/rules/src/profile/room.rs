//! An adapter's queue pairs in the terms of the capacity rules, whose levels cost 1, 2 and 4.
//!
//! Invariant: what fits in these terms fits on the adapter, at the intent's numbers of queue pairs and
//! with idle VFs keeping their vectors. Exact for VFs with queue pairs of their own, for pools with
//! enough for every VF, and for pools at levels that are 1 : 2 : 4; with other numbers a pool that is
//! short may promise less than it has.

use accelnet_model::{AdapterFacts, Levels, Performance, VfFacts};

use super::QueuePairProfile;
use crate::capacity::Queues;

/// Queue pairs of the adapter's VFs for the capacity rules. `foreign` are VFs that others have: what
/// they hold of a pool is not ours to give.
pub fn room(adapter: &AdapterFacts, levels: &Levels, foreign: impl Fn(&VfFacts) -> bool) -> Queues {
    let usual = levels.queue_pairs == Levels::default().queue_pairs;
    match QueuePairProfile::of(adapter, levels) {
        QueuePairProfile::Fixed { pairs } if usual => Queues::PerVf { pairs },
        QueuePairProfile::Fixed { pairs } => of_own(levels, pairs),
        // A VF that works at all has one.
        QueuePairProfile::Unknown => of_own(levels, 1),
        QueuePairProfile::Pool {
            vectors,
            overhead,
            most,
            vfs,
        } => {
            let idle = overhead + 1;
            let held = adapter.vfs.iter().filter(|vf| foreign(vf));
            let held = held.map(|vf| {
                vf.msix_vectors
                    .value()
                    .map_or(0, |has| has.saturating_sub(idle))
            });
            let vectors = vectors.saturating_sub(held.sum());
            pool(levels, vectors, overhead, most, vfs)
        }
    }
}

/// The highest level that so many pairs are enough for, as its usual number of pairs; 0 for none.
fn of_own(levels: &Levels, pairs: u32) -> Queues {
    let pairs = highest(levels, pairs).map_or(0, Performance::queue_pairs);
    Queues::PerVf { pairs }
}

fn highest(levels: &Levels, pairs: u32) -> Option<Performance> {
    let mut all = Performance::ALL.into_iter().rev();
    all.find(|level| levels.queue_pairs(*level) <= pairs)
}

fn pool(levels: &Levels, vectors: u32, overhead: u32, most: u32, vfs: u32) -> Queues {
    let Some(top) = highest(levels, most) else {
        return Queues::PerVf { pairs: 0 };
    };
    if vfs == 0 {
        return Queues::Pool {
            total: 0,
            most_per_vf: None,
        };
    }
    // What every VF can have at once.
    let share = (vectors / vfs).saturating_sub(overhead);
    let [low, medium, high] = Performance::ALL.map(|level| levels.queue_pairs(level));
    let is_usual_ratio = medium == 2 * low && high == 4 * low;
    let all_have_top = share >= levels.queue_pairs(top);
    if top != Performance::High || (all_have_top && !is_usual_ratio) {
        return of_own(levels, share.min(most));
    }
    let pairs = usable_pairs(vectors, overhead, vfs, levels.queue_pairs(top));
    // Pairs of each level, counted in those of Low, are at most 1, 2 and 4 such units.
    let total = if is_usual_ratio {
        pairs / low
    } else {
        let scaled = |pairs: u32, usual: u32| (pairs / low).div_ceil(usual);
        pairs / low / scaled(medium, 2).max(scaled(high, 4)).max(1)
    };
    // Beside a pool that is not enough for Low everywhere, equal shares promise more.
    if total < vfs {
        of_own(levels, share.min(most))
    } else {
        Queues::Pool {
            total,
            most_per_vf: None,
        }
    }
}

/// The most queue pairs in use at which what is left is always enough for the VFs that are idle: with
/// `s` pairs in use, at least ⌈s/top⌉ VFs are used, and the others keep a pair each.
fn usable_pairs(vectors: u32, overhead: u32, vfs: u32, top: u32) -> u32 {
    let all = vectors.saturating_sub(overhead.saturating_mul(vfs));
    let fits = |pairs: &u32| {
        let used = pairs.div_ceil(top).min(vfs);
        pairs + (vfs - used) <= all
    };
    (0..=all).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use accelnet_model::{LevelQueuePairs, Support};
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    fn levels(pairs: [u32; 3]) -> Levels {
        Levels {
            queue_pairs: LevelQueuePairs::new(pairs).unwrap(),
            ..Levels::default()
        }
    }

    fn mlx5(vectors: u32, vfs: u32) -> AdapterFacts {
        AdapterFacts {
            driver: Some("mlx5_core".into()),
            total_vfs: 64,
            vf_total_msix: Support::Supported(vectors),
            ..fixture::adapter(vfs)
        }
    }

    fn shared(total: u32) -> Queues {
        Queues::Pool {
            total,
            most_per_vf: None,
        }
    }

    #[test]
    fn fixed_queue_pairs_are_the_highest_level_that_they_are_enough_for() {
        let two = fixture::adapter(7);
        for (pairs, expected) in [
            ([1, 2, 4], 2),
            ([1, 2, 8], 2),
            ([2, 4, 8], 1),
            ([1, 1, 2], 4),
            ([4, 4, 4], 0),
        ] {
            let found = room(&two, &levels(pairs), |_| false);
            assert_eq!(found, Queues::PerVf { pairs: expected }, "{pairs:?}");
        }
    }

    #[test]
    fn pools() {
        let usual = [1, 2, 4];
        for (pairs, vectors, vfs, expected) in [
            // 12 VFs at High, exactly.
            (usual, 60, 12, shared(48)),
            // Enough for Low everywhere and for nothing else.
            (usual, 16, 8, Queues::PerVf { pairs: 1 }),
            ([2, 4, 8], 60, 6, shared(27)),
            ([1, 2, 8], 72, 8, Queues::PerVf { pairs: 4 }),
            ([1, 2, 8], 64, 8, shared(27)),
            // No VF has so many.
            ([1, 2, 256], 60, 12, Queues::PerVf { pairs: 2 }),
        ] {
            let found = room(&mlx5(vectors, vfs), &levels(pairs), |_| false);
            assert_eq!(found, expected, "{pairs:?} {vectors} {vfs}");
        }
    }

    #[test]
    fn what_others_hold_of_a_pool_is_not_given_out() {
        let mut adapter = mlx5(60, 12);
        adapter.vfs[3].msix_vectors = Support::Supported(14);
        let found = room(&adapter, &levels([1, 2, 4]), |vf| vf.index == 3);
        // Twelve vectors more than an idle one has.
        assert_eq!(found, room(&mlx5(48, 12), &levels([1, 2, 4]), |_| false));
    }

    fn any_levels() -> impl Strategy<Value = Levels> {
        (1..4_u32, 1..4_u32, 1..5_u32)
            .prop_map(|(low, medium, high)| levels([low, low * medium, low * medium * high]))
    }

    proptest! {
        /// Whatever fits in the capacity rules' terms has its vectors, beside the idle VFs'.
        #[test]
        fn nothing_is_promised_that_is_not_there(
            levels in any_levels(),
            vectors in 0..200_u32,
            // What is asked of each VF: nothing, or a level.
            asked in prop::collection::vec(0..=3_usize, 1..16),
        ) {
            let vfs = asked.len() as u32;
            let nics = [1, 2, 3].map(|level| asked.iter().filter(|asked| **asked == level).count() as u32);
            let used: u32 = nics.iter().sum();
            let usual = |cost: &dyn Fn(Performance) -> u32| -> u32 {
                Performance::ALL.iter().zip(nics).map(|(level, count)| cost(*level) * count).sum()
            };
            let fits = match room(&mlx5(vectors, vfs), &levels, |_| false) {
                Queues::Pool { total, .. } => usual(&Performance::queue_pairs) <= total,
                Queues::PerVf { pairs } => Performance::ALL
                    .iter()
                    .zip(nics)
                    .all(|(level, count)| count == 0 || level.queue_pairs() <= pairs),
            };
            let needed = usual(&|level| levels.queue_pairs(level) + 1) + (vfs - used) * 2;
            prop_assert!(used == 0 || !fits || needed <= vectors, "{needed} of {vectors}");
        }
    }
}
