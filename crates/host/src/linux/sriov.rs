//! Whether SR-IOV can be used on a PCI function, and if not, why and how we know.
//!
//! Looked at in this order, so that the first thing to cure is named: capability, IOMMU, driver, bus
//! numbers, BAR space, isolation. Isolation is judged by the kernel's own verdict, the IOMMU groups
//! (it knows ports that isolate without saying so, drivers/pci/quirks.c); config space only explains
//! it. [`SriovSupport::NoOscSupport`] is never found: Linux says so in its log alone.

use accelnet_model::{PciAddress, SriovSupport};

use super::{
    pci::{self, Config, PortType},
    sysfs::{self, Root},
};
use crate::Result;

/// The verdict, and what it rests on if it is not [`SriovSupport::Supported`].
pub type Verdict = (SriovSupport, Option<String>);

/// Judges the function `pf`; `has_interface` says that a network driver is bound to it.
pub fn support(root: &Root, pf: PciAddress, has_interface: bool) -> Result<Verdict> {
    let refused = |state, evidence: String| Ok((state, Some(evidence)));
    let directory = root.pci(pf);
    let Some(total) = sysfs::parse::<u32>(&directory.join("sriov_totalvfs"))? else {
        return refused(SriovSupport::Unknown, no_capability(root, pf)?);
    };
    if sysfs::names(&root.path("sys/kernel/iommu_groups")).is_empty() {
        return refused(
            SriovSupport::NoIoMmuSupport,
            "there are no IOMMU groups in /sys/kernel/iommu_groups".into(),
        );
    }
    if !has_interface {
        let evidence = match pci::driver(root, pf) {
            Some(driver) => format!("driver {driver} makes no network interface of {pf}"),
            None => format!("no driver is bound to {pf}"),
        };
        return refused(SriovSupport::MissingPfDriver, evidence);
    }
    if total == 0 {
        return refused(
            SriovSupport::Unknown,
            "sriov_totalvfs is 0: the card's firmware offers no VFs".into(),
        );
    }
    let place = pci::place(root, pf)?;
    if let Some(evidence) = bus_numbers_short(root, pf, total, place.bridges.last())? {
        return refused(SriovSupport::NoBusResources, evidence);
    }
    if let Some(evidence) = bar_space_missing(root, pf)? {
        return refused(SriovSupport::NoVfBarSpace, evidence);
    }
    if let Some(evidence) = isolation_missing(root, pf, &place.bridges) {
        return refused(SriovSupport::MissingAcs, evidence);
    }
    Ok((SriovSupport::Supported, None))
}

/// Why the kernel offers no `sriov_totalvfs`.
fn no_capability(root: &Root, pf: PciAddress) -> Result<String> {
    let config = Config::read(root, pf)?;
    Ok(if config.extended(pci::SRIOV).is_some() {
        "the card has the SR-IOV capability, but the kernel does not use it (no CONFIG_PCI_IOV, or \
         refused by firmware: see the kernel log)"
            .into()
    } else if config.is_whole() {
        "the card has no SR-IOV capability (0010) in its configuration space".into()
    } else {
        "the kernel shows no sriov_totalvfs".into()
    })
}

/// The last VF's bus number must be one that the bridge above forwards (drivers/pci/iov.c,
/// `sriov_enable`: "bus … out of range"). On the root bus there is no bridge to ask.
fn bus_numbers_short(
    root: &Root,
    pf: PciAddress,
    total: u32,
    bridge: Option<&PciAddress>,
) -> Result<Option<String>> {
    let directory = root.pci(pf);
    let Some(bridge) = bridge else {
        return Ok(None);
    };
    let above = root.pci(*bridge).join("subordinate_bus_number");
    let (Some(offset), Some(stride), Some(last_bus)) = (
        sysfs::parse::<u32>(&directory.join("sriov_offset"))?,
        sysfs::parse::<u32>(&directory.join("sriov_stride"))?,
        sysfs::parse::<u32>(&above)?,
    ) else {
        return Ok(None);
    };
    let own = u32::from(pf.bus) << 8 | u32::from(pf.device) << 3 | u32::from(pf.function);
    let last = own + offset + stride.saturating_mul(total.saturating_sub(1));
    let needed = last >> 8;
    // Without ARI a function has 8 neighbours at most, and VFs go to further buses sooner.
    let ari = sysfs::parse::<u32>(&directory.join("ari_enabled"))?;
    let ari = if ari == Some(0) { "; ARI is off" } else { "" };
    let vf = total - 1;
    Ok((needed > last_bus).then(|| {
        format!("VF {vf} would be on bus {needed:02x}, but bridge {bridge} ends at bus {last_bus:02x}{ari}")
    }))
}

