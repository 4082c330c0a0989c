//! Each obstacle has its code, alone; together they are all reported; what is there is not asked for.

use accelnet_model::{
    AdapterFacts, FdbEntry, HostdevFacts, MacAddr, PolicyFinding, PolicyKind, SriovSupport,
    Support, VfUser,
};

use super::*;
use crate::fixture;

fn codes(observed: &Observed, level: Performance) -> Vec<Code> {
    let problems = check(observed, &observed.vms[0], &fixture::intent(), level, &[]);
    for problem in &problems {
        let of_vm =
            |object: &accelnet_model::ObjectRef| object.kind == "vm" && object.name == "vm1";
        assert!(problem.objects.iter().any(of_vm), "{problem:?}");
        assert!(
            problem.detail.ends_with('.') && !problem.cure.is_empty(),
            "{problem:?}"
        );
    }
    problems.iter().map(|problem| problem.code).collect()
}

fn entry(mac: MacAddr) -> FdbEntry {
    FdbEntry {
        mac,
        vlan: None,
        local: false,
        fixed: false,
        sticky: false,
    }
}

fn taken_by(o: &mut Observed, user: &VfUser) {
    for vf in &mut o.adapters[0].vfs {
        vf.user = user.clone();
    }
}

#[test]
fn an_ordinary_vm_is_eligible() {
    assert_eq!(codes(&fixture::observed(), Performance::Low), []);
    assert_eq!(codes(&fixture::observed(), Performance::Medium), []);
}

type Change = fn(&mut Observed);

fn each_alone(cases: &[(Code, Change)]) {
    for (number, (code, change)) in cases.iter().enumerate() {
        let mut observed = fixture::observed();
        change(&mut observed);
        assert_eq!(codes(&observed, Performance::Low), [*code], "case {number}");
    }
}

#[test]
fn obstacles_in_the_vm() {
    each_alone(&[
        (Code::GetNetworkAdapterFailed, |o| o.vms[0].nics.clear()),
        (Code::VmNotRunning, |o| o.vms[0].state = VmState::Off),
        (Code::VmNotRunning, |o| o.vms[0].state = VmState::Paused),
        (Code::VmNoNicOnIntent, |o| {
            o.vms[0].nics[0].bridge = "br9".parse().ok();
        }),
        (Code::VmNoNicOnIntent, |o| o.vms[0].nics[0].bridge = None),
        (Code::VmMachineNotPcie, |o| {
            o.vms[0].machine = "pc-i440fx-10.0".into();
        }),
        (Code::VmNicNotVirtio, |o| {
            o.vms[0].nics[0].model = "e1000e".into();
        }),
        (Code::VmNeedsColdStart, |o| {
            o.vms[0].nics[0].standby_live = false;
        }),
        (Code::VmNoFreeRootPort, |o| {
            o.vms[0].free_root_ports_live = 0;
        }),
        (Code::VmDefinitionNotOurs, |o| {
            o.vms[0].free_root_ports_live = 0;
            o.vms[0].persistent = false;
        }),
        (Code::VmDefinitionNotOurs, |o| {
            o.vms[0].nics[0].standby_live = false;
            o.vms[0].managed_by = Some("oVirt".into());
        }),
        (Code::VmNotEnoughVcpus, |o| o.vms[0].vcpus = 1),
        (Code::HtEnabledMinProcessorCounter, |o| {
            o.node.smt_active = Support::Supported(true);
        }),
        (Code::VmMemoryNotPinnable, |o| {
            o.node.memory_available_mib = 192 + 127;
        }),
        (Code::VmMemoryNotPinnable, |o| {
            o.vms[0].memory_mib = u64::MAX;
        }),
        (Code::VmMemoryNotPinnable, |o| {
            // A quarter of it is there.
            (o.node.memory_available_mib, o.vms[0].memory_held_mib) = (128 + 143, 48);
        }),
        (Code::VmMemoryNotPinnable, |o| {
            o.vms[0].memory_unpinnable = Some("sev".into());
        }),
    ]);
}

