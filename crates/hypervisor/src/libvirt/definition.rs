//! Reading a VM's definition. Only read: a user's XML is never written back whole.

use std::{collections::BTreeSet, fs};

use accelnet_model::{
    HostdevFacts, IfName, MacAddr, NicFacts, PciAddress, PolicyFinding, PolicyKind, VmFacts,
    VmState,
};
use roxmltree::{Document, Node};

use super::nic;
use crate::{HypervisorError, Result};

pub(super) type Element<'a> = Node<'a, 'a>;

/// Everything about a VM from its live definition (or the only one, if it is off) and its persistent
/// one.
pub fn facts(live: &str, config: Option<&str>, state: VmState) -> Result<VmFacts> {
    let live = parse(live)?;
    let root = live.root_element();
    let name = text(root, "name").unwrap_or_default();
    let config = config.map(parse).transpose()?;
    let config_root = config.as_ref().map(Document::root_element);
    let running = state != VmState::Off;
    let uuid = text(root, "uuid").and_then(|uuid| uuid.parse().ok());
    Ok(VmFacts {
        uuid: uuid.ok_or_else(|| malformed("it has no UUID"))?,
        pid: running.then(|| process_id(&name)).flatten(),
        state,
        job: None,
        persistent: config_root.is_some(),
        managed_by: manager(root),
        machine: machine(root),
        vcpus: vcpus(root),
        memory_mib: memory_mib(root),
        memory_unpinnable: memory_unpinnable(root),
        free_root_ports_live: if running { free_root_ports(root) } else { 0 },
        free_root_ports_config: config_root.map_or(0, free_root_ports),
        nics: nics(root, config_root, running)?,
        nics_staged: match config_root.filter(|_| running) {
            Some(config) => staged_nics(root, config)?,
            None => Vec::new(),
        },
        hostdevs: if running { hostdevs(root)? } else { Vec::new() },
        name,
    })
}

/// Host devices of a live definition.
pub fn hostdevs_of(xml: &str) -> Result<Vec<HostdevFacts>> {
    hostdevs(parse(xml)?.root_element())
}

/// Free PCIe root ports of a definition.
pub fn free_root_ports_of(xml: &str) -> Result<u32> {
    Ok(free_root_ports(parse(xml)?.root_element()))
}

/// True if a definition has a NIC with this address.
pub fn has_nic(xml: &str, mac: MacAddr) -> Result<bool> {
    let document = parse(xml)?;
    let mut nics = children(document.root_element(), "devices")
        .flat_map(|devices| children(devices, "interface"));
    Ok(nics.any(|nic| nic_mac(nic) == Some(mac)))
}

pub(super) fn parse(xml: &str) -> Result<Document<'_>> {
    Document::parse(xml).map_err(|error| malformed(&error.to_string()))
}

pub(super) fn malformed(reason: &str) -> HypervisorError {
    HypervisorError::Malformed(reason.to_owned())
}

pub(super) fn children<'a>(
    node: Element<'a>,
    name: &'static str,
) -> impl Iterator<Item = Element<'a>> {
    node.children()
        .filter(move |child| child.has_tag_name(name))
}

pub(super) fn child<'a>(node: Element<'a>, name: &'static str) -> Option<Element<'a>> {
    children(node, name).next()
}

fn text(node: Element<'_>, name: &'static str) -> Option<String> {
    Some(child(node, name)?.text()?.trim().to_owned())
}

