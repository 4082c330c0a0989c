//! A node with one adapter, one bridge and two VMs, for tests; other crates' too, with the feature
//! `fixture`.

use accelnet_model::{
    AdapterFacts, AdapterId, AdapterStatus, BondFacts, Bound, BridgeFacts, BridgePort,
    ClusterEnable, DomainCapabilities, FdbEntry, Hook, HostdevFacts, Intent, IntentType, Levels,
    MacAddr, NicFacts, NodeDesired, NodeFacts, NodeStatus, SriovSupport, Support, VfAttributes,
    VfCount, VfDriver, VfFacts, VfUser, VmFacts, VmState, VmStatus, WhenToCreateVfs,
};
use uuid::Uuid;

use crate::Observed;

/// Intent `compute` on bridge `br0` with adapter `pf0`.
pub fn intent() -> Intent {
    Intent {
        name: "compute".parse().unwrap(),
        types: vec![IntentType::Compute],
        adapters: vec!["pf0".parse().unwrap()],
        matching: None,
        bridge: "br0".parse().unwrap(),
        create: false,
        vfs: VfCount::Auto,
        levels: Levels::default(),
        vf_driver: VfDriver::default(),
        exclude_vfs: Vec::new(),
    }
}

/// Adapter `pf0`, an 82576 with up to seven VFs of two queue pairs; it has `vfs` of them.
pub fn adapter(vfs: u32) -> AdapterFacts {
    let mac = MacAddr([2, 0, 0, 0, 0xbb, 1]);
    AdapterFacts {
        id: AdapterId {
            pci_path: "pci0000:00/10.0/00.0".into(),
            permanent_mac: mac,
            port: 0,
        },
        ifname: "pf0".parse().unwrap(),
        altnames: Vec::new(),
        pci: "0000:01:00.0".parse().unwrap(),
        pci_id: "8086:10c9".into(),
        driver: Some("igb".into()),
        driver_version: None,
        firmware: None,
        devlink: None,
        numa_node: None,
        pcie: Support::Unknown,
        pcie_errors: Support::Unknown,
        link_losses: Support::Unknown,
        up: true,
        carrier: true,
        speed_mbps: Some(1000),
        mtu: 1500,
        mac,
        master: "br0".parse().ok(),
        claims: vec![],
        eswitch: Support::Unsupported,
        vf_owners: vec![],
        isolated: None,
        sriov: SriovSupport::Supported,
        sriov_evidence: None,
        total_vfs: 7,
        drivers_autoprobe: Support::Supported(false),
        vf_total_msix: Support::Supported(0),
        vf_pci_id: Some("8086:10ca".into()),
        // As large as any test needs.
        filter_room: Support::Supported(1024),
        filter: vec![],
        vfs: (0..vfs).map(vf).collect(),
    }
}

fn vf(index: u32) -> VfFacts {
    VfFacts {
        index,
        pci: format!("0000:01:{:02x}.{}", 0x10 + index / 4, index % 4 * 2)
            .parse()
            .unwrap(),
        driver: Some("vfio-pci".into()),
        iommu_group: Some(20 + index),
        group_peers: vec![],
        attributes: VfAttributes::baseline(),
        user: VfUser::Nobody,
        active_vectors: 0,
        msix_vectors: Support::Unsupported,
        vm: None,
        promised: None,
    }
}

/// Running VM `vmN` with one NIC on `br0`, eligible for Low and Medium.
pub fn vm(number: u8) -> VmFacts {
    VmFacts {
        uuid: Uuid::from_u128(u128::from(number)),
        name: format!("vm{number}"),
        state: VmState::Running,
        job: None,
        pid: Some(100),
        persistent: true,
        managed_by: None,
        machine: "pc-q35-10.0".into(),
        vcpus: 2,
        memory_mib: 192,
        memory_held_mib: 0,
        memory_unpinnable: None,
        memory_on: Bound::Unknown,
        cpus_on: Bound::Unknown,
        free_root_ports_live: 2,
        free_root_ports_config: 2,
        nics: vec![NicFacts {
            mac: MacAddr([2, 0, 0, 0, 0x77, number]),
            alias: Some("net0".into()),
            model: "virtio".into(),
            mtu: None,
            bridge: "br0".parse().ok(),
            direct: None,
            tap: format!("vnet{number}").parse().ok(),
            standby_live: true,
            standby_config: true,
            queues_live: 1,
            queues_config: 1,
            queues_can_be_raised: true,
            link_up: true,
            policy: vec![],
        }],
        nics_staged: vec![],
        hostdevs: vec![],
        hostdevs_config: vec![],
    }
}

/// A port of a bridge, behind which `mac` was seen.
pub fn port(name: &str, mac: Option<MacAddr>) -> BridgePort {
    BridgePort {
        ifname: name.parse().unwrap(),
        learning: true,
        flood: true,
        isolated: false,
        rx_packets: 0,
        fdb: mac
            .into_iter()
            .map(|mac| FdbEntry {
                mac,
                vlan: None,
                local: false,
                fixed: false,
                sticky: false,
            })
            .collect(),
        hold_queue: false,
        vlan_of: None,
        pvid: None,
    }
}

