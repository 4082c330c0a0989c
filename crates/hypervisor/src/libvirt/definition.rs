//! Reading a VM's definition. Only read: a user's XML is never written back whole.

use std::collections::BTreeSet;

use accelnet_model::{HostdevFacts, IfName, MacAddr, NicFacts, VmFacts, VmState};
use roxmltree::Node;
use uuid::Uuid;

use super::{
    nic, numa, policy, process, taps,
    xml::{
        self, Element, attribute, child, children, malformed, nic_mac, number, pci_address,
        software_nic, software_nics, teaming, text,
    },
};
use crate::Result;

/// A VM, as libvirt names it without asking QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Identity.
    pub uuid: Uuid,
    /// Its name, to the blank.
    pub name: String,
}

/// Everything about a VM from its live definition (or the only one, if it is off) and its persistent
/// one. A NIC without an address is left out; a host device without one makes it unknown what the VM has.
pub fn facts(vm: &Named, live: &str, config: Option<&str>, state: VmState) -> Result<VmFacts> {
    xml::read(live, |_, live| match config {
        Some(config) => xml::read(config, |_, config| of(vm, live, Some(config), state)),
        None => of(vm, live, None, state),
    })
}

fn of(
    vm: &Named,
    root: Element<'_>,
    config: Option<Element<'_>>,
    state: VmState,
) -> Result<VmFacts> {
    let running = state != VmState::Off;
    Ok(VmFacts {
        uuid: vm.uuid,
        name: vm.name.clone(),
        pid: running.then(|| process::id(&vm.name)).flatten(),
        state,
        job: None,
        persistent: config.is_some(),
        managed_by: manager(root),
        machine: machine(root),
        vcpus: vcpus(root),
        memory_mib: memory_mib(root),
        memory_held_mib: memory_held_mib(root, running.then_some(&vm.name)),
        memory_unpinnable: memory_unpinnable(root),
        memory_on: numa::memory_on(root),
        cpus_on: numa::cpus_on(root),
        free_root_ports_live: if running { free_root_ports(root) } else { 0 },
        free_root_ports_config: config.map_or(0, free_root_ports),
        nics: nics(root, config, running)?,
        nics_staged: config
            .filter(|_| running)
            .map_or_else(|| Ok(Vec::new()), |config| staged_nics(root, config))?,
        hostdevs: if running {
            hostdevs(root)?
                .into_iter()
                .map(|(hostdev, _)| hostdev)
                .collect()
        } else {
            Vec::new()
        },
        hostdevs_config: match config {
            Some(config) => {
                let devices = hostdevs(config)?.into_iter();
                devices.map(|(device, _)| device.pci).collect()
            }
            None => Vec::new(),
        },
    })
}

/// A host device of a running VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostdev {
    /// What is told of it.
    pub facts: HostdevFacts,
    /// Its own element, to the byte.
    pub element: String,
}

/// Host devices of a live definition.
pub fn hostdevs_of(xml: &str) -> Result<Vec<Hostdev>> {
    xml::read(xml, |text, root| {
        let all = hostdevs(root)?.into_iter();
        Ok(all
            .map(|(facts, element)| Hostdev {
                facts,
                element: text[element.range()].to_owned(),
            })
            .collect())
    })
}

/// Free PCIe root ports of a definition.
pub fn free_root_ports_of(xml: &str) -> Result<u32> {
    xml::read(xml, |_, root| Ok(free_root_ports(root)))
}

/// libvirt's name of the NIC with this address.
pub fn nic_alias(xml: &str, mac: MacAddr) -> Result<Option<String>> {
    xml::read(xml, |_, root| {
        let nic = software_nic(root, mac);
        let alias = nic.and_then(|nic| attribute(nic, "alias", "name"));
        Ok(alias.map(str::to_owned))
    })
}

/// True if a definition has a software NIC with this address.
pub fn has_nic(xml: &str, mac: MacAddr) -> Result<bool> {
    xml::read(xml, |_, root| Ok(software_nic(root, mac).is_some()))
}

fn machine(root: Element<'_>) -> String {
    let kind = child(root, "os").and_then(|os| attribute(os, "type", "machine"));
    kind.unwrap_or_default().to_owned()
}

fn vcpus(root: Element<'_>) -> u32 {
    let current = attribute(root, "vcpu", "current").map(str::to_owned);
    current
        .or_else(|| text(root, "vcpu"))
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// What the guest has now, or at its start; what it was promised of virtio-mem and has not taken yet is pinned
/// as soon as it does.
fn memory_mib(root: Element<'_>) -> u64 {
    whole(root).saturating_sub(unplugged(root, Plugged::NowOrSoon)) >> 20
}

/// What of a virtio-mem device counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugged {
    /// What the guest has.
    Now,
    /// What it has, or will take.
    NowOrSoon,
}

