//! Each of the eight states, on each shape of card, through the same fact gathering as on a machine:
//! a good tree, and one thing of it changed as Linux would show it.

use accelnet_model::{AdapterFacts, IfName, MacAddr, Support};

use super::*;
use crate::linux::{
    adapters::{self, Answers},
    fixture::{self, Machine},
    link,
};

/// A machine, and where on it the card is.
struct Card {
    machine: Machine,
    /// The PF's directory, and that of the port above it.
    pf: String,
    port: String,
    driver: &'static str,
    /// Root bus as the kernel's log writes it.
    bridge: &'static str,
}

impl Card {
    fn new(machine: Machine, path: &str, driver: &'static str, bridge: &'static str) -> Self {
        let pf = format!("sys/devices/{path}");
        let (port, _) = pf.rsplit_once('/').unwrap();
        let port = port.to_owned();
        Self {
            machine,
            pf,
            port,
            driver,
            bridge,
        }
    }

    fn address(&self) -> &str {
        self.pf.rsplit_once('/').unwrap().1
    }

    fn write(&self, file: &str, text: &str) {
        self.machine.write(&format!("{}/{file}", self.pf), text);
    }

    fn remove(&self, file: &str) {
        self.machine.remove(&format!("{}/{file}", self.pf));
    }

    fn without_vfs(&self) {
        for (index, _) in
            vf_addresses(self.machine.root(), self.address().parse().unwrap()).unwrap()
        {
            self.remove(&format!("virtfn{index}"));
        }
    }

    /// The kernel's log holds these lines, `DEVICE` standing for driver and address.
    fn logs(&self, lines: &[&str]) {
        let device = format!("{} {}", self.driver, self.address());
        let record = |line: &&str| format!("6,1,1,-;{}\n", line.replace("DEVICE", &device));
        let text: String = lines.iter().map(record).collect();
        self.machine.write("dev/kmsg", &text);
    }

    fn observed(&self) -> AdapterFacts {
        let known = |_: &IfName| {
            Ok(Answers {
                link: link::Link {
                    permanent_mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
                    ..link::Link::default()
                },
                ..Answers::default()
            })
        };
        let log = KernelLog::default();
        let found = adapters::observe(
            self.machine.root(),
            &log,
            &known,
            &std::collections::BTreeSet::new(),
        )
        .unwrap();
        let [card] = <[AdapterFacts; 1]>::try_from(found.adapters).unwrap();
        card
    }
}

fn mlx5() -> Card {
    let path = "pci0000:5d/0000:5d:00.0/0000:5e:00.0";
    Card::new(fixture::mlx5(), path, "mlx5_core", "0000 [bus 5d-6b]")
}

fn ice() -> Card {
    let path = "pci0000:80/0000:80:03.0/0000:81:00.0";
    Card::new(fixture::ice(), path, "ice", "0000 [bus 80-ff]")
}

fn ixgbe() -> Card {
    let path = "pci0000:00/0000:00:02.0/0000:01:00.0/0000:02:08.0/0000:03:00.0";
    Card::new(fixture::ixgbe(), path, "ixgbe", "0000 [bus 00-7f]")
}

/// What is changed, the state that it must lead to, and words of the evidence.
type Case = (fn(&Card), SriovSupport, &'static [&'static str]);

