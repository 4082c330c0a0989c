//! An adapter's queue pairs in the terms of the capacity rules.
//!
//! Invariant: what fits in these terms fits on the adapter, with idle VFs keeping their vectors. Exact
//! for VFs with queue pairs of their own and for pools with enough for every VF. Of a pool that is short
//! an idle VF keeps a pair, which the rules do not know of: they are told of so many pairs that whatever
//! VFs have them, the idle ones have theirs.

use accelnet_model::{AdapterFacts, Levels, Performance, VfFacts};

use super::QueuePairProfile;
use crate::capacity::Queues;

/// Queue pairs of the adapter's VFs for the capacity rules. `foreign` are VFs that others have: what
/// they hold of a pool is not ours to give.
pub fn room(adapter: &AdapterFacts, levels: &Levels, foreign: impl Fn(&VfFacts) -> bool) -> Queues {
    match QueuePairProfile::of(adapter, levels) {
        QueuePairProfile::Fixed { pairs } => Queues::PerVf { pairs },
        // A VF that works at all has one.
        QueuePairProfile::Unknown => Queues::PerVf { pairs: 1 },
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
            pool(
                levels,
                vectors.saturating_sub(overhead.saturating_mul(vfs)),
                most,
                vfs,
            )
        }
    }
}

/// A pool of so many pairs for so many VFs, each of which can have so many.
fn pool(levels: &Levels, pairs: u32, most: u32, vfs: u32) -> Queues {
    let total = usable_pairs(levels, pairs, most, vfs);
    // Beside a pool that is not enough for Low everywhere, equal shares promise more.
    let low = levels.queue_pairs(Performance::Low);
    match pairs.checked_div(vfs) {
        Some(share) if total / low < vfs => Queues::PerVf {
            pairs: share.min(most),
        },
        _ => Queues::Pool {
            total,
            most_per_vf: Some(most),
        },
    }
}

/// The most queue pairs in use at which what is left is always enough for the VFs that are idle, which
/// keep a pair each.
fn usable_pairs(levels: &Levels, pairs: u32, most: u32, vfs: u32) -> u32 {
    let able = Performance::ALL.map(|level| levels.queue_pairs(level));
    let able: Vec<u32> = able.into_iter().filter(|cost| *cost <= most).collect();
    let (Some(low), Some(top)) = (able.first(), able.last()) else {
        return 0;
    };
    // Each cost divides the next, so the fewest VFs that have so many pairs have the highest levels.
    let fewest = |used: u32| {
        let mut left = used;
        let counts = able.iter().rev().map(|cost| {
            let count = left / cost;
            left %= cost;
            count
        });
        counts.sum::<u32>().min(vfs)
    };
    let fits = |used: &u32| used + (vfs - fewest(*used)) <= pairs;
    let all = pairs.min(vfs.saturating_mul(*top)) / low;
    let mut candidates = (0..=all).rev().map(|count| count * low);
    candidates.find(fits).unwrap_or(0)
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

    fn shared(total: u32, most: u32) -> Queues {
        Queues::Pool {
            total,
            most_per_vf: Some(most),
        }
    }

    #[test]
    fn vfs_of_an_unknown_card_have_one_pair() {
        let mut adapter = fixture::adapter(7);
        let two = room(&adapter, &levels([1, 2, 8]), |_| false);
        assert_eq!(two, Queues::PerVf { pairs: 2 });
        adapter.driver = Some("unheard_of".into());
        let one = room(&adapter, &levels([1, 2, 8]), |_| false);
        assert_eq!(one, Queues::PerVf { pairs: 1 });
    }

    #[test]
    fn pools() {
        let usual = [1, 2, 4];
        // What a VF of the card can have at most.
        let most = 256;
        for (pairs, vectors, vfs, expected) in [
            // 12 VFs at High, exactly.
            (usual, 60, 12, shared(48, most)),
            // Enough for Low everywhere and for nothing else.
            (usual, 16, 8, Queues::PerVf { pairs: 1 }),
            // Four of six VFs have eight, one has two, one is idle.
            ([2, 4, 8], 42, 6, shared(34, most)),
            ([1, 2, 8], 72, 8, shared(64, most)),
            // Seven of eight VFs have eight, and one has one.
            ([1, 2, 8], 65, 8, shared(57, most)),
            ([1, 3, 3], 30, 8, shared(22, most)),
            // No VF can have so many: the others all find room.
            ([1, 2, 256], 48, 12, shared(36, most)),
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
            let cost = |level: Performance| levels.queue_pairs(level);
            let wanted = || Performance::ALL.into_iter().zip(nics).filter(|(_, count)| *count > 0);
            let sum = |each: u32| -> u32 { wanted().map(|(level, count)| (cost(level) + each) * count).sum() };
            let (total, most) = match room(&mlx5(vectors, vfs), &levels, |_| false) {
                Queues::Pool { total, most_per_vf } => (total, most_per_vf.unwrap()),
                Queues::PerVf { pairs } => (u32::MAX, pairs),
            };
            let fits = sum(0) <= total && wanted().all(|(level, _)| cost(level) <= most);
            let needed = sum(1) + (vfs - used) * 2;
            prop_assert!(used == 0 || !fits || needed <= vectors, "{needed} of {vectors}");
        }

        /// A pool that is enough for High everywhere is promised so.
        #[test]
        fn what_is_enough_for_all_is_promised_to_all(
            levels in any_levels(),
            vfs in 1..20_u32,
            more in 0..50_u32,
        ) {
            let cost = levels.queue_pairs(Performance::High);
            let found = room(&mlx5(vfs * (cost + 1) + more, vfs), &levels, |_| false);
            let enough = match found {
                Queues::Pool { total, most_per_vf } => total >= cost * vfs && most_per_vf >= Some(cost),
                Queues::PerVf { pairs } => pairs >= cost,
            };
            prop_assert!(enough, "{found:?}");
        }
    }
}