/// An attribute of a child.
fn attribute<'a>(node: Element<'a>, name: &'static str, attribute: &str) -> Option<&'a str> {
    child(node, name)?.attribute(attribute)
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

/// Units: <https://libvirt.org/formatdomain.html#memory-allocation>; KiB if none is given.
fn memory_mib(root: Element<'_>) -> u64 {
    let Some(memory) = child(root, "memory") else {
        return 0;
    };
    let amount: u64 = memory
        .text()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
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
    amount.saturating_mul(bytes) >> 20
}

/// Confidential guests' memory is encrypted for the guest; a ballooned guest has given memory back
/// that pinning would take again.
fn memory_unpinnable(root: Element<'_>) -> Option<String> {
    if let Some(kind) = attribute(root, "launchSecurity", "type") {
        return Some(format!("it is a confidential guest ({kind})"));
    }
    let in_kib = |name| text(root, name).and_then(|amount| amount.parse::<u64>().ok());
    let devices = child(root, "devices")?;
    let balloon = attribute(devices, "memballoon", "model").is_some_and(|model| model != "none");
    match (in_kib("memory"), in_kib("currentMemory")) {
        (Some(all), Some(current)) if balloon && current < all => {
            Some(format!("its memory is ballooned ({current} of {all} KiB)"))
        }
        _ => None,
    }
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

/// Where libvirt's QEMU driver keeps the process ids of its VMs.
fn process_id(name: &str) -> Option<u32> {
    fs::read_to_string(format!("/run/libvirt/qemu/{name}.pid"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn pci_address(address: Element<'_>) -> Option<PciAddress> {
    let number = |name: &str, default: &str| {
        let text = address.attribute(name).unwrap_or(default);
        u16::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    Some(PciAddress {
        domain: number("domain", "0")?,
        bus: u8::try_from(number("bus", "0")?).ok()?,
        device: u8::try_from(number("slot", "0")?).ok()?,
        function: u8::try_from(number("function", "0")?).ok()?,
    })
}

/// Root ports that take a device by hotplug and have none: no device's own address is on their bus.
fn free_root_ports(root: Element<'_>) -> u32 {
    let Some(devices) = child(root, "devices") else {
        return 0;
    };
    let used: BTreeSet<u32> = devices
        .children()
        .filter(Node::is_element)
        .filter_map(|device| {
            children(device, "address").find(|a| a.attribute("type") == Some("pci"))
        })
        .filter_map(|address| Some(u32::from(pci_address(address)?.bus)))
        .collect();
    let free = children(devices, "controller")
        .filter(|controller| controller.attribute("model") == Some("pcie-root-port"))
        .filter(|controller| attribute(*controller, "target", "hotplug") != Some("off"))
        .filter_map(|controller| controller.attribute("index")?.parse::<u32>().ok())
        .filter(|index| !used.contains(index));
    free.count() as u32
}

pub(super) fn nic_mac(nic: Element<'_>) -> Option<MacAddr> {
    attribute(nic, "mac", "address")?.parse().ok()
}

pub(super) fn teaming<'a>(node: Element<'a>) -> Option<&'a str> {
    attribute(node, "teaming", "type")
}

/// The NICs of a definition that are no host devices, by address.
fn software_nics(root: Element<'_>) -> Vec<(Option<MacAddr>, Element<'_>)> {
    let all = children(root, "devices").flat_map(|devices| children(devices, "interface"));
    all.filter(|nic| nic.attribute("type") != Some("hostdev"))
        .map(|nic| (nic_mac(nic), nic))
        .collect()
}

fn nics(root: Element<'_>, config: Option<Element<'_>>, running: bool) -> Result<Vec<NicFacts>> {
    let staged = config.map(software_nics).unwrap_or_default();
    let Some(devices) = child(root, "devices") else {
        return Ok(Vec::new());
    };
    let mut nics = Vec::new();
    for nic in children(devices, "interface") {
        if nic.attribute("type") == Some("hostdev") {
            continue;
        }
        let mac = nic_mac(nic).ok_or_else(|| malformed("a NIC without an address"))?;
        let persistent = teaming(nic) == Some("persistent");
        let of_config = staged.iter().find(|(other, _)| *other == Some(mac));
        let of_config = of_config.map(|(_, nic)| *nic);
        let interface = |name: Option<&str>| -> Option<IfName> { name?.parse().ok() };
        nics.push(NicFacts {
            mac,
            alias: attribute(nic, "alias", "name")
                .filter(|_| running)
                .map(str::to_owned),
            model: attribute(nic, "model", "type")
                .unwrap_or("default")
                .to_owned(),
            bridge: interface(attribute(nic, "source", "bridge")),
            direct: interface(attribute(nic, "source", "dev"))
                .filter(|_| nic.attribute("type") == Some("direct")),
            tap: interface(attribute(nic, "target", "dev")).filter(|_| running),
            standby_live: running && persistent,
            standby_config: of_config.and_then(teaming) == Some("persistent"),
            queues_live: nic::queues(nic),
            queues_config: of_config.map_or(1, nic::queues),
            queues_can_be_raised: of_config.is_some_and(nic::can_have_queues),
            link_up: attribute(nic, "link", "state") != Some("down"),
            policy: policy(nic, mac),
        });
    }
    Ok(nics)
}

/// NICs of the persistent definition that the running VM does not have.
fn staged_nics(live: Element<'_>, config: Element<'_>) -> Result<Vec<NicFacts>> {
    let here: Vec<MacAddr> = nics(live, None, true)?.iter().map(|nic| nic.mac).collect();
    let mut staged = nics(config, Some(config), false)?;
    staged.retain(|nic| !here.contains(&nic.mac));
    Ok(staged)
}

fn hostdevs(root: Element<'_>) -> Result<Vec<HostdevFacts>> {
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
        found.push(HostdevFacts {
            pci: pci.ok_or_else(|| malformed("a host device without an address"))?,
            mac: nic_mac(device).filter(|_| interface),
            alias: attribute(device, "alias", "name").map(str::to_owned),
            teaming_with: attribute(device, "teaming", "persistent").map(str::to_owned),
        });
    }
    Ok(found)
}

/// Restrictions that the definition itself puts on a NIC.
fn policy(nic: Element<'_>, mac: MacAddr) -> Vec<PolicyFinding> {
    let place = format!("definition of NIC {mac}");
    let mut found = Vec::new();
    let mut add = |kind: PolicyKind, rule: String| {
        found.push(PolicyFinding {
            kind,
            place: place.clone(),
            rule,
        });
    };
    if let Some(bandwidth) = child(nic, "bandwidth") {
        // Averages are in kilobytes a second: <https://libvirt.org/formatdomain.html#quality-of-service>.
        let mbps = |name| {
            let average: u32 = attribute(bandwidth, name, "average")?.parse().ok()?;
            Some((average.saturating_mul(8)).div_ceil(1000))
        };
        let kind = PolicyKind::Bandwidth {
            outbound_mbps: mbps("outbound"),
            inbound_mbps: mbps("inbound"),
        };
        add(kind, "<bandwidth>".to_owned());
    }
    if let Some(filter) = attribute(nic, "filterref", "filter") {
        add(
            PolicyKind::NwFilter,
            format!("<filterref filter='{filter}'>"),
        );
    }
    if attribute(nic, "port", "isolated") == Some("yes") {
        add(PolicyKind::Isolation, "<port isolated='yes'/>".to_owned());
    }
    if let Some(vlan) = child(nic, "vlan") {
        let tags: Vec<u16> = children(vlan, "tag")
            .filter_map(|tag| tag.attribute("id")?.parse().ok())
            .collect();
        let kind = match tags.as_slice() {
            [one] if vlan.attribute("trunk") != Some("yes") => {
                PolicyKind::AccessVlan { vlan: *one }
            }
            _ => PolicyKind::VlanTrunk,
        };
        add(kind, format!("<vlan> {tags:?}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "<domain type='kvm'><name>web</name><uuid>6e3f1a2c-0000-4000-8000-000000000001</uuid>
 <memory unit='GiB'>2</memory><vcpu current='3'>4</vcpu>
 <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
 <devices>
  <controller type='pci' index='0' model='pcie-root'/>
  <controller type='pci' index='1' model='pcie-root-port'><address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></controller>
  <controller type='pci' index='2' model='pcie-root-port'><target hotplug='off'/></controller>
  <controller type='pci' index='3' model='pcie-root-port'/>
  <controller type='pci' index='4' model='pcie-root-port'/>
  <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan' bridge='br0'/><target dev='vnet3'/>
   <model type='virtio'/><teaming type='persistent'/><alias name='net0'/><bandwidth><outbound average='1000'/></bandwidth>
   <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br1'/><model type='e1000e'/><link state='down'/>
   <vlan><tag id='42'/></vlan><filterref filter='clean-traffic'/><port isolated='yes'/></interface>
  <interface type='direct'><mac address='52:54:00:00:00:03'/><source dev='eth0' mode='bridge'/><model type='virtio'/></interface>
  <hostdev mode='subsystem' type='pci' managed='no'><source><address domain='0x0000' bus='0x81' slot='0x10' function='0x2'/></source>
   <teaming type='transient' persistent='net0'/><alias name='ua-x'/><address type='pci' bus='0x03' slot='0x00'/></hostdev>
 </devices></domain>";

    fn read(state: VmState) -> VmFacts {
        facts(VM, Some(VM), state).unwrap()
    }

    #[test]
    fn a_running_vm_is_read() {
        let vm = read(VmState::Running);
        assert_eq!(
            (vm.name.as_str(), vm.vcpus, vm.memory_mib, vm.persistent),
            ("web", 3, 2048, true)
        );
        assert!(vm.has_pcie());
        assert_eq!(
            vm.free_root_ports_live, 1,
            "one has the NIC, one no hotplug, one the VF"
        );
        let nic = &vm.nics[0];
        assert_eq!(nic.bridge.as_ref().unwrap().as_str(), "br0");
        assert_eq!(nic.tap.as_ref().unwrap().as_str(), "vnet3");
        assert!(nic.standby_live && nic.standby_config && nic.link_up);
        let queues =
            |nic: &NicFacts| (nic.queues_live, nic.queues_config, nic.queues_can_be_raised);
        assert_eq!(queues(nic), (1, 1, true));
        assert_eq!(queues(&vm.nics[1]), (1, 1, false), "no virtio");
        assert_eq!(
            nic.policy[0].kind,
            PolicyKind::Bandwidth {
                outbound_mbps: Some(8),
                inbound_mbps: None
            }
        );
        let direct = |nic: &NicFacts| nic.direct.as_ref().map(ToString::to_string);
        assert_eq!(direct(nic), None);
        assert_eq!(direct(&vm.nics[2]).as_deref(), Some("eth0"));
        let kinds: Vec<_> = vm.nics[1]
            .policy
            .iter()
            .map(|finding| finding.kind.clone())
            .collect();
        assert_eq!(
            kinds,
            [
                PolicyKind::NwFilter,
                PolicyKind::Isolation,
                PolicyKind::AccessVlan { vlan: 42 }
            ]
        );
        assert!(!vm.nics[1].link_up);
        let hostdev = &vm.hostdevs[0];
        assert_eq!(hostdev.pci.to_string(), "0000:81:10.2");
        assert_eq!(hostdev.teaming_with.as_deref(), Some("net0"));
    }

    #[test]
    fn nics_that_come_with_the_next_start_are_told_apart() {
        let config = VM.replace("52:54:00:00:00:02", "52:54:00:00:00:0a");
        let vm = facts(VM, Some(&config), VmState::Running).unwrap();
        let staged: Vec<String> = vm
            .nics_staged
            .iter()
            .map(|nic| nic.mac.to_string())
            .collect();
        assert_eq!(
            (staged, vm.nics.len()),
            (vec!["52:54:00:00:00:0a".to_owned()], 3)
        );
        assert!(vm.nics_staged[0].tap.is_none() && vm.nics_staged[0].alias.is_none());
        assert!(has_nic(&config, vm.nics_staged[0].mac).unwrap());
        assert!(!has_nic(VM, vm.nics_staged[0].mac).unwrap());
        let off = facts(&config, Some(&config), VmState::Off).unwrap();
        assert_eq!((off.nics_staged.len(), off.nics.len()), (0, 3));
    }

    #[test]
    fn queues_are_told_apart_by_definition() {
        let with = |driver: &str| VM.replace("<alias name='net0'/>", driver);
        let live = with("<driver name='vhost' queues='2'/>");
        let config = with("<driver queues='4'/>");
        let nic = &facts(&live, Some(&config), VmState::Running).unwrap().nics[0];
        assert_eq!((nic.queues_live, nic.queues_config), (2, 4));
        assert!(nic.queues_can_be_raised);
        let odd = with("<driver name='qemu' queues='many'/>");
        let nic = &facts(&odd, Some(&odd), VmState::Running).unwrap().nics[0];
        assert_eq!((nic.queues_live, nic.queues_can_be_raised), (1, false));
        let nic = &facts(&live, None, VmState::Running).unwrap().nics[0];
        assert!(!nic.queues_can_be_raised, "transient");
    }

    #[test]
    fn a_vm_that_is_off_has_nothing_live() {
        let vm = read(VmState::Off);
        assert!(vm.hostdevs.is_empty() && vm.nics[0].tap.is_none() && !vm.nics[0].standby_live);
        assert_eq!((vm.free_root_ports_live, vm.free_root_ports_config), (0, 1));
    }

    #[test]
    fn odd_definitions_are_errors_or_facts() {
        for broken in [
            "",
            "<domain",
            "<domain/>",
            "<domain><uuid>x</uuid></domain>",
        ] {
            assert!(facts(broken, None, VmState::Off).is_err(), "{broken}");
        }
        let plain = "<domain><name>a</name><uuid>6e3f1a2c-0000-4000-8000-000000000001</uuid>\
                     <launchSecurity type='sev'/><os><type machine='pc-i440fx-10.0'>hvm</type></os>\
                     <metadata><n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata></domain>";
        let vm = facts(plain, None, VmState::Running).unwrap();
        assert!(!vm.has_pcie() && !vm.persistent && vm.nics.is_empty());
        assert!(vm.memory_unpinnable.unwrap().contains("sev"));
        assert_eq!(vm.managed_by.as_deref(), Some("OpenStack Nova"));
    }
}