/// In bytes. What cannot be read is more than any node has; a definition that says nothing has none.
fn whole(root: Element<'_>) -> u64 {
    match child(root, "memory") {
        Some(memory) => bytes_of(memory).unwrap_or(u64::MAX),
        None => 0,
    }
}

/// What virtio-mem could plug and has not (<https://libvirt.org/formatdomain.html#memory-devices>), in bytes. It
/// counts in the whole, and is not there to be pinned. What cannot be read is taken for plugged.
fn unplugged(root: Element<'_>, counts: Plugged) -> u64 {
    let devices = children(root, "devices").flat_map(|devices| children(devices, "memory"));
    let virtio = devices.filter(|device| device.attribute("model") == Some("virtio-mem"));
    let targets = virtio.filter_map(|device| child(device, "target"));
    let missing = targets.map(|target| {
        let size = child(target, "size").and_then(bytes_of)?;
        let (now, soon) = (child(target, "current"), child(target, "requested"));
        let plugged = match (counts, now) {
            (Plugged::Now, Some(now)) => bytes_of(now)?,
            (Plugged::NowOrSoon, Some(now)) => bytes_of(now)?.max(soon.map_or(Some(0), bytes_of)?),
            // A VM that is off has taken nothing yet.
            (_, None) => bytes_of(soon?)?,
        };
        Some(size.saturating_sub(plugged))
    });
    missing.flatten().fold(0, u64::saturating_add)
}

/// What pinning needs not find any more: huge pages are set aside before the VM starts, and what the guest
/// has touched is its already. To an eighth of the whole, so that it is told only when it matters. Of what cannot
/// be looked at nothing is counted, so that all of it must still be found.
fn memory_held_mib(root: Element<'_>, runs: Option<&String>) -> u64 {
    let whole = memory_mib(root);
    let pages = child(root, "memoryBacking").and_then(|backing| child(backing, "hugepages"));
    // Those of single NUMA nodes are not all of it.
    let all =
        |pages: Element<'_>| children(pages, "page").all(|page| !page.has_attribute("nodeset"));
    if pages.is_some_and(all) {
        return whole;
    }
    let resident = runs
        .and_then(|name| process::resident_mib(name))
        .unwrap_or(0);
    let part = (whole / 8).max(1);
    resident.min(whole) / part * part
}

/// Units: <https://libvirt.org/formatdomain.html#memory-allocation>; KiB if none is given. `None` if it cannot be
/// read.
fn bytes_of(memory: Element<'_>) -> Option<u64> {
    let amount: u64 = memory.text()?.trim().parse().ok()?;
    let bytes = match memory.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    };
    Some(amount.saturating_mul(bytes))
}

/// Confidential guests' memory is encrypted for the guest; a ballooned guest has given memory back
/// that pinning would take again.
fn memory_unpinnable(root: Element<'_>) -> Option<String> {
    if let Some(kind) = attribute(root, "launchSecurity", "type") {
        return Some(format!("it is a confidential guest ({kind})"));
    }
    let devices = child(root, "devices")?;
    let balloon = attribute(devices, "memballoon", "model").is_some_and(|model| model != "none");
    let current = child(root, "currentMemory").filter(|_| balloon)?;
    let Some(current) = bytes_of(current).map(|bytes| bytes >> 10) else {
        return Some("what it has of its memory now cannot be read".to_owned());
    };
    let all = whole(root).saturating_sub(unplugged(root, Plugged::Now)) >> 10;
    (current < all).then(|| format!("its memory is ballooned ({current} of {all} KiB)"))
}

/// Managers mark their VMs in the metadata by a namespace of their own.
fn manager(root: Element<'_>) -> Option<String> {
    const MANAGERS: &[(&str, &str)] = &[
        ("openstack.org", "OpenStack Nova"),
        ("ovirt.org", "oVirt"),
        ("kubevirt.io", "KubeVirt"),
        ("opennebula", "OpenNebula"),
    ];
    let metadata = child(root, "metadata")?;
    metadata
        .children()
        .filter(Node::is_element)
        .find_map(|element| {
            let namespace = element.tag_name().namespace()?;
            MANAGERS
                .iter()
                .find(|(mark, _)| namespace.contains(mark))
                .map(|(_, name)| (*name).to_owned())
        })
}