#[test]
fn obstacles_in_the_node() {
    each_alone(&[
        (Code::SriovSupportNoIommu, |o| o.node.iommu = false),
        (Code::InterruptRemappingOff, |o| {
            o.node.interrupt_remapping = Support::Supported(false);
        }),
        (Code::AccelNetNotSupported, |o| o.node.vfio = false),
        (Code::BridgeNotFound, |o| {
            o.bridges.clear();
            o.adapters[0].master = None;
        }),
        (Code::BridgeNotSupported, |o| {
            o.bridges[0].kind = "openvswitch".into();
            o.adapters[0].master = None;
        }),
        (Code::AdapterNotUplink, |o| o.adapters[0].master = None),
        (Code::AdapterLinkDown, |o| o.adapters[0].carrier = false),
        (Code::AdapterLinkDown, |o| o.adapters[0].up = false),
        (Code::SriovSupportUnknown, |o| {
            o.adapters[0].sriov = SriovSupport::Unknown;
            o.adapters[0].vfs.clear();
        }),
        (Code::VfsWaiting, |o| o.adapters[0].vfs.clear()),
        (Code::VfInUseByOthers, |o| {
            let command = "testpmd".into();
            taken_by(o, &VfUser::Process { pid: 1, command });
        }),
        (Code::VfInUseByOthers, |o| {
            let driver = "igbvf".into();
            taken_by(o, &VfUser::HostDriver { driver });
        }),
        (Code::VfNotIsolated, |o| {
            for vf in &mut o.adapters[0].vfs {
                vf.group_peers = vec!["0000:01:00.0".parse().unwrap()];
            }
        }),
        (Code::VfInUseByOthers, |o| {
            let all = o.adapters[0].vfs.iter();
            o.vms[1].hostdevs_config = all.map(|vf| vf.pci).collect();
        }),
        (Code::NoFreeVf, |o| {
            for vf in 0..o.adapters[0].vfs.len() {
                fixture::put_on_vf(o, 1, vf);
            }
        }),
    ]);
}

#[test]
fn obstacles_on_the_port() {
    each_alone(&[
        (Code::VfMtuTooSmall, |o| o.bridges[0].mtu = 1501),
        (Code::VfMtuTooSmall, |o| {
            o.vms[0].nics[0].mtu = Some(9000);
        }),
        (Code::PolicyNotOffloadable, |o| {
            o.vms[0].nics[0].policy = vec![PolicyFinding {
                kind: PolicyKind::NwFilter,
                place: "definition".into(),
                rule: "<filterref/>".into(),
                name: None,
            }];
        }),
        (Code::PolicyNotOffloadable, |o| {
            let finding = PolicyFinding {
                kind: PolicyKind::Firewall,
                place: "table bridge filter".into(),
                rule: "drop".into(),
                name: None,
            };
            let nic = (o.vms[0].uuid, o.vms[0].nics[0].mac);
            o.policy.insert(nic, vec![finding]);
        }),
        (Code::PolicyNotOffloadable, |o| {
            o.vms[0].nics[0].link_up = false;
        }),
        (Code::ReachabilityNotOffloadable, |o| {
            let other = entry(MacAddr([2, 9, 9, 9, 9, 9]));
            o.bridges[0].ports[1].fdb.push(other);
        }),
        // As the kernel's documentation has it, not "policy".
        (Code::VfInUseByOthers, |o| {
            fixture::put_on_vf(o, 0, 0);
            o.vms[0].hostdevs[0].mac = Some(o.vms[0].nics[0].mac);
            o.vms[0].hostdevs_config = vec![o.vms[0].hostdevs[0].pci];
            o.vms[0].nics[0].link_up = false;
        }),
        (Code::VfInUseByOthers, |o| {
            let foreign = HostdevFacts {
                pci: "0000:42:00.1".parse().unwrap(),
                mac: None,
                alias: None,
                teaming_with: Some("net0".into()),
            };
            o.vms[0].hostdevs.push(foreign);
        }),
    ]);
}