const CASES: &[Case] = {
    use SriovSupport as S;
    &[
        (|_| {}, S::Supported, &[]),
        (no_capability_at_all, S::Unknown, &["no SR-IOV capability"]),
        (capability_not_used, S::Unknown, &["CONFIG_PCI_IOV"]),
        (
            |card| card.write("sriov_totalvfs", "0\n"),
            S::Unknown,
            &["firmware offers no VFs"],
        ),
        (
            port_without_acs,
            S::MissingAcs,
            &["shares IOMMU group", "no Access Control Services on 0000:"],
        ),
        (unbound, S::MissingPfDriver, &["no driver is bound"]),
        (
            |card| {
                card.without_vfs();
                card.logs(&["DEVICE: driver does not support SR-IOV configuration via sysfs"]);
            },
            S::MissingPfDriver,
            &["log says", "via sysfs"],
        ),
        (
            |card| card.write("sriov_offset", "256\n"),
            S::NoBusResources,
            &["would be on bus", "ends at bus"],
        ),
        (
            |card| {
                card.write("sriov_offset", "256\n");
                card.write("ari_enabled", "0\n");
                // Device Capabilities 2 of the port above.
                let config = format!("{}/config", card.port);
                card.machine.patch(&config, 0x64, &[0]);
            },
            S::NoBusResources,
            &["ARI is off (port 0000:", "does not forward it"],
        ),
        (
            |card| {
                card.without_vfs();
                card.logs(&["DEVICE: can't enable 8 VFs (bus 5f out of range of [bus 5e])"]);
            },
            S::NoBusResources,
            &["log says", "out of range"],
        ),
        (
            |card| card.machine.remove("sys/kernel/iommu_groups"),
            S::NoIoMmuSupport,
            &["no IOMMU groups"],
        ),
        (bar_marked_unset, S::NoVfBarSpace, &["resource 7 to 12"]),
        (bar_at_zero, S::NoVfBarSpace, &["resource 7 to 12"]),
        (
            |card| {
                card.without_vfs();
                card.logs(&["DEVICE: not enough MMIO resources for SR-IOV"]);
            },
            S::NoVfBarSpace,
            &["log says", "not enough MMIO"],
        ),
        (
            firmware_keeps_control,
            S::NoOscSupport,
            &["extended configuration space", "log says", "_OSC"],
        ),
    ]
};

fn no_capability_at_all(card: &Card) {
    card.remove("sriov_totalvfs");
    // ARI at 100 becomes the end of the list.
    let config = format!("{}/config", card.pf);
    card.machine.patch(&config, 0x100, &[0x0e, 0, 1, 0]);
}

fn capability_not_used(card: &Card) {
    card.remove("sriov_totalvfs");
}

fn port_without_acs(card: &Card) {
    let config = format!("{}/config", card.port);
    card.machine.patch(&config, 0x100, &[0; 8]);
    // The kernel puts into one group what the port does not keep apart.
    let address = card.port.rsplit_once('/').unwrap().1;
    let group = pci::iommu_group(card.machine.root(), card.address().parse().unwrap())
        .unwrap()
        .unwrap();
    let link = format!("sys/kernel/iommu_groups/{group}/devices/{address}");
    card.machine.link(&link, "../../../../devices");
}

fn unbound(card: &Card) {
    card.remove("driver");
    card.remove("net");
    card.machine.remove("sys/class/net");
}

/// Replaces the line of the VFs' first BAR.
fn bar(card: &Card, line: &str) {
    let text = card.machine.read(&format!("{}/resource", card.pf));
    let mut lines: Vec<&str> = text.lines().collect();
    assert!(lines[7].starts_with("0x00000000"), "{text}");
    lines[7] = line;
    card.write("resource", &(lines.join("\n") + "\n"));
}

fn bar_marked_unset(card: &Card) {
    bar(
        card,
        "0x0000000000000000 0x00000000007fffff 0x000000002014220c",
    );
}

fn bar_at_zero(card: &Card) {
    bar(
        card,
        "0x0000000000000000 0x00000000007fffff 0x000000000014220c",
    );
}

fn firmware_keeps_control(card: &Card) {
    card.remove("sriov_totalvfs");
    card.machine.shorten(&format!("{}/config", card.pf), 0x100);
    card.logs(&[
        &format!("ACPI: PCI Root Bridge [PC00] (domain {})", card.bridge),
        "acpi PNP0A08:00: _OSC: platform retains control of PCIe features (AE_NOT_FOUND)",
    ]);
}

