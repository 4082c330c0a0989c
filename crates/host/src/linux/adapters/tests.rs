use accelnet_model::{SriovSupport, VfAttributes, VfUser};

use std::collections::BTreeSet;

use super::*;
use crate::linux::fixture;

const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 0x11]);

/// What the emulated card's kernel answers: VF 0 has the guest's address, VF 6 is not shown.
fn answers(name: &IfName) -> Result<Answers> {
    if name.as_str() != "pf0" {
        return Ok(Answers::default());
    }
    let vf = |mac| link::Vf {
        attributes: VfAttributes::for_mac(mac),
        dot1q: true,
    };
    let vfs = (0..6).map(|index| (index, vf(if index == 0 { GUEST } else { MacAddr::ZERO })));
    Ok(Answers {
        link: link::Link {
            permanent_mac: Some("52:54:00:10:00:01".parse().unwrap()),
            altnames: vec!["enp1s0".parse().unwrap()],
            carrier: true,
            vfs: vfs.collect(),
        },
        filter: vec![GUEST],
        driver_version: Some("6.12.95+deb12-amd64".into()),
        firmware: Some("1.0.0".into()),
        used: None,
    })
}

/// What is seen, if everything is.
fn seen(root: &Root, ask: Asker<'_>) -> Vec<AdapterFacts> {
    let seen = observe(root, &KernelLog::default(), ask, &BTreeSet::new()).unwrap();
    assert_eq!(seen.unseen, []);
    seen.adapters
}

#[test]
fn the_emulated_card_is_read_whole() {
    let machine = fixture::igb();
    let adapters = seen(machine.root(), &answers);
    let names: Vec<_> = adapters.iter().map(|a| a.ifname.as_str()).collect();
    assert_eq!(names, ["mgmt", "pf0"]);
    let igb = &adapters[1];
    assert_eq!(
        igb.id,
        AdapterId {
            pci_path: "pci0000:00/10.0/00.0".into(),
            permanent_mac: "52:54:00:10:00:01".parse().unwrap(),
            port: 0
        }
    );
    assert!(igb.is_called(&"enp1s0".parse().unwrap()));
    assert_eq!(igb.pci_id, "8086:10c9");
    assert_eq!(igb.vf_pci_id.as_deref(), Some("8086:10ca"));
    assert_eq!(igb.driver.as_deref(), Some("igb"));
    assert!(igb.up && igb.carrier);
    assert_eq!(
        (igb.speed_mbps, igb.mtu, igb.numa_node),
        (Some(1000), 1500, None)
    );
    assert_eq!(igb.master.as_ref().unwrap().as_str(), "br0");
    assert_eq!(
        (igb.sriov, &igb.sriov_evidence),
        (SriovSupport::Supported, &None)
    );
    assert_eq!(igb.total_vfs, 7);
    assert_eq!(igb.drivers_autoprobe, Support::Supported(false));
    assert_eq!(igb.vf_total_msix, Support::Supported(0));
    assert_eq!(igb.filter, [GUEST]);
}

#[test]
fn every_vf_has_its_driver_group_attributes_and_user() {
    let machine = fixture::igb();
    let adapters = seen(machine.root(), &answers);
    let vfs = &adapters[1].vfs;
    assert_eq!(vfs.len(), 7);
    let addresses: Vec<_> = vfs.iter().map(|vf| vf.pci.to_string()).collect();
    assert_eq!(addresses[0], "0000:01:10.0");
    assert_eq!(addresses[6], "0000:01:11.4");
    let held = &vfs[0];
    assert_eq!(held.attributes.mac, GUEST);
    assert_eq!(held.iommu_group, Some(8));
    assert_eq!(held.group_peers, []);
    assert_eq!(held.active_vectors, 3);
    assert!(matches!(&held.user, VfUser::Process { pid: 301, .. }));
    assert_eq!(vfs[1].user, VfUser::Nobody);
    assert_eq!(vfs[1].driver.as_deref(), Some("vfio-pci"));
    assert!(matches!(&vfs[2].user, VfUser::HostDriver { driver } if driver == "igbvf"));
    // The driver says nothing about the last: nothing is claimed of it.
    assert!(!vfs[6].attributes.fulfils(&VfAttributes::baseline()));
}

#[test]
fn a_card_without_sriov_is_listed_with_the_reason() {
    let machine = fixture::igb();
    let virtio = &seen(machine.root(), &answers)[0];
    assert_eq!(virtio.sriov, SriovSupport::Unknown);
    assert!(virtio.sriov_evidence.is_some());
    assert_eq!(virtio.speed_mbps, None);
    assert_eq!(virtio.drivers_autoprobe, Support::Unsupported);
    assert_eq!((virtio.total_vfs, virtio.vfs.len()), (0, 0));
    // Without a permanent address of its own, the present one stands in.
    assert_eq!(virtio.id.permanent_mac.to_string(), "52:54:00:aa:00:01");
}

#[test]
fn a_pf_without_driver_is_listed_under_its_address() {
    let machine = fixture::igb();
    machine.remove("sys/class/net/pf0");
    machine.remove("sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0/net");
    machine.remove("sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0/driver");
    let adapters = seen(machine.root(), &answers);
    let igb = &adapters[1];
    assert_eq!(igb.ifname.as_str(), "pci0000-01-00.0");
    assert_eq!(igb.sriov, SriovSupport::MissingPfDriver);
    assert_eq!((igb.driver.as_deref(), igb.up), (None, false));
}

