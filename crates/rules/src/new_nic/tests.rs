use std::{collections::BTreeSet, time::Duration};

use accelnet_model::{Code, Performance};

use super::*;
use crate::{
    Observed,
    action::Action,
    eligibility, fixture,
    plan::{Memory, plan, tests::deeds},
};

fn vm() -> VmFacts {
    VmFacts {
        nics: vec![],
        ..fixture::vm(1)
    }
}

fn mac() -> MacAddr {
    address(vm().uuid, &fixture::intent().name, 0)
}

fn nic(mac: MacAddr, bridge: &str) -> NicFacts {
    NicFacts {
        mac,
        bridge: bridge.parse().ok(),
        ..fixture::vm(1).nics[0].clone()
    }
}

fn left(vm: &VmFacts) -> Option<When> {
    missing(vm, &fixture::intent(), mac())
}

#[test]
fn the_address_follows_from_vm_and_intent() {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let first = address(Uuid::from_u128(1), &name("compute"), 0);
    assert_eq!(first.to_string(), "52:54:00:8a:2a:f3", "it never changes");
    let mut all = BTreeSet::from([first]);
    all.insert(address(Uuid::from_u128(2), &name("compute"), 0));
    all.insert(address(Uuid::from_u128(1), &name("other"), 0));
    all.extend((1..50).map(|attempt| address(Uuid::from_u128(1), &name("compute"), attempt)));
    assert_eq!(all.len(), 52, "others are other ones");
    assert!(
        all.iter()
            .all(|mac| mac.0[..3] == PREFIX && !mac.is_group())
    );
}

#[test]
fn a_nic_is_added_once_and_live_where_there_is_room() {
    let mut vm = vm();
    assert_eq!(left(&vm), Some(When::Now));
    // Room for the NIC but not for its VF.
    vm.free_root_ports_live = 1;
    assert_eq!(left(&vm), Some(When::NextStart));
    vm.nics_staged = vec![nic(mac(), "br0")];
    assert_eq!(left(&vm), None);
    vm.free_root_ports_config = 0;
    assert_eq!(left(&vm), Some(When::NextStart), "its VF needs a port");
    vm.free_root_ports_live = 2;
    assert_eq!(
        left(&vm),
        Some(When::Now),
        "an interruption left it half done"
    );
    vm.nics = std::mem::take(&mut vm.nics_staged);
    assert_eq!(left(&vm), Some(When::NextStart));
    vm.free_root_ports_config = 1;
    assert_eq!(left(&vm), None);
    vm.state = VmState::Off;
    assert_eq!(left(&vm), None);
    vm.nics.clear();
    assert_eq!(left(&vm), Some(When::NextStart));
}

#[test]
fn what_somebody_else_decided_is_left_alone() {
    let another = MacAddr([2, 0, 0, 0, 0, 9]);
    for (now, staged) in [
        (vec![nic(another, "br0")], vec![]),
        (vec![], vec![nic(another, "br0")]),
        // They moved ours to another bridge.
        (vec![nic(mac(), "br7")], vec![]),
    ] {
        let vm = VmFacts {
            nics: now,
            nics_staged: staged,
            ..vm()
        };
        assert_eq!(left(&vm), None, "{vm:?}");
    }
    let elsewhere = VmFacts {
        nics: vec![nic(another, "br7")],
        ..vm()
    };
    assert_eq!(left(&elsewhere), Some(When::Now));
    let ways: [fn(&mut VmFacts); 3] = [
        |vm| vm.persistent = false,
        |vm| vm.managed_by = Some("oVirt".into()),
        |vm| vm.machine = "pc-i440fx-10.0".into(),
    ];
    for change in ways {
        let mut vm = vm();
        change(&mut vm);
        assert_eq!(left(&vm), None, "{vm:?}");
    }
}

#[test]
fn all_that_keeps_it_from_being_added_is_told_at_once() {
    let found = |change: fn(&mut Observed)| {
        let mut observed = fixture::observed();
        observed.vms[0].nics.clear();
        change(&mut observed);
        let vm = observed.vms[0].clone();
        let problems =
            eligibility::check_without_nic(&observed, &vm, &fixture::intent(), Performance::Medium);
        problems
            .iter()
            .map(|problem| problem.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(|_| {}), []);
    // It is added to the definition, and accelerated when the VM starts.
    assert_eq!(found(|o| o.vms[0].state = VmState::Off), []);
    assert_eq!(found(|o| o.vms[0].free_root_ports_live = 0), []);
    assert_eq!(
        found(|o| {
            o.vms[0].persistent = false;
            o.vms[0].machine = "pc-i440fx-10.0".into();
            o.vms[0].vcpus = 1;
            o.adapters[0].mtu = 1400;
        }),
        [
            Code::VmDefinitionNotOurs,
            Code::VmMachineNotPcie,
            Code::VmNotEnoughVcpus,
            Code::VfMtuTooSmall
        ]
    );
    assert_eq!(
        found(|o| o.adapters[0].master = None),
        [Code::AdapterNotUplink]
    );
}

#[test]
fn the_plan_adds_it_and_then_waits_for_what_it_brings() {
    let mut observed = fixture::observed();
    observed.vms[0].nics.clear();
    let mut wish = crate::plan::tests::desired(Some(Performance::Low));
    wish.vms[0].add_nic = Some(mac());
    let add = |live| Action::AddNic {
        vm: fixture::vm(1).uuid,
        mac: mac(),
        bridge: fixture::intent().bridge,
        live,
    };
    let planned = plan(&observed, &wish, &Memory::default(), Duration::ZERO);
    assert!(deeds(&planned).contains(&add(true)));
    assert!(planned.vm_problems.is_empty(), "{:?}", planned.vm_problems);
    let resting = Memory {
        resting: BTreeSet::from([fixture::vm(1).uuid]),
        ..Memory::default()
    };
    let planned = plan(&observed, &wish, &resting, Duration::ZERO);
    assert!(!deeds(&planned).contains(&add(true)));

    observed.vms[0].free_root_ports_live = 0;
    observed.vms[0].nics_staged = vec![nic(mac(), "br0")];
    let planned = plan(&observed, &wish, &Memory::default(), Duration::ZERO);
    let told = &planned.vm_problems[&fixture::vm(1).uuid];
    assert_eq!(told[0].code, Code::VmNeedsColdStart);
    assert!(told[0].cure.starts_with("It is staged already"), "{told:?}");
    let is_add = |action: &Action| matches!(action, Action::AddNic { .. });
    assert!(!deeds(&planned).iter().any(is_add));

    // Nobody asked for one.
    observed.vms[0].nics_staged.clear();
    wish.vms[0].add_nic = None;
    let planned = plan(&observed, &wish, &Memory::default(), Duration::ZERO);
    assert!(!deeds(&planned).iter().any(is_add));
    assert_eq!(
        planned.vm_problems[&fixture::vm(1).uuid][0].code,
        Code::GetNetworkAdapterFailed
    );
}
