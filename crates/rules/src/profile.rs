//! What cards can give: queue pairs of a VF, and how many VFs to make.

use accelnet_model::{AdapterFacts, Code, Performance, Problem, QueuePairs, VfCount};

/// A kind of VF whose driver gives every VF the same number of queue pairs.
struct Fixed {
    vf_pci_id: &'static str,
    /// In hardware.
    pairs: u32,
    /// That Linux's guest driver uses.
    linux: u32,
}

/// Sources: the kernel's drivers (`drivers/net/ethernet/intel`).
const FIXED: &[Fixed] = &[
    // 82576: two queues a VF (datasheet 7.10.2.9); igbvf allocates one ring each way
    // (igbvf/netdev.c, igbvf_alloc_queues).
    Fixed {
        vf_pci_id: "8086:10ca",
        pairs: 2,
        linux: 1,
    },
    Fixed {
        vf_pci_id: "8086:152d",
        pairs: 2,
        linux: 1,
    },
    // I350: one queue a VF (datasheet 7.8.2.1).
    Fixed {
        vf_pci_id: "8086:1520",
        pairs: 1,
        linux: 1,
    },
    Fixed {
        vf_pci_id: "8086:152f",
        pairs: 1,
        linux: 1,
    },
    // i40e: four by default (i40e.h, I40E_DEFAULT_NUM_VF_QUEUE_PAIRS... I40E_MAX_VF_QUEUES is 16);
    // iavf uses what it is given.
    Fixed {
        vf_pci_id: "8086:154c",
        pairs: 4,
        linux: 4,
    },
];

/// ixgbe: the queue pairs of a VF depend on how many VFs there are (ixgbe_sriov.c/ixgbe_lib.c: up to
/// 31 VFs leave pools of four queues, more leave pools of two; Linux's ixgbevf uses at most two).
const IXGBE_VFS: &[&str] = &[
    "8086:10ed",
    "8086:1515",
    "8086:1565",
    "8086:15a8",
    "8086:15c5",
];
const IXGBE_VFS_WITH_FOUR_QUEUES: u32 = 31;

/// Queue pairs of each of an adapter's VFs with `vfs` of them; `None` if this kind of card is not
/// known.
fn pairs_with(adapter: &AdapterFacts, vfs: u32) -> Option<QueuePairs> {
    let id = adapter.vf_pci_id.as_deref()?;
    if let Some(fixed) = FIXED.iter().find(|fixed| fixed.vf_pci_id == id) {
        return Some(QueuePairs {
            allotted: fixed.pairs,
            effective: fixed.linux,
        });
    }
    if IXGBE_VFS.contains(&id) {
        let allotted = if vfs <= IXGBE_VFS_WITH_FOUR_QUEUES {
            4
        } else {
            2
        };
        return Some(QueuePairs {
            allotted,
            effective: 2,
        });
    }
    None
}

/// Queue pairs of each of an adapter's VFs as they are now, or would be if it had the usual number.
pub fn queue_pairs(adapter: &AdapterFacts) -> Option<QueuePairs> {
    let count = if adapter.vfs.is_empty() {
        adapter.total_vfs
    } else {
        adapter.vfs.len() as u32
    };
    pairs_with(adapter, count)
}

/// Levels that VFs of the adapter can give. A card that is not known gives Low: every VF has a queue
/// pair.
pub fn levels(adapter: &AdapterFacts) -> Vec<Performance> {
    let pairs = queue_pairs(adapter).map_or(1, |pairs| pairs.allotted);
    Performance::ALL
        .into_iter()
        .filter(|level| level.queue_pairs() <= pairs)
        .collect()
}

/// How many VFs to make, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VfCountPlan {
    /// The number.
    pub count: u32,
    /// Trade-off in words.
    pub because: String,
}

/// Chooses the number of VFs: what is there stays, `Auto` takes the largest number at which High is
/// possible, else Medium, else Low.
///
/// # Errors
/// `vf_count_not_possible` if the adapter offers fewer.
pub fn choose_vf_count(adapter: &AdapterFacts, wanted: VfCount) -> Result<VfCountPlan, Problem> {
    let (total, existing) = (adapter.total_vfs, adapter.vfs.len() as u32);
    let plan = |count, because: String| Ok(VfCountPlan { count, because });
    match wanted {
        VfCount::Keep => plan(existing, format!("the {existing} that exist are kept")),
        VfCount::Auto if existing > 0 => {
            plan(existing, format!("the {existing} that exist are kept"))
        }
        VfCount::Exactly(count) if u32::from(count) <= total => plan(
            u32::from(count),
            format!("{count} are asked for, {total} are possible"),
        ),
        VfCount::Exactly(count) => {
            let text = format!(
                "{count} VFs are asked for on {}, which offers {total}.",
                adapter.ifname
            );
            Err(Problem::new(Code::VfCountNotPossible, text).about("adapter", &adapter.ifname))
        }
        VfCount::Auto => {
            for level in Performance::ALL.into_iter().rev() {
                let fits = |count: &u32| {
                    pairs_with(adapter, *count)
                        .is_some_and(|pairs| pairs.allotted >= level.queue_pairs())
                };
                if let Some(count) = (1..=total).rev().find(fits) {
                    return plan(count, format!("the most at which {level} is possible"));
                }
            }
            plan(
                total,
                "all that the card offers; how many queues each has is not known".into(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_emulated_card_gives_medium_and_seven_vfs() {
        let mut adapter = fixture::adapter(0);
        assert_eq!(levels(&adapter), [Performance::Low, Performance::Medium]);
        assert_eq!(
            queue_pairs(&adapter),
            Some(QueuePairs {
                allotted: 2,
                effective: 1
            })
        );
        assert_eq!(choose_vf_count(&adapter, VfCount::Auto).unwrap().count, 7);
        assert_eq!(
            choose_vf_count(&adapter, VfCount::Exactly(3))
                .unwrap()
                .count,
            3
        );
        let problem = choose_vf_count(&adapter, VfCount::Exactly(8)).unwrap_err();
        assert_eq!(problem.code, Code::VfCountNotPossible);
        adapter = fixture::adapter(4);
        assert_eq!(
            choose_vf_count(&adapter, VfCount::Auto).unwrap().count,
            4,
            "what is there stays"
        );
    }

    #[test]
    fn ixgbe_trades_vfs_for_queues() {
        let mut adapter = fixture::adapter(0);
        adapter.vf_pci_id = Some("8086:10ed".into());
        adapter.total_vfs = 63;
        assert_eq!(choose_vf_count(&adapter, VfCount::Auto).unwrap().count, 31);
        adapter.vf_pci_id = Some("1234:5678".into());
        assert_eq!(choose_vf_count(&adapter, VfCount::Auto).unwrap().count, 63);
        assert_eq!(levels(&adapter), [Performance::Low]);
    }
}