#[test]
fn what_looks_like_an_obstacle_and_is_none() {
    let cases: &[Change] = &[
        |o| o.vms[0].memory_mib = o.node.memory_available_mib - 128,
        |o| o.node.smt_active = Support::Unsupported,
        // It is there already: resident, or in huge pages.
        |o| (o.node.memory_available_mib, o.vms[0].memory_held_mib) = (128 + 144, 48),
        |o| (o.node.memory_available_mib, o.vms[0].memory_held_mib) = (5, 192),
        |o| o.vms[0].nics[0].model = "virtio-non-transitional".into(),
        |o| o.vms[0].nics[0].mtu = Some(1500),
        // Somebody else's restriction, another port's addresses, group addresses, the tap's own.
        |o| o.vms[1].nics[0].link_up = false,
        |o| {
            let other = entry(MacAddr([2, 9, 9, 9, 9, 9]));
            o.bridges[0].ports[2].fdb.push(other);
            let group = entry(MacAddr([0x33, 0x33, 0, 0, 0, 1]));
            o.bridges[0].ports[1].fdb.push(group);
            let mut own = entry(MacAddr([0xfe, 0x54, 0, 0, 0, 1]));
            own.local = true;
            o.bridges[0].ports[1].fdb.push(own);
        },
        |o| {
            let command = "testpmd".into();
            o.adapters[0].vfs[0].user = VfUser::Process { pid: 1, command };
        },
        // A host device that is no NIC's other half, memory is pinned then.
        |o| {
            o.node.memory_available_mib = 1;
            let gpu = HostdevFacts {
                pci: "0000:42:00.0".parse().unwrap(),
                mac: None,
                alias: None,
                teaming_with: None,
            };
            o.vms[0].hostdevs.push(gpu);
        },
        |o| o.bridges[0].mtu = 1280,
    ];
    for (number, change) in cases.iter().enumerate() {
        let mut observed = fixture::observed();
        change(&mut observed);
        assert_eq!(codes(&observed, Performance::Low), [], "case {number}");
    }
}

#[test]
fn vcpus_and_levels_at_their_boundaries() {
    use Code::VmNotEnoughVcpus as V;
    use Code::{CannotProvisionPerformance as C, HtEnabledMinProcessorCounter as H};
    use Performance::{High, Low, Medium};
    // vCPUs, SMT, level: problems. The card of the fixture gives two queue pairs.
    let cases: &[(u32, bool, Performance, &[Code])] = &[
        (1, false, Low, &[V]),
        (2, false, Low, &[]),
        (2, false, Medium, &[]),
        (1, true, Low, &[V]),
        (2, true, Low, &[H]),
        (3, true, Medium, &[H]),
        (4, true, Medium, &[]),
        (3, false, High, &[V, C]),
        (3, true, High, &[V, C]),
        (4, false, High, &[C]),
        (4, true, High, &[C]),
    ];
    for (vcpus, smt, level, expected) in cases {
        let mut observed = fixture::observed();
        observed.vms[0].vcpus = *vcpus;
        observed.node.smt_active = Support::Supported(*smt);
        assert_eq!(codes(&observed, *level), *expected, "{vcpus} {smt} {level}");
    }
    let problems = {
        let mut observed = fixture::observed();
        observed.node.smt_active = Support::Supported(true);
        check(&observed, &observed.vms[0], &fixture::intent(), Low, &[])
    };
    let detail = &problems[0].detail;
    assert!(
        detail.contains("2 vCPU") && detail.contains("needs 4"),
        "{detail}"
    );
}

#[test]
fn only_adapters_that_can_give_the_level_count() {
    let mut observed = fixture::observed();
    let second = AdapterFacts {
        ifname: "pf1".parse().unwrap(),
        driver: Some("i40e".into()),
        vf_pci_id: Some("8086:154c".into()),
        vfs: vec![],
        ..observed.adapters[0].clone()
    };
    observed.adapters.push(second);
    observed.vms[0].vcpus = 4;
    let intent = Intent {
        adapters: vec!["pf0".parse().unwrap(), "pf1".parse().unwrap()],
        ..fixture::intent()
    };
    let found = |level| -> Vec<Code> {
        let problems = check(&observed, &observed.vms[0], &intent, level, &[]);
        problems.into_iter().map(|problem| problem.code).collect()
    };
    assert_eq!(found(Performance::Medium), []);
    assert_eq!(
        found(Performance::High),
        [Code::VfsWaiting],
        "pf1 could, but has no VFs"
    );
}

#[test]
fn all_obstacles_are_reported_at_once() {
    let mut observed = fixture::observed();
    observed.vms[0].vcpus = 1;
    observed.vms[0].nics[0].standby_live = false;
    observed.vms[0].free_root_ports_live = 0;
    observed.vms[0].memory_unpinnable = Some("sev".into());
    observed.vms[0].nics[0].link_up = false;
    observed.bridges[0].mtu = 9000;
    observed.adapters[0].vfs.clear();
    assert_eq!(
        codes(&observed, Performance::High),
        [
            Code::VmNeedsColdStart,
            Code::VmNoFreeRootPort,
            Code::VmNotEnoughVcpus,
            Code::VmMemoryNotPinnable,
            Code::CannotProvisionPerformance,
            Code::VfsWaiting,
            Code::VfMtuTooSmall,
            Code::PolicyNotOffloadable,
        ]
    );
}

