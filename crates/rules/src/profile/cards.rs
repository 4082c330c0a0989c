//! What is known of cards: queue pairs and MSI-X vectors of their VFs, and limits on what VFs send.
//!
//! Each number has its source: file and name in Linux 6.12, below `drivers/net/ethernet`. A card that is
//! not here is not known: nothing is guessed for it. `docs/reference/levels.md` has the same table.

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
    /// The driver or its firmware decides when VFs are made, by numbers that the host does not see.
    NotTold,
}

/// Whether the driver limits what a VF sends (`ip link set PF vf N max_tx_rate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TxRate {
    /// It does not.
    No,
    /// To rates from this many Mbit/s up to the speed of the link.
    From(u32),
    /// The same, but only while the link has this very speed.
    OnlyAt { link_mbps: u32, least: u32 },
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

/// Of a card whose queue pairs nobody can tell, neither what a VF has nor what is used.
const NOT_TOLD: Card = Card {
    driver: "",
    vf_pci_ids: &[],
    rule: Rule::NotTold,
    linux_most: None,
    vectors_beside: 0,
    tx_rate: TxRate::No,
};

const CARDS: &[Card] = &[
    // 82576: VF n has queues n and n + 8 (intel/igb/igb_main.c, igb_cache_ring_register), so two pairs.
    // igbvf allocates one ring each way (intel/igbvf/netdev.c, igbvf_alloc_queues) and enables 3
    // vectors: TX, RX, mailbox (igbvf_set_interrupt_capability). Rates up to the link's
    // (igb_ndo_set_vf_bw).
    Card {
        driver: "igb",
        vf_pci_ids: &["8086:10ca"],
        rule: Rule::Fixed(2),
        linux_most: Some(1),
        vectors_beside: 2,
        tx_rate: TxRate::From(1),
    },
    // I350: "cannot do RSS and SR-IOV at the same time", one pair a VF (igb_get_max_rss_queues).
    // No rates: igb_ndo_set_vf_bw answers EOPNOTSUPP for all but the 82576.
    Card {
        driver: "igb",
        vf_pci_ids: &["8086:1520"],
        rule: Rule::Fixed(1),
        linux_most: Some(1),
        vectors_beside: 2,
        tx_rate: TxRate::No,
    },
    // 82599, X540, X550: 128 queues in 32 pools of four or 64 of two; the PF takes a pool, so four
    // with at most 31 VFs (intel/ixgbe/ixgbe_lib.c, ixgbe_set_sriov_queues: vmdq_i > 32), which
    // ixgbe_get_vf_queues tells the VF. Traffic classes (DCB) and offloaded macvlans on the PF change
    // that. ixgbevf uses at most two (intel/ixgbevf/ixgbevf.h, IXGBEVF_MAX_RSS_QUEUES) and one more
    // vector (NON_Q_VECTORS). Rates above 10 Mbit/s, and only on a link of 10 Gbit/s (ixgbe_sriov.c,
    // ixgbe_ndo_set_vf_bw: "verify we are linked at 10Gbps").
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
        tx_rate: TxRate::OnlyAt {
            link_mbps: 10_000,
            least: 11,
        },
    },
    // XL710, X710, X722: four (intel/i40e/i40e.h, I40E_DEFAULT_QUEUES_PER_VF). The guest can ask for
    // up to 16 (I40E_MAX_VF_QUEUES, i40e_vc_request_queues_msg), which the host cannot do for it. One
    // vector is the admin queue's (intel/iavf/iavf.h, NONQ_VECS). Rates in steps of 50 Mbit/s, less
    // is raised to that and the rest rounded down (i40e_main.c, i40e_set_bw_limit).
    Card {
        driver: "i40e",
        vf_pci_ids: &[],
        rule: Rule::Fixed(4),
        linux_most: None,
        vectors_beside: 1,
        tx_rate: TxRate::From(50),
    },
    // E810 and later: vectors from a pool, one is the mailbox's (intel/ice/ice_sriov.h,
    // ICE_NONQ_VECS_VF), 16 pairs at most (ice_vf_lib.h, ICE_MAX_RSS_QS_PER_VF, which
    // ice_vc_validate_vqs_bitmaps enforces); per VF since Linux 6.7 (ice_sriov.c,
    // ice_sriov_set_msix_vec_count). Rates in kbit/s from 500 (ice_type.h, ICE_SCHED_MIN_BW;
    // ice_sriov.c, ice_set_vf_bw).
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
    // ConnectX-4 and later: vectors from a pool where the firmware has one
    // (mellanox/mlx5/core/pci_irq.c, mlx5_set_msix_vec_count), one for control events
    // (MLX5_IRQ_VEC_COMP_BASE), one for each channel; 256 channels at most (en.h,
    // MLX5E_MAX_NUM_CHANNELS). The firmware's own bounds for one VF
    // (min_ and max_dynamic_vf_msix_table_size) are not shown to the host. Rates: en_main.c,
    // mlx5e_set_vf_rate, if the firmware can (esw/qos.c, esw_rate_limit).
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
    // NetXtreme-C and -E: each VF gets an equal share of the rings and vectors that the PF leaves, or
    // one ring and what it finds later (broadcom/bnxt/bnxt_sriov.c, bnxt_hwrm_func_vf_resc_cfg); the
    // firmware chooses which (vf_resv_strategy), and the host sees neither that nor how many rings
    // there are. Rates: bnxt_set_vf_bw, in Mbit/s (bnxt_hsi.h, FUNC_CFG_REQ_MAX_BW_BW_VALUE_UNIT_MEGA).
    Card {
        driver: "bnxt_en",
        tx_rate: TxRate::From(1),
        ..NOT_TOLD
    },
    // NetXtreme II 578xx: no rates, its operations have no ndo_set_vf_rate
    // (broadcom/bnx2x/bnx2x_main.c, bnx2x_netdev_ops).
    Card {
        driver: "bnx2x",
        tx_rate: TxRate::No,
        ..NOT_TOLD
    },
    // Solarflare: no rates, its operations have no ndo_set_vf_rate (sfc/efx.c, efx_netdev_ops).
    Card {
        driver: "sfc",
        tx_rate: TxRate::No,
        ..NOT_TOLD
    },
    // HiSilicon: queues are divided by the VFs the firmware has room for, not by those that are made
    // (hisilicon/hns3/hns3pf/hclge_main.c, hclge_alloc_vport). Rates: hclge_set_vf_rate.
    Card {
        driver: "hns3",
        tx_rate: TxRate::From(1),
        ..NOT_TOLD
    },
    // Not here, on purpose: virtio-net with SR-IOV (each VF's own configuration says, and the host does
    // not see it).
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
            Rule::NotTold => "not known".to_owned(),
        };
        let linux = match (card.linux_most, card.rule) {
            (Some(most), _) => most.to_string(),
            (None, Rule::NotTold) => "not known".to_owned(),
            (None, _) => "all".to_owned(),
        };
        let rate = match card.tx_rate {
            TxRate::No => "none".to_owned(),
            TxRate::From(least) => format!("from {least}"),
            TxRate::OnlyAt { link_mbps, least } => {
                format!("from {least}, on a link of {link_mbps}")
            }
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
