//! An adapter's own address filter: how many addresses it holds, what happens beyond, and whether an address
//! can be in it that a VF carries.
//!
//! Cards deliver what a VF sends to the PF only for addresses in the PF's filter; that the PF is promiscuous
//! helps on no card here for what comes from VFs, so "promiscuous" below means: reached from the wire, lost
//! from VFs. Sources are in Linux 6.12, below `drivers/net/ethernet`.
//!
//! | driver | addresses beside the PF's own | beyond | source |
//! |---|---|---|---|
//! | `igb` (82576) | 24 − 1 − VFs | refused (`ENOMEM`) | intel/igb/e1000_82575.h, `E1000_RAR_ENTRIES_82576`; igb_main.c, `igb_available_rars`, `igb_ndo_fdb_add` |
//! | `igb` (I350) | 32 − 1 − VFs | refused (`ENOMEM`) | the same, `E1000_RAR_ENTRIES_I350` |
//! | `ixgbe` | 128 − 2 − VFs (one is kept for storage) | refused (`ENOMEM`) | intel/ixgbe/ixgbe_82599.c, `IXGBE_82599_RAR_ENTRIES`; ixgbe_main.c, `ixgbe_available_rars`, `ixgbe_ndo_fdb_add` |
//! | `i40e` | firmware's, not told | promiscuous | intel/i40e/i40e_main.c, `i40e_aqc_add_filters` |
//! | `ice` | firmware's, not told | promiscuous | intel/ice/ice_main.c, `ice_vsi_sync_fltr` |
//! | `mlx5_core` | the devlink parameter `max_macs` − 1 | dropped, with a line in the kernel's log | mellanox/mlx5/core/en_fs.c, `mlx5e_vport_context_update_addr_list` |
//! | `bnxt_en` | 4 − 1 | promiscuous | broadcom/bnxt/bnxt.h, `BNXT_MAX_UC_ADDRS`; bnxt.c, `bnxt_cfg_rx_mode` |
//! | `bnx2x` | shared by functions, not told | promiscuous | broadcom/bnx2x/bnx2x_main.c, `bnx2x_set_rx_mode_inner` |
//! | `qede` | firmware's share, not told | promiscuous | qlogic/qede/qede_filter.c, `qede_config_rx_mode` |
//! | `sfc` | 32 − 1 | promiscuous | sfc/mcdi_filters.h, `EFX_EF10_FILTER_DEV_UC_MAX`; mcdi_filters.c, `efx_mcdi_filter_uc_addr_list` |
//!
//! *ice* has an address once for all of a card's functions: a VF's address that the PF's filter has is
//! refused (`EINVAL`), and one put into the filter that a VF has is taken and not set, without a word
//! (intel/ice/ice_virtchnl_pf.c, `ice_unicast_mac_exists`; ice_switch.c, `ice_add_mac`). Commit "ice: Fix VSIs
//! unable to share unicast MAC" (Linux 5.19) ended that. The kernel's own drivers say its version as theirs
//! (net/ethtool/ioctl.c, `ethtool_get_drvinfo`); of Intel's own package nobody knows here.

use accelnet_model::AdapterFacts;

/// First release of Linux whose ice can have an address at both.
const ICE_SHARES: (u32, u32) = (5, 19);

/// How many addresses beside its own an adapter's filter has room for, if that is known, with VFs that have
/// an address each.
pub fn filter_room(adapter: &AdapterFacts) -> Option<u32> {
    if let Some(room) = adapter.filter_room.value() {
        return Some(*room);
    }
    let vfs = adapter.vfs.len() as u32;
    let left = |entries: u32, kept: u32| Some(entries.saturating_sub(kept + vfs));
    match (adapter.driver.as_deref()?, adapter.vf_pci_id.as_deref()) {
        ("igb", Some("8086:10ca")) => left(24, 1),
        ("igb", Some("8086:1520")) => left(32, 1),
        ("ixgbe", _) => left(128, 2),
        ("bnxt_en", _) => Some(3),
        ("sfc", _) => Some(31),
        _ => None,
    }
}

/// False if an address cannot be in the adapter's filter while a VF of it carries it. Where nobody can tell
/// of a driver that once could not, it cannot: that is right with either.
pub fn shares_addresses(adapter: &AdapterFacts) -> bool {
    if adapter.driver.as_deref() != Some("ice") {
        return true;
    }
    let version = adapter.driver_version.as_deref().and_then(release);
    version.is_some_and(|version| version >= ICE_SHARES)
}

/// Major and minor number of a version.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use accelnet_model::Support;

    use super::*;
    use crate::fixture;

    #[test]
    fn rooms_are_what_is_left_beside_the_vfs() {
        let with = |driver: &str, vf: &str, vfs| {
            filter_room(&AdapterFacts {
                driver: Some(driver.to_owned()),
                vf_pci_id: Some(vf.to_owned()),
                filter_room: Support::Unsupported,
                ..fixture::adapter(vfs)
            })
        };
        assert_eq!(with("igb", "8086:10ca", 7), Some(16));
        assert_eq!(with("igb", "8086:1520", 7), Some(24));
        assert_eq!(with("igb", "8086:ffff", 7), None);
        assert_eq!(with("ixgbe", "8086:10ed", 63), Some(63));
        assert_eq!(with("bnxt_en", "14e4:16dc", 7), Some(3));
        assert_eq!(with("mlx5_core", "15b3:1018", 7), None);
        let told = AdapterFacts {
            filter_room: Support::Supported(127),
            ..fixture::adapter(7)
        };
        assert_eq!(filter_room(&told), Some(127));
    }

    #[test]
    fn only_an_ice_that_is_known_to_be_new_has_an_address_twice() {
        for (driver, version, expected) in [
            ("igb", None, true),
            ("ice", Some("6.12.95+deb12-amd64"), true),
            ("ice", Some("5.19.0"), true),
            ("ice", Some("5.15.0-91-generic"), false),
            ("ice", Some("1.14.13"), false),
            ("ice", Some("out of tree"), false),
            ("ice", None, false),
        ] {
            let adapter = AdapterFacts {
                driver: Some(driver.to_owned()),
                driver_version: version.map(str::to_owned),
                ..fixture::adapter(7)
            };
            assert_eq!(shares_addresses(&adapter), expected, "{version:?}");
        }
    }

    #[test]
    fn the_reference_page_says_the_same() {
        let page = include_str!("../../../../docs/reference/cards.md");
        let lines = include_str!("address_filter.rs").lines();
        let lines = lines.filter_map(|line| line.strip_prefix("//! "));
        let rows: Vec<&str> = lines.filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), 10);
        for row in rows {
            // All but the source.
            let columns: Vec<&str> = row.split('|').take(4).collect();
            let shown = columns.join("|");
            assert!(page.contains(shown.trim_end()), "missing: {shown}");
        }
    }
}