/// The node with all of these; its VMs are `vm1` and `vm2`.
pub fn observed() -> Observed {
    let vms = vec![vm(1), vm(2)];
    let mut ports = vec![port("pf0", None)];
    ports.extend(vms.iter().map(|vm| {
        port(
            vm.nics[0].tap.as_ref().unwrap().as_str(),
            Some(vm.nics[0].mac),
        )
    }));
    Observed {
        node: NodeFacts {
            smt_active: Support::Supported(false),
            kvm: true,
            iommu: true,
            interrupt_remapping: Support::Supported(true),
            vfio: true,
            kernel: "6.12.0".into(),
            libvirt: Some((11, 3, 0)),
            qemu: Some((10, 0, 2)),
            domain_capabilities: Some(DomainCapabilities {
                pcie_machine: Some("pc-q35-10.0".into()),
                pci_passthrough: true,
            }),
            memory_available_mib: 1500,
            hook: Hook::Loaded,
            ..NodeFacts::default()
        },
        adapters: vec![adapter(7)],
        bridges: vec![BridgeFacts {
            ifname: "br0".parse().unwrap(),
            kind: "bridge".into(),
            bond_mode: None,
            bond: None,
            alias: None,
            master: None,
            mac: MacAddr([2, 0, 0, 0, 0, 0xbb]),
            mac_pinned: false,
            mtu: 1500,
            up: true,
            vlan_filtering: false,
            has_host_address: true,
            ports,
        }],
        vms,
        unseen_vms: Vec::new(),
        stale: std::collections::BTreeSet::new(),
        unseen_adapters: Vec::new(),
        policy: std::collections::BTreeMap::new(),
        hypervisor_answers: true,
    }
}

/// What a node says that sees this and has nothing to do, about generation 1.
pub fn report(observed: &Observed) -> NodeStatus {
    let vms = observed.vms.iter().map(|facts| VmStatus {
        policy_seen: true,
        ..VmStatus::of(facts.clone())
    });
    let adapters = observed.adapters.iter().cloned();
    NodeStatus {
        generation: 1,
        converged: true,
        node: observed.node.clone(),
        adapters: adapters.map(AdapterStatus::of).collect(),
        bridges: observed.bridges.clone(),
        vms: vms.collect(),
        agent_version: Some("1.0".into()),
        ..NodeStatus::default()
    }
}

/// Acceleration is enabled on the intent, and wanted for no VM; generation 1.
pub fn desired() -> NodeDesired {
    let intent = intent();
    NodeDesired {
        generation: 1,
        enabled: Some(ClusterEnable {
            intent: intent.name.clone(),
            node_reserve_percentage: 0,
            nodes_down: None,
            when: WhenToCreateVfs::default(),
        }),
        intents: vec![intent],
        vms: Vec::new(),
        isolated: Vec::new(),
    }
}

/// The same with a second adapter, `pf1`: both are in `bond0`, which is the bridge's uplink and uses
/// `pf0`.
pub fn bonded() -> Observed {
    let mut observed = observed();
    let mut second = adapter(7);
    second.ifname = "pf1".parse().unwrap();
    second.id.pci_path = "pci0000:00/11.0/00.0".into();
    second.pci.bus += 1;
    for vf in &mut second.vfs {
        vf.pci.bus += 1;
    }
    observed.adapters.push(second);
    for facts in &mut observed.adapters {
        facts.master = "bond0".parse().ok();
    }
    let mut bond = observed.bridges[0].clone();
    bond.ifname = "bond0".parse().unwrap();
    (bond.kind, bond.bond_mode) = ("bond".into(), Some("active-backup".into()));
    bond.bond = Some(BondFacts {
        members: vec!["pf0".parse().unwrap(), "pf1".parse().unwrap()],
        active: "pf0".parse().ok(),
    });
    (bond.master, bond.ports) = ("br0".parse().ok(), Vec::new());
    observed.bridges[0].ports[0] = port("bond0", None);
    observed.bridges.push(bond);
    observed
}

/// VM number `vm` (from 0) has VF `vf` and drives it, but nothing else was done.
pub fn put_on_vf(observed: &mut Observed, vm: usize, vf: usize) {
    put_nic_on_vf(observed, (vm, 0), (0, vf));
}

/// The same of any NIC (number of the VM, of the NIC) and VF (number of the adapter, of the VF).
pub fn put_nic_on_vf(
    observed: &mut Observed,
    (vm, nic): (usize, usize),
    (adapter, vf): (usize, usize),
) {
    let pci = observed.adapters[adapter].vfs[vf].pci;
    let nic = observed.vms[vm].nics[nic].clone();
    observed.vms[vm].hostdevs.push(HostdevFacts {
        pci,
        mac: None,
        alias: Some("ua-x".into()),
        teaming_with: nic.alias,
    });
    let vf = &mut observed.adapters[adapter].vfs[vf];
    vf.user = VfUser::Process {
        pid: 100,
        command: "qemu-system-x86".into(),
    };
    vf.attributes = VfAttributes::for_mac(nic.mac);
    vf.active_vectors = 3;
}
