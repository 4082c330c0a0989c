//! The PCIe link of an intent's adapter: trained below what it could be, too narrow for the card's ports, with errors.

use std::collections::BTreeMap;

use accelnet_model::{AdapterFacts, Code, FaultSeverity, PcieLink};

use super::{Detection, Finding, Found, NodeScene, Window, link::adapters};

pub const DEGRADED: Detection = Detection {
    code: Code::PcieLinkDegraded,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "The speed or the lanes of the adapter's PCIe link are below what card and slot have in common.",
    because: "A link is trained when the machine starts or the card is reset, within a second; it lasts then.",
    window: Window::seconds(60, 60),
};

pub const OVERSUBSCRIBED: Detection = Detection {
    code: Code::PcieOversubscribed,
    severity: FaultSeverity::Notice,
    about: "adapter",
    by_node: true,
    finds: "The rates of the card's ports that have a link are together more than its PCIe link carries one way, without \
            its line code. Told of its first port.",
    because: "Ports of a card come up one after the other, and change their rates when they do.",
    window: Window::seconds(60, 60),
};

pub const ERRORS: Detection = Detection {
    code: Code::PcieErrors,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "The kernel's count of fatal and non-fatal errors of the adapter (aer_dev_fatal, aer_dev_nonfatal). Where the \
            firmware keeps AER to itself there is none, and nothing is seen.",
    because: "A link in order has none. They are told for an hour, as they come in bursts.",
    window: Window::times(1, 3600),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    // Ports of a card are functions of one device.
    let mut cards: BTreeMap<String, (&AdapterFacts, PcieLink, u64)> = BTreeMap::new();
    for facts in adapters(scene) {
        let object = scene.object("adapter", &facts.ifname);
        match facts.pcie_errors.value() {
            Some(errors) => {
                let evidence = format!("'{}' ({}).", facts.ifname, facts.pci);
                found.counted(
                    &ERRORS,
                    Finding::new(&ERRORS, object.clone(), evidence),
                    *errors,
                );
            }
            None => found.not_seen(&ERRORS, &object),
        }
        let Some(link) = facts.pcie.value() else {
            found.not_seen(&DEGRADED, &object);
            found.not_seen(&OVERSUBSCRIBED, &object);
            continue;
        };
        if link.is_below_its_best() {
            let evidence = format!(
                "'{}' ({}) has {} lanes of {}; card and slot could have {} lanes of {}.",
                facts.ifname,
                facts.pci,
                link.lanes,
                speed(link.speed_mts),
                link.best_lanes,
                speed(link.best_speed_mts)
            );
            found.wrong(&DEGRADED, Finding::new(&DEGRADED, object, evidence));
        }
        let pci = facts.pci;
        let card = format!("{:04x}:{:02x}:{:02x}", pci.domain, pci.bus, pci.device);
        let rate = facts.speed_mbps.filter(|_| facts.carrier).unwrap_or(0);
        let (_, _, sum) = cards.entry(card).or_insert((facts, *link, 0));
        *sum += u64::from(rate);
    }
    for (facts, link, sum) in cards.into_values() {
        if sum > link.mbps() {
            let evidence = format!(
                "The card's ports have {sum} Mbit/s together, its PCIe link {} Mbit/s.",
                link.mbps()
            );
            let object = scene.object("adapter", &facts.ifname);
            found.wrong(
                &OVERSUBSCRIBED,
                Finding::new(&OVERSUBSCRIBED, object, evidence),
            );
        }
    }
}

/// 2,500 MT/s are 2.5 GT/s.
fn speed(mts: u32) -> String {
    format!("{}.{} GT/s", mts / 1000, mts % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use accelnet_model::Support;

    use super::*;
    use crate::health::{Verdict, tests::Bench};

    fn link(speed_mts: u32, lanes: u32) -> Support<PcieLink> {
        Support::Supported(PcieLink {
            speed_mts,
            lanes,
            best_speed_mts: 8_000,
            best_lanes: 8,
        })
    }

    #[test]
    fn a_link_below_its_best_is_told_with_both() {
        let mut bench = Bench::new();
        bench.adapter().pcie = link(8_000, 8);
        assert_eq!(bench.codes(), []);
        bench.adapter().pcie = link(8_000, 4);
        let finding = bench.only(Code::PcieLinkDegraded);
        assert!(
            finding
                .evidence
                .contains("4 lanes of 8.0 GT/s; card and slot could have 8 lanes"),
            "{}",
            finding.evidence
        );
    }

    #[test]
    fn ports_of_a_card_share_its_link() {
        let mut bench = Bench::bonded();
        for (number, adapter) in bench.status.adapters.iter_mut().enumerate() {
            adapter.facts.pcie = link(8_000, 8);
            adapter.facts.speed_mbps = Some(40_000);
            adapter.facts.pci = format!("0000:01:00.{number}").parse().unwrap();
        }
        // 8 × 8 GT/s carry 63 Gbit/s.
        let finding = bench.only(Code::PcieOversubscribed);
        assert!(finding.evidence.contains("80000 Mbit/s together"));
        bench.adapter().carrier = false;
        assert_eq!(bench.codes(), [Code::AdapterLinkDown]);
        bench.adapter().carrier = true;
        // On cards of their own they do not.
        bench.adapter().pci = "0000:02:00.0".parse().unwrap();
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn errors_are_counted_where_the_kernel_counts_them() {
        let mut bench = Bench::new();
        let of_it = |bench: &Bench| {
            let mut all = bench.found().verdicts.into_iter();
            all.find(|(key, _)| key.code == Code::PcieErrors)
        };
        assert!(matches!(of_it(&bench), Some((_, Verdict::NotSeen))));
        bench.adapter().pcie_errors = Support::Supported(2);
        assert!(matches!(of_it(&bench), Some((_, Verdict::Counted(_, 2)))));
    }
}