/// The kernel lists the VFs' BARs as resources 7 to 12 (include/linux/pci.h, `PCI_IOV_RESOURCES`);
/// one that got no addresses is marked `IORESOURCE_UNSET` or cleared.
fn bar_space_missing(root: &Root, pf: PciAddress) -> Result<Option<String>> {
    const IORESOURCE_UNSET: u64 = 0x2000_0000;
    let Some(text) = sysfs::read(&root.pci(pf).join("resource"))? else {
        return Ok(None);
    };
    let flags: Vec<u64> = text
        .lines()
        .skip(7)
        .take(6)
        .filter_map(|line| {
            let flags = line.split_whitespace().nth(2)?;
            u64::from_str_radix(flags.trim_start_matches("0x"), 16).ok()
        })
        .collect();
    // Kernels that list no VF resources say nothing.
    if flags.len() < 6 {
        return Ok(None);
    }
    let unset = flags.iter().any(|flags| flags & IORESOURCE_UNSET != 0);
    let none = flags.iter().all(|flags| *flags == 0);
    Ok((unset || none)
        .then(|| format!("{pf}: the VFs' memory BARs have no addresses (resource 7 to 12)")))
}

/// A VF made here lands in the group of the nearest bridge that does not isolate, so a PF in a
/// group with one of its own bridges has no isolation, and neither have VFs with peers
/// (drivers/iommu/iommu.c, `pci_device_group`).
fn isolation_missing(root: &Root, pf: PciAddress, bridges: &[PciAddress]) -> Option<String> {
    let peers_of = |function: PciAddress| {
        let group = pci::iommu_group(root, function)?;
        Some((group, pci::group_peers(root, group, function)))
    };
    let shared = match peers_of(pf) {
        Some((group, peers)) => bridges
            .iter()
            .find(|bridge| peers.contains(bridge))
            .map(|bridge| format!("{pf} shares IOMMU group {group} with bridge {bridge}")),
        None => Some(format!("{pf} is in no IOMMU group")),
    };
    let shared = shared.or_else(|| {
        vf_addresses(root, pf).into_iter().find_map(|(_, vf)| {
            let (group, peers) = peers_of(vf)?;
            let peer = peers.first()?;
            Some(format!("VF {vf} shares IOMMU group {group} with {peer}"))
        })
    })?;
    let ports: Vec<String> = bridges
        .iter()
        .filter(|bridge| lacks_acs(root, **bridge))
        .map(ToString::to_string)
        .collect();
    Some(if ports.is_empty() {
        shared
    } else {
        format!(
            "{shared}; no Access Control Services on {}",
            ports.join(", ")
        )
    })
}

/// Ports towards devices need ACS; a switch's upstream port does not.
fn lacks_acs(root: &Root, bridge: PciAddress) -> bool {
    Config::read(root, bridge).is_ok_and(|config| {
        config.is_whole()
            && matches!(
                config.port_type(),
                Some(PortType::Root | PortType::Downstream)
            )
            && !config.acs_isolates()
    })
}

