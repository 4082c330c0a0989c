use accelnet_model::PolicyKind;

use super::*;
use crate::HypervisorError;

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

fn named() -> Named {
    Named {
        uuid: Uuid::from_u128(1),
        name: "web".into(),
    }
}

fn read(live: &str, config: Option<&str>, state: VmState) -> VmFacts {
    facts(&named(), live, config, state).unwrap()
}

#[test]
fn a_running_vm_is_read() {
    let vm = read(VM, Some(VM), VmState::Running);
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
    let queues = |nic: &NicFacts| (nic.queues_live, nic.queues_config, nic.queues_can_be_raised);
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
            PolicyKind::AccessVlan {
                vlan: 42,
                uplink_tagged: false
            }
        ]
    );
    assert!(!vm.nics[1].link_up);
    let hostdev = &vm.hostdevs[0];
    assert_eq!(hostdev.pci.to_string(), "0000:81:10.2");
    assert_eq!(hostdev.teaming_with.as_deref(), Some("net0"));
}

#[test]
fn a_vlan_that_is_not_understood_is_none_that_a_vf_could_have() {
    for odd in [
        "<tag id='42'/><tag id='x'/>",
        "<tag id='x'/>",
        "<tag/>",
        "<tag id='42'/><tag id='43'/>",
    ] {
        let text = VM.replace("<tag id='42'/>", odd);
        let vm = read(&text, None, VmState::Running);
        let kinds: Vec<_> = vm.nics[1].policy.iter().map(|found| &found.kind).collect();
        assert!(kinds.contains(&&PolicyKind::VlanTrunk), "{odd}: {kinds:?}");
    }
}

#[test]
fn nics_that_come_with_the_next_start_are_told_apart() {
    let config = VM.replace("52:54:00:00:00:02", "52:54:00:00:00:0a");
    let vm = read(VM, Some(&config), VmState::Running);
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
    let off = read(&config, Some(&config), VmState::Off);
    assert_eq!((off.nics_staged.len(), off.nics.len()), (0, 3));
}

#[test]
fn queues_are_told_apart_by_definition() {
    let with = |driver: &str| VM.replace("<alias name='net0'/>", driver);
    let live = with("<driver name='vhost' queues='2'/>");
    let config = with("<driver queues='4'/>");
    let nic = &read(&live, Some(&config), VmState::Running).nics[0];
    assert_eq!((nic.queues_live, nic.queues_config), (2, 4));
    assert!(nic.queues_can_be_raised);
    let odd = with("<driver name='qemu' queues='many'/>");
    let nic = &read(&odd, Some(&odd), VmState::Running).nics[0];
    assert_eq!((nic.queues_live, nic.queues_can_be_raised), (1, false));
    let nic = &read(&live, None, VmState::Running).nics[0];
    assert!(!nic.queues_can_be_raised, "transient");
}

#[test]
fn a_vm_that_is_off_has_nothing_live() {
    let vm = read(VM, Some(VM), VmState::Off);
    assert!(vm.hostdevs.is_empty() && vm.nics[0].tap.is_none() && !vm.nics[0].standby_live);
    assert_eq!((vm.free_root_ports_live, vm.free_root_ports_config), (0, 1));
}

/// Replaces something that is there.
fn with(what: &str, by: &str) -> String {
    assert!(VM.contains(what), "{what}");
    VM.replace(what, by)
}

#[test]
fn what_is_no_definition_is_an_error() {
    for broken in [
        "",
        "<domain",
        "<domain a='1' a='2'/>",
        "<!DOCTYPE x><domain/>",
    ] {
        let read = facts(&named(), broken, None, VmState::Off);
        assert!(
            matches!(read, Err(HypervisorError::Malformed(_))),
            "{broken}"
        );
        let read = facts(&named(), VM, Some(broken), VmState::Running);
        assert!(read.is_err(), "{broken}");
    }
}

#[test]
fn a_vm_is_called_as_libvirt_calls_it() {
    let vm = Named {
        uuid: Uuid::from_u128(7),
        name: " web 01 ".into(),
    };
    let facts = facts(&vm, VM, None, VmState::Off).unwrap();
    assert_eq!((facts.uuid, facts.name), (vm.uuid, vm.name));
}