#[test]
fn representors_are_not_adapters() {
    let machine = fixture::igb();
    let pf = "sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0";
    machine.link(
        "sys/class/net/eth7",
        "../../devices/pci0000:00/0000:00:10.0/0000:01:00.0/net/eth7",
    );
    machine.write(&format!("{pf}/net/eth7/phys_port_name"), "pf0vf1\n");
    machine.link(&format!("{pf}/net/eth7/device"), "../..");
    assert_eq!(seen(machine.root(), &answers).len(), 2);
}

#[test]
fn an_adapter_that_cannot_be_read_costs_only_itself() {
    let machine = fixture::igb();
    let refused = HostError::kernel("read the link pf0", libc::ENOMEM, None);
    // Its driver may have been taken away, or the interface been renamed: the card is still there.
    for error in [refused, HostError::Gone("pf0".into())] {
        let seen = observe(
            machine.root(),
            &KernelLog::default(),
            &|name| {
                if name.as_str() == "pf0" {
                    return Err(error.clone());
                }
                answers(name)
            },
            &BTreeSet::new(),
        );
        let seen = seen.unwrap();
        assert_eq!(seen.adapters.len(), 1);
        assert_eq!(seen.unseen, [("pf0".parse().unwrap(), error)]);
    }
}

#[test]
fn a_card_that_goes_away_meanwhile_is_left_out() {
    let machine = fixture::igb();
    let seen = observe(
        machine.root(),
        &KernelLog::default(),
        &|name| {
            if name.as_str() == "pf0" {
                machine.remove("sys/bus/pci/devices/0000:01:00.0");
            }
            answers(name)
        },
        &BTreeSet::new(),
    );
    let seen = seen.unwrap();
    assert_eq!((seen.adapters.len(), seen.unseen.as_slice()), (1, &[][..]));
}

#[test]
fn a_vf_that_cannot_be_read_is_not_taken_for_free() {
    let machine = fixture::igb();
    // Not what the kernel writes there; a user count that is not understood is no user count of 0.
    machine.write("sys/bus/pci/devices/0000:01:10.0/enable", "?\n");
    let seen = observe(
        machine.root(),
        &KernelLog::default(),
        &answers,
        &BTreeSet::new(),
    )
    .unwrap();
    assert_eq!(seen.adapters.len(), 1);
    assert_eq!(seen.unseen[0].0.as_str(), "pf0");
    assert!(seen.unseen[0].1.to_string().contains("enable"));
}

#[test]
fn vfs_of_ports_that_share_a_function_are_counted_once() {
    let machine = fixture::igb();
    let pf = "sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0";
    machine.link(
        "sys/class/net/a1",
        "../../devices/pci0000:00/0000:00:10.0/0000:01:00.0/net/a1",
    );
    machine.write(&format!("{pf}/net/a1/dev_port"), "1\n");
    machine.write(&format!("{pf}/net/a1/flags"), "0x1002\n");
    // The bonding driver's: no interface.
    machine.write("sys/class/net/bonding_masters", "\n");
    machine.link(&format!("{pf}/net/a1/device"), "../..");
    let adapters = seen(machine.root(), &answers);
    let ports: Vec<_> = adapters
        .iter()
        .map(|adapter| (adapter.ifname.as_str(), adapter.id.port, adapter.vfs.len()))
        .collect();
    assert_eq!(ports, [("mgmt", 0, 0), ("pf0", 0, 7), ("a1", 1, 0)]);
    let second = &adapters[2];
    assert_eq!((second.sriov, second.total_vfs), (SriovSupport::Unknown, 0));
    let evidence = second.sriov_evidence.as_ref().unwrap();
    assert!(evidence.contains("counted at pf0"), "{evidence}");
    let first = interface_of(machine.root(), "0000:01:00.0".parse().unwrap()).unwrap();
    assert_eq!(first.unwrap().as_str(), "pf0");
}

/// A card with a scalable function, representors and its uplink: one adapter, whatever they are called.
#[test]
fn a_card_in_switchdev_mode_is_one_adapter() {
    let machine = fixture::bluefield();
    let adapters = seen(machine.root(), &answers);
    let found: Vec<_> = adapters
        .iter()
        .map(|adapter| (adapter.ifname.as_str(), adapter.vfs.len()))
        .collect();
    assert_eq!(found, [("p0", 1)]);
    let rule: accelnet_model::AdapterMatch = "driver=mlx5_core".parse().unwrap();
    assert_eq!(
        adapters
            .iter()
            .filter(|adapter| rule.fits(adapter, true))
            .count(),
        1
    );
}

#[test]
fn functions_whose_ethernet_is_elsewhere_are_no_adapters() {
    let machine = fixture::chelsio_and_infiniband();
    let adapters = seen(machine.root(), &|_| Ok(Answers::default()));
    let found: Vec<_> = adapters
        .iter()
        .map(|adapter| {
            (
                adapter.ifname.as_str(),
                adapter.sriov,
                adapter.mac.is_zero(),
            )
        })
        .collect();
    // The two ports of Chelsio's function 4; no function without an interface, and nothing without address.
    let unknown = SriovSupport::Unknown;
    assert_eq!(
        found,
        [("ens2f4", unknown, false), ("ens2f4d1", unknown, false)]
    );
    let evidence = adapters[0].sriov_evidence.as_ref().unwrap();
    assert!(
        evidence.contains("0000:04:00.0, 0000:04:00.1"),
        "{evidence}"
    );
}

#[test]
fn this_machine_can_be_looked_at() {
    let adapters = seen(&Root::default(), &ask);
    for adapter in &adapters {
        assert!(!adapter.id.pci_path.is_empty());
    }
}
