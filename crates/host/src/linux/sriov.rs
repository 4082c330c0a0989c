//! Whether SR-IOV can be used on a PCI function, and if not, why and how we know.
//!
//! Looked at in this order, so that the first thing to cure is named: capability, IOMMU, driver, bus
//! numbers, BAR space, isolation. Isolation is judged by the kernel's own verdict, the IOMMU groups
//! (it knows ports that isolate without saying so, drivers/pci/quirks.c); config space only explains
//! it. The kernel's log is asked only where nothing else says it: that firmware kept control of PCI
//! Express (which alone is no reason: many such machines make VFs), and what an earlier try to make
//! VFs failed of, which counts only while there are none.

use accelnet_model::{PciAddress, SriovSupport};

use super::{
    kernel_log::KernelLog,
    pci::{self, Config, PortType},
    sysfs::{self, Root},
};
use crate::Result;

/// The verdict, and what it rests on if it is not [`SriovSupport::Supported`].
pub type Verdict = (SriovSupport, Option<String>);

/// Judges the function `pf`; `has_interface` says that a network driver is bound to it.
pub fn support(
    root: &Root,
    log: &KernelLog,
    pf: PciAddress,
    has_interface: bool,
) -> Result<Verdict> {
    let refused = |state, evidence: String| Ok((state, Some(evidence)));
    let directory = root.pci(pf);
    let Some(total) = sysfs::parse::<u32>(&directory.join("sriov_totalvfs"))? else {
        return no_capability(root, log, pf);
    };
    if sysfs::names(&root.path("sys/kernel/iommu_groups"))?.is_empty() {
        return refused(
            SriovSupport::NoIoMmuSupport,
            "there are no IOMMU groups in /sys/kernel/iommu_groups".into(),
        );
    }
    if !has_interface {
        let evidence = match pci::driver(root, pf)? {
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
    let tried = match vf_addresses(root, pf)?.is_empty() {
        true => log.refusal(root, pf),
        false => None,
    };
    if let Some(refusal) = &tried
        && refusal.state == SriovSupport::MissingPfDriver
    {
        return refused(refusal.state, in_log(&refusal.line));
    }
    if let Some(evidence) = bus_numbers_short(root, pf, total, place.bridges.last())? {
        return refused(SriovSupport::NoBusResources, evidence);
    }
    if let Some(evidence) = bar_space_missing(root, pf)? {
        return refused(SriovSupport::NoVfBarSpace, evidence);
    }
    if let Some(refusal) = tried {
        return refused(refusal.state, in_log(&refusal.line));
    }
    if let Some(evidence) = isolation_missing(root, pf, &place.bridges)? {
        return refused(SriovSupport::MissingAcs, evidence);
    }
    Ok((SriovSupport::Supported, None))
}

fn in_log(line: &str) -> String {
    format!("the kernel's log says: {line}")
}

/// Why the kernel offers no `sriov_totalvfs`. Its capability is in extended configuration space: if
/// the system cannot get there, it is firmware that keeps it from there (`_OSC`, MCFG table).
fn no_capability(root: &Root, log: &KernelLog, pf: PciAddress) -> Result<Verdict> {
    let config = Config::read(root, pf)?;
    let evidence = if config.extended(pci::SRIOV).is_some() {
        "the card has the SR-IOV capability, but the kernel does not use it (no CONFIG_PCI_IOV, or \
         refused by firmware: see the kernel log)"
    } else if config.lacks_extended_space() {
        "the kernel cannot read the card's extended configuration space, where the SR-IOV \
         capability would be"
    } else if config.is_whole() {
        let evidence = "the card has no SR-IOV capability (0010) in its configuration space";
        return Ok((SriovSupport::Unknown, Some(evidence.into())));
    } else {
        "the kernel shows no sriov_totalvfs"
    };
    let place = pci::place(root, pf)?;
    Ok(match log.osc_refused(root, place.root_bus()) {
        Some(line) => {
            let evidence = format!("{evidence}; {}", in_log(&line));
            (SriovSupport::NoOscSupport, Some(evidence))
        }
        None => (SriovSupport::Unknown, Some(evidence.into())),
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
    let Some(bridge) = bridge else {
        return Ok(None);
    };
    let directory = root.pci(pf);
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
    if needed <= last_bus {
        return Ok(None);
    }
    let ari = ari_missing(root, pf, *bridge)?.unwrap_or_default();
    let vf = total - 1;
    Ok(Some(format!(
        "VF {vf} would be on bus {needed:02x}, but bridge {bridge} ends at bus {last_bus:02x}{ari}"
    )))
}

/// Without ARI a function has 8 neighbours at most, and VFs go to further buses sooner. Card and
/// port must both have it.
fn ari_missing(root: &Root, pf: PciAddress, bridge: PciAddress) -> Result<Option<String>> {
    if sysfs::parse::<u32>(&root.pci(pf).join("ari_enabled"))? != Some(0) {
        return Ok(None);
    }
    let port = Config::read(root, bridge)?;
    let because = if Config::read(root, pf)?.extended(pci::ARI).is_none() {
        format!(" (card {pf} does not have it)")
    } else if port.is_whole() && !port.can_forward_ari() {
        format!(" (port {bridge} does not forward it)")
    } else {
        String::new()
    };
    Ok(Some(format!("; ARI is off{because}")))
}

/// The kernel lists the VFs' BARs as resources 7 to 12 (include/linux/pci.h, `PCI_IOV_RESOURCES`);
/// one that got no addresses is marked `IORESOURCE_UNSET`, begins at 0, or is cleared.
fn bar_space_missing(root: &Root, pf: PciAddress) -> Result<Option<String>> {
    const IORESOURCE_UNSET: u64 = 0x2000_0000;
    let Some(text) = sysfs::read(&root.pci(pf).join("resource"))? else {
        return Ok(None);
    };
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let bars: Vec<(u64, u64)> = text
        .lines()
        .skip(7)
        .take(6)
        .filter_map(|line| {
            let mut words = line.split_whitespace().filter_map(number);
            Some((words.next()?, words.nth(1)?))
        })
        .collect();
    // Kernels that list no VF resources say nothing.
    if bars.len() < 6 {
        return Ok(None);
    }
    let unset =
        |(start, flags): &(u64, u64)| flags & IORESOURCE_UNSET != 0 || (*start == 0 && *flags != 0);
    let unset = bars.iter().any(unset);
    let none = bars.iter().all(|(_, flags)| *flags == 0);
    Ok((unset || none)
        .then(|| format!("{pf}: the VFs' memory BARs have no addresses (resource 7 to 12)")))
}

/// A VF made here lands in the group of the nearest bridge that does not isolate, so a PF in a
/// group with one of its own bridges has no isolation, and neither have VFs with peers
/// (drivers/iommu/iommu.c, `pci_device_group`).
fn isolation_missing(
    root: &Root,
    pf: PciAddress,
    bridges: &[PciAddress],
) -> Result<Option<String>> {
    let peers_of = |function: PciAddress| {
        let Some(group) = pci::iommu_group(root, function)? else {
            return Ok(None);
        };
        Ok(Some((group, pci::group_peers(root, group, function)?)))
    };
    let mut shared = match peers_of(pf)? {
        Some((group, peers)) => bridges
            .iter()
            .find(|bridge| peers.contains(bridge))
            .map(|bridge| format!("{pf} shares IOMMU group {group} with bridge {bridge}")),
        None => Some(format!("{pf} is in no IOMMU group")),
    };
    for (_, vf) in vf_addresses(root, pf)? {
        if shared.is_none()
            && let Some((group, peers)) = peers_of(vf)?
        {
            let with = |peer| format!("VF {vf} shares IOMMU group {group} with {peer}");
            shared = peers.first().map(with);
        }
    }
    let Some(shared) = shared else {
        return Ok(None);
    };
    let ports: Vec<String> = bridges
        .iter()
        .filter(|bridge| lacks_acs(root, **bridge))
        .map(ToString::to_string)
        .collect();
    Ok(Some(if ports.is_empty() {
        shared
    } else {
        format!(
            "{shared}; no Access Control Services on {}",
            ports.join(", ")
        )
    }))
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
pub fn vf_addresses(root: &Root, pf: PciAddress) -> Result<Vec<(u32, PciAddress)>> {
    let directory = root.pci(pf);
    let mut vfs = Vec::new();
    for name in sysfs::names(&directory)? {
        let index = name.strip_prefix("virtfn").map(str::parse);
        let Some(Ok(index)) = index else {
            continue;
        };
        // A link that is there no more went with its VF.
        if let Some(address) = sysfs::link_to(&directory.join(name))? {
            vfs.push((index, address));
        }
    }
    vfs.sort_unstable();
    Ok(vfs)
}

#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;
