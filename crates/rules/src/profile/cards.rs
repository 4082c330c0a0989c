//! What is known of cards: queue pairs and MSI-X vectors of their VFs, each number with its source
//! (paths are the Linux kernel's, below `drivers/net/ethernet`).
//!
//! A card that is not here is not known: nothing is guessed for it.

use accelnet_model::AdapterFacts;

/// How the VFs of a kind of card come by queue pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Every VF has this many.
    Fixed(u32),
    /// Every VF has `few`, or `many` as long as there are at most `vfs_with_many` VFs.
    ByVfCount {
        many: u32,
        vfs_with_many: u32,
        few: u32,
    },
    /// Every VF can be given vectors of its own from the adapter's pool (`sriov_vf_total_msix`,
    /// `sriov_vf_msix_count`: Documentation/ABI/testing/sysfs-bus-pci): `overhead` for what is not a
    /// queue pair, one for each of at most `most` pairs.
    Pool { overhead: u32, most: u32 },
}

/// Whether the driver limits what a VF sends (`ip link set PF vf N max_tx_rate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TxRate {
    /// It does not.
    No,
    /// To rates from this many Mbit/s up to the speed of the link.
    From(u32),
}

/// A kind of VF.
#[derive(Debug, Clone, Copy)]
pub(super) struct Card {
    /// Driver of the PF.
    driver: &'static str,
    /// PCI ids of VFs; empty: all VFs of the driver.
    vf_pci_ids: &'static [&'static str],
    pub(super) rule: Rule,
    /// The most pairs that Linux's guest driver uses, if it uses fewer than the VF may have.
    pub(super) linux_most: Option<u32>,
    /// Vectors that the guest's driver enables for other things than one queue pair each.
    pub(super) vectors_beside: u32,
    pub(super) tx_rate: TxRate,
}