#[test]
fn of_a_vm_that_is_off_all_is_told_that_starting_it_would_not_change() {
    let mut observed = fixture::observed();
    observed.vms[0].state = VmState::Off;
    observed.vms[0].machine = "pc-i440fx-10.0".into();
    observed.vms[0].vcpus = 1;
    // Shows on the running VM only.
    observed.vms[0].nics[0].standby_live = false;
    let found = codes(&observed, Performance::High);
    assert_eq!(
        found,
        [
            Code::VmNotRunning,
            Code::VmMachineNotPcie,
            Code::VmNotEnoughVcpus,
            Code::CannotProvisionPerformance
        ]
    );
}

#[test]
fn what_a_vm_has_already_is_not_asked_for_again() {
    let mut observed = fixture::observed();
    fixture::put_on_vf(&mut observed, 0, 0);
    observed.vms[0].free_root_ports_live = 0;
    observed.vms[0].nics[0].standby_live = false;
    observed.node.memory_available_mib = 1;
    observed.adapters[0].carrier = false;
    observed.bridges[0].mtu = 9000;
    for vf in &mut observed.adapters[0].vfs {
        let command = "qemu".into();
        vf.user = VfUser::Process { pid: 1, command };
    }
    assert_eq!(codes(&observed, Performance::Low), []);
}

#[test]
fn what_is_staged_needs_a_cold_start_only() {
    let mut observed = fixture::observed();
    observed.vms[0].nics[0].standby_live = false;
    for (staged, cure) in [(false, "vm prepare"), (true, "staged already")] {
        observed.vms[0].nics[0].standby_config = staged;
        let problems = check(
            &observed,
            &observed.vms[0],
            &fixture::intent(),
            Performance::Low,
            &[],
        );
        assert!(problems[0].cure.contains(cure), "{:?}", problems[0]);
    }
}

#[test]
fn preparing() {
    type Change = fn(&mut VmFacts);
    let cases: &[(&[Code], Change)] = &[
        (&[], |_| {}),
        (&[], |vm| vm.state = VmState::Off),
        (&[], |vm| {
            vm.nics[0].standby_live = false;
            vm.nics[0].standby_config = false;
        }),
        (&[Code::GetNetworkAdapterFailed], |vm| vm.nics.clear()),
        (&[Code::VmNoNicOnIntent], |vm| vm.nics[0].bridge = None),
        (&[Code::VmMachineNotPcie], |vm| {
            vm.machine = "pc-i440fx-9.0".into();
        }),
        (&[Code::VmNicNotVirtio], |vm| {
            vm.nics[0].model = "rtl8139".into();
        }),
        // Nothing is missing, so nobody's definition is touched.
        (&[], |vm| vm.persistent = false),
        (&[Code::VmDefinitionNotOurs], |vm| {
            vm.persistent = false;
            vm.nics[0].standby_live = false;
            vm.nics[0].standby_config = false;
        }),
        (&[Code::VmDefinitionNotOurs], |vm| {
            vm.managed_by = Some("OpenStack Nova".into());
            vm.free_root_ports_live = 0;
            vm.free_root_ports_config = 0;
        }),
        (&[Code::VmMachineNotPcie, Code::VmNicNotVirtio], |vm| {
            vm.machine = "pc-i440fx-9.0".into();
            vm.nics[0].model = "rtl8139".into();
        }),
    ];
    for (number, (expected, change)) in cases.iter().enumerate() {
        let mut vm = fixture::vm(1);
        change(&mut vm);
        let problems = check_prepare(&vm, &fixture::intent());
        let codes: Vec<Code> = problems.into_iter().map(|problem| problem.code).collect();
        assert_eq!(codes, *expected, "case {number}");
    }
}

#[test]
fn a_macvtap_is_called_one() {
    let mut observed = fixture::observed();
    observed.vms[0].nics[0].bridge = None;
    observed.vms[0].nics[0].direct = "pf0".parse().ok();
    let intent = fixture::intent();
    let found = check(&observed, &observed.vms[0], &intent, Performance::Low, &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code, Code::VmNoNicOnIntent);
    assert!(found[0].detail.contains("macvtap of pf0"), "{found:?}");
}