/// The PF's VFs by index, from its `virtfnN` links.
pub fn vf_addresses(root: &Root, pf: PciAddress) -> Vec<(u32, PciAddress)> {
    let directory = root.pci(pf);
    let mut vfs: Vec<_> = sysfs::names(&directory)
        .iter()
        .filter_map(|name| {
            let index = name.strip_prefix("virtfn")?.parse().ok()?;
            let address = sysfs::link_name(&directory.join(name))?.parse().ok()?;
            Some((index, address))
        })
        .collect();
    vfs.sort_unstable();
    vfs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fixture;

    fn pf() -> PciAddress {
        "0000:01:00.0".parse().unwrap()
    }

    #[test]
    fn the_emulated_82576_is_supported() {
        let machine = fixture::igb();
        assert_eq!(
            support(machine.root(), pf(), true),
            Ok((SriovSupport::Supported, None))
        );
    }

    #[track_caller]
    fn refused(machine: &fixture::Machine, wanted: SriovSupport, words: &[&str]) {
        let (state, evidence) = support(machine.root(), pf(), true).unwrap();
        let evidence = evidence.unwrap_or_default();
        assert_eq!(state, wanted, "{evidence}");
        for word in words {
            assert!(evidence.contains(word), "{word} is not in: {evidence}");
        }
    }

    #[test]
    fn a_card_without_the_capability_is_unknown() {
        let machine = fixture::igb();
        let (state, evidence) =
            support(machine.root(), "0000:00:02.0".parse().unwrap(), true).unwrap();
        assert_eq!(state, SriovSupport::Unknown);
        assert!(evidence.unwrap().contains("no SR-IOV capability"));
    }

    #[test]
    fn a_machine_without_iommu_is_told_so() {
        let machine = fixture::igb();
        machine.remove("sys/kernel/iommu_groups");
        refused(&machine, SriovSupport::NoIoMmuSupport, &["iommu_groups"]);
    }

    #[test]
    fn a_pf_without_network_driver_is_told_so() {
        let machine = fixture::igb();
        machine.remove("sys/bus/pci/devices/0000:01:00.0/driver");
        let (state, evidence) = support(machine.root(), pf(), false).unwrap();
        assert_eq!(state, SriovSupport::MissingPfDriver);
        assert_eq!(
            evidence.as_deref(),
            Some("no driver is bound to 0000:01:00.0")
        );
    }

    #[test]
    fn a_shared_group_is_missing_isolation_and_names_the_port() {
        let machine = fixture::igb();
        machine.link(
            "sys/kernel/iommu_groups/7/devices/0000:00:10.0",
            "../../../../devices/pci0000:00/0000:00:10.0",
        );
        refused(
            &machine,
            SriovSupport::MissingAcs,
            &["group 7", "0000:00:10.0"],
        );
        // Without ACS in the root port's configuration space, that is named as the cause.
        let config = "sys/devices/pci0000:00/0000:00:10.0/config";
        machine.patch(config, 0x148, &[0; 8]);
        refused(
            &machine,
            SriovSupport::MissingAcs,
            &["no Access Control Services on 0000:00:10.0"],
        );
    }

    #[test]
    fn vfs_with_peers_are_missing_isolation() {
        let machine = fixture::igb();
        machine.link(
            "sys/kernel/iommu_groups/14/devices/0000:00:1f.2",
            "../../../../devices/pci0000:00/0000:00:1f.2",
        );
        refused(&machine, SriovSupport::MissingAcs, &["0000:00:1f.2"]);
    }

    #[test]
    fn too_few_bus_numbers_are_found() {
        let machine = fixture::igb();
        machine.write("sys/bus/pci/devices/0000:01:00.0/sriov_offset", "384\n");
        refused(
            &machine,
            SriovSupport::NoBusResources,
            &["bus 02", "bus 01"],
        );
    }

    #[test]
    fn missing_bar_space_is_found() {
        let machine = fixture::igb();
        let unset = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n".repeat(13);
        machine.write("sys/bus/pci/devices/0000:01:00.0/resource", &unset);
        refused(&machine, SriovSupport::NoVfBarSpace, &["BAR"]);
    }
}