/// Root ports that take a device by hotplug and have none: no device's own address is on their bus. A
/// device whose address cannot be read is on one of them.
fn free_root_ports(root: Element<'_>) -> u32 {
    let Some(devices) = child(root, "devices") else {
        return 0;
    };
    let addresses = devices
        .children()
        .filter(Node::is_element)
        .filter_map(|device| {
            children(device, "address").find(|a| a.attribute("type") == Some("pci"))
        });
    let (mut used, mut somewhere) = (BTreeSet::new(), 0);
    for address in addresses {
        match pci_address(address) {
            Some(address) => {
                used.insert(u32::from(address.bus));
            }
            None => somewhere += 1,
        }
    }
    let free = children(devices, "controller")
        .filter(|controller| controller.attribute("model") == Some("pcie-root-port"))
        .filter(|controller| attribute(*controller, "target", "hotplug") != Some("off"))
        .filter_map(|controller| number(controller.attribute("index")?))
        .filter(|index| !used.contains(index));
    (free.count() as u32).saturating_sub(somewhere)
}

fn nics(root: Element<'_>, config: Option<Element<'_>>, running: bool) -> Result<Vec<NicFacts>> {
    let mut nics = Vec::new();
    for nic in software_nics(root) {
        let Some(mac) = nic_mac(nic) else {
            tracing::debug!("a NIC without a readable address is left out");
            continue;
        };
        let persistent = teaming(nic) == Some("persistent");
        let of_config = config.and_then(|config| software_nic(config, mac));
        let interface = |name: Option<&str>| -> Option<IfName> { name?.parse().ok() };
        let tap = interface(attribute(nic, "target", "dev"));
        // Of a tap that somebody else made and put somewhere only the kernel knows where.
        let somewhere = tap
            .as_ref()
            .filter(|_| nic.attribute("type") == Some("ethernet"));
        let bridge = match (interface(attribute(nic, "source", "bridge")), somewhere) {
            (None, Some(tap)) => taps::master(tap)?,
            (named, _) => named,
        };
        nics.push(NicFacts {
            mac,
            alias: attribute(nic, "alias", "name")
                .filter(|_| running)
                .map(str::to_owned),
            model: attribute(nic, "model", "type")
                .unwrap_or("default")
                .to_owned(),
            // One that cannot be read is larger than any adapter's.
            mtu: attribute(nic, "mtu", "size").map(|size| size.parse().unwrap_or(u32::MAX)),
            bridge,
            direct: interface(attribute(nic, "source", "dev"))
                .filter(|_| nic.attribute("type") == Some("direct")),
            tap: tap.filter(|_| running),
            standby_live: running && persistent,
            standby_config: of_config.and_then(teaming) == Some("persistent"),
            queues_live: nic::queues(nic),
            queues_config: of_config.map_or(1, nic::queues),
            queues_can_be_raised: of_config.is_some_and(nic::can_have_queues),
            link_up: attribute(nic, "link", "state") != Some("down"),
            policy: policy::of(nic, mac),
        });
    }
    Ok(nics)
}

/// NICs of the persistent definition that the running VM does not have. One that names a network of libvirt may
/// be a VF of that network's pool: then the running VM has it as a host device.
fn staged_nics(live: Element<'_>, config: Element<'_>) -> Result<Vec<NicFacts>> {
    let has = |nic: Element<'_>| {
        let pooled = nic.attribute("type") == Some("network");
        let mut interfaces =
            children(live, "devices").flat_map(|devices| children(devices, "interface"));
        let address = nic_mac(nic);
        interfaces.any(|here| {
            let device = here.attribute("type") == Some("hostdev");
            nic_mac(here) == address && (!device || pooled)
        })
    };
    let to_come: BTreeSet<MacAddr> = software_nics(config)
        .filter(|nic| !has(*nic))
        .filter_map(nic_mac)
        .collect();
    let mut staged = nics(config, Some(config), false)?;
    staged.retain(|nic| to_come.contains(&nic.mac));
    Ok(staged)
}

/// Host devices of both kinds, with their elements.
fn hostdevs<'a>(root: Element<'a>) -> Result<Vec<(HostdevFacts, Element<'a>)>> {
    let Some(devices) = child(root, "devices") else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for device in devices.children().filter(Node::is_element) {
        let interface =
            device.has_tag_name("interface") && device.attribute("type") == Some("hostdev");
        let hostdev = device.has_tag_name("hostdev") && device.attribute("type") == Some("pci");
        if !interface && !hostdev {
            continue;
        }
        let pci = child(device, "source")
            .and_then(|source| child(source, "address"))
            .and_then(pci_address);
        let facts = HostdevFacts {
            pci: pci.ok_or_else(|| malformed("a host device without a readable address"))?,
            mac: nic_mac(device).filter(|_| interface),
            alias: attribute(device, "alias", "name").map(str::to_owned),
            teaming_with: attribute(device, "teaming", "persistent").map(str::to_owned),
        };
        found.push((facts, device));
    }
    Ok(found)
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