const CARDS: &[Card] = &[
    // 82576: two pairs a VF (intel/igb/igb_main.c, igb_get_max_rss_queues: 2 with VFs; the emulated
    // card's VF_MSIX table has 3 entries, 2 for queues). igbvf allocates one ring each way
    // (intel/igbvf/netdev.c, igbvf_alloc_queues) and enables 3 vectors: TX, RX, mailbox
    // (igbvf_set_interrupt_capability). 152d is the same under Hyper-V. Rates up to the link's
    // (igb_ndo_set_vf_bw).
    Card {
        driver: "igb",
        vf_pci_ids: &["8086:10ca", "8086:152d"],
        rule: Rule::Fixed(2),
        linux_most: Some(1),
        vectors_beside: 2,
        tx_rate: TxRate::From(1),
    },
    // I350: "cannot do RSS and SR-IOV at the same time", one pair a VF (igb_get_max_rss_queues).
    // No rates: igb_ndo_set_vf_bw answers EOPNOTSUPP for all but the 82576.
    Card {
        driver: "igb",
        vf_pci_ids: &["8086:1520", "8086:152f"],
        rule: Rule::Fixed(1),
        linux_most: Some(1),
        vectors_beside: 2,
        tx_rate: TxRate::No,
    },
    // 82599, X540, X550: 128 queues in 32 pools of four or 64 of two; the PF takes a pool, so four
    // with at most 31 VFs (intel/ixgbe/ixgbe_lib.c, ixgbe_set_sriov_queues: vmdq_i > 32). ixgbevf
    // uses at most two (intel/ixgbevf/ixgbevf.h, IXGBEVF_MAX_RSS_QUEUES). Rates above 10 Mbit/s
    // (ixgbe_sriov.c, ixgbe_ndo_set_vf_bw).
    Card {
        driver: "ixgbe",
        vf_pci_ids: &[],
        rule: Rule::ByVfCount {
            many: 4,
            vfs_with_many: 31,
            few: 2,
        },
        linux_most: Some(2),
        vectors_beside: 1,
        tx_rate: TxRate::From(11),
    },
    // XL710, X710, X722: four (intel/i40e/i40e.h, I40E_DEFAULT_QUEUES_PER_VF). The guest can ask for
    // up to 16 (I40E_MAX_VF_QUEUES), which the host cannot do for it. One vector is the admin queue's
    // (intel/iavf/iavf.h, NONQ_VECS). Rates in steps of 50 Mbit/s (i40e.h, I40E_BW_CREDIT_DIVISOR).
    Card {
        driver: "i40e",
        vf_pci_ids: &[],
        rule: Rule::Fixed(4),
        linux_most: None,
        vectors_beside: 1,
        tx_rate: TxRate::From(50),
    },
    // E810 and later: vectors from a pool, one is the mailbox's (intel/ice/ice_sriov.h,
    // ICE_NONQ_VECS_VF), 16 pairs at most by the old messages (ICE_MAX_DFLT_QS_PER_VF); per VF since
    // Linux 6.7 (ice_sriov.c, ice_sriov_set_msix_vec_count). Rates: ice_set_vf_bw.
    Card {
        driver: "ice",
        vf_pci_ids: &[],
        rule: Rule::Pool {
            overhead: 1,
            most: 16,
        },
        linux_most: None,
        vectors_beside: 1,
        tx_rate: TxRate::From(1),
    },
    // ConnectX-4 and later: vectors from a pool (mellanox/mlx5/core/pci_irq.c,
    // mlx5_set_msix_vec_count), one for control events (MLX5_IRQ_VEC_COMP_BASE), one for each channel;
    // 256 channels at most (en.h, MLX5E_MAX_NUM_CHANNELS). Rates: mlx5/core/en_main.c,
    // mlx5e_set_vf_rate.
    Card {
        driver: "mlx5_core",
        vf_pci_ids: &[],
        rule: Rule::Pool {
            overhead: 1,
            most: 256,
        },
        linux_most: None,
        vectors_beside: 1,
        tx_rate: TxRate::From(1),
    },
    // Not known, on purpose: bnxt_en (the firmware divides what the PF has left among the VFs as they
    // come up, broadcom/bnxt/bnxt_sriov.c), virtio-net with SR-IOV (each VF's own configuration says,
    // and the host does not see it).
];

/// The entry of an adapter's VFs, if this kind of card is known.
pub(super) fn of(adapter: &AdapterFacts) -> Option<&'static Card> {
    let driver = adapter.driver.as_deref()?;
    let id = adapter.vf_pci_id.as_deref();
    CARDS.iter().find(|card| {
        let listed = || id.is_some_and(|id| card.vf_pci_ids.contains(&id));
        card.driver == driver && (card.vf_pci_ids.is_empty() || listed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first columns of the card's line.
    fn line(card: &Card) -> String {
        let vfs = match card.vf_pci_ids {
            [] => "all".to_owned(),
            ids => ids.join(", "),
        };
        let pairs = match card.rule {
            Rule::Fixed(pairs) => pairs.to_string(),
            Rule::ByVfCount {
                many,
                vfs_with_many,
                few,
            } => format!("{many} with at most {vfs_with_many} VFs, else {few}"),
            Rule::Pool { most, .. } => format!("the level's, at most {most}"),
        };
        let linux = card
            .linux_most
            .map_or("all".to_owned(), |most| most.to_string());
        let rate = match card.tx_rate {
            TxRate::No => "none".to_owned(),
            TxRate::From(least) => format!("from {least}"),
        };
        let driver = card.driver;
        format!("| `{driver}` | {vfs} | {pairs} | {linux} | {rate} |")
    }

    #[test]
    fn the_reference_page_says_the_same() {
        let page = include_str!("../../../../docs/reference/levels.md");
        for card in CARDS {
            assert!(page.contains(&line(card)), "missing: {}", line(card));
        }
        let lines = page.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(lines.count(), CARDS.len());
    }
}
