use super::*;
use crate::linux::fixture;

fn pf() -> PciAddress {
    "0000:01:00.0".parse().unwrap()
}

#[test]
fn the_emulated_82576_is_supported() {
    let machine = fixture::igb();
    assert_eq!(
        support(machine.root(), &KernelLog::default(), pf(), true),
        Ok((SriovSupport::Supported, None))
    );
}

#[track_caller]
fn refused(machine: &fixture::Machine, wanted: SriovSupport, words: &[&str]) {
    let (state, evidence) = support(machine.root(), &KernelLog::default(), pf(), true).unwrap();
    let evidence = evidence.unwrap_or_default();
    assert_eq!(state, wanted, "{evidence}");
    for word in words {
        assert!(evidence.contains(word), "{word} is not in: {evidence}");
    }
}

#[test]
fn a_card_without_the_capability_is_unknown() {
    let machine = fixture::igb();
    let (state, evidence) = support(
        machine.root(),
        &KernelLog::default(),
        "0000:00:02.0".parse().unwrap(),
        true,
    )
    .unwrap();
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
    let (state, evidence) = support(machine.root(), &KernelLog::default(), pf(), false).unwrap();
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