#[test]
fn a_small_definition_is_read() {
    let plain = "<domain><name>a</name>\
                 <launchSecurity type='sev'/><os><type machine='pc-i440fx-10.0'>hvm</type></os>\
                 <metadata><n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata></domain>";
    let vm = read(plain, None, VmState::Running);
    assert!(!vm.has_pcie() && !vm.persistent && vm.nics.is_empty());
    assert!(vm.memory_unpinnable.unwrap().contains("sev"));
    assert_eq!(vm.managed_by.as_deref(), Some("OpenStack Nova"));
}

#[test]
fn a_prefix_that_nobody_declared_hides_nothing() {
    let metadata = "<vcpu current='3'>4</vcpu><metadata>\
         <inv:asset xmlns:inv='http://inventory.example.com/1'><ticket:ref>CHG-0001</ticket:ref></inv:asset>\
         <n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata>";
    let odd = with("<vcpu current='3'>4</vcpu>", metadata);
    let vm = read(&odd, Some(&odd), VmState::Running);
    assert_eq!(vm.managed_by.as_deref(), Some("OpenStack Nova"));
    assert_eq!((vm.nics.len(), vm.hostdevs.len(), vm.vcpus), (3, 1, 3));
    // The elements are still those of the definition.
    let mac = vm.nics[1].mac;
    let nic = nic::with_teaming(&odd, mac).unwrap().unwrap();
    assert!(odd.contains(&nic.replace("<teaming type='persistent'/>", "")));
    let device = &hostdevs_of(&odd).unwrap()[0];
    assert!(VM.contains(&device.element), "{}", device.element);
    assert!(device.element.starts_with("<hostdev ") && device.element.ends_with("</hostdev>"));
}

#[test]
fn a_nic_without_an_address_costs_only_itself() {
    for odd in [
        with("<mac address='52:54:00:00:00:02'/>", ""),
        with("52:54:00:00:00:02", "none"),
    ] {
        let vm = read(&odd, Some(&odd), VmState::Running);
        let nics: Vec<u8> = vm.nics.iter().map(|nic| nic.mac.0[5]).collect();
        assert_eq!(nics, [1, 3]);
        assert!(vm.nics_staged.is_empty());
    }
}

#[test]
fn what_cannot_be_read_is_never_a_free_port() {
    // The NIC's own bus.
    let odd = with("bus='0x01' slot='0x00'", "bus='many' slot='0x00'");
    let vm = read(&odd, None, VmState::Running);
    assert_eq!(vm.free_root_ports_live, 1, "of two, one has the NIC");
    // A NIC that is left out still has its port.
    let odd = with("<mac address='52:54:00:00:00:01'/>", "");
    let vm = read(&odd, None, VmState::Running);
    assert_eq!((vm.free_root_ports_live, vm.nics.len()), (1, 2));
}

#[test]
fn host_devices_of_both_kinds_are_seen() {
    let interface = "<interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:09'/>\
         <source><address type='pci' domain='0x0000' bus='0x81' slot='0x11' function='0x4'/></source>\
         <alias name='hostdev7'/></interface>\
         <hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/></source></hostdev>\
         <hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='x'/></source></hostdev>\
         </devices>";
    let odd = with("</devices>", interface);
    let vm = read(&odd, None, VmState::Running);
    let seen: Vec<_> = vm
        .hostdevs
        .iter()
        .map(|device| (device.pci.to_string(), device.mac, device.alias.as_deref()))
        .collect();
    let mac = MacAddr([0x52, 0x54, 0, 0, 0, 9]);
    let expected = [
        ("0000:81:10.2".to_owned(), None, Some("ua-x")),
        ("0000:81:11.4".to_owned(), Some(mac), Some("hostdev7")),
    ];
    assert_eq!(seen, expected.map(|(pci, mac, alias)| (pci, mac, alias)));
    assert_eq!(vm.nics.len(), 3, "it is no NIC of the software path");
    let devices = hostdevs_of(&odd).unwrap();
    assert!(devices[1].element.starts_with("<interface type='hostdev'"));
}