#[test]
fn every_state_is_reached_on_every_shape_of_card() {
    for make in [mlx5, ice, ixgbe] {
        let mut reached = std::collections::HashSet::new();
        for (number, (change, state, words)) in CASES.iter().enumerate() {
            let card = make();
            change(&card);
            let found = card.observed();
            let evidence = found.sriov_evidence.clone().unwrap_or_default();
            let case = format!("{}, case {number}: {evidence}", card.driver);
            assert_eq!(found.sriov, *state, "{case}");
            assert_eq!(evidence.is_empty(), words.is_empty(), "{case}");
            for word in *words {
                assert!(evidence.contains(word), "'{word}' is not in: {case}");
            }
            reached.insert(found.sriov);
        }
        assert_eq!(reached.len(), 8, "{reached:?}");
    }
}

#[test]
fn firmware_that_keeps_control_but_does_no_harm_is_no_reason() {
    let card = ice();
    card.logs(&[
        "ACPI: PCI Root Bridge [PC00] (domain 0000 [bus 80-ff])",
        "acpi PNP0A08:00: _OSC: platform retains control of PCIe features (AE_NOT_FOUND)",
    ]);
    assert_eq!(card.observed().sriov, SriovSupport::Supported);
}

#[test]
fn another_root_bus_s_firmware_is_not_blamed() {
    let card = ixgbe();
    firmware_keeps_control(&card);
    card.logs(&[
        "ACPI: PCI Root Bridge [PC00] (domain 0000 [bus 80-ff])",
        "acpi PNP0A08:01: _OSC: platform retains control of PCIe features (AE_NOT_FOUND)",
    ]);
    assert_eq!(card.observed().sriov, SriovSupport::Unknown);
}

#[test]
fn an_old_refusal_does_not_count_beside_vfs() {
    let card = mlx5();
    card.logs(&["DEVICE: not enough MMIO resources for SR-IOV"]);
    let found = card.observed();
    assert_eq!(found.sriov, SriovSupport::Supported);
    assert_eq!(found.vfs.len(), 2);
}

#[test]
fn an_upstream_port_needs_no_acs() {
    let card = ixgbe();
    let group = pci::iommu_group(card.machine.root(), "0000:03:00.0".parse().unwrap())
        .unwrap()
        .unwrap();
    for bridge in ["0000:00:02.0", "0000:01:00.0", "0000:02:08.0"] {
        let link = format!("sys/kernel/iommu_groups/{group}/devices/{bridge}");
        card.machine.link(&link, "../../../../devices");
    }
    let root_port = "sys/devices/pci0000:00/0000:00:02.0/config";
    card.machine.patch(root_port, 0x106, &[0; 2]);
    let evidence = card.observed().sriov_evidence.unwrap();
    assert!(
        evidence.ends_with("no Access Control Services on 0000:00:02.0"),
        "{evidence}"
    );
}

#[test]
fn drivers_differ_in_what_they_show() {
    let (mlx5, ice, ixgbe) = (mlx5().observed(), ice().observed(), ixgbe().observed());
    let shown = |card: &AdapterFacts| {
        (
            card.pci_id.clone(),
            card.vf_pci_id.clone().unwrap(),
            card.total_vfs,
            card.vf_total_msix,
        )
    };
    let ids = |pf: &str, vf: &str| (pf.to_owned(), vf.to_owned());
    let (pf, vf) = ids("15b3:1017", "15b3:1018");
    assert_eq!(shown(&mlx5), (pf, vf, 8, Support::Supported(64)));
    let (pf, vf) = ids("8086:159b", "8086:1889");
    assert_eq!(shown(&ice), (pf, vf, 128, Support::Supported(1024)));
    let (pf, vf) = ids("8086:10fb", "8086:10ed");
    assert_eq!(shown(&ixgbe), (pf, vf, 63, Support::Unsupported));
    let link = |card: &AdapterFacts| (card.up, card.carrier, card.speed_mbps, card.numa_node);
    assert_eq!(link(&mlx5), (true, true, Some(100_000), Some(0)));
    assert_eq!(link(&ice), (true, false, None, Some(1)));
    assert_eq!(link(&ixgbe), (true, true, Some(10_000), Some(0)));
    assert_eq!(
        ixgbe.id.pci_path, "pci0000:00/02.0/00.0/08.0/00.0",
        "without bus numbers"
    );
    assert!(mlx5.vfs.iter().all(|vf| vf.group_peers.is_empty()));
}
