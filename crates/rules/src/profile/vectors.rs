//! MSI-X vectors of VFs that share a pool: what a level costs, what an idle VF keeps, what is left.
//!
//! A VF costs one vector for each queue pair and the driver's overhead. One that is idle keeps
//! what one pair needs: a driver gives none fewer (ice: `ICE_MIN_INTR_PER_VF`), and mlx5 divides the
//! pool among the VFs at their creation (`mlx5_get_default_msix_vec_count`: equal shares, at most half
//! of what one VF can have), so that with many VFs nothing would be left for a level that needs more.

use accelnet_model::{AdapterFacts, Levels, Performance, VfFacts};

use super::QueuePairProfile;

/// Vectors that a VF of the adapter must be given for the level; `None` where vectors cannot be moved.
pub fn wanted_vectors(adapter: &AdapterFacts, levels: &Levels, level: Performance) -> Option<u32> {
    of_pairs(adapter, levels.queue_pairs(level))
}

/// Vectors of a VF that nobody uses; `None` where vectors cannot be moved.
pub fn idle_vectors(adapter: &AdapterFacts) -> Option<u32> {
    of_pairs(adapter, 1)
}

fn of_pairs(adapter: &AdapterFacts, pairs: u32) -> Option<u32> {
    match QueuePairProfile::with_vfs(adapter, adapter.vfs.len() as u32) {
        QueuePairProfile::Pool { overhead, .. } => Some(pairs + overhead),
        QueuePairProfile::Fixed { .. } | QueuePairProfile::Unknown => None,
    }
}

/// Vectors that the VF could have, all others keeping theirs; `None` if nobody can tell.
pub fn vectors_left(adapter: &AdapterFacts, vf: &VfFacts) -> Option<u32> {
    let total = *adapter.vf_total_msix.value()?;
    let others = adapter.vfs.iter().filter(|other| other.pci != vf.pci);
    let taken: Option<Vec<u32>> = others
        .map(|other| other.msix_vectors.value().copied())
        .collect();
    Some(total.saturating_sub(taken?.iter().sum()))
}

#[cfg(test)]
mod tests {
    use Performance::{High, Low, Medium};
    use accelnet_model::Support;

    use super::*;
    use crate::fixture;

    fn pool(driver: &str, total: u32, each: &[Support<u32>]) -> AdapterFacts {
        let mut adapter = AdapterFacts {
            driver: Some(driver.into()),
            vf_total_msix: Support::Supported(total),
            ..fixture::adapter(each.len() as u32)
        };
        for (vf, vectors) in adapter.vfs.iter_mut().zip(each) {
            vf.msix_vectors = *vectors;
        }
        adapter
    }

    #[test]
    fn a_level_costs_its_pairs_and_the_overhead() {
        let levels = Levels {
            queue_pairs: "High=8".parse().unwrap(),
            ..Levels::default()
        };
        for driver in ["mlx5_core", "ice"] {
            let adapter = pool(driver, 64, &[Support::Supported(8); 2]);
            let cost = |level| wanted_vectors(&adapter, &levels, level);
            assert_eq!(
                [cost(Low), cost(Medium), cost(High)],
                [Some(2), Some(3), Some(9)]
            );
            assert_eq!(idle_vectors(&adapter), Some(2));
        }
        let fixed = fixture::adapter(7);
        assert_eq!(wanted_vectors(&fixed, &levels, High), None);
        assert_eq!(idle_vectors(&pool("mlx5_core", 0, &[])), None, "no pool");
    }

    #[test]
    fn what_others_have_is_not_left() {
        let known = pool(
            "mlx5_core",
            20,
            &[Support::Supported(2), Support::Supported(9)],
        );
        assert_eq!(vectors_left(&known, &known.vfs[0]), Some(11));
        assert_eq!(vectors_left(&known, &known.vfs[1]), Some(18));
        let unknown = pool("ice", 20, &[Support::Supported(2), Support::Unknown]);
        assert_eq!(vectors_left(&unknown, &unknown.vfs[0]), None);
    }
}
