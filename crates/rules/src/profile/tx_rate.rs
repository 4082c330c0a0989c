//! A limit on what a VM of a level sends: whether the card can, and what the VF then carries.

use accelnet_model::{AdapterFacts, Code, Problem, Support, VfAttributes};

use super::cards::{self, TxRate};

/// Why the adapter cannot limit its VFs to so many Mbit/s; `None` if it can, or if that shows only
/// when it is tried.
pub fn tx_rate_problem(adapter: &AdapterFacts, rate_mbps: u32) -> Option<Problem> {
    let name = &adapter.ifname;
    let driver = adapter.driver.as_deref().unwrap_or("its driver");
    let lacks =
        |vf: &accelnet_model::VfFacts| vf.attributes.max_tx_rate_mbps == Support::Unsupported;
    let rule = cards::of(adapter).map(|card| card.tx_rate);
    let cannot =
        format!("{name} ({driver}) cannot limit what its VFs send; {rate_mbps} Mbit/s are wanted.");
    let text = match (rule, adapter.speed_mbps) {
        (Some(TxRate::No), _) => cannot,
        _ if adapter.vfs.iter().any(lacks) => cannot,
        (Some(TxRate::OnlyAt { link_mbps, .. }), Some(speed)) if speed != link_mbps => format!(
            "{name} ({driver}) limits its VFs only on a link of {link_mbps} Mbit/s; it has {speed}, and \
             {rate_mbps} Mbit/s are wanted."
        ),
        (Some(TxRate::From(least) | TxRate::OnlyAt { least, .. }), _) if rate_mbps < least => {
            format!(
                "{name} ({driver}) limits its VFs to {least} Mbit/s at least; {rate_mbps} are wanted."
            )
        }
        (_, Some(speed)) if rate_mbps > speed => format!(
            "{name} has {speed} Mbit/s, and takes no limit of {rate_mbps} Mbit/s for its VFs."
        ),
        _ => return None,
    };
    Some(Problem::new(Code::TxRateNotPossible, text).about("adapter", name))
}

/// What a VF carries if the level has a limit too: the lower of two limits holds.
#[must_use]
pub fn limited(attributes: VfAttributes, rate_mbps: Option<u32>) -> VfAttributes {
    let Some(rate) = rate_mbps else {
        return attributes;
    };
    // 0 is the kernel's word for no limit.
    let present = attributes.max_tx_rate_mbps.value().copied();
    let lower = match present {
        Some(present) if present > 0 => present.min(rate),
        _ => rate,
    };
    VfAttributes {
        max_tx_rate_mbps: Support::Supported(lower),
        ..attributes
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::MacAddr;

    use super::*;
    use crate::fixture;

    fn card(driver: &str, id: &str, speed_mbps: Option<u32>) -> AdapterFacts {
        AdapterFacts {
            driver: Some(driver.into()),
            vf_pci_id: Some(id.into()),
            speed_mbps,
            ..fixture::adapter(2)
        }
    }

    #[test]
    fn the_lower_limit_holds() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        for (port, level, expected) in [
            (0, None, 0),
            (0, Some(500), 500),
            (300, None, 300),
            (300, Some(500), 300),
            (700, Some(500), 500),
        ] {
            let attributes = VfAttributes {
                max_tx_rate_mbps: Support::Supported(port),
                ..VfAttributes::for_mac(mac)
            };
            let found = limited(attributes.clone(), level);
            assert_eq!(found.max_tx_rate_mbps, Support::Supported(expected));
            let rest = VfAttributes {
                max_tx_rate_mbps: Support::Supported(port),
                ..found
            };
            assert_eq!(rest, attributes, "nothing else changes");
        }
    }

    #[test]
    fn cards_that_cannot_are_named_with_the_numbers() {
        for (driver, id, speed, rate, words) in [
            ("igb", "8086:10ca", Some(1000), 100, &[][..]),
            ("igb", "8086:10ca", Some(1000), 1000, &[]),
            ("igb", "8086:10ca", Some(1000), 1001, &["1000", "1001"]),
            (
                "igb",
                "8086:1520",
                Some(1000),
                100,
                &["igb", "cannot", "100"],
            ),
            ("ixgbe", "8086:10ed", Some(10_000), 10, &["11", "10"]),
            ("ixgbe", "8086:10ed", Some(10_000), 11, &[]),
            // An X550 on a slower port: the driver takes no rate at all.
            (
                "ixgbe",
                "8086:1565",
                Some(1000),
                100,
                &["10000", "1000", "100"],
            ),
            ("ixgbe", "8086:1565", None, 100, &[]),
            ("sfc", "1924:1a03", Some(10_000), 100, &["sfc", "cannot"]),
            ("bnxt_en", "14e4:16dc", Some(25_000), 100, &[]),
            ("i40e", "8086:154c", Some(10_000), 49, &["50", "49"]),
            ("mlx5_core", "15b3:101e", None, 400_000, &[]),
            ("unheard_of", "1234:5678", None, 100, &[]),
        ] {
            let found = tx_rate_problem(&card(driver, id, speed), rate);
            assert_eq!(
                found.is_none(),
                words.is_empty(),
                "{driver} {rate}: {found:?}"
            );
            if let Some(problem) = found {
                assert_eq!(problem.code, Code::TxRateNotPossible);
                for word in words {
                    assert!(problem.detail.contains(word), "{problem}");
                }
            }
        }
    }

    #[test]
    fn a_driver_that_said_so_is_believed() {
        let mut adapter = card("unheard_of", "1234:5678", None);
        adapter.vfs[1].attributes.max_tx_rate_mbps = Support::Unsupported;
        assert!(tx_rate_problem(&adapter, 100).is_some());
    }
}