#[test]
fn a_host_device_that_cannot_be_read_makes_the_vm_unknown() {
    for odd in [
        with("bus='0x81' slot='0x10'", "bus='0x1ff' slot='0x10'"),
        with(
            "<source><address domain='0x0000' bus='0x81' slot='0x10' function='0x2'/></source>",
            "",
        ),
    ] {
        let read = facts(&named(), &odd, None, VmState::Running);
        assert!(matches!(read, Err(HypervisorError::Malformed(_))), "{odd}");
        assert!(hostdevs_of(&odd).is_err());
        // Off, it has none.
        assert!(facts(&named(), &odd, None, VmState::Off).is_ok());
    }
}

/// What stands before `</devices>`, and what before `<devices>`.
fn more(within: &str, before: &str) -> String {
    let with = VM.replace("</devices>", &format!("{within}</devices>"));
    with.replacen("<devices>", &format!("{before}<devices>"), 1)
}

#[test]
fn memory_that_virtio_mem_has_not_plugged_is_not_the_guests() {
    let sticks = |plugged: &str| {
        more(
            &format!(
                "<memballoon model='virtio'/><memory model='virtio-mem'><target><size unit='MiB'>512</size>\
                 <requested unit='MiB'>128</requested>{plugged}</target></memory>"
            ),
            "<currentMemory unit='KiB'>1703936</currentMemory>",
        )
    };
    let vm = read(&sticks(""), None, VmState::Off);
    assert_eq!((vm.memory_mib, vm.memory_unpinnable), (2048 - 384, None));
    let vm = read(
        &sticks("<current unit='MiB'>256</current>"),
        None,
        VmState::Running,
    );
    assert_eq!(vm.memory_mib, 2048 - 256);
    let why = vm.memory_unpinnable.unwrap();
    assert!(why.contains("1703936 of 1835008 KiB"), "{why}");
}

#[test]
fn huge_pages_are_the_vms_before_it_touches_them() {
    let backing = |pages: &str| more("", &format!("<memoryBacking>{pages}</memoryBacking>"));
    let held = |pages: &str| read(&backing(pages), None, VmState::Off).memory_held_mib;
    assert_eq!(held("<hugepages/>"), 2048);
    assert_eq!(
        held("<hugepages><page size='2048' unit='KiB'/></hugepages>"),
        2048
    );
    let some = "<hugepages><page size='2048' unit='KiB' nodeset='0'/></hugepages>";
    assert_eq!(held(some), 0);
    assert_eq!(held("<locked/>"), 0);
}

#[test]
fn a_nic_says_which_mtu_it_offers_and_which_devices_come_with_a_start() {
    let with_mtu = VM.replacen("<link state='down'/>", "<mtu size='9000'/>", 1);
    let vm = read(&with_mtu, Some(VM), VmState::Off);
    let mtus: Vec<_> = vm.nics.iter().map(|nic| nic.mtu).collect();
    assert_eq!(mtus, [None, Some(9000), None]);
    let needs: Vec<String> = vm.hostdevs_config.iter().map(ToString::to_string).collect();
    assert_eq!((vm.hostdevs.len(), needs), (0, vec!["0000:81:10.2".into()]));
}

#[test]
fn a_number_that_cannot_be_read_is_never_little() {
    let odd = VM.replacen("<memory unit='GiB'>2</memory>", "<memory>much</memory>", 1);
    assert_eq!(read(&odd, None, VmState::Off).memory_mib, u64::MAX >> 20);
    let odd = VM.replacen("<link state='down'/>", "<mtu size='large'/>", 1);
    assert_eq!(read(&odd, None, VmState::Off).nics[1].mtu, Some(u32::MAX));
    let odd = more(
        "<memballoon model='virtio'/><memory model='virtio-mem'><target><size unit='MiB'>512</size>\
         <current>some</current></target></memory>",
        "<currentMemory>some</currentMemory>",
    );
    let vm = read(&odd, None, VmState::Running);
    assert_eq!(vm.memory_mib, 2048);
    assert!(vm.memory_unpinnable.is_some());
}
